"""Express the in-place operations of a PyTorch model as new values.

Note [Views]
A view shares its memory with its base: numbers written into one are read in the other. The
vocabulary has no memory, so every call that overwrites a tensor gives a new value, and later
readers of the tensor read that value. The base of an overwritten view gets a new value by undoing
the steps of the view: a slice is concatenated with the cells around it, a reshape or permutation is
reversed. All other views of the same base are then taken again, from its new value. Nodes whose
results nobody reads are dropped after the program has been read.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from fullconv.errors import ModelError
from fullconv.frameworks.torch import aten
from fullconv.graph.graph import Node
from fullconv.operations import Concat, Identity, Permute, Pointwise, Reshape, Slice

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader

FxNode = torch.fx.Node


MAY_SHARE = frozenset("einsum unsafe_chunk unsafe_split unsafe_split_with_sizes".split())
"""Operators whose results may share memory with an argument, unlike their schemas say."""


@dataclass(frozen=True)
class TensorView:
    """The base of a view, and the nodes from base to view; None where they are not known."""

    base: FxNode
    steps: tuple[Node, ...] | None


def check_written(call: FxNode) -> None:
    """Refuse a call that overwrites anything but the numbers of its first argument.

    Raises
    ------
    ModelError
        If it does, or if its result would have another type without overwriting.
    """
    target: Any = call.target
    written = [a.alias_info is not None and a.alias_info.is_write for a in target._schema.arguments]
    twin, x = aten.out_of_place(target), call.args[0] if call.args else None
    if (
        written.index(True) > 0
        or sum(written) > 1
        or twin is target
        or torch.Tag.inplace_view in target.tags
        or not isinstance(x, FxNode)
        or not isinstance(call.meta.get("val"), torch.Tensor)
    ):
        raise _refused(call, "which cannot be followed")
    args, kwargs = torch.fx.node.map_arg((call.args, call.kwargs), _alike)
    made = twin(*args, **kwargs)
    if made.dtype != call.meta["val"].dtype:
        raise _refused(call, f"with numbers of another type ({made.dtype})")


def _alike(node: FxNode) -> Any:
    """Return an argument at its native size, on the meta device."""
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        return hint(value) if isinstance(value, torch.SymInt) else value
    return torch.empty(tuple(map(hint, value.shape)), dtype=value.dtype, device="meta")


def hint(size: int | torch.SymInt) -> int:
    """Return the value of a traced size for images of the native size.

    Raises
    ------
    ModelError
        If it depends on the pixels.
    """
    if not isinstance(size, torch.SymInt):
        return int(size)
    if size.node.hint is None:
        raise ModelError(
            "convert: the model makes a tensor whose size depends on the pixels (nonzero, an index "
            "by a mask), so windows have tensors of several sizes. Use torch.where, or multiply by "
            "the mask."
        )
    return int(size.node.hint)


def _refused(call: FxNode, why: str) -> ModelError:
    return ModelError(
        f"convert: the model overwrites a tensor by {aten.base_name(call.target)}, {why}. Write it "
        f"without the in-place operation."
    )


class Overwriting:
    """The views of a program that is being read, and the calls that return the same tensor."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.views: dict[FxNode, TensorView] = {}
        self.same: dict[FxNode, FxNode] = {}

    def note_view(self, view: FxNode, base: FxNode) -> None:
        """Note that a call returned a view."""
        base = self.same.get(base, base)
        names = self.reader.names
        made = {node.outputs[0]: node for node in self.reader.nodes[-2:]}  # at most two per view
        steps: list[Node] = []
        name = names[view]
        while name != names[base] and name in made:
            steps.insert(0, made[name])
            name = made[name].inputs[0]
        self.views[view] = TensorView(base, tuple(steps) if name == names[base] else None)

    def note_written(self, call: FxNode) -> None:
        """Let later readers of the tensor that a call overwrote read the new value."""
        target = call.args[0]
        assert isinstance(target, FxNode)
        root = target = self.same.get(target, target)
        self._check_shared(call, target)
        names, value = self.reader.names, call.name
        names[root] = value
        written = {root}
        while root in self.views:
            view = self.views[root]
            value = self._put_back(call, view, value)
            root = view.base
            names[root] = value
            written.add(root)
        for other, view in self.views.items():
            if other not in written and self._root(other) is root:
                if view.steps is None:
                    raise _refused(call, "of which there are views that cannot be followed")
                names[other] = self._taken(call, view, view.steps)[-1]
        self.same[call] = target
        for other, target in self.same.items():
            names[other] = names[target]

    def _check_shared(self, call: FxNode, target: FxNode) -> None:
        """Refuse to overwrite a tensor that may share memory with others in an unknown way."""
        root = self._root(target)
        family = [root, *(v for v in self.views if self._root(v) is root)]
        read = [u for x in family for u in x.users if u in self.reader.names]
        made = [x.args[0] if x.target is operator.getitem else x for x in family]
        for other in (*read, *made):
            if isinstance(other, FxNode) and aten.base_name(other.target) in MAY_SHARE:
                raise _refused(call, f"after {aten.base_name(other.target)}, which may share it")

    def _root(self, view: FxNode) -> FxNode:
        while view in self.views:
            view = self.views[view].base
        return view

    def _taken(self, call: FxNode, view: TensorView, steps: Sequence[Node]) -> list[str]:
        """Take a view of its base's present value; return the names of base and all steps."""
        values = [self.reader.names[view.base]]
        for step in steps:
            again = f"{step.outputs[0]}_after_{call.name}"
            self._like(again, step.outputs[0])
            inputs = (values[-1], *step.inputs[1:])
            self.reader.append(replace(step, inputs=inputs, outputs=(again,)))
            values.append(again)
        return values

    def _put_back(self, call: FxNode, view: TensorView, value: str) -> str:
        """Return the name of a new value of a view's base, given the view's new value."""
        if view.steps is None:
            raise _refused(call, "a part of which cannot be followed")
        if not view.steps:
            return value
        before = self._taken(call, view, view.steps[:-1])
        for under, step in zip(reversed(before), reversed(view.steps), strict=True):
            result = f"{under}_with_{call.name}"
            self._like(result, under)
            shape = self.reader.shapes[under]
            operation = step.operation
            plain = isinstance(operation, Slice) and operation.step == 1
            if isinstance(operation, Slice) and plain:
                self._put_between(call, operation, under, value, result)
            elif isinstance(operation, Permute):
                order = sorted(range(len(shape)), key=operation.order.__getitem__)
                self.reader.add(call, Permute(tuple(order)), (value,), output=result)
            elif isinstance(operation, Identity | Pointwise | Reshape):  # `to` is pointwise
                self.reader.add(call, Reshape(shape), (value,), output=result)
            else:
                raise ModelError(
                    f"convert: the model writes in place ({aten.base_name(call.target)}) into a "
                    f"part of a tensor that is no plain slice of it. Write it without the in-place "
                    f"operation."
                )
            value = result
        return value

    def _put_between(self, call: FxNode, cut: Slice, under: str, value: str, result: str) -> None:
        shape = self.reader.shapes[under]
        ends = {"low": (0, cut.start), "high": (cut.stop, shape[cut.axis])}
        joined = {side: f"{result}_{side}" for side, (start, stop) in ends.items() if start < stop}
        for side, name in joined.items():
            start, stop = ends[side]
            self._like(name, under)
            kept = (*shape[: cut.axis], stop - start, *shape[cut.axis + 1 :])
            self.reader.shapes[name] = kept
            self.reader.add(call, Slice(cut.axis, start, stop), (under,), output=name)
        parts = [joined.get("low"), value, joined.get("high")]
        self.reader.add(call, Concat(cut.axis), tuple(filter(None, parts)), output=result)

    def _like(self, name: str, other: str) -> None:
        """Note that a value has the shape of another."""
        self.reader.shapes[name] = self.reader.shapes[other]
