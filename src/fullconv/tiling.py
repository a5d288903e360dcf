"""Tiles of windows: as few pixels computed twice as a memory budget allows."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from fullconv.geometry import Grid, Pair
from fullconv.lift.memory import Footprint, elements


def tile_shape(grid: Grid, counts: Pair, footprint: Footprint, limit: int) -> Pair:
    """Return the rows and columns of windows of one tile.

    Of all tiles whose tensors stay within ``limit`` elements, those that read the fewest pixels
    in all: neighbouring tiles overlap by a window less a step. One window where even that is
    too much.
    """
    rows, columns = counts
    if elements(footprint, rows, columns) <= limit:
        return rows, columns
    best, fewest = (1, 1), None
    for bands in sorted({ceil(rows / height) for height in range(1, rows + 1)}):
        height = ceil(rows / bands)
        widest = _widest(footprint, height, columns, limit)
        if not widest:
            continue
        across = ceil(columns / widest)
        width = ceil(columns / across)
        pixels = bands * across * _span(grid, 0, height) * _span(grid, 1, width)
        if fewest is None or pixels < fewest:
            best, fewest = (height, width), pixels
    return best


def tiles(counts: Pair, shape: Pair) -> Iterator[Iterator[tuple[Pair, Pair]]]:
    """Yield the tiles of every band as ``((first row, first column), (last row, last column))``."""
    for top in range(0, counts[0], shape[0]):
        bottom = min(top + shape[0], counts[0]) - 1
        yield (
            ((top, left), (bottom, min(left + shape[1], counts[1]) - 1))
            for left in range(0, counts[1], shape[1])
        )


def _widest(footprint: Footprint, height: int, columns: int, limit: int) -> int:
    """Return the most columns of windows that fit, for a tile of so many rows."""
    low, high = 0, columns
    while low < high:
        middle = (low + high + 1) // 2
        if elements(footprint, height, middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _span(grid: Grid, axis: int, windows: int) -> int:
    return (windows - 1) * grid.step[axis] + grid.window[axis]
