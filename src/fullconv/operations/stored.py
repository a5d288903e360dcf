"""The operations that lifting adds, on stored maps ``(N, C, *cells)`` whose sizes are free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fullconv.geometry.grid import HeightWidth, Sizes
from fullconv.operations.base import Operation, Padding


@dataclass(frozen=True)
class ChannelNormalization(Operation):
    """Layer normalization over the channels of every cell; inputs: x, scale, bias or None."""

    epsilon: float


@dataclass(frozen=True)
class Combine(Operation):
    """Adds two stored maps, or takes the larger of each two numbers: terms of a sum or maximum."""

    kind: Literal["sum", "max"]


@dataclass(frozen=True)
class TakeChannels(Operation):
    """Keeps or reorders channels."""

    indices: tuple[int, ...]


@dataclass(frozen=True)
class Cells(Operation):
    """Drops cells at both ends of each axis, then keeps every ``stride``-th."""

    before: Sizes
    after: Sizes
    stride: Sizes


@dataclass(frozen=True)
class Keep(Operation):
    """Keeps the cells that whole windows own; inputs: x, image.

    Per axis ``(stride, span)``: with ``r`` windows along the axis, the first
    ``stride * (r - 1) + span`` cells are kept; all where None.
    """

    axes: tuple[HeightWidth | None, ...]


@dataclass(frozen=True)
class Own:
    """Some of the ``of`` cells of a part that every window has for itself."""

    cells: tuple[int, ...]
    of: int


@dataclass(frozen=True)
class Gathered:
    """Stored cells of a shared part: of the first window, then ``stride`` further for each next."""

    cells: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class Running:
    """A shared part that stays shared, without some stored cells at its start and end."""

    skip: HeightWidth


Segments = tuple[Own | Gathered, ...] | tuple[Running]


@dataclass(frozen=True)
class Assemble(Operation):
    """Puts a block together from parts of a field; inputs: the parts, row-major, then the image.

    Every part gives the cells that one segment of every axis takes of it. Along an axis of `Own` or
    `Gathered` cells the windows are entries of the batch; any other axis is shared (see Note [Parts
    of a window] in `fullconv.lift.split`). A block gathered along all axes is one tensor per
    window.
    """

    channels: int
    segments: tuple[Segments, ...]


@dataclass(frozen=True)
class AddAxis(Operation):
    """``(N, channels * extent, *cells)`` to ``(N, channels, *cells, extent)``."""

    channels: int
    extent: int


@dataclass(frozen=True)
class FoldAxes(Operation):
    """Turns the axes behind the first ``dimensions`` axes of cells into features.

    ``(N, C, *cells, *more)`` to ``(N, channels, *cells)``: ``channels`` is ``C * prod(more)``.
    """

    dimensions: int
    channels: int


@dataclass(frozen=True)
class Interleave(Operation):
    """Puts the innermost ``factor`` features of every cell in its place along an axis of cells.

    ``(N, channels * factor, ..., a, ...)`` to ``(N, channels, ..., a * factor, ...)``: depth to
    space, along one axis (PyTorch, PixelShuffle).
    """

    axis: int
    factor: int
    channels: int


@dataclass(frozen=True)
class LayOut(Operation):
    """Lays windows out as cells; inputs: x, image.

    Along each axis that is true in ``axes``, x has one cell per window, with the windows in its
    batch; in the result the windows are the cells: ``(N * rows * columns, C, 1, 1)`` to ``(N, C,
    rows, columns)``. ``private`` is true for all axes whose windows are in the batch.
    """

    channels: int
    axes: tuple[bool, ...]
    private: tuple[bool, ...]


@dataclass(frozen=True)
class DivideCells(Operation):
    """Divides every cell by the product of its numbers along every axis.

    A single number stands for all cells along an axis.
    """

    axes: tuple[Sizes, ...]

    @classmethod
    def by(cls, number: int, axes: int) -> DivideCells:
        """Return the division of all cells along ``axes`` axes by one number."""
        return cls(((number,), *((1,),) * (axes - 1)))


@dataclass(frozen=True)
class Regroup(Operation):
    """Reshapes one tensor per window to ``split``, permutes it, and reshapes it to ``shape``.

    The first entry of ``split`` is the windows, -1; ``batch_axis`` of ``shape`` holds them.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    batch_axis: int


@dataclass(frozen=True)
class ForEachWindow(Operation):
    """Repeats a parameter for every window; inputs: x, image. Output ``(windows, *shape)``."""


@dataclass(frozen=True)
class FoldWindows(Operation):
    """Gives scores their own shape back; inputs: x ``(N * windows, *shape)``, image.

    Output ``(N, *shape, *windows)``: ``(N, K, rows, columns)`` of an image.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class SplitChannels(Operation):
    """``(N, C, *cells)`` to ``(N, *shape, *cells)``; an empty shape drops the one channel."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Power(Operation):
    """The square or the square root of every element."""

    kind: Literal["square", "root"]


@dataclass(frozen=True)
class SlidingTotal(Operation):
    """Sum or maximum over every box of ``kernel`` stored cells.

    ``(N, C, *cells)`` loses ``dilation * (kernel - 1)`` cells along each axis. See Note [Totals of
    a sliding window] in `fullconv.geometry.doubling`.
    """

    kind: Literal["sum", "max"]
    kernel: Sizes
    dilation: Sizes


@dataclass(frozen=True)
class SlidingSpread(Operation):
    """Variance, or standard deviation, over every box of ``kernel`` stored cells.

    It is taken of each channel; or, where ``together``, of all, which leaves 1 channel. ``(N, C,
    *cells)`` becomes as small as by `SlidingTotal`.
    """

    kind: Literal["var", "std"]
    kernel: Sizes
    dilation: Sizes
    together: bool
    correction: int


@dataclass(frozen=True)
class SlidingNormalization(Operation):
    """Group normalization whose window of ``kernel`` stored cells slides along with the cell.

    Near the border of the map the last window inside counts (`Stretch`). Inputs: x, scale or None,
    bias or None, one number per channel or one per group. The result is as large as x.
    """

    groups: int
    kernel: Sizes
    dilation: Sizes
    epsilon: float


@dataclass(frozen=True)
class Stretch(Operation):
    """Repeats the border cells of a sliding statistic, (before, after) along every axis.

    Where every ``dilation``-th stored cell belongs to the same windows, a cell beyond the border
    repeats the last of those inside.
    """

    padding: Padding
    dilation: Sizes
