"""The definition of a fully convolutional classifier, as code that is too plain to be wrong.

A window classifier ``f : (N, C, h, w) -> (N, K)`` has the scores

    F(X)[n, ..., i, j] = f(X[n, :, i*sy : i*sy + h, j*sx : j*sx + w])[n, ...]

for every window inside ``X``, where ``f`` of a crop is its answer for that crop alone, a batch of
one. Here they are made by cutting every crop and forwarding it, one at a time, for NumPy arrays
(ONNX Runtime) and PyTorch tensors alike. Everything else is measured against this.

Note [The sign of zero is not compared]: ``-0.0`` and ``0.0`` are equal numbers, and which of the
two a sum of zeros gives depends on the order of its terms. All other values are compared bit for
bit: equal floats have equal bits. A NaN equals a NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np


def windows_of(images: Any, window: tuple[int, int], step: tuple[int, int]) -> Any:
    """Return every window of the images as one batch: image by image, row by row.

    ``(N, C, H, W)`` in, ``(N * rows * columns, C, h, w)`` out, in the framework of the images.
    """
    rows, columns = map_size(images.shape[-2:], window, step)
    (h, w), (sy, sx) = window, step
    crops = [
        images[n : n + 1, :, i * sy : i * sy + h, j * sx : j * sx + w]
        for n in range(images.shape[0])
        for i in range(rows)
        for j in range(columns)
    ]
    return _concatenate(crops)


def map_size(
    size: tuple[int, int], window: tuple[int, int], step: tuple[int, int]
) -> tuple[int, int]:
    """Return how many windows lie inside an image of `size`, as (rows, columns)."""
    if size[0] < window[0] or size[1] < window[1]:
        raise ValueError(f"no window of {window} lies inside an image of {tuple(size)}")
    return (size[0] - window[0]) // step[0] + 1, (size[1] - window[1]) // step[1] + 1


def scores_of_crops(
    classify: Callable[[Any], Any],
    images: Any,
    window: tuple[int, int],
    step: tuple[int, int],
    batch: int = 1,
) -> Any:
    """Return the scores ``(N, K, rows, columns)`` of all windows, by forwarding each crop alone.

    Parameters
    ----------
    classify
        The classifier; it may return an array ``(N, ...)``, or tuples, lists and dicts of them; of
        one crop also an array without the axis for it. The scores come back in the same structure.
    batch
        Crops forwarded at once: one, but for a classifier that takes so many and no other number.
    """
    crops = windows_of(images, window, step)
    answers = [classify(crops[at : at + batch]) for at in range(0, crops.shape[0], batch)]
    rows, columns = map_size(images.shape[-2:], window, step)

    def arrange(*parts: Any) -> Any:
        rows_ = [part if part.shape[:1] == (1,) or batch > 1 else part[None] for part in parts]
        scores = _concatenate(rows_)
        scores = scores.reshape(images.shape[0], rows, columns, *scores.shape[1:])
        return _module_of(scores).moveaxis(scores, (1, 2), (-2, -1))

    return _map(arrange, *answers)


def self_difference(
    classify: Callable[[Any], Any], crops: Any, batches: tuple[int, ...] = (1, 2, 7, 64)
) -> float:
    """Return how far a classifier is from itself when the same crops come in other batch sizes.

    At least one unit in the last place of the largest score: a sum that is taken in another
    order cannot be asked to agree better than the format can say.
    """
    answers = [
        [
            numbers(leaf).astype(np.float64)
            for at in range(0, crops.shape[0], size)
            for _, leaf in leaves(classify(crops[at : at + size]))
        ]
        for size in batches
    ]
    outputs = sum(1 for _ in leaves(classify(crops[:1])))
    runs = [
        np.concatenate([np.concatenate(parts[k::outputs]).ravel() for k in range(outputs)])
        for parts in answers
    ]
    largest = max(float(np.abs(run - runs[0]).max()) for run in runs)
    _, first = next(leaves(classify(crops[:1])))
    top = np.abs(runs[0]).max().astype(numbers(first).dtype)
    return max(largest, float(np.spacing(top)))


def assert_same(actual: Any, expected: Any) -> None:
    """Fail unless the two are equal in structure, framework, dtype, shape and every number.

    See Note [The sign of zero is not compared].
    """
    for path, mine, wanted in _paired(actual, expected, "scores"):
        _assert_alike(path, mine, wanted)
        a, e = numbers(mine), numbers(wanted)
        wrong = ~((a == e) | ((a != a) & (e != e)))
        if wrong.any():
            first = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise AssertionError(
                f"{path}: {int(wrong.sum())} of {wrong.size} numbers differ, "
                f"first at {first}: {a[first]} is not {e[first]}"
            )


def assert_close(actual: Any, expected: Any, unit: float, multiple: int) -> None:
    """Fail unless the two agree within `multiple` times `unit`, a measured `self_difference`."""
    for path, mine, wanted in _paired(actual, expected, "scores"):
        _assert_alike(path, mine, wanted)
        distance = np.abs(numbers(mine).astype(np.float64) - numbers(wanted).astype(np.float64))
        if not (distance <= multiple * unit).all():
            raise AssertionError(
                f"{path}: off by {np.nanmax(distance)}, more than {multiple} times the "
                f"classifier's own difference {unit}"
            )


def leaves(structure: Any, path: str = "scores") -> Iterator[tuple[str, Any]]:
    """Yield every array of a nested structure with the path that leads to it."""
    if isinstance(structure, dict):
        for key, value in structure.items():
            yield from leaves(value, f"{path}[{key!r}]")
    elif isinstance(structure, (tuple, list)):
        for index, value in enumerate(structure):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, structure


def numbers(array: Any) -> np.ndarray:
    """Return a NumPy array or PyTorch tensor as a NumPy array."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()


def torch_classifier(model: Any) -> Callable[[Any], Any]:
    """Return a function that forwards a batch of crops through a module, without gradients."""
    import torch

    def classify(crops: Any) -> Any:
        with torch.no_grad():
            return model(crops)

    return classify


def onnx_classifier(model: Any) -> Callable[[np.ndarray], Any]:
    """Return a function that runs a ModelProto: one array, or a tuple where it has several."""
    import onnxruntime

    # ONNX Runtime 1.31 moves a Pad of zeros into the MaxPool behind it, which then pads with
    # -infinity; the model says zeros.
    session = onnxruntime.InferenceSession(
        model.SerializeToString(),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["Pad_Fusion"],
    )
    name = session.get_inputs()[0].name

    def classify(crops: np.ndarray) -> Any:
        answers = session.run(None, {name: crops})
        return answers[0] if len(answers) == 1 else tuple(answers)

    return classify


def _paired(actual: Any, expected: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(expected, (dict, tuple, list)):
        if type(actual) is not type(expected):
            raise AssertionError(
                f"{path}: a {type(actual).__name__} is not a {type(expected).__name__}"
            )
        keys = list(expected) if isinstance(expected, dict) else list(range(len(expected)))
        mine = list(actual) if isinstance(actual, dict) else list(range(len(actual)))
        if mine != keys:
            raise AssertionError(f"{path}: the entries {mine} are not {keys}")
        for key in keys:
            yield from _paired(actual[key], expected[key], f"{path}[{key!r}]")
    else:
        yield path, actual, expected


def _assert_alike(path: str, actual: Any, expected: Any) -> None:
    if type(actual) is not type(expected):
        raise AssertionError(
            f"{path}: a {type(actual).__name__} is not a {type(expected).__name__}"
        )
    if actual.dtype != expected.dtype:
        raise AssertionError(f"{path}: dtype {actual.dtype} is not {expected.dtype}")
    if tuple(actual.shape) != tuple(expected.shape):
        raise AssertionError(f"{path}: shape {tuple(actual.shape)} is not {tuple(expected.shape)}")


def _map(function: Callable[..., Any], *structures: Any) -> Any:
    first = structures[0]
    if isinstance(first, dict):
        return {key: _map(function, *(s[key] for s in structures)) for key in first}
    if isinstance(first, (tuple, list)):
        return type(first)(_map(function, *parts) for parts in zip(*structures, strict=True))
    return function(*structures)


def _module_of(array: Any) -> ModuleType:
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def _concatenate(arrays: list[Any]) -> Any:
    module = _module_of(arrays[0])
    return module.concatenate(arrays)
