"""Write a lifted network as an ONNX model under the original names."""

from __future__ import annotations

import onnx_ir as ir

from fullconv.frameworks.onnx import (  # noqa: F401 - the families of operations register
    write_alone,
    write_blocks,
    write_layers,
    write_maps,
    write_sliding,
)
from fullconv.frameworks.onnx.channels import AXES_KEY
from fullconv.frameworks.onnx.read import ModelGraph
from fullconv.frameworks.onnx.writing import Writing
from fullconv.frameworks.orders import to_map_order
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph
from fullconv.operations import FoldWindows, SplitChannels
from fullconv.wording import size_names


def write(graph: Graph, source: ModelGraph, grid: Grid) -> ir.Model:
    """Return a model from images ``(N, C, H, W)`` to scores ``(N, K, rows, columns)``.

    Where the source takes its channels last, from ``(N, H, W, C)`` to ``(N, rows, columns, K)``.
    Height, width and batch are free. Nodes and initializers keep their names where they stay.
    """
    return written(Writing(graph, source, grid))


def written(writing: Writing) -> ir.Model:
    """Write every node, then the outputs under their original names."""
    model = writing.source.model
    original = model.graph
    image = _image(writing, original)
    for node in writing.graph.nodes:
        writing.bind(writing.write(node), node)
    outputs: dict[str | None, ir.Value] = {}
    for name, value in zip(writing.graph.outputs, original.outputs, strict=True):
        if value.name not in outputs:
            outputs[value.name] = _output(writing, name, value)
    graph = ir.Graph(
        [image],
        [outputs[value.name] for value in original.outputs],
        nodes=writing.nodes,
        initializers=list(writing.initializers.values()),
        opset_imports=dict(model.opset_imports),
        name=original.name or "fullconv",
    )
    result = ir.Model(
        graph,
        ir_version=max(8, min(10, model.ir_version or 8)),
        producer_name="fullconv",
        doc_string=model.doc_string,
    )
    result.metadata_props.update(model.metadata_props)
    result.metadata_props[AXES_KEY] = "last" if writing.source.channels_last else "first"
    return result


def _image(writing: Writing, original: ir.Graph) -> ir.Value:
    """Return the model's input, and record it as a map."""
    (old,) = (v for v in original.inputs if v.name not in original.initializers)
    source, dimensions = writing.source.graph, len(writing.graph.window)
    channels, last = source.channels, writing.source.channels_last
    plain = source.takes_cells  # without an axis of channels
    sizes: list[int | str] = list(size_names(dimensions))
    for axis in writing.graph.fixed:
        sizes[axis] = writing.graph.window[axis]
    shape = [*sizes, channels] if last else [*([] if plain else [channels]), *sizes]
    image = ir.Value(
        name=old.name,
        type=ir.TensorType(old.dtype or ir.DataType.FLOAT),
        shape=ir.Shape(["batch", *shape]),
    )
    writing.values[writing.graph.image] = image
    if last or plain:
        # See Note [Channels last]. One tensor per window may ask for the image's name, too.
        writing.reserved.add(old.name)
        if last:
            order = {"perm": to_map_order(2 + dimensions)}
            turned = writing.emit("Transpose", [image], order)
        else:
            turned = writing.emit("Unsqueeze", [image, writing.numbers(1)])
        turned.type = image.type
        writing.values[writing.graph.image] = turned
    return image


def _output(writing: Writing, name: str, original: ir.Value) -> ir.Value:
    rank = _answer_rank(writing.graph, name)
    if writing.source.channels_last:
        first = rank - len(writing.graph.window)
        order = (0, *range(first, rank), *range(1, first))
        value = writing.emit("Transpose", [writing.value(name)], {"perm": order})
    else:
        value = writing.emit("Identity", [writing.value(name)])
    value.name = original.name
    value.type = original.type
    value.shape = ir.Shape([None] * rank)
    return value


def _answer_rank(graph: Graph, name: str) -> int:
    node = next((n for n in graph.nodes if name in n.outputs), None)
    dimensions = len(graph.window)
    if node is not None and isinstance(node.operation, FoldWindows | SplitChannels):
        return 1 + dimensions + len(node.operation.shape)
    return 2 + dimensions
