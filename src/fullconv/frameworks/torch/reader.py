"""The state of reading an exported program: its values and shapes, and the nodes read so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fullconv.errors import ModelError
from fullconv.frameworks.torch import aten
from fullconv.frameworks.torch.aten import FxNode
from fullconv.frameworks.torch.counting import products
from fullconv.frameworks.torch.overwriting import Overwriting, hint
from fullconv.frameworks.torch.standing import standing
from fullconv.graph.graph import Node, Recipe
from fullconv.operations import Opaque, Operation, Permute, Random, Reshape, Slice


@dataclass(frozen=True)
class Slot:
    """A placeholder in a call's arguments for one input of the node."""

    index: int


@dataclass(frozen=True, eq=False)
class Call:
    """A PyTorch call, to be cloned with other tensors.

    Attributes
    ----------
    operation : Operation
        The operation as which it was read.
    target : callable
        The operator.
    args, kwargs
        Its arguments, with a `Slot` for every tensor.
    owner : str
        Path of the ``torch.nn`` module that makes this call alone; empty where there is none.
    item : int or None
        Index of the result, of a call with several.
    several : str
        Name of the original call, so that one with several results is repeated only once.
    """

    operation: Operation
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    owner: str = ""
    item: int | None = None
    several: str = ""


@dataclass
class Reader:
    """The state that the handlers of operators read from and append to.

    Attributes
    ----------
    recipes : dict of str to Recipe
        Parameters and buffers by name, also those that were rearranged.
    owners : dict of str to int
        Number of calls of each module, by its path.
    names : dict of torch.fx.Node to str
        The name of a call's present value; it changes when the tensor is overwritten.
    of_image : set of str
        The names of values that depend on the image.
    constants : dict of str to Tensor
        Tensors that are not parameters: the program's own, and those that the reader adds.
    """

    recipes: dict[str, Recipe]
    owners: dict[str, int]
    names: dict[FxNode, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    of_image: set[str] = field(default_factory=set)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.overwriting = Overwriting(self)

    def name(self, node: FxNode) -> None:
        """Store the name of a call or input, and its native shape."""
        self.names[node] = node.name
        value = node.meta.get("val")
        if isinstance(value, tuple | list):
            value = value[0]
        if isinstance(value, torch.Tensor):
            self.shapes[node.name] = self.shape(value)

    def is_of_image(self, node: Any) -> bool:
        """Whether an argument of a call depends on the image."""
        return isinstance(node, FxNode) and self.names.get(node) in self.of_image

    def shape(self, value: torch.Tensor) -> tuple[int, ...]:
        """Return a traced tensor's native shape."""
        return tuple(hint(size) for size in value.shape)

    def add(
        self,
        node: FxNode,
        operation: Operation,
        inputs: tuple[Any, ...] | None = None,
        output: str | None = None,
        item: int | None = None,
    ) -> None:
        """Append a node; without ``inputs``, every tensor argument is one.

        Tensor arguments and ``inputs`` must agree where the call is to be cloned. ``item`` is the
        index of the result, of a call with several.
        """
        given = None if inputs is None else [self._input(i) for i in inputs]
        if given and self.rearrange(given[0], operation, output or node.name):
            return
        names: list[str | None] = [] if given is None else given
        args, kwargs = torch.fx.node.map_aggregate(
            (node.args, dict(node.kwargs)), lambda a: self._slot(a, names, given is None)
        )
        name, kind, owner = self.owner(node)
        tensors = [i for i in names if i is not None and i not in self.recipes]
        whole = bool(owner) and self.owners[owner] == 1 and len(tensors) == 1
        target = aten.out_of_place(node.target)
        owned = owner if whole and item is None else ""
        call = Call(
            operation=operation,
            target=target,
            args=args,
            kwargs=kwargs,
            owner=owned,
            item=item,
            several=node.name,
        )
        self.append(Node(operation, tuple(names), (output or node.name,), name, kind, call))

    def append(self, node: Node) -> None:
        """Append a finished node."""
        self.nodes.append(node)
        if self.of_image.intersection(name for name in node.inputs if name is not None):
            self.of_image.update(node.outputs)

    def opaque(self, node: FxNode, name: str) -> None:
        """Append a call without a rule, with the axes in which its windows may stand."""
        self.add(node, Opaque(name, standing(node, self), products(node, self)))

    def item(self, node: FxNode, parent: FxNode, index: int) -> None:
        """Append one of the several results of a call without a rule."""
        self.name(node)
        name = aten.base_name(parent.target)
        counted = any(getattr(n.source, "several", "") == parent.name for n in self.nodes)
        count = 0 if counted else products(parent, self)  # counted once for all results
        operation: Operation = Opaque(name, standing(parent, self, node, index), count)
        if aten.draws(parent):
            operation = Random(name)
        self.add(parent, operation, output=node.name, item=index)

    def instead(self, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Replace the call of the last node by another that computes the same."""
        last = self.nodes[-1]
        call = replace(last.source, target=target, args=args, kwargs={}, owner="")
        self.nodes[-1] = replace(last, source=call)

    def _input(self, argument: FxNode | str | None) -> str | None:
        if isinstance(argument, FxNode):
            name: str = self.names[argument]
            return name
        return argument

    def check_numbers(self, node: FxNode) -> None:
        """Refuse a call with an argument that is a number taken out of a tensor.

        Raises
        ------
        ModelError
            If there is such an argument, except in ``select``, which `number_of` handles.
        """
        if aten.base_name(node.target) != "select":
            for x in filter(_is_number, node.all_input_nodes):
                raise _taken_out(x)

    def number_of(self, taken: FxNode) -> FxNode:
        """Return the tensor that a number was taken out of.

        Raises
        ------
        ModelError
            If the number was computed with since.
        """
        tensor = taken.args[0] if aten.base_name(taken.target) == "item" else None
        if not isinstance(tensor, FxNode) or tensor not in self.names:
            raise _taken_out(taken)
        return tensor

    def _slot(self, argument: Any, names: list[str | None], grow: bool) -> Any:
        if not isinstance(argument, FxNode):
            return argument
        name = self.names.get(argument)
        if grow:
            names.append(name)
            return Slot(len(names) - 1)
        return Slot(names.index(name)) if name in names else None

    def owner(self, node: FxNode) -> tuple[str, str, str]:
        """Return the layer's name, its kind, and the path of its ``torch.nn`` module."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", "")
        kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
        path = path.split("@")[0]
        if kind.startswith("torch.nn.modules.") and ".container." not in kind:
            return path, kind.rsplit(".", 1)[-1], path
        own = f"{path}.{node.name}" if path and not path.startswith("_") else node.name
        return own, aten.base_name(node.target), ""

    def piece(self, node: FxNode, x: Any, axis: int, start: int, stop: int, drop: bool) -> None:
        """Read ``start:stop`` of one axis, and remove the axis if ``drop``."""
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
        """Treat a reshaped or permuted parameter as a parameter; return whether it is one."""
        if name not in self.recipes or not isinstance(operation, Reshape | Permute):
            return False
        self.recipes[output] = self.recipes[name].rearranged(operation)
        return True

    def numbers(self, node: Any) -> torch.Tensor | None:
        """Return a constant of the program; None for parameters and values from images."""
        while isinstance(node, FxNode) and aten.base_name(node.target) in aten.IDENTITY:
            node = node.args[0]
        return self.constants.get(self.names.get(node, "")) if isinstance(node, FxNode) else None

    def generated(self, name: str, tensor: torch.Tensor, like: torch.Tensor) -> str:
        """Add a parameter that the program does not have; return its name."""
        self.constants[name] = tensor.to(like.dtype)
        self.recipes[name] = Recipe(name, tuple(tensor.shape))
        return name

    def turned(self, name: str) -> str:
        """Return a weight ``(in, out)`` as ``(out, in)``, under a name of its own."""
        turned = f"{name}_turned"
        self.recipes[turned] = self.recipes[name].permute(1, 0)
        return turned


def _is_number(node: FxNode) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool)


def _taken_out(number: FxNode) -> ModelError:
    return ModelError(
        f"convert: the model takes a number out of a tensor ({number.name}) and computes with it "
        f"outside of tensors. Keep it a tensor: leave .item() out."
    )
