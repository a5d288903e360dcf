"""The table of ATen operators, and properties of their calls: arguments, views, overwriting.

Written for the operators that ``torch.export`` of PyTorch 2.13 leaves in its training dialect.
Arguments are bound by the operator's own schema, so a default is never guessed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from fullconv.graph.table import Table
from fullconv.operations import Identity, Pointwise, Random, Reshape

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader

FxNode = torch.fx.Node
Handler = Callable[[FxNode, "Reader", dict[str, Any]], None]
"""Reads a call, given its arguments by name."""

POINTWISE = frozenset(
    """
    abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not
    bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip cos cosh div elu eq erf erfc
    exp exp2 expm1 floor floor_divide fmod frac ge gelu gt hardshrink hardsigmoid hardswish
    hardtanh isfinite isinf isnan le leaky_relu lerp log log10 log1p log2 log_sigmoid
    logical_and logical_not logical_or logical_xor logit lt maximum minimum mish mul
    nan_to_num ne neg pow reciprocal relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid
    sign silu sin sinh softplus softshrink sqrt square sub tan tanh threshold to trunc type_as
    where zero _to_copy
    """.split()
)
"""Elementwise operators, which need no handler."""
IDENTITY = frozenset(
    """
    alias alpha_dropout clone contiguous detach detach_ dropout feature_alpha_dropout
    feature_dropout lift_fresh_copy
    """.split()
)
ALIASES = IDENTITY - frozenset(["clone", "contiguous", "lift_fresh_copy"])
"""Operators that return their argument itself in eval mode, not a copy."""
RESHAPE = frozenset("_unsafe_view flatten reshape squeeze unflatten unsqueeze view view_as".split())

handles = Table[str, Handler]("a reader", POINTWISE | IDENTITY | RESHAPE)
"""Filled by `read_maps`, `read_numbers` and `read_shapes`."""


def read(node: FxNode, reader: Reader) -> None:
    """Read one call; one without a handler becomes `Opaque`."""
    name = base_name(out_of_place(node.target))
    handler = handles.find(name)
    known = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"
    reader.name(node)
    if draws(node):
        reader.add(node, Random(name))
    elif known and handler is not None:
        handler(node, reader, arguments(node))
    elif known and name in POINTWISE:
        reader.add(node, Pointwise(name))
    elif known and name in IDENTITY:
        reader.add(node, Identity(name), (node.args[0],))
    elif known and name in RESHAPE and str(node.target) != "aten.view.dtype":
        reader.add(node, Reshape(reader.shapes[node.name]), (node.args[0],))
    else:
        reader.opaque(node, name)


GATES = (("train", False), ("training", False), ("dropout_p", 0), ("dropout", 0), ("p", 0))
"""Arguments that keep an operator from drawing random numbers, and their values."""


UNINITIALIZED = frozenset("empty empty_like empty_permuted empty_strided new_empty".split())
"""Operators that return uninitialized memory."""


def draws(node: FxNode) -> bool:
    """Whether a call draws random numbers, or returns memory that is read before it is written."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if base_name(node.target) in UNINITIALIZED:
        first = next(iter(node.users), None)
        return first is not None and not overwrites(first.target) and base_of_view(first) is None
    if torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    given = arguments(node)
    dropout = "dropout" in base_name(node.target)
    return not any(
        given.get(name, not closed) == closed and (name != "p" or dropout) for name, closed in GATES
    )


def arguments(node: FxNode) -> dict[str, Any]:
    """Bind a call's arguments to the names in its operator's schema, defaults included."""
    return bound(node.target, node.args, node.kwargs)


def bound(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Bind arguments to the names in an operator's schema; an empty dict if it has none."""
    by_name: dict[str, Any] = {}
    for index, argument in enumerate(
        target._schema.arguments if hasattr(target, "_schema") else ()
    ):
        if index < len(args):
            by_name[argument.name] = args[index]
        elif argument.name in kwargs:
            by_name[argument.name] = kwargs[argument.name]
        else:
            by_name[argument.name] = argument.default_value
    return by_name


def base_name(target: Any) -> str:
    """Return an operator's name without namespace and overload: ``conv2d``."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    return getattr(target, "__name__", str(target))


def overwrites(target: Any) -> bool:
    """Whether an operator overwrites some of its arguments."""
    writes = isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable
    return writes and base_name(target) not in IDENTITY


def out_of_place(target: Any) -> Any:
    """Return the operator that returns a new tensor instead of overwriting its first argument.

    An operator is returned unchanged if it overwrites nothing, overwrites another argument, or has
    no such twin.
    """
    if not overwrites(target):
        return target
    packet = getattr(torch.ops.aten, base_name(target).removesuffix("_"), None)
    taken = [str(argument.type) for argument in target._schema.arguments]
    for overload in packet.overloads() if packet is not None else ():
        twin = getattr(packet, overload)
        if [str(a.type) for a in twin._schema.arguments] == taken and not twin._schema.is_mutable:
            return twin
    return target


def base_of_view(node: FxNode) -> FxNode | None:
    """Return the node that a call's result shares memory with; None where it has its own."""
    if node.target is operator.getitem:
        parent = node.args[0]
        return base_of_view(parent) if isinstance(parent, FxNode) else None
    base = node.args[0] if node.args else None
    if not isinstance(base, FxNode) or not isinstance(node.target, torch._ops.OpOverload):
        return None
    name, (first, *_) = base_name(node.target), node.target._schema.arguments
    if name in ALIASES:
        return base
    if first.alias_info is None or first.alias_info.is_write:
        return None
    before, after = base.meta["val"], node.meta["val"]
    if name in ("contiguous", "to", "flatten", "reshape"):  # these copy where no view is possible
        if arguments(node).get("copy"):
            return None
        return base if before.dtype == after.dtype and _is_viewed(before, after) else None
    return base


def _is_viewed(before: torch.Tensor, after: torch.Tensor) -> bool:
    try:
        return before.view(after.shape).stride() == after.stride()
    except (RuntimeError, ValueError):
        return False
