"""The nodes of an ONNX graph that its outputs need, and an order in which these can run."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from onnx import GraphProto, NodeProto

from fullconv.errors import ModelError


def prune(graph: GraphProto) -> None:
    """Remove the nodes that no output needs: ONNX Runtime does not run them either."""
    makers = {name: node for node in graph.node for name in node.output if name}
    waiting = [value.name for value in graph.output]
    needed: set[str] = set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and needed.isdisjoint(node.output):
            needed.update(name for name in node.output if name)
            waiting.extend(reads(node))
    kept = [node for node in graph.node if not needed.isdisjoint(node.output)]
    if len(kept) < len(graph.node):
        pruned = GraphProto(node=kept)
        del graph.node[:]
        graph.node.extend(pruned.node)


def sort(graph: GraphProto) -> None:
    """Sort the nodes so that each comes behind the nodes whose results it reads.

    ONNX requires this order; ONNX Runtime takes any. Nodes that need not move stay.

    Raises
    ------
    ModelError
        If nodes wait for each other in a circle.
    """
    for node in graph.node:
        for inner in inner_graphs(node):
            sort(inner)
    order = _order(graph.node)
    if len(order) < len(graph.node):
        left = sorted(set(range(len(graph.node))) - set(order))
        first = graph.node[left[0]]
        raise ModelError(
            f"convert: {first.op_type} {first.name or first.output[0]!r} reads what is made from "
            f"its own result; the model is damaged: export it again."
        )
    if order != list(range(len(order))):
        nodes = [graph.node[place] for place in order]
        sorted_ = GraphProto(node=nodes)
        del graph.node[:]
        graph.node.extend(sorted_.node)


def _order(nodes: Sequence[NodeProto]) -> list[int]:
    """Return the positions of nodes in an order in which they can run, without those in circles."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    readers: list[list[int]] = [[] for _ in nodes]
    waiting = []
    for place, node in enumerate(nodes):
        needed = {makers[name] for name in reads(node) if name in makers}
        waiting.append(len(needed))
        for maker in needed:
            readers[maker].append(place)
    ready = [place for place, count in enumerate(waiting) if not count]
    order = []
    while ready:
        place = heapq.heappop(ready)
        order.append(place)
        for reader in readers[place]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    return order


def reads(node: NodeProto) -> set[str]:
    """Return the names of the values that a node reads, itself or in a graph inside it."""
    names = {name for name in node.input if name}
    for inner in inner_graphs(node):
        names |= _taken_from_outside(inner)
    return names


def _taken_from_outside(graph: GraphProto) -> set[str]:
    own = {value.name for value in (*graph.input, *graph.initializer)}
    names: set[str] = set()
    for node in graph.node:
        own.update(node.output)
        names |= reads(node)
    return (names | {value.name for value in graph.output}) - own


def inner_graphs(node: NodeProto) -> list[GraphProto]:
    """Return the graphs among a node's attributes: branches, and bodies of loops."""
    return [
        graph
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs)
    ]
