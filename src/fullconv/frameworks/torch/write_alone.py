"""Write pieces of a classifier that run on each window alone."""

from __future__ import annotations

import torch

from fullconv.frameworks.torch.one_by_one import OneByOne
from fullconv.frameworks.torch.writing import FxNode, Writing, writes
from fullconv.graph.graph import Alone, Graph, Node


@writes(Alone)
def write_alone(writing: Writing, node: Node, operation: Alone) -> FxNode:
    """Write a piece of the classifier as a module of its own, run window by window."""
    module = OneByOne(_piece(writing, operation), operation.each)
    path = writing.place(f"{node.name.replace('.', '_') or 'windows'}_alone", module)
    return writing.fx.call_module(path, tuple(writing.inputs(node)))


def _piece(writing: Writing, operation: Alone) -> torch.fx.GraphModule:
    """Write the nodes on native tensors, from the piece's inputs to a tuple of its outputs."""
    shapes = writing.source.graph.shapes
    graph = Graph("", list(operation.nodes), list(operation.outputs), {}, shapes)
    inner = Writing(graph, writing.source, writing.grid)
    inner.tensors = writing.tensors
    for index, name in enumerate(operation.inputs):
        inner.values[name] = inner.fx.placeholder(f"input_{index}")
    for node in graph.nodes:
        inner.values[node.outputs[0]] = inner.write(node)
    inner.fx.output(tuple(inner.values[name] for name in graph.outputs))
    return torch.fx.GraphModule(inner.root, inner.fx, "Piece")
