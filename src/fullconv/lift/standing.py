"""In which axis of an operation windows may stand, one behind the other.

One function per family of operations. It brings the tensors of all windows into such an axis, and
returns the operation with its own axes as they then count; or it raises `MustBeAlone`. Windows
ahead of all axes, ``(windows, *shape)``, suit whatever counts its axes by numbers that can be
changed; what takes ``(N, ...)`` by nature wants them in the first axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from fullconv.graph import Node
from fullconv.lift.field import PerWindow
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
    from fullconv.lift.windows import Windows

Place = tuple[int | None, int]
"""An axis in which windows stand, and the entries of that axis outside of them."""
AHEAD: Place = (None, 1)
Given = Mapping[str | None, PerWindow]


class MustBeAlone(Exception):  # noqa: N818 - not an error: the operation runs window by window
    """No axis is known whose entries the operation treats alone; short, says why."""


class Placed(NamedTuple):
    """An operation on all windows at once, its inputs, and where they stand in its results."""

    operation: Operation
    inputs: tuple[str | None, ...]
    at: tuple[Place, ...]


def place(windows: Windows, node: Node, given: Given) -> Placed:
    """Bring the inputs of a node, of which some are one per window, to where windows may stand."""
    family = _FAMILIES.get(type(node.operation))
    if family is None:
        raise MustBeAlone("is not known to treat each image of a batch by itself")
    return family(windows, node, given)


def _with_parameters(windows: Windows, node: Node, given: Given) -> tuple[str | None, ...]:
    """Return the inputs behind the first, which must be the same for all windows."""
    if any(name in given for name in node.inputs[1:]):
        raise MustBeAlone("takes weights that differ from window to window")
    return tuple(name and windows.out.parameter_value(name) for name in node.inputs[1:])


def _on_first_axis(windows: Windows, node: Node, given: Given) -> Placed:
    """Place what takes ``(N, ...)``: convolutions, pools, normalizations of maps."""
    others = _with_parameters(windows, node, given)
    x = given[node.inputs[0]]
    if x.axis != 0:
        x = windows.stand(x, 0)
    return Placed(node.operation, (x.value, *others), ((0, x.before),))


def _elementwise(windows: Windows, node: Node, given: Given) -> Placed:
    """Place what broadcasts: windows stand in an axis that all operands have, or ahead of all."""
    rank = len(windows.shape_of(node.outputs[0]))
    first = next(iter(given.values()))
    if first.axis is not None and _in_line(windows, node, given, first, rank):
        values: dict[str | None, str] = {name: x.value for name, x in given.items()}
        at: Place = (first.axis, first.before)
    else:
        values, at = {}, AHEAD
        for name, x in given.items():
            ahead = windows.stand(x, None)
            missing = rank - len(x.shape)
            wide = (-1, *[1] * missing, *x.shape)
            value = ahead.value
            values[name] = windows.out.helper(value, Reshape(wide)) if missing else value
    inputs = tuple(
        values[name] if name in values else name and windows.out.parameter_value(name)
        for name in node.inputs
    )
    return Placed(node.operation, inputs, (at,))


def _in_line(windows: Windows, node: Node, given: Given, first: PerWindow, rank: int) -> bool:
    """Whether all operands have the windows in one axis, in which nothing is broadcast."""
    axis = first.axis
    assert axis is not None
    if any(
        len(x.shape) != rank
        or (x.axis, x.before) != (axis, first.before)
        or x.shape[axis] != first.shape[axis]
        for x in given.values()
    ):
        return False
    for name in node.inputs:
        if name is None or name in given:
            continue
        shape = windows.shape_of(name)
        here = axis - (rank - len(shape))
        if here >= 0 and shape[here] != 1:
            return False
    return windows.shape_of(node.outputs[0])[axis] == first.shape[axis]


def _linear(windows: Windows, node: Node, given: Given) -> Placed:
    others = _with_parameters(windows, node, given)
    x = given[node.inputs[0]]
    last = len(x.shape) - 1
    if not last:
        x = windows.stand(x, None)
    elif x.axis in (None, last):
        x = windows.stand(x, 0)
    return Placed(node.operation, (x.value, *others), ((x.axis, x.before),))


def _along_axis(windows: Windows, node: Node, given: Given) -> Placed:
    operation = cast(AlongAxis, node.operation)
    if operation.ordered:
        return _on_first_axis(windows, node, given)
    x = given[node.inputs[0]]
    if x.axis == operation.axis:
        x = windows.stand(x, None)
    if x.axis is None:
        operation = replace(operation, axis=operation.axis + 1)
    return Placed(operation, (x.value,), ((x.axis, x.before),))


def _layer_normalization(windows: Windows, node: Node, given: Given) -> Placed:
    others = _with_parameters(windows, node, given)
    operation, x = cast(LayerNormalization, node.operation), given[node.inputs[0]]
    if x.axis is not None and x.axis >= len(x.shape) - operation.axes:
        x = windows.stand(x, None)
    return Placed(operation, (x.value, *others), ((x.axis, x.before),))


def _reduce(windows: Windows, node: Node, given: Given) -> Placed:
    operation, x = cast(Reduce, node.operation), given[node.inputs[0]]
    if x.axis in operation.axes:
        x = windows.stand(x, None)
    if x.axis is None:
        axes = tuple(axis + 1 for axis in operation.axes)
        return Placed(replace(operation, axes=axes), (x.value,), (AHEAD,))
    lost = 0 if operation.keepdims else sum(axis < x.axis for axis in operation.axes)
    return Placed(operation, (x.value,), ((x.axis - lost, x.before),))


def _concat(windows: Windows, node: Node, given: Given) -> Placed:
    operation = cast(Concat, node.operation)
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


def _slice(windows: Windows, node: Node, given: Given) -> Placed:
    operation, x = cast(Slice | Take, node.operation), given[node.inputs[0]]
    if x.axis == operation.axis:
        x = windows.stand(x, None)
    if x.axis is None:
        operation = replace(operation, axis=operation.axis + 1)
    return Placed(operation, (x.value,), ((x.axis, x.before),))


def _pad(windows: Windows, node: Node, given: Given) -> Placed:
    if any(cast(Pad, node.operation).pads[0]):
        raise MustBeAlone("adds to the axis of the images")
    return _on_first_axis(windows, node, given)


def _reshape(windows: Windows, node: Node, given: Given) -> Placed:
    x, shape = given[node.inputs[0]], windows.shape_of(node.outputs[0])
    found = _after_reshape(x, shape, windows.graph.batch)
    if found is None:
        x = windows.stand(x, None)
        found = _after_reshape(x, shape, windows.graph.batch)
        assert found is not None
    axis = found[0]
    free = (-1, *shape) if axis is None else (*shape[:axis], -1, *shape[axis + 1 :])
    return Placed(Reshape(free), (x.value,), (found,))


def _after_reshape(x: PerWindow, shape: tuple[int, ...], batch: int) -> Place | None:
    """Return where windows stand when their native axes are regrouped; None where nowhere.

    Row by row, so many numbers lie outside of the windows; an axis must begin or end there.
    """
    outside = 1
    if x.axis is not None:
        for size in x.shape[: x.axis]:
            outside *= size
        outside *= x.before
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


def _permute(windows: Windows, node: Node, given: Given) -> Placed:
    operation, x = cast(Permute, node.operation), given[node.inputs[0]]
    if x.axis is None:
        turned = (0, *(axis + 1 for axis in operation.order))
        return Placed(Permute(turned), (x.value,), (AHEAD,))
    return Placed(operation, (x.value,), ((operation.order.index(x.axis), x.before),))


def _opaque(windows: Windows, node: Node, given: Given) -> Placed:
    """Place an operation whose reader says in which axes windows may stand."""
    standing = cast(Opaque, node.operation).standing
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
    return Placed(node.operation, tuple(inputs), tuple((axis, 1) for axis in standing.outputs))


_Family = Callable[["Windows", Node, Given], Placed]
_FAMILIES: dict[type[Operation], _Family] = {
    **dict.fromkeys((Convolution, TransposedConvolution, Upsample), _on_first_axis),
    **dict.fromkeys((Pool, AdaptivePool, PerChannel, GroupNormalization), _on_first_axis),
    **dict.fromkeys((Pointwise, Identity), _elementwise),
    Linear: _linear,
    AlongAxis: _along_axis,
    LayerNormalization: _layer_normalization,
    Reduce: _reduce,
    Concat: _concat,
    **dict.fromkeys((Slice, Take), _slice),
    Pad: _pad,
    Reshape: _reshape,
    Permute: _permute,
    Opaque: _opaque,
}
