"""How a mask lies over the image that is scanned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.placement import Affine, Georeference, Space
from fullconv.sources import Source

Points = NDArray[np.float64]


def laid(mask: Source, image: Source) -> tuple[Affine, str, Any]:
    """Return how positions of the scanned image become those of the mask, and by what."""
    scanned, back = _of_placement(image), _back(_of_placement(mask))
    ground, own = image.facts.georeference, mask.facts.georeference
    if ground is not None and own is not None:
        to_ground = _after(ground.transform, scanned)
        if _are_one(ground, own):
            return _after(back, _after(_back(own.transform), to_ground)), "georeference", None
        turned = _across(to_ground, ground, own)
        return _after(back, _back(own.transform)), "georeference", turned
    if image.facts.space is not None and mask.facts.space is not None:
        found = _by_space(image.facts.space, mask.facts.space)
        if found is not None:
            told = "space" if mask.facts.space.is_placed else "resolution"
            return _after(back, _after(found, scanned)), told, None
    stretched = [n / m for n, m in zip(mask.size, image.size, strict=True)]
    return (stretched[1], 0.0, 0.0, 0.0, stretched[0], 0.0), "size", None


def _of_placement(image: Source) -> Affine:
    (sy, sx), (y, x) = image.placement.scale, image.placement.offset
    return sx, 0.0, x, 0.0, sy, y


def _by_space(image: Space, mask: Space) -> Affine | None:
    """Return how positions in one space become those in another; None where units do not meet.

    A mask of which only the resolution is known begins where the image does: corner on corner.
    """
    if image.unit_um is not None and mask.unit_um is not None:
        units = image.unit_um, mask.unit_um
    elif image.unit == mask.unit:
        units = 1.0, 1.0
    else:
        return None
    numbers = []
    for axis in (1, 0):
        a, b = image.scale[axis] * units[0], mask.scale[axis] * units[1]
        begin = image.translation[axis] * units[0], mask.translation[axis] * units[1]
        # The centres of the first pixels lie at the translations; equal ones mean one corner.
        apart = begin[0] - begin[1] if mask.is_placed else 0.0
        shift = 0.0 if apart == 0 else (apart - a / 2) / b + 0.5
        numbers.append((a / b, shift))
    (sx, x), (sy, y) = numbers
    return sx, 0.0, x, 0.0, sy, y


def _are_one(ground: Georeference, own: Georeference) -> bool:
    """Whether two reference systems are the same, as far as they are named."""
    if not ground.crs or not own.crs or ground.crs == own.crs:
        return True
    from rasterio.crs import CRS

    return bool(CRS.from_user_input(ground.crs) == CRS.from_user_input(own.crs))


def _across(
    to_ground: Affine, ground: Georeference, own: Georeference
) -> Callable[[Points, Points], tuple[Points, Points]]:
    """Return what takes positions of the scanned image to the mask's reference system."""

    def turned(x: Points, y: Points) -> tuple[Points, Points]:
        from rasterio.warp import transform

        a, b, c, d, e, f = to_ground
        here = (a * x + b * y + c).ravel(), (d * x + e * y + f).ravel()
        there = transform(ground.crs, own.crs, *here)
        found = [np.asarray(one, np.float64).reshape(x.shape) for one in there]
        return found[0], found[1]

    return turned


def _after(outer: Affine, inner: Affine) -> Affine:
    """Return what does the inner transform first."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    first = a * p + b * s, a * q + b * t, a * r + b * u + c
    return *first, d * p + e * s, d * q + e * t, d * r + e * u + f


def _back(transform: Affine) -> Affine:
    """Return the inverse."""
    a, b, c, d, e, f = transform
    size = a * e - b * d
    if not size:
        raise InputError(f"mask: its georeference {transform} has no inverse; save it again.")
    p, q, s, t = e / size, -b / size, -d / size, a / size
    return p, q, -(p * c + q * f), s, t, -(s * c + t * f)
