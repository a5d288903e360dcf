"""The work on one tile: pixels in, scores out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError, ModelError
from fullconv.geometry.grid import Grid, Sizes, Span
from fullconv.geometry.tiling import Plan, Tile
from fullconv.preprocessing import Preprocessing
from fullconv.runtimes import Runtime
from fullconv.scanning.region import Region
from fullconv.sources import Source
from fullconv.sources.contents import checksum, combined

BAND_BYTES = 1 << 20
"""Pixels are prepared in bands of rows of about this size, which stay in the processor's caches."""


@dataclass(frozen=True)
class Prepared:
    """The pixels of one pass, ``(1, C, *size)``, and which of its windows are not to be scored.

    The pixels lie at the beginning of ``room``. Of its ``windows`` in the region, ``unscored`` hold
    NaN or infinite pixels, or some that are missing. ``checksum`` is of the pixels as they were
    read, where one is kept.
    """

    pixels: NDArray[np.float32]
    room: NDArray[np.float32]
    left_out: NDArray[np.bool_]
    windows: int
    unscored: int
    checksum: int | None


@dataclass(frozen=True)
class Scored:
    """Scores ``(K, *windows)`` of a tile's own windows; counts as in `Prepared`."""

    scores: NDArray[Any]
    windows: int
    unscored: int
    checksum: int | None


@dataclass(frozen=True)
class Task:
    """One image, one network, one region, tile by tile.

    The buffer of a tile's pixels is kept in ``spare`` for another tile: a new one from the system
    takes about as long as the preparation of the pixels.
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
        """Yield the unfinished tiles that hold windows to score."""
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

        Windows outside of the region are left out, and those with NaN, infinite or missing pixels.
        """
        return [self._read(one) for one in tile.passes]

    def _read(self, tile: Tile) -> Prepared:
        room = self._room(self.channels * tile.pixel_count)
        pixels_read = self.image.read(*tile.pixels)
        kept = checksum(pixels_read) if self.image.is_sampled else None
        pixels, non_finite = prepare(pixels_read, self.preprocessing, room)
        wanted = self.region.wanted(*tile.windows)
        windows, touched = int(np.count_nonzero(wanted)), 0
        missing = self.image.missing(*tile.pixels)
        if missing is not None:
            non_finite = missing if non_finite is None else non_finite | missing
        if non_finite is not None:
            wanted &= ~self._touched(non_finite, tile)
            touched = windows - int(np.count_nonzero(wanted))
        return Prepared(pixels[None], room, ~wanted, windows, touched, kept)

    def compute(self, tile: Tile, prepared: list[Prepared]) -> Scored:
        """Return the scores of a tile's own windows, NaN where left out."""
        passes = [self._compute(one, part) for one, part in zip(tile.passes, prepared, strict=True)]
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
            sum(one.unscored for one in passes),
            combined([one.checksum for one in passes]),
        )

    def _compute(self, tile: Tile, prepared: Prepared) -> Scored:
        scores = self._leaf(self.runtime.run(prepared.pixels))[0]
        expected = self.grid.shape(prepared.pixels.shape[2:])
        if scores.shape[1:] != expected:
            given, wanted = ("x".join(map(str, n)) for n in (scores.shape[1:], expected))
            raise ModelError(
                f"the model gives {given} scores for the {wanted} windows of a tile, so its file "
                f"says another window or step than it has; convert the original model again."
            )
        scores = scores[(..., *tile.own)]
        if not np.may_share_memory(scores, prepared.room):  # a network may hand on its input
            self.spare.put(prepared.room)
        if prepared.left_out.any():
            scores = np.where(prepared.left_out, np.float32(np.nan), scores)
        return Scored(scores, prepared.windows, prepared.unscored, prepared.checksum)

    def _room(self, numbers: int) -> NDArray[np.float32]:
        """Return a buffer of at least ``numbers`` numbers: a spare one, else a new one."""
        try:
            room = self.spare.get_nowait()
        except Empty:
            return np.empty(numbers, np.float32)
        return room if room.size >= numbers else np.empty(numbers, np.float32)

    def _touched(self, non_finite: NDArray[np.bool_], tile: Tile) -> NDArray[np.bool_]:
        """Return which of a tile's windows hold a marked pixel, by sums over its corners."""
        inside = non_finite.astype(np.int64)
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
        output = leaf(outputs, self.output)
        axes = self.grid.dimensions
        return output.reshape(len(output), -1, *output.shape[output.ndim - axes :])


def prepared_pixels(
    image: Source, preprocessing: Preprocessing | None, *spans: Span
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Read a rectangle, and return what `prepare` makes of it."""
    return prepare(image.read(*spans), preprocessing)


def prepare(
    pixels_read: NDArray[Any],
    preprocessing: Preprocessing | None,
    room: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Prepare pixels ``(*size, C)``: return ``(C, *size)``, and where they are NaN or infinite.

    Such pixels are 0 in the result, because the network would spread them, each runtime in its own
    way. The result lies in ``room``, where that is given.
    """
    values = np.moveaxis(pixels_read, -1, 0)
    non_finite = None
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):  # beyond single precision is as good as infinite
            values = values.astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        non_finite = ~np.isfinite(values).all(axis=0)
        values = np.where(np.isfinite(values), values, 0)
    if room is None:
        room = np.empty(values.size, np.float32)
    pixels = room[: values.size].reshape(values.shape)
    rows = max(1, BAND_BYTES * values.shape[1] // pixels.nbytes)
    for top in range(0, values.shape[1], rows):
        band = values[:, top : top + rows]
        place = pixels[:, top : top + rows]
        if preprocessing is None:
            place[...] = band
        else:
            preprocessing.apply(band, place, dimensions=values.ndim - 1)
    return pixels, non_finite


def leaf(outputs: list[NDArray[Any]], wanted: int) -> NDArray[Any]:
    """Return one of a model's outputs.

    Raises
    ------
    InputError
        If there is no such output.
    """
    if not 0 <= wanted < len(outputs):
        raise InputError(
            f"scan(output={wanted}): the model has {len(outputs)} output(s), counted from 0."
        )
    return outputs[wanted]
