"""Activation functions as records: pointwise, along an axis, or opaque."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras.calls import Call, Tensor
from fullconv.operations import AlongAxis, Identity, Opaque, Operation, Pointwise

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

POINTWISE = frozenset(
    """
    celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid
    mish relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid
    squareplus tanh tanh_shrink threshold
    """.split()
)
ALONG_LAST_AXIS = ("softmax", "log_softmax")


def name_of(function: Any) -> str:
    """Return the name of one of Keras' own activation functions; empty for any other."""
    name = str(getattr(function, "__name__", ""))
    known = name in POINTWISE or name in (*ALONG_LAST_AXIS, "linear")
    return name if known and getattr(keras.activations, name, None) is function else ""


def operation_of(function: Any, axis: int) -> Operation:
    """Return a function as a record; ``axis`` is the position of the tensor's last axis."""
    name = name_of(function)
    if name in POINTWISE:
        return Pointwise(name)
    if name in ALONG_LAST_AXIS:
        return AlongAxis(name, axis)
    if name == "linear":
        return Identity(name)
    return Opaque(str(getattr(function, "__name__", type(function).__name__)))


def read_activation(
    reader: Reader, layer: keras.Layer, path: str, result: Tensor, data_format: str
) -> tuple[str, Callable[[], None]]:
    """Name the value that a layer computes before its activation.

    Returns
    -------
    str
        The result of the layer's own operation: a map, in the layer's format.
    callable
        Appends the activation behind it.
    """
    is_map = data_format == "channels_last"
    function = layer.activation
    if function is None or name_of(function) == "linear":
        return reader.bind(result, path, is_map=is_map), lambda: None
    inner = keras.KerasTensor(result.shape, dtype=result.dtype)
    made = reader.bind(inner, f"{path}/linear", is_map=is_map)
    if isinstance(function, keras.Layer):
        from fullconv.frameworks.keras import tables

        name = f"{path}/{function.name}"
        return made, lambda: tables.read(reader, function, name, (inner,), {}, result)

    def finish() -> None:
        operation = operation_of(function, 1 if is_map else len(result.shape) - 1)
        on_map = is_map and not isinstance(operation, Opaque)
        source = made if on_map else reader.native(inner)
        output = reader.bind(result, path, is_map=on_map)
        call = Call(layer, part="activation")
        reader.add(operation, (source,), (output,), path, call)

    return made, finish
