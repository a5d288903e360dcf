"""Every scan checks itself: some windows, spread over the image, are computed again from crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.frameworks import Framework, find
from fullconv.geometry import Pair
from fullconv.images import Takes, taken_as
from fullconv.judging import RANDOM, Crops, Verification, judge
from fullconv.preprocessing import Preprocessing
from fullconv.runtimes import Runtime
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.storing import rounding
from fullconv.scanning.task import leaf, prepared_pixels
from fullconv.sources import Source
from fullconv.verification import arrays

Scorer = Callable[[NDArray[np.float32]], list[Any]]
"""From crops ``(n, C, h, w)`` to every output of a model."""

MANY = 1 << 22
"""Of more windows than this, those to check are drawn without looking which were scanned."""

TRIES = 32
"""How often a part of such an image is asked for a scanned window before it is passed over."""


def verify_heatmap(
    heatmap: Heatmap,
    model: Any,
    image: Source,
    windows: int = 64,
    *,
    seed: int = 0,
    runtime: Runtime | None = None,
    takes: Takes = "map",
) -> Verification | None:
    """Compare scores of a heatmap with those of crops that are read again, each scored alone.

    Returns None where no window was scanned.

    Parameters
    ----------
    heatmap : Heatmap
        Any finished one.
    model
        The classifier, as `convert` takes it, or the converted model: it takes crops, too.
    image : Source
        The image as it was scanned: same level, bands and size.
    windows : int
        How many windows to compare, spread over what was scanned.
    seed : int
        Chooses them.
    runtime : Runtime, optional
        Runs this model already, as its own framework would, and spares opening it once more.
    takes : str
        What the model takes as a crop; see `fullconv.images.Takes`.

    Raises
    ------
    ImageError
        If the image has another size, or other bands, than the one that was scanned.
    DamagedError
        If the heatmap has lost scores, or they have changed.
    """
    if heatmap.path is not None:
        heatmap.check()
    metadata = heatmap.metadata
    if list(image.size) != metadata["image_size"]:
        height, width = metadata["image_size"]
        raise ImageError(
            f"{image.name} is {image.size[1]}x{image.size[0]} pixels, and the image that was "
            f"scanned was {width}x{height}; give the same image, at the same level."
        )
    bands = metadata.get("channels", image.bands)
    if image.bands != bands:
        raise ImageError(
            f"{image.name} has {image.bands} bands, and of the image that was scanned {bands} were "
            f"read; give the same image."
        )
    text = metadata["preprocessing"]
    preprocessing = Preprocessing.from_json(text) if text else None
    framework = find(model)
    if isinstance(model, str | Path):
        model, _ = framework.open(Path(model))
    score = _scorer(framework, model, takes) if runtime is None else runtime.run

    places = sample(heatmap, windows, seed)
    if not places:
        return None
    kept = np.stack([heatmap[:, row, column] for row, column in places])

    def crop(row: int, column: int) -> NDArray[np.float32]:
        x0, y0, x1, y1 = heatmap.windows.box(row, column)
        return prepared_pixels(image, preprocessing, (y0, y1), (x0, x1))[0]

    def scored(by: Scorer, count: int, first: int = 0) -> list[NDArray[Any]]:
        batch = np.stack([crop(row, column) for row, column in places[first : first + count]])
        return [leaf(by(batch), metadata["output"])]

    @cache
    def double() -> Scorer:
        run = framework.in_double(model, takes)
        return lambda crops: arrays(framework, run(framework.images(model, taken_as(crops, takes))))

    crops = Crops(
        lambda k: scored(score, 1, k),
        lambda n: scored(score, n),
        lambda k: scored(double(), 1, k),
    )
    # A classifier in half precision is scanned in f32: its own crops are not the same function.
    is_half = framework.images(model, np.zeros((1, 1, 1, 1), np.float32)).dtype.itemsize < 4
    exact = metadata["exact"] and metadata["precision"] == "f32" and not is_half
    epsilon = framework.epsilon(model)
    proof = judge([kept], crops, exact, rounding(metadata["dtype"]), epsilon)
    return replace(proof, of=RANDOM if metadata.get("random") else "")


def _scorer(framework: Framework, model: Any, takes: Takes) -> Scorer:
    """Return a function that scores crops as the model itself does."""
    classify = framework.classifier(model, takes)
    return lambda crops: arrays(
        framework, classify(framework.images(model, taken_as(crops, takes)))
    )


def sample(heatmap: Heatmap, windows: int, seed: int = 0) -> list[Pair]:
    """Return up to so many windows that were scanned, spread over the image: one to each part."""
    rng = np.random.default_rng(seed)
    (top, bottom), (left, right) = (heatmap.metadata["region"][key] for key in ("rows", "columns"))
    rows, columns = bottom - top, right - left
    down = min(rows, max(1, round(sqrt(windows * rows / columns))))
    across = min(columns, ceil(windows / down))
    if rows * columns > MANY:
        return _drawn(heatmap, rng, windows, (down, across))
    places = np.argwhere(~np.isnan(heatmap[0, top:bottom, left:right]))
    rng.shuffle(places)
    parts = places[:, 0] * down // rows * across + places[:, 1] * across // columns
    _, first = np.unique(parts, return_index=True)
    rest = np.setdiff1d(np.arange(len(places)), first)
    chosen = places[np.concatenate([rng.permutation(first), rest])[:windows]]
    return sorted((int(row) + top, int(column) + left) for row, column in chosen)


def _drawn(heatmap: Heatmap, rng: np.random.Generator, windows: int, parts: Pair) -> list[Pair]:
    """Draw a window from every part of a large heatmap, and keep those that were scanned."""
    region = heatmap.metadata["region"]
    rows, columns = (
        np.linspace(region[key][0], region[key][1], count + 1).astype(int)
        for key, count in zip(("rows", "columns"), parts, strict=True)
    )
    found: list[Pair] = []
    for i, j in rng.permutation(list(np.ndindex(parts))).tolist():
        for _ in range(TRIES if len(found) < windows else 0):
            row = int(rng.integers(rows[i], rows[i + 1]))
            column = int(rng.integers(columns[j], columns[j + 1]))
            if not np.isnan(heatmap[0, row, column]):
                found.append((row, column))
                break
    return sorted(found)
