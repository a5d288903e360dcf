"""Windows that score well and better than their neighbours, in a heatmap of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry.grid import Grid, Sizes, Span
from fullconv.geometry.windows import Windows, WindowsAlong
from fullconv.wording import windows_named

BLOCK_SCORES = 1 << 24
"""Scores that are read at once, about: 64 MB as float32."""

UNCHUNKED = 512 * 512
"""Windows by which blocks of an array without chunks grow, as many along every axis."""


@dataclass(frozen=True, eq=False)
class Peaks:
    """Windows that are peaks, sorted by class, row and column.

    Attributes
    ----------
    labels : numpy.ndarray
        ``(n,)`` int64: the class of each window.
    places : numpy.ndarray
        ``(axes, n)`` int64: the place of each in the heatmap, along every axis.
    scores : numpy.ndarray
        ``(n,)`` float64.
    """

    labels: NDArray[np.int64]
    places: NDArray[np.int64]
    scores: NDArray[np.float64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each window in the heatmap of an image."""
        rows: NDArray[np.int64] = self.places[-2]
        return rows

    @property
    def columns(self) -> NDArray[np.int64]:
        """The column of each window in the heatmap of an image."""
        columns: NDArray[np.int64] = self.places[-1]
        return columns

    def __len__(self) -> int:
        return len(self.scores)

    def boxes(self, windows: Windows | Grid) -> NDArray[np.float64]:
        """Return the windows as ``(n, 4)``, x0, y0, x1, y1 in pixels, half-open.

        Of recordings they are ``(n, 2)``, of volumes ``(n, 6)``, as `Windows.box` has them.
        """
        if isinstance(windows, Grid):
            counts = [int(max(numbers, default=0)) + 1 for numbers in self.places]
            windows = Windows.regular(windows, counts)
        along = list(zip(windows.axes, self.places, strict=True))[::-1]
        begins = [axis.starts(numbers) for axis, numbers in along]
        ends = [begin + axis.window for begin, (axis, _) in zip(begins, along, strict=True)]
        return np.stack([*begins, *ends], axis=1).astype(np.float64)


def peaks(
    scores: Any, windows: Windows | Grid, threshold: float, iou: float, classes: Sequence[int]
) -> Peaks:
    """Return the windows that reach a threshold and that no neighbour outdoes.

    A neighbour is one of the adjacent windows, eight of them in an image, if it overlaps this one
    by more than ``iou``: at a step near the window's size, adjacent windows show other objects.
    Neighbours of equal score both stay, and suppression settles them. A window whose score is NaN
    was not scanned: it is no peak, and outdoes no other.

    Parameters
    ----------
    scores : array
        ``(K, *windows)``, anything that is sliced like an array: NumPy, a memory map, a zarr
        array. It is read by blocks of whole chunks, where it has chunks; the result does not
        depend on them.
    windows : Windows or Grid
        The windows of the heatmap; a grid stands for windows that are all a step apart.
    threshold : float
        The least score, in the units of ``scores``.
    iou : float
        Between 0 and 1.
    classes : sequence of int
        Which of the K classes to look for.

    Raises
    ------
    InputError
        If ``scores`` has another number of axes than the windows, or has no such class.
    """
    shape = tuple(scores.shape)
    axes = len(windows.step if isinstance(windows, Grid) else windows.axes)
    if len(shape) != axes + 1:
        number = {1: "two", 2: "three", 3: "four"}[axes]
        raise InputError(
            f"peaks(scores): expected a heatmap (K, {', '.join(windows_named(axes))}), {number} "
            f"axes; got shape {shape}."
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
    searched = [
        _of_block(scores, block, threshold, neighbours, iou)
        for group in _class_groups(scores, sorted(set(classes)))
        for block in _blocks(scores, group)
    ]
    labels, *places = np.concatenate(
        [np.zeros((axes + 1, 0), dtype=np.int64)] + [f[0] for f in searched], axis=1
    )
    best = np.concatenate([np.zeros(0)] + [f[1] for f in searched])
    order = np.lexsort((*reversed(places), labels))
    return Peaks(labels[order], np.stack(places)[:, order], best[order])


@dataclass(frozen=True)
class _Block:
    """Classes and windows of a heatmap that are searched at once; half-open along every axis."""

    classes: tuple[int, ...]
    windows: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class _Neighbour:
    """An adjacent place, ``away`` windows along every axis, and its overlap with each window.

    ``shared`` has the shared pixels along each axis, for every window along it or one number for
    all; ``pixels`` are those of a window.
    """

    away: Sizes
    shared: tuple[NDArray[np.int64], ...]
    pixels: int

    def overlap(self, shared: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        """Return the intersection over union of windows that share pixels along every axis."""
        # The same division as in `overlap.py`, so that both agree on what overlaps too much.
        both = reduce(np.multiply.outer, shared)
        ratio: NDArray[np.float64] = both / (2 * self.pixels - both)
        return ratio

    def of_part(self, at: Sequence[int], part: Sequence[slice]) -> NDArray[np.float64]:
        """Return the overlap of some windows of a block that begins ``at``."""
        return self.overlap(
            [
                along if len(along) == 1 else along[begin + own.start : begin + own.stop]
                for along, begin, own in zip(self.shared, at, part, strict=True)
            ]
        )


def _neighbours(windows: Windows, iou: float) -> list[_Neighbour]:
    """Return the adjacent places where some window overlaps its neighbour by more than ``iou``."""
    pixels = prod(axis.window for axis in windows.axes)
    neighbours = []
    for away in product((-1, 0, 1), repeat=len(windows.axes)):
        shared = (_shared(axis, n) for axis, n in zip(windows.axes, away, strict=True))
        neighbour = _Neighbour(away, tuple(shared), pixels)
        most = neighbour.overlap([along.max(keepdims=True) for along in neighbour.shared])
        if any(away) and most > iou:
            neighbours.append(neighbour)
    return neighbours


def _shared(axis: WindowsAlong, away: int) -> NDArray[np.int64]:
    """Return the pixels that windows along an axis share with the one that is ``away`` further.

    It is one number for all if they lie a step apart.
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
    """Yield blocks of whole chunks that cover the heatmap, of about `BLOCK_SCORES` scores."""
    _, *counts = scores.shape
    _, *chunk = _chunks(scores)
    chunk_scores = (classes[-1] - classes[0] + 1) * prod(chunk)
    side = max(1, int((BLOCK_SCORES / chunk_scores) ** (1 / len(chunk))))
    along = [
        [(first, min(first + side * length, count)) for first in range(0, count, side * length)]
        for count, length in zip(counts, chunk, strict=True)
    ]
    for windows in product(*along):
        yield _Block(classes, windows)


def _chunks(scores: Any) -> Sizes:
    chunks = getattr(scores, "chunks", None)
    axes = len(scores.shape) - 1
    return tuple(chunks) if chunks else (1, *[round(UNCHUNKED ** (1 / axes))] * axes)


def _of_block(
    scores: Any, block: _Block, threshold: float, neighbours: list[_Neighbour], iou: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels and places ``(1 + axes, n)``, and scores, of the peaks of one block."""
    first, last = block.classes[0], block.classes[-1]
    _, *counts = scores.shape
    around = [
        (max(begin - 1, 0), min(end + 1, count))
        for (begin, end), count in zip(block.windows, counts, strict=True)
    ]
    read = np.asarray(scores[(slice(first, last + 1), *(slice(*span) for span in around))])
    at = [begin for begin, _ in around]
    inner = tuple(
        slice(begin - start, end - start)
        for (begin, end), start in zip(block.windows, at, strict=True)
    )
    places, best = [np.zeros((1 + len(counts), 0), dtype=np.int64)], [np.zeros(0)]
    for label in block.classes:
        seen = read[label - first]
        good = np.zeros(seen.shape, dtype=bool)
        # Comparisons with NaN are false, as they should be.
        good[inner] = seen[inner] >= threshold
        if good.any():
            _drop_outdone(good, seen, neighbours, iou, at)
        here = np.nonzero(good)
        within = [numbers + start for numbers, start in zip(here, at, strict=True)]
        places.append(np.stack([np.full_like(here[0], label), *within]))
        best.append(seen[here].astype(np.float64))
    return np.concatenate(places, axis=1), np.concatenate(best)


def _drop_outdone(
    good: NDArray[np.bool_],
    seen: NDArray[Any],
    neighbours: list[_Neighbour],
    iou: float,
    at: Sequence[int],
) -> None:
    """Clear, in place, every window that a neighbour outdoes; the block begins ``at``."""
    for neighbour in neighbours:
        mine, theirs = (
            tuple(
                slice(max(0, -n), length - max(0, n))
                for n, length in zip(away, seen.shape, strict=True)
            )
            for away in (neighbour.away, [-n for n in neighbour.away])
        )
        outdone = seen[theirs] > seen[mine]
        outdone &= neighbour.of_part(at, mine) > iou
        good[mine] &= ~outdone
