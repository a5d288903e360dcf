"""Read an ONNX model into the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import onnx_ir as ir

from fullconv.errors import ModelError, WindowError
from fullconv.frameworks.onnx import operators
from fullconv.frameworks.onnx.channels import (
    TO_LAST,
    TO_MAP,
    channels_last,
    readers,
    sizes,
    turning,
)
from fullconv.frameworks.onnx.infer import Inference
from fullconv.graph import Graph, Node, Recipe
from fullconv.operations import Concat, Identity, Operation, Permute, Reshape, Slice

A_FEW = 4
"""So many entries are taken one by one, each from a slice of its own."""


@dataclass(frozen=True, eq=False)
class Call:
    """An ONNX node, to be cloned with other values.

    Attributes
    ----------
    operation : Operation
        What it was read as.
    node : onnx_ir.Node
        The node itself.
    slots : tuple of int
        Which of its inputs the vocabulary's inputs are, in order.
    """

    operation: Operation
    node: ir.Node
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """A model in the vocabulary, with what its writer needs beside it.

    Attributes
    ----------
    graph : Graph
        The vocabulary graph.
    model : onnx_ir.Model
        The model as read, at an operator set of 15 or later.
    constants : dict of str to array
        Constant nodes and folded sizes.
    per_batch : dict of str to array
        Of the folded sizes that grow with the batch: by how much per image.
    channels_last : bool
        Whether the model takes images ``(N, H, W, C)``; see Note [Channels last].
    """

    graph: Graph
    model: ir.Model
    constants: dict[str, Any]
    per_batch: dict[str, Any]
    channels_last: bool = False


def read(model: ir.Model, window: tuple[int, int] | None) -> Source:
    """Return the vocabulary graph of a model with one image input.

    Raises
    ------
    ModelError
        If the model has no single image input or uses what cannot be read.
    WindowError
        If the window is missing, or contradicts the model.
    """
    value = _image_of(model)
    last = channels_last(value, window)
    shape = _shape(value, window, last)
    fixed, channels, *size = shape
    batch = fixed or 2
    native = (*size, channels) if last else (channels, *size)
    image = value.name or ""
    inference = Inference(model, {image: (batch, *native)}, (size[0], size[1]))
    per_batch: dict[str, Any] = {}
    if fixed is None:
        larger = Inference(model, {image: (batch + 1, *native)}, inference.window)
        for name, array in inference.constants.items():
            other = larger.constants[name]
            if other.shape == array.shape and (other != array).any():
                per_batch[name] = other - array
    reader = Reader(model, inference)
    if last:
        image = reader.turned_image(image)
    for node in model.graph:
        if node.outputs[0].name not in inference.constants:
            operators.read(node, reader)
    outputs = [value.name or "" for value in model.graph.outputs]
    if last:
        outputs = [reader.vector(name) for name in outputs]
    graph = Graph(
        image, reader.nodes, outputs, reader.recipes, inference.shapes, batch, fixed is not None
    )
    return Source(graph, model, inference.constants, per_batch, last)


def _image_of(model: ir.Model) -> ir.Value:
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    images = [v for v in inputs if v.shape is not None and len(v.shape) == 4]
    if len(inputs) != 1 or len(images) != 1:
        raise ModelError(
            f"convert: expected a model with one image input (N, C, H, W); the model's inputs "
            f"are {', '.join(map(_described, inputs)) or 'none'}. Export the classifier with the "
            f"image as its only input."
        )
    return images[0]


def _shape(
    image: ir.Value, window: tuple[int, int] | None, last: bool
) -> tuple[int | None, int, int, int]:
    """Return the native shape of an image as ``(N, C, H, W)``, N being None where it is free."""
    held = sizes(image)
    batch, channels, height, width = (held[axis] for axis in TO_MAP) if last else held
    if channels is None:
        channels = _channels(image, last)
    if window is None and (height is None or width is None):
        raise WindowError(
            "convert: the model leaves height and width free, so the window it was trained on "
            "must be given: window=(height, width), or --window WIDTHxHEIGHT."
        )
    window = window or (int(height or 0), int(width or 0))
    if any(h is not None and h != w for h, w in zip((height, width), window, strict=True)):
        raise WindowError(
            f"convert(window={window}): the model takes images of {width}x{height} pixels "
            f"(width x height) and no other; leave the window out, or give ({height}, {width})."
        )
    return batch, channels, window[0], window[1]


def _described(value: ir.Value) -> str:
    if value.shape is None:
        return f"{value.name} of unknown shape"
    named = [str(n if isinstance(n, int) else n.value or "?") for n in value.shape]
    return f"{value.name} ({', '.join(named)})"


def _channels(image: ir.Value, last: bool) -> int:
    """Return how many channels the first convolution reads."""
    first = list(readers(image))
    for node in first:
        if node.op_type == "Conv" and node.inputs[1] is not None:
            weight = node.inputs[1].shape
            if weight is not None and isinstance(weight[1], int):
                return weight[1] * node.attributes.get_int("group", 1)
        if turning(node) == TO_MAP:
            first.extend(readers(node.outputs[0]))
    raise ModelError(
        f"convert: the model does not say how many channels its image has; fix the "
        f"{'last' if last else 'second'} dimension of its input when exporting it."
    )


@dataclass
class Reader:
    """What the table of operators reads from and appends to."""

    model: ir.Model
    inference: Inference
    nodes: list[Node] = field(default_factory=list)
    recipes: dict[str, Recipe] = field(default_factory=dict)

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
        held = self.model.graph.initializers.get(value.name)
        return None if held is None or held.const_value is None else held.const_value.numpy()

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """Return an input's or output's native shape."""
        assert value is not None
        return self.shapes[value.name or ""]

    def type(self, value: ir.Value | None) -> ir.DataType:
        """Return the type of an input's or output's numbers."""
        assert value is not None
        return self.inference.types[value.name or ""]

    def turned_image(self, name: str) -> str:
        """Read the image ``(N, H, W, C)`` as a map that is turned first; return the map's name."""
        map_ = self._beside(name, TO_MAP)
        self.nodes.append(Node(Permute(TO_LAST), (map_,), (name,), ""))
        return map_

    def vector(self, name: str) -> str:
        """Return an output; one of a single cell, ``(N, 1, 1, K)``, as ``(N, K, 1, 1)``."""
        shape = self.shapes[name]
        if len(shape) != 4 or shape[1:3] != (1, 1) or name in self.recipes:
            return name
        map_ = self._beside(name, TO_MAP)
        self.nodes.append(Node(Permute(TO_MAP), (name,), (map_,), ""))
        return map_

    def _beside(self, name: str, order: tuple[int, ...]) -> str:
        """Name a value that another is turned into, or comes from."""
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
        """Append a node; without ``inputs``, every input that is given is one."""
        if inputs is None:
            slots = tuple(i for i, v in enumerate(node.inputs) if v is not None)
            names: list[str | None] = [
                v.name if (v := node.inputs[i]) is not None else None for i in slots
            ]
        else:
            names = [v if isinstance(v, str) or v is None else v.name for v in inputs]
            own = [v.name if v is not None else None for v in node.inputs]
            slots = tuple(own.index(n) if n is not None and n in own else -1 for n in names)
        if names[0] in self.recipes and isinstance(operation, Reshape | Permute | Identity):
            # A rearranged parameter is a parameter.
            recipe = self.recipes[names[0] or ""]
            if not isinstance(operation, Identity):
                recipe = recipe.rearranged(operation)
            self.recipes[output or node.outputs[0].name or ""] = recipe
            return
        outputs = (output,) if output else tuple(v.name or "" for v in node.outputs if v.name)
        name = node.name or outputs[0]
        call = Call(operation, node, slots)
        self.nodes.append(Node(operation, tuple(names), outputs, name, node.op_type, call))

    def pieces(self, node: ir.Node, axis: int) -> None:
        """Read a Split as one slice per output."""
        start = 0
        for value in node.outputs:
            size = self.shape(value)[axis]
            self.add(node, Slice(axis, start, start + size), (node.inputs[0],), value.name)
            start += size

    def reorder(self, node: ir.Node, axis: int, indices: Sequence[int]) -> bool:
        """Read a node that takes a few entries in any order (RGB to BGR), if they are few."""
        if not 1 < len(indices) <= A_FEW:
            return False
        result, shape = node.outputs[0].name, list(self.shape(node.inputs[0]))
        shape[axis] = 1
        names = [f"{result}/{place}" for place in range(len(indices))]
        for name, index in zip(names, indices, strict=True):
            self.shapes[name] = tuple(shape)
            self.add(node, Slice(axis, index, index + 1), (node.inputs[0],), name)
        self.add(node, Concat(axis), tuple(names))
        return True

    def select(self, node: ir.Node, axis: int, index: int) -> None:
        """Read a Gather of one index: a slice, then one axis less."""
        kept = f"{node.outputs[0].name}/kept"
        shape = list(self.shape(node.inputs[0]))
        shape[axis] = 1
        self.shapes[kept] = tuple(shape)
        self.add(node, Slice(axis, index, index + 1), (node.inputs[0],), kept)
        self.add(node, Reshape(self.shape(node.outputs[0])), (kept,))
