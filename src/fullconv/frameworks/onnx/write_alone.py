"""The writer of pieces of a classifier that run on each window alone: a Scan over windows."""

from __future__ import annotations

import onnx_ir as ir

from fullconv.frameworks.onnx.writing import Results, Writing, writes
from fullconv.graph.graph import Alone, Node


@writes(Alone)
def write_alone(writing: Writing, node: Node, operation: Alone) -> Results:
    """Write a piece of the classifier as a Scan over the windows."""
    outer, values = writing.nodes, dict(writing.values)
    inputs = writing.inputs(node)
    writing.nodes = []
    windows = []
    for name, one, value in zip(operation.inputs, operation.each, inputs, strict=True):
        if one:
            windows.append(_native(writing, name))
        writing.values[name] = windows[-1] if one else value  # type: ignore[assignment]
    for part in operation.nodes:
        writing.bind(writing.write(part), part, inside=True)
    results = []
    for name in operation.outputs:
        results.append(writing.emit("Identity", [writing.values[name]]))
        results[-1].type, results[-1].shape = _kind(writing, name)
    body = ir.Graph(windows, results, nodes=writing.nodes, name=writing.unique("fullconv/window"))
    writing.nodes, writing.values = outer, values
    apart = [v for v, one in zip(inputs, operation.each, strict=True) if one]
    scan = ir.node(
        "Scan",
        apart,
        {"body": body, "num_scan_inputs": len(apart)},
        num_outputs=len(results),
        name=writing.unique("fullconv/each_window"),
    )
    writing.nodes.append(scan)
    for result in scan.outputs:
        result.name = writing.unique("fullconv/Scan")
    return scan.outputs


def _native(writing: Writing, name: str) -> ir.Value:
    """Return the input of a piece: a value of one window."""
    kind, shape = _kind(writing, name)
    return ir.Value(name=writing.unique("fullconv/one"), type=kind, shape=shape)


def _kind(writing: Writing, name: str) -> tuple[ir.TensorType | None, ir.Shape]:
    """Return the type and shape of a native value."""
    dtype = writing.source.types.get(name)
    shape = ir.Shape(writing.source.graph.shapes[name])
    return None if dtype is None else ir.TensorType(dtype), shape
