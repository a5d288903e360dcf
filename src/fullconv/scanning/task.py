"""What happens to one tile: pixels in, scores out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError, ModelError
from fullconv.geometry import Grid, Pair, Sizes
from fullconv.preprocessing import Preprocessing
from fullconv.runtimes import Runtime
from fullconv.scanning.region import Region
from fullconv.sources import Source
from fullconv.sources.contents import checksum, combined
from fullconv.tiling import Plan, Tile

BAND_BYTES = 1 << 20
"""Pixels are prepared in bands of rows of about this size, which stay in the processor's caches."""


@dataclass(frozen=True)
class Prepared:
    """The pixels of one pass, ``(1, C, *size)``, and which of its windows are not to be scored.

    The pixels lie at the beginning of ``room``. Of its ``windows`` in the region, ``odd`` hold NaN
    or infinite pixels, or some that are missing. ``checksum`` is of the pixels as they were read,
    where one is kept.
    """

    pixels: NDArray[np.float32]
    room: NDArray[np.float32]
    left_out: NDArray[np.bool_]
    windows: int
    odd: int
    checksum: int | None


@dataclass(frozen=True)
class Scored:
    """Scores ``(K, *windows)`` of a tile's own windows; counts as in `Prepared`."""

    scores: NDArray[Any]
    windows: int
    odd: int
    checksum: int | None


@dataclass(frozen=True)
class Task:
    """One image, one network, one region, tile by tile.

    The room that a tile's pixels took is kept in ``spare`` for another tile: to get as much from
    the system anew takes about as long as to prepare them.
    """

    image: Source
    preprocessing: Preprocessing | None
    region: Region
    plan: Plan
    runtime: Runtime
    output: int
    channels: int
    spare: SimpleQueue[NDArray[np.float32]] = field(default_factory=SimpleQueue, repr=False)

    @property
    def grid(self) -> Grid:
        """Window and step."""
        return self.plan.grid

    def left(self, finished: NDArray[np.bool_]) -> Iterator[Tile]:
        """Yield the tiles that hold windows to score, but for those that are finished."""
        for index in np.flatnonzero(~finished).tolist():
            tile = self.plan[index]
            if self.region.touches(*tile.windows):
                yield tile

    @cached_property
    def shape(self) -> Sizes:
        """Scores of a window, and windows along every axis."""
        return (self._scores_of_a_window(), *self.plan.counts)

    def _scores_of_a_window(self) -> int:
        """Count the scores that the network gives to one window."""
        nothing = np.zeros((1, self.channels, *self.grid.window), np.float32)
        scores: int = self._leaf(self.runtime.run(nothing)).shape[1]
        return scores

    def read(self, tile: Tile) -> list[Prepared]:
        """Return the pixels of a tile, pass by pass, and which of its windows are left out.

        Those are the windows that hold NaN, infinity, or pixels that the file does not hold.
        """
        return [self._read(one) for one in tile.passes]

    def _read(self, tile: Tile) -> Prepared:
        room = self._room(self.channels * tile.pixel_count)
        held = self.image.read(*tile.pixels)
        kept = checksum(held) if self.image.is_sampled else None
        pixels, odd = prepare(held, self.preprocessing, room)
        wanted = self.region.wanted(*tile.windows)
        windows, touched = int(np.count_nonzero(wanted)), 0
        missing = self.image.missing(*tile.pixels)
        if missing is not None:
            odd = missing if odd is None else odd | missing
        if odd is not None:
            wanted &= ~self._touched(odd, tile)
            touched = windows - int(np.count_nonzero(wanted))
        return Prepared(pixels[None], room, ~wanted, windows, touched, kept)

    def compute(self, tile: Tile, held: list[Prepared]) -> Scored:
        """Return the scores of a tile's own windows, NaN where left out."""
        passes = [self._compute(one, part) for one, part in zip(tile.passes, held, strict=True)]
        if len(passes) == 1:
            return passes[0]
        first = passes[0].scores
        counts = [stop - start for start, stop in tile.windows]
        scores = np.empty((len(first), *counts), first.dtype)
        for one, made in zip(tile.passes, passes, strict=True):
            within = [
                slice(start - begin, stop - begin)
                for (start, stop), (begin, _) in zip(one.windows, tile.windows, strict=True)
            ]
            scores[(slice(None), *within)] = made.scores
        return Scored(
            scores,
            sum(one.windows for one in passes),
            sum(one.odd for one in passes),
            combined([one.checksum for one in passes]),
        )

    def _compute(self, tile: Tile, held: Prepared) -> Scored:
        scores = self._leaf(self.runtime.run(held.pixels))[0]
        expected = self.grid.shape(held.pixels.shape[2:])
        if scores.shape[1:] != expected:
            given, wanted = ("x".join(map(str, n)) for n in (scores.shape[1:], expected))
            raise ModelError(
                f"the model gives {given} scores for the {wanted} windows of a tile, so its file "
                f"says another window or step than it has; convert the original model again."
            )
        scores = scores[(..., *tile.own)]
        if not np.may_share_memory(scores, held.room):  # a network may hand on its input
            self.spare.put(held.room)
        if held.left_out.any():
            scores = np.where(held.left_out, np.float32(np.nan), scores)
        return Scored(scores, held.windows, held.odd, held.checksum)

    def _room(self, numbers: int) -> NDArray[np.float32]:
        """Return room for so many numbers or more: what another tile has left, else new."""
        try:
            room = self.spare.get_nowait()
        except Empty:
            return np.empty(numbers, np.float32)
        return room if room.size >= numbers else np.empty(numbers, np.float32)

    def _touched(self, odd: NDArray[np.bool_], tile: Tile) -> NDArray[np.bool_]:
        """Return which of a tile's windows hold a marked pixel, by sums over its corners."""
        inside = odd.astype(np.int64)
        windows = zip(self.plan.all_windows.axes, tile.windows, tile.pixels, strict=True)
        for axis, (along, own, (begin, _)) in enumerate(windows):
            total = np.insert(np.cumsum(inside, axis=axis), 0, 0, axis=axis)
            first = along.positions(*own) - begin
            last = first + along.window
            inside = np.take(total, last, axis=axis) - np.take(total, first, axis=axis)
        touched: NDArray[np.bool_] = inside > 0
        return touched

    def _leaf(self, outputs: list[NDArray[Any]]) -> NDArray[Any]:
        """Return the wanted output as ``(N, K, *windows)``."""
        found = leaf(outputs, self.output)
        axes = self.grid.dimensions
        return found.reshape(len(found), -1, *found.shape[found.ndim - axes :])


def prepared_pixels(
    image: Source, preprocessing: Preprocessing | None, *spans: Pair
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Read a rectangle, and return what `prepare` makes of it."""
    return prepare(image.read(*spans), preprocessing)


def prepare(
    pixels_read: NDArray[Any],
    preprocessing: Preprocessing | None,
    room: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Prepare pixels ``(*size, C)``: return ``(C, *size)``, and where they are NaN or infinite.

    Such pixels are 0 in what is returned; the network would spread them, each runtime in its own
    way. What is returned lies in ``room``, where that is given.
    """
    held = np.moveaxis(pixels_read, -1, 0)
    odd = None
    if held.dtype == np.float64:
        with np.errstate(over="ignore"):  # beyond single precision is as good as infinite
            held = held.astype(np.float32)
    if held.dtype.kind == "f" and not np.isfinite(held).all():
        odd = ~np.isfinite(held).all(axis=0)
        held = np.where(np.isfinite(held), held, 0)
    if room is None:
        room = np.empty(held.size, np.float32)
    pixels = room[: held.size].reshape(held.shape)
    rows = max(1, BAND_BYTES * held.shape[1] // pixels.nbytes)
    for top in range(0, held.shape[1], rows):
        band = held[:, top : top + rows]
        place = pixels[:, top : top + rows]
        if preprocessing is None:
            place[...] = band
        else:
            preprocessing.apply(band, place, dimensions=held.ndim - 1)
    return pixels, odd


def leaf(outputs: list[NDArray[Any]], wanted: int) -> NDArray[Any]:
    """Return one of a model's outputs.

    Raises
    ------
    InputError
        If there are not so many.
    """
    if not 0 <= wanted < len(outputs):
        raise InputError(
            f"scan(output={wanted}): the model has {len(outputs)} output(s), counted from 0."
        )
    return outputs[wanted]
