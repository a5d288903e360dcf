"""Which windows are to be scored: all, those inside a rectangle, those that a mask marks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil, floor, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry import Grid, Pair
from fullconv.sources import open_source

MASK_BYTES = 1 << 30
"""A mask is held in memory, one byte for each of its pixels; it may be much smaller than its image,
over which it is stretched."""

AT_ONCE = 1 << 22
"""Windows that are counted at a time."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """What to scan.

    Attributes
    ----------
    rows, columns : (int, int)
        The windows that lie wholly inside the rectangle that was asked for, half-open.
    mask : NDArray of bool or None
        ``(height, width)`` over the whole image; a window counts where its centre is on it.
    grid : Grid
        The windows.
    size : (int, int)
        Height and width of the image that is scanned.
    """

    rows: Pair
    columns: Pair
    mask: NDArray[np.bool_] | None
    grid: Grid
    size: Pair

    @classmethod
    def of(
        cls,
        grid: Grid,
        size: Pair,
        scale: tuple[float, float],
        roi: Sequence[float] | None,
        mask: Any,
    ) -> Region:
        """Return the region that a rectangle of the original image and a mask leave.

        Parameters
        ----------
        grid, size
            The windows, and the size of the image that they lie in.
        scale : (float, float)
            Pixels of the original image per pixel that is scanned, (row, column).
        roi : (x0, y0, x1, y1) or None
            In pixels of the original image.
        mask : array, path or None
            Any image; what is not 0 (nor NaN) is to be scanned, transparent or not.

        Raises
        ------
        InputError
            If no window is left.
        """
        counts = grid.shape(size)
        rows, columns = (0, counts[0]), (0, counts[1])
        if roi is not None:
            x0, y0, x1, y1 = _edges(roi)
            rows = _inside(y0 / scale[0], y1 / scale[0], grid, 0, counts[0])
            columns = _inside(x0 / scale[1], x1 / scale[1], grid, 1, counts[1])
            if rows[0] >= rows[1] or columns[0] >= columns[1]:
                raise InputError(
                    f"roi={roi}: no window of {grid.window[1]}x{grid.window[0]} pixels lies "
                    f"wholly inside; give a larger rectangle."
                )
        found = cls(rows, columns, None if mask is None else _read(mask), grid, size)
        if found.mask is not None and not found.mask.any():
            raise InputError("mask: it is 0 everywhere, so there is nothing to scan.")
        if not any(found._counts()):
            raise InputError(
                "mask: it marks no window's centre, so there is nothing to scan; mark more of the "
                "image (and of the roi, where there is one), or scan at a smaller step."
            )
        return found

    def describe(self) -> dict[str, Any]:
        """Return what tells this region from another, as JSON values."""
        mask = None
        if self.mask is not None:
            mask = [*self.mask.shape, zlib.crc32(np.packbits(self.mask).tobytes())]
        return {"rows": list(self.rows), "columns": list(self.columns), "mask": mask}

    def wanted(self, rows: Pair, columns: Pair) -> NDArray[np.bool_]:
        """Return which windows of a rectangle of windows are to be scored."""
        i, j = np.arange(*rows), np.arange(*columns)
        chosen = ((i >= self.rows[0]) & (i < self.rows[1]))[:, None] & (
            (j >= self.columns[0]) & (j < self.columns[1])
        )
        if self.mask is not None:
            y, x = (
                ((n * step + window / 2) * cells / pixels).astype(np.intp)
                for n, step, window, cells, pixels in zip(
                    (i, j),
                    self.grid.step,
                    self.grid.window,
                    self.mask.shape,
                    self.size,
                    strict=True,
                )
            )
            chosen &= self.mask[np.ix_(y, x)]
        return chosen

    def touches(self, rows: Pair, columns: Pair) -> bool:
        """Whether any window of a rectangle of windows is to be scored."""
        apart = any(
            last <= begin or end <= first
            for (first, last), (begin, end) in zip(
                (self.rows, self.columns), (rows, columns), strict=True
            )
        )
        return not apart and (self.mask is None or bool(self.wanted(rows, columns).any()))

    def count(self) -> int:
        """Count the windows to be scored."""
        return sum(self._counts())

    def _counts(self) -> Iterator[int]:
        """Count them band by band."""
        (top, bottom), (left, right) = self.rows, self.columns
        if self.mask is None:
            yield (bottom - top) * (right - left)
            return
        band = max(1, AT_ONCE // (right - left))
        for row in range(top, bottom, band):
            rows = row, min(row + band, bottom)
            yield int(np.count_nonzero(self.wanted(rows, self.columns)))


def _edges(roi: Any) -> Box:
    """Return the left, upper, right and lower edge of a rectangle."""
    try:
        x0, y0, x1, y1 = (float(edge) for edge in tuple(roi))
        if all(map(isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1:
            return x0, y0, x1, y1
    except (TypeError, ValueError, OverflowError):
        pass  # no list, or not of four numbers
    told = " ".join(str(roi).split())
    raise InputError(
        f"roi={told}: expected x0, y0, x1, y1 in pixels of the image, with x0 left of x1 and y0 "
        f"above y1."
    )


def _inside(start: float, stop: float, grid: Grid, axis: int, count: int) -> Pair:
    """Return the windows between two edges, half-open."""
    step, window = grid.step[axis], grid.window[axis]
    hair = 1e-6  # of a pixel: edges that were scaled meet windows that they just hold
    first = max(0, ceil((start - hair) / step))
    last = min(count - 1, floor((stop + hair - window) / step))
    return first, last + 1


def _read(mask: Any) -> NDArray[np.bool_]:
    with ExitStack() as stack:
        source = open_source(mask)
        if source is not mask:  # what the caller has opened is the caller's to close
            stack.callback(source.close)
        height, width = source.size
        if height * width > MASK_BYTES:
            raise InputError(
                f"mask {source.name}: {width}x{height} pixels are more than fit in memory; give it "
                f"smaller, it is stretched over the image."
            )
        found = np.empty(source.size, np.bool_)
        colours = source.bands - (source.bands in (2, 4))  # the last of these is alpha
        band = max(1, 1 << 24 // max(1, width * source.bands))
        for top in range(0, height, band):
            rows = (top, min(top + band, height))
            pixels = source.read(rows, (0, width))[:, :, :colours]
            found[slice(*rows)] = ((pixels != 0) & (pixels == pixels)).any(axis=2)
    return found
