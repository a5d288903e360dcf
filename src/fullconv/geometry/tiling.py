"""Tiles of windows: which pixels each reads, and which windows it answers for. Pure integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from math import ceil, prod
from typing import NamedTuple

from fullconv.geometry.grid import Grid, Halo, Sizes, Span, no_halo, unraveled
from fullconv.geometry.windows import Windows
from fullconv.lift.memory import Footprint, Size, elements

FEW = 16
"""Fewest windows of a tile, even where smaller tiles would fit the cache better."""


@dataclass(frozen=True)
class Tile:
    """Neighbouring windows, and the pixels that are read to score them.

    Attributes
    ----------
    index : int
        Its number in the plan, row-major.
    windows : tuple of (int, int)
        The windows it answers for along every axis, half-open.
    pixels : tuple of (int, int)
        The pixels it reads along every axis, half-open: its windows and their halo.
    skipped : tuple of int
        Windows along every axis that lie in the halo before its own.
    parts : tuple of Tile
        The tiles in which a tile with windows flush with the border (Note [The border]) is scored:
        its windows a step apart, and the flush ones. Its own ``pixels`` are those of the first.
        Other tiles have none.
    """

    index: int
    windows: tuple[Span, ...]
    pixels: tuple[Span, ...]
    skipped: Sizes
    parts: tuple[Tile, ...] = ()

    @property
    def passes(self) -> tuple[Tile, ...]:
        """The tiles that are scored in one pass each: the parts, or the tile itself."""
        return self.parts or (self,)

    @property
    def window_count(self) -> int:
        """Count the windows it answers for."""
        return prod(stop - start for start, stop in self.windows)

    @property
    def pixel_count(self) -> int:
        """Count the pixels it reads; a pixel that several parts read counts once for each."""
        return sum(prod(one.size) for one in self.passes)

    @property
    def size(self) -> Sizes:
        """Pixels that it reads along every axis."""
        return tuple(stop - start for start, stop in self.pixels)

    @property
    def own(self) -> tuple[slice, ...]:
        """Where its own windows lie among the scores of the pixels that it reads."""
        return tuple(
            slice(before, before + stop - start)
            for before, (start, stop) in zip(self.skipped, self.windows, strict=True)
        )

    @property
    def slices(self) -> tuple[slice, ...]:
        """The slices of an image's axes that it reads."""
        return tuple(slice(*span) for span in self.pixels)

    @property
    def cells(self) -> tuple[slice, ...]:
        """The slices of a heatmap's axes where the scores of its windows lie."""
        return tuple(slice(*span) for span in self.windows)


@dataclass(frozen=True)
class Plan:
    """The division of an image into tiles, each window in exactly one of them.

    Attributes
    ----------
    image : tuple of int
        Size of the image along every axis, in pixels.
    grid : Grid
        Window and step.
    shape : tuple of int
        Windows in a tile along every axis; the last ones may have fewer.
    halo : Halo
        Pixels that a tile reads beyond its windows; by default none.
    cover : str
        "all" adds windows flush with the border, as the last ones; see `Windows`.
    """

    image: Sizes
    grid: Grid
    shape: Sizes
    halo: Halo = ()
    cover: str = "whole"

    def __post_init__(self) -> None:
        if not self.halo:
            object.__setattr__(self, "halo", no_halo(len(self.image)))

    @classmethod
    def within(cls, image: Sizes, grid: Grid, halo: Halo, footprint: Footprint, limit: int) -> Plan:
        """Return the plan that reads the fewest pixels, of those within ``limit`` elements.

        Neighbouring tiles overlap by a window less a step, and by their halo. Where two windows
        exceed the limit, a tile has one window. Tiles with a halo may take at least twice the
        elements of the smallest one, whatever the limit: every tile reads its halo again.
        """
        counts = grid.shape(image)
        in_halo = _windows_in(grid, halo)

        def computed(shape: Sequence[int]) -> Sizes:
            """Return the windows that a tile computes, its halo included."""
            return tuple(side + more for side, more in zip(shape, in_halo, strict=True))

        def needed(*shape: int) -> int:
            return elements(footprint, tuple(map(min, counts, computed(shape))))

        if needed(*counts) <= limit:
            return cls(image, grid, counts, halo)
        # An axis along which the halo spans the whole image gains nothing from tiles.
        least = tuple(
            count if min(sides) >= size else 1
            for count, sides, size in zip(counts, halo, image, strict=True)
        )
        if any(map(any, halo)):
            limit = max(limit, 2 * needed(*least))
        best, fewest = least, None
        for leading in product(*map(_divisions, counts[:-1])):
            widest = _most(counts[-1], partial(needed, *leading), limit)
            if not widest:
                continue
            shape = (*leading, ceil(counts[-1] / ceil(counts[-1] / widest)))
            tiles = prod(map(_parts, counts, shape))
            pixels = tiles * prod(map(_span, grid.window, grid.step, computed(shape)))
            if fewest is None or pixels < fewest:
                best, fewest = shape, pixels
        return cls(image, grid, best, halo)

    @classmethod
    def in_cache(
        cls, image: Sizes, grid: Grid, footprint: Footprint, cost: Size, limit: int, again: float
    ) -> Plan | None:
        """Return the plan within ``limit`` elements; None if its tiles compute much more than one.

        A tile has at least `FEW` windows, so that matrices are read once for all of them. Where
        sharing ends early, windows have most multiply-accumulates for themselves. Small tiles then
        compute next to nothing again, and one large tile would fall out of the processor's caches.

        Parameters
        ----------
        cost : Size
            Multiply-accumulates for any number of windows.
        again : float
            How many times as many all tiles may compute as a single one would.
        """
        counts = grid.shape(image)
        least = elements(footprint, first_windows(counts, FEW))
        plan = cls.within(image, grid, no_halo(len(image)), footprint, max(limit, least))
        whole = cost.at(counts)
        sets = product(*zip(counts, plan.tiles, strict=True))
        tiled = sum(n * prod(chosen) for n, chosen in zip(cost, sets, strict=True))
        return plan if 0 < tiled <= again * whole else None

    def covering(self) -> Plan:
        """Return the plan with windows flush with the border, in the last tiles where they fit."""
        covered = replace(self, cover="all")
        shape = tuple(
            side + (axis.has_flush and side == axis.regular)
            for side, axis in zip(self.shape, covered.all_windows.axes, strict=True)
        )
        return replace(covered, shape=shape)

    @cached_property
    def all_windows(self) -> Windows:
        """The windows of the image."""
        return Windows.of(self.grid, self.image, self.cover)

    @cached_property
    def counts(self) -> Sizes:
        """Windows in the image along every axis."""
        return self.all_windows.shape

    @cached_property
    def tiles(self) -> Sizes:
        """Tiles along every axis."""
        return tuple(map(_parts, self.counts, self.shape))

    @cached_property
    def pixels(self) -> int:
        """Count the pixels that all tiles read; a pixel that several read counts once for each."""
        return prod(
            sum(stop - start for n in range(count) for _, (start, stop), _ in self._sides(axis, n))
            for axis, count in enumerate(self.tiles)
        )

    def __len__(self) -> int:
        """Count the tiles."""
        return prod(self.tiles)

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles, row-major."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Tile:
        """Return one tile."""
        along = [self._sides(axis, n) for axis, n in enumerate(self.place(index))]
        parts = tuple(
            Tile(index, *map(tuple, zip(*sides, strict=True))) for sides in product(*along)
        )
        if len(parts) == 1:
            return parts[0]
        windows = tuple((sides[0].windows[0], sides[-1].windows[1]) for sides in along)
        return Tile(index, windows, parts[0].pixels, parts[0].skipped, parts)

    def place(self, index: int) -> Sizes:
        """Return where a tile lies among the tiles along every axis."""
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        return unraveled(index, self.tiles)

    def _sides(self, axis: int, number: int) -> list[_Side]:
        """Return a tile's windows along one axis: those a step apart, and one at the border.

        The pixels begin a whole number of steps before the tile's own windows, so that everything
        computed lies on the same cells as over the whole image. They end with a whole window: maps
        are cut to what the windows of a tile cover, and the cut must lie beyond the halo.
        """
        along = self.all_windows.axes[axis]
        first = number * self.shape[axis]
        last = min(first + self.shape[axis], along.count)
        sides = []
        if first < along.regular:
            sides.append(self._side(axis, first, min(last, along.regular), 0))
        if last > along.regular:
            # In the image without as many first pixels as the rest, it is the last regular window.
            flush = self._side(axis, along.regular - 1, along.regular, along.rest)
            sides.append(flush._replace(windows=(along.regular, last)))
        return sides

    def _side(self, axis: int, first: int, last: int, begin: int) -> _Side:
        """Return the windows ``first`` to ``last`` of the image from pixel ``begin`` on."""
        step, window = self.grid.step[axis], self.grid.window[axis]
        before, after = self.halo[axis]
        skipped = min(first, ceil(before / step))
        end = min(self.image[axis], begin + (last - 1 + ceil(after / step)) * step + window)
        return _Side((first, last), (begin + (first - skipped) * step, end), skipped)


class _Side(NamedTuple):
    """A tile along one axis: its windows, its pixels, and the windows in the halo before them."""

    windows: Span
    pixels: Span
    skipped: int


def first_windows(counts: Sizes, number: int) -> Sizes:
    """Return a tile of at least ``number`` windows, or of all: rows of the last axis."""
    tile: list[int] = []
    for count in reversed(counts):
        tile.append(min(count, number))
        number = ceil(number / tile[-1])
    return tuple(reversed(tile))


def _windows_in(grid: Grid, halo: Halo) -> Sizes:
    """Return the most windows that a halo holds along every axis."""
    return tuple(
        sum(ceil(side / step) for side in sides)
        for sides, step in zip(halo, grid.step, strict=True)
    )


def _divisions(windows: int) -> list[int]:
    """Return the lengths of parts into which windows are divided evenly, the longest first."""
    parts = sorted({ceil(windows / length) for length in range(1, windows + 1)})
    return [ceil(windows / number) for number in parts]


def _most(windows: int, needed: Callable[[int], int], limit: int) -> int:
    """Return the most windows along an axis that stay within a limit."""
    low, high = 0, windows
    while low < high:
        middle = (low + high + 1) // 2
        if needed(middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _parts(windows: int, length: int) -> int:
    return ceil(windows / length)


def _span(window: int, step: int, windows: int) -> int:
    return (windows - 1) * step + window
