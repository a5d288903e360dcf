"""The seam: preprocessed images in, the scores of every window out, in NumPy's arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import FullconvError, ModelError, first_line
from fullconv.geometry.images import Takes
from fullconv.system.closing import Closing
from fullconv.system.processor import cores
from fullconv.wording import extent


def cores_for(lanes: int) -> int:
    """Return the threads of each lane; 0, the runtime's own choice, where there is one lane."""
    return 0 if lanes == 1 else max(1, cores() // lanes)


class Runtime(Closing, ABC):
    """A converted model, ready to run in one way.

    Attributes
    ----------
    name : str
        One of `RUNTIMES`.
    device : str
        ``"cpu"`` or ``"cuda"``.
    precision : str
        One of `PRECISIONS`; with ``"f32"`` everything is computed in float32, or in float64 where
        the model is written so, even where the runtime or the user's settings would take less.
    lanes : int
        Threads that may call `run` at a time, each with its share of the cores.
    takes : str
        The form of image that the model takes; see `fullconv.geometry.images.Takes`.
    """

    name: str
    takes: Takes = "map"

    def __init__(self, precision: str, device: str = "cpu", lanes: int = 1) -> None:
        self.precision = precision
        self.device = device
        self.lanes = lanes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.precision}, {self.device})"

    def run(self, images: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Return every output ``(N, K, *windows)`` for preprocessed images ``(N, C, *size)``.

        Float32, or float64 where the model computes in it. Several outputs come in the order in
        which the model's structure holds them.

        Raises
        ------
        ModelError
            If the runtime fails.
        """
        try:
            outputs = self._outputs(images[:, 0] if self.takes == "cells" else images)
        except FullconvError:
            raise
        except Exception as error:
            raise ModelError(
                f"{self.name} ({self.precision}) cannot run the model on "
                f"{extent(images.shape[2:])}: {first_line(error)}. Choose another runtime, or "
                f"smaller tiles."
            ) from None
        return [
            array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
            for array in outputs
        ]

    @abstractmethod
    def _outputs(self, images: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        """Run the model."""

    @abstractmethod
    def close(self) -> None:
        """Release the resources of the runtime; it cannot run afterwards."""
