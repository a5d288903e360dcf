"""Hard negatives: what a network takes for an object in photos that hold none.

A classifier that is right in 99 of 100 windows is wrong hundreds of times in a photo of 50,000. The
crops that would teach it better are those windows, and the converted network finds them by scanning
whole photos (bootstrapping, in the words of Sung and Poggio 1998).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.converted import FullyConvolutional
from fullconv.detections.peaks import peaks
from fullconv.detections.suppression import suppress
from fullconv.errors import FullconvError
from fullconv.geometry import Grid
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.scanner import scan
from fullconv.sources import fit_channels, open_source
from fullconv.sources.source import Source
from fullconv.training.pixels import Kind
from fullconv.training.telling import Note, Round

ALARM = 0.5
"""From this score on a detection is a false alarm."""

WORTH_LEARNING = 0.25
"""From this score on a window is learnt, if there is room: nearly an alarm is one tomorrow."""

SAME_OBJECT, SAME_LESSON = 0.3, 0.6
"""Windows that overlap by more (intersection over union) are one false alarm, and one crop. What
is learnt may overlap more: else the same thing, a few pixels on, is the next false alarm."""

MOST_OF_A_PHOTO = 50
"""So many crops are taken from one photo, so that none decides alone."""

TILE_PIXELS = 512
"""Photos are scanned in tiles of about so many pixels a side. A tile size chosen by measurement
would change the last bits of scores from run to run, and so which windows are worst."""


@dataclass(frozen=True)
class _Alarm:
    score: float
    photo: int
    pixels: NDArray[Any]


def mine(
    fcn: FullyConvolutional,
    photos: Sequence[Path],
    kind: Kind,
    number: int,
    most: int,
    begun: float,
    note: Callable[[Note], None],
) -> tuple[NDArray[Any], Round]:
    """Scan photos, and return the worst false alarms as crops ``(M, C, h, w)``, worst first.

    Parameters
    ----------
    fcn : FullyConvolutional
        With its classes and background; everything else is a false alarm.
    photos : sequence of Path
        Those that cannot be used are noted and passed over.
    kind : Kind
        What crops are like.
    number, most
        Of the round, and how many crops it may add.
    begun : float
        When the round began, by `time.monotonic`.
    note : callable
        Is told which photos are passed over.
    """
    found: list[_Alarm] = []
    windows = alarms = scanned = 0
    side = [max(4, TILE_PIXELS // step) for step in fcn.grid.step]
    for photo, path in enumerate(photos):
        try:
            with open_source(path) as opened:
                source = fit_channels(opened, kind.channels)
                if source.dtype != kind.dtype:
                    raise FullconvError(
                        f"{path} has pixels of type {source.dtype}, and the crops {kind.dtype}."
                    )
                heatmap = scan(fcn, source, tile=(side[0], side[1]), windows_to_check=0)
                scanned += 1
                windows += prod(heatmap.shape[1:])
                alarms += len(_apart(heatmap, fcn.grid, ALARM, SAME_OBJECT)[0])
                # No neighbour overlaps by more than all of it, so that none is outdone here.
                boxes, scores = _apart(heatmap, fcn.grid, WORTH_LEARNING, SAME_LESSON, 1.0)
                found += [
                    _Alarm(score, photo, _cut(source, box))
                    for box, score in zip(
                        boxes[:MOST_OF_A_PHOTO].astype(int).tolist(),
                        scores[:MOST_OF_A_PHOTO].tolist(),
                        strict=True,
                    )
                ]
        except FullconvError as error:
            line = " ".join(str(error).splitlines())
            named = line if path.name in line else f"{path}: {line}"
            note(Note(f"negatives: passed over: {named}", True))
        # Of many photos only as many crops are kept as can be wanted.
        found = _worst(found, most)
    crops = np.empty((len(found), kind.channels, *kind.window), kind.dtype)
    for crop, alarm in zip(crops, found, strict=True):
        crop[:] = alarm.pixels
    seconds = time.monotonic() - begun
    return crops, Round(number, scanned, windows, alarms, len(found), seconds)


def _apart(
    heatmap: Heatmap, grid: Grid, threshold: float, iou: float, peak_iou: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return boxes and scores of the false alarms, none overlapping a worse one too much; worst
    first. Those that a neighbour outdoes are none, if the neighbour overlaps by ``peak_iou``."""
    high = peaks(
        heatmap, grid, threshold, iou if peak_iou is None else peak_iou, heatmap.foreground
    )
    boxes = high.boxes(grid)
    kept = suppress(boxes, high.scores, high.labels, iou, per_class=False)
    return boxes[kept], high.scores[kept]


def _worst(found: list[_Alarm], most: int) -> list[_Alarm]:
    return sorted(found, key=lambda alarm: (-alarm.score, alarm.photo))[:most]


def _cut(source: Source, box: Sequence[int]) -> NDArray[Any]:
    x0, y0, x1, y1 = box
    return source.read((y0, y1), (x0, x1)).transpose(2, 0, 1)
