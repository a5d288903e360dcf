"""Write a lifted network as a `keras.Model` under the original names."""

from __future__ import annotations

import keras

from fullconv.frameworks.keras import (  # noqa: F401 - the families of operations register
    write_alone,
    write_borders,
    write_layers,
    write_numbers,
    write_shapes,
)
from fullconv.frameworks.keras.axis_layers import OneChannel
from fullconv.frameworks.keras.calls import Call, Tensor
from fullconv.frameworks.keras.copying import repeat
from fullconv.frameworks.keras.models import functional, input_name
from fullconv.frameworks.keras.private import Functional
from fullconv.frameworks.keras.read import ModelGraph
from fullconv.frameworks.keras.writing import Value, Writing, writes
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph, Node


def write(graph: Graph, source: ModelGraph, grid: Grid) -> keras.Model:
    """Return a model from images of any size to the scores of every window.

    It maps ``(N, *size, C)`` to ``(N, *windows, K)``, or ``(N, C, *size)`` to ``(N, K, *windows)``
    where the classifier takes its channels first. It takes ``(N, *size)`` where images have no axis
    of channels. Its layers are new ones, with copies of the original's weights.
    """
    whole, writing = functional(source.model), Writing(graph, source, grid)
    image = _image(writing, whole)
    for node in graph.nodes:
        writing.values.update(zip(node.outputs, _write(writing, node), strict=False))
    flat = [writing.values[name].tensor for name in graph.outputs]
    # An output that occurs twice, or is the image itself, needs a tensor of its own.
    outputs = keras.tree.pack_sequence_as(whole.output, flat)
    return keras.Model(image, outputs, name=source.model.name)


def _image(writing: Writing, whole: Functional) -> Tensor:
    """Return the input image, of any size, and record it as a map."""
    given, graph = whole.inputs[0], writing.source.graph
    shape: list[int | None] = [None] * len(graph.window)
    plain = len(graph.layout.axes) == 1 + len(shape)  # without an axis of channels
    if not plain:
        shape.insert(len(shape) if writing.last else 0, graph.channels)
    name = writing.unique(input_name(whole))
    image = keras.Input(shape, dtype=given.dtype, name=name)
    writing.policy = given.dtype
    as_map = writing.own(OneChannel, image) if plain else image
    writing.values[writing.graph.image] = writing.on_map(as_map)
    return image


def _write(writing: Writing, node: Node) -> list[Value]:
    """Write one node; without a writer of its own, the call that it was read from is repeated."""
    taken_in = writing.fused(node)
    if taken_in is not None:
        return [taken_in]
    call, write_it = node.source, writes.find(type(node.operation))
    own = isinstance(call, Call) and isinstance(call.target, keras.Layer)
    writing.policy = call.target.dtype_policy if own else writing.first_input(node).tensor.dtype
    if write_it is None:
        return repeat(writing, node)
    written = write_it(writing, node, node.operation)
    return written if isinstance(written, list) else [written]
