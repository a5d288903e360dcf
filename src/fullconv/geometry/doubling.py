"""Totals over a window that slides cell by cell, in few passes over the map: pure integers.

Note [Totals of a sliding window]
The total over ``2 k`` neighbouring cells is that over ``k`` of them and that over the next ``k``;
the total over ``2 k + 1`` takes one cell more. So a window of ``n`` cells takes
``floor(log2(n))`` passes over the map, and one more for every further 1 among the binary digits of
``n``: 4 for 7 cells and 8 for 112, along each axis. A pool reads all cells of every window again.

Running sums (an integral image) would take as many passes for any window, but a window is then
the difference of two numbers that grow along the image: in float32 its digits are lost, and how
many depends on where the image, or the tile, begins. Here every window is added up in the same
order wherever it lies. So tiles give the same bits, whole numbers stay exact, nothing cancels, and
the same passes serve what cannot be subtracted: a maximum; and a mean with its variance, which are
merged (Chan, Golub and LeVeque 1983) and not taken from sums of squares.
"""

from __future__ import annotations

from collections.abc import Iterator


def doublings(cells: int) -> Iterator[tuple[int, int]]:
    """Yield the passes that lead from single cells to totals over ``cells`` of them.

    Each is ``(size, more)``: the total over ``size`` cells takes in the one over ``more`` cells
    that begins ``size`` cells on. ``more`` is ``size``, the same totals again, or 1, single cells.
    """
    size = 1
    for digit in bin(cells)[3:]:
        yield size, size
        size *= 2
        if digit == "1":
            yield size, 1
            size += 1


def around(cells: int, dilation: int) -> tuple[int, int]:
    """Return how many cells before the first total and behind the last one take it over.

    The window around a cell has as many cells before it as behind it; one more behind, where the
    window's number of cells is even. Near the border of a map the last window inside counts.
    """
    before = (cells - 1) // 2
    return before * dilation, (cells - 1 - before) * dilation
