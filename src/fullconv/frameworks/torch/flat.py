"""A converted module as one flat graph: calls of ATen, and of the functions that lifting adds.

Modules, and functions of PyTorch, are taken apart into the calls of ATen that they make. What a
window is gathered or folded with (`fullconv.frameworks.torch.functional`) stays one call, and so
does a piece of the classifier that runs on each window alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.one_by_one import OneByOne

FxNode = torch.fx.Node
LAYER = "fullconv_layer"
"""Where a node of a flat graph keeps the name of the layer that it belongs to."""

LEAVES = frozenset(
    function
    for name, function in vars(functional).items()
    if callable(function) and getattr(function, "__module__", "") == functional.__name__
) | {torch.nn.functional.local_response_norm}
"""Functions that stay one call: the last is taken apart with the sizes of its image."""


@dataclass(frozen=True)
class Flat:
    """A flat graph.

    Attributes
    ----------
    graph : torch.fx.Graph
        Its calls.
    tensors : dict of str to Tensor
        Parameters, buffers and constants by the targets of its ``get_attr`` nodes.
    alone : dict of str to OneByOne
        Pieces that run on each window alone, by the targets of its ``call_module`` nodes.
    """

    graph: torch.fx.Graph = field(default_factory=torch.fx.Graph)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    alone: dict[str, OneByOne] = field(default_factory=dict)

    def measure(self, *inputs: torch.Tensor) -> None:
        """Note in every node what it gives for these inputs, as tensors without numbers."""
        given = iter(inputs)

        def value(node: FxNode, args: Any, kwargs: Any) -> Any:
            if node.op == "output":
                return None
            if node.op == "placeholder":
                return next(given)
            if node.op == "get_attr":
                return sized(self.tensors[str(node.target)])
            if node.op == "call_module":
                return _without_numbers(self.alone[str(node.target)], args, kwargs)
            return _called(node.target, args, kwargs)

        for node, found in _walk(self.graph, value).items():
            node.meta["val"] = found


def flat(model: torch.fx.GraphModule, *inputs: torch.Tensor) -> Flat:
    """Return a module that lifting wrote as a flat graph; ``inputs`` are without numbers."""
    taking = _Taking(model)
    given = iter(inputs)

    def value(node: FxNode, args: Any, kwargs: Any) -> Any:
        if node.op == "output":
            return taking.output(node)
        if node.op == "placeholder":
            found = next(given)
        elif node.op == "call_function":
            found = _called(node.target, args, kwargs)
        elif node.op == "get_attr":
            found = sized(taking.at(node))
        else:
            found = _without_numbers(taking.at(node), args, kwargs)
        taking.take(node, (args, kwargs), found)
        return found

    _walk(model.graph, value)
    return taking.made


def _walk(graph: torch.fx.Graph, value: Callable[[FxNode, Any, Any], Any]) -> dict[FxNode, Any]:
    """Return what every node gives; ``value`` is asked with the values of its arguments."""
    values: dict[FxNode, Any] = {}
    with torch.no_grad():
        for node in graph.nodes:
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = value(node, args, kwargs)
    return values


def sized(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of this size and type without numbers."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _called(target: Any, args: Any, kwargs: Any) -> Any:
    """Call a function on tensors without numbers; those that it makes itself have none either."""
    given = {**kwargs, "device": torch.device("meta")} if "device" in kwargs else kwargs
    found = target(*args, **given)
    return pytree.tree_map_only(torch.Tensor, lambda x: x.to("meta"), found)


def _without_numbers(module: nn.Module, args: Any, kwargs: Any) -> Any:
    return torch.func.functional_call(module, _held(module), args, kwargs)


def _held(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: sized(tensor) for name, tensor in _tensors(module)}


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


class _Taking:
    """The state of taking one module apart."""

    def __init__(self, model: torch.fx.GraphModule) -> None:
        self.model, self.made = model, Flat()
        self.known: dict[FxNode, Any] = {}
        self.paths: dict[int, str] = {}
        self.traced: dict[Any, torch.fx.GraphModule] = {}
        # No call may be named as a parameter is, so those without a dot in their names come first.
        for path, tensor in _tensors(model):
            if "." not in path:
                self._attribute(path, tensor)

    def at(self, node: FxNode) -> Any:
        """Return the module or tensor that a node names."""
        found: Any = self.model
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return found

    def output(self, node: FxNode) -> None:
        """Add the results, in the structure in which they are returned."""
        self.made.graph.output(torch.fx.map_arg(node.args[0], self.known.__getitem__))

    def take(self, node: FxNode, values: Any, result: Any) -> None:
        """Add what a node is, whose arguments have these values, and which gives this result."""
        target: Any = node.target
        given: Any = torch.fx.map_arg((node.args, node.kwargs), self.known.__getitem__)
        module = self.at(node) if node.op == "call_module" else None
        whole = isinstance(target, torch._ops.OpOverload) or target in LEAVES
        if node.op == "get_attr":
            self.known[node] = self._attribute(str(target), self.at(node))
        elif target is operator.getitem:
            x, place = given[0]
            one = isinstance(x, FxNode)
            self.known[node] = self._copy(node, node) if one else x[place]
        elif node.op == "placeholder" or isinstance(module, OneByOne) or whole:
            if isinstance(module, OneByOne):
                self.made.alone[str(target)] = module
            self.known[node] = self._copy(node, node)
        else:
            leaves = self._apart(node, module, values, given)
            self.known[node] = pytree.tree_unflatten(leaves, pytree.tree_structure(result))

    def _copy(self, node: FxNode, of: FxNode, known: Any = None) -> FxNode:
        copy = self.made.graph.node_copy(node, (known or self.known).__getitem__)
        copy.meta = {LAYER: _layer(of)}
        return copy

    def _attribute(self, path: str, tensor: torch.Tensor) -> FxNode:
        path = self.paths.setdefault(id(tensor), path)
        self.made.tensors[path] = tensor
        return self.made.graph.get_attr(path)

    def _apart(self, node: FxNode, module: nn.Module | None, values: Any, given: Any) -> list[Any]:
        """Add the calls of ATen that a module or function makes; return its results."""
        leaves, structure = pytree.tree_flatten(values)
        places = [place for place, x in enumerate(leaves) if isinstance(x, torch.Tensor)]
        tensors = [leaves[place] for place in places]
        held = {} if module is None else _held(module)

        def run(tensors: Sequence[torch.Tensor], held: Mapping[str, torch.Tensor]) -> Any:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            args, kwargs = pytree.tree_unflatten(filled, structure)
            if module is None:
                return node.target(*args, **kwargs)  # type: ignore[operator]
            return torch.func.functional_call(module, dict(held), args, kwargs)

        settings = tuple(repr(x) for place, x in enumerate(leaves) if place not in places)
        kinds = tuple((x.dim(), x.shape[1:2], x.dtype) for x in tensors)
        key = module or node.target, str(structure), settings, kinds
        if key not in self.traced:
            self.traced[key] = make_fx(run, pre_dispatch=True)(tensors, held)
        inputs = pytree.tree_leaves(given)
        found = [inputs[place] for place in places]
        for name, tensor in _tensors(module) if module is not None else ():
            found.append(self._attribute(f"{node.target}.{name}", tensor))
        return self._append(node, self.traced[key], iter(found))

    def _append(self, of: FxNode, traced: torch.fx.GraphModule, given: Iterator[Any]) -> list[Any]:
        known: dict[FxNode, Any] = {}
        for node in traced.graph.nodes:
            if node.op == "placeholder":
                known[node] = next(given)
            elif node.op == "get_attr":
                known[node] = self._attribute(
                    f"{of.name}.{node.target}", getattr(traced, node.target)
                )
            elif node.op == "output":
                return [known[x] for x in pytree.tree_leaves(node.args[0])]
            else:
                known[node] = self._copy(node, of, known)
        raise AssertionError("a trace without an output")


def _layer(node: FxNode) -> str:
    """Return the layer that a node belongs to: its module, or the owner of its first parameter."""
    if node.op == "call_module":
        return str(node.target)
    held = [str(x.target) for x in node.all_input_nodes if x.op == "get_attr"]
    return held[0].rpartition(".")[0] or node.name if held else node.name
