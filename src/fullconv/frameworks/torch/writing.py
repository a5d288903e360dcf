"""The state of writing a network in PyTorch: its values, parameters, modules and cloned calls."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fullconv.frameworks import writing
from fullconv.frameworks.torch.read import ModelGraph
from fullconv.frameworks.torch.reader import Call, Slot
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph, Node, Recipe
from fullconv.graph.table import OperationTable
from fullconv.operations import AlongAxis, Linear, Operation, PerChannel, Reshape, Upsample

FxNode = torch.fx.Node

writes = OperationTable["Writing", FxNode]("a writer")
"""Registers the writers of operations."""


class Writing(writing.Writing[ModelGraph, FxNode]):
    """The state of writing one network.

    Attributes
    ----------
    fx : torch.fx.Graph
        The graph written so far.
    root : torch.nn.Module
        The module that contains all parts.
    tensors : dict of Recipe to torch.Tensor
        The parameters written so far, by their recipes.
    modules : dict of str to torch.nn.Module
        The leaf modules written so far, by their paths.
    geometry : tuple
        Window and step, the arguments of the functions on stored maps.
    written : Counter
        Number of nodes that each call of the classifier became, by the ``id`` of the call.
    """

    def __init__(self, graph: Graph, source: ModelGraph, grid: Grid) -> None:
        super().__init__(graph, source, grid)
        self.geometry = grid.window, grid.step
        self.root, self.fx = nn.Module(), torch.fx.Graph()
        self.tensors: dict[Recipe, torch.Tensor] = {}
        self.modules: dict[str, nn.Module] = {}
        self.written = Counter(id(node.source) for node in graph.nodes)
        self._known = {id(w.tensor): name for name, w in source.weights.items()}
        self._several: dict[tuple[Any, ...], FxNode] = {}

    def write(self, node: Node) -> FxNode:
        """Write one node: as the classifier's own module, by its operation, or as a clone."""
        call = node.source
        same = isinstance(call, Call) and call.operation == node.operation
        if same and call.owner and self._keeps_parameters(node):
            module = self.source.modules.get(call.owner)
            # On a larger map, a pool with ceil_mode would add outputs that no window has.
            anywhere = _any_rank(node.operation) and not getattr(module, "ceil_mode", False)
            if module is not None and (node.per_window or anywhere):
                return self.call_module(node, call.owner, self._twin(module))
        write = writes.find(type(node.operation))
        return self.repeat(node) if write is None else write(self, node, node.operation)

    def _keeps_parameters(self, node: Node) -> bool:
        """Whether a node reads its parameters as its module has them; turned ones look alike."""
        recipes = (self.graph.constants.get(name or "") for name in node.inputs)
        return all(recipe is None or recipe.is_original for recipe in recipes)

    # Parameters.

    def tensor(self, recipe: Recipe) -> torch.Tensor:
        """Return a rearranged parameter; the same one for the same recipe, so ties stay tied."""
        if recipe not in self.tensors:
            weight = self.source.weights[recipe.source]
            tensor = recipe.apply(weight.tensor.detach())
            if weight.trains:
                tensor = nn.Parameter(tensor, requires_grad=weight.tensor.requires_grad)
            self.tensors[recipe] = tensor
        return self.tensors[recipe]

    def constant(self, name: str | None) -> torch.Tensor | None:
        """Return a parameter; None where the name is None."""
        return None if name is None else self.tensor(self.graph.constants[name])

    def parameter(self, name: str) -> FxNode:
        """Write a parameter as an attribute under its original path."""
        recipe = self.graph.constants[name]
        tensor = self.tensor(recipe)
        owner, parents, leaf = self._owner(self.source.weights[recipe.source].path)
        number, free = 1, leaf
        while getattr(owner, free, tensor) is not tensor:
            number += 1
            free = f"{leaf}_{number}"
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(free, tensor)
        else:
            owner.register_buffer(free, tensor)
        return self.fx.get_attr(f"{parents}.{free}" if parents else free)

    def _owner(self, path: str) -> tuple[nn.Module, str, str]:
        """Return the parent module of a path, created if missing, its path, and the leaf's name."""
        owner = self.root
        parents, _, leaf = path.rpartition(".")
        for part in parents.split(".") if parents else ():
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        return owner, parents, leaf

    # Modules and functions.

    def call_module(self, node: Node, path: str, module: nn.Module) -> FxNode:
        """Call a module on a node's first input."""
        path = self.place(path, module)
        return self.fx.call_module(path, (self.first(node),))

    def place(self, path: str, module: nn.Module) -> str:
        """Add a module at a path, or beside it where the path is taken; return its path."""
        path = path or type(module).__name__.lower()  # the model itself is one layer
        free, number = path, 1
        while True:
            present = self.modules.get(free)
            if present is not None and _same(present, module):
                return free
            if present is None and not self._occupied(free):
                break
            if any(path.startswith(f"{other}.") for other in self.modules):
                path = path.replace(".", "_")  # a leaf has no submodules
            number += 1
            free = f"{path}_{number}"
        self.modules[free] = module
        owner, _, leaf = self._owner(free)
        owner.add_module(leaf, module)
        return free

    def _occupied(self, path: str) -> bool:
        """Whether a path is taken, or lies inside a leaf."""
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
        if tensor is None or id(tensor) not in self._known:
            return tensor
        name = self._known[id(tensor)]
        return self.tensor(Recipe(name, tuple(tensor.shape)))

    def function(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> FxNode:
        """Call a function."""
        node = self.fx.call_function(target, args, kwargs)
        # A pickled module is traced again when it is loaded; ours are leaves of that trace.
        if getattr(target, "__module__", "").startswith("fullconv."):
            node.meta["is_wrapped"] = True
        return node

    def apply(self, node: Node, target: Callable[..., Any], *settings: Any) -> FxNode:
        """Call a function on a node's inputs and some settings."""
        return self.function(target, *self.inputs(node), *settings)

    def repeat(self, node: Node, changed: Mapping[str, Any] | None = None) -> FxNode:
        """Repeat the original call on other tensors, with some arguments changed."""
        call = node.source
        if not isinstance(call, Call):
            raise NotImplementedError(f"no way to write {node.operation!r}")
        inputs = self.inputs(node)

        def substitute(argument: Any) -> Any:
            return inputs[argument.index] if isinstance(argument, Slot) else argument

        args, kwargs = torch.fx.node.map_aggregate((call.args, call.kwargs), substitute)
        schema = getattr(call.target, "_schema", None)
        for name, value in (changed or {}).items():
            place = [a.name for a in schema.arguments].index(name) if schema else -1
            args = (*args[:place], value, *args[place + 1 :])
        if call.item is None:
            return self.fx.call_function(call.target, args, kwargs)
        key = call.several, node.inputs
        if key not in self._several:
            self._several[key] = self.fx.call_function(call.target, args, kwargs)
        return self.fx.call_function(operator.getitem, (self._several[key], call.item))


def _same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two modules have the same settings and the same tensors."""
    tensors = [
        {name: id(t) for name, t in [*m.named_parameters(), *m.named_buffers()] if t.dim()}
        for m in (a, b)
    ]
    return repr(a) == repr(b) and tensors[0] == tensors[1]


def _any_rank(operation: Operation) -> bool:
    """Whether a module of this operation computes the same on stored maps as on native tensors."""
    return not isinstance(operation, PerChannel | AlongAxis | Linear | Reshape | Upsample) or (
        isinstance(operation, PerChannel) and operation.name == "prelu"
    )
