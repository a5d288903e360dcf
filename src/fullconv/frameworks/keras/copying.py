"""Copies of a classifier's own layers and operations, called on other tensors."""

from __future__ import annotations

from typing import Any

import keras

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.keras.calls import Array, Call, Tensor, filled, numbers
from fullconv.frameworks.keras.private import copied_lambda
from fullconv.frameworks.keras.writing import Value, Writing
from fullconv.frameworks.orders import to_last_order
from fullconv.graph.graph import Node
from fullconv.operations import Identity, Pointwise


def repeat(writing: Writing, node: Node) -> list[Value]:
    """Call the copy of a node's own layer on other tensors."""
    call = node.source
    if not isinstance(call, Call):
        raise ModelError(f"convert: no way to write {node.operation!r} in Keras.")
    tensors = [name for name in node.inputs if name in writing.values]
    on_maps = not node.per_window or all(writing.values[name].last for name in tensors)
    on_maps = on_maps and isinstance(node.operation, Pointwise | Identity)
    take = writing.map if on_maps else writing.plain
    given = {name: take(name) for name in tensors}
    last = on_maps and writing.last
    rank = max(len(x.shape) for x in given.values()) if last else 0
    operands = [
        given[name] if name in given else _operand(writing, name, rank) for name in node.inputs
    ]
    args, kwargs = filled(call, operands)
    result = copied(writing, node, *args, **kwargs)
    return [Value(tensor, last) for tensor in keras.tree.flatten(result)]


def _operand(writing: Writing, name: str | None, rank: int) -> Array | None:
    """Return a parameter; one of the rank of channels-last maps gets its channels last, too."""
    array = writing.vector(name)
    if array is None or array.ndim != rank:
        return array
    return array.transpose(to_last_order(rank))


def copied(writing: Writing, node: Node, *args: Any, **kwargs: Any) -> Tensor:
    """Call the copy of a node's own layer, with the weights of the original."""
    layer = node.source.target
    copy = writing.copy(layer, remade)
    fresh = not getattr(copy, "built", True)
    result = copy(*args, **kwargs)
    if fresh:
        fill(copy, layer)
    return result


def fill(copy: keras.Layer, layer: keras.Layer) -> None:
    """Give a copy of a layer its weights."""
    for mine, original in zip(copy.weights, layer.weights, strict=True):
        mine.assign(numbers(original))


def copied_on_map(writing: Writing, node: Node) -> Value:
    """Call the copy of a node's own layer on one map per window."""
    return writing.on_map(copied(writing, node, writing.map(node.first)))


def remade(layer: keras.Operation, name: str) -> keras.Operation:
    """Make a layer or operation again from its own settings, under another name."""
    kind = type(layer)
    if isinstance(layer, keras.layers.Lambda):
        return copied_lambda(layer, name)
    try:
        if isinstance(layer, keras.Layer):
            return kind.from_config({**layer.get_config(), "name": name})
        # Before Keras 3.12, operations took no name.
        config = layer.get_config()
        copy = kind.from_config({key: value for key, value in config.items() if key != "name"})
        copy.name = name
        return copy
    except Exception as error:
        raise ModelError(
            f"convert: {kind.__name__} {layer.name!r} cannot be made again from its own settings "
            f"({first_line(error)}); give it a get_config that returns what its __init__ takes."
        ) from None
