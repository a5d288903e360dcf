"""Operators of TensorFlow that tf.keras 2.4 and later stored as layers: arithmetic on tensors.

``x / 127.5 - 1`` in a functional model became two layers of the class `TFOpLambda`, and ``x[...,
::-1]`` one of the class `SlicingOpLambda`. They name a function of TensorFlow, and its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from fullconv.frameworks.keras.calls import Tensor

OPERATORS = ("TFOpLambda", "SlicingOpLambda")

TWO: Mapping[str, Callable[[Any, Any], Any]] = {
    "__operators__.add": ops.add,
    "math.add": ops.add,
    "math.divide": ops.divide,
    "math.maximum": ops.maximum,
    "math.minimum": ops.minimum,
    "math.multiply": ops.multiply,
    "math.subtract": ops.subtract,
    "math.truediv": ops.divide,
    "nn.bias_add": ops.add,
}
"""Functions of two tensors or numbers; the second is the argument ``y``, or ``bias``."""

ONE: Mapping[str, Callable[[Any], Any]] = {
    "math.sigmoid": ops.sigmoid,
    "math.tanh": ops.tanh,
    "nn.elu": ops.elu,
    "nn.relu": ops.relu,
    "nn.relu6": ops.relu6,
    "nn.sigmoid": ops.sigmoid,
    "nn.silu": ops.silu,
    "nn.softmax": ops.softmax,
    "nn.tanh": ops.tanh,
}

ALONG: Mapping[str, Callable[..., Any]] = {
    "math.reduce_max": ops.max,
    "math.reduce_mean": ops.mean,
    "math.reduce_sum": ops.sum,
}
"""Functions along axes."""


def operated(name: str, x: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Return the result of a function of TensorFlow on a tensor.

    Raises
    ------
    ValueError
        If the function, or an argument, is not known here.
    """
    given = {key: value for key, value in arguments.items() if value is not None and key != "name"}
    if given.get("data_format") == "NHWC":
        del given["data_format"]
    if name in TWO and given.keys() <= {"y", "bias"} and len(given) == 1:
        (other,) = given.values()
        return TWO[name](x, _number(other, x))
    if name in ONE and not given:
        return ONE[name](x)
    if name in ALONG and given.keys() <= {"axis", "keepdims"}:
        return ALONG[name](x, **given)
    if name == "__operators__.getitem" and given.get("slice_spec") == REVERSED:
        return ops.flip(x, axis=-1)
    raise ValueError(f"the function {name[:60]!r} of TensorFlow with {sorted(given)}")


REVERSED = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
"""``x[..., ::-1]``: RGB becomes BGR."""


def _number(value: Any, x: Tensor) -> Any:
    """Return the second operand: a tensor, a number, or numbers along the last axis."""
    if keras.utils.is_keras_tensor(value) or isinstance(value, int | float):
        return value
    if isinstance(value, list) and all(isinstance(number, int | float) for number in value):
        return ops.convert_to_tensor(value, dtype=x.dtype)
    raise ValueError(f"{str(value)[:60]} is no number")
