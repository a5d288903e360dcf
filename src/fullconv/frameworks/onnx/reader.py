"""The state of one reading of an ONNX model: its inferred values, and the nodes read so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import onnx_ir as ir

from fullconv.frameworks.onnx.counting import products
from fullconv.frameworks.onnx.infer import Inference
from fullconv.frameworks.onnx.standing import standing
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.graph.graph import Node, Recipe
from fullconv.operations import Identity, Opaque, Operation, Permute, Reshape, Slice


@dataclass(frozen=True, eq=False)
class Call:
    """An ONNX node, to be cloned with other values.

    Attributes
    ----------
    operation : Operation
        The operation that the node was read as.
    node : onnx_ir.Node
        The node itself.
    slots : tuple of int
        The positions of the operation's inputs among the node's; -1 for any other value.
    """

    operation: Operation
    node: ir.Node
    slots: tuple[int, ...]


@dataclass
class Reader:
    """The values, parameters and nodes that are read so far.

    Attributes
    ----------
    of_image : set of str
        The values that are made from the image.
    """

    model: ir.Model
    inference: Inference
    nodes: list[Node] = field(default_factory=list)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    of_image: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        weights = {*self.model.graph.initializers, *self.inference.constants}
        self.recipes = {name: Recipe(name, self.shapes[name]) for name in weights}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Native shapes by name."""
        return self.inference.shapes

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.model.opset_imports.get("", 1)

    def constant(self, value: ir.Value | None) -> Any:
        """Return an input's numbers where they are known, else None."""
        if value is None or value.name is None:
            return None
        if value.name in self.inference.constants:
            return self.inference.constants[value.name]
        weight = self.model.graph.initializers.get(value.name)
        return None if weight is None or weight.const_value is None else weight.const_value.numpy()

    def axes(self, node: ir.Node) -> list[int] | None:
        """Return the axes that a reduction names; empty for all axes, None if they are unknown."""
        given = node.attributes.get_ints("axes", None)
        if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
            named = self.constant(node.inputs[1])
            return None if named is None else [int(axis) for axis in named.reshape(-1)]
        return list(given or ())

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """Return an input's or output's native shape."""
        assert value is not None
        return self.shapes[value.name or ""]

    def type(self, value: ir.Value | None) -> ir.DataType:
        """Return the type of an input's or output's numbers."""
        assert value is not None
        return self.inference.types[value.name or ""]

    def turned_image(self, name: str) -> str:
        """Read the image ``(N, H, W, C)`` as a permuted map ``(N, C, H, W)``; return its name."""
        rank = len(self.shapes[name])
        map_ = self._beside(name, to_map_order(rank))
        self.of_image.add(map_)
        self.append(Node(Permute(to_last_order(rank)), (map_,), (name,), ""))
        return map_

    def vector(self, name: str, rank: int) -> str:
        """Name an output; one of a single cell, ``(N, 1, 1, K)``, is turned to ``(N, K, 1, 1)``."""
        shape = self.shapes[name]
        single = len(shape) == rank and all(size == 1 for size in shape[1:-1])
        if not single or name in self.recipes:
            return name
        map_ = self._beside(name, to_map_order(rank))
        self.append(Node(Permute(to_map_order(rank)), (name,), (map_,), ""))
        return map_

    def _beside(self, name: str, order: tuple[int, ...]) -> str:
        """Return a new name for a value with its axes in another order."""
        free = f"{name}/map"
        while free in self.shapes:
            free += "_"
        self.shapes[free] = tuple(self.shapes[name][axis] for axis in order)
        return free

    def turned(self, name: str) -> str:
        """Return a weight ``(in, out)`` as ``(out, in)``, under a name of its own."""
        turned = f"{name}/turned"
        self.recipes[turned] = self.recipes[name].permute(1, 0)
        return turned

    def scaled(self, name: str, factor: float) -> str:
        """Return a parameter multiplied by a number, under a name of its own."""
        if factor == 1.0:
            return name
        scaled = f"{name}/scaled"
        self.recipes[scaled] = self.recipes[name].scale(factor)
        return scaled

    def flat(self, name: str) -> str:
        """Return a parameter with one axis, under a name of its own where it had more."""
        recipe = self.recipes[name]
        if len(recipe.shape) == 1:
            return name
        self.recipes[f"{name}/flat"] = recipe.reshape(prod(recipe.shape))
        return f"{name}/flat"

    def add(
        self,
        node: ir.Node,
        operation: Operation,
        inputs: tuple[ir.Value | str | None, ...] | None = None,
        output: str | None = None,
    ) -> None:
        """Append a node; by default, with all inputs that it has."""
        if inputs is None:
            slots = tuple(i for i, v in enumerate(node.inputs) if v is not None)
            names: list[str | None] = [
                v.name if (v := node.inputs[i]) is not None else None for i in slots
            ]
        else:
            names = [v if isinstance(v, str) or v is None else v.name for v in inputs]
            own = [v.name if v is not None else None for v in node.inputs]
            slots = tuple(own.index(n) if n is not None and n in own else -1 for n in names)
        if (
            names
            and names[0] in self.recipes
            and isinstance(operation, Reshape | Permute | Identity)
        ):
            # A rearranged parameter is a parameter.
            recipe = self.recipes[names[0] or ""]
            if not isinstance(operation, Identity):
                recipe = recipe.rearranged(operation)
            self.recipes[output or node.outputs[0].name or ""] = recipe
            return
        outputs = (output,) if output else tuple(v.name or "" for v in node.outputs if v.name)
        name = node.name or outputs[0]
        call = Call(operation, node, slots)
        self.append(Node(operation, tuple(names), outputs, name, node.op_type, call))

    def append(self, node: Node) -> None:
        """Append a finished node."""
        self.nodes.append(node)
        if self.of_image.intersection(name for name in node.inputs if name is not None):
            self.of_image.update(node.outputs)

    def is_of_image(self, value: ir.Value | None) -> bool:
        """Whether an input is made from the image."""
        return value is not None and value.name in self.of_image

    def opaque(self, node: ir.Node, name: str = "") -> None:
        """Append a node without a rule, with the axes along which windows may stand, if known."""
        self.add(node, Opaque(name or node.op_type, standing(node, self), products(node, self)))

    def pieces(self, node: ir.Node, axis: int) -> None:
        """Read a Split as one slice per output."""
        start = 0
        for value in node.outputs:
            size = self.shape(value)[axis]
            self.add(node, Slice(axis, start, start + size), (node.inputs[0],), value.name)
            start += size

    def select(self, node: ir.Node, axis: int, index: int) -> None:
        """Read a Gather of one index: a slice, then one axis less."""
        kept = f"{node.outputs[0].name}/kept"
        shape = list(self.shape(node.inputs[0]))
        shape[axis] = 1
        self.shapes[kept] = tuple(shape)
        self.add(node, Slice(axis, index, index + 1), (node.inputs[0],), kept)
        self.add(node, Reshape(self.shape(node.outputs[0])), (kept,))
