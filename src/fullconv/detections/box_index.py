"""Boxes sorted into cells, so that neighbours are found without comparing all pairs.

Note [Cells]. Two boxes overlap by more than ``iou`` only where, in each direction, the shorter
side is more than ``iou`` times the longer one, and the centres lie less than ``(1 - iou)`` times
the longer side apart. For the shared length is at most the shorter side, and at most half the sum
of both sides less the distance of the centres. And it must exceed ``iou`` times the longer side, or
the shared area could not exceed ``iou`` times the larger box.

So boxes are grouped into levels of about one size. Within a level they are sorted by the cell of
their centre. Cells are as wide as centres may lie apart, so neighbours are in three by three cells.
Cells are numbered row by row, so neighbouring cells of one row are one run of the sorted boxes.
Intervals and cuboids are sorted in the same way, into cells along one axis and three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullconv.detections.overlap import Boxes, corners_of

Indices = NDArray[np.int64]
Sides = NDArray[np.float64]

BITS = 56
"""Bits of the numbers of cells from 0 to the farthest box, along all axes. With twice as many cells
on either side of 0 along each axis, the numbers still fit into 64 bits."""

MARGIN = 1e-3
"""Share of a cell that is searched beyond the bounds of Note [Cells]: far more than rounding."""


class Runs(NamedTuple):
    """Boxes that may overlap: ``members[start : start + length]`` for each box of ``asked``."""

    asked: Indices
    start: Indices
    length: Indices
    members: Indices


@dataclass(frozen=True)
class _Level:
    """The boxes of about one size; sides and cells are ``(axes,)`` or ``(n, axes)``, x first."""

    cell: Sides
    shortest: Sides
    longest: Sides
    first: Indices
    last: Indices
    keys: Indices
    members: Indices


class BoxIndex:
    """A set of boxes ``(n, 4)`` with an area, searched for those that overlap others by ``iou``."""

    def __init__(self, boxes: Boxes, iou: float) -> None:
        self.iou = iou
        sides = _sides(boxes)
        octave = np.frexp(sides.max(axis=1))[1]
        farthest = float(np.abs(boxes).max()) if len(boxes) else 0.0
        most = 1 << (BITS // sides.shape[1])
        self.levels = [
            self._level(boxes, sides, np.flatnonzero(octave == each), farthest / most)
            for each in np.unique(octave)
        ]

    def _level(self, boxes: Boxes, sides: Sides, members: Indices, least: float) -> _Level:
        longest = sides[members].max(axis=0)
        cell = np.maximum(max(1 - self.iou, MARGIN) * longest, least)
        place = _place(_centres(boxes[members]), cell)
        first, last = place.min(axis=0), place.max(axis=0)
        keys = _numbered(place, first, last)
        order = np.argsort(keys, kind="stable")
        shortest = sides[members].min(axis=0)
        return _Level(
            cell=cell,
            shortest=shortest,
            longest=longest,
            first=first,
            last=last,
            keys=keys[order],
            members=members[order],
        )

    def near(self, boxes: Boxes) -> Iterator[Runs]:
        """Yield all that may overlap ``boxes`` by more than ``iou``, and some that do not."""
        sides = _sides(boxes)
        least = (1 - MARGIN) * self.iou
        for level in self.levels:
            alike = (least * sides <= level.longest) & (least * level.shortest <= sides)
            asked = np.flatnonzero(alike.all(axis=1))
            if len(asked):
                yield self._runs(level, boxes[asked], sides[asked], asked)

    def _runs(self, level: _Level, boxes: Boxes, sides: Sides, asked: Indices) -> Runs:
        """Return the runs of one level, one for each asked box and row of cells."""
        reach = (1 - self.iou) * np.maximum(sides, level.longest) + MARGIN * level.cell
        centres = _centres(boxes)
        low = np.maximum(_place(centres - reach, level.cell), level.first)
        high = np.minimum(_place(centres + reach, level.cell), level.last)
        # In the order of the cells, successive searches hit the processor's cache.
        order = np.lexsort(low.T)
        low, high = low[order], high[order]
        inside = (high >= low).all(axis=1)
        # A row of cells along x for each of their places along the other axes.
        across = high[:, 1:] - low[:, 1:] + 1
        rows = np.where(inside, across.prod(axis=1), 0)
        which = np.repeat(np.arange(len(rows)), rows)
        number = np.arange(len(which)) - np.repeat(np.cumsum(rows) - rows, rows)
        begin = low[which]
        for axis in range(1, begin.shape[1]):
            number, place = np.divmod(number, across[which, axis - 1])
            begin[:, axis] += place
        keys = _numbered(begin, level.first, level.last)
        start = np.searchsorted(level.keys, keys, "left")
        wide = high[which, 0] - low[which, 0]
        stop = np.searchsorted(level.keys, keys + wide, "right")
        return Runs(asked[order[which]], start, stop - start, level.members)


def pairs(runs: Runs, most: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield (asked, member) of every pair in some runs, about ``most`` pairs at a time."""
    ends = np.cumsum(runs.length)
    begin = 0
    while begin < len(ends):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + most, "right")))
        length = runs.length[begin:end]
        offset = np.repeat(runs.start[begin:end] - (ends[begin:end] - length - done), length)
        place = offset + np.arange(len(offset))
        yield np.repeat(runs.asked[begin:end], length), runs.members[place]
        begin = end


def _numbered(place: Indices, first: Indices, last: Indices) -> Indices:
    """Return the numbers of cells, counted row by row from ``first`` to ``last``."""
    keys: Indices = np.zeros(len(place), np.int64)
    for axis in reversed(range(len(first))):
        keys = keys * (last[axis] - first[axis] + 1) + place[:, axis] - first[axis]
    return keys


def _sides(boxes: Boxes) -> Sides:
    begin, end = corners_of(boxes)
    return end - begin


def _centres(boxes: Boxes) -> NDArray[np.float64]:
    begin, end = corners_of(boxes)
    return (begin + end) / 2


def _place(points: NDArray[np.float64], cell: Sides) -> Indices:
    return np.floor(points / cell).astype(np.int64)
