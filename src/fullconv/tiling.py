"""Tiles of windows: which pixels each reads, and which windows it answers for. Pure integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil

from fullconv.geometry import NO_HALO, Grid, Halo, Pair
from fullconv.lift.memory import Footprint, elements


@dataclass(frozen=True)
class Tile:
    """Some neighbouring windows, and the pixels that are read to score them.

    Attributes
    ----------
    index : int
        Its number in the plan, row by row.
    rows, columns : (int, int)
        The windows it answers for, half-open.
    y, x : (int, int)
        The rows and columns of pixels it reads, half-open: its windows and their halo.
    skipped : (int, int)
        Rows and columns of windows that lie in the halo, above and to the left of its own.
    """

    index: int
    rows: Pair
    columns: Pair
    y: Pair
    x: Pair
    skipped: Pair

    @property
    def windows(self) -> int:
        """Count the windows it answers for."""
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])

    @property
    def pixels(self) -> int:
        """Count the pixels it reads."""
        return (self.y[1] - self.y[0]) * (self.x[1] - self.x[0])

    @property
    def own(self) -> tuple[slice, slice]:
        """Where its own windows lie among the scores of the pixels that it reads."""
        (top, left), (rows, columns) = self.skipped, (self.rows, self.columns)
        return (
            slice(top, top + rows[1] - rows[0]),
            slice(left, left + columns[1] - columns[0]),
        )


@dataclass(frozen=True)
class Plan:
    """How an image is taken in tiles, each window in exactly one of them.

    Attributes
    ----------
    image : (int, int)
        Height and width of the image, in pixels.
    grid : Grid
        Window and step.
    shape : (int, int)
        Rows and columns of windows in a tile; the last ones may have fewer.
    halo : Halo
        Pixels that a tile reads beyond its windows.
    """

    image: Pair
    grid: Grid
    shape: Pair
    halo: Halo = NO_HALO

    @classmethod
    def within(cls, image: Pair, grid: Grid, halo: Halo, footprint: Footprint, limit: int) -> Plan:
        """Return the plan that reads the fewest pixels, of those within ``limit`` elements.

        Neighbouring tiles overlap by a window less a step, and by their halo. Where even two
        windows are too much, one window at a time; but where one window is too much because of
        its halo, tiles take twice what it takes, for its halo would be read again for each.
        """
        rows, columns = grid.shape(image)
        lost = _windows_in(grid, halo)

        def held(height: int, width: int) -> int:
            return elements(footprint, min(rows, height + lost[0]), min(columns, width + lost[1]))

        if held(rows, columns) <= limit:
            return cls(image, grid, (rows, columns), halo)
        # What sees the whole image anyway gains nothing from tiles.
        least = [
            count if min(sides) >= size else 1
            for count, sides, size in zip((rows, columns), halo, image, strict=True)
        ]
        if halo != NO_HALO:
            limit = max(limit, 2 * held(*least))
        best, fewest = (least[0], least[1]), None
        for bands in sorted({ceil(rows / height) for height in range(1, rows + 1)}):
            height = ceil(rows / bands)
            widest = _most(columns, partial(held, height), limit)
            if not widest:
                continue
            across = ceil(columns / widest)
            width = ceil(columns / across)
            high, wide = _span(grid, 0, height + lost[0]), _span(grid, 1, width + lost[1])
            pixels = bands * across * high * wide
            if fewest is None or pixels < fewest:
                best, fewest = (height, width), pixels
        return cls(image, grid, best, halo)

    @cached_property
    def counts(self) -> Pair:
        """Rows and columns of windows in the image."""
        return self.grid.shape(self.image)

    @cached_property
    def tiles(self) -> Pair:
        """Rows and columns of tiles."""
        (rows, columns), (height, width) = self.counts, self.shape
        return ceil(rows / height), ceil(columns / width)

    @cached_property
    def pixels(self) -> int:
        """Count the pixels that all tiles read; what several of them read counts for each."""
        down, across = (
            sum(stop - start for _, (start, stop), _ in map(partial(self._side, axis), range(n)))
            for axis, n in enumerate(self.tiles)
        )
        return down * across

    def __len__(self) -> int:
        """Count the tiles."""
        return self.tiles[0] * self.tiles[1]

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles, row by row."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Tile:
        """Return one tile."""
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        band, place = divmod(index, self.tiles[1])
        rows, y, top = self._side(0, band)
        columns, x, left = self._side(1, place)
        return Tile(index, rows, columns, y, x, (top, left))

    def _side(self, axis: int, number: int) -> tuple[Pair, Pair, int]:
        """Return a tile's windows and pixels along one axis, and the windows in its halo before.

        It begins a whole number of steps before its own windows, so that all that it computes lies
        on the same cells as over the whole image. It ends with a whole window, for maps are cut to
        what the windows of a tile cover: only so does the cut lie beyond the halo.
        """
        step, window = self.grid.step[axis], self.grid.window[axis]
        before, after = self.halo[axis]
        first = number * self.shape[axis]
        last = min(first + self.shape[axis], self.counts[axis])
        skipped = min(first, ceil(before / step))
        end = min(self.image[axis], (last - 1 + ceil(after / step)) * step + window)
        return (first, last), ((first - skipped) * step, end), skipped


def _windows_in(grid: Grid, halo: Halo) -> Pair:
    """Return how many rows and columns of windows a halo holds at most."""
    rows, columns = (
        sum(ceil(side / step) for side in sides)
        for sides, step in zip(halo, grid.step, strict=True)
    )
    return rows, columns


def _most(columns: int, held: Callable[[int], int], limit: int) -> int:
    """Return the most columns of windows that stay within a limit."""
    low, high = 0, columns
    while low < high:
        middle = (low + high + 1) // 2
        if held(middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _span(grid: Grid, axis: int, windows: int) -> int:
    return (windows - 1) * grid.step[axis] + grid.window[axis]
