"""A converted module as one flat graph: calls of ATen and of the functions that lifting adds.

Modules, and functions of PyTorch, are replaced by the calls of ATen that they make. A function
that gathers or folds windows (`fullconv.frameworks.torch.functional`) stays one call, and so does a
piece of the classifier that runs on each window alone.
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
"""Key in the ``meta`` of a flat graph's node, for the name of the layer that it belongs to."""

LEAVES = frozenset(
    function
    for name, function in vars(functional).items()
    if callable(function) and getattr(function, "__module__", "") == functional.__name__
) | {torch.nn.functional.local_response_norm}
"""Functions that stay one call; a trace of the last one would hold for one size of image."""


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
        """Store in every node its result for these inputs, as tensors on the meta device."""
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

        for node, result in _walk(self.graph, value).items():
            node.meta["val"] = result


def flat(model: torch.fx.GraphModule, *inputs: torch.Tensor) -> Flat:
    """Return the flat graph of a module that lifting wrote; ``inputs`` are on the meta device."""
    taking = _Taking(model)
    given = iter(inputs)

    def value(node: FxNode, args: Any, kwargs: Any) -> Any:
        if node.op == "output":
            return taking.output(node)
        if node.op == "placeholder":
            result = next(given)
        elif node.op == "call_function":
            result = _called(node.target, args, kwargs)
        elif node.op == "get_attr":
            result = sized(taking.at(node))
        else:
            result = _without_numbers(taking.at(node), args, kwargs)
        taking.take(node, (args, kwargs), result)
        return result

    _walk(model.graph, value)
    return taking.made


def _walk(graph: torch.fx.Graph, value: Callable[[FxNode, Any, Any], Any]) -> dict[FxNode, Any]:
    """Return the result of every node: ``value`` of the node and the results of its arguments."""
    values: dict[FxNode, Any] = {}
    with torch.no_grad():
        for node in graph.nodes:
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = value(node, args, kwargs)
    return values


def sized(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of this shape and type on the meta device, without numbers."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _called(target: Any, args: Any, kwargs: Any) -> Any:
    """Call a function on meta tensors; tensors that it makes itself become meta tensors, too."""
    given = {**kwargs, "device": torch.device("meta")} if "device" in kwargs else kwargs
    result = target(*args, **given)
    return pytree.tree_map_only(torch.Tensor, lambda x: x.to("meta"), result)


def _without_numbers(module: nn.Module, args: Any, kwargs: Any) -> Any:
    return torch.func.functional_call(module, _on_meta(module), args, kwargs)


def _on_meta(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: sized(tensor) for name, tensor in _tensors(module)}


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


class _Taking:
    """The state of flattening one module."""

    def __init__(self, model: torch.fx.GraphModule) -> None:
        self.model, self.made = model, Flat()
        self.known: dict[FxNode, Any] = {}
        self.paths: dict[int, str] = {}
        self.traced: dict[Any, torch.fx.GraphModule] = {}
        # No call may get the name of a parameter, so parameters without a dot are named first.
        for path, tensor in _tensors(model):
            if "." not in path:
                self._attribute(path, tensor)

    def at(self, node: FxNode) -> Any:
        """Return the module or tensor that a node names."""
        target: Any = self.model
        for part in str(node.target).split("."):
            target = getattr(target, part)
        return target

    def output(self, node: FxNode) -> None:
        """Add the outputs, in the structure that the module returns."""
        self.made.graph.output(torch.fx.map_arg(node.args[0], self.known.__getitem__))

    def take(self, node: FxNode, values: Any, result: Any) -> None:
        """Add the calls of a node, given the values of its arguments and its result."""
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
        """Add the calls of ATen that a module or function makes; return its results' nodes."""
        leaves, structure = pytree.tree_flatten(values)
        places = [place for place, x in enumerate(leaves) if isinstance(x, torch.Tensor)]
        tensors = [leaves[place] for place in places]
        state = {} if module is None else _on_meta(module)

        def run(tensors: Sequence[torch.Tensor], state: Mapping[str, torch.Tensor]) -> Any:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            args, kwargs = pytree.tree_unflatten(filled, structure)
            if module is None:
                return node.target(*args, **kwargs)  # type: ignore[operator]
            return torch.func.functional_call(module, dict(state), args, kwargs)

        settings = tuple(repr(x) for place, x in enumerate(leaves) if place not in places)
        kinds = tuple((x.dim(), x.shape[1:2], x.dtype) for x in tensors)
        key = module or node.target, str(structure), settings, kinds
        if key not in self.traced:
            self.traced[key] = make_fx(run, pre_dispatch=True)(tensors, state)
        inputs = pytree.tree_leaves(given)
        arguments = [inputs[place] for place in places]
        for name, tensor in _tensors(module) if module is not None else ():
            arguments.append(self._attribute(f"{node.target}.{name}", tensor))
        return self._append(node, self.traced[key], iter(arguments))

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
    parameters = [str(x.target) for x in node.all_input_nodes if x.op == "get_attr"]
    return parameters[0].rpartition(".")[0] or node.name if parameters else node.name
