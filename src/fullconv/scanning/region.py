"""Which windows are to be scored: all, those inside a rectangle, those that a mask marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry import Pair
from fullconv.scanning.mask import Mask
from fullconv.sources import Source
from fullconv.windows import Windows, WindowsAlong

AT_ONCE = 1 << 22
"""Windows that are counted at a time."""

HAIR = 1e-6
"""Of a pixel: edges that were scaled meet windows that they just hold."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """What to scan.

    Attributes
    ----------
    windows : Windows
        Of the image that is scanned.
    rows, columns : (int, int)
        The windows that lie wholly inside the rectangle that was asked for, half-open.
    mask : Mask or None
        Over the whole image; a window counts where its centre is on it.
    """

    windows: Windows
    rows: Pair
    columns: Pair
    mask: Mask | None

    @classmethod
    def of(
        cls, windows: Windows, image: Source, roi: Sequence[float] | None = None, mask: Any = None
    ) -> Region:
        """Return the region that a rectangle of the original image and a mask leave.

        Parameters
        ----------
        windows, image
            What is scanned.
        roi : (x0, y0, x1, y1) or None
            In pixels of the original image.
        mask : array, path or None
            Any image; what is not 0 (nor NaN) is to be scanned, transparent or not.

        Raises
        ------
        InputError
            If no window is left.
        """
        rows, columns = ((0, axis.count) for axis in windows.axes)
        if roi is not None:
            x0, y0, x1, y1 = _edges(roi)
            y0, y1 = (image.placement.inward(edge, 0) for edge in (y0, y1))
            x0, x1 = (image.placement.inward(edge, 1) for edge in (x0, x1))
            rows, columns = _inside(y0, y1, windows.axes[0]), _inside(x0, x1, windows.axes[1])
            if rows[0] >= rows[1] or columns[0] >= columns[1]:
                height, width = (axis.window for axis in windows.axes)
                raise InputError(
                    f"roi={roi}: no window of {width}x{height} pixels lies wholly inside; give a "
                    f"larger rectangle."
                )
        found = cls(windows, rows, columns, None if mask is None else Mask.read(mask, image))
        if not any(found._counts()):
            raise InputError(
                "mask: it marks no window's centre, so there is nothing to scan; mark more of the "
                "image (and of the roi, where there is one), or scan at a smaller step."
            )
        return found

    def describe(self) -> dict[str, Any]:
        """Return what tells this region from another, as JSON values."""
        mask = None if self.mask is None else self.mask.describe()
        return {"rows": list(self.rows), "columns": list(self.columns), "mask": mask}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said of the mask, in one line each."""
        if self.mask is None:
            return ()
        if self.mask.told == "size":
            return self.mask.remarks
        (top, bottom), (left, right) = self.rows, self.columns
        covered = sum(
            int(np.count_nonzero(self._at(rows, self.columns)[1])) for rows in self._bands()
        )
        every = (bottom - top) * (right - left)
        if covered == every:
            return self.mask.remarks
        share = f"{100 * covered / every:.3g}"
        line = f"the mask {self.mask.name} lies by its {self.mask.told} over {share} % of the image"
        return (*self.mask.remarks, f"{line}; the rest is not scanned.")

    def wanted(self, rows: Pair, columns: Pair) -> NDArray[np.bool_]:
        """Return which windows of a rectangle of windows are to be scored."""
        i, j = np.arange(*rows), np.arange(*columns)
        chosen = ((i >= self.rows[0]) & (i < self.rows[1]))[:, None] & (
            (j >= self.columns[0]) & (j < self.columns[1])
        )
        if self.mask is not None:
            chosen &= self._at(rows, columns)[0]
        return chosen

    def _at(self, rows: Pair, columns: Pair) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which windows' centres are marked, and which lie on the mask at all."""
        assert self.mask is not None
        y, x = (
            axis.positions(*part).astype(np.float64) + axis.window / 2
            for axis, part in zip(self.windows.axes, (rows, columns), strict=True)
        )
        return self.mask.at(y, x)

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
        for rows in self._bands():
            yield int(np.count_nonzero(self.wanted(rows, self.columns)))

    def _bands(self) -> Iterator[Pair]:
        """Yield rows of windows, as many at a time as are looked at."""
        band = max(1, AT_ONCE // (self.columns[1] - self.columns[0]))
        for row in range(self.rows[0], self.rows[1], band):
            yield row, min(row + band, self.rows[1])


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


def _inside(start: float, stop: float, axis: WindowsAlong) -> Pair:
    """Return the windows between two edges, half-open."""
    positions = axis.positions(0, axis.count)
    first = int(np.searchsorted(positions, start - HAIR, "left"))
    last = int(np.searchsorted(positions, stop + HAIR - axis.window, "right"))
    return first, last
