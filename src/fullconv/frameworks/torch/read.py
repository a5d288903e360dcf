"""Read an exported PyTorch program into the vocabulary."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from fullconv.errors import ModelError
from fullconv.frameworks.torch import (  # noqa: F401 - the families of operators register
    aten,
    functional,
    read_maps,
    read_numbers,
    read_several,
    read_shapes,
)
from fullconv.frameworks.torch.aten import FxNode
from fullconv.frameworks.torch.overwriting import check_written
from fullconv.frameworks.torch.reader import Reader, Slot
from fullconv.frameworks.torch.unwrap import unwrapped
from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Graph, Node, Recipe
from fullconv.operations import Random

DECIDES = ("cond", "while_loop")
"""Operators that choose between graphs, or repeat one, depending on the values of tensors."""


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer of the program."""

    path: str
    tensor: torch.Tensor
    trains: bool


@dataclass(frozen=True)
class ModelGraph:
    """A program in the vocabulary, with its weights and modules for the writer."""

    graph: Graph
    weights: dict[str, Weight]
    structure: Any
    modules: dict[str, torch.nn.Module]


def read(
    program: ExportedProgram, window: Sizes, root: torch.nn.Module | None = None
) -> ModelGraph:
    """Return the vocabulary graph of an exported program with one image input.

    Parameters
    ----------
    program : ExportedProgram
        In the default (training) dialect of ``torch.export``, at its native size.
    window : tuple of int
        The native size.
    root : torch.nn.Module, optional
        The module that it was exported from; some of its modules are written unchanged.
    """
    traced = unwrapped(program.graph_module)
    image, weights = _inputs(program, traced)
    calls = [n for n in traced.nodes if n.op == "call_function"]
    recipes = {n: Recipe(n, tuple(w.tensor.shape)) for n, w in weights.items()}
    reader = Reader(recipes, _count_owners(calls))
    reader.constants.update((n, w.tensor) for n, w in weights.items() if not w.trains)
    reader.of_image.add(image.name)
    for node in traced.nodes:
        if node.op == "placeholder":
            reader.name(node)
    groups = read_several.groups(calls)
    for node in calls:
        if node in groups:
            read_several.read_group(node, groups[node], reader)
        elif (node.users or aten.overwrites(node.target)) and node not in reader.names:
            read_call(node, reader)
    result = next(n for n in traced.nodes if n.op == "output")
    returned = zip(result.args[0], program.graph_signature.output_specs, strict=True)
    results = [node for node, spec in returned if spec.kind is OutputKind.USER_OUTPUT]
    if not all(isinstance(node, FxNode) and node in reader.names for node in results):
        raise ModelError(
            "convert: the model returns something else than tensors (a number, None); return "
            "scores alone."
        )
    outputs = [reader.names[node] for node in results]
    graph = Graph(
        image=image.name,
        nodes=needed(reader.nodes, outputs),
        outputs=outputs,
        constants=reader.recipes,
        shapes=reader.shapes,
        batch=reader.shapes[image.name][0],
        window=window,
    )
    for name, tensor in reader.constants.items():
        weights.setdefault(name, Weight(name, tensor, False))
    modules = (
        {} if root is None else {path: m for path, m in root.named_modules() if _evaluates(m, root)}
    )
    return ModelGraph(graph, weights, program.call_spec.out_spec, modules)


def _evaluates(module: torch.nn.Module, root: torch.nn.Module) -> bool:
    """Whether a module is in eval mode when its model is converted."""
    return bool(root.training or not module.training)


def _inputs(program: ExportedProgram, traced: torch.fx.Graph) -> tuple[FxNode, dict[str, Weight]]:
    """Return the image, and the parameters, buffers and constants by name."""
    signature = program.graph_signature
    paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = signature.inputs_to_lifted_tensor_constants
    images, weights = [], {}
    for node in traced.nodes:
        if node.op != "placeholder":
            continue
        if node.name in paths:
            path = paths[node.name]
            tensor = {**program.constants, **program.state_dict}[path]
            trains = node.name in signature.inputs_to_parameters
            weights[node.name] = Weight(path, tensor, trains)
        elif node.name in constants:
            path = constants[node.name]
            weights[node.name] = Weight(path, program.constants[path], False)
        else:
            images.append(node)
    return images[0], weights


def _count_owners(calls: Iterable[FxNode]) -> dict[str, int]:
    """Return how many calls every module makes, by its path."""
    counts: dict[str, int] = {}
    for node in calls:
        stack = node.meta.get("nn_module_stack") or {}
        for path, _ in list(stack.values())[-1:]:
            counts[path] = counts.get(path, 0) + 1
    return counts


def read_call(node: FxNode, reader: Reader) -> None:
    """Read one call, and note what it overwrites."""
    name = aten.base_name(node.target)
    if isinstance(node.target, torch._ops.HigherOrderOperator) and name in DECIDES:
        raise ModelError(
            f"convert: the model decides by the pixels what to compute ({name}), and windows would "
            f"go different ways. Use torch.where."
        )
    if getattr(node.target, "__module__", "").startswith("torch._functorch"):
        raise ModelError(
            "convert: the model maps a function over the images (torch.vmap), which cannot be "
            "followed. Write the function for a batch of images, without vmap."
        )
    drawn = aten.draws(node) and aten.overwrites(node.target)
    if aten.overwrites(node.target) and not drawn:
        check_written(node)
    if not isinstance(node.meta.get("val"), torch.Tensor | tuple | list):
        return  # a size, which is read where it is used
    reader.check_numbers(node)
    if node.target is operator.getitem:
        read_several.read_item(node, reader)
    elif drawn:
        _fill_by_chance(node, reader)
    elif isinstance(node.meta["val"], torch.Tensor):
        aten.read(node, reader)
    else:
        read_several.read_tuple(node, reader)
    base = aten.base_of_view(node)
    if aten.overwrites(node.target):
        reader.overwriting.note_written(node)
    elif base is not None and node in reader.names:
        reader.overwriting.note_view(node, base)


def _fill_by_chance(node: FxNode, reader: Reader) -> None:
    """Read a call that overwrites a tensor with random numbers as one that overwrites a copy."""
    reader.name(node)
    reader.add(node, Random(aten.base_name(node.target)), (node.args[0],))
    arguments = tuple(x for x in node.args[1:] if not isinstance(x, FxNode))
    reader.instead(functional.on_a_copy, (Slot(0), node.target, *arguments))


def needed(nodes: Iterable[Node], outputs: Iterable[str]) -> list[Node]:
    """Return the nodes that the outputs depend on."""
    needed, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if needed & set(node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name is not None)
    return kept[::-1]
