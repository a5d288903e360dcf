"""Tiles of windows: which pixels each reads, and which windows it answers for. Pure integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from math import ceil, prod

from fullconv.geometry import Grid, Halo, Pair, Sizes, no_halo, unraveled
from fullconv.lift.memory import Footprint, elements


@dataclass(frozen=True)
class Tile:
    """Some neighbouring windows, and the pixels that are read to score them.

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
    """

    index: int
    windows: tuple[Pair, ...]
    pixels: tuple[Pair, ...]
    skipped: Sizes

    @property
    def window_count(self) -> int:
        """Count the windows it answers for."""
        return prod(stop - start for start, stop in self.windows)

    @property
    def pixel_count(self) -> int:
        """Count the pixels it reads."""
        return prod(self.size)

    rows = property(lambda self: self.windows[0])
    columns = property(lambda self: self.windows[1])
    y = property(lambda self: self.pixels[0])
    x = property(lambda self: self.pixels[1])

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
        """What cuts the pixels that it reads out of the axes of an image."""
        return tuple(slice(*span) for span in self.pixels)


@dataclass(frozen=True)
class Plan:
    """How an image is taken in tiles, each window in exactly one of them.

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
    """

    image: Sizes
    grid: Grid
    shape: Sizes
    halo: Halo = ()

    def __post_init__(self) -> None:
        if not self.halo:
            object.__setattr__(self, "halo", no_halo(len(self.image)))

    @classmethod
    def within(cls, image: Sizes, grid: Grid, halo: Halo, footprint: Footprint, limit: int) -> Plan:
        """Return the plan that reads the fewest pixels, of those within ``limit`` elements.

        Neighbouring tiles overlap by a window less a step, and by their halo. Where even two
        windows are too much, one window at a time; but where one window is too much because of
        its halo, tiles take twice what it takes, for its halo would be read again for each.
        """
        counts = grid.shape(image)
        lost = _windows_in(grid, halo)

        def read(shape: Sequence[int]) -> Sizes:
            """Return the windows that a tile computes, its halo included."""
            return tuple(side + more for side, more in zip(shape, lost, strict=True))

        def held(*shape: int) -> int:
            return elements(footprint, tuple(map(min, counts, read(shape))))

        if held(*counts) <= limit:
            return cls(image, grid, counts, halo)
        # What sees the whole image anyway gains nothing from tiles.
        least = tuple(
            count if min(sides) >= size else 1
            for count, sides, size in zip(counts, halo, image, strict=True)
        )
        if any(map(any, halo)):
            limit = max(limit, 2 * held(*least))
        best, fewest = least, None
        for leading in product(*map(_divisions, counts[:-1])):
            widest = _most(counts[-1], partial(held, *leading), limit)
            if not widest:
                continue
            shape = (*leading, ceil(counts[-1] / ceil(counts[-1] / widest)))
            tiles = prod(map(_parts, counts, shape))
            pixels = tiles * prod(map(_span, grid.window, grid.step, read(shape)))
            if fewest is None or pixels < fewest:
                best, fewest = shape, pixels
        return cls(image, grid, best, halo)

    @cached_property
    def counts(self) -> Sizes:
        """Windows in the image along every axis."""
        return self.grid.shape(self.image)

    @cached_property
    def tiles(self) -> Sizes:
        """Tiles along every axis."""
        return tuple(map(_parts, self.counts, self.shape))

    @cached_property
    def pixels(self) -> int:
        """Count the pixels that all tiles read; what several of them read counts for each."""
        return prod(
            sum(stop - start for _, (start, stop), _ in map(partial(self._side, axis), range(n)))
            for axis, n in enumerate(self.tiles)
        )

    def __len__(self) -> int:
        """Count the tiles."""
        return prod(self.tiles)

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles, row-major."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Tile:
        """Return one tile."""
        sides = [self._side(axis, n) for axis, n in enumerate(self.place(index))]
        windows, pixels, skipped = zip(*sides, strict=True)
        return Tile(index, windows, pixels, skipped)

    def place(self, index: int) -> Sizes:
        """Return where a tile lies among the tiles along every axis."""
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        return unraveled(index, self.tiles)

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


def _windows_in(grid: Grid, halo: Halo) -> Sizes:
    """Return how many windows a halo holds at most along every axis."""
    return tuple(
        sum(ceil(side / step) for side in sides)
        for sides, step in zip(halo, grid.step, strict=True)
    )


def _divisions(windows: int) -> list[int]:
    """Return the lengths of the longest parts into which so many windows can be divided evenly."""
    parts = sorted({ceil(windows / length) for length in range(1, windows + 1)})
    return [ceil(windows / number) for number in parts]


def _most(windows: int, held: Callable[[int], int], limit: int) -> int:
    """Return the most windows along an axis that stay within a limit."""
    low, high = 0, windows
    while low < high:
        middle = (low + high + 1) // 2
        if held(middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _parts(windows: int, length: int) -> int:
    return ceil(windows / length)


def _span(window: int, step: int, windows: int) -> int:
    return (windows - 1) * step + window
