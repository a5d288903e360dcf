"""The rule by which `fullconv train` chooses the layers of a network for a window."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from fullconv.errors import WindowError
from fullconv.geometry.grid import HeightWidth

SMALLEST, LARGEST = 16, 256
"""The least and greatest side of a window that the rule covers, in pixels."""

LEAST_CELLS = 5
"""An axis is halved as long as at least this many cells remain."""

WIDTHS = (96, 64, 48, 32, 24, 16)
"""Channels after each stage, counted from the last convolution backwards."""


@dataclass(frozen=True)
class Stage:
    """One convolution, possibly followed by max pooling; sizes are (rows, columns).

    Attributes
    ----------
    channels : int
        Channels of the output.
    kernel, stride : (int, int)
        Of the convolution, which has no padding.
    pool, pool_stride : (int, int)
        Of the max pooling; ``(1, 1)`` if there is none.
    cells : (int, int)
        Cells of the output.
    """

    channels: int
    kernel: HeightWidth
    stride: HeightWidth
    pool: HeightWidth
    pool_stride: HeightWidth
    cells: HeightWidth


@dataclass(frozen=True)
class Fit:
    """The convolutional layers for a window.

    Attributes
    ----------
    window : (int, int)
        Height and width.
    stages : tuple of Stage
        From the pixels to the last map.
    """

    window: HeightWidth
    stages: tuple[Stage, ...]

    @property
    def stride(self) -> HeightWidth:
        """Pixels between neighbouring cells of the last map, and thus between windows."""
        down, across = (
            prod(stage.stride[axis] * stage.pool_stride[axis] for stage in self.stages)
            for axis in (0, 1)
        )
        return down, across

    @property
    def last_map(self) -> HeightWidth:
        """Rows and columns of the map that the head reads."""
        return self.stages[-1].cells


def check_window(window: HeightWidth) -> None:
    """Check that the rule covers a window.

    Raises
    ------
    WindowError
        If a side is below `SMALLEST` or above `LARGEST`.
    """
    h, w = window
    if not all(SMALLEST <= n <= LARGEST for n in window):
        raise WindowError(
            f"train(window={(h, w)}): networks are made for windows from {SMALLEST}x{SMALLEST} to "
            f"{LARGEST}x{LARGEST} pixels, and this one is {w}x{h} (width x height); choose a "
            f"window in between, and the crops are resized to it, or give a network of your own "
            f"(--arch)."
        )


def fit(window: HeightWidth) -> Fit:
    """Return the layers for a window of 16 to 256 pixels along either side.

    The rule applies to each axis separately:

    1. An axis of ``n`` cells is halved to ``(n - 2) // 2`` as long as at least 5 cells remain. A
       halving has one of two forms. The first is a convolution of 3 cells and max pooling over 2
       cells (3 if ``n`` is odd) at stride 2. The second is a convolution of 4 cells (5 if ``n`` is
       odd) at stride 2. Both give the same number of cells, and neither leaves cells unread.
    2. All halvings but the last two are strided convolutions, which are cheaper where maps are
       large. The last two pool, which tolerates small shifts.
    3. The shorter axis of a window needs fewer halvings; it then keeps its cells (kernel 1 along
       that axis) while the longer axis is halved further.
    4. The last layer is a convolution of 3x3. No layer pads, so all windows of an image share one
       pass exactly. The fully connected head reads 3 to 9 cells a side.

    The channels grow to 96. Examples:

    =======  ========  ======  ========  =========================
    window   halvings  stride  last map  channels
    =======  ========  ======  ========  =========================
    16x16    1x1       2x2     5x5       64, 96
    24x24    1x1       2x2     9x9       64, 96
    28x28    2x2       4x4     3x3       48, 64, 96
    32x32    2x2       4x4     4x4       48, 64, 96
    48x48    2x2       4x4     8x8       48, 64, 96
    64x64    3x3       8x8     4x4       32, 48, 64, 96
    64x128   3x4       8x16    4x4       24, 32, 48, 64, 96
    96x96    3x3       8x8     8x8       32, 48, 64, 96
    128x128  4x4       16x16   4x4       24, 32, 48, 64, 96
    16x256   1x5       2x32    5x4       16, 24, 32, 48, 64, 96
    224x224  5x5       32x32   3x3       16, 24, 32, 48, 64, 96
    256x256  5x5       32x32   4x4       16, 24, 32, 48, 64, 96
    =======  ========  ======  ========  =========================

    Sizes are width x height, as on the command line; the channels are the first
    entries of `WIDTHS`, reversed.

    Raises
    ------
    WindowError
        If a side is below `SMALLEST` or above `LARGEST`.
    """
    check_window(window)
    ways = tuple(_lengths(n) for n in window)
    count = max(len(way) for way in ways)
    stages = []
    cells = window
    for number in range(count):
        halved = (number < len(ways[0]), number < len(ways[1]))
        channels = WIDTHS[count - number]
        stage = _halving(cells, halved, channels, pools=number >= count - 2)
        stages.append(stage)
        cells = stage.cells
    cells = (cells[0] - 2, cells[1] - 2)
    stages.append(Stage(WIDTHS[0], (3, 3), (1, 1), (1, 1), (1, 1), cells))
    return Fit(window, tuple(stages))


def _lengths(n: int) -> tuple[int, ...]:
    """Return the cells that remain of an axis of ``n`` cells after each halving."""
    lengths = []
    while (half := (n - 2) // 2) >= LEAST_CELLS:
        lengths.append(half)
        n = half
    return tuple(lengths)


def _halving(cells: HeightWidth, halved: tuple[bool, bool], channels: int, *, pools: bool) -> Stage:
    """Return the stage that halves one axis or both, by pooling or by a strided convolution."""
    along = [_along(n, is_halved, pools) for n, is_halved in zip(cells, halved, strict=True)]
    kernel, stride, pool, pool_stride, left = zip(*along, strict=True)
    return Stage(channels, kernel, stride, pool, pool_stride, left)


def _along(n: int, is_halved: bool, pools: bool) -> tuple[int, int, int, int, int]:
    """Return kernel, stride, pool, pool stride and cells along one axis."""
    if not is_halved:
        return 1, 1, 1, 1, n
    if pools:
        return 3, 1, 2 + n % 2, 2, (n - 2) // 2
    return 4 + n % 2, 2, 1, 1, (n - 2) // 2
