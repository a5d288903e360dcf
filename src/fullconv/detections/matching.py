"""Which detections find which true boxes."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fullconv.detections.overlap import Boxes, areas, intersections, overlaps

PAIRS_AT_ONCE = 1 << 20
"""Pairs of boxes compared in one go."""


class Verdict(IntEnum):
    """What a detection is."""

    FALSE = 0
    TRUE = 1
    IGNORED = 2


def match_boxes(
    found: Boxes, true: Boxes, ignored: NDArray[np.bool_], iou: float, *, by_center: bool
) -> NDArray[np.int8]:
    """Return the `Verdict` on every detection of one class in one image.

    Detections are taken in the order given, the best first, and each finds the true box that it
    fits and overlaps most among those that nobody has found yet; a second one on the same box is
    false. One that finds none, but fits an ignored box, counts neither way, and any number may
    (Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art", 2012, section
    3.2).

    Parameters
    ----------
    found, true : numpy.ndarray
        ``(n, 4)`` and ``(m, 4)``.
    ignored : numpy.ndarray
        ``(m,)`` bool.
    iou : float
        A detection fits a true box that it overlaps at least so much; an ignored one, of which
        only a part may be marked by a detection, where at least that share of the detection is
        inside.
    by_center : bool
        Then it fits a box that holds its centre, whatever the overlap.
    """
    verdicts = np.full(len(found), Verdict.FALSE, dtype=np.int8)
    real, extra = true[~ignored], true[ignored]
    free = np.ones(len(real), dtype=bool)
    rows = max(1, PAIRS_AT_ONCE // max(len(true), 1))
    for start in range(0, len(found), rows):
        some = found[start : start + rows, None]
        overlap = overlaps(some, real[None])
        inside = intersections(some, extra[None]) / np.maximum(areas(some), np.finfo(float).tiny)
        fits = holds(real, some) if by_center else np.greater_equal(overlap, iou)
        spares = holds(extra, some) if by_center else np.greater_equal(inside, iou)
        spared = np.any(spares, axis=1)
        ranked = np.where(fits, overlap, -1.0)
        for row in np.flatnonzero(np.any(fits, axis=1) | spared):
            candidates = np.where(free, ranked[row], -1.0)
            best = int(candidates.argmax()) if len(real) else -1
            if best >= 0 and candidates[best] >= 0:
                free[best] = False
                verdicts[start + row] = Verdict.TRUE
            elif spared[row]:
                verdicts[start + row] = Verdict.IGNORED
    return verdicts


def holds(boxes: Boxes, found: Boxes) -> NDArray[np.bool_]:
    """Return which boxes ``(m, 4)`` hold the centres of detections ``(n, 1, 4)``: ``(n, m)``."""
    centre = (found[..., :2] + found[..., 2:]) / 2
    inside = (boxes[None, :, :2] <= centre) & (centre < boxes[None, :, 2:])
    holds: NDArray[np.bool_] = np.all(inside, axis=-1)
    return holds
