"""How windows of a photo are labelled by its true boxes, for learning hard negatives.

Note [What a window shows]. A window of a photo claims to show a class. By its true boxes:

1. The window is right if its centre lies in a box of that class, and their sizes differ by at most
   a factor of 1.7 a side. The distance between their centres has no limit of its own: a detector
   may find an object by any window on it. A window whose centre lies in a box that the truth
   ignores counts as right, too.
2. Otherwise the window is a false alarm. If its centre lies in a box of another class, and the two
   overlap well (intersection over union of at least 0.5), the window is learnt as a crop of that
   class. If they overlap less well (0.3 to 0.5), it is not learnt, because crops of that class may
   or may not look like it.
3. All other false alarms are learnt as background: windows next to an object, between objects, and
   on an object that is far smaller or larger than the window.

By this rule an object that the truth lacks is background, and is learnt as such. A few objects
without a box do little harm, because crops of their class outnumber them. If many are missing,
leave such photos out.
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
"""Labels of windows that are not learnt: those that are right (or ignored by the truth), and those
that overlap a true box too little to take its class."""

OWN_SIZE = 1.7
"""The largest factor between the sizes (roots of areas) of a window and a box that it is right
about. Windows at another scale, half or twice as large, are therefore wrong about it."""

SAME, SIMILAR = 0.5, 0.3
"""The least intersection over union at which a window counts as a crop of a true box, and at which
it is too similar to be learnt as background."""

PAIRS_AT_ONCE = 1 << 20
"""Pairs of a window and a true box that are compared at a time; this bounds memory."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The labelled objects of a photo.

    Attributes
    ----------
    boxes : numpy.ndarray
        ``(m, 4)``: x0, y0, x1, y1 in pixels of the photo, half-open.
    labels : numpy.ndarray
        ``(m,)``: class numbers, or `NO_CLASS`.
    ignored : numpy.ndarray
        ``(m,)`` bool: objects that may be found but need not be.
    """

    boxes: Boxes
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]

    @classmethod
    def nothing(cls) -> Objects:
        """Return the objects of a photo that has none."""
        return cls(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))

    def lessons(
        self, windows: Boxes, claimed: NDArray[np.int64], background: int
    ) -> NDArray[np.int64]:
        """Return the label of each window: a class number to learn, `RIGHT` or `UNCLEAR`.

        Parameters
        ----------
        windows : numpy.ndarray
            ``(n, 4)`` in pixels of the photo.
        claimed : numpy.ndarray
            ``(n,)``: the classes that the network takes the windows for.
        background : int
            Number of the background class.

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
