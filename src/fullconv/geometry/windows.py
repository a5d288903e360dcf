"""The windows of an image along each axis: a step apart, and optionally one flush with the border.

Note [The border]

Windows a step apart leave a rest of up to ``step - 1`` pixels uncovered at the image's end. With
``cover="all"`` one more window covers such a rest, flush with the border: it begins at
``extent - window``, less than a step after the one before. If as many pixels as the rest are cut
off the image's beginning, the flush window lies a whole number of steps from the new beginning, so
a network scores it in one pass over the cut image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fullconv.choices import COVERS
from fullconv.errors import InputError
from fullconv.geometry.grid import Grid, Sizes, check_place
from fullconv.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class WindowsAlong:
    """The windows along one axis.

    Attributes
    ----------
    extent : int
        Pixels of the image.
    window, step : int
        Pixels of a window, and between neighbouring ones.
    is_covered : bool
        Whether a last window is added flush with the border, where the step leaves a rest.
    """

    extent: int
    window: int
    step: int
    is_covered: bool = False

    @property
    def regular(self) -> int:
        """Count the windows that lie whole steps apart."""
        return (self.extent - self.window) // self.step + 1

    @property
    def rest(self) -> int:
        """Pixels behind the last regular window."""
        return (self.extent - self.window) % self.step

    @property
    def has_flush(self) -> bool:
        """Whether there is a window flush with the border."""
        return self.is_covered and self.rest > 0

    @property
    def count(self) -> int:
        """Count all windows."""
        return self.regular + self.has_flush

    @property
    def uncovered(self) -> int:
        """Count the pixels in no window: the rest, and the gaps where a step exceeds a window."""
        between = (self.regular - 1) * max(0, self.step - self.window)
        return between + (max(0, self.rest - self.window) if self.has_flush else self.rest)

    def position(self, number: int) -> int:
        """Return the first pixel of a window."""
        return number * self.step if number < self.regular else self.extent - self.window

    def positions(self, first: int, last: int) -> NDArray[np.int64]:
        """Return the first pixels of the windows ``first`` to ``last``, half-open."""
        import numpy as np

        return self.starts(np.arange(first, last, dtype=np.int64))

    def starts(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first pixels of windows by their numbers."""
        import numpy as np

        begins: NDArray[np.int64] = np.minimum(numbers * self.step, self.extent - self.window)
        return begins


@dataclass(frozen=True)
class Windows:
    """All windows of an image.

    Attributes
    ----------
    axes : tuple of WindowsAlong
        One for each axis of the image, in the order of arrays.
    """

    axes: tuple[WindowsAlong, ...]

    @classmethod
    def of(cls, grid: Grid, size: Sequence[int], cover: str = "whole") -> Windows:
        """Return the windows of an image of ``size`` pixels along every axis.

        Raises
        ------
        InputError
            If ``cover`` is neither "whole" nor "all", or the image is smaller than a window.
        """
        check_cover(cover)
        grid.shape(size)
        return cls(
            tuple(
                WindowsAlong(extent, window, step, cover == "all")
                for extent, window, step in zip(size, grid.window, grid.step, strict=True)
            )
        )

    @classmethod
    def regular(cls, grid: Grid, counts: Sequence[int]) -> Windows:
        """Return ``counts`` windows a step apart, of an image that they cover exactly."""
        extents = [
            (n - 1) * step + window
            for n, step, window in zip(counts, grid.step, grid.window, strict=True)
        ]
        return cls.of(grid, extents)

    @property
    def shape(self) -> Sizes:
        """Count the windows along every axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def is_regular(self) -> bool:
        """Whether all windows lie whole steps apart."""
        return not any(axis.has_flush for axis in self.axes)

    def box(self, *place: int) -> Sizes:
        """Return the pixels of one window, half-open, as `Grid.box` does.

        Raises
        ------
        InputError
            If there is no such window, or the index is not one number for every axis.
        """
        check_place("box", place, len(self.axes))
        if not all(0 <= n < axis.count for n, axis in zip(place, self.axes, strict=True)):
            raise InputError(
                f"box({', '.join(map(str, place))}): there are {counted(self.shape)}, counted "
                f"from 0."
            )
        starts = [axis.position(n) for axis, n in zip(self.axes, place, strict=True)]
        stops = [start + axis.window for start, axis in zip(starts, self.axes, strict=True)]
        return (*reversed(starts), *reversed(stops))

    def describe(self) -> list[dict[str, Any]]:
        """Return JSON values: where the windows of each axis lie."""
        return [
            {
                "step": axis.step,
                "regular": axis.regular,
                "flush": axis.extent - axis.window if axis.has_flush else None,
            }
            for axis in self.axes
        ]


def check_cover(cover: str) -> None:
    """Check that ``cover`` is a known way to cover an image.

    Raises
    ------
    InputError
        If it is not; the message names those that are.
    """
    if cover not in COVERS:
        raise InputError(
            f"scan(cover={cover!r}): expected 'whole' (windows a step apart) or 'all' (and last "
            f"ones flush with the border)."
        )
