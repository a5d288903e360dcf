"""Every scan checks itself: some windows, spread over the image, are computed again from crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.embedded import NOTHING, Embedded
from fullconv.conversion.precision import EPSILONS, INT8
from fullconv.errors import ImageError
from fullconv.frameworks import find
from fullconv.geometry.grid import Sizes
from fullconv.geometry.images import Takes, in_place_of
from fullconv.preprocessing import Preprocessing
from fullconv.runtimes import Runtime
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.region import spans_of
from fullconv.scanning.storing import rounding
from fullconv.scanning.task import leaf, prepared_pixels
from fullconv.sources import Source
from fullconv.verification.judging import Crops, judge, judge_integers, judge_rounded
from fullconv.verification.verified import RANDOM, Verification
from fullconv.verification.verifying import scorer
from fullconv.wording import kind, sized, unit

Scorer = Callable[[NDArray[np.float32]], list[Any]]
"""From crops ``(n, C, *window)`` to every output of a model."""

MANY = 1 << 22
"""Above this many windows, candidates for the check are drawn first, and kept if scanned."""

TRIES = 32
"""Most draws from a part of such an image, until one is a scanned window."""


def verify_heatmap(
    heatmap: Heatmap,
    model: Any,
    image: Source,
    windows: int = 64,
    *,
    seed: int = 0,
    runtime: Runtime | None = None,
    takes: Takes | None = None,
) -> Verification | None:
    """Compare scores of a heatmap with those of crops that are read again, each scored alone.

    Returns None where no window was scanned.

    Parameters
    ----------
    heatmap : Heatmap
        A finished heatmap.
    model
        The classifier, as `convert` takes it, or the converted model, which takes crops, too.
    image : Source
        The image as it was scanned: same level, bands and size.
    windows : int
        Number of windows to compare, spread over those that were scanned.
    seed : int
        Seed of the choice of windows.
    runtime : Runtime, optional
        An open runtime of this model that scores as its own framework does. By default the model
        is opened again.
    takes : str, optional
        The form in which the model takes a crop; see `fullconv.geometry.images.Takes`. By default
        that of the record.

    Raises
    ------
    ImageError
        If the image has another size, or other bands, than the one that was scanned.
    DamagedError
        If the heatmap has lost scores, or they have changed.
    """
    _check_same(heatmap, image)
    metadata = heatmap.metadata
    text = metadata["preprocessing"]
    preprocessing = Preprocessing.from_json(text) if text else None
    framework = find(model)
    takes = takes or metadata.get("takes") or "map"
    if isinstance(model, str | Path):
        model, attributes = framework.open(Path(model))
        if "fullconv.report" in attributes:
            takes = in_place_of(takes)
    text = metadata.get("embedded")
    embedded = Embedded.from_json(text) if text else NOTHING
    score = scorer(framework, model, takes, embedded) if runtime is None else runtime.run

    places = sample(heatmap, windows, seed)
    if not places:
        return None
    kept = np.stack([heatmap[(slice(None), *place)] for place in places])

    def crop(place: Sizes) -> NDArray[np.float32]:
        begins = [axis.position(n) for axis, n in zip(heatmap.windows.axes, place, strict=True)]
        spans = [(n, n + w) for n, w in zip(begins, heatmap.grid.window, strict=True)]
        return prepared_pixels(image, preprocessing, *spans)[0]

    def scored(by: Scorer, count: int, first: int = 0) -> list[NDArray[Any]]:
        batch = np.stack([crop(place) for place in places[first : first + count]])
        return [leaf(by(batch), metadata["output"])]

    @cache
    def double() -> Scorer:
        return scorer(framework, model, takes, embedded, double=True)

    crops = Crops(
        lambda k: scored(score, 1, k),
        lambda n: scored(score, n),
        lambda k: scored(double(), 1, k),
    )
    # A classifier in half precision is scanned in f32: its own crops are not the same function.
    nothing = np.zeros((1, 1, *(1 for _ in image.size)), np.float32)
    is_half = framework.images(model, nothing).dtype.itemsize < 4
    precision, moved = metadata["precision"], rounding(metadata["dtype"])
    epsilon = framework.epsilon(model)
    if (metadata["exact"] or metadata.get("rounded")) and precision in EPSILONS and not is_half:
        proof = judge_rounded([kept], crops, precision, moved, epsilon)
    elif precision == INT8:
        proof = judge_integers([kept], crops, float(metadata.get("agreement", 0)), moved)
    else:
        exact = metadata["exact"] and precision == "f32" and not is_half
        proof = judge([kept], crops, exact, moved, epsilon)
    return replace(proof, of=RANDOM) if metadata.get("random") else proof


def _check_same(heatmap: Heatmap, image: Source) -> None:
    """Check that scores are whole, and that an image can be the one that was scanned."""
    if heatmap.path is not None:
        heatmap.check()
    metadata = heatmap.metadata
    if list(image.size) != metadata["image_size"]:
        axes = len(image.size)
        raise ImageError(
            f"{image.name} is {sized(image.size)} {unit(axes, many=True)}, and the {kind(axes)} "
            f"that was scanned was {sized(metadata['image_size'])}; give the same {kind(axes)}, "
            f"at the same level."
        )
    bands = metadata.get("channels", image.bands)
    if image.bands != bands:
        raise ImageError(
            f"{image.name} has {image.bands} bands, and the scan read {bands}; give the same image."
        )


def sample(heatmap: Heatmap, windows: int, seed: int = 0) -> list[Sizes]:
    """Return up to ``windows`` scanned windows, spread over the image: one from each part first."""
    rng = np.random.default_rng(seed)
    spans = spans_of(heatmap.metadata["region"], heatmap.grid.dimensions)
    counts = [last - first for first, last in spans]
    parts = _parts(counts, windows)
    if prod(counts) > MANY:
        return _drawn(heatmap, rng, windows, parts)
    places = np.argwhere(~np.isnan(heatmap[(0, *(slice(*span) for span in spans))]))
    rng.shuffle(places)
    within = np.zeros(len(places), np.int64)
    for along, count, part in zip(places.T, counts, parts, strict=True):
        within = within * part + along * part // count
    _, first = np.unique(within, return_index=True)
    rest = np.setdiff1d(np.arange(len(places)), first)
    chosen = places[np.concatenate([rng.permutation(first), rest])[:windows]]
    begin = [first for first, _ in spans]
    return sorted(tuple(place) for place in (chosen + begin).tolist())


def _parts(counts: Sequence[int], windows: int) -> Sizes:
    """Return the number of parts along each axis: about ``windows`` in all, of equal sides."""
    parts: list[int] = []
    wanted: float = windows
    for axis, count in enumerate(counts):
        left = len(counts) - axis
        side = (wanted * count ** (left - 1) / prod(counts[axis + 1 :])) ** (1 / left)
        most = ceil(wanted) if left == 1 else max(1, round(side))
        parts.append(min(count, most))
        wanted /= parts[-1]
    return tuple(parts)


def _drawn(heatmap: Heatmap, rng: np.random.Generator, windows: int, parts: Sizes) -> list[Sizes]:
    """Draw a window from every part of a large heatmap, and keep those that were scanned."""
    spans = spans_of(heatmap.metadata["region"], heatmap.grid.dimensions)
    edges = [
        np.linspace(*span, count + 1).astype(int) for span, count in zip(spans, parts, strict=True)
    ]
    drawn: list[Sizes] = []
    for part in rng.permutation(list(np.ndindex(parts))).tolist():
        for _ in range(TRIES if len(drawn) < windows else 0):
            place = tuple(
                int(rng.integers(along[n], along[n + 1]))
                for along, n in zip(edges, part, strict=True)
            )
            if not np.isnan(heatmap[(0, *place)]):
                drawn.append(place)
                break
    return sorted(drawn)
