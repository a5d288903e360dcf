"""Scores of a heatmap as probabilities, and the scores of all classes in a few of its windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.activations import sigmoid, softmax
from fullconv.detections.peaks import Peaks
from fullconv.geometry.grid import Sizes, Span
from fullconv.geometry.placement import Placement
from fullconv.geometry.windows import Windows
from fullconv.scanning.heatmap import Heatmap

FEW_CLASSES = 64
"""Most classes for which the scores of all are kept with each box."""


class Activated:
    """The scores of a heatmap as probabilities, sliced like an array."""

    def __init__(self, heatmap: Heatmap, activation: str) -> None:
        self.heatmap = heatmap
        self.activation = activation
        self.shape = heatmap.shape
        self.chunks: Sizes = tuple(heatmap.array.chunks)
        self.low, self.high = np.inf, -np.inf

    @property
    def windows(self) -> Windows:
        """The windows of the scores in the image that was scanned."""
        return self.heatmap.windows

    @property
    def placement(self) -> Placement:
        """The place of that image in the original one."""
        return self.heatmap.placement

    def __getitem__(self, place: tuple[Any, ...]) -> NDArray[np.floating[Any]]:
        """Return scores as probabilities; without an activation, keep their extremes."""
        if self.activation == "softmax":
            return self._softmax(*place)
        scores = self.heatmap[place]
        if self.activation == "sigmoid":
            return sigmoid(scores)
        if scores.size:
            self.low = float(np.fmin(self.low, np.fmin.reduce(scores, axis=None)))
            self.high = float(np.fmax(self.high, np.fmax.reduce(scores, axis=None)))
        return scores

    def _softmax(self, labels: slice, *windows: slice) -> NDArray[np.float64]:
        """Return softmax scores. It reads all classes, chunk by chunk to bound the memory."""
        _, *counts = self.shape
        spans = [part.indices(count)[:2] for part, count in zip(windows, counts, strict=True)]
        chances = np.empty(
            (len(range(self.shape[0])[labels]), *(stop - start for start, stop in spans))
        )
        along = (_pieces(*span, chunk) for span, chunk in zip(spans, self.chunks[1:], strict=True))
        for place in product(*along):
            here = (slice(None), *(slice(*span) for span in place))
            within = (
                slice(first - start, last - start)
                for (first, last), (start, _) in zip(place, spans, strict=True)
            )
            chances[(slice(None), *within)] = softmax(self.heatmap[here], axis=0)[labels]
        return chances


def _pieces(start: int, stop: int, chunk: int) -> Iterator[Span]:
    """Yield the part of an interval in one chunk after the other, half-open."""
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
    scores = np.empty((len(kept), count))
    first = 0
    for array, peaks_ in zip(arrays, candidates, strict=True):
        (mine,) = np.nonzero((kept >= first) & (kept < first + len(peaks_)))
        own = kept[mine] - first
        places, sides = peaks_.places[:, own], np.array(array.chunks[1:])[:, None]
        chunks = places // sides
        for chunk in np.unique(chunks, axis=1).T:
            (here,) = np.nonzero((chunks == chunk[:, None]).all(axis=0))
            begin = chunk[:, None] * sides
            block = array[(slice(None), *map(slice, begin[:, 0], (begin + sides)[:, 0]))]
            scores[mine[here]] = block[(slice(None), *(places[:, here] - begin))].T
        first += len(peaks_)
    return scores
