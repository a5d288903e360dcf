"""A mask over an image: laid where it says that it lies, else stretched over all of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.placement import Affine, Georeference, Space
from fullconv.sources import Source, open_source

MASK_BYTES = 1 << 30
"""A mask is held in memory, one byte for each of its pixels; it may be much smaller than its image,
over which it is laid."""

HAIR = 1e-6
"""Of a pixel of the mask, by which coordinates may be rounded."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Mask:
    """Marked pixels, and where they lie in the image that is scanned.

    Attributes
    ----------
    name : str
    pixels : NDArray of bool
        ``(height, width)``; what is True is to be scanned.
    transform : tuple of six float
        From (column, row) of the scanned image, or of the ground that it shares with the mask, to
        (column, row) of the mask, as in `Georeference`.
    across : callable or None
        Takes (columns, rows) of the scanned image to another reference system first.
    told : str
        What lays it: "georeference", "space", "resolution" or "size".
    remarks : tuple of str
        What is to be said of its file.
    """

    name: str
    pixels: NDArray[np.bool_]
    transform: Affine
    told: str
    remarks: tuple[str, ...] = ()
    across: Callable[[Points, Points], tuple[Points, Points]] | None = field(
        default=None, compare=False
    )

    @classmethod
    def read(cls, mask: Any, image: Source) -> Mask:
        """Return what an array, path or source marks in an image.

        What is not 0 (nor NaN) is marked, transparent or not.

        Raises
        ------
        InputError
            If it is too large, or marks nothing.
        """
        with ExitStack() as stack:
            source = open_source(mask)
            if source is not mask:  # what the caller has opened is the caller's to close
                stack.callback(source.close)
            pixels = _marked(source)
            if not pixels.any():
                raise InputError("mask: it is 0 everywhere, so there is nothing to scan.")
            transform, told, across = _laid(source, image)
            return cls(source.name, pixels, transform, told, source.facts.remarks, across)

    def describe(self) -> list[Any]:
        """Return what tells this mask from another, as JSON values."""
        checksum = zlib.crc32(np.packbits(self.pixels).tobytes())
        laid = [] if self.told == "size" else [self.told, *self.transform]
        return [*self.pixels.shape, checksum, *laid]

    def at(self, rows: Points, columns: Points) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which of a grid of positions are marked, and which lie on the mask at all."""
        a, b, c, d, e, f = self.transform
        x, y = columns[None, :], rows[:, None]
        if self.across is not None:
            x, y = self.across(*np.broadcast_arrays(x, y))
        # Without turning, each axis is computed by itself, and only then all positions.
        column = _cell(a * x + (b * y if b else 0) + c, self.pixels.shape[1])
        row = _cell((d * x if d else 0) + e * y + f, self.pixels.shape[0])
        covered = (row >= 0) & (column >= 0)
        return self.pixels[row, column] & covered, covered


def _cell(position: Points, count: int) -> NDArray[np.int64]:
    """Return the pixels in which positions lie, along one axis; -1 beside the mask."""
    held = np.where(np.isfinite(position), position + HAIR, -1.0)
    cell = np.floor(np.clip(held, -1, count)).astype(np.int64)
    return np.where(cell < count, cell, -1)


def _marked(source: Source) -> NDArray[np.bool_]:
    """Return which pixels are not 0."""
    height, width = source.size
    if height * width > MASK_BYTES:
        raise InputError(
            f"mask {source.name}: {width}x{height} pixels are more than fit in memory; give it "
            f"smaller, it is laid over the image all the same."
        )
    found = np.empty(source.size, np.bool_)
    shown = [n for n, channel in enumerate(source.channels) if channel.colour != "alpha"]
    band = max(1, 1 << 24 // max(1, width * source.bands))
    for top in range(0, height, band):
        rows = (top, min(top + band, height))
        pixels = source.read(rows, (0, width))[:, :, shown or [0]]
        found[slice(*rows)] = ((pixels != 0) & (pixels == pixels)).any(axis=2)
    return found


def _laid(mask: Source, image: Source) -> tuple[Affine, str, Any]:
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
