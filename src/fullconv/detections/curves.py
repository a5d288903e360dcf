"""How well one class was found: the curves over all scores, and their figures."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

FALSE_PER_IMAGE = np.logspace(-2, 0, 9)
"""Where the log-average miss rate reads the curve (Dollar et al. 2012, section 3.1)."""

LEAST_MISS_RATE = 1e-10
"""What a miss rate of 0 counts as in a mean of logarithms, as in the authors' own evaluation."""


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """How well one class was found.

    Attributes
    ----------
    name : str
        Of the class.
    truth : int
        True boxes; those to be ignored are not counted.
    scores : numpy.ndarray
        ``(n,)`` of the detections that count, the best first. The curves below have a point for
        each: what would be had if it were the last that is kept.
    hits : numpy.ndarray
        ``(n,)`` bool: which of them found a true box.
    images : int
        How many images were looked at.
    """

    name: str
    truth: int
    scores: Numbers
    hits: NDArray[np.bool_]
    images: int

    @property
    def recalls(self) -> Numbers:
        """Found share of the true boxes, down to each score."""
        return np.cumsum(self.hits) / self.truth if self.truth else np.full(len(self.hits), nan)

    @property
    def precisions(self) -> Numbers:
        """Share of the detections that are true, down to each score."""
        return np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1)

    @property
    def miss_rates(self) -> Numbers:
        """Share of the true boxes that are not found, down to each score."""
        return 1 - self.recalls

    @property
    def false_per_image(self) -> Numbers:
        """False positives per image, down to each score."""
        return np.cumsum(~self.hits) / self.images if self.images else np.zeros(len(self.hits))

    @property
    def recall(self) -> float:
        """Found share of the true boxes, by all detections; not a number without true boxes."""
        return float(self.hits.sum() / self.truth) if self.truth else nan

    @property
    def precision(self) -> float:
        """Share of all detections that are true; not a number without detections."""
        return float(self.hits.mean()) if len(self.hits) else nan

    @property
    def average_precision(self) -> float:
        """Area under the precision envelope, over all points.

        The envelope at a recall is the best precision at that or a higher recall (Everingham and
        Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit"; in use since
        2010). Not a number without true boxes.
        """
        if not self.truth:
            return nan
        envelope = np.maximum.accumulate(self.precisions[::-1])[::-1]
        # Recall grows by one true box at each hit, and only there.
        return float(envelope[self.hits].sum() / self.truth)

    @property
    def log_average_miss_rate(self) -> float:
        """Geometric mean of the miss rate at nine rates of false positives per image.

        From 0.01 to 1, evenly in logarithms; where the curve ends before, its last miss rate
        counts, and 1 where it starts later (Dollar et al., "Pedestrian Detection: An Evaluation
        of the State of the Art", 2012, section 3.1). Not a number without true boxes.
        """
        if not self.truth:
            return nan
        curve = np.concatenate([[1.0], self.miss_rates])
        reached = np.searchsorted(self.false_per_image, FALSE_PER_IMAGE, side="right")
        return float(np.exp(np.log(np.maximum(curve[reached], LEAST_MISS_RATE)).mean()))

    def figures(self) -> dict[str, float]:
        """Return the four figures by name."""
        return {
            "average_precision": self.average_precision,
            "recall": self.recall,
            "precision": self.precision,
            "log_average_miss_rate": self.log_average_miss_rate,
        }
