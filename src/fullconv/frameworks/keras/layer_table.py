"""How each layer of Keras reads as records of the vocabulary.

Dispatch is by the very class: a subclass may do anything in its ``call``. What has no handler, and
what a handler cannot honour, becomes `Opaque`, and runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras import operation_table, stored_table
from fullconv.frameworks.keras.calls import Tensor
from fullconv.table import Table

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

Handler = Callable[["Reader", keras.Layer, str, Tensor, Tensor], bool]
"""Reads a call of a layer on a tensor, or several; returns whether it could."""

handles = Table[type, Handler]("a reader")
"""Filled by `read_maps`, `read_numbers` and `read_shapes`."""


def of_axes(*names: str) -> list[type]:
    """Return the layers of these names for one, two and three axes, as far as there are any."""
    kinds = [getattr(keras.layers, name.format(n), None) for name in names for n in (1, 2, 3)]
    return [kind for kind in kinds if kind is not None]


def read(
    reader: Reader, layer: keras.Operation, path: str, args: Any, kwargs: Any, result: Any
) -> None:
    """Read one call; what cannot be read becomes `Opaque`."""
    if not isinstance(layer, keras.Layer):
        operation_table.read(reader, layer, path, args, kwargs, result)
        return
    if stored_table.read(reader, layer, path, args, kwargs, result):
        return
    handler = handles.find(type(layer))
    tensors = keras.tree.flatten(args)
    known = all(keras.utils.is_keras_tensor(x) for x in tensors)
    plain = known and not told(kwargs) and len(args) == 1 and keras.utils.is_keras_tensor(result)
    if handler is None or not plain or _quantized(layer):
        reader.add_opaque(layer, path, args, kwargs, result)
        return
    given = args[0] if isinstance(args[0], (list, tuple)) else tensors[0]
    if not handler(reader, layer, path, given, result):
        reader.add_opaque(layer, path, args, kwargs, result)


def told(kwargs: Mapping[str, Any]) -> bool:
    """Whether a call has settings, or a mask, by which it does something of its own.

    That it trains is none: a model in use tells every layer otherwise, whatever the call said.
    """
    return any(value is not None for name, value in kwargs.items() if name != "training")


def _quantized(layer: keras.Layer) -> bool:
    """Whether a layer's weights are not simply its variables."""
    return bool(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False))
