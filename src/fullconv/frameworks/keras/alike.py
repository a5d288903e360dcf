"""Whether two forms of a converted model are the same network."""

from __future__ import annotations

import keras
import numpy as np

from fullconv.frameworks.keras.calls import numbers


def same_weights(model: keras.Model, other: keras.Model) -> bool:
    """Whether a model and another form of it have the same weights under the same paths."""
    own, needed = ({x.path: numbers(x) for x in m.weights} for m in (model, other))
    if any(weight.path not in needed for weight in model.trainable_weights):
        return False
    return all(path in own and _same(own[path], weight) for path, weight in needed.items())


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether numbers and type are equal; shapes may differ, as those of filters do."""
    return one.dtype == two.dtype and np.array_equal(one.ravel(), two.ravel())
