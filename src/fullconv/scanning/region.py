"""The windows to be scored: all, those inside a rectangle, or those that a mask marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry.grid import Span
from fullconv.geometry.windows import Windows, WindowsAlong
from fullconv.scanning.mask import Mask
from fullconv.sources import Source
from fullconv.sources.given import ImageLike
from fullconv.wording import before, edges, kind, part, sized, unit, windows_named

AT_ONCE = 1 << 22
"""Windows that are counted at a time."""

HAIR = 1e-6
"""Fraction of a pixel by which scaled edges may miss windows that they just hold."""


@dataclass(frozen=True)
class Region:
    """The windows to scan.

    Attributes
    ----------
    windows : Windows
        All windows of the image that is scanned.
    spans : tuple of (int, int)
        The windows that lie wholly inside the rectangle that was asked for, along every axis,
        half-open.
    mask : Mask or None
        A mask over the whole image; a window is scanned if its centre is marked.
    """

    windows: Windows
    spans: tuple[Span, ...]
    mask: Mask | None

    @classmethod
    def of(
        cls,
        windows: Windows,
        image: Source,
        roi: Sequence[float] | None = None,
        mask: ImageLike | None = None,
    ) -> Region:
        """Return the region that a rectangle of the original image and a mask leave.

        Parameters
        ----------
        windows, image
            The windows of the image that is scanned, and the image.
        roi : (x0, y0, x1, y1) or None
            In pixels of the original image.
        mask : array, path or None
            Any image; all pixels but 0 and NaN mark what is to be scanned, transparent or not.

        Raises
        ------
        InputError
            If no window is left.
        """
        spans = tuple((0, axis.count) for axis in windows.axes)
        if roi is not None:
            spans = tuple(
                _inside([image.placement.inward(edge, n) for edge in side], windows.axes[n])
                for n, side in enumerate(_sides(roi, len(spans)))
            )
            if any(first >= last for first, last in spans):
                axes = len(spans)
                window = sized([axis.window for axis in windows.axes])
                raise InputError(
                    f"roi={roi}: no window of {window} {unit(axes, many=True)} lies wholly "
                    f"inside; give a larger {part(axes).split()[-1]}."
                )
        region = cls(windows, spans, None if mask is None else Mask.read(mask, image))
        if not any(region._counts()):
            raise InputError(
                f"mask: it marks no window's centre, so there is nothing to scan; mark more of the "
                f"{kind(len(spans))} (and of the roi, where there is one), or scan at a smaller "
                f"step."
            )
        return region

    def describe(self) -> dict[str, Any]:
        """Return JSON values that identify this region."""
        named = zip(windows_named(len(self.spans)), map(list, self.spans), strict=True)
        mask = None if self.mask is None else self.mask.describe()
        return {**dict(named), "mask": mask}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings about the mask, one line each."""
        if self.mask is None:
            return ()
        if self.mask.basis == "size":
            return self.mask.remarks
        covered = sum(int(np.count_nonzero(self._at(band)[1])) for band in self._bands())
        every = prod(last - first for first, last in self.spans)
        if covered == every:
            return self.mask.remarks
        share = f"{100 * covered / every:.3g}"
        return (
            *self.mask.remarks,
            f"the mask {self.mask.name} lies by its {self.mask.basis} over {share} % of the image; "
            f"the rest is not scanned.",
        )

    def wanted(self, *windows: Span) -> NDArray[np.bool_]:
        """Return which windows of a rectangle of windows are to be scored."""
        inside = []
        for (begin, end), (first, last) in zip(self.spans, windows, strict=True):
            numbers = np.arange(first, last)
            inside.append((numbers >= begin) & (numbers < end))
        chosen: NDArray[np.bool_] = reduce(np.logical_and.outer, inside)
        if self.mask is not None:
            chosen &= self._at(windows)[0]
        return chosen

    def _at(self, windows: Sequence[Span]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which windows' centres are marked, and which lie on the mask at all."""
        assert self.mask is not None
        centres = (
            axis.positions(*span).astype(np.float64) + axis.window / 2
            for axis, span in zip(self.windows.axes, windows, strict=True)
        )
        return self.mask.at(*centres)

    def touches(self, *windows: Span) -> bool:
        """Whether any window of a rectangle of windows is to be scored."""
        apart = any(
            last <= begin or end <= first
            for (first, last), (begin, end) in zip(self.spans, windows, strict=True)
        )
        return not apart and (self.mask is None or bool(self.wanted(*windows).any()))

    def count(self) -> int:
        """Count the windows to be scored."""
        return sum(self._counts())

    def _counts(self) -> Iterator[int]:
        """Count the windows to be scored, band by band."""
        if self.mask is None:
            yield prod(last - first for first, last in self.spans)
            return
        for band in self._bands():
            yield int(np.count_nonzero(self.wanted(*band)))

    def _bands(self) -> Iterator[tuple[Span, ...]]:
        """Yield bands of windows along the first axis, of about `AT_ONCE` windows each."""
        (first, last), *rest = self.spans
        height = max(1, AT_ONCE // prod(end - begin for begin, end in rest))
        for row in range(first, last, height):
            yield (row, min(row + height, last)), *rest


def spans_of(region: Mapping[str, Any], dimensions: int) -> tuple[Span, ...]:
    """Return the windows along every axis in a record that `Region.describe` made."""
    return tuple((region[name][0], region[name][1]) for name in windows_named(dimensions))


def _sides(roi: Any, dimensions: int) -> tuple[tuple[float, float], ...]:
    """Return where a rectangle begins and ends along every axis, in the order of arrays."""
    try:
        numbers = [float(edge) for edge in tuple(roi)]
        begins, ends = numbers[:dimensions][::-1], numbers[dimensions:][::-1]
        sides = tuple(zip(begins, ends, strict=True))
        if len(sides) == dimensions and all(
            isfinite(begin) and isfinite(end) and begin < end for begin, end in sides
        ):
            return sides
    except (TypeError, ValueError, OverflowError):
        pass  # no list, or not of so many numbers
    text = " ".join(str(roi).split())
    raise InputError(
        f"roi={text}: expected {', '.join(edges(dimensions))} in {unit(dimensions, many=True)} of "
        f"the {kind(dimensions)}, with {before(dimensions)}."
    )


def _inside(side: Sequence[float], axis: WindowsAlong) -> Span:
    """Return the windows between two edges, half-open."""
    start, stop = side
    positions = axis.positions(0, axis.count)
    first = int(np.searchsorted(positions, start - HAIR, "left"))
    last = int(np.searchsorted(positions, stop + HAIR - axis.window, "right"))
    return first, last
