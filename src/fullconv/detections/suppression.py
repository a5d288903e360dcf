"""Greedy non-maximum suppression of a million boxes in seconds.

Note [Suppression by blocks]. By definition boxes are taken from the best score down, and one is
kept unless a kept one overlaps it by more than ``iou``. Here a block of the next best boxes is
taken at once. Boxes that a kept box overlaps are dropped, then the block's own pairs are settled in
order. Both steps search only neighbouring cells (`box_index.py`). Kept boxes lie apart, so each box
of a block has few of them near; only pairs inside a block may be too many, where boxes lie densely.
So a block grows while its pairs stay few, and shrinks where they do not. The result does not depend
on the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullconv.detections.box_index import BoxIndex, Indices, pairs
from fullconv.detections.overlap import Boxes, areas, overlaps
from fullconv.errors import InputError

FIRST_BLOCK = 1024
"""Boxes in the first block."""

MOST_PAIRS = 1 << 21
"""Pairs of one block."""

PAIRS_AT_ONCE = 1 << 16
"""Pairs compared in one go: their coordinates stay in the processor's cache."""


def suppress(
    boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike, iou: float, *, per_class: bool = True
) -> NDArray[np.int64]:
    """Return the indices of the boxes that no better kept box overlaps too much, best first.

    This is greedy non-maximum suppression: boxes are taken from the highest score down, ties by the
    lower index, and one is kept unless its intersection over union with a kept one is greater than
    ``iou``. A box without an area overlaps nothing.

    Parameters
    ----------
    boxes : array_like
        ``(n, 4)`` as x0, y0, x1, y1; or intervals ``(n, 2)``, or cuboids ``(n, 6)``.
    scores, labels : array_like
        ``(n,)``; the class number of each box.
    iou : float
        Between 0 and 1.
    per_class : bool
        Whether a box suppresses only those of its own class.

    Raises
    ------
    InputError
        If the shapes do not fit, numbers are not finite, or ``iou`` is not between 0 and 1.
    """
    boxes, scores, labels = _checked(boxes, scores, labels, iou)
    order = np.argsort(-scores, kind="stable")
    kept = np.zeros(len(order), dtype=bool)
    solid = areas(boxes[order]) > 0
    kept[~solid] = True
    for members in _by_class(np.flatnonzero(solid), labels[order], per_class):
        kept[members] = _kept(boxes[order[members]], iou)
    return order[kept]


def _checked(
    boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike, iou: float
) -> tuple[Boxes, NDArray[np.float64], Indices]:
    b, s = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    given = np.asarray(labels, dtype=np.int64)
    if b.size == 0 and b.ndim != 2:
        b = b.reshape(0, 4)
    if (
        b.ndim != 2
        or b.shape[1] not in (2, 4, 6)
        or s.shape != (len(b),)
        or given.shape != (len(b),)
    ):
        raise InputError(
            f"suppress(boxes, scores, labels): expected shapes (n, 4), (n,) and (n,); got "
            f"{b.shape}, {s.shape} and {given.shape}."
        )
    if not (np.isfinite(b).all() and np.isfinite(s).all()):
        raise InputError(
            "suppress(boxes, scores, labels): expected finite boxes and scores; leave out those "
            "that are infinite or not a number."
        )
    if not 0 <= iou <= 1:
        raise InputError(f"suppress(iou={iou}): expected an overlap between 0 and 1, as in 0.3.")
    return b, s, given


def _by_class(members: Indices, labels: Indices, per_class: bool) -> Iterator[Indices]:
    """Yield the members that can suppress each other, each group in the order given."""
    if not len(members):
        return
    if not per_class:
        yield members
        return
    grouped = members[np.argsort(labels[members], kind="stable")]
    yield from np.split(grouped, np.flatnonzero(np.diff(labels[grouped])) + 1)


def _kept(boxes: Boxes, iou: float) -> NDArray[np.bool_]:
    """Return which boxes of one class are kept; they have areas, and the best come first."""
    kept = np.zeros(len(boxes), dtype=bool)
    start, size = 0, FIRST_BLOCK
    while start < len(boxes):
        block = boxes[start : start + size]
        stop = start + len(block)
        free = start + np.flatnonzero(~_overlapped(block, boxes[kept], iou))
        taken = _few_pairs(boxes, free, iou)
        if len(taken) < len(free):
            stop = int(free[len(taken)])
            size = stop - start
        else:
            size *= 2
        kept[taken[_settled(boxes[taken], iou)]] = True
        start = stop
    return kept


def _overlapped(boxes: Boxes, kept: Boxes, iou: float) -> NDArray[np.bool_]:
    """Return which boxes are overlapped too much by a kept box."""
    hit = np.zeros(len(boxes), dtype=bool)
    for runs in BoxIndex(kept, iou).near(boxes):
        for mine, theirs in pairs(runs, PAIRS_AT_ONCE):
            hit[mine[overlaps(boxes[mine], kept[theirs]) > iou]] = True
    return hit


def _few_pairs(boxes: Boxes, free: Indices, iou: float) -> Indices:
    """Return the first boxes, halved until they have at most `MOST_PAIRS` pairs."""
    while len(free) > 1:
        block = boxes[free]
        count = sum(int(runs.length.sum()) for runs in BoxIndex(block, iou).near(block))
        if count <= MOST_PAIRS:
            break
        free = free[: len(free) // 2]
    return free


def _settled(boxes: Boxes, iou: float) -> NDArray[np.bool_]:
    """Return which boxes of a block are kept, by their own pairs alone; the best come first."""
    better, worse = [], []
    for runs in BoxIndex(boxes, iou).near(boxes):
        for mine, theirs in pairs(runs, PAIRS_AT_ONCE):
            later = theirs > mine
            mine, theirs = mine[later], theirs[later]
            strong = overlaps(boxes[mine], boxes[theirs]) > iou
            better.append(mine[strong])
            worse.append(theirs[strong])
    kept = np.ones(len(boxes), dtype=bool)
    if not better:
        return kept
    first, second = np.concatenate(better), np.concatenate(worse)
    order = np.argsort(first, kind="stable")
    first, second = first[order], second[order]
    begins = np.flatnonzero(np.diff(first, prepend=-1))
    ends = np.append(begins, len(first))[1:]
    # One step for each box that overlaps a later one: the boxes before it decide if it is kept.
    for box, begin, end in zip(first[begins].tolist(), begins.tolist(), ends.tolist(), strict=True):
        if kept[box]:
            kept[second[begin:end]] = False
    return kept
