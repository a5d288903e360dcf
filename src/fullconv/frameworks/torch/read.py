"""Read an exported PyTorch program into the vocabulary."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import ExportedProgram

from fullconv.errors import ModelError
from fullconv.frameworks.torch import aten
from fullconv.frameworks.torch.overwriting import Overwriting
from fullconv.frameworks.torch.unwrap import unwrapped
from fullconv.graph import BATCH_SIZE, Graph, Node, Recipe
from fullconv.operations import (
    Opaque,
    Operation,
    Permute,
    Reshape,
    Slice,
)

FxNode = torch.fx.Node


@dataclass(frozen=True)
class Slot:
    """Stands in a call's arguments for one input of the vocabulary's node."""

    index: int


@dataclass(frozen=True, eq=False)
class Call:
    """A PyTorch call, to be cloned with other tensors.

    Attributes
    ----------
    operation : Operation
        What it was read as.
    target : callable
        The operator.
    args, kwargs
        Its arguments, with a `Slot` for every tensor.
    owner : str
        Path of the ``torch.nn`` module that does just this; empty where there is none.
    """

    operation: Operation
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    owner: str = ""


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer of the program."""

    path: str
    tensor: torch.Tensor
    trains: bool


@dataclass(frozen=True)
class Source:
    """A program in the vocabulary, with what its writer needs beside it."""

    graph: Graph
    weights: dict[str, Weight]
    structure: Any
    dtype: torch.dtype
    modules: dict[str, torch.nn.Module]


def read(program: ExportedProgram, root: torch.nn.Module | None = None) -> Source:
    """Return the vocabulary graph of an exported program with one image input.

    Parameters
    ----------
    program : ExportedProgram
        In the default (training) dialect of ``torch.export``, at its native size.
    root : torch.nn.Module, optional
        The module that it was exported from, for the modules that stay themselves.
    """
    return Reader(program, root).read()


@dataclass
class Reader:
    program: ExportedProgram
    root: torch.nn.Module | None
    names: dict[FxNode, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    batch_axes: dict[str, int] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Weight] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)

    def read(self) -> Source:
        self.traced = unwrapped(self.program.graph_module)
        self.overwriting = Overwriting(self)
        image = self._inputs()
        self.recipes = {n: Recipe(n, tuple(w.tensor.shape)) for n, w in self.weights.items()}
        self.batch = self._hint(image.meta["val"].shape[0])
        calls = [n for n in self.traced.nodes if n.op == "call_function"]
        self.owners = self._count_owners(calls)
        groups = aten.groups(calls)
        for node in calls:
            if node in groups:
                self._group(node, groups)
            elif (node.users or aten.is_in_place(node.target)) and node not in self.names:
                self._call(node)
        result = next(n for n in self.traced.nodes if n.op == "output")
        outputs = [self.names[n] for n in result.args[0] if isinstance(n, FxNode)]
        graph = Graph(
            image.name,
            _needed(self.nodes, outputs),
            outputs,
            self.recipes,
            self.shapes,
            self.batch,
            isinstance(image.meta["val"].shape[0], int),
            self.batch_axes,
        )
        modules = dict(self.root.named_modules()) if self.root is not None else {}
        structure = self.program.call_spec.out_spec
        return Source(graph, self.weights, structure, image.meta["val"].dtype, modules)

    def _inputs(self) -> FxNode:
        signature = self.program.graph_signature
        paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = signature.inputs_to_lifted_tensor_constants
        images = []
        for node in self.traced.nodes:
            if node.op != "placeholder":
                continue
            self.name(node)
            if node.name in paths:
                path = paths[node.name]
                held = {**self.program.constants, **self.program.state_dict}[path]
                trains = node.name in signature.inputs_to_parameters
                self.weights[node.name] = Weight(path, held, trains)
            elif node.name in constants:
                path = constants[node.name]
                self.weights[node.name] = Weight(path, self.program.constants[path], False)
            else:
                images.append(node)
        image: FxNode = images[0]
        return image

    @staticmethod
    def _count_owners(calls: Iterable[FxNode]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in calls:
            stack = node.meta.get("nn_module_stack") or {}
            for path, _ in list(stack.values())[-1:]:
                counts[path] = counts.get(path, 0) + 1
        return counts

    def _hint(self, size: Any) -> int:
        return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)

    def name(self, node: FxNode) -> None:
        self.names[node] = node.name
        value = node.meta.get("val")
        if isinstance(value, tuple | list):
            value = value[0]
        if isinstance(value, torch.Tensor):
            self.shapes[node.name] = self.shape(value)
            free = [i for i, size in enumerate(value.shape) if isinstance(size, torch.SymInt)]
            if len(free) == 1:
                self.batch_axes[node.name] = free[0]

    def shape(self, value: torch.Tensor) -> tuple[int, ...]:
        """Return a traced tensor's native shape."""
        return tuple(self._hint(size) for size in value.shape)

    # One call.

    def _call(self, node: FxNode) -> None:
        if not isinstance(node.meta.get("val"), torch.Tensor | tuple | list):
            return  # a size; it is read where it is used
        if node.target is operator.getitem:
            self._item(node)
        else:
            aten.read(node, self)
        base = aten.base_of_view(node)
        if aten.is_in_place(node.target):
            self.overwriting.note_written(node)
        elif base is not None and node in self.names:
            self.overwriting.note_view(node, base)

    def add(
        self,
        node: FxNode,
        operation: Operation,
        inputs: tuple[Any, ...] | None = None,
        output: str | None = None,
    ) -> None:
        """Append a node; without ``inputs``, every tensor argument is one.

        Tensor arguments and ``inputs`` must agree where the call is to be cloned.
        """
        given = None if inputs is None else [self._input(i) for i in inputs]
        if given and self.rearrange(given[0], operation, output or node.name):
            return
        found: list[str | None] = [] if given is None else given
        args, kwargs = torch.fx.node.map_aggregate(
            (node.args, dict(node.kwargs)), lambda a: self._slot(a, found, given is None)
        )
        name, kind, owner = self._owner(node)
        tensors = [i for i in found if i is not None and i not in self.recipes]
        whole = bool(owner) and self.owners[owner] == 1 and len(tensors) == 1
        call = Call(operation, aten.out_of_place(node.target), args, kwargs, owner if whole else "")
        self.nodes.append(Node(operation, tuple(found), (output or node.name,), name, kind, call))

    def _input(self, argument: FxNode | str | None) -> str | None:
        if isinstance(argument, FxNode):
            name: str = self.names[argument]
            return name
        return argument

    def _slot(self, argument: Any, found: list[str | None], grow: bool) -> Any:
        if not isinstance(argument, FxNode):
            return argument
        is_size = isinstance(argument.meta.get("val"), torch.SymInt)
        name = self._batch_size(argument) if is_size and grow else self.names.get(argument)
        if grow:
            found.append(name)
            return Slot(len(found) - 1)
        return Slot(found.index(name)) if name in found else None

    def _batch_size(self, node: FxNode) -> str:
        symbol = node.meta["val"].node.expr
        times, batch = symbol.as_coeff_Mul()
        if batch.is_symbol and times.is_Integer:
            return f"{BATCH_SIZE}*{times}"
        raise ModelError(
            f"convert: the model computes the size {symbol} from the number of images in a "
            f"batch and uses it outside a view or reshape. Write it as -1, or export the model "
            f"with a fixed batch of 1."
        )

    def _owner(self, node: FxNode) -> tuple[str, str, str]:
        """Return the layer's name, what it is called, and its ``torch.nn`` module's path."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", "")
        kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
        path = path.split("@")[0]
        if kind.startswith("torch.nn.modules.") and ".container." not in kind:
            return path, kind.rsplit(".", 1)[-1], path
        own = f"{path}.{node.name}" if path and not path.startswith("_") else node.name
        return own, aten.base_name(node.target), ""

    def _item(self, node: FxNode) -> None:
        """Read one item of a tuple."""
        parent, index = node.args
        assert isinstance(parent, FxNode)
        pieces = aten.pieces(parent, self)
        if pieces is not None:
            axis, start, stop, drop = pieces[index]  # type: ignore[index]
            self.piece(node, parent.args[0], axis, start, stop, drop)
        elif aten.only_first_used(parent):
            self.names[node] = self.names[parent]
        else:
            self.name(node)
            self.add(node, Opaque(f"item {index}"))

    def piece(self, node: FxNode, x: Any, axis: int, start: int, stop: int, drop: bool) -> None:
        """Read ``start:stop`` of one axis, and leave the axis out where ``drop``."""
        self.name(node)
        if not drop:
            self.add(node, Slice(axis, start, stop), (x,))
            return
        kept = f"{node.name}_kept"
        shape = list(self.shapes[self.names[x]])
        shape[axis] = 1
        self.shapes[kept] = tuple(shape)
        self.add(node, Slice(axis, start, stop), (x,), output=kept)
        self.add(node, Reshape(self.shapes[node.name]), (kept,))

    def rearrange(self, name: str | None, operation: Operation, output: str) -> bool:
        """Take a reshaped or permuted parameter for a parameter; return whether it was one."""
        if name not in self.recipes or not isinstance(operation, Reshape | Permute):
            return False
        self.recipes[output] = self.recipes[name].rearranged(operation)
        return True

    def turned(self, name: str) -> str:
        """Return a weight ``(in, out)`` as ``(out, in)``, under a name of its own."""
        turned = f"{name}_turned"
        self.recipes[turned] = self.recipes[name].permute(1, 0)
        return turned

    def shuffle(self, node: FxNode, groups: int) -> None:
        """Read a channel shuffle: reshape, permute, reshape."""
        batch, channels, *rest = self.shapes[self.names[node.args[0]]]  # type: ignore[index]
        self.name(node)
        split, turned = f"{node.name}_split", f"{node.name}_turned"
        self.shapes[split] = (batch, groups, channels // groups, *rest)
        self.shapes[turned] = (batch, channels // groups, groups, *rest)
        order = (0, 2, 1, *range(3, 3 + len(rest)))
        self.add(node, Reshape(self.shapes[split]), (node.args[0],), output=split)
        self.add(node, Permute(order), (split,), output=turned)
        self.add(node, Reshape(self.shapes[node.name]), (turned,))

    def unshuffle(self, node: FxNode, factor: int) -> None:
        """Read space to depth: reshape, permute, reshape."""
        batch, channels, rows, columns = self.shapes[self.names[node.args[0]]]  # type: ignore[index]
        self.name(node)
        split, turned = f"{node.name}_split", f"{node.name}_turned"
        self.shapes[split] = (batch, channels, rows // factor, factor, columns // factor, factor)
        self.shapes[turned] = (batch, channels, factor, factor, rows // factor, columns // factor)
        self.add(node, Reshape(self.shapes[split]), (node.args[0],), output=split)
        self.add(node, Permute((0, 1, 3, 5, 2, 4)), (split,), output=turned)
        self.add(node, Reshape(self.shapes[node.name]), (turned,))

    def _group(self, node: FxNode, groups: dict[FxNode, aten.Group]) -> None:
        group = groups[node]
        if node is not group.last:
            return
        self.name(node)
        name, kind, owner = self._owner(node)
        x = group.first.args[0]
        call = Call(group.operation, group.target, (Slot(0), *group.args), {}, owner)
        kind = kind if owner else group.name
        self.nodes.append(
            Node(group.operation, (self.names[x],), (node.name,), name, kind, call)  # type: ignore[index]
        )


def _needed(nodes: Iterable[Node], outputs: Iterable[str]) -> list[Node]:
    """Return the nodes that the outputs are made by."""
    needed, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if needed & set(node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name is not None)
    return kept[::-1]
