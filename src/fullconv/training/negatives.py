"""Hard negatives: windows of photos that a network takes for an object where there is none.

A classifier that is right in 99 of 100 windows is wrong hundreds of times in a photo of 50,000
windows. It learns most from those windows, and the converted network finds them by scanning whole
photos (called bootstrapping by Sung and Poggio 1998). Objects that a photo is known to hold are no
false alarms: Note [What a window shows].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.detections.overlap import Boxes
from fullconv.detections.peaks import peaks
from fullconv.detections.suppression import suppress
from fullconv.errors import FullconvError
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.scanner import scan
from fullconv.sources import fit_channels, open_source, resized
from fullconv.sources.source import Source
from fullconv.training.explaining import RIGHT, Objects
from fullconv.training.photos import Photos
from fullconv.training.pixels import CropFormat, Pixels
from fullconv.training.telling import Note, Round

ALARM = 0.5
"""The least score at which a wrong detection is a false alarm."""

WORTH_LEARNING = 0.25
"""The least score of a window that is learnt, if there is room: near alarms may become alarms."""

SAME_OBJECT, SAME_LESSON = 0.3, 0.6
"""Windows that overlap by more (intersection over union) count as one false alarm, and as one
crop. Crops may overlap more than alarms: otherwise the same thing, shifted by a few pixels, would
be the next false alarm."""

MOST_OF_A_PHOTO = 50
"""The most crops taken from one photo, so that no single photo dominates."""

TILE_PIXELS = 512
"""The approximate side of a tile when photos are scanned, in pixels. A tile size chosen by
measurement would change the last bits of scores from run to run, and with them the order of
windows."""


@dataclass(frozen=True)
class _Lesson:
    score: float
    photo: int
    label: int
    pixels: NDArray[Any]


@dataclass(frozen=True)
class _View:
    """A photo at one scale, and its scores."""

    source: Source
    heatmap: Heatmap


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows of a photo at all scales: boxes in the photo, and places in their views."""

    boxes: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    views: NDArray[np.int64]
    places: NDArray[np.int64]

    def chosen(self, which: NDArray[Any]) -> _Windows:
        return _Windows(
            *(array[which] for array in (self.boxes, self.scores, self.labels)),
            *(array[which] for array in (self.views, self.places)),
        )


def mine(
    fcn: FullyConvolutional,
    photos: Photos,
    kind: CropFormat,
    number: int,
    most: int,
    begun: float,
    note: Callable[[Note], None],
) -> tuple[Pixels, Round]:
    """Scan photos, and return the worst false alarms as labelled crops, worst first.

    Parameters
    ----------
    fcn : FullyConvolutional
        Converted network, with its classes and background.
    photos : Photos
        Photos to scan; those that cannot be used are noted and skipped.
    kind : CropFormat
        Window, channels and type of pixels of the crops.
    number, most : int
        Number of the round, and the most crops that it may add.
    begun : float
        Start of the round, by `time.monotonic`.
    note : callable
        Gets a `Note` for each photo that is skipped.
    """
    assert fcn.background is not None  # `gather` refuses photos without it
    background = fcn.classes.index(fcn.background)
    lessons: list[_Lesson] = []
    windows = alarms = scanned = 0
    with Engine(fcn) as engine:
        for photo, path in enumerate(photos.paths):
            try:
                with open_source(path) as opened:
                    source = fit_channels(opened, kind.channels)
                    if source.dtype != kind.dtype:
                        raise FullconvError(
                            f"{path} has pixels of type {source.dtype}, and the crops {kind.dtype}."
                        )
                    views = list(_views(engine, source, photos.scales))
                    scanned += 1
                    windows += sum(prod(view.heatmap.shape[1:]) for view in views)
                    objects = photos.held(path, fcn.classes)
                    alarms += _alarms(views, objects, background)
                    lessons += _lessons(views, objects, background, photo)
            except FullconvError as error:
                line = " ".join(str(error).splitlines())
                named = line if path.name in line else f"{path}: {line}"
                note(Note(f"negatives: passed over: {named}", True))
            # However many photos there are, no more crops are kept in memory than may be added.
            lessons = sorted(lessons, key=lambda lesson: (-lesson.score, lesson.photo))[:most]
    pixels = np.empty((len(lessons), kind.channels, *kind.window), kind.dtype)
    for crop, lesson in zip(pixels, lessons, strict=True):
        crop[:] = lesson.pixels
    crops = Pixels(pixels, np.array([lesson.label for lesson in lessons], np.int64))
    seconds = time.monotonic() - begun
    return crops, Round(number, scanned, windows, alarms, len(crops), seconds)


def _views(engine: Engine, source: Source, scales: Sequence[float]) -> Iterator[_View]:
    """Scan a photo at every scale at which a window fits into it."""
    grid = engine.fcn.grid
    side = [max(4, TILE_PIXELS // step) for step in grid.step]
    sizes = {
        scale: (round(source.size[0] * scale), round(source.size[1] * scale)) for scale in scales
    }
    fitting = [
        scale
        for scale, size in sizes.items()
        if all(n >= w for n, w in zip(size, grid.window, strict=True))
    ]
    for scale in fitting or scales[:1]:  # if none fits, `scan` raises for the first
        view = source if scale == 1 else resized(source, sizes[scale])
        heatmap = scan(
            *(engine.fcn, source),
            resize=scale,
            tile=(side[0], side[1]),
            windows_to_check=0,
            engine=engine,
        )
        yield _View(view, heatmap)


def _alarms(views: Sequence[_View], objects: Objects, background: int) -> int:
    """Return how many detections are wrong."""
    windows = _peaks(views, ALARM, SAME_OBJECT)
    kept = windows.chosen(_apart(windows, SAME_OBJECT))
    return int((objects.lessons(kept.boxes, kept.labels, background) != RIGHT).sum())


def _lessons(
    views: Sequence[_View], objects: Objects, background: int, photo: int
) -> list[_Lesson]:
    """Return the windows of a photo that are worth learning, worst first."""
    # No overlap exceeds 1.0, so that no window is dropped for a better neighbour here.
    windows = _peaks(views, WORTH_LEARNING, 1.0)
    learnt = objects.lessons(windows.boxes, windows.labels, background)
    is_clear = learnt >= 0
    windows, learnt = windows.chosen(is_clear), learnt[is_clear]
    worst = _apart(windows, SAME_LESSON)[:MOST_OF_A_PHOTO]
    return [
        _Lesson(score, photo, label, _cut(views[view].source, place))
        for score, label, view, place in zip(
            windows.scores[worst].tolist(),
            learnt[worst].tolist(),
            windows.views[worst].tolist(),
            windows.places[worst].tolist(),
            strict=True,
        )
    ]


def _peaks(views: Sequence[_View], threshold: float, peak_iou: float) -> _Windows:
    """Return windows above a threshold that no better neighbour overlaps by over ``peak_iou``."""
    parts = []
    for number, view in enumerate(views):
        heatmap = view.heatmap
        high = peaks(heatmap, heatmap.grid, threshold, peak_iou, heatmap.foreground)
        places = high.boxes(heatmap.grid)
        boxes = heatmap.placement.boxes(places)
        parts.append(
            (boxes, high.scores, high.labels, np.full(len(high), number), places.astype(np.int64))
        )
    return _Windows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _apart(windows: _Windows, iou: float) -> NDArray[np.int64]:
    """Return the numbers of windows that overlap no higher scored one too much, worst first."""
    return suppress(windows.boxes, windows.scores, windows.labels, iou, per_class=False)


def _cut(source: Source, place: Sequence[int]) -> NDArray[Any]:
    x0, y0, x1, y1 = place
    return source.read((y0, y1), (x0, x1)).transpose(2, 0, 1)
