"""Whether two forms of a converted model are the same network."""

from __future__ import annotations

import keras
import numpy as np

from fullconv.frameworks.keras.calls import numbers


def same_weights(model: keras.Model, other: keras.Model) -> bool:
    """Whether a model has the weights of another form of it, which have the same paths there."""
    held, needed = ({x.path: numbers(x) for x in m.weights} for m in (model, other))
    if any(weight.path not in needed for weight in model.trainable_weights):
        return False
    return all(path in held and _same(held[path], weight) for path, weight in needed.items())


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether numbers and type are the same, in filters of another shape as well."""
    return one.dtype == two.dtype and np.array_equal(one.ravel(), two.ravel())
