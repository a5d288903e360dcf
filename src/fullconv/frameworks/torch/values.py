"""What every part of the writer stands on: values, parameters, modules, and clones of calls."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fullconv.frameworks.torch.read import Source
from fullconv.frameworks.torch.reader import Call, Slot
from fullconv.geometry import Grid
from fullconv.graph import Graph, Node, Recipe, axes_of_maps
from fullconv.operations import Operation
from fullconv.table import Table

FxNode = torch.fx.Node
writes = Table[type[Operation], Callable[..., FxNode]]("a writer")
"""Registers a method of the writer."""


class Values:
    """The state of one writing.

    Attributes
    ----------
    axes : dict of str to int
        How many axes of cells the stored map of a value has.
    """

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source = graph, source
        self.grid, self.geometry = grid, (grid.window, grid.step)
        self.root = nn.Module()
        self.fx = torch.fx.Graph()
        self.values: dict[str, FxNode] = {}
        self.tensors: dict[Recipe, torch.Tensor] = {}
        self.modules: dict[str, nn.Module] = {}
        self.written = Counter(id(node.source) for node in graph.nodes)
        self.axes = axes_of_maps(graph)
        self.known = {id(w.tensor): name for name, w in source.weights.items()}
        self.several: dict[tuple[Any, ...], FxNode] = {}

    def _value(self, name: str | None) -> FxNode | None:
        if name is None:
            return None
        if name not in self.values:
            self.values[name] = self._attribute(self.graph.constants[name])
        return self.values[name]

    def _inputs(self, node: Node) -> list[FxNode | None]:
        return [self._value(name) for name in node.inputs]

    def _tensor(self, recipe: Recipe) -> torch.Tensor:
        """Return a rearranged parameter; the same one for the same recipe, so ties stay tied."""
        if recipe not in self.tensors:
            weight = self.source.weights[recipe.source]
            tensor = recipe.apply(weight.tensor.detach())
            if weight.trains:
                tensor = nn.Parameter(tensor, requires_grad=weight.tensor.requires_grad)
            self.tensors[recipe] = tensor
        return self.tensors[recipe]

    def _constant(self, name: str | None) -> torch.Tensor | None:
        return None if name is None else self._tensor(self.graph.constants[name])

    def _attribute(self, recipe: Recipe) -> FxNode:
        tensor = self._tensor(recipe)
        *parents, leaf = self.source.weights[recipe.source].path.split(".")
        owner = self.root
        for part in parents:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        number, name = 1, leaf
        while getattr(owner, name, tensor) is not tensor:
            number += 1
            name = f"{leaf}_{number}"
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(name, tensor)
        else:
            owner.register_buffer(name, tensor)
        return self.fx.get_attr(".".join([*parents, name]))

    # Modules and functions.

    def _call_module(self, node: Node, path: str, module: nn.Module) -> FxNode:
        path = self._place(path, module)
        return self.fx.call_module(path, (self._value(node.inputs[0]),))

    def _place(self, path: str, module: nn.Module) -> str:
        """Put a module where the original stood, or beside it where that place is taken."""
        path = path or type(module).__name__.lower()  # of a model that is one layer itself
        free, number = path, 1
        while True:
            held = self.modules.get(free)
            if held is not None and _same(held, module):
                return free
            if held is None and not self._occupied(free):
                break
            if any(path.startswith(f"{other}.") for other in self.modules):
                path = path.replace(".", "_")  # inside a leaf there is no place for a module
            number += 1
            free = f"{path}_{number}"
        self.modules[free] = module
        owner = self.root
        *parents, leaf = free.split(".")
        for part in parents:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        owner.add_module(leaf, module)
        return free

    def _occupied(self, path: str) -> bool:
        """Whether something stands at a path, or it lies inside a leaf."""
        if any(path.startswith(f"{other}.") for other in self.modules):
            return True
        owner: Any = self.root
        for part in path.split("."):
            if not hasattr(owner, part):
                return False
            owner = getattr(owner, part)
        return True

    def _twin(self, module: nn.Module) -> nn.Module:
        """Return a shallow copy of a leaf module whose parameters share storage with it."""
        twin = module.__class__.__new__(module.__class__)
        twin.__dict__ = dict(module.__dict__)
        twin._parameters = {n: self._shared(p) for n, p in module._parameters.items()}
        twin._buffers = {n: self._shared(b) for n, b in module._buffers.items()}
        return twin

    def _shared(self, tensor: torch.Tensor | None) -> Any:
        if tensor is None or id(tensor) not in self.known:
            return tensor
        name = self.known[id(tensor)]
        return self._tensor(Recipe(name, tuple(tensor.shape)))

    def _function(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> FxNode:
        node = self.fx.call_function(target, args, kwargs)
        # A pickled module is traced again when it is loaded; ours are leaves of that trace.
        if getattr(target, "__module__", "").startswith("fullconv."):
            node.meta["is_wrapped"] = True
        return node

    def _clone(self, node: Node, changed: dict[str, Any]) -> FxNode:
        """Repeat the original call on other tensors, with some arguments changed."""
        call = node.source
        if not isinstance(call, Call):
            raise NotImplementedError(f"no way to write {node.operation!r}")
        inputs = self._inputs(node)

        def substitute(argument: Any) -> Any:
            return inputs[argument.index] if isinstance(argument, Slot) else argument

        args, kwargs = torch.fx.node.map_aggregate((call.args, call.kwargs), substitute)
        schema = getattr(call.target, "_schema", None)
        for name, value in changed.items():
            place = [a.name for a in schema.arguments].index(name) if schema else -1
            args = (*args[:place], value, *args[place + 1 :])
        if call.item is None:
            return self.fx.call_function(call.target, args, kwargs)
        key = call.several, node.inputs
        if key not in self.several:
            self.several[key] = self.fx.call_function(call.target, args, kwargs)
        return self.fx.call_function(operator.getitem, (self.several[key], call.item))


def _same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two modules are one: the same settings on the same tensors."""
    tensors = [
        {name: id(t) for name, t in [*m.named_parameters(), *m.named_buffers()] if t.dim()}
        for m in (a, b)
    ]
    return repr(a) == repr(b) and tensors[0] == tensors[1]
