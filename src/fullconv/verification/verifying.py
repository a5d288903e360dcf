"""Proof on the user's own image: windows recomputed from crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.checking import is_whole
from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.embedded import NOTHING, Embedded
from fullconv.conversion.precision import INT8
from fullconv.errors import FullconvError, InputError, ModelError, first_line
from fullconv.frameworks import Framework, find
from fullconv.geometry.grid import unraveled
from fullconv.geometry.images import Takes, taken_as
from fullconv.verification.judging import Crops, Scores, judge, judge_integers, judge_rounded
from fullconv.verification.verified import RANDOM, Verification

Place = tuple[int, ...]
"""A window: the number of its image, and its index along every axis."""

WHOLE = 4096
"""Up to so many windows, images are scored in one pass to verify them."""
AROUND = 2
"""Otherwise, how many neighbouring windows on each side are scored with the one to verify."""


def verify(
    fcn: FullyConvolutional, model: Any, images: Any, windows: int = 64, *, seed: int = 0
) -> Verification:
    """Compare random windows of the user's own images with their crops.

    Parameters
    ----------
    fcn : FullyConvolutional
        The converted network.
    model
        The original classifier, as `convert` takes it. Its crops are the definition.
    images : torch.Tensor, numpy.ndarray or tensor of Keras' backend
        As the converted network takes them: ``(N, C, H, W)``, or ``(N, H, W, C)`` where its
        channels come last, and prepared as for the classifier; bytes where the preprocessing is
        inside. Crops are then prepared for the classifier, and its scores activated as inside.
    windows : int
        How many windows to compare; all of them where there are fewer.
    seed : int
        Chooses the windows.

    Raises
    ------
    ImageError
        If the images do not fit the network.
    """
    images = fcn.shape.as_map(fcn.framework.inward(fcn.model, images))
    fcn.embedded.check_pixels("verify(images)", images.dtype)
    return verify_prepared(fcn, model, images, windows, seed=seed)


def verify_prepared(
    fcn: FullyConvolutional, model: Any, images: Any, windows: int, *, seed: int = 0
) -> Verification:
    """Compare random windows as `verify` does, of images ``(N, C, *size)`` for any model."""
    if not is_whole(windows, 1):
        raise InputError(f"verify(windows={windows!r}): compare at least 1 window.")
    images = fcn.shape.as_map(fcn.framework.check(fcn.shape.from_map(images), fcn.shape))
    if not len(images):
        raise InputError("verify(images): there is no image in them; give at least one.")
    counts = (len(images), *fcn.grid.shape(images.shape[2:]))
    chosen = np.random.default_rng(seed).permutation(prod(counts))[:windows]
    places = [unraveled(k, counts) for k in sorted(chosen.tolist())]

    framework, model = opened(fcn, model)
    in_double = _in_double(fcn, images, places)
    crops = [  # joined, though it is one: a view of an image is none that every model takes
        fcn.framework.join([_cut(images, n, fcn.grid.slices(*place))], 0) for n, *place in places
    ]
    if fcn.embedded:
        scored = _crops_outside(fcn.embedded, framework, model, fcn.shape.takes, crops, in_double)
    else:
        crops = [fcn.shape.as_crops(crop) for crop in crops]
        if framework.name != fcn.framework.name:
            crops = [framework.images(model, crop) for crop in crops]
        scored = crops_of(framework, model, fcn.shape.takes, crops, in_double)
    lifted, report = _lifted(fcn, images, places), fcn.report
    epsilon = fcn.framework.epsilon(fcn.model)
    if report.rounded:
        verification = judge_rounded(lifted, scored, report.precision, epsilon=epsilon)
    elif report.precision == INT8:
        verification = judge_integers(lifted, scored, report.agreement)
    else:
        verification = judge(lifted, scored, report.exact, epsilon=epsilon)
    return replace(verification, of=RANDOM) if fcn.report.random else verification


def crops_of(
    framework: Framework,
    model: Any,
    takes: Takes,
    crops: Sequence[Any],
    converted_in_double: Callable[[int], Scores],
) -> Crops:
    """Return how a classifier in memory scores crops, each a batch of one."""
    classify = framework.classifier(model, takes)

    @cache
    def double() -> Callable[[Any], Any]:
        return framework.in_double(model, takes)

    return Crops(
        lambda k: arrays(framework, classify(crops[k])),
        lambda n: arrays(framework, classify(framework.join(list(crops[:n]), 0))),
        lambda k: arrays(framework, double()(crops[k])),
        converted_in_double,
    )


def _crops_outside(
    embedded: Embedded,
    framework: Framework,
    model: Any,
    takes: Takes,
    crops: Sequence[NDArray[Any]],
    converted_in_double: Callable[[int], Scores],
) -> Crops:
    """Return how crops are scored for a converted network that prepares and activates itself."""
    score = scorer(framework, model, takes, embedded)

    @cache
    def double() -> Callable[[NDArray[Any]], Scores]:
        return scorer(framework, model, takes, embedded, double=True)

    return Crops(
        lambda k: score(crops[k]),
        lambda n: score(np.concatenate(crops[:n])),
        lambda k: double()(crops[k]),
        converted_in_double,
    )


def scorer(
    framework: Framework,
    model: Any,
    takes: Takes,
    embedded: Embedded = NOTHING,
    *,
    double: bool = False,
) -> Callable[[NDArray[Any]], Scores]:
    """Return a function from crops ``(n, C, *window)`` to every output of a model.

    The function does outside of the model the steps that are ``embedded`` in the converted network
    and not in the model itself; see Note [Embedded].
    """
    try:
        left = embedded.without(Embedded.of(framework.metadata(model)))
    except (ValueError, FullconvError) as error:
        raise ModelError(
            f"verify: what the model file says of its preprocessing and activation cannot be read "
            f"({first_line(error)}); convert the original model again."
        ) from None
    classify = (framework.in_double if double else framework.classifier)(model, takes)

    def scores(crops: NDArray[Any]) -> Scores:
        given = framework.images(model, taken_as(left.prepared(crops), takes))
        return [left.activated(output) for output in arrays(framework, classify(given))]

    return scores


def _in_double(
    fcn: FullyConvolutional, images: Any, places: Sequence[Place]
) -> Callable[[int], Scores]:
    """Return how the converted network scores a window in double precision, among its neighbours.

    That is from the window and the next along every axis, where there is one.
    """
    counts = fcn.grid.shape(images.shape[2:])

    def scores(k: int) -> Scores:
        n, *place = places[k]
        first = [max(0, min(at, count - 2)) for at, count in zip(place, counts, strict=True)]
        last = [min(at + 1, count - 1) for at, count in zip(first, counts, strict=True)]
        run = fcn.framework.runner_in_double(fcn.model)
        maps = arrays(
            fcn.framework, run(fcn.shape.from_map(_cut(images, n, _among(fcn, first, last))))
        )
        return scores_at(maps, 0, [at - start for at, start in zip(place, first, strict=True)])

    return scores


def _lifted(fcn: FullyConvolutional, images: Any, places: Sequence[Place]) -> Scores:
    """Return the converted network's scores at some windows.

    From one pass over the images; where they hold more than `WHOLE` windows, from a pass over the
    surroundings of each place, so that memory and time do not grow with the image.
    """
    counts = fcn.grid.shape(images.shape[2:])
    if prod(counts) <= WHOLE:
        maps = arrays(fcn.framework, fcn.scores(images))
        found = [scores_at(maps, n, place) for n, *place in places]
    else:
        found = []
        for n, *place in places:
            first = [max(0, at - AROUND) for at in place]
            last = [min(at + AROUND, count - 1) for at, count in zip(place, counts, strict=True)]
            part = _cut(images, n, _among(fcn, first, last))
            maps = arrays(fcn.framework, fcn.scores(part))
            found.append(
                scores_at(maps, 0, [at - start for at, start in zip(place, first, strict=True)])
            )
    return [np.stack(scores) for scores in zip(*found, strict=True)]


def _among(fcn: FullyConvolutional, first: Sequence[int], last: Sequence[int]) -> tuple[slice, ...]:
    """Return what cuts the windows from one to another, both included, out of an image."""
    ends = zip(fcn.grid.slices(*first), fcn.grid.slices(*last), strict=True)
    return tuple(slice(start.start, stop.stop) for start, stop in ends)


def _cut(images: Any, n: int, slices: Sequence[slice]) -> Any:
    """Return a part of one image, as a batch of one."""
    return images[(slice(n, n + 1), slice(None), *slices)]


def scores_at(maps: Scores, n: int, place: Sequence[int]) -> Scores:
    """Return the scores of one window of one image."""
    index: Any = (n, ..., *place)
    return [map_[index] for map_ in maps]


def opened(fcn: FullyConvolutional, model: Any) -> tuple[Framework, Any]:
    """Return the framework of the original classifier, and the classifier in memory.

    They may differ where the converted network is ONNX, for its precision or the steps it holds.
    """
    framework = find(model)
    # The images of a network in ONNX are NumPy's, as every classifier's are made of.
    if fcn.framework.name not in (framework.name, "onnx"):
        raise InputError(
            f"verify: the converted network is of {fcn.framework.name} and the classifier of "
            f"{framework.name}; give the classifier that it was converted from."
        )
    if isinstance(model, str | Path):
        model, _ = framework.open(Path(model))
    return framework, model


def arrays(framework: Framework, result: Any) -> Scores:
    """Return the leaves of a result, whatever structure the model returns, as float arrays."""
    return [_floats(framework.to_numpy(leaf)) for leaf in _leaves(result)]


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)


def _leaves(result: Any) -> Iterator[Any]:
    if isinstance(result, Mapping):
        for key in result:
            yield from _leaves(result[key])
    elif isinstance(result, tuple | list):
        for item in result:
            yield from _leaves(item)
    else:
        yield result
