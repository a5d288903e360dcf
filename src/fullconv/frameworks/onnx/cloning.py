"""Copies of the graphs inside an ONNX model's nodes, under new names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir

Values = Sequence[ir.Value | None]
"""Inputs or outputs of a node or graph; None for those that are left out."""


@dataclass(frozen=True)
class Copied:
    """A copy of an inner graph: its nodes in order, all weights inside it, and its outputs."""

    nodes: list[ir.Node]
    weights: list[ir.Value]
    outputs: list[ir.Value | None]


class Cloning:
    """Makes names that no other value of a model has, and copies of graphs under such names."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self._taken = {value.name for value in model.graph.inputs}
        self._taken.update(model.graph.initializers)
        self._taken.update(v.name for node in model.graph for v in node.outputs)
        self._numbers = count(1)
        self._made: list[ir.Value] = []
        self._replaced: dict[ir.Value, ir.Value] = {}

    def name(self, base: str) -> str:
        """Return a name that is not taken."""
        free = base
        while not free or free in self._taken:
            free = f"{base or 'inner'}.{next(self._numbers)}"
        self._taken.add(free)
        return free

    def constant(self, array: np.ndarray) -> ir.Value:
        """Return a new initializer of the model."""
        return self._weight("constant", ir.Tensor(array))

    def node(
        self, kind: str, inputs: Values, attributes: Mapping[str, Any], result: str | None = None
    ) -> ir.Node:
        """Return a new node with one output, which is not yet in the model."""
        made = ir.node(kind, inputs, attributes, name=self.name(kind))
        made.outputs[0].name = result or self.name(f"{kind}.result")
        return made

    def copy(self, graph: ir.Graph, inputs: Values) -> Copied:
        """Return a copy of a graph whose inputs are these values."""
        known: dict[ir.Value, ir.Value | None] = dict(zip(graph.inputs, inputs, strict=True))
        before = len(self._made)
        self._copy_weights(graph, known)
        nodes = [self._node(node, known) for node in graph]
        outputs = [known.get(value, value) for value in graph.outputs]
        return Copied(nodes, self._made[before:], outputs)

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Replace a value by another one, for all its readers and among the outputs."""
        self._replaced[old] = new
        for node, index in tuple(old.uses()):
            node.replace_input_with(index, new)
        if old.is_graph_output():
            for place, value in enumerate(self.graph.outputs):
                if value is old:
                    self.graph.outputs[place] = new

    def now(self, value: ir.Value | None) -> ir.Value | None:
        """Return the current replacement of a value, or the value itself."""
        while value in self._replaced:
            value = self._replaced[value]
        return value

    def _copy_weights(self, graph: ir.Graph, known: dict[ir.Value, ir.Value | None]) -> None:
        """Make an inner graph's weights the model's, which graphs further inside can read."""
        for value in graph.initializers.values():
            if value not in known:
                known[value] = self._weight(value.name or "", value.const_value)

    def _weight(self, base: str, tensor: Any) -> ir.Value:
        value = ir.Value(
            name=self.name(base),
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        self._made.append(value)
        return value

    def _node(self, node: ir.Node, known: dict[ir.Value, ir.Value | None]) -> ir.Node:
        made = ir.Node(
            node.domain,
            node.op_type,
            [known.get(value, value) if value is not None else None for value in node.inputs],
            [self._attribute(attribute, known) for attribute in node.attributes.values()],
            num_outputs=len(node.outputs),
            name=self.name(node.name or ""),
        )
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.name = self.name(old.name) if old.name else ""
            known[old] = new
        return made

    def _attribute(self, attribute: ir.Attr, known: Mapping[ir.Value, ir.Value | None]) -> ir.Attr:
        if attribute.type == ir.AttributeType.GRAPH:
            return ir.AttrGraph(attribute.name, self._inner(attribute.value, known))
        if attribute.type == ir.AttributeType.GRAPHS:
            return ir.AttrGraphs(attribute.name, [self._inner(g, known) for g in attribute.value])
        return attribute

    def _inner(self, graph: ir.Graph, known: Mapping[ir.Value, ir.Value | None]) -> ir.Graph:
        """Return a copy of a graph inside a node that is copied."""
        inside = dict(known)
        inputs = []
        for value in graph.inputs:
            inside[value] = made = ir.Value(name=self.name(value.name or ""), type=value.type)
            inputs.append(made)
        self._copy_weights(graph, inside)
        nodes = [self._node(node, inside) for node in graph]
        outputs = [inside.get(value, value) for value in graph.outputs]
        return ir.Graph(inputs, [v for v in outputs if v is not None], nodes=nodes, name=graph.name)


def same_graphs(one: ir.Graph, other: ir.Graph) -> bool:
    """Whether two branches are equal but for names; those with graphs inside never are."""
    return _written(one) == _written(other)


def _written(graph: ir.Graph) -> list[Any]:
    """Return the content of a graph for comparison, with its own values numbered."""
    places: dict[Any, Any] = {}

    def place(value: ir.Value | None) -> Any:
        return None if value is None else places.get(value, ("outside", value.name))

    lines: list[Any] = []
    for value in graph.initializers.values():
        tensor: Any = value.const_value
        places[value] = ("weight", str(tensor.dtype), tuple(tensor.shape), tensor.tobytes())
    for number, node in enumerate(graph):
        attributes = [
            # An inner graph refers to values by their names, which differ: no two are equal.
            object()
            if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            else ir.serde.serialize_attribute(attribute).SerializeToString(deterministic=True)
            for attribute in sorted(node.attributes.values(), key=lambda attribute: attribute.name)
        ]
        inputs = [place(value) for value in node.inputs]
        lines.append((node.domain, node.op_type, inputs, attributes))
        places.update((value, (number, slot)) for slot, value in enumerate(node.outputs))
    return [*lines, [place(value) for value in graph.outputs]]
