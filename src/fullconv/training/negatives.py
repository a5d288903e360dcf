"""Hard negatives: what a network takes for an object in photos, where there is none.

A classifier that is right in 99 of 100 windows is wrong hundreds of times in a photo of 50,000. The
crops that would teach it better are those windows, and the converted network finds them by scanning
whole photos (bootstrapping, in the words of Sung and Poggio 1998). What a photo is known to hold is
no false alarm: Note [What a window shows].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.converted import FullyConvolutional
from fullconv.detections.overlap import Boxes
from fullconv.detections.peaks import peaks
from fullconv.detections.suppression import suppress
from fullconv.errors import FullconvError
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.scanner import scan
from fullconv.sources import fit_channels, open_source, resized
from fullconv.sources.source import Source
from fullconv.training.explaining import RIGHT, Held
from fullconv.training.photos import Photos
from fullconv.training.pixels import Kind, Pixels
from fullconv.training.telling import Note, Round

ALARM = 0.5
"""From this score on a detection that is wrong is a false alarm."""

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
            *(held[which] for held in (self.boxes, self.scores, self.labels)),
            *(held[which] for held in (self.views, self.places)),
        )


def mine(
    fcn: FullyConvolutional,
    photos: Photos,
    kind: Kind,
    number: int,
    most: int,
    begun: float,
    note: Callable[[Note], None],
) -> tuple[Pixels, Round]:
    """Scan photos, and return the worst false alarms as crops, worst first, with what each is.

    Parameters
    ----------
    fcn : FullyConvolutional
        With its classes and background.
    photos : Photos
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
                    held = photos.held(path, fcn.classes)
                    alarms += _alarms(views, held, background)
                    lessons += _lessons(views, held, background, photo)
            except FullconvError as error:
                line = " ".join(str(error).splitlines())
                named = line if path.name in line else f"{path}: {line}"
                note(Note(f"negatives: passed over: {named}", True))
            # Of many photos only as many crops are kept as can be wanted.
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
    for scale in fitting or scales[:1]:  # where none fits, the first says so
        view = source if scale == 1 else resized(source, sizes[scale])
        heatmap = scan(
            *(engine.fcn, source),
            scale=scale,
            tile=(side[0], side[1]),
            windows_to_check=0,
            engine=engine,
        )
        yield _View(view, heatmap)


def _alarms(views: Sequence[_View], held: Held, background: int) -> int:
    """Return how many detections are wrong."""
    found = _found(views, ALARM, SAME_OBJECT)
    kept = found.chosen(_apart(found, SAME_OBJECT))
    return int((held.lessons(kept.boxes, kept.labels, background) != RIGHT).sum())


def _lessons(views: Sequence[_View], held: Held, background: int, photo: int) -> list[_Lesson]:
    """Return the windows of a photo that are worth learning, worst first."""
    # No neighbour overlaps by more than all of it, so that none is outdone here.
    found = _found(views, WORTH_LEARNING, 1.0)
    learnt = held.lessons(found.boxes, found.labels, background)
    is_clear = learnt >= 0
    found, learnt = found.chosen(is_clear), learnt[is_clear]
    worst = _apart(found, SAME_LESSON)[:MOST_OF_A_PHOTO]
    return [
        _Lesson(score, photo, label, _cut(views[view].source, place))
        for score, label, view, place in zip(
            found.scores[worst].tolist(),
            learnt[worst].tolist(),
            found.views[worst].tolist(),
            found.places[worst].tolist(),
            strict=True,
        )
    ]


def _found(views: Sequence[_View], threshold: float, peak_iou: float) -> _Windows:
    """Return the windows over a threshold that no neighbour outdoes, if it overlaps by more."""
    found = []
    for number, view in enumerate(views):
        heatmap = view.heatmap
        high = peaks(heatmap, heatmap.grid, threshold, peak_iou, heatmap.foreground)
        places = high.boxes(heatmap.grid)
        boxes = heatmap.placement.boxes(places)
        found.append(
            (boxes, high.scores, high.labels, np.full(len(high), number), places.astype(np.int64))
        )
    return _Windows(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _apart(found: _Windows, iou: float) -> NDArray[np.int64]:
    """Return the windows of which none overlaps a worse one too much, worst first."""
    return suppress(found.boxes, found.scores, found.labels, iou, per_class=False)


def _cut(source: Source, place: Sequence[int]) -> NDArray[Any]:
    x0, y0, x1, y1 = place
    return source.read((y0, y1), (x0, x1)).transpose(2, 0, 1)
