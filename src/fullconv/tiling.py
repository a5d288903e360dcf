"""Tiles of windows: which pixels each reads, and which windows it answers for. Pure integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil
from typing import NamedTuple

from fullconv.geometry import NO_HALO, Grid, Halo, Pair
from fullconv.lift.memory import Footprint, elements
from fullconv.windows import Windows


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
    parts : tuple of Tile
        Where it holds windows that are flush with the border (Note [The border]), the tiles that it
        is scored in: its windows a step apart, and the others. The pixels are those of the first.
    """

    index: int
    rows: Pair
    columns: Pair
    y: Pair
    x: Pair
    skipped: Pair
    parts: tuple[Tile, ...] = ()

    @property
    def passes(self) -> tuple[Tile, ...]:
        """What is scored in one pass each: the parts, or itself."""
        return self.parts or (self,)

    @property
    def windows(self) -> int:
        """Count the windows it answers for."""
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])

    @property
    def pixels(self) -> int:
        """Count the pixels it reads; what several parts read counts for each."""
        return sum((one.y[1] - one.y[0]) * (one.x[1] - one.x[0]) for one in self.passes)

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
    cover : str
        "all", where windows flush with the border come last; see `Windows`.
    """

    image: Pair
    grid: Grid
    shape: Pair
    halo: Halo = NO_HALO
    cover: str = "whole"

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

    def covering(self) -> Plan:
        """Return the plan with windows flush with the border, in the last tiles where they fit."""
        covered = replace(self, cover="all")
        height, width = (
            side + (axis.has_flush and side == axis.regular)
            for side, axis in zip(self.shape, covered.all_windows.axes, strict=True)
        )
        return replace(covered, shape=(height, width))

    @cached_property
    def all_windows(self) -> Windows:
        """The windows of the image."""
        return Windows.of(self.grid, self.image, self.cover)

    @cached_property
    def counts(self) -> Pair:
        """Rows and columns of windows in the image."""
        return self.all_windows.shape

    @cached_property
    def tiles(self) -> Pair:
        """Rows and columns of tiles."""
        (rows, columns), (height, width) = self.counts, self.shape
        return ceil(rows / height), ceil(columns / width)

    @cached_property
    def pixels(self) -> int:
        """Count the pixels that all tiles read; what several of them read counts for each."""
        down, across = (
            sum(stop - start for n in range(count) for _, (start, stop), _ in self._sides(axis, n))
            for axis, count in enumerate(self.tiles)
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
        down, across = self._sides(0, band), self._sides(1, place)
        parts = tuple(
            Tile(index, rows.windows, columns.windows, rows.pixels, columns.pixels, skipped)
            for rows in down
            for columns in across
            for skipped in [(rows.skipped, columns.skipped)]
        )
        if len(parts) == 1:
            return parts[0]
        rows = down[0].windows[0], down[-1].windows[1]
        columns = across[0].windows[0], across[-1].windows[1]
        first = parts[0]
        return Tile(index, rows, columns, first.y, first.x, first.skipped, parts)

    def _sides(self, axis: int, number: int) -> list[_Side]:
        """Return a tile's windows along one axis: those a step apart, and one at the border.

        It begins a whole number of steps before its own windows, so that all that it computes lies
        on the same cells as over the whole image. It ends with a whole window, for maps are cut to
        what the windows of a tile cover: only so does the cut lie beyond the halo.
        """
        along = self.all_windows.axes[axis]
        first = number * self.shape[axis]
        last = min(first + self.shape[axis], along.count)
        sides = []
        if first < along.regular:
            sides.append(self._side(axis, first, min(last, along.regular), 0))
        if last > along.regular:
            # On the image whose first pixels are cut off, it is the last window a step apart.
            flush = self._side(axis, along.regular - 1, along.regular, along.rest)
            sides.append(flush._replace(windows=(along.regular, last)))
        return sides

    def _side(self, axis: int, first: int, last: int, begin: int) -> _Side:
        """Return windows along one axis of the image from some pixel on."""
        step, window = self.grid.step[axis], self.grid.window[axis]
        before, after = self.halo[axis]
        skipped = min(first, ceil(before / step))
        end = min(self.image[axis], begin + (last - 1 + ceil(after / step)) * step + window)
        return _Side((first, last), (begin + (first - skipped) * step, end), skipped)


class _Side(NamedTuple):
    """A tile along one axis: its windows, its pixels, and the windows in its halo before."""

    windows: Pair
    pixels: Pair
    skipped: int


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
