"""The axis of an operation in which windows may stand, one behind the other.

A table has one function per family of operations. It brings the tensors of all windows into such an
axis, and returns the operation with its own axes renumbered to match; or it raises `MustBeAlone`.
Windows ahead of all axes, ``(windows, *shape)``, suit operations whose axes can be renumbered;
operations on ``(N, ...)`` by nature want windows in the first axis.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from fullconv.graph.graph import Node
from fullconv.graph.table import Table
from fullconv.lift.field import PerWindow, free
from fullconv.operations import (
    AdaptivePool,
    AlongAxis,
    Concat,
    Convolution,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    Opaque,
    Operation,
    Pad,
    PerChannel,
    Permute,
    Pointwise,
    Pool,
    Reduce,
    Reshape,
    Slice,
    Take,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.lift.windows import GatheredWindows

Place = tuple[int | None, int]
"""An axis in which windows stand, and the entries of that axis outside of them."""
AHEAD: Place = (None, 1)
Given = Mapping[str | None, PerWindow]


class MustBeAlone(Exception):  # noqa: N818 - not an error: the operation runs window by window
    """No axis is known whose entries the operation treats alone; the message says why."""


class Placed(NamedTuple):
    """An operation on all windows at once, its inputs, and where they stand in its results."""

    operation: Operation
    inputs: tuple[str | None, ...]
    at: tuple[Place, ...]


def place(windows: GatheredWindows, node: Node, given: Given) -> Placed:
    """Bring the inputs of a node, some of them one per window, to where windows may stand."""
    family = _families.find(type(node.operation))
    if family is None:
        raise MustBeAlone("is not known to treat each image of a batch by itself")
    return family(windows, node, node.operation, given)


_Family = TypeVar("_Family", bound=Callable[..., Placed])
_families: Table[type[Operation], Callable[..., Placed]] = Table("a place for windows")


def _places(*operations: type[Operation]) -> Callable[[_Family], _Family]:
    """Register the function for exactly these operations; a second one is refused at import."""
    return cast(Callable[[_Family], _Family], _families(*operations))


def _with_parameters(windows: GatheredWindows, node: Node, given: Given) -> tuple[str | None, ...]:
    """Return the inputs behind the first, which must be the same for all windows."""
    if any(name in given for name in node.inputs[1:]):
        raise MustBeAlone("takes weights that differ from window to window")
    return tuple(name and windows.out.parameter_value(name) for name in node.inputs[1:])


def _outside(windows: GatheredWindows, x: PerWindow, axes: Collection[int]) -> PerWindow:
    """Return an input whose windows stand in none of these axes."""
    return windows.stand(x, None) if x.axis in axes else x


@_places(Convolution, TransposedConvolution, Upsample)
@_places(Pool, AdaptivePool, PerChannel, GroupNormalization)
def _on_first_axis(
    windows: GatheredWindows, node: Node, operation: Operation, given: Given
) -> Placed:
    """Place operations on ``(N, ...)``: convolutions, pools, normalizations of maps."""
    others = _with_parameters(windows, node, given)
    x = given[node.inputs[0]]
    if x.axis != 0:
        x = windows.stand(x, 0)
    return Placed(operation, (x.value, *others), ((0, x.before),))


@_places(Pointwise, Identity)
def _elementwise(
    windows: GatheredWindows, node: Node, operation: Operation, given: Given
) -> Placed:
    """Place operations that broadcast: in an axis that all operands have, or ahead of all."""
    rank = len(windows.shape_of(node.outputs[0]))
    first = next(iter(given.values()))
    if first.axis is not None and _in_line(windows, node, given, first, first.axis - rank):
        values: dict[str | None, str] = {name: x.value for name, x in given.items()}
        at: Place = (first.axis, first.before)
    else:
        values = {name: _ahead(windows, x, rank) for name, x in given.items()}
        at = AHEAD
    inputs = tuple(
        values[name] if name in values else name and windows.out.parameter_value(name)
        for name in node.inputs
    )
    return Placed(operation, inputs, (at,))


def _ahead(windows: GatheredWindows, x: PerWindow, rank: int) -> str:
    """Return the tensors of all windows, which stand ahead of ``rank`` axes."""
    value, missing = windows.stand(x, None).value, rank - len(x.shape)
    wide = Reshape((-1, *(1,) * missing, *x.shape))
    return windows.out.helper(value, wide) if missing else value


def _in_line(
    windows: GatheredWindows, node: Node, given: Given, first: PerWindow, place: int
) -> bool:
    """Whether all operands have the windows in one axis, in which nothing is broadcast.

    ``place`` counts from the last axis, as axes are aligned where they broadcast.
    """
    here, result = (first.axis, first.before), windows.shape_of(node.outputs[0])
    alike = all(
        len(x.shape) == len(result)
        and (x.axis, x.before) == here
        and x.shape[place] == result[place]
        for x in given.values()
    )
    others = [windows.shape_of(name) for name in node.inputs if name and name not in given]
    single = all(len(shape) < -place or shape[place] == 1 for shape in others)
    return alike and single


@_places(Linear)
def _linear(windows: GatheredWindows, node: Node, operation: Linear, given: Given) -> Placed:
    others = _with_parameters(windows, node, given)
    x = given[node.inputs[0]]
    last = len(x.shape) - 1
    if x.axis in (None, last):
        x = windows.stand(x, 0 if last else None)
    return Placed(operation, (x.value, *others), ((x.axis, x.before),))


@_places(AlongAxis, Slice, Take)
def _on_one_axis(
    windows: GatheredWindows, node: Node, operation: AlongAxis | Slice | Take, given: Given
) -> Placed:
    if isinstance(operation, AlongAxis) and operation.ordered:
        return _on_first_axis(windows, node, operation, given)
    x = _outside(windows, given[node.inputs[0]], [operation.axis])
    operation = replace(operation, axis=operation.axis + (x.axis is None))
    return Placed(operation, (x.value,), ((x.axis, x.before),))


@_places(LayerNormalization)
def _layer_normalization(
    windows: GatheredWindows, node: Node, operation: LayerNormalization, given: Given
) -> Placed:
    others, x = _with_parameters(windows, node, given), given[node.inputs[0]]
    rank = len(x.shape)
    x = _outside(windows, x, range(rank - operation.axes, rank))
    return Placed(operation, (x.value, *others), ((x.axis, x.before),))


@_places(Reduce)
def _reduce(windows: GatheredWindows, node: Node, operation: Reduce, given: Given) -> Placed:
    x = _outside(windows, given[node.inputs[0]], operation.axes)
    if x.axis is None:
        axes = tuple(axis + 1 for axis in operation.axes)
        return Placed(replace(operation, axes=axes), (x.value,), (AHEAD,))
    lost = 0 if operation.keepdims else sum(axis < x.axis for axis in operation.axes)
    return Placed(operation, (x.value,), ((x.axis - lost, x.before),))


@_places(Concat)
def _concat(windows: GatheredWindows, node: Node, operation: Concat, given: Given) -> Placed:
    first = next(iter(given.values()))
    at: Place = (first.axis, first.before)
    alike = all((x.axis, x.before) == at for x in given.values())
    apart = first.axis is not None and first.axis != operation.axis and first.before == 1
    axis = first.axis if alike and apart else None
    shift = int(axis is None)
    inputs = tuple(
        windows.stand(given[name], axis).value
        if name in given
        else windows.for_each(name or "", windows.shape_of(name or ""), axis)
        for name in node.inputs
    )
    return Placed(replace(operation, axis=operation.axis + shift), inputs, ((axis, 1),))


@_places(Pad)
def _pad(windows: GatheredWindows, node: Node, operation: Pad, given: Given) -> Placed:
    if any(operation.pads[0]):
        raise MustBeAlone("adds to the axis of the images")
    return _on_first_axis(windows, node, operation, given)


@_places(Reshape)
def _reshape(windows: GatheredWindows, node: Node, operation: Reshape, given: Given) -> Placed:
    x, shape = given[node.inputs[0]], windows.shape_of(node.outputs[0])
    at = _after_reshape(x, shape, windows.graph.batch)
    if at is None:
        x = windows.stand(x, None)
        at = _after_reshape(x, shape, windows.graph.batch)
        assert at is not None
    return Placed(Reshape(free(shape, at[0])), (x.value,), (at,))


def _after_reshape(x: PerWindow, shape: tuple[int, ...], batch: int) -> Place | None:
    """Return where windows stand once their native axes are regrouped; None where they cannot.

    The windows are repeated ``outside`` times in row-major order; the new shape must repeat them as
    often.
    """
    outside = 1 if x.axis is None else prod(x.shape[: x.axis]) * x.before
    if not shape:
        return AHEAD if outside == 1 else None
    ahead = 1
    for axis, size in enumerate(shape):
        if outside % ahead:
            return None
        before = outside // ahead
        if size % (before * batch) == 0:
            return axis, before
        ahead *= size
    return None


@_places(Permute)
def _permute(windows: GatheredWindows, node: Node, operation: Permute, given: Given) -> Placed:
    x = given[node.inputs[0]]
    if x.axis is None:
        turned = (0, *(axis + 1 for axis in operation.order))
        return Placed(Permute(turned), (x.value,), (AHEAD,))
    return Placed(operation, (x.value,), ((operation.order.index(x.axis), x.before),))


@_places(Opaque)
def _opaque(windows: GatheredWindows, node: Node, operation: Opaque, given: Given) -> Placed:
    """Place an operation whose reader says in which axes windows may stand."""
    standing = operation.standing
    if standing is None:
        raise MustBeAlone("is not known to treat each image of a batch by itself")
    inputs: list[str | None] = []
    lengths: set[int] = set()
    for name, axis in zip(node.inputs, standing.inputs, strict=True):
        if name is None or (axis is None and name not in given):
            inputs.append(name and windows.out.parameter_value(name))
            continue
        if axis is None:
            raise MustBeAlone("takes weights that differ from window to window")
        shape = windows.shape_of(name)
        lengths.add(shape[axis])
        if name in given:
            inputs.append(windows.stand(given[name], axis).value)
        else:
            inputs.append(windows.for_each(name, shape, axis))
    results = zip(node.outputs, standing.outputs, strict=True)
    lengths.update(windows.shape_of(name)[axis] for name, axis in results)
    if len(lengths) > 1:
        raise MustBeAlone("takes tensors of different length along the axis of the images")
    return Placed(operation, tuple(inputs), tuple((axis, 1) for axis in standing.outputs))
