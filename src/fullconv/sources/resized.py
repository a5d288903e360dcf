"""Resized images that are read rectangle by rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry.grid import HeightWidth, Span
from fullconv.geometry.placement import Placement
from fullconv.sources.blocks import Blocked
from fullconv.sources.source import Source, View
from fullconv.wording import extent, kind, names

BLOCK = 256
"""Side of the blocks of the result. Fixed blocks make pixels independent of the requested part."""

READ_AT_ONCE = 4096
"""Pixels of the original that a block reads along an axis, at most; but see `SMALLEST_BLOCK`."""

SMALLEST_BLOCK = 16
"""The least side of a block, even if it reads more than `READ_AT_ONCE`, up to `BLOCK_BYTES`."""

BLOCK_BYTES = 1 << 28
"""The limit of the original's pixels that a block reads; beyond it blocks become smaller."""


class Resized(Blocked, View):
    """A source resized by Pillow's antialiased triangle filter (``BILINEAR``).

    A pixel does not depend on the rectangle that is read. Compared with the whole image resized at
    once, 8-bit pixels differ by at most one grey level, except about one in a million that differs
    by two: Pillow keeps the edges of a block in single precision, and rounds after each direction.
    Pixels of more than 8 bits pass through single precision.
    """

    def __init__(self, of: Source, size: HeightWidth) -> None:
        placement = of.placement.of(Placement.between(size, of.size))
        facts = replace(of.facts, placement=placement)
        super().__init__(
            of, {"size": list(size)}, size=size, block=_block_size(of, size), facts=facts
        )

    def _block(self, *place: int) -> NDArray[Any]:
        (rows, top), (columns, left) = (
            _needed(span, old, new)
            for span, old, new in zip(self.extent(*place), self.of.size, self.size, strict=True)
        )
        pixels = self.of.read(rows, columns)
        box = (left[0], top[0], left[1], top[1])
        (y0, y1), (x0, x1) = self.extent(*place)
        return _resize(pixels, (x1 - x0, y1 - y0), box)

    def missing(self, *spans: Span) -> NDArray[np.bool_] | None:
        """Return which pixels are computed from any that the file lacks."""
        read = [_needed(*axis)[0] for axis in zip(spans, self.of.size, self.size, strict=True)]
        lacking = self.of.missing(*read)
        for axis, (asked, span) in enumerate(zip(spans, read, strict=True)):
            if lacking is None:
                return None
            sums = np.cumsum(np.insert(lacking, 0, False, axis), axis, dtype=np.int64)
            reads = [
                _needed((n, n + 1), self.of.size[axis], self.size[axis])[0] for n in range(*asked)
            ]
            first, last = (np.array(ends) - span[0] for ends in zip(*reads, strict=True))
            lacking = np.take(sums, last, axis) > np.take(sums, first, axis)
        return lacking

    def close(self) -> None:
        super().close()
        self.of.close()


def resized(source: Source, size: Sequence[int]) -> Source:
    """Return the source resized to ``(H, W)`` pixels, which are computed when they are read.

    Raises
    ------
    InputError
        If the size is not two whole numbers of at least 1 pixel, or the source is no image.
    """
    if len(source.size) != 2:
        raise InputError(
            f"{source.name}: only images, {names(2)}, are resized, and this is a "
            f"{kind(len(source.size))} of {extent(source.size)}; resample it first."
        )
    if len(size) != 2 or any(int(n) != n or n < 1 for n in size):
        raise InputError(
            f"resized(size={size}): expected two whole numbers of at least 1 pixel, (rows, "
            f"columns)."
        )
    wanted = int(size[0]), int(size[1])
    return source if wanted == source.size else Resized(source, wanted)


def _block_size(of: Source, size: HeightWidth) -> HeightWidth:
    """Return the size of the blocks in which the result is computed.

    Raises
    ------
    InputError
        If even one pixel of the result reads more than `BLOCK_BYTES`.
    """
    sides = [
        min(n, max(SMALLEST_BLOCK, min(BLOCK, READ_AT_ONCE * n // extent)))
        for n, extent in zip(size, of.size, strict=True)
    ]
    pixel_bytes = of.bands * (of.dtype.itemsize + (0 if of.dtype == np.uint8 else 4))

    def reads() -> list[int]:
        return [
            min(old, ceil(side * old / new + 2 * max(old / new, 1) + 4))
            for side, old, new in zip(sides, of.size, size, strict=True)
        ]

    while prod(reads()) * pixel_bytes > BLOCK_BYTES:
        if sides == [1, 1]:
            (height, width), (h, w) = of.size, size
            raise InputError(
                f"{of.name}: {width}x{height} pixels become {w}x{h}, each of {reads()[1]}x"
                f"{reads()[0]}, which do not fit in memory; reduce it less, or read a coarser "
                f"level of it."
            )
        longest = sides.index(max(sides))
        sides[longest] = (sides[longest] + 1) // 2
    return sides[0], sides[1]


def _needed(span: Span, old: int, new: int) -> tuple[Span, tuple[float, float]]:
    """Return the pixels that a span of the result reads, and its begin and end relative to them.

    The triangle reaches one pixel of the coarser image to each side of its centre. One more pixel
    keeps rounding errors away from the edge of the pixels that are read.
    """
    scale = old / new
    begin, end = span[0] * scale, span[1] * scale
    margin = max(scale, 1.0) + 1
    first, last = max(0, floor(begin - margin)), min(old, ceil(end + margin))
    return (first, last), (begin - first, min(end, old) - first)


def _resize(
    pixels: NDArray[Any], size: HeightWidth, box: tuple[float, float, float, float]
) -> NDArray[Any]:
    """Resize a box of ``(h, w, bands)`` to ``size``, (width, height), in the same dtype."""
    from PIL import Image

    dtype, bands = pixels.dtype, pixels.shape[2]
    if dtype == np.uint8:
        # Pillow multiplies colours by alpha in RGBA pictures, so only RGB is resized as a whole.
        parts = [pixels] if bands == 3 else [pixels[:, :, band] for band in range(bands)]
    else:
        parts = [pixels[:, :, band].astype(np.float32) for band in range(bands)]
    done = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(part)).resize(
                size, Image.Resampling.BILINEAR, box=box
            )
        )
        for part in parts
    ]
    result = done[0] if done[0].ndim == 3 else np.stack(done, axis=2)
    if dtype.kind in "ui" and dtype != np.uint8:
        limits = np.iinfo(dtype)
        # Single precision cannot represent the largest 32-bit numbers, so clip in double.
        result = np.clip(np.rint(result.astype(np.float64)), limits.min, limits.max)
    return np.array(result, dtype=dtype)
