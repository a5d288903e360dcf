"""Calls of layers and operations, to be repeated on other tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes

Tensor: TypeAlias = "keras.KerasTensor"
Weight: TypeAlias = "keras.Variable | Array"
Array = NDArray[Any]


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
        The layer or operation that was called.
    args, kwargs
        Its arguments, with a `Slot` for each tensor.
    part : str
        The part of the layer that a node is: "activation", "depthwise"; empty for its main part.
    """

    target: keras.Operation
    args: tuple[Any, ...] = (Slot(0),)
    kwargs: dict[str, Any] = field(default_factory=dict)
    part: str = ""


def numbers(weight: Weight) -> Array:
    """Return a variable, tensor or array as an array of NumPy."""
    value = weight.value if isinstance(weight, keras.Variable) else weight
    return np.asarray(keras.ops.convert_to_numpy(value))


def whole(sizes: Sequence[int] | int) -> Sizes:
    """Return a setting as whole numbers, one for every axis."""
    return (int(sizes),) if isinstance(sizes, int) else tuple(int(n) for n in sizes)


def slots(args: Any, kwargs: Any) -> tuple[list[Tensor], tuple[Any, ...], dict[str, Any]]:
    """Return the tensors of a call, and its arguments with a `Slot` for each."""
    tensors: list[Tensor] = []

    def replaced(value: Any) -> Any:
        if not keras.utils.is_keras_tensor(value):
            return value
        tensors.append(value)
        return Slot(len(tensors) - 1)

    args, kwargs = keras.tree.map_structure(replaced, (tuple(args), dict(kwargs)))
    return tensors, args, kwargs


def filled(
    call: Call, tensors: Sequence[Any] | Mapping[int, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with tensors in the places of their slots."""

    def replaced(value: Any) -> Any:
        return tensors[value.index] if isinstance(value, Slot) else value

    args, kwargs = keras.tree.map_structure(replaced, (call.args, call.kwargs))
    return args, kwargs
