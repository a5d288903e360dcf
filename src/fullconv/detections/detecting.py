"""The verb: find objects of a classifier's classes, in images of any size."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from fullconv import __version__
from fullconv.choices import Activation
from fullconv.conversion.converted import FullyConvolutional
from fullconv.detections.activated import Activated, all_scores
from fullconv.detections.classes import check_classes, wanted_classes
from fullconv.detections.found import Detections, joined
from fullconv.detections.numbered import unnamed_classes
from fullconv.detections.peaks import peaks
from fullconv.detections.search import Search
from fullconv.detections.suppression import suppress
from fullconv.errors import ImageError, ImageWarning, InputError, ModelError
from fullconv.geometry.grid import Sizes
from fullconv.keywords import ScanOptions, check_keywords
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.opening import open_image
from fullconv.scanning.options import Options
from fullconv.scanning.scanner import scan
from fullconv.sources import Georeference, Source
from fullconv.sources.finding import without_ending
from fullconv.sources.given import ImageLike
from fullconv.sources.names import as_file
from fullconv.system.files import check_local
from fullconv.wording import sized, unit

OPENING_KEYWORDS = ("level", "um_per_pixel", "own_um_per_pixel", "bands")
"""The options of `scan` by which an image is opened; it is opened once for all scales."""

TELLING = (
    *("preprocessing", "cover", "roi", "mask", "output", "dtype", "runtime", "precision"),
    *("device", "tile"),
)
"""The options of `scan` that distinguish one heatmap of an image from another."""


def detect(
    fcn: FullyConvolutional,
    source: ImageLike | Sequence[ImageLike],
    threshold: float = Search.threshold,
    iou: float = Search.iou,
    scales: Sequence[float] = Search.scales,
    *,
    classes: Sequence[str | int] | None = Search.classes,
    per_class: bool = Search.per_class,
    activation: Activation = Search.activation,
    folder: str | Path | None = None,
    **options: Unpack[ScanOptions],
) -> Detections:
    """Find the windows that score best, in one image or several.

    Every image is scanned at every scale. Windows over the threshold that no neighbour outdoes are
    candidates. Of candidates that overlap, at whatever scales, the best is kept.

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
        The classes to look for; by default every class but the background that the model names.
    per_class : bool
        Whether boxes of different classes may overlap.
    activation : {"none", "softmax", "sigmoid"}
        The function that turns scores into probabilities. One that the classifier ends with, or
        that the converted model holds, is not applied again.
    folder : str or Path, optional
        A folder for the heatmaps, where the same call finds them again. In memory without it.
    **options
        The keywords of `ScanOptions`, as `scan` takes them: preprocessing, level, roi, mask,
        runtime, progress and so on.

    Returns
    -------
    Detections
        Boxes in pixels of the original images: intervals of recordings, cuboids of volumes.

    Raises
    ------
    ImageError
        If an image cannot be read, or is smaller than a window at every scale.
    InputError
        If there is no such class, or an option is invalid.
    """
    check_keywords("detect", ScanOptions, options)
    search = Search(
        threshold=threshold,
        iou=iou,
        scales=scales,
        classes=classes,
        per_class=per_class,
        activation=activation,
    )
    place = None if folder is None else check_local("detect(folder)", folder)
    sources: list[Any] = list(source) if isinstance(source, list | tuple) else [source]
    check_classes(fcn, classes, options.get("output", 0))
    with Engine(fcn) as engine:
        results = [detect_in(engine, one, search, place, **options) for one in sources]
    detections = joined([each.detections for each in results])
    if len(sources) == 1:
        return detections
    names = (
        f"array {number}" if name == "array" and not isinstance(one, str | Path) else name
        for number, (name, one) in enumerate(zip(detections.names, sources, strict=True))
    )
    return replace(detections, names=tuple(names))


@dataclass(frozen=True)
class ImageDetections:
    """The detections in one image, and the heatmaps that they come from.

    Attributes
    ----------
    detections : Detections
        The boxes in the image.
    heatmaps : tuple of Heatmap
        One for each scale at which a window fits into the image.
    beyond : (float, float) or None
        The least and the greatest score, if some lie outside of 0 to 1 and so are no probabilities.
    """

    detections: Detections
    heatmaps: tuple[Heatmap, ...]
    beyond: tuple[float, float] | None


def detect_in(
    engine: Engine,
    source: ImageLike,
    search: Search,
    folder: str | Path | None = None,
    **options: Unpack[ScanOptions],
) -> ImageDetections:
    """Find the detections in one image; `detect` describes the parameters."""
    asked: dict[str, Any] = dict(options)
    left = _left(engine.fcn.activation(asked.get("output", 0)), search.activation)
    with ExitStack() as stack:
        if not isinstance(source, Source):
            opening = {name: asked.pop(name) for name in OPENING_KEYWORDS if name in asked}
            opening["preprocessing"] = asked.get("preprocessing")
            source = open_image(engine.fcn, source, Options.of(opening))
            stack.callback(source.close)
        heatmaps = _scanned(engine, source, search.scales, folder, asked)
        name, size, place = source.name, source.original_size, source.georeference
    arrays = [Activated(heatmap, left) for heatmap in heatmaps]
    detections = _best(arrays, search, name=name, size=size, place=place)
    low, high = min(each.low for each in arrays), max(each.high for each in arrays)
    return ImageDetections(
        detections, tuple(heatmaps), (low, high) if low < 0 or high > 1 else None
    )


def _left(inside: Activation, activation: Activation) -> Activation:
    """Return the activation that is left to apply to scores; one inside is not applied twice.

    Raises
    ------
    InputError
        If the model holds another one.
    """
    if activation not in ("none", inside) and inside != "none":
        raise InputError(
            f"detect(activation={activation!r}): the scores are probabilities already, by a "
            f"{inside} inside the model; leave the activation out (--activation)."
        )
    return "none" if activation == inside else activation


def _best(
    arrays: Sequence[Activated],
    search: Search,
    *,
    name: str,
    size: Sizes,
    place: Georeference | None,
) -> Detections:
    """Return the best of the windows that overlap, from the heatmaps of all scales."""
    first = arrays[0].heatmap
    labels = wanted_classes(first, search.classes)
    candidates = [
        peaks(each, each.windows, search.threshold, search.iou, labels) for each in arrays
    ]
    boxes, scores, numbers = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (array.placement.boxes(each.boxes(array.windows)), each.scores, each.labels)
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
    kept = suppress(boxes, scores, numbers, search.iou, per_class=search.per_class)
    return Detections(
        boxes=boxes[kept],
        scores=scores[kept],
        labels=numbers[kept],
        images=np.zeros(len(kept), np.int64),
        classes=first.classes or unnamed_classes(first.shape[0]),
        names=(name,),
        sizes=(size,),
        probabilities=all_scores(arrays, candidates, kept),
        places=(place,),
    )


def _scanned(
    engine: Engine,
    source: Source,
    scales: Sequence[float],
    folder: str | Path | None,
    options: Mapping[str, Any],
) -> list[Heatmap]:
    """Scan an image at every scale at which a window fits into it."""
    heatmaps: list[Heatmap] = []
    for scale in scales:
        size = [round(n * scale) for n in source.size]
        if any(n < w for n, w in zip(size, engine.fcn.grid.window, strict=True)):
            continue
        out = (
            None if folder is None else Path(folder) / _name(engine.digest, source, scale, options)
        )
        with warnings.catch_warnings():
            if heatmaps:  # the first scan has warned of the image already
                warnings.simplefilter("ignore", ImageWarning)
            # Lost scores of a kept heatmap are computed again unasked: it is nobody's result yet.
            repair = options.get("repair", out is not None)
            asked = {**options, "repair": repair}
            made = scan(engine.fcn, source, out, resize=scale, engine=engine, **asked)
        heatmaps.append(made)
    if not heatmaps:
        things = unit(len(source.size), many=True)
        raise ImageError(
            f"{source.name} is {sized(source.size)} {things}, smaller than one window of "
            f"{sized(engine.fcn.grid.window)} at every scale; enlarge it, or add a larger scale."
        )
    return heatmaps


def _name(digest: str, source: Source, scale: float, options: Mapping[str, Any]) -> str:
    """Return a name for a heatmap that is unique to the model, the image and the options."""
    telling = sorted((name, repr(value)) for name, value in options.items() if name in TELLING)
    identity = json.dumps([__version__, digest, source.fingerprint(), telling])
    name = without_ending(Path(source.name).name)
    return as_file(name, f"-{scale:g}-{zlib.crc32(identity.encode()):08x}.zarr")
