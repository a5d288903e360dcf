"""Scores of a heatmap as probabilities, and those of all classes in a few of its windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.detections.peaks import Peaks
from fullconv.geometry import Pair
from fullconv.placement import Placement
from fullconv.scanning.heatmap import Heatmap
from fullconv.windows import Windows

FEW_CLASSES = 64
"""Up to so many classes, the scores of all are kept with each box."""


class Activated:
    """The scores of a heatmap as probabilities, sliced like an array."""

    def __init__(self, heatmap: Heatmap, activation: str) -> None:
        self.heatmap = heatmap
        self.activation = activation
        self.shape = heatmap.shape
        self.chunks: tuple[int, int, int] = tuple(heatmap.array.chunks)
        self.low, self.high = np.inf, -np.inf

    @property
    def windows(self) -> Windows:
        """Where the scores lie in the image that was scanned."""
        return self.heatmap.windows

    @property
    def placement(self) -> Placement:
        """Where that lies in the original image."""
        return self.heatmap.placement

    def __getitem__(self, place: tuple[Any, ...]) -> NDArray[np.floating[Any]]:
        """Return scores, with their extremes noted."""
        if self.activation == "softmax":
            return self._softmax(*place)
        found = self.heatmap[place]
        if self.activation == "sigmoid":
            # Without overflow: exp is taken of negative numbers only.
            small = np.exp(-np.abs(found.astype(np.float64)))
            logistic: NDArray[np.float64] = np.where(found < 0, small, 1) / (1 + small)
            return logistic
        if found.size:
            self.low = float(np.fmin(self.low, np.fmin.reduce(found, axis=None)))
            self.high = float(np.fmax(self.high, np.fmax.reduce(found, axis=None)))
        return found

    def _softmax(self, labels: slice, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Return chances, for which all classes are read: chunk by chunk, to hold few of them."""
        (count, height, width), (_, high, wide) = self.shape, self.chunks
        (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
        chances = np.empty((len(range(count)[labels]), bottom - top, right - left))
        for y0, y1 in _pieces(top, bottom, high):
            for x0, x1 in _pieces(left, right, wide):
                scores = self.heatmap[:, y0:y1, x0:x1].astype(np.float64)
                with np.errstate(invalid="ignore"):  # an infinite score gives no chances
                    scores = np.exp(scores - scores.max(axis=0))
                here = (slice(None), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
                chances[here] = scores[labels] / scores.sum(axis=0)
        return chances


def _pieces(start: int, stop: int, chunk: int) -> Iterator[Pair]:
    """Yield what lies in one chunk after the other, half-open."""
    while start < stop:
        end = min(stop, (start // chunk + 1) * chunk)
        yield start, end
        start = end


def all_scores(
    arrays: Sequence[Activated], candidates: Sequence[Peaks], kept: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the scores of all classes ``(n, K)`` in the kept windows, chunk by chunk."""
    count = arrays[0].shape[0]
    if count > FEW_CLASSES:
        return None
    found = np.empty((len(kept), count))
    first = 0
    for array, peaks_ in zip(arrays, candidates, strict=True):
        (mine,) = np.nonzero((kept >= first) & (kept < first + len(peaks_)))
        own = kept[mine] - first
        rows, columns = peaks_.rows[own], peaks_.columns[own]
        _, high, wide = array.chunks
        chunks = np.stack([rows // high, columns // wide])
        for band, across in np.unique(chunks, axis=1).T.tolist():
            (here,) = np.nonzero((chunks[0] == band) & (chunks[1] == across))
            top, left = band * high, across * wide
            block = array[:, top : top + high, left : left + wide]
            found[mine[here]] = block[:, rows[here] - top, columns[here] - left].T
        first += len(peaks_)
    return found
