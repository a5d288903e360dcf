"""Where windows lie: pure integers, no framework.

An image has one, two or three axes; sizes and places are tuples with an entry for each, in the
order in which arrays have them: (sample,), (row, column), (plane, row, column). A position is the
first pixel of its window along every axis; intervals are half-open; lengths are pixels of the input
image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, gcd
from typing import TYPE_CHECKING, NamedTuple

from fullconv.errors import ImageError, InputError, WindowError
from fullconv.wording import listed, names, sized, unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Span = tuple[int, int]
"""Begin and end along an axis, half-open."""

BeforeAfter = tuple[int, int]
"""So many before and so many after, along an axis."""

HeightWidth = tuple[int, int]
Sizes = tuple[int, ...]
"""A whole number for every axis."""

Halo = tuple[BeforeAfter, ...]
"""Pixels before and after a window that its score may depend on, for every axis."""

NUMBERS = {1: "one whole number", 2: "two whole numbers", 3: "three whole numbers"}


def no_halo(dimensions: int) -> Halo:
    """Return the halo of a score that depends on its own window only."""
    return ((0, 0),) * dimensions


@dataclass(frozen=True)
class Grid:
    """The windows of an image: their size and the distance between neighbours.

    Attributes
    ----------
    window : tuple of int
        Size of one window along every axis, in pixels: ``(height, width)`` of an image.
    step : tuple of int
        Pixels between neighbouring windows along every axis.
    """

    window: Sizes
    step: Sizes

    def __post_init__(self) -> None:
        dimensions = len(self.window) if len(self.window) in NUMBERS else 2
        for name, sizes in (("window", self.window), ("step", self.step)):
            if len(sizes) != dimensions or any(int(n) != n or n < 1 for n in sizes):
                raise WindowError(
                    f"Grid(window={self.window}, step={self.step}): {name} must be "
                    f"{NUMBERS[dimensions]} of at least 1 {unit(dimensions)}, "
                    f"{names(dimensions)}."
                )

    @property
    def dimensions(self) -> int:
        """Axes along which windows lie."""
        return len(self.window)

    def shape(self, image_size: Sequence[int]) -> Sizes:
        """Count the windows along every axis inside an image of this size.

        ``(S - w) // s + 1`` along each, always (docs/theory.md, "The definition").

        Raises
        ------
        ImageError
            If the image is smaller than one window, or has another number of axes.
        """
        if len(image_size) != self.dimensions:
            raise ImageError(
                f"the image has {len(image_size)} axes, {tuple(image_size)}, and windows lie along "
                f"{self.dimensions}: {names(self.dimensions)}."
            )
        if any(size < window for size, window in zip(image_size, self.window, strict=True)):
            things = unit(self.dimensions, many=True)
            raise ImageError(
                f"the image is {sized(image_size)} {things}{_ordered(self.dimensions)}, smaller "
                f"than one window of {sized(self.window)}; enlarge or pad the image to at least "
                f"the window."
            )
        return tuple(
            (size - window) // step + 1
            for size, window, step in zip(image_size, self.window, self.step, strict=True)
        )

    def box(self, *place: int) -> Sizes:
        """Return the box of one window in pixels, half-open: first all starts, then all ends.

        The last axis comes first: ``(t0, t1)``, ``(x0, y0, x1, y1)`` or ``(x0, y0, z0, x1, y1,
        z1)``. ``place`` is the window's index along every axis: ``box(row, column)``.

        Raises
        ------
        InputError
            If the index is not one number for every axis.
        """
        check_place("box", place, self.dimensions)
        starts = [index * step for index, step in zip(place, self.step, strict=True)]
        stops = [start + size for start, size in zip(starts, self.window, strict=True)]
        return (*reversed(starts), *reversed(stops))

    def slices(self, *place: int) -> tuple[slice, ...]:
        """Return the slices that cut one window out of the axes of an image, as `box` places it.

        Raises
        ------
        InputError
            If the index is not one number for every axis.
        """
        check_place("slices", place, self.dimensions)
        return tuple(
            slice(index * step, index * step + size)
            for index, step, size in zip(place, self.step, self.window, strict=True)
        )

    def centers(self, image_size: Sequence[int]) -> NDArray[np.float64]:
        """Return the centre of every window, ``(*windows, axes)``: (y, x) of an image, in pixels.

        A centre lies on the edge between pixels where the window is even.
        """
        import numpy as np

        along = [
            np.arange(count) * step + window / 2
            for count, step, window in zip(
                self.shape(image_size), self.step, self.window, strict=True
            )
        ]
        return np.stack(np.meshgrid(*along, indexing="ij"), axis=-1)


def check_place(call: str, place: Sequence[object], dimensions: int) -> None:
    """Refuse the index of a window that is not one number for every axis.

    Raises
    ------
    InputError
        If there are more or fewer; it names the axes.
    """
    if len(place) != dimensions:
        raise InputError(
            f"{call}({', '.join(map(str, place))}): expected {NUMBERS[dimensions]}, the window's "
            f"index along {names(dimensions)}; got {len(place) or 'none'}."
        )


def unraveled(index: int, counts: Sequence[int]) -> Sizes:
    """Return the index along every axis of entry ``index``, counted row-major."""
    place = []
    for count in reversed(counts):
        index, along = divmod(index, count)
        place.append(along)
    return tuple(reversed(place))


def _ordered(dimensions: int) -> str:
    """Return the order in which a size is written, where there is more than one axis."""
    return f" ({listed(dimensions)})" if dimensions > 1 else ""


def common_step(a: Fraction, b: Fraction) -> Fraction:
    """Return the largest distance that divides both: the greatest common divisor of fractions."""
    scale = a.denominator * b.denominator
    return Fraction(gcd(int(a * scale), int(b * scale)), scale)


class Sliding(NamedTuple):
    """How a convolution or pool moves along one axis, in cells, as PyTorch and ONNX name it."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def span(self) -> int:
        """Cells from the first to one past the last that one output reads."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padding(self) -> BeforeAfter:
        """Cells of padding (before, after)."""
        return self.before, self.after

    def output(self, extent: int) -> int:
        """Count the outputs over ``extent`` cells (PyTorch, Conv2d, 'Shape')."""
        return (extent + self.before + self.after - self.span) // self.stride + 1

    def read_padding(self, extent: int) -> BeforeAfter:
        """Return the padding before and after that some output really reads.

        A stride that stops early leaves the last padded cells unread, and then they do not matter.
        """
        last = (self.output(extent) - 1) * self.stride + self.span - self.before
        return self.before, max(0, last - extent)


class Cut(NamedTuple):
    """Stored cells dropped at both ends of an axis; every ``stride``-th of the rest is kept."""

    before: int
    after: int
    stride: int


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a field: the cells of one window, and how all windows store them.

    A window at pixel ``w`` owns the cells at ``w + j * pitch`` for ``j`` in ``range(extent)``; the
    stored map holds a cell at every multiple of ``step``, so neighbouring windows share them.
    ``step`` divides both ``pitch`` and the distance between windows (docs/theory.md, "One axis").

    Attributes
    ----------
    extent : int
        Cells in one window.
    pitch : Fraction
        Pixels between neighbouring cells of one window.
    step : Fraction
        Pixels between neighbouring stored cells.
    reach : Fraction or None
        The stored map over an image of ``H`` pixels has ``(H - reach) // step + 1`` cells; None
        where that is not known in this form (after a transposed convolution, or a cut).
    kept : int or None
        With ``r`` windows along the axis the stored map has ``stride * (r - 1) + kept`` cells,
        where it was cut to the cells that windows own; else None.
    """

    extent: int
    pitch: Fraction
    step: Fraction
    reach: Fraction | None
    kept: int | None = None

    @classmethod
    def of_pixels(cls, window: int) -> Axis:
        """Return the axis of the input image itself."""
        return cls(window, Fraction(1), Fraction(1), Fraction(1))

    @property
    def dilation(self) -> int:
        """Stored cells between neighbouring cells of one window."""
        return int(self.pitch / self.step)

    def stride(self, window_step: int) -> int:
        """Stored cells between neighbouring windows."""
        return int(window_step / self.step)

    def needed(self, window_step: int) -> tuple[int, int]:
        """Return ``(a, b)`` such that ``r`` windows own the first ``a * (r - 1) + b`` cells."""
        return self.stride(window_step), (self.extent - 1) * self.dilation + 1

    def computed(self, window: int, window_step: int) -> tuple[int, int]:
        """Return ``(a, b)``: over ``r`` windows ``a * r + b`` cells are computed.

        They include cells that no window owns, where a network never reads the last pixels of its
        window.
        """
        stride, needed = self.needed(window_step)
        kept = self.kept
        if kept is None and self.reach is not None:
            kept = (window - self.reach) // self.step + 1
        return stride, max(needed, kept or 0) - stride

    def slide(
        self, sliding: Sliding, window_step: int, *, dense: bool = False
    ) -> tuple[Axis, Sliding]:
        """Move a kernel along this axis; return the new axis, and the move in stored cells.

        Outputs of stride ``t`` lie ``pitch * t`` pixels apart. Every window step and every pitch
        must be a multiple of the stored step, so the new stored step is their greatest common
        divisor; the stride that would exceed it becomes dilation of what follows ("a trous",
        Holschneider 1989). With ``step == pitch`` this is the plain network. The derivation:
        docs/theory.md, "A kernel that moves".
        An axis that is left with one cell per window is stored once per window, or, where
        ``dense``, as often as the axis it came from.
        """
        extent = sliding.output(self.extent)
        if extent == 1:
            pitch = step = self.step if dense else Fraction(window_step)
        else:
            pitch = self.pitch * sliding.stride
            step = common_step(pitch, Fraction(window_step))
        scale = self.dilation
        stored = Sliding(
            sliding.kernel,
            int(step / self.step),
            sliding.dilation * scale,
            sliding.before * scale,
            sliding.after * scale,
        )
        grown = stored.span - 1 - stored.before - stored.after
        reach = None if self.reach is None else self.reach + grown * self.step
        kept = None if self.kept is None else (self.kept - 1 - grown) // stored.stride + 1
        return Axis(extent, pitch, step, reach, kept), stored

    def spaced(self, pitch: Fraction) -> Axis:
        """Return the axis with its one cell this far from the next, in whole stored cells.

        A kernel that reads beyond the only cell of a window then reads what lies this far away, or
        just beyond, and at the native size nothing but padding. Axes of more cells stay.
        """
        if self.extent != 1:
            return self
        return replace(self, pitch=ceil(pitch / self.step) * self.step)

    def cut(self, start: int, stop: int, stride: int, window_step: int) -> tuple[Axis, Cut]:
        """Keep cells ``start:stop:stride``; return the new axis and the cut in stored cells."""
        stop = range(start, stop, stride)[-1] + 1
        before, after = start * self.dilation, (self.extent - stop) * self.dilation
        moved = self.shortened(stop - start, before + after)
        axis, stored = moved.slide(Sliding(1, stride), window_step)
        return axis, Cut(before, after, stored.stride)

    def shortened(self, extent: int, dropped: int) -> Axis:
        """Return the axis of windows of ``extent`` cells, with ``dropped`` stored cells fewer."""
        reach = None if self.reach is None else self.reach + dropped * self.step
        kept = None if self.kept is None else self.kept - dropped
        return replace(self, extent=extent, reach=reach, kept=kept)

    def cut_to_windows(self, window_step: int) -> Axis:
        """Return the axis with only the cells that whole windows own."""
        return replace(self, reach=None, kept=self.needed(window_step)[1])

    def as_long_as(self, other: Axis) -> bool:
        """Whether two stored maps of the same step have equally many cells, on any image."""
        if self.reach is not None and other.reach is not None:
            return self.reach == other.reach
        return self.kept is not None and self.kept == other.kept
