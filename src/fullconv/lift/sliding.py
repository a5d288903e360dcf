"""Which values of the approximate form are statistics over a sliding window."""

from __future__ import annotations

from fullconv.graph import Graph, Node
from fullconv.operations import Pointwise


def sliding_statistics(graph: Graph) -> frozenset[str]:
    """Return the values that gate a map: one number per channel, computed from the whole window.

    The approximate form needs such a value at every cell of the map that it gates, from a window
    of the native extent around that cell; so they are kept dense, from the reduction that makes
    them up to the product that uses them.
    """
    producers = {name: node for node in graph.nodes for name in node.outputs}
    pending = [
        name
        for node in graph.nodes
        if isinstance(node.operation, Pointwise) and _spatial(graph, node.outputs[0])
        for name in node.inputs
        if name in producers and not _spatial(graph, name)
    ]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        node: Node | None = producers.get(name)
        if node is None or name in found or _spatial(graph, name):
            continue
        found.update(node.outputs)
        pending.extend(i for i in node.inputs if i is not None)
    return frozenset(found)


def _spatial(graph: Graph, name: str) -> bool:
    shape = graph.shapes.get(name, ())
    return len(shape) == 4 and shape[2:] != (1, 1)
