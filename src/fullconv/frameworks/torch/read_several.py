"""Read calls with several results, and one function that is traced as several calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn import functional as F

from fullconv.frameworks.torch.aten import FxNode, arguments, base_name
from fullconv.frameworks.torch.read_maps import pool
from fullconv.frameworks.torch.reader import Call, Reader, Slot
from fullconv.graph.graph import Node
from fullconv.operations import AdaptivePool, AlongAxis, Operation, Reduce

ADAPTIVE_MAX = ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
WITH_INDICES = (
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
)
"""Pools that also return the places of their maxima."""

SPLITS = ("chunk", "split", "split_with_sizes", "tensor_split", "unbind")
"""Operators that cut an axis into pieces."""


def pieces(node: FxNode, reader: Reader) -> list[tuple[int, int, int, bool]] | None:
    """Return ``(axis, start, stop, drop)`` for each item of a split, or None for other calls."""
    name = base_name(node.target)
    if name not in SPLITS:
        return None
    values = node.meta["val"]
    axis = arguments(node)["dim"] % len(reader.shapes[reader.names[node.args[0]]])  # type: ignore[index]
    if name == "unbind":
        return [(axis, i, i + 1, True) for i in range(len(values))]
    bounds, start = [], 0
    for value in values:
        size = reader.shape(value)[axis]
        bounds.append((axis, start, start + size, False))
        start += size
    return bounds


def only_first_used(node: FxNode) -> bool:
    """Whether a call returns values and indices, and the indices are not used."""
    name, overload = base_name(node.target), getattr(node.target, "_overloadname", "")
    with_indices = name in (*ADAPTIVE_MAX, *WITH_INDICES) or (name == "max" and overload == "dim")
    return with_indices and not any(user.args[1] != 0 and user.users for user in node.users)


def read_tuple(node: FxNode, reader: Reader) -> None:
    """Read a call if only the first of its results is used; else `read_item` reads each item."""
    if pieces(node, reader) is not None or not only_first_used(node):
        return
    a, name = arguments(node), base_name(node.target)
    shape = reader.shape(node.meta["val"][0])
    if name == "max":
        reader.name(node)
        axes = (a["dim"] % max(1, len(reader.shapes[reader.names[a["self"]]])),)
        reader.add(node, Reduce("max", axes, a["keepdim"]), (a["self"],))
    elif len(shape) == 2 + int(name.split("pool")[1][0]):
        reader.name(node)
        operation: Operation
        if name in ADAPTIVE_MAX:
            operation = AdaptivePool("max", shape[2:])
        else:
            operation = pool("max", node, reader, a)
        reader.add(node, operation, (a["self"],))


def read_item(node: FxNode, reader: Reader) -> None:
    """Read one item of a tuple."""
    parent, index = node.args
    assert isinstance(parent, FxNode)
    bounds = pieces(parent, reader)
    if bounds is not None:
        axis, start, stop, drop = bounds[index]  # type: ignore[index]
        reader.piece(node, parent.args[0], axis, start, stop, drop)
    elif parent in reader.names:
        reader.names[node] = reader.names[parent]
    else:
        reader.item(node, parent, index)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Group:
    """Several calls of operators that are one function of PyTorch."""

    first: FxNode
    last: FxNode
    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    operation: Operation


def groups(calls: Iterable[FxNode]) -> dict[FxNode, Group]:
    """Find local response normalization, which is traced as nine operators or more."""
    members: dict[str, list[FxNode]] = {}
    for node in calls:
        label = (node.meta.get("torch_fn") or ("",))[0]
        if label.startswith("local_response_norm"):
            members.setdefault(label, []).append(node)
    by_member: dict[FxNode, Group] = {}
    for nodes in members.values():
        group = _local_response_norm(nodes)
        if group is not None:
            by_member.update(dict.fromkeys(nodes, group))
    return by_member


def _local_response_norm(nodes: Sequence[FxNode]) -> Group | None:
    scalars: dict[str, Any] = {}
    for node in nodes:
        name = base_name(node.target)
        if name in ("mul", "add", "pow") and not isinstance(node.args[1], FxNode):
            scalars[name] = node.args[1]
        elif name in ("avg_pool3d", "avg_pool2d"):
            scalars["size"] = node.args[1][0]  # type: ignore[index]
    if set(scalars) != {"size", "mul", "pow", "add"} or base_name(nodes[-1].target) != "div":
        return None
    args = (scalars["size"], scalars["mul"], scalars["pow"], scalars["add"])
    operation = AlongAxis("local_response_norm", 1, ordered=True)
    return Group(nodes[0], nodes[-1], "local_response_norm", F.local_response_norm, args, operation)


def read_group(node: FxNode, group: Group, reader: Reader) -> None:
    """Read a group as one node, at the last of its calls."""
    if node is not group.last:
        return
    reader.name(node)
    name, kind, owner = reader.owner(node)
    x = group.first.args[0]
    call = Call(group.operation, group.target, (Slot(0), *group.args), {}, owner)
    kind = kind if owner else group.name
    reader.append(
        Node(group.operation, (reader.names[x],), (node.name,), name, kind, call)  # type: ignore[index]
    )
