"""The evaluation of one class: curves over all scores, and their figures."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

FALSE_PER_IMAGE = np.logspace(-2, 0, 9)
"""Rates at which the log-average miss rate reads the curve (Dollar et al. 2012, section 3.1)."""

LEAST_MISS_RATE = 1e-10
"""Value of a miss rate of 0 in a mean of logarithms, as in the authors' own evaluation."""


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """The evaluation of one class.

    Attributes
    ----------
    name : str
        Name of the class.
    truth : int
        Number of true boxes; those to be ignored are not counted.
    scores : numpy.ndarray
        ``(n,)`` scores of the detections that count, the best first. The curves below have a point
        for each: the figure if it were the last detection that is kept.
    hits : numpy.ndarray
        ``(n,)`` bool: which of them match a true box.
    images : int
        Number of images.
    """

    name: str
    truth: int
    scores: Numbers
    hits: NDArray[np.bool_]
    images: int

    @property
    def recalls(self) -> Numbers:
        """Share of the true boxes that are found, down to each score."""
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
        """Share of the true boxes that are found by all detections; NaN without true boxes."""
        return float(self.hits.sum() / self.truth) if self.truth else nan

    @property
    def precision(self) -> float:
        """Share of all detections that are true; NaN without detections."""
        return float(self.hits.mean()) if len(self.hits) else nan

    @property
    def average_precision(self) -> float:
        """Area under the precision envelope, over all points.

        The envelope at a recall is the best precision at that or a higher recall (Everingham and
        Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit"; in use since
        2010). NaN without true boxes.
        """
        if not self.truth:
            return nan
        envelope = np.maximum.accumulate(self.precisions[::-1])[::-1]
        # Recall grows by one true box at each hit, and only there.
        return float(envelope[self.hits].sum() / self.truth)

    @property
    def log_average_miss_rate(self) -> float:
        """Geometric mean of the miss rate at nine rates of false positives per image.

        The rates are from 0.01 to 1, evenly in logarithms. Where the curve ends before a rate, its
        last miss rate counts; where it starts later, 1 (Dollar et al., "Pedestrian Detection: An
        Evaluation of the State of the Art", 2012, section 3.1). NaN without true boxes.
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
