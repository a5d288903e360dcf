"""How much boxes overlap: intersection over union, one way for all who ask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Return the area of every box ``(..., 4)``, 0 where its corners are in the wrong order."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    area: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return area


def intersections(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return the area that boxes ``(..., 4)`` share, elementwise; the two broadcast."""
    x = np.minimum(first[..., 2], second[..., 2]) - np.maximum(first[..., 0], second[..., 0])
    y = np.minimum(first[..., 3], second[..., 3]) - np.maximum(first[..., 1], second[..., 1])
    shared: NDArray[np.float64] = np.maximum(x, 0.0) * np.maximum(y, 0.0)
    return shared


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return the intersection over union of boxes ``(..., 4)``, elementwise; the two broadcast.

    Between 0 and 1; 0 where neither box has an area.
    """
    shared = intersections(first, second)
    union = areas(first) + areas(second) - shared
    ratio: NDArray[np.float64] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return ratio
