"""Windows that score well and better than their neighbours, in a heatmap of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry import Grid, Pair
from fullconv.windows import Windows, WindowsAlong

BLOCK_SCORES = 1 << 24
"""Scores that are read at once, about: 64 MB as float32."""

UNCHUNKED = 512
"""Rows and columns by which blocks of an array without chunks grow."""


@dataclass(frozen=True, eq=False)
class Peaks:
    """The windows found, sorted by class, row and column.

    Attributes
    ----------
    labels, rows, columns : numpy.ndarray
        ``(n,)`` int64: the class and the place of each window in the heatmap.
    scores : numpy.ndarray
        ``(n,)`` float64.
    """

    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def boxes(self, windows: Windows | Grid) -> NDArray[np.float64]:
        """Return the windows as ``(n, 4)``, x0, y0, x1, y1 in pixels, half-open."""
        if isinstance(windows, Grid):
            counts = [int(max(numbers, default=0)) + 1 for numbers in (self.rows, self.columns)]
            windows = Windows.regular(windows, counts)
        rows, columns = windows.axes
        y, x = rows.starts(self.rows), columns.starts(self.columns)
        boxes = np.stack([x, y, x + columns.window, y + rows.window], axis=1)
        return boxes.astype(np.float64)


def peaks(
    scores: Any, windows: Windows | Grid, threshold: float, iou: float, classes: Sequence[int]
) -> Peaks:
    """Return the windows that reach a threshold and that no neighbour outdoes.

    A neighbour is one of the eight windows around, where it overlaps this one by more than
    ``iou``: at a step near the window, neighbours show other objects. Neighbours of equal score
    both stay, and suppression settles them. What is not a number was not scanned, and is neither
    found nor outdoes anyone.

    Parameters
    ----------
    scores : array
        ``(K, rows, columns)``, of anything that is sliced like an array: NumPy, a memory map, a
        zarr array. It is read by blocks of whole chunks, where it has chunks; the result does not
        depend on them.
    windows : Windows or Grid
        Where they lie; by a grid, all a step apart.
    threshold : float
        The least score, in the units of ``scores``.
    iou : float
        Between 0 and 1.
    classes : sequence of int
        Which of the K classes to look for.

    Raises
    ------
    InputError
        If ``scores`` has not three axes, or has no such class.
    """
    shape = tuple(scores.shape)
    if len(shape) != 3:
        raise InputError(
            f"peaks(scores): expected a heatmap (K, rows, columns), three axes; got shape {shape}."
        )
    for label in classes:
        if not 0 <= label < shape[0]:
            raise InputError(
                f"peaks(classes={list(classes)}): there is no class {label}; the heatmap has "
                f"classes 0 to {shape[0] - 1}."
            )
    if isinstance(windows, Grid):
        windows = Windows.regular(windows, [max(1, count) for count in shape[1:]])
    neighbours = _neighbours(windows, iou)
    found = [
        _of_block(scores, block, threshold, neighbours)
        for group in _class_groups(scores, sorted(set(classes)))
        for block in _blocks(scores, group)
    ]
    labels, rows, columns = np.concatenate(
        [np.zeros((3, 0), dtype=np.int64)] + [f[0] for f in found], axis=1
    )
    best = np.concatenate([np.zeros(0)] + [f[1] for f in found])
    order = np.lexsort((columns, rows, labels))
    return Peaks(labels[order], rows[order], columns[order], best[order])


@dataclass(frozen=True)
class _Block:
    """Classes, rows and columns of a heatmap that are searched at once; half-open."""

    classes: tuple[int, ...]
    rows: Pair
    columns: Pair


@dataclass(frozen=True, eq=False)
class _Neighbour:
    """A place, as (rows, columns) away, and which windows overlap theirs by more than ``iou``.

    ``near`` is True where all do; else it says so of the windows of every row and column.
    """

    away: Pair
    near: NDArray[np.bool_] | bool


def _neighbours(windows: Windows, iou: float) -> list[_Neighbour]:
    """Return the places whose windows overlap too much, of any window."""
    h, w = (axis.window for axis in windows.axes)
    found = []
    for away in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        rows, columns = (_shared(axis, n) for axis, n in zip(windows.axes, away, strict=True))
        shared = rows[:, None] * columns
        # The same division as in `overlap.py`, so that both agree on what overlaps too much.
        near = shared / (2 * h * w - shared) > iou
        if near.any():
            found.append(_Neighbour(away, bool(near.all()) or near))
    return found


def _shared(axis: WindowsAlong, away: int) -> NDArray[np.int64]:
    """Return the pixels that windows along an axis share with the one that is so many further.

    One number for all where they lie a step apart.
    """
    if not axis.has_flush:
        return np.array([max(0, axis.window - abs(away) * axis.step)])
    starts = axis.positions(0, axis.count)
    others = starts[np.clip(np.arange(axis.count) + away, 0, axis.count - 1)]
    shared: NDArray[np.int64] = np.maximum(0, axis.window - np.abs(others - starts))
    return shared


def _class_groups(scores: Any, classes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the classes that lie in one chunk together, and so are read together."""
    chunk = _chunks(scores)[0]
    groups: dict[int, list[int]] = {}
    for label in classes:
        groups.setdefault(label // chunk, []).append(label)
    return [tuple(group) for group in groups.values()]


def _blocks(scores: Any, classes: tuple[int, ...]) -> Iterator[_Block]:
    """Yield blocks of whole chunks that cover the heatmap and are small enough to hold."""
    _, rows, columns = scores.shape
    _, high, wide = _chunks(scores)
    held = (classes[-1] - classes[0] + 1) * high * wide
    side = max(1, int((BLOCK_SCORES / held) ** 0.5))
    high, wide = high * side, wide * side
    for top in range(0, rows, high):
        for left in range(0, columns, wide):
            bottom, right = min(top + high, rows), min(left + wide, columns)
            yield _Block(classes, (top, bottom), (left, right))


def _chunks(scores: Any) -> tuple[int, int, int]:
    chunks = getattr(scores, "chunks", None)
    return tuple(chunks) if chunks else (1, UNCHUNKED, UNCHUNKED)


def _of_block(
    scores: Any, block: _Block, threshold: float, neighbours: list[_Neighbour]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels, rows and columns ``(3, n)``, and scores, of the peaks of one block."""
    first, last = block.classes[0], block.classes[-1]
    _, rows, columns = scores.shape
    (top, bottom), (left, right) = block.rows, block.columns
    y0, y1 = max(top - 1, 0), min(bottom + 1, rows)
    x0, x1 = max(left - 1, 0), min(right + 1, columns)
    read = np.asarray(scores[first : last + 1, y0:y1, x0:x1])
    places, best = [np.zeros((3, 0), dtype=np.int64)], [np.zeros(0)]
    for label in block.classes:
        seen = read[label - first]
        good = np.zeros(seen.shape, dtype=bool)
        inner = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
        # Comparisons with what is not a number are false, which is what is wanted.
        good[inner] = seen[inner] >= threshold
        if good.any():
            _drop_outdone(good, seen, neighbours, (y0, x0))
        row, column = np.nonzero(good)
        places.append(np.stack([np.full_like(row, label), row + y0, column + x0]))
        best.append(seen[row, column].astype(np.float64))
    return np.concatenate(places, axis=1), np.concatenate(best)


def _drop_outdone(
    good: NDArray[np.bool_], seen: NDArray[Any], neighbours: list[_Neighbour], at: Pair
) -> None:
    """Clear, in place, whatever one of its neighbours outdoes; the block begins ``at``."""
    height, width = seen.shape
    for neighbour in neighbours:
        y, x = neighbour.away
        mine = (slice(max(0, -y), height - max(0, y)), slice(max(0, -x), width - max(0, x)))
        theirs = (slice(max(0, y), height - max(0, -y)), slice(max(0, x), width - max(0, -x)))
        outdone = seen[theirs] > seen[mine]
        if not isinstance(neighbour.near, bool):
            outdone &= _part(neighbour.near, at, mine)
        good[mine] &= ~outdone


def _part(near: NDArray[np.bool_], at: Pair, mine: tuple[slice, slice]) -> NDArray[np.bool_]:
    """Return what concerns some rows and columns of a block; axes of one number hold for all."""
    rows, columns = (
        slice(None) if count == 1 else slice(begin + part.start, begin + part.stop)
        for count, begin, part in zip(near.shape, at, mine, strict=True)
    )
    return near[rows, columns]
