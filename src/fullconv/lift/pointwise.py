"""Rules: what treats every cell alike, with or without parameters per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from math import prod
from typing import cast

from fullconv.doubling import around
from fullconv.geometry import Axis
from fullconv.graph import Node, Recipe
from fullconv.layout import Atom, Kind, Layout, order, sizes
from fullconv.lift.field import Field, Joined, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.lift.split import Split
from fullconv.operations import (
    AlongAxis,
    Identity,
    PerChannel,
    Pointwise,
    Stretch,
)


@rule(Identity)
@rule(Pointwise)
def pointwise(lifting: Lifting, node: Node) -> Shared:
    """Lift a pointwise operation: itself, on the stored maps.

    Exact when its operands lie on the same grid, and what parameters add is the same in every
    cell. Ends sharing when a map is combined with one number per window (a gate), or with
    parameters that depend on the place inside the window.
    """
    operands = [lifting.shared(i) for i in node.inputs if i in lifting.values]
    if len(operands) == 1 and isinstance(operands[0], Joined) and len(node.inputs) == 1:
        joined = operands[0]
        return replace(
            joined,
            fields=tuple(
                lifting.each(node, node.operation, part, named=False) for part in joined.fields
            ),
        )
    fields = _conform(lifting, node, [lifting.field(i) for i in node.inputs if i in lifting.values])
    main = max(fields, key=lambda x: prod(x.layout.shape))
    aligned = iter(fields)
    operands_ = [
        next(aligned) if i in lifting.values else _operand(lifting, i, main) for i in node.inputs
    ]
    result = lifting.each(node, node.operation, *operands_)
    # Operands broadcast: the result is as large as the largest.
    return replace(main, parts=result.parts)


def _conform(lifting: Lifting, node: Node, fields: Sequence[Field]) -> list[Field]:
    """Bring several operands to one grid and one order of channels."""
    if len(fields) == 1:
        return list(fields)
    fields = [lifting.store(x, x.layout.in_order()) for x in fields]
    if all(x.layout.matches(fields[0].layout) for x in fields):
        return lifting.align(fields)
    main = max(fields, key=lambda x: prod(x.layout.shape))
    for x in fields:
        _check_broadcast(x.layout, main.layout)
    if lifting.exact:
        return _broadcast(lifting, node, fields, main)
    gated = [x if x.extent == main.extent else _gate(lifting, node, x, main) for x in fields]
    return lifting.align(gated)


def _broadcast(lifting: Lifting, node: Node, fields: Sequence[Field], main: Field) -> list[Field]:
    """Give every window its own cells along the axes where a number stands for all of them.

    Every window scales its cells by its own number (a gate): they are shared no more.
    """
    if any(x.extent[axis] not in (1, main.extent[axis]) for x in fields for axis in (0, 1)):
        raise EndsSharing("joins maps of different extent")
    rows, columns = (any(x.extent[axis] != main.extent[axis] for x in fields) for axis in (0, 1))
    if rows and columns:
        lifting.note_end(node, "gates the cells of a window by a number of the whole window")
    elif rows or columns:
        along = "rows" if rows else "columns"
        lifting.note_end(
            node,
            f"gates the cells of a window by a number of all its {along}",
            f"its {along} are not shared",
        )
    return lifting.align([lifting.gathered(x, rows, columns) for x in fields])


def _check_broadcast(small: Layout, large: Layout) -> None:
    """Check that broadcasting native axes is broadcasting stored channels."""
    pairs = zip_longest(reversed(small.axes), reversed(large.axes), fillvalue=())
    feature_axes = sum(any(a.kind is Kind.FEATURES for a in axis) for axis in large.axes)
    for mine, theirs in pairs:
        alike = [(a.kind, a.size) for a in mine] == [(a.kind, a.size) for a in theirs]
        if alike or (not mine and (feature_axes <= 1 or any(a.spatial for a in theirs))):
            continue
        raise EndsSharing("combines tensors whose axes are arranged otherwise")


def _gate(lifting: Lifting, node: Node, gate: Field, main: Field) -> Field:
    """Spread one number per window over the map that it gates, in the approximate form.

    Each cell takes the number of the window around it; windows beyond the image's border are
    replaced by the last one inside. At the native size that is the one window there is.
    """
    axes: list[Axis] = []
    padding: list[tuple[int, int]] = []
    for small, large in (
        (gate.rows.middle, main.rows.middle),
        (gate.columns.middle, main.columns.middle),
    ):
        if small.extent == large.extent:
            axes.append(small)
            padding.append((0, 0))
            continue
        grown = (large.extent - 1) * large.dilation
        if (
            small.extent != 1
            or small.step != large.step
            or small.reach is None
            or large.reach is None
            or small.reach - large.reach != grown * large.step
        ):
            raise EndsSharing("gates a map by numbers that were taken over another extent")
        axes.append(large)
        padding.append(around(large.extent, large.dilation))
    lifting.approximate(node, "the gate is taken over a window that slides along with the cell")
    dilation = (main.rows.middle.dilation, main.columns.middle.dilation)
    stretch = Stretch((padding[0], padding[1]), dilation)
    stretched = gate.each(lambda _, value: lifting.helper(value, stretch))
    return replace(stretched, rows=Split(0, axes[0]), columns=Split(0, axes[1]))


def _operand(lifting: Lifting, name: str | None, x: Field) -> str | None:
    """Return a parameter in the arrangement of the stored map it is combined with."""
    recipe = lifting.parameter(name)
    if recipe is None:
        return None
    if prod(recipe.shape) == 1:
        return lifting.constant(recipe.reshape() if len(recipe.shape) > 4 else recipe)
    axes = x.layout.axes
    if len(recipe.shape) > len(axes):
        raise EndsSharing("adds axes to the map")
    varying = [
        (axis, size)
        for axis, size in zip(reversed(axes), reversed(recipe.shape), strict=False)
        if size != 1
    ]
    for axis, size in varying:
        if any(atom.spatial for atom in axis):
            raise EndsSharing("adds numbers that depend on the place inside the window")
        if prod(sizes(axis)) != size:
            raise EndsSharing("widens the map")
        if any(atom.kind is Kind.BATCH for atom in axis):
            raise EndsSharing("has parameters per image of the batch")
    atoms = [atom for axis, _ in reversed(varying) for atom in axis]
    return lifting.constant(
        per_stored_channel(recipe, atoms, x.layout).reshape(1, x.layout.channels, 1, 1)
    )


def per_stored_channel(recipe: Recipe, atoms: Sequence[Atom], layout: Layout) -> Recipe:
    """Rearrange ``prod(atoms)`` numbers into the order of the stored channels, ``(C,)``."""
    if set(atoms) != set(layout.stored):
        raise EndsSharing("has parameters for some of the features")
    return (
        recipe.reshape(*sizes(atoms)).permute(*order(atoms, layout.stored)).reshape(layout.channels)
    )


@rule(PerChannel)
def per_channel(lifting: Lifting, node: Node) -> Field:
    """Lift batch normalization in eval mode and PReLU: themselves, per stored channel.

    Exact when axis 1 holds features only. Ends sharing over a flattened map, where the
    parameters depend on the place inside the window.
    """
    x = lifting.field(node.inputs[0])
    axis = x.layout.axes[1] if len(x.layout.axes) > 1 else ()
    if any(atom.kind is not Kind.FEATURES for atom in axis):
        raise EndsSharing("has parameters that depend on the place inside the window")
    inputs: list[str | None] = []
    for name in node.inputs[1:]:
        recipe = lifting.parameter(name)
        if recipe is not None and prod(recipe.shape) > 1:
            recipe = per_stored_channel(recipe, axis, x.layout)
        inputs.append(lifting.constant(recipe))
    return lifting.each(node, node.operation, x, *inputs)


@rule(AlongAxis)
def along_axis(lifting: Lifting, node: Node) -> Field:
    """Lift softmax and local response normalization: themselves, over the stored channels.

    Exact when their axis holds all features and nothing else. Ends sharing otherwise.
    """
    operation = cast(AlongAxis, node.operation)
    x = lifting.field(node.inputs[0])
    axis = x.layout.axes[operation.axis]
    if any(a.kind is not Kind.FEATURES for a in axis) or set(axis) != set(x.layout.stored):
        raise EndsSharing("mixes along an axis that is not the features alone")
    if operation.ordered:
        x = lifting.store(x, axis)
    return lifting.each(node, replace(operation, axis=1), x)
