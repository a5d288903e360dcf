"""One layer of Keras over a map and over the same map reordered, each time with its own weights.

Where the channels of the second call are stored in another order, so are the layer's weights: the
two calls are two layers in the written model. Nothing is checked on converting: a probe would send
windows through the model one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import fullconv
from keras_models import QUIETLY, keras, layers
from networks.checks import assert_shared
from oracle import assert_close, self_difference
from test_keras_axes import array, integers, last_cut, of_crops, with_integers

pytestmark = QUIETLY
WINDOW = (8, 6)
SCALES = [1.0, 2.0, -1.0, 4.0, 0.5, -2.0]
SHIFTS = [0.0, 1.0, 2.0, 3.0, -1.0, -2.0]
VARIANCES = [1.0, 4.0, 16.0, 1.0, 0.25, 64.0]
BY_CHANNEL: dict[str, Callable[[], Any]] = {
    "prelu": lambda: layers.PReLU(shared_axes=[1, 2]),
    "batch normalization": lambda: layers.BatchNormalization(epsilon=0.0),
    "rescaling": lambda: layers.Rescaling(SCALES, SHIFTS),
    "normalization": lambda: layers.Normalization(mean=SHIFTS, variance=VARIANCES),
    "layer scale": lambda: _layer_scale(),
}
FILTERS: dict[str, Callable[[], Any]] = {
    "convolution": lambda: layers.Conv2D(2, 3),
    "depthwise": lambda: layers.DepthwiseConv2D(3),
    "separable": lambda: layers.SeparableConv2D(2, 3),
}


def _layer_scale() -> Any:
    from fullconv.frameworks.keras.private import LayerScale

    return LayerScale(1.0, 6)


def shuffled(x: Any) -> Any:
    rows, columns, channels = x.shape[1:]
    apart = layers.Reshape((rows, columns, 2, channels // 2))(x)
    return layers.Reshape((rows, columns, channels))(layers.Permute((1, 2, 4, 3))(apart))


def turned(x: Any) -> Any:
    return layers.Permute((2, 1, 3))(x)


def twice(layer: Any, change: Callable[[Any], Any], back: Callable[[Any], Any]) -> Any:
    """Return a classifier that calls a layer on a map, and on the map changed."""
    image = keras.Input((*WINDOW, 2))
    x = layers.Conv2D(6, 3)(image)
    both = layers.Concatenate()([layer(x), back(layer(change(x)))])
    scores = layers.Dense(3)(layers.Flatten()(both))
    return with_integers(keras.Model(image, scores))


def scores_and_crops(model: Any) -> tuple[Any, Any, Any, Any]:
    fcn = fullconv.convert(model, window=WINDOW, check=False)
    images = integers((1, 11, 9, 2))
    assert fcn.report.exact
    assert_shared(fcn)
    return fcn, images, array(fcn(images)), of_crops(model, images, fcn.grid, last_cut)


@pytest.mark.parametrize("name", BY_CHANNEL)
def test_weights_of_channels_follow_their_channels(name: str) -> None:
    model = twice(BY_CHANNEL[name](), shuffled, lambda x: x)
    _, _, actual, expected = scores_and_crops(model)
    assert np.array_equal(actual, expected)


def test_layer_normalization_follows_its_channels() -> None:
    model = twice(layers.LayerNormalization(), shuffled, lambda x: x)
    fcn, images, actual, expected = scores_and_crops(model)
    places = product((0, 3), (0, 3))
    crops = np.concatenate([last_cut(images, fcn.grid.slices(*place)) for place in places])
    # Means and variances are sums that the written model takes in another order.
    unit = self_difference(lambda x: array(model.predict_on_batch(x)), crops)
    assert_close(actual, expected, unit, 4)


@pytest.mark.parametrize("name", FILTERS)
def test_filters_turn_with_their_map(name: str) -> None:
    model = twice(FILTERS[name](), turned, turned)
    _, _, actual, expected = scores_and_crops(model)
    assert np.array_equal(actual, expected)
