"""Whether a classifier ends with an activation, so that its scores are probabilities already."""

from __future__ import annotations

from fullconv.choices import Activation
from fullconv.graph.graph import Graph, Node
from fullconv.operations import AlongAxis, Identity, Operation, Permute, Pointwise, Reshape

KEEPING = (Identity, Permute, Reshape)
"""Operations behind an activation that change no score."""


def endings(graph: Graph) -> tuple[Activation, ...]:
    """Return softmax, sigmoid or none for every output of a classifier as it was read.

    A softmax counts where it is over all scores of a window.
    """
    makers = {name: node for node in graph.nodes for name in node.outputs}
    return tuple(_ending(graph, makers, name) for name in graph.outputs)


def _ending(graph: Graph, makers: dict[str, Node], name: str) -> Activation:
    while (node := makers.get(name)) is not None and isinstance(node.operation, KEEPING):
        assert node.first is not None
        name = node.first
    if node is None:
        return "none"
    found = _named(node.operation)
    if found == "softmax":
        assert isinstance(node.operation, AlongAxis)
        shape = graph.shapes[name]
        along = node.operation.axis % len(shape)
        others = [size for axis, size in enumerate(shape) if axis not in (0, along)]
        return found if all(size == 1 for size in others) else "none"
    return found


def _named(operation: Operation) -> Activation:
    """Return the activation that an operation is, by whatever name a framework has for it."""
    if isinstance(operation, AlongAxis) and operation.name.lower() == "softmax":
        return "softmax"
    if isinstance(operation, Pointwise) and operation.name.lower() == "sigmoid":
        return "sigmoid"
    return "none"
