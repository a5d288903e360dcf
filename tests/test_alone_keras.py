"""Keras classifiers whose score of an image depends on the other images of its batch.

As `test_alone` for PyTorch: each crop scored alone, as ``predict`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fullconv
from keras_models import QUIETLY, keras, layers, ops
from oracle import assert_close

pytestmark = [QUIETLY, pytest.mark.filterwarnings("ignore:You are using a softmax over axis")]
WINDOW, STEP = (6, 7), (1, 2)
ROUNDINGS = 32


def conv() -> Any:
    return layers.Conv2D(3, 3)


def head(x: Any) -> Any:
    return layers.Dense(4)(layers.Flatten()(x))


@keras.saving.register_keras_serializable(package="tests")
class Standardised(keras.layers.Layer):
    """Takes its statistics from the whole batch."""

    def call(self, x: Any) -> Any:
        return (x - ops.mean(x)) / (ops.std(x) + 1e-3)


@keras.saving.register_keras_serializable(package="tests")
class OfEachImage(keras.layers.Layer):
    """Takes its statistics from each image by itself."""

    def call(self, x: Any) -> Any:
        wide = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
        mean, spread = (f(wide, axis=1, keepdims=True) for f in (ops.mean, ops.std))
        return ops.reshape((wide - mean) / (spread + 1e-3), ops.shape(x))


class Numbered(keras.layers.Layer):
    """Adds to each image its place in the batch."""

    def call(self, x: Any) -> Any:
        places = ops.arange(ops.shape(x)[0], dtype=x.dtype)
        return x + ops.reshape(places, (-1, 1, 1, 1))


class Divided(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x / ops.shape(x)[0]


class Normal(keras.layers.Layer):
    """Normalizes by the statistics of the batch, in use too."""

    def build(self, shape: Any) -> None:
        self.norm = layers.BatchNormalization()
        self.norm.build(shape)

    def call(self, x: Any) -> Any:
        return self.norm(x, training=True)


def augmented(x: Any) -> Any:
    scores = head(conv()(ops.concatenate([x, ops.flip(x, axis=2)], axis=0)))
    return ops.mean(ops.reshape(scores, (2, -1, 4)), axis=0)


def by_rows(x: Any) -> Any:
    scores = head(conv()(x))
    return ops.matmul(ops.transpose(scores), scores)


MIXING: dict[str, Callable[[Any], Any]] = {
    "mean of all": lambda x: head(conv()(x - ops.mean(x))),
    "maximum of all": lambda x: head(conv()(x / ops.max(x))),
    "norm of all": lambda x: head(conv()(x / ops.norm(x))),
    "mean over the batch": lambda x: head(conv()(x - ops.mean(x, axis=0))),
    "softmax over the batch": lambda x: head(ops.softmax(conv()(x), axis=0)),
    "Softmax over the batch": lambda x: head(layers.Softmax(axis=0)(conv()(x))),
    "running sum over the batch": lambda x: head(ops.cumsum(conv()(x), axis=0)),
    "sorted batch": lambda x: head(ops.sort(conv()(x), axis=0)),
    "chosen by all": lambda x: head(ops.where(ops.mean(x) > 0.5, conv()(x), -1.0)),
    "first of the batch": lambda x: head(conv()(x))[0],
    "squeezed": lambda x: ops.squeeze(head(conv()(x))),
    "one number": lambda x: ops.max(conv()(x)),
    "rows times rows": by_rows,
    "einsum over the batch": lambda x: ops.einsum("bhwc,bhwd->cd", conv()(x), conv()(x)),
    "augmented": augmented,
    "several outputs": lambda x: {"a": head(conv()(x)), "b": ops.sum(x)},
    "a layer that standardises": lambda x: head(Standardised()(conv()(x))),
    "a layer that numbers": lambda x: head(Numbered()(conv()(x))),
    "a layer that divides": lambda x: head(Divided()(conv()(x))),
    "a layer that trains": lambda x: head(Normal()(conv()(x))),
    "a function": lambda x: head(layers.Lambda(lambda y: y - ops.mean(y))(conv()(x))),
}


def model_of(body: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((*WINDOW, 2))
    return keras.Model(image, body(image))


def pixels() -> np.ndarray:
    drawn = np.random.default_rng(0).random((2, 9, 12, 2))
    return (drawn * np.linspace(0.3, 2, 12)[:, None]).astype(np.float32)


def outputs(result: Any) -> list[np.ndarray]:
    return [np.asarray(ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(result)]


def compare(fcn: Any, model: Any) -> None:
    """Require the scores of the crops, each alone, but for roundings."""
    images, (rows, columns) = pixels(), fcn.grid.shape((9, 12))
    windows = [(n, i, j) for n in range(2) for i in range(rows) for j in range(columns)]
    crops = [
        outputs(model.predict_on_batch(images[n : n + 1, i : i + 6, 2 * j : 2 * j + 7]))
        for n, i, j in windows
    ]
    for place, scores in enumerate(outputs(fcn(images))):
        own = scores.reshape(len(windows), -1)
        wanted = np.stack([crop[place].reshape(-1) for crop in crops])
        unit = float(np.finfo(np.float32).eps * np.abs(wanted).max())
        assert_close(own, wanted.astype(own.dtype), unit, ROUNDINGS)


@pytest.mark.parametrize("kind", MIXING)
def test_a_window_has_the_score_of_its_crop_alone(kind: str) -> None:
    model = model_of(MIXING[kind])
    fcn = fullconv.convert(model, step=STEP)
    assert fcn.report.exact
    compare(fcn, model)


def test_a_layer_of_each_image_by_itself_runs_on_all_windows_at_once() -> None:
    model = model_of(lambda x: head(OfEachImage()(conv()(x))))
    fcn = fullconv.convert(model, step=STEP)
    assert not [reason for reason in fcn.report.reasons if "alone" in reason]
    compare(fcn, model)


def test_what_runs_alone_is_saved_and_loaded(tmp_path: Path) -> None:
    model = model_of(MIXING["a layer that standardises"])
    fcn = fullconv.convert(model, step=STEP)
    (reason,) = [reason for reason in fcn.report.reasons if "alone" in reason]
    assert reason.operation == "Standardised"
    fcn.save(tmp_path / "fcn.keras")
    again = fullconv.load(tmp_path / "fcn.keras")
    for own, wanted in zip(outputs(again(pixels())), outputs(fcn(pixels())), strict=True):
        assert np.array_equal(own, wanted)
