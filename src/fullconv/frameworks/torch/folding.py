"""What PyTorch has as two layers and ONNX as one: padding, and batch normalization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fullconv.frameworks.torch.aten import bound
from fullconv.graph import Graph, Node, Recipe
from fullconv.operations import Convolution, Pad, PerChannel


def folded(graph: Graph, tensors: dict[str, torch.Tensor]) -> list[Node]:
    """Return a graph's nodes with convolutions that pad, and normalize, by themselves.

    Both as PyTorch's exporter writes them. What was folded is still there, and read by nobody;
    filters that normalize are added to the graph's constants, and to ``tensors`` behind them.
    """
    return _normalizing(graph, _padding(graph.nodes), tensors)


def _padding(nodes: Sequence[Node]) -> list[Node]:
    """Let convolutions pad unevenly, as PyTorch's do not."""
    pads = {node.outputs[0]: (node.operation, node.first) for node in nodes}
    found = []
    for node in nodes:
        pad, first = pads.get(node.first or "", (None, None))
        moved = node.operation
        if isinstance(moved, Convolution) and isinstance(pad, Pad) and _is_plain(pad):
            around = zip(pad.pads[2:], moved.padding, strict=True)
            padding = tuple((a + c, b + d) for (a, b), (c, d) in around)
            given = (first, *node.inputs[1:])
            node = replace(node, operation=replace(moved, padding=padding), inputs=given)
        found.append(node)
    return found


def _is_plain(pad: Pad) -> bool:
    """Whether it adds zeros around cells, and nothing else."""
    zeros = (pad.mode, pad.value) == ("constant", 0.0) and min(map(min, pad.pads)) >= 0
    return zeros and not any(map(any, pad.pads[:2]))


def _normalizing(
    graph: Graph, nodes: Sequence[Node], tensors: dict[str, torch.Tensor]
) -> list[Node]:
    """Let convolutions have filters that normalize, where nobody reads what they give without."""
    readers = Counter(name for node in nodes for name in {*node.inputs})
    readers.update(graph.outputs)
    makers = {name: node for node in nodes for name in node.outputs}
    made: dict[tuple[Any, ...], str] = {}
    found = []
    for node in nodes:
        before = makers.get(node.first or "")
        norm = isinstance(node.operation, PerChannel) and node.operation.name == "batch_norm"
        if norm and before is not None and isinstance(before.operation, Convolution):
            held = (*before.inputs[1:], *node.inputs[1:])
            constant = all(name is None or name in graph.constants for name in held)
            if constant and readers[node.first] == 1:
                node = _normalized(graph, before, node, tensors, made)
        found.append(node)
    return found


def _normalized(
    graph: Graph,
    moved: Node,
    norm: Node,
    tensors: dict[str, torch.Tensor],
    made: dict[tuple[Any, ...], str],
) -> Node:
    """Return a convolution whose filters normalize: ``(W x + b - mean) scale / sqrt(var + eps)``.

    Its filters are computed in double precision, rounded once, and held once for all parts of a
    map (``made``).
    """
    call = norm.source
    epsilon = float(bound(call.target, call.args, call.kwargs)["eps"])
    given = (*moved.inputs[1:], *norm.inputs[1:])
    held = [None if name is None else graph.constants[name] for name in given]

    def numbers(recipe: Recipe | None, default: float) -> torch.Tensor:
        if recipe is None:
            return torch.tensor(default, dtype=torch.float64)
        found: torch.Tensor = recipe.apply(tensors[recipe.source].detach().cpu())
        return found.double()

    weight, bias, scale, shift, mean, variance = map(numbers, held, (0, 0, 1, 0, 0, 1))
    times = scale / torch.sqrt(variance + epsilon)
    filters = weight * times.reshape(-1, *[1] * (weight.dim() - 1))
    start = (bias - mean) * times + shift
    first = held[0]
    assert first
    dtype, names = tensors[first.source].dtype, []
    for kind, values in (("weight", filters), ("bias", start)):
        key = (kind, epsilon, *held[int(kind == "bias") :])
        if key not in made:
            name = made[key] = _free(f"{norm.name}/{first.source.rpartition('.')[0]}.{kind}", graph)
            tensors[name] = values.to(dtype)
            graph.constants[name] = Recipe(name, tuple(values.shape))
        names.append(made[key])
    return replace(norm, operation=moved.operation, inputs=(moved.first, *names), source=None)


def _free(name: str, graph: Graph) -> str:
    """Return a name that no constant has."""
    free, number = name, 1
    while free in graph.constants:
        number += 1
        free = f"{name}_{number}"
    return free
