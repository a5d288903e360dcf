"""What every part of the writer stands on: values, initializers, names, and clones of nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.frameworks.onnx.read import Source
from fullconv.frameworks.onnx.reader import Call
from fullconv.geometry import Grid
from fullconv.graph import Graph, Node, Recipe, axes_of_maps
from fullconv.operations import Operation
from fullconv.table import Table

Results = ir.Value | Sequence[ir.Value]
writes = Table[type[Operation], Callable[..., Results]]("a writer")
"""Registers a method of the writer."""


class Values:
    """The state of one writing."""

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source, self.grid = graph, source, grid
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self.values: dict[str, ir.Value] = {}
        self.settings: dict[str, ir.Value] = {}
        self.written: set[str] = set()
        self.node_names = {node.name for node in source.model.graph if node.name}
        self.reserved = {v.name for v in source.model.graph.outputs}
        written = {name for node in graph.nodes for name in node.outputs}
        held = {*source.graph.shapes, *source.graph.constants, *graph.constants}
        self.names = {*held, *written, *self.reserved}
        self.opset = source.model.opset_imports.get("", 13)
        self._counts: tuple[ir.Value, ...] | None = None
        self.axes = axes_of_maps(graph)
        self._taken: dict[tuple[Any, ...], ir.Value] = {}

    def _value(self, name: str | None) -> ir.Value | None:
        if name is None:
            return None
        if name not in self.values:
            recipe = self.graph.constants[name]
            held = self.source.model.graph.initializers.get(recipe.source)
            if held is not None and recipe == Recipe(recipe.source, recipe.shape):
                # As it was: the tensor itself, which may still lie in its file.
                self.values[name] = self._register(name, held.const_value)
            else:
                array = recipe.apply(self._array(recipe.source))
                self.values[name] = self._initializer(name, array)
        return self.values[name]

    def _array(self, name: str) -> Any:
        if name in self.source.constants:
            return self.source.constants[name]
        value = self.source.model.graph.initializers[name].const_value
        assert value is not None
        return value.numpy()

    def _initializer(self, name: str, array: Any) -> ir.Value:
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        return self._register(name, ir.Tensor(array, name=name))

    def _register(self, name: str, tensor: Any) -> ir.Value:
        shape, kind = ir.Shape(tensor.shape), ir.TensorType(tensor.dtype)
        value = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
        self.initializers[name] = value
        return value

    def _numbers(self, *numbers: int) -> ir.Value:
        """Return a constant vector of integers."""
        if len(numbers) > 8:
            return self._initializer(self._unique("fullconv/numbers"), np.array(numbers))
        name = "fullconv/" + "_".join(map(str, numbers))
        held = self.initializers.get(name)
        return held or self._initializer(name, np.array(numbers, dtype=np.int64))

    def _scalar(self, number: float) -> ir.Value:
        array = np.array(number, dtype=self._dtype())
        return self._initializer(self._unique("fullconv/number"), array)

    def _integer(self, number: int) -> ir.Value:
        return self._initializer(self._unique("fullconv/number"), np.array(number, dtype=np.int64))

    def _dtype(self) -> Any:
        kind = self.values[self.graph.image].dtype
        # Images of whole numbers are made float by the model's own Cast.
        if kind is None or not kind.is_floating_point():
            kind = ir.DataType.FLOAT
        return kind.numpy()

    def _unique(self, base: str) -> str:
        number = 1
        while f"{base}_{number}" in self.names:
            number += 1
        name = f"{base}_{number}"
        self.names.add(name)
        return name

    def _emit(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> ir.Value:
        result = self._unique(f"fullconv/{kind}")
        # Without a name a node would be given one that an exporter may have used already.
        node = ir.node(kind, inputs, attributes or {}, name=self._node_name(name) or result)
        self.nodes.append(node)
        node.outputs[0].name = result
        return node.outputs[0]

    def _node_name(self, name: str | None) -> str | None:
        """Return a node's own name once, and numbered names for what else it became."""
        if not name:
            return None
        free, number = name, 1
        while free in self.written or (number > 1 and free in self.node_names):
            number += 1
            free = f"{name}_{number}"
        self.written.add(free)
        return free

    def _inputs(self, node: Node) -> list[ir.Value | None]:
        return [self._value(name) for name in node.inputs]

    def _first(self, node: Node) -> ir.Value | None:
        return self._value(node.inputs[0])

    def _clone(
        self,
        node: Node,
        attributes: dict[str, Any] | None = None,
        changed: Mapping[int, ir.Value] | None = None,
    ) -> Results:
        """Repeat the original node on other values, with some attributes and inputs changed."""
        call = node.source
        if not isinstance(call, Call):
            raise ModelError(f"convert: no way to write {node.operation!r} as ONNX.")
        given = {
            slot: self._value(name) for slot, name in zip(call.slots, node.inputs, strict=True)
        }
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
            name=self._node_name(call.node.name) or self._unique("fullconv/node"),
        )
        self.nodes.append(clone)
        results = zip(call.node.outputs, clone.outputs, strict=True)
        return [result for original, result in results if original.name]

    def _setting(self, value: ir.Value | None) -> ir.Value | None:
        """Return a constant of the original as it was, whatever became of it elsewhere."""
        name = None if value is None else value.name
        if name is None:
            return None
        if name not in self.settings:
            taken = name in self.graph.constants
            free = self._unique(name) if taken else name
            self.settings[name] = self._initializer(free, self._array(name))
        return self.settings[name]

    def _count(self) -> tuple[ir.Value, ...]:
        """Return the windows along every axis, as vectors of one number; computed once."""
        if self._counts is None:
            image = self.values[self.graph.image]
            counts = []
            for axis in range(self.grid.dimensions):
                size = self._emit("Shape", [image], {"start": 2 + axis, "end": 3 + axis})
                room = self._emit("Sub", [size, self._numbers(self.grid.window[axis])])
                steps = self._emit("Div", [room, self._numbers(self.grid.step[axis])])
                counts.append(self._emit("Add", [steps, self._numbers(1)]))
            self._counts = tuple(counts)
        return self._counts

    def _count_along(self, axis: int) -> ir.Value:
        """Return the windows along an axis of a map: one along those that the image lacks."""
        return self._count()[axis] if axis < self.grid.dimensions else self._numbers(1)

    def _needed(self, axis: int, stride: int, span: int) -> ir.Value:
        last = self._emit("Sub", [self._count()[axis], self._numbers(1)])
        scaled = self._emit("Mul", [last, self._numbers(stride)])
        return self._emit("Add", [scaled, self._numbers(span)])
