"""The writer of pieces of a classifier that run on each window alone."""

from __future__ import annotations

import keras
from keras import ops

from fullconv.frameworks.keras.calls import Call, Tensor, filled
from fullconv.frameworks.keras.copying import fill, remade
from fullconv.frameworks.keras.one_by_one import OneByOne
from fullconv.frameworks.keras.writing import Value, Writing, writes
from fullconv.frameworks.orders import to_last_order
from fullconv.graph.graph import Alone, Node


@writes(Alone)
def write_alone(writing: Writing, node: Node, operation: Alone) -> list[Value]:
    """Write a call on each window alone; for several calls, a call of the whole model."""
    named = zip(operation.inputs, node.inputs, strict=True)
    tensors = {name: writing.plain(value) for name, value in named if value in writing.values}
    (first, *others), shapes = operation.nodes, writing.source.graph.shapes
    if others:
        call, target = Call(writing.source.model), writing.source.model
        given = {0: _image(writing, tensors[writing.source.graph.image])}
    else:
        call, target = first.source, writing.copy(first.source.target, remade)
        given = {place: tensors[name or ""] for place, name in enumerate(first.inputs)}
    natives = {
        place: keras.KerasTensor(tuple(x.shape[1:]), dtype=x.dtype) for place, x in given.items()
    }
    args, kwargs = filled(call, natives)
    fresh = not getattr(target, "built", True)
    results = keras.tree.flatten(target(*args, **kwargs))
    if fresh:
        fill(target, call.target)
    layer = OneByOne(
        target,
        (call.args, call.kwargs),
        [shapes[output] for output in operation.outputs],
        [result.dtype for result in results],
        name=writing.unique(f"{writing.name(node)}_alone"),
        dtype=writing.policy,
    )
    outputs = layer([given[place] for place in sorted(given)])
    return [Value(tensor, False) for tensor in keras.tree.flatten(outputs)]


def _image(writing: Writing, image: Tensor) -> Tensor:
    """Return windows ``(windows, N, C, *cells)`` in the order in which the model takes them."""
    rank = len(image.shape) - 1
    if not writing.last or rank < 2 + len(writing.source.graph.window):
        return image
    return ops.transpose(image, (0, *(1 + axis for axis in to_last_order(rank))))
