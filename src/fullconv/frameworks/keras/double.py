"""A Keras model in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from fullconv.frameworks.keras.calls import numbers
from fullconv.frameworks.keras.private import SUMS

DOUBLE = "float64"


def in_double(model: Any, run: Callable[[Any], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return the function that ``run`` makes from a copy that computes in double precision."""
    with _computing_in_double():
        copy = keras.models.clone_model(model, clone_function=_doubled, recursive=True)
        for own, original in zip(copy.variables, model.variables, strict=True):
            own.assign(numbers(original))
        scored = run(copy)

    def classify(crops: Any) -> Any:
        with _computing_in_double():
            return scored(crops)

    return classify


def _doubled(layer: Any) -> Any:
    config = layer.get_config()
    return type(layer).from_config({**config, "dtype": DOUBLE} if "dtype" in config else config)


@contextmanager
def _computing_in_double() -> Iterator[None]:
    # On PyTorch, a table in Keras would still have sums computed in single precision.
    config = keras.config
    floatx, policy, sums = config.floatx(), config.dtype_policy(), SUMS[DOUBLE]
    config.set_floatx(DOUBLE)
    config.set_dtype_policy(DOUBLE)
    SUMS[DOUBLE] = DOUBLE
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_dtype_policy(policy)
        SUMS[DOUBLE] = sums
