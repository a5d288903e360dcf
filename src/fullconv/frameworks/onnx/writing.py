"""One writing of a network as ONNX: its values, initializers and names, and clones of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.frameworks import writing
from fullconv.frameworks.onnx.read import ModelGraph
from fullconv.frameworks.onnx.reader import Call
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph, Node
from fullconv.graph.table import OperationTable

Results = ir.Value | Sequence[ir.Value]

writes = OperationTable["Writing", Results]("a writer")
"""Registers the writer of an operation, which returns one result or several."""


class Writing(writing.Writing[ModelGraph, ir.Value]):
    """The state of one writing.

    Attributes
    ----------
    nodes : list of onnx_ir.Node
        The nodes that are written so far.
    taken : dict
        Cells taken from maps, by the map and the cells: blocks for neighbouring parts share them.
    reserved : set of str
        Names of the model's outputs.
    """

    def __init__(self, graph: Graph, source: ModelGraph, grid: Grid) -> None:
        super().__init__(graph, source, grid)
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self.opset = source.model.opset_imports.get("", 13)
        self.reserved = {v.name for v in source.model.graph.outputs}
        self.taken: dict[tuple[Any, ...], ir.Value] = {}
        written = {name for node in graph.nodes for name in node.outputs}
        original = {*source.graph.shapes, *source.graph.constants, *graph.constants}
        self._names = {*original, *written, *self.reserved}
        self._node_names = writing.Names({n.name for n in source.model.graph if n.name})
        self._settings: dict[str, ir.Value] = {}
        self._counts: tuple[ir.Value, ...] | None = None

    def write(self, node: Node) -> Results:
        """Write one node; without a writer of its own, it is cloned from its source."""
        write = writes.find(type(node.operation))
        return self.repeat(node) if write is None else write(self, node, node.operation)

    # Values.

    def parameter(self, name: str) -> ir.Value:
        """Write a parameter as an initializer."""
        recipe = self.graph.constants[name]
        original = self.source.model.graph.initializers.get(recipe.source)
        if original is not None and recipe.is_original:
            # Unchanged: the tensor itself, which may still lie in its file.
            return self._register(name, original.const_value)
        return self.initializer(name, self.array(name))

    def array(self, name: str | None) -> Any:
        """Return a parameter, rearranged."""
        recipe = self.graph.constants[name or ""]
        return recipe.apply(self.original(recipe.source))

    def original(self, name: str) -> Any:
        """Return a constant of the source, unchanged."""
        if name in self.source.constants:
            return self.source.constants[name]
        value = self.source.model.graph.initializers[name].const_value
        assert value is not None
        return value.numpy()

    def initializer(self, name: str, array: Any) -> ir.Value:
        """Return a constant under exactly this name."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        return self._register(name, ir.Tensor(array, name=name))

    def _register(self, name: str, tensor: Any) -> ir.Value:
        shape, kind = ir.Shape(tensor.shape), ir.TensorType(tensor.dtype)
        value = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
        self.initializers[name] = value
        return value

    def numbers(self, *numbers: int) -> ir.Value:
        """Return a constant vector of integers."""
        if len(numbers) > 8:
            return self.initializer(self.unique("fullconv/numbers"), np.array(numbers))
        name = "fullconv/" + "_".join(map(str, numbers))
        known = self.initializers.get(name)
        return known or self.initializer(name, np.array(numbers, dtype=np.int64))

    def number(self, number: float) -> ir.Value:
        """Return a constant number of the type that the network computes in."""
        array = np.array(number, dtype=self.dtype())
        return self.initializer(self.unique("fullconv/number"), array)

    def integer(self, number: int) -> ir.Value:
        """Return a constant integer."""
        return self.initializer(self.unique("fullconv/number"), np.array(number, dtype=np.int64))

    def dtype(self) -> Any:
        """Return NumPy's type of the numbers that the network computes in."""
        kind = self.values[self.graph.image].dtype
        # Images of whole numbers are made float by the model's own Cast.
        if kind is None or not kind.is_floating_point():
            kind = ir.DataType.FLOAT
        return kind.numpy()

    # Names and nodes.

    def unique(self, base: str) -> str:
        """Return a free name: the base with a number."""
        number = 1
        while f"{base}_{number}" in self._names:
            number += 1
        name = f"{base}_{number}"
        self._names.add(name)
        return name

    def emit(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> ir.Value:
        """Write one operator with one result."""
        result = self.unique(f"fullconv/{kind}")
        # Without a name a node would be given one that an exporter may have used already.
        node = ir.node(kind, inputs, attributes or {}, name=self._node_name(name) or result)
        self.nodes.append(node)
        node.outputs[0].name = result
        return node.outputs[0]

    def _node_name(self, name: str | None) -> str | None:
        """Return a node's own name the first time, and numbered names after that."""
        return self._node_names.give(name) if name else None

    def bind(self, results: Results, node: Node, *, inside: bool = False) -> None:
        """Record the results of a node; ``inside`` a piece, its original names are taken."""
        results = [results] if isinstance(results, ir.Value) else results
        for name, result in zip(node.outputs, results, strict=True):
            self.values[name] = result
            if result.name is None or result.name.startswith("fullconv/"):
                # The model's outputs keep their names; the values that led to them get others.
                taken = inside or name in self.reserved
                result.name = self.unique(name) if taken else name

    def repeat(
        self,
        node: Node,
        attributes: dict[str, Any] | None = None,
        changed: Mapping[int, ir.Value] | None = None,
    ) -> Results:
        """Repeat the original node on other values, with some attributes and inputs changed."""
        call = node.source
        if not isinstance(call, Call):
            raise ModelError(f"convert: no way to write {node.operation!r} as ONNX.")
        given = {slot: self.value(name) for slot, name in zip(call.slots, node.inputs, strict=True)}
        given |= changed or {}
        inputs = [
            given[slot] if slot in given else self._setting(value)
            for slot, value in enumerate(call.node.inputs)
        ]
        others = attributes or {}
        clone = ir.Node(
            call.node.domain,
            call.node.op_type,
            inputs,
            [
                *(a for a in call.node.attributes.values() if a.name not in others),
                *ir.convenience.convert_attributes(others),
            ],
            num_outputs=len(call.node.outputs),
            name=self._node_name(call.node.name) or self.unique("fullconv/node"),
        )
        self.nodes.append(clone)
        results = zip(call.node.outputs, clone.outputs, strict=True)
        return [result for original, result in results if original.name]

    def _setting(self, value: ir.Value | None) -> ir.Value | None:
        """Return a constant of the original unchanged, even where it is rearranged elsewhere."""
        name = None if value is None else value.name
        if name is None:
            return None
        if name not in self._settings:
            taken = name in self.graph.constants
            free = self.unique(name) if taken else name
            self._settings[name] = self.initializer(free, self.original(name))
        return self._settings[name]

    # Windows.

    def count(self) -> tuple[ir.Value, ...]:
        """Return the windows along every axis, as vectors of one number; computed once."""
        if self._counts is None:
            image = self.values[self.graph.image]
            counts = []
            for axis in range(self.grid.dimensions):
                size = self.emit("Shape", [image], {"start": 2 + axis, "end": 3 + axis})
                room = self.emit("Sub", [size, self.numbers(self.grid.window[axis])])
                steps = self.emit("Div", [room, self.numbers(self.grid.step[axis])])
                counts.append(self.emit("Add", [steps, self.numbers(1)]))
            self._counts = tuple(counts)
        return self._counts

    def count_along(self, axis: int) -> ir.Value:
        """Return the windows along an axis of a map: one along those that the image lacks."""
        return self.count()[axis] if axis < self.grid.dimensions else self.numbers(1)

    def needed(self, axis: int, stride: int, span: int) -> ir.Value:
        """Return the cells along an axis that whole windows own."""
        last = self.emit("Sub", [self.count()[axis], self.numbers(1)])
        scaled = self.emit("Mul", [last, self.numbers(stride)])
        return self.emit("Add", [scaled, self.numbers(span)])
