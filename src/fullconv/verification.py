"""Proof on the user's own image: windows recomputed from crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.converted import FullyConvolutional
from fullconv.errors import InputError
from fullconv.frameworks import Framework, find

Scores = list[NDArray[Any]]
Place = tuple[int, int, int]

WHOLE = 4096
"""Up to so many windows, images are scored in one pass to verify them."""
AROUND = 2
"""Otherwise, how many neighbouring windows on each side are scored with the one to verify."""

SELF_ERROR_MULTIPLE = 16
"""Note [What counts as equal]

A model differs from itself when it is run on other batch sizes, because sums are taken in another
order. The converted network takes them in yet another order, over as many terms; over the models
measured its difference stays within a few times the model's own, and 16 leaves room for windows
that were not sampled. Where the model shows no difference at all (small models on few windows
often do not), sums of float numbers may still round differently: then `ROUNDINGS` units in the
last place of the largest score are allowed. A wrong stride, offset, padding or channel order
is off by the size of the scores themselves, thousands of times more.
"""
ROUNDINGS = 32


@dataclass(frozen=True)
class Verification:
    """What the comparison of a converted network with its crops has shown.

    Attributes
    ----------
    max_error : float
        Largest difference between a window's scores and those of its crop.
    self_error : float
        Largest difference of the classifier from itself, across batch sizes.
    agreement : float
        Share of the windows with the same best class (for one class: the same sign).
    windows : int
        How many windows were compared.
    allowed : float
        The largest difference that counts as equal; see Note [What counts as equal].
    exact : bool
        Whether the conversion claims to be exact.
    passed : bool
        Whether the claim holds. An approximate conversion claims nothing, and always passes.
    """

    max_error: float
    self_error: float
    agreement: float
    windows: int
    allowed: float
    exact: bool
    passed: bool

    def __str__(self) -> str:
        """Return the figures and the verdict, as people read them."""
        return "\n".join(
            [
                f"windows compared       {self.windows}",
                f"largest difference     {self.max_error:.3g}",
                f"model's own difference {self.self_error:.3g} (from itself, across batch sizes)",
                f"same best class        {100 * self.agreement:.1f} % of the windows",
                f"verdict                {self.verdict}",
            ]
        )

    @property
    def verdict(self) -> str:
        """One sentence that says what the figures mean."""
        if not self.exact:
            return (
                "approximate: the differences above are what it costs; the exact form, in f32, has "
                "the crops' own scores"
            )
        if self.passed:
            return "equal: the scores are the crops' own"
        return f"NOT equal: more than {self.allowed:.3g} is no rounding; please report this model"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        return {**asdict(self), "verdict": self.verdict}


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
    if windows < 1:
        raise InputError(f"verify(windows={windows}): compare at least 1 window.")
    images = fcn.shape.as_map(fcn.framework.check(images, fcn.shape))
    rows, columns = fcn.grid.shape(images.shape[2:])
    total = len(images) * rows * columns
    chosen = np.random.default_rng(seed).permutation(total)[: min(windows, total)]
    places = [_place(int(k), rows, columns) for k in sorted(chosen)]

    crops = []
    for n, row, column in places:
        x0, y0, x1, y1 = fcn.grid.box(row, column)
        crops.append(images[n : n + 1, :, y0:y1, x0:x1])
    batch = fcn.framework.join(crops, 0)
    classify = classifier_of(fcn, model)
    return judge(
        _lifted(fcn, images, places),
        lambda part: arrays(fcn.framework, classify(batch[part])),
        fcn.report.exact,
    )


def verify_few(fcn: FullyConvolutional, model: Any) -> Verification:
    """Compare four neighbouring windows of random pixels with their crops."""
    (h, w), (sy, sx) = fcn.grid.window, fcn.grid.step
    pixels = np.random.default_rng(0).random((1, fcn.shape.channels, h + sy, w + sx), np.float32)
    return verify_prepared(fcn, model, fcn.framework.images(fcn.model, pixels), windows=4)


def judge(
    lifted: Scores,
    classify: Callable[[slice], Scores],
    exact: bool,
    stored: tuple[float, float] = (0.0, 0.0),
    alone: int | None = None,
) -> Verification:
    """Compare the scores of some windows with those of their crops.

    Parameters
    ----------
    lifted : list of array
        Every output of the converted network, ``(windows, ...)``.
    classify
        Returns the classifier's outputs for some of the crops, in the same order.
    exact : bool
        Whether the scores claim to be the crops' own.
    stored : (float, float)
        What storing the scores may have moved them by: absolute, and as a share of the largest.
    alone : int, optional
        From how many of the crops, one at a time, the model's own difference is taken; by default
        from all.
    """
    count = len(lifted[0])
    singles = range(count if alone is None else min(alone, count))
    together = _stack([classify(slice(k, k + 16)) for k in range(0, count, 16)])
    together = [t.reshape(s.shape) for t, s in zip(together, lifted, strict=True)]
    again = _stack([classify(slice(k, k + 1)) for k in singles])
    first = [t[: len(singles)] for t in together]
    again = [a.reshape(t.shape) for a, t in zip(again, first, strict=True)]

    self_error, max_error = _difference(again, first), _difference(lifted, together)
    largest = max(float(np.abs(t[np.isfinite(t)]).max(initial=0.0)) for t in together)
    epsilon = max(float(np.finfo(t.dtype).eps) for t in together)
    allowed = max(SELF_ERROR_MULTIPLE * self_error, ROUNDINGS * epsilon * largest)
    allowed += stored[0] + stored[1] * largest
    return Verification(
        max_error,
        self_error,
        _agreement(lifted[0], together[0]),
        count,
        allowed,
        exact,
        not exact or max_error <= allowed,
    )


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


def classifier_of(fcn: FullyConvolutional, model: Any) -> Callable[[Any], Any]:
    """Return the original classifier as a function from crops to scores."""
    framework = find(model)
    if framework.name != fcn.framework.name:
        raise InputError(
            f"verify: the converted network is of {fcn.framework.name} and the classifier of "
            f"{framework.name}; give the classifier that it was converted from."
        )
    if isinstance(model, str | Path):
        model, _ = framework.open(Path(model))
    return framework.classifier(model)


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


def _difference(a: Scores, b: Scores) -> float:
    """Return the largest difference; NaN and infinity are equal to themselves only."""
    largest = 0.0
    for left, right in zip(a, b, strict=True):
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        with np.errstate(invalid="ignore"):
            gap = np.where(same, 0.0, np.abs(left.astype(np.float64) - right))
        largest = max(largest, float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0)))
    return largest


def _agreement(lifted: NDArray[Any], crops: NDArray[Any]) -> float:
    if lifted.ndim < 2 or lifted.shape[1] < 2:
        return float(np.mean((lifted > 0) == (crops > 0)))
    flat = [array.reshape(*array.shape[:2], -1) for array in (lifted, crops)]
    return float(np.mean(flat[0].argmax(axis=1) == flat[1].argmax(axis=1)))
