"""A mask over an image: placed by its own location, else stretched over the whole image."""

from __future__ import annotations

import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError, InputError
from fullconv.scanning.laying import Across, Points, laid
from fullconv.sources import Source, open_source
from fullconv.sources.given import ImageLike
from fullconv.wording import kind, sized, unit

MASK_BYTES = 1 << 30
"""Most bytes of a mask in memory, one for each pixel; it may be much smaller than its image."""

HAIR = 1e-6
"""Fraction of a pixel of the mask by which coordinates may be rounded."""


@dataclass(frozen=True)
class Mask:
    """Marked pixels, and where they lie in the image that is scanned.

    Attributes
    ----------
    name : str
    pixels : NDArray of bool
        ``(*size)``, True where the image is to be scanned.
    transform : tuple of float
        From (column, row) of the scanned image, or of the ground that it shares with the mask, to
        (column, row) of the mask, as in `Georeference`; with more axes or fewer in the same way.
    across : callable or None
        Takes (columns, rows) of the scanned image to another reference system first.
    basis : str
        The source of its position: "georeference", "space", "resolution", "pixel coordinates" or
        "size".
    remarks : tuple of str
        Warnings about its file and its position.
    """

    name: str
    pixels: NDArray[np.bool_]
    transform: tuple[float, ...]
    basis: str
    remarks: tuple[str, ...] = ()
    across: Across | None = field(default=None, compare=False)

    @classmethod
    def read(cls, mask: ImageLike, image: Source) -> Mask:
        """Read a mask from an array, path or source, and place it over an image.

        All pixels are marked but 0, NaN and the file's nodata value, transparent or not. In a
        palette the number counts, not the colour in which it is shown.

        Raises
        ------
        InputError
            If it cannot be read along the axes of the image, is too large, or marks nothing.
        """
        with ExitStack() as stack:
            source = _opened(mask, len(image.size))
            if source is not mask:  # a source that the caller has opened is the caller's to close
                stack.callback(source.close)
            numbers = source.numbers()
            if numbers is not source:
                stack.callback(numbers.close)
            pixels = _marked(numbers)
            if not pixels.any():
                raise InputError("mask: it is 0 everywhere, so there is nothing to scan.")
            over = laid(source, image)
            remarks = (*source.facts.remarks, *_unlike(source, numbers, pixels), *over.remarks)
            return cls(source.name, pixels, over.transform, over.basis, remarks, over.across)

    def describe(self) -> list[Any]:
        """Return JSON values that identify this mask."""
        checksum = zlib.crc32(np.packbits(self.pixels).tobytes())
        laid = [] if self.basis == "size" else [self.basis, *self.transform]
        return [*self.pixels.shape, checksum, *laid]

    def at(self, *along: Points) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which of a grid of positions are marked, and which lie on the mask at all."""
        points = [*np.meshgrid(*along, indexing="ij", sparse=True)][::-1]
        if self.across is not None:
            points = list(self.across(*np.broadcast_arrays(*points)))
        count = len(points)
        cells = []
        for axis, extent in enumerate(reversed(self.pixels.shape)):
            *factors, shift = self.transform[axis * (count + 1) : (axis + 1) * (count + 1)]
            # Without rotation, each axis is computed by itself, before all positions.
            turned = (a * p for a, p in zip(factors, points, strict=True) if a)
            cells.append(_cell(np.asarray(sum(turned, 0.0) + shift), extent))
        covered = reduce(np.logical_and, [cell >= 0 for cell in cells])
        return self.pixels[tuple(reversed(cells))] & covered, covered


def _opened(mask: ImageLike, dimensions: int) -> Source:
    """Open a mask; errors say that it is the mask."""
    try:
        return open_source(mask, dimensions=dimensions)
    except ImageError as error:
        why = str(error).removeprefix("open_source(array): ")
        raise ImageError(f"mask: {why}") from None


def _cell(position: Points, count: int) -> NDArray[np.int64]:
    """Return the pixels in which positions lie, along one axis; -1 outside the mask."""
    finite = np.where(np.isfinite(position), position + HAIR, -1.0)
    cell = np.floor(np.clip(finite, -1, count)).astype(np.int64)
    return np.where(cell < count, cell, -1)


def _marked(source: Source) -> NDArray[np.bool_]:
    """Return which pixels are not 0."""
    if prod(source.size) > MASK_BYTES:
        things = unit(len(source.size), many=True)
        raise InputError(
            f"mask {source.name}: {sized(source.size)} {things} are more than fit in memory; give "
            f"it smaller, it is laid over the {kind(len(source.size))} all the same."
        )
    mask = np.empty(source.size, np.bool_)
    shown = [n for n, channel in enumerate(source.channels) if channel.colour != "alpha"]
    count, *others = source.size
    band = max(1, 1 << 24 // max(1, prod(others) * source.bands))
    for top in range(0, count, band):
        rows = (top, min(top + band, count))
        pixels = source.read(rows, *((0, length) for length in others))[..., shown or [0]]
        marked = (pixels != 0) & (pixels == pixels)
        if source.facts.nodata is not None:
            marked &= pixels != source.facts.nodata
        mask[slice(*rows)] = marked.any(axis=-1)
    return mask


def _unlike(source: Source, numbers: Source, marked: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the warning that colours would mark other pixels; none where they would not."""
    if numbers is source or np.array_equal(_marked(source), marked):
        return ()
    return (
        f"the mask {source.name} marks by the numbers of its palette: 0 is not marked, and all "
        f"others are, in whatever colours they are shown.",
    )
