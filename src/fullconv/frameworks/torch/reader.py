"""What is known of an exported program while its calls are read, and what is read so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from fullconv.errors import ModelError
from fullconv.frameworks.torch import aten
from fullconv.frameworks.torch.aten import FxNode
from fullconv.frameworks.torch.overwriting import Overwriting, hint
from fullconv.graph import BATCH_SIZE, Node, Recipe, batch_times
from fullconv.operations import Operation, Permute, Pointwise, Reshape, Slice


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


@dataclass
class Reader:
    """What the table of operators reads from and appends to.

    Attributes
    ----------
    recipes : dict of str to Recipe
        Parameters and buffers by name, with what they have been rearranged into.
    owners : dict of str to int
        How many calls every module makes, by its path.
    images : int or SymInt
        The number of images, as the tracer has it.
    names : dict of torch.fx.Node to str
        The value that holds what a call gave; another one after an overwriting.
    batch_axes : dict of str to int
        Which axis of a value is the batch, where that is known.
    constants : dict of str to Tensor
        Tensors that are no parameters: the program's own, and those that reading adds.
    """

    recipes: dict[str, Recipe]
    owners: dict[str, int]
    images: int | torch.SymInt
    names: dict[FxNode, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    batch_axes: dict[str, int] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.overwriting = Overwriting(self)

    def name(self, node: FxNode) -> None:
        """Note a call's or input's name, native shape and the axis of its batch."""
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
        return tuple(hint(size) for size in value.shape)

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
        if isinstance(operation, Pointwise) and any(map(batch_times, found)):
            raise ModelError(
                f"convert: the model computes with the number of images in a batch "
                f"({aten.base_name(node.target)}), so the score of one depends on how many come "
                f"with it. Leave that number out of the model's arithmetic."
            )
        name, kind, owner = self.owner(node)
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
        value = argument.meta.get("val")
        is_number = isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)
        name = self._batch_size(argument) if is_number and grow else self.names.get(argument)
        if grow:
            found.append(name)
            return Slot(len(found) - 1)
        return Slot(found.index(name)) if name in found else None

    def _batch_size(self, node: FxNode) -> str:
        symbol = node.meta["val"].node.expr
        times, batch = symbol.as_coeff_Mul()
        images = self.images.node.expr if isinstance(self.images, torch.SymInt) else None
        if batch == images and times.is_Integer:
            return f"{BATCH_SIZE}*{times}"
        if images is None or symbol.free_symbols - {images}:
            raise ModelError(
                f"convert: the model takes a number out of a tensor ({node.name}) and computes "
                f"with it outside of tensors. Keep it a tensor: leave .item() out."
            )
        raise ModelError(
            f"convert: the model computes the size {symbol} from the number of images in a "
            f"batch and uses it outside a view or reshape. Write it as -1, or export the model "
            f"with a fixed batch of 1."
        )

    def owner(self, node: FxNode) -> tuple[str, str, str]:
        """Return the layer's name, what it is called, and its ``torch.nn`` module's path."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", "")
        kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
        path = path.split("@")[0]
        if kind.startswith("torch.nn.modules.") and ".container." not in kind:
            return path, kind.rsplit(".", 1)[-1], path
        own = f"{path}.{node.name}" if path and not path.startswith("_") else node.name
        return own, aten.base_name(node.target), ""

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

    def numbers(self, node: Any) -> torch.Tensor | None:
        """Return a constant of the program; None for what depends on images or is trained."""
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
