"""Calls of layers and operations, as they are repeated on other tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

TO_MAP, TO_NATIVE = (0, 3, 1, 2), (0, 2, 3, 1)
"""Between a tensor with its channels last, and a map ``(N, C, rows, columns)``."""


@dataclass(frozen=True)
class Slot:
    """Stands for an input, by its place, in the arguments of a call."""

    index: int


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a layer or operation.

    Attributes
    ----------
    target : keras.Layer or Keras operation
        What was called.
    args, kwargs
        What it was called with; a `Slot` stands for each tensor.
    part : str
        Which part of the layer a node is: "activation", "depthwise"; empty for its main part.
    """

    target: Any
    args: tuple[Any, ...] = (Slot(0),)
    kwargs: dict[str, Any] = field(default_factory=dict)
    part: str = ""


def numbers(weight: Any) -> Any:
    """Return a variable, tensor or array as an array of NumPy."""
    value = weight.value if isinstance(weight, keras.Variable) else weight
    return np.asarray(keras.ops.convert_to_numpy(value))


def slots(args: Any, kwargs: Any) -> tuple[list[Any], tuple[Any, ...], dict[str, Any]]:
    """Return the tensors of a call, and its arguments with a `Slot` for each."""
    tensors: list[Any] = []

    def replaced(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        tensors.append(value)
        return Slot(len(tensors) - 1)

    args, kwargs = keras.tree.map_structure(replaced, (tuple(args), dict(kwargs)))
    return tensors, args, kwargs


def filled(call: Call, tensors: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with tensors in the places of their slots."""

    def replaced(value: Any) -> Any:
        return tensors[value.index] if isinstance(value, Slot) else value

    args, kwargs = keras.tree.map_structure(replaced, (call.args, call.kwargs))
    return args, kwargs
