"""Read a module that lifting wrote back into the vocabulary, with its present weights."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fullconv.errors import ExportError, first_line
from fullconv.frameworks.torch.aten import FxNode, base_name, bound, draws
from fullconv.frameworks.torch.flat import LAYER, Flat, flat, sized
from fullconv.frameworks.torch.folding import folded
from fullconv.frameworks.torch.free_sizes import freed
from fullconv.frameworks.torch.read import needed, read_call
from fullconv.frameworks.torch.read_functions import Again, drawing, handles, read_function
from fullconv.frameworks.torch.reader import Call
from fullconv.geometry.images import ImageShape
from fullconv.graph.graph import Alone, Graph, Node, Recipe
from fullconv.operations import (
    Pool,
)

IMAGE = "images"


@dataclass(frozen=True)
class Written:
    """A converted module in the vocabulary.

    Attributes
    ----------
    graph : Graph
        The lifted graph; its ``shapes`` are those of an example.
    tensors : dict of str to Tensor
        The tensors of the constants' recipes.
    types : dict of str to torch.dtype
        The type of each value.
    free : dict of str to set of int
        The axes of each value whose size depends on the size of the image.
    names : list of str
        The names of the outputs.
    """

    graph: Graph
    tensors: dict[str, torch.Tensor]
    types: dict[str, torch.dtype]
    free: dict[str, set[int]]
    names: list[str]


def read_written(model: torch.fx.GraphModule, shape: ImageShape, dtype: torch.dtype) -> Written:
    """Return the graph of a lifted module, for images of any size.

    Raises
    ------
    ExportError
        If the module draws random numbers, or has operations for images of one size alone.
    """
    first, second = (_image(shape, dtype, larger) for larger in (0, 1))
    try:
        calls = flat(model, first)
        readers = [_read(calls, shape, image) for image in (first, second)]
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"save: the converted model holds what is not written as ONNX ({first_line(error)}). "
            f"Save it as .pt2."
        ) from None
    (one, results), (other, _) = readers
    nodes = [
        freed(a, b, one.shapes, other.shapes) for a, b in zip(one.nodes, other.nodes, strict=True)
    ]
    paths, outputs = zip(*results, strict=True)
    graph = Graph(IMAGE, nodes, list(outputs), one.recipes, one.shapes)
    graph.window, graph.fixed = shape.grid.window, shape.fixed
    graph.nodes = needed(folded(graph, calls.tensors), outputs)
    free = {
        name: {i for i, (a, b) in enumerate(zip(size, other.shapes[name], strict=True)) if a != b}
        for name, size in one.shapes.items()
    }
    return Written(graph, calls.tensors, one.types, free, _names(paths))


def _image(shape: ImageShape, dtype: torch.dtype, larger: int) -> torch.Tensor:
    """Return images on the meta device, in one of two sizes that differ along every free axis."""
    sizes = [
        window if axis in shape.fixed else window + (2 * axis + larger + 1) * step
        for axis, (window, step) in enumerate(zip(shape.grid.window, shape.grid.step, strict=True))
    ]
    image = torch.empty((2 + larger, shape.channels, *sizes), dtype=dtype, device="meta")
    return shape.from_map(image)  # type: ignore[no-any-return]


def _names(paths: Sequence[Any]) -> list[str]:
    """Return the names of the outputs: the model's own, else ``scores``."""
    names: list[str] = []
    for number, path in enumerate(paths):
        key = getattr(path[-1], "key", getattr(path[-1], "name", None)) if path else None
        name = key if isinstance(key, str) and key else "scores"
        if name in (*names, IMAGE):
            name = f"{name}_{number}"
        names.append(name)
    return names


def _read(calls: Flat, shape: ImageShape, image: torch.Tensor) -> tuple[Again, list[Any]]:
    """Read all calls for images of this size; return the reader, and each result with its path."""
    calls.measure(image)
    reader = Again({}, {})
    results: list[Any] = []
    plain = shape.takes == "cells"
    for node in calls.graph.nodes:
        first = node.args[0] if node.args else None
        if node.op == "output":
            leaves, _ = pytree.tree_flatten_with_path(node.args[0])
            results = [(path, reader.names[x]) for path, x in leaves]
        elif node.op == "placeholder":
            reader.names[node] = IMAGE
            reader.of_image.add(IMAGE)
            reader.shapes[IMAGE] = reader.shape(node.meta["val"])
            reader.types[IMAGE] = node.meta["val"].dtype
        elif node.op == "get_attr":
            _parameter(node, reader, calls)
        elif plain and isinstance(first, FxNode) and first.op == "placeholder":
            # The first call adds the axis of the one channel, which the graph's image has.
            reader.names[node] = IMAGE
            reader.shapes[IMAGE] = reader.shape(node.meta["val"])
        else:
            _call(node, reader, calls)
    return reader, results


def _parameter(node: FxNode, reader: Again, calls: Flat) -> None:
    path = str(node.target)
    tensor = calls.tensors[path]
    reader.names[node] = path
    reader.shapes[path] = tuple(tensor.shape)
    reader.recipes.setdefault(path, Recipe(path, tuple(tensor.shape)))
    reader.types[path] = tensor.dtype
    if not isinstance(tensor, torch.nn.Parameter):
        reader.constants[path] = tensor


def _call(node: FxNode, reader: Again, calls: Flat) -> None:
    known, value = len(reader.nodes), node.meta["val"]
    parent = node.args[0] if node.args else None
    if node.op == "call_module":
        _read_alone(node, reader, calls)
    elif node.target is operator.getitem and parent in reader.results:
        reader.names[node] = reader.results[parent][node.args[1]]  # type: ignore[index]
    elif (handler := handles.find(node.target)) is not None:
        read_function(node, reader, handler)
    elif draws(node):
        raise drawing(base_name(node.target))
    elif not node.all_input_nodes:
        _constant(node, reader, calls)
    else:
        read_call(node, reader)
    for place, made in enumerate(reader.nodes[known:], start=known):
        reader.nodes[place] = _refined(reader, made)
        for name in made.outputs:
            first = value if isinstance(value, torch.Tensor) else value[0]
            reader.types.setdefault(name, first.dtype)


def _constant(node: FxNode, reader: Again, calls: Flat) -> None:
    """Read a call without tensor arguments: its result is a constant."""
    reader.name(node)
    calls.tensors[node.name] = node.target(*node.args, **node.kwargs)  # type: ignore[operator]
    reader.recipes[node.name] = Recipe(node.name, reader.shapes[node.name])
    reader.types[node.name] = node.meta["val"].dtype


def _refined(reader: Again, node: Node) -> Node:
    """Return a pool with its channels, and an overhang of 1 where ``ceil_mode`` is set."""
    pool, call = node.operation, node.source
    if not isinstance(pool, Pool):
        return node
    channels = reader.shapes[node.first or ""][1]
    ceil = isinstance(call, Call) and bound(call.target, call.args, call.kwargs).get("ceil_mode")
    overhang = (int(bool(ceil)),) * pool.dimensions
    return replace(node, operation=replace(pool, channels=channels, overhang=overhang))


# Pieces that run on each window alone.


def _read_alone(node: FxNode, reader: Again, calls: Flat) -> None:
    module, path = calls.alone[str(node.target)], f"{node.target}.piece"
    values = [sized(x.meta["val"]) for x in node.args]  # type: ignore[union-attr]
    natives = [x[0] if one else x for x, one in zip(values, module.each, strict=True)]
    inner, inside = flat(module.piece, *natives), Again({}, {})
    inner.measure(*natives)
    inputs: list[str] = []
    results: list[str] = []
    for part in inner.graph.nodes:
        if part.op == "placeholder":
            inside.name(part)
            inside.of_image.add(part.name)
            inside.types[part.name] = part.meta["val"].dtype
            inputs.append(part.name)
        elif part.op == "get_attr":
            _parameter(part, inside, inner)
        elif part.op == "output":
            results = [inside.names[x] for x in part.args[0]]
        else:
            _call(part, inside, inner)
    sources = {id(tensor): name for name, tensor in calls.tensors.items()}
    names = {name: f"{node.name}/{name}" for name in inside.shapes}
    for name, tensor in inner.tensors.items():
        source = sources.setdefault(id(tensor), f"{path}.{name}")
        calls.tensors[source] = tensor
    for name, recipe in inside.recipes.items():
        source = sources[id(inner.tensors[recipe.source])]
        names[name] = f"{node.name}/{name}"
        reader.recipes[names[name]] = replace(recipe, source=source)
    reader.shapes.update((names[name], shape) for name, shape in inside.shapes.items())
    reader.types.update((names[name], kind) for name, kind in inside.types.items())
    nodes = tuple(
        replace(
            part,
            inputs=tuple(name and names[name] for name in part.inputs),
            outputs=tuple(names[name] for name in part.outputs),
        )
        for part in needed(inside.nodes, results)
    )
    given, ends = ([names[name] for name in part] for part in (inputs, results))
    operation = Alone(nodes, tuple(given), tuple(ends), module.each)
    outputs = [node.name] if len(ends) == 1 else [f"{node.name}_{i}" for i in range(len(ends))]
    for name, value in zip(outputs, pytree.tree_leaves(node.meta["val"]), strict=True):
        reader.shapes[name], reader.types[name] = tuple(value.shape), value.dtype
    reader.names[node], reader.results[node] = outputs[0], outputs
    arguments = tuple(reader.names[x] for x in node.args)  # type: ignore[index]
    reader.append(Node(operation, arguments, tuple(outputs), node.meta[LAYER], per_window=True))
