"""The verb: find what a classifier knows, in images of any size."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv import __version__
from fullconv.choices import ACTIVATIONS, LARGEST_SCALE
from fullconv.converted import FullyConvolutional
from fullconv.detections.found import Detections, unnamed_classes
from fullconv.detections.peaks import Peaks, peaks
from fullconv.detections.suppression import suppress
from fullconv.errors import ImageError, InputError, ModelError
from fullconv.geometry import Pair
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.options import Options
from fullconv.scanning.scanner import scan
from fullconv.scanning.task import leaf
from fullconv.sources import Source
from fullconv.verification import arrays

OPENING = ("level", "um_per_pixel", "own_um_per_pixel", "bands")
"""The options of `scan` by which an image is opened; it is opened once for all scales."""

TELLING = (
    *("preprocessing", "roi", "mask", "output", "dtype", "runtime", "precision", "device", "tile"),
)
"""The options of `scan` that tell one heatmap of an image from another."""

FEW_CLASSES = 64
"""Up to so many classes, the scores of all are kept with each box."""


def detect(
    fcn: FullyConvolutional,
    source: Any,
    threshold: float = 0.5,
    iou: float = 0.3,
    scales: Sequence[float] = (1.0,),
    *,
    classes: Sequence[str | int] | None = None,
    per_class: bool = True,
    activation: str = "none",
    folder: str | Path | None = None,
    **options: Any,
) -> Detections:
    """Find the windows that score best, in one image or several.

    Every image is scanned at every scale; windows over the threshold that no neighbour outdoes are
    candidates, and of candidates that overlap, from whatever scale, the best is kept.

    Parameters
    ----------
    fcn : FullyConvolutional
        The converted network.
    source : NDArray, str, Path, Source, or a list of them
        As `scan` takes them. Arrays among several images are called "array 0", "array 1" and so
        on, by their places in the list.
    threshold : float
        The least score of a detection.
    iou : float
        Boxes that overlap by more than this (intersection over union) show the same object.
    scales : sequence of float
        The image is resized by each: 0.5 finds objects of twice the window's size.
    classes : sequence of str or int, optional
        What to look for; by default every class but the background that the model names.
    per_class : bool
        Whether boxes of different classes may overlap.
    activation : {"none", "softmax", "sigmoid"}
        What turns scores into probabilities first, where the model itself does not.
    folder : str or Path, optional
        Where the heatmaps are kept until all is found; the same call goes on with those that are
        there. In memory without it.
    **options
        The other keywords of `scan`: preprocessing, level, roi, mask, runtime, progress and so on.

    Returns
    -------
    Detections
        Boxes in pixels of the original images.

    Raises
    ------
    ImageError
        If an image cannot be read, or is smaller than a window at every scale.
    InputError
        If there is no such class, or an option cannot be.
    """
    sources = list(source) if isinstance(source, list | tuple) else [source]
    check_classes(fcn, classes, options.get("output", 0))
    with Engine(fcn) as engine:
        found = [
            detect_in(
                *(engine, one, threshold, iou, scales, classes, per_class, activation, folder),
                **options,
            )
            for one in sources
        ]
    held = joined([each.detections for each in found])
    if len(sources) == 1:
        return held
    names = (
        f"array {number}" if name == "array" and not isinstance(one, str | Path) else name
        for number, (name, one) in enumerate(zip(held.names, sources, strict=True))
    )
    return replace(held, names=tuple(names))


@dataclass(frozen=True)
class Found:
    """What one image holds.

    Attributes
    ----------
    detections : Detections
        Its boxes.
    heatmaps : tuple of Heatmap
        One for each scale at which a window fits into the image.
    beyond : (float, float) or None
        The least and the greatest score, where some lie outside of 0 to 1: they are no
        probabilities.
    """

    detections: Detections
    heatmaps: tuple[Heatmap, ...]
    beyond: tuple[float, float] | None


def detect_in(
    engine: Engine,
    source: Any,
    threshold: float,
    iou: float,
    scales: Sequence[float],
    classes: Sequence[str | int] | None,
    per_class: bool,
    activation: str,
    folder: str | Path | None,
    **options: Any,
) -> Found:
    """Find what one image holds; `detect` says what the parameters mean."""
    check_options(iou, scales, activation)
    with ExitStack() as stack:
        if not isinstance(source, Source):
            opening = {name: options.pop(name) for name in OPENING if name in options}
            preprocessing = options.get("preprocessing")
            source = Options(preprocessing=preprocessing, **opening).open(engine.fcn, source)
            stack.callback(source.close)
        heatmaps = _scanned(engine, source, scales, folder, options)
        name, size = source.name, source.original_size
    labels = _wanted(heatmaps[0], classes)
    arrays = [_Activated(heatmap, activation) for heatmap in heatmaps]
    candidates = [peaks(each, each.grid, threshold, iou, labels) for each in arrays]
    boxes, scores, numbers = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (each.boxes(array.grid) * np.tile(array.scale[::-1], 2), each.scores, each.labels)
                for each, array in zip(candidates, arrays, strict=True)
            ),
            strict=True,
        )
    )
    if not np.isfinite(scores).all():
        raise ModelError(
            f"{name}: the model gives infinite scores, of which none is better than another; look "
            f"for what overflows, or turn scores into probabilities: activation='softmax' "
            f"(--activation softmax)."
        )
    kept = suppress(boxes, scores, numbers, iou, per_class=per_class)
    detections = Detections(
        boxes[kept],
        scores[kept],
        numbers[kept],
        np.zeros(len(kept), np.int64),
        heatmaps[0].classes or unnamed_classes(heatmaps[0].shape[0]),
        (name,),
        (size,),
        _all_scores(arrays, candidates, kept),
    )
    low, high = min(each.low for each in arrays), max(each.high for each in arrays)
    return Found(detections, tuple(heatmaps), (low, high) if low < 0 or high > 1 else None)


def joined(found: Sequence[Detections]) -> Detections:
    """Return the detections of several images as one record."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError("detect(source=[]): expected at least one image.")
    known = [each.probabilities for each in found]
    return Detections(
        np.concatenate([each.boxes for each in found]),
        np.concatenate([each.scores for each in found]),
        np.concatenate([each.labels for each in found]),
        np.concatenate([np.full(len(each), number) for number, each in enumerate(found)]),
        found[0].classes,
        tuple(name for each in found for name in each.names),
        tuple(size for each in found for size in each.sizes),
        None if any(each is None for each in known) else np.concatenate(known),  # type: ignore[arg-type]
    )


def check_options(iou: float, scales: Sequence[float], activation: str) -> None:
    """Check what can be checked before the work.

    Raises
    ------
    InputError
        If an option cannot be.
    """
    if not 0 <= iou <= 1:
        raise InputError(f"detect(iou={iou}): expected a number from 0 to 1.")
    if not scales or not all(0 < scale <= LARGEST_SCALE for scale in scales):
        raise InputError(
            f"detect(scales={tuple(scales)}): expected at least one, each above 0 and up to "
            f"{LARGEST_SCALE}, as in (1.0, 0.5)."
        )
    if activation not in ACTIVATIONS:
        raise InputError(
            f"detect(activation={activation!r}): expected one of {', '.join(ACTIVATIONS)}."
        )


class _Activated:
    """The scores of a heatmap as probabilities, sliced like an array."""

    def __init__(self, heatmap: Heatmap, activation: str) -> None:
        self.heatmap = heatmap
        self.activation = activation
        self.grid, self.scale = heatmap.grid, heatmap.scale
        self.shape = heatmap.shape
        self.chunks: tuple[int, int, int] = tuple(heatmap.array.chunks)
        self.low, self.high = np.inf, -np.inf

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


def _scanned(
    engine: Engine,
    source: Source,
    scales: Sequence[float],
    folder: str | Path | None,
    options: Mapping[str, Any],
) -> list[Heatmap]:
    """Scan an image at every scale at which a window fits into it."""
    heatmaps = []
    for scale in scales:
        size = [round(n * scale) for n in source.size]
        if any(n < w for n, w in zip(size, engine.fcn.grid.window, strict=True)):
            continue
        out = (
            None if folder is None else Path(folder) / _name(engine.digest, source, scale, options)
        )
        heatmaps.append(scan(engine.fcn, source, out, scale=scale, engine=engine, **options))
    if not heatmaps:
        (height, width), (h, w) = source.size, engine.fcn.grid.window
        raise ImageError(
            f"{source.name} is {width}x{height} pixels, smaller than one window of {w}x{h} at "
            f"every scale; enlarge it, or add a larger scale."
        )
    return heatmaps


def _name(digest: str, source: Source, scale: float, options: Mapping[str, Any]) -> str:
    """Return a name for a heatmap that no other model, image or options give."""
    telling = sorted((name, repr(value)) for name, value in options.items() if name in TELLING)
    told = json.dumps([__version__, digest, source.fingerprint(), telling])
    return f"{Path(source.name).stem}-{scale:g}-{zlib.crc32(told.encode()):08x}.zarr"


def _wanted(heatmap: Heatmap, classes: Sequence[str | int] | None) -> list[int]:
    """Return the numbers of the classes to look for."""
    if classes is None:
        return heatmap.foreground
    return _numbers(classes, heatmap.classes, heatmap.shape[0])


def check_classes(
    fcn: FullyConvolutional, classes: Sequence[str | int] | None, output: int = 0
) -> None:
    """Check before a scan that the model has these classes; a blank window shows how many.

    Raises
    ------
    InputError
        If there is no such class.
    """
    if classes is None or all(name in fcn.classes for name in classes):
        return
    blank = np.zeros((1, fcn.shape.channels, *fcn.grid.window), np.float32)
    classify = fcn.framework.classifier(fcn.model)
    scores = arrays(fcn.framework, classify(fcn.framework.images(fcn.model, blank)))
    count = leaf(scores, output).size
    _numbers(classes, fcn.classes if len(fcn.classes) == count else (), count)


def _numbers(classes: Sequence[str | int], names: Sequence[str], count: int) -> list[int]:
    """Return classes that are named or numbered, of so many, by their numbers."""
    for name in classes:
        known = name in names if isinstance(name, str) else 0 <= name < count
        if not known:
            raise InputError(
                f"detect(classes={list(classes)}): there is no class {name!r}; the model has "
                f"{', '.join(names) or f'{count} classes without names, from 0'}."
            )
    return [names.index(name) if isinstance(name, str) else name for name in classes]


def _all_scores(
    arrays: Sequence[_Activated], candidates: Sequence[Peaks], kept: NDArray[np.int64]
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
