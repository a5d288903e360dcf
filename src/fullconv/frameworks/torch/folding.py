"""Fold padding and batch normalization into convolutions, which ONNX writes as one operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fullconv.frameworks.torch.aten import bound
from fullconv.graph.graph import Graph, Node, Recipe
from fullconv.operations import Convolution, Pad, PerChannel


def folded(graph: Graph, tensors: dict[str, torch.Tensor]) -> list[Node]:
    """Return a graph's nodes, with padding and batch normalization folded into convolutions.

    PyTorch's own exporter writes both in this form. The folded nodes stay in the list, and nothing
    reads them. New filters are added to the graph's constants, and their numbers to ``tensors``.
    """
    return _normalizing(graph, _padding(graph.nodes), tensors)


def _padding(nodes: Sequence[Node]) -> list[Node]:
    """Fold padding into convolutions, also uneven padding, which PyTorch's do not have."""
    pads = {node.outputs[0]: (node.operation, node.first) for node in nodes}
    padded = []
    for node in nodes:
        pad, first = pads.get(node.first or "", (None, None))
        moved = node.operation
        if isinstance(moved, Convolution) and isinstance(pad, Pad) and _is_plain(pad):
            around = zip(pad.pads[2:], moved.padding, strict=True)
            padding = tuple((a + c, b + d) for (a, b), (c, d) in around)
            given = (first, *node.inputs[1:])
            node = replace(node, operation=replace(moved, padding=padding), inputs=given)
        padded.append(node)
    return padded


def _is_plain(pad: Pad) -> bool:
    """Whether padding adds zeros around the cells, and nothing else."""
    zeros = (pad.mode, pad.value) == ("constant", 0.0) and min(map(min, pad.pads)) >= 0
    return zeros and not any(map(any, pad.pads[:2]))


def _normalizing(
    graph: Graph, nodes: Sequence[Node], tensors: dict[str, torch.Tensor]
) -> list[Node]:
    """Fold batch normalization into a convolution whose own result no other node reads."""
    readers = Counter(name for node in nodes for name in {*node.inputs})
    readers.update(graph.outputs)
    makers = {name: node for node in nodes for name in node.outputs}
    made: dict[tuple[Any, ...], str] = {}
    normalized = []
    for node in nodes:
        before = makers.get(node.first or "")
        norm = isinstance(node.operation, PerChannel) and node.operation.name == "batch_norm"
        if norm and before is not None and isinstance(before.operation, Convolution):
            parameters = (*before.inputs[1:], *node.inputs[1:])
            constant = all(name is None or name in graph.constants for name in parameters)
            if constant and readers[node.first] == 1:
                node = _normalized(graph, before, node, tensors, made)
        normalized.append(node)
    return normalized


def _normalized(
    graph: Graph,
    moved: Node,
    norm: Node,
    tensors: dict[str, torch.Tensor],
    made: dict[tuple[Any, ...], str],
) -> Node:
    """Return a convolution that normalizes: ``(W x + b - mean) scale / sqrt(var + eps) + shift``.

    Its filters are computed in double precision, rounded once, and stored once for all parts of a
    map (in ``made``).
    """
    call = norm.source
    epsilon = float(bound(call.target, call.args, call.kwargs)["eps"])
    given = (*moved.inputs[1:], *norm.inputs[1:])
    recipes = [None if name is None else graph.constants[name] for name in given]

    def numbers(recipe: Recipe | None, default: float) -> torch.Tensor:
        if recipe is None:
            return torch.tensor(default, dtype=torch.float64)
        tensor: torch.Tensor = recipe.apply(tensors[recipe.source].detach().cpu())
        return tensor.double()

    weight, bias, scale, shift, mean, variance = map(numbers, recipes, (0, 0, 1, 0, 0, 1))
    times = scale / torch.sqrt(variance + epsilon)
    filters = weight * times.reshape(-1, *[1] * (weight.dim() - 1))
    start = (bias - mean) * times + shift
    first = recipes[0]
    assert first
    dtype, names = tensors[first.source].dtype, []
    for kind, values in (("weight", filters), ("bias", start)):
        key = (kind, epsilon, *recipes[int(kind == "bias") :])
        if key not in made:
            name = made[key] = _free(f"{norm.name}/{first.source.rpartition('.')[0]}.{kind}", graph)
            tensors[name] = values.to(dtype)
            graph.constants[name] = Recipe(name, tuple(values.shape))
        names.append(made[key])
    return replace(norm, operation=moved.operation, inputs=(moved.first, *names), source=None)


def _free(name: str, graph: Graph) -> str:
    """Return a name that is not yet that of a constant."""
    free, number = name, 1
    while free in graph.constants:
        number += 1
        free = f"{name}_{number}"
    return free
