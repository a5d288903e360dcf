"""The overlap of boxes: intersection over union, in one place for all callers.

A box ``(..., 4)`` is x0, y0, x1, y1; an interval ``(..., 2)`` is t0, t1, and a cuboid ``(..., 6)``
x0, y0, z0, x1, y1, z1: its beginnings along every axis, then its ends. Areas are lengths or volumes
where boxes are intervals or cuboids.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


def corners_of(boxes: Boxes) -> tuple[Boxes, Boxes]:
    """Return the beginnings and the ends of boxes, each ``(..., axes)``."""
    axes = boxes.shape[-1] // 2
    return boxes[..., :axes], boxes[..., axes:]


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Return the area of every box ``(..., 4)``, 0 where its corners are in the wrong order."""
    begin, end = corners_of(boxes)
    return _product(np.maximum(end - begin, 0.0))


def intersections(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return the area that boxes ``(..., 4)`` share, elementwise; the two broadcast."""
    (begin, end), (other, others_end) = corners_of(first), corners_of(second)
    return _product(np.maximum(np.minimum(end, others_end) - np.maximum(begin, other), 0.0))


def _product(sides: Boxes) -> NDArray[np.float64]:
    """Return the product along the last axis, faster than NumPy's own for few numbers."""
    product = sides[..., 0]
    for axis in range(1, sides.shape[-1]):
        product = product * sides[..., axis]
    return product


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
