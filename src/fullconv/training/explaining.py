"""Which windows the true boxes of a photo explain, and what the others are to be learnt as.

Note [What a window shows]. A window of a photo claims to show a class. By its true boxes:

1. It is right if its centre lies in a box of that class, of whose size it is within a factor of
   1.7 a side. How far from the middle the object may be is left to the crops: a detector may find
   it by any window upon it. It is let be, too, if its centre lies in a box that the truth ignores.
2. Else it is a false alarm. If a box of another class holds its centre and has its place and size
   (intersection over union of at least a half), the window is learnt as a crop of that class. If
   the box fits less well (down to 0.3), it is not learnt: crops may look like it, or not.
3. All other false alarms are learnt as background: next to an object, between objects, and on one
   that is far smaller or larger than the window.

What is in a photo but not in its truth is background by this rule, and is unlearnt. A few objects
without a box do little, as crops of their class outnumber them; where many are missing, leave such
photos out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullconv.detections.matching import holds
from fullconv.detections.overlap import Boxes, areas, overlaps

NO_CLASS = -1
"""The number of a class that is not learnt."""

RIGHT, UNCLEAR = -1, -2
"""What a window is learnt as that is no false alarm, and one that may show what it claims not."""

OWN_SIZE = 1.7
"""A window and a box that it is right about differ by at most this factor, in the root of their
areas. The windows of another scale, half or twice as large, are then wrong about it."""

SAME, SIMILAR = 0.5, 0.3
"""A true box has the place and size of a window from this intersection over union on, or nearly."""

PAIRS_AT_ONCE = 1 << 20
"""Pairs of a window and a true box that are compared in one go."""


@dataclass(frozen=True, eq=False)
class Held:
    """What a photo holds.

    Attributes
    ----------
    boxes : numpy.ndarray
        ``(m, 4)``: x0, y0, x1, y1 in pixels of the photo, half-open.
    labels : numpy.ndarray
        ``(m,)``: class numbers, or `NO_CLASS`.
    ignored : numpy.ndarray
        ``(m,)`` bool: what need not be found, and may be.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]

    @classmethod
    def nothing(cls) -> Held:
        """Return what a photo without objects holds."""
        return cls(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))

    def lessons(
        self, windows: Boxes, claimed: NDArray[np.int64], background: int
    ) -> NDArray[np.int64]:
        """Return what windows are to be learnt as: a class number, `RIGHT` or `UNCLEAR`.

        Parameters
        ----------
        windows : numpy.ndarray
            ``(n, 4)`` in pixels of the photo.
        claimed : numpy.ndarray
            ``(n,)``: the classes that they are taken for.
        background : int
            Its class number.

        Notes
        -----
        Note [What a window shows] is the rule.
        """
        learnt = np.full(len(windows), background, np.int64)
        if not len(self.boxes):
            return learnt
        rows = max(1, PAIRS_AT_ONCE // len(self.boxes))
        for start in range(0, len(windows), rows):
            part = slice(start, start + rows)
            some = windows[part, None]
            centred = holds(self.boxes, some)
            overlap = np.where(centred & (self.labels != NO_CLASS), overlaps(some, self.boxes), 0.0)
            best = overlap.argmax(axis=1)
            most = overlap[np.arange(len(best)), best]
            learnt[part][most >= SIMILAR] = UNCLEAR
            is_other = most >= SAME
            learnt[part][is_other] = self.labels[best[is_other]]
            ratio = areas(some) / areas(self.boxes)
            is_own = (self.labels == claimed[part, None]) & (
                np.maximum(ratio, 1 / ratio) <= OWN_SIZE**2
            )
            is_right = centred & (is_own | self.ignored)
            learnt[part][is_right.any(axis=1)] = RIGHT
        return learnt
