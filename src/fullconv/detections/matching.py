"""The matching of detections to true boxes."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fullconv.detections.overlap import Boxes, areas, corners_of, intersections, overlaps

PAIRS_AT_ONCE = 1 << 20
"""Pairs of boxes compared in one go."""


class Verdict(IntEnum):
    """The verdict on a detection."""

    FALSE = 0
    TRUE = 1
    IGNORED = 2


def match_boxes(
    detected: Boxes, true: Boxes, ignored: NDArray[np.bool_], iou: float, *, by_center: bool
) -> NDArray[np.int8]:
    """Return the `Verdict` on every detection of one class in one image.

    Detections are taken in the order given, the best first. Each finds the true box that it fits
    and overlaps most, among those not found yet; a second detection of the same box is false. A
    detection that finds none, but fits an ignored box, is ignored, and any number may fit one
    ignored box (Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art", 2012,
    section 3.2).

    Parameters
    ----------
    detected, true : numpy.ndarray
        Boxes ``(n, 4)`` and ``(m, 4)``, or intervals or cuboids.
    ignored : numpy.ndarray
        ``(m,)`` bool: which true boxes are to be ignored.
    iou : float
        A detection fits a true box if their intersection over union is at least this. It fits an
        ignored box, which may be larger, if at least this share of the detection is inside.
    by_center : bool
        If True, a detection fits a box that holds its centre, whatever the overlap.
    """
    verdicts = np.full(len(detected), Verdict.FALSE, dtype=np.int8)
    real, extra = true[~ignored], true[ignored]
    free = np.ones(len(real), dtype=bool)
    rows = max(1, PAIRS_AT_ONCE // max(len(true), 1))
    for start in range(0, len(detected), rows):
        some = detected[start : start + rows, None]
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


def holds(boxes: Boxes, detected: Boxes) -> NDArray[np.bool_]:
    """Return which boxes ``(m, 4)`` hold the centres of detections ``(n, 1, 4)``: ``(n, m)``."""
    begin, end = corners_of(boxes)
    centre = sum(corners_of(detected)) / 2
    inside = (begin[None] <= centre) & (centre < end[None])
    holds: NDArray[np.bool_] = np.all(inside, axis=-1)
    return holds
