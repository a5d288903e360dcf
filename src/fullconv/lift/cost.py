"""What scores cost: multiply-accumulates per window, in an image of many windows."""

from __future__ import annotations

from math import prod

from fullconv.graph import Graph, Node
from fullconv.operations import Convolution, Linear, TransposedConvolution


def products(node: Node, graph: Graph) -> int:
    """Count the multiply-accumulates of a layer on one window at its native size.

    Convolutions and fully connected layers are counted, on which nearly all time is spent; a
    filter's taps on padding count too, as a framework computes them.
    """
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or (weight not in graph.shapes and weight not in graph.constants):
        return 0
    shape = graph.constants[weight].shape if weight in graph.constants else graph.shapes[weight]
    if isinstance(node.operation, TransposedConvolution):
        return prod(shape) * _cells(graph, node.inputs[0])
    if isinstance(node.operation, Convolution):
        return prod(shape) * _cells(graph, node.outputs[0])
    if isinstance(node.operation, Linear):
        outputs = prod(graph.shapes[node.outputs[0]]) // max(1, graph.batch)
        return outputs * shape[-1]
    return 0


def _cells(graph: Graph, value: str | None) -> int:
    return prod(graph.shapes.get(value or "", ())[2:])
