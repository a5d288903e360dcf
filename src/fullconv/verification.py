"""Proof on the user's own image: windows recomputed from crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.checking import is_whole
from fullconv.converted import FullyConvolutional
from fullconv.errors import InputError
from fullconv.frameworks import Framework, find
from fullconv.judging import RANDOM, Crops, Scores, Verification, judge

Place = tuple[int, int, int]

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
        As the classifier takes them, and prepared as for it: ``(N, C, H, W)``, or
        ``(N, H, W, C)`` where its channels come last.
    windows : int
        How many windows to compare; all of them where there are fewer.
    seed : int
        Chooses the windows.

    Raises
    ------
    ImageError
        If the images do not fit the network.
    """
    images = fcn.framework.inward(fcn.model, images)
    return verify_prepared(fcn, model, images, windows, seed=seed)


def verify_prepared(
    fcn: FullyConvolutional, model: Any, images: Any, windows: int, *, seed: int = 0
) -> Verification:
    """Compare random windows as `verify` does, of images ``(N, C, H, W)`` for any model."""
    if not is_whole(windows, 1):
        raise InputError(f"verify(windows={windows!r}): compare at least 1 window.")
    images = fcn.framework.check(images, fcn.shape.channels)
    if not len(images):
        raise InputError("verify(images): there is no image in them; give at least one.")
    rows, columns = fcn.grid.shape(images.shape[2:])
    total = len(images) * rows * columns
    chosen = np.random.default_rng(seed).permutation(total)[: min(windows, total)]
    places = [_place(int(k), rows, columns) for k in sorted(chosen)]

    boxes = [(n, fcn.grid.box(row, column)) for n, row, column in places]
    framework, model = opened(fcn, model)
    crops = [  # joined, though it is one: a view of an image is none that every model takes
        framework.join([images[n : n + 1, :, y0:y1, x0:x1]], 0) for n, (x0, y0, x1, y1) in boxes
    ]
    verification = judge(
        _lifted(fcn, images, places),
        crops_of(framework, model, crops, _in_double(fcn, images, places)),
        fcn.report.exact,
        epsilon=framework.epsilon(fcn.model),
    )
    return replace(verification, of=RANDOM) if fcn.report.random else verification


def crops_of(
    framework: Framework,
    model: Any,
    crops: Sequence[Any],
    converted_in_double: Callable[[int], Scores],
) -> Crops:
    """Return how a classifier in memory scores crops ``(1, C, h, w)``."""
    classify = framework.classifier(model)

    @cache
    def double() -> Callable[[Any], Any]:
        return framework.in_double(model)

    return Crops(
        lambda k: arrays(framework, classify(crops[k])),
        lambda n: arrays(framework, classify(framework.join(list(crops[:n]), 0))),
        lambda k: arrays(framework, double()(crops[k])),
        converted_in_double,
    )


def _in_double(
    fcn: FullyConvolutional, images: Any, places: Sequence[Place]
) -> Callable[[int], Scores]:
    """Return how the converted network scores a window in double precision, among its neighbours.

    That is from the window and three around it, where there are so many.
    """
    grid, framework = fcn.grid, fcn.framework
    rows, columns = grid.shape(images.shape[2:])

    def scores(k: int) -> Scores:
        n, i, j = places[k]
        top, left = max(0, min(i, rows - 2)), max(0, min(j, columns - 2))
        x0, y0, _, _ = grid.box(top, left)
        _, _, x1, y1 = grid.box(min(top + 1, rows - 1), min(left + 1, columns - 1))
        run = framework.runner_in_double(fcn.model)
        maps = arrays(framework, run(images[n : n + 1, :, y0:y1, x0:x1]))
        return [map_[0, ..., i - top, j - left] for map_ in maps]

    return scores


def _lifted(fcn: FullyConvolutional, images: Any, places: Sequence[Place]) -> Scores:
    """Return the converted network's scores at some windows.

    From one pass over the images; where they hold more than `WHOLE` windows, from a pass over the
    surroundings of each place, so that memory and time do not grow with the image.
    """
    rows, columns = fcn.grid.shape(images.shape[2:])
    if rows * columns <= WHOLE:
        maps = arrays(fcn.framework, fcn.scores(images))
        return [np.stack([map_[n, ..., i, j] for n, i, j in places]) for map_ in maps]
    found = []
    for n, i, j in places:
        top, left = max(0, i - AROUND), max(0, j - AROUND)
        x0, y0, _, _ = fcn.grid.box(top, left)
        _, _, x1, y1 = fcn.grid.box(min(i + AROUND, rows - 1), min(j + AROUND, columns - 1))
        maps = arrays(fcn.framework, fcn.scores(images[n : n + 1, :, y0:y1, x0:x1]))
        found.append([map_[0, ..., i - top, j - left][None] for map_ in maps])
    return _stack(found)


def opened(fcn: FullyConvolutional, model: Any) -> tuple[Framework, Any]:
    """Return the framework of the original classifier, and the classifier in memory."""
    framework = find(model)
    if framework.name != fcn.framework.name:
        raise InputError(
            f"verify: the converted network is of {fcn.framework.name} and the classifier of "
            f"{framework.name}; give the classifier that it was converted from."
        )
    if isinstance(model, str | Path):
        model, _ = framework.open(Path(model))
    return framework, model


def _place(index: int, rows: int, columns: int) -> Place:
    """Return image, row and column of a window by its number."""
    n, rest = divmod(index, rows * columns)
    return n, *divmod(rest, columns)


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


def _stack(batches: list[Scores]) -> Scores:
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
