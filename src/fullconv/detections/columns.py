"""The boxes that a file of detections holds, as its format is read."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes


class Columns(TypedDict):
    """The attributes of `fullconv.Detections` that files hold, by the same names."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    sizes: tuple[Sizes | None, ...]
    probabilities: NDArray[np.float64] | None
