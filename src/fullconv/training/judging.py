"""How well a classifier does on crops that it has not learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """Which class was taken for which.

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
        cls, classes: Sequence[str], labels: NDArray[np.int64], said: NDArray[np.int64]
    ) -> Confusion:
        """Count pairs of a true and a said class."""
        counts = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(counts, (labels, said), 1)
        return cls(tuple(classes), counts)

    @property
    def accuracy(self) -> float:
        """The share of crops whose class is right."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def recall(self) -> tuple[float | None, ...]:
        """For each class, the share of its crops that are found; None where it has none."""
        return self._shares(self.counts.sum(axis=1))

    @property
    def precision(self) -> tuple[float | None, ...]:
        """For each class, the share of crops taken for it that are; None where none was."""
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
