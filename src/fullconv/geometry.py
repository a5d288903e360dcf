"""Where windows lie: pure integers, no framework.

Order is (row, column); a position is the top-left pixel of its window; intervals are half-open;
lengths are pixels of the input image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from fullconv.errors import ImageError, WindowError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pair = tuple[int, int]

Halo = tuple[Pair, Pair]
"""Pixels beyond a window that its score may depend on: ((top, bottom), (left, right))."""

NO_HALO: Halo = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Grid:
    """The windows of an image: their size and the distance between neighbours.

    Attributes
    ----------
    window : (int, int)
        Height and width of one window, in pixels.
    step : (int, int)
        Rows and columns between neighbouring windows, in pixels.
    """

    window: Pair
    step: Pair

    def __post_init__(self) -> None:
        for name, pair in (("window", self.window), ("step", self.step)):
            if len(pair) != 2 or any(int(n) != n or n < 1 for n in pair):
                raise WindowError(
                    f"Grid(window={self.window}, step={self.step}): {name} must be two whole "
                    f"numbers of at least 1 pixel, (rows, columns)."
                )

    def shape(self, image_size: Sequence[int]) -> Pair:
        """Count the windows inside an image of ``(H, W)`` pixels, as (rows, columns).

        ``(H - h) // sy + 1`` by ``(W - w) // sx + 1``, always (design: the definition).

        Raises
        ------
        ImageError
            If the image is smaller than one window.
        """
        height, width = image_size
        if height < self.window[0] or width < self.window[1]:
            raise ImageError(
                f"the image is {width}x{height} pixels (width x height), smaller than one window "
                f"of {self.window[1]}x{self.window[0]}; enlarge or pad the image to at least "
                f"the window."
            )
        return (
            (height - self.window[0]) // self.step[0] + 1,
            (width - self.window[1]) // self.step[1] + 1,
        )

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the pixels of one window as ``(x0, y0, x1, y1)``, half-open."""
        y, x = row * self.step[0], column * self.step[1]
        return (x, y, x + self.window[1], y + self.window[0])

    def centers(self, image_size: Sequence[int]) -> NDArray[np.float64]:
        """Return the centre of every window, ``(rows, columns, 2)`` as (y, x) in pixels.

        A centre lies on the edge between pixels where the window is even.
        """
        import numpy as np

        rows, columns = self.shape(image_size)
        y = np.arange(rows) * self.step[0] + self.window[0] / 2
        x = np.arange(columns) * self.step[1] + self.window[1] / 2
        return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)


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
    def padding(self) -> Pair:
        """Cells of padding (before, after)."""
        return self.before, self.after

    def output(self, extent: int) -> int:
        """Count the outputs over ``extent`` cells (PyTorch, Conv2d, 'Shape')."""
        return (extent + self.before + self.after - self.span) // self.stride + 1

    def read_padding(self, extent: int) -> Pair:
        """Return how much of the padding before and after some output really reads.

        A stride that stops early leaves the last padded cells unread, and then they do not matter.
        """
        last = (self.output(extent) - 1) * self.stride + self.span - self.before
        return self.before, max(0, last - extent)


class Cut(NamedTuple):
    """Stored cells dropped at both ends of an axis, and every how many of the rest are kept."""

    before: int
    after: int
    stride: int


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a field: the cells of one window, and how all windows store them.

    A window at pixel ``w`` owns the cells at ``w + j * pitch`` for ``j`` in ``range(extent)``; the
    stored map holds a cell at every multiple of ``step``, so neighbouring windows share them.
    ``step`` divides both ``pitch`` and the distance between windows.

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
        where it was cut to what windows own; else None.
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

    def slide(
        self, sliding: Sliding, window_step: int, *, dense: bool = False
    ) -> tuple[Axis, Sliding]:
        """Move a kernel along this axis; return the new axis, and the move in stored cells.

        Derivation: outputs of stride ``t`` lie ``pitch * t`` pixels apart. Every window step and
        every pitch must be a multiple of the stored step, so the new stored step is their
        greatest common divisor; what stride would exceed it becomes dilation of what follows
        ("a trous", Holschneider 1989). With ``step == pitch`` this is the plain network.
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

    def cut(self, start: int, stop: int, stride: int, window_step: int) -> tuple[Axis, Cut]:
        """Keep cells ``start:stop:stride``; return the new axis and the cut in stored cells."""
        stop = range(start, stop, stride)[-1] + 1
        before, after = start * self.dilation, (self.extent - stop) * self.dilation
        moved = self.shortened(stop - start, before + after)
        axis, stored = moved.slide(Sliding(1, stride), window_step)
        return axis, Cut(before, after, stored.stride)

    def shortened(self, extent: int, dropped: int) -> Axis:
        """Return the axis of windows of ``extent`` cells, with so many stored cells dropped."""
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
