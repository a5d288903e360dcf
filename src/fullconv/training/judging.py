"""The confusion matrix of a classifier on crops that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each class was taken for each other.

    Attributes
    ----------
    classes : tuple of str
    counts : numpy.ndarray
        ``(K, K)`` int64: crops of the row's class that were taken for the column's.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls, classes: Sequence[str], labels: NDArray[np.int64], predicted: NDArray[np.int64]
    ) -> Confusion:
        """Count the pairs of true class and predicted class."""
        counts = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(counts, (labels, predicted), 1)
        return cls(tuple(classes), counts)

    @property
    def accuracy(self) -> float:
        """The fraction of crops whose class is right."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def recall(self) -> tuple[float | None, ...]:
        """For each class, the fraction of its crops taken for it; None if it has no crops."""
        return self._shares(self.counts.sum(axis=1))

    @property
    def precision(self) -> tuple[float | None, ...]:
        """For each class, the fraction of right ones among crops taken for it; None without any."""
        return self._shares(self.counts.sum(axis=0))

    def _shares(self, of: NDArray[np.int64]) -> tuple[float | None, ...]:
        right = np.diag(self.counts).tolist()
        return tuple(
            n / total if total else None for n, total in zip(right, of.tolist(), strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "counts": self.counts.tolist(),
            "accuracy": self.accuracy,
            "recall": dict(zip(self.classes, self.recall, strict=True)),
            "precision": dict(zip(self.classes, self.precision, strict=True)),
        }
