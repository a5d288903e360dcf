"""The classical detector in whole photos: boxes as `fullconv.detect` gives them, hard negatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fullconv
from fullconv.detections.peaks import Peaks, peaks
from fullconv.detections.suppression import suppress
from fullconv.training.photos import Photos
from hog_svm import Detector, Numbers, lead

LEAST_LEAD = -1.0
"""Detections are kept from this lead over the best other class on; 0 is where a class wins."""

SAME_LESSON, MOST_OF_A_PHOTO = 0.6, 50
"""Hard negatives overlap by no more, and so many are taken from a photo, as in `fullconv train`."""


@dataclass(frozen=True, eq=False)
class View:
    """A photo at one scale: its blocks, and the lead of every class in every window."""

    blocks: Numbers
    leads: Numbers
    grid: fullconv.Grid
    scale: tuple[float, float]

    def candidates(self, threshold: float, iou: float, background: int) -> Peaks:
        """Return the windows over a threshold that no neighbour outdoes."""
        looked_for = [n for n in range(len(self.leads)) if n != background]
        return peaks(self.leads, self.grid, threshold, iou, looked_for)

    def boxes(self, found: Peaks) -> NDArray[np.float64]:
        """Return the windows in pixels of the photo."""
        return found.boxes(self.grid) * np.tile(self.scale[::-1], 2)


def at_scale(photo: Image.Image, scale: float) -> NDArray[np.uint8]:
    """Return the pixels of a photo at a scale, resized as `fullconv.detect` does."""
    size = (round(photo.width * scale), round(photo.height * scale))
    return np.asarray(photo.resize(size, Image.Resampling.BILINEAR))


def views(detector: Detector, path: Path, scales: Sequence[float]) -> Iterator[View]:
    """Look at a photo at every scale."""
    cell, window = detector.descriptor.cell, detector.descriptor.window
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    for scale in scales:
        pixels = at_scale(photo, scale)
        blocks = detector.descriptor.blocks(pixels)
        ratio = photo.height / pixels.shape[0], photo.width / pixels.shape[1]
        leads = lead(detector.of_blocks(blocks))
        yield View(blocks, leads, fullconv.Grid(window, (cell, cell)), ratio)


def detect(
    detector: Detector, paths: Sequence[Path], iou: float, scales: Sequence[float], background: int
) -> fullconv.Detections:
    """Return boxes as `fullconv.detect` would: peaks of all scales, and the best of those that
    overlap; scores are leads."""
    found = []
    for path in paths:
        boxes, scores, labels = [], [], []
        for view in views(detector, path, scales):
            high = view.candidates(LEAST_LEAD, iou, background)
            boxes.append(view.boxes(high))
            scores.append(high.scores)
            labels.append(high.labels)
        each = tuple(np.concatenate(parts) for parts in (boxes, scores, labels))
        kept = suppress(*each, iou)
        found.append(tuple(part[kept] for part in each))
    images = np.repeat(np.arange(len(paths)), [len(scores) for _, scores, _ in found])
    return fullconv.Detections(
        *(np.concatenate(parts) for parts in zip(*found, strict=True)),
        images,
        detector.classes,
        tuple(str(path) for path in paths),
        (None,) * len(paths),
    )


def mine(
    detector: Detector, photos: Photos, background: int
) -> tuple[Numbers, NDArray[np.int64], int]:
    """Return described windows that are wrong, what each is to be learnt as, and how many were
    looked at.

    What a true box explains is decided as `fullconv train --truth` does.
    """
    described, learnt = [], []
    windows = 0
    for path in photos.paths:
        held = photos.held(path, detector.classes)
        boxes, scores, labels, numbers = [], [], [], []
        for view in views(detector, path, photos.scales):
            windows += view.leads[0].size
            high = view.candidates(0.0, 1.0, background)
            lessons = held.lessons(view.boxes(high), high.labels, background)
            for place in np.flatnonzero(lessons >= 0):
                row, column = int(high.rows[place]), int(high.columns[place])
                numbers.append(detector.descriptor.at(view.blocks, row, column))
            clear = lessons >= 0
            boxes.append(view.boxes(high)[clear])
            scores.append(high.scores[clear])
            labels.append(lessons[clear])
        each = [np.concatenate(parts) for parts in (boxes, scores, labels)]
        worst = suppress(*each, SAME_LESSON, per_class=False)[:MOST_OF_A_PHOTO]
        described += [numbers[place] for place in worst]
        learnt += each[2][worst].tolist()
    length = detector.weights.shape[1]
    return (
        np.array(described, np.float32).reshape(-1, length),
        np.array(learnt, np.int64),
        windows,
    )
