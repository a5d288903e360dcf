"""Rules: operations that treat every cell alike, with or without parameters per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from math import prod

from fullconv.graph.graph import Node, Recipe
from fullconv.graph.layout import Atom, AtomKind, Layout, order, sizes
from fullconv.lift.arranging import align, store, with_as_many_axes
from fullconv.lift.field import Field, Joined, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import AlongAxis, Identity, Operation, PerChannel, Pointwise


@rule(Identity, Pointwise)
def pointwise(lifting: Lifting, node: Node, operation: Operation) -> Shared:
    """Lift a pointwise operation: itself, on the stored maps.

    Exact when its operands lie on the same grid, and its parameters are the same for every
    cell. Ends sharing when a map is combined with one number per window (a gate), or with
    parameters that depend on the place inside the window.
    """
    operands = [lifting.shared(i) for i in node.inputs if i in lifting.values]
    if len(operands) == 1 and isinstance(operands[0], Joined) and len(node.inputs) == 1:
        joined = operands[0]
        return replace(
            joined,
            fields=tuple(lifting.each(node, operation, part) for part in joined.fields),
        )
    fields = _conform(lifting, node, [lifting.field(i) for i in node.inputs if i in lifting.values])
    main = max(fields, key=lambda x: prod(x.layout.shape))
    aligned = iter(fields)
    operands_ = [
        next(aligned) if i in lifting.values else _operand(lifting, i, main) for i in node.inputs
    ]
    result = lifting.each(node, operation, *operands_)
    # Operands broadcast: the result is as large as the largest.
    return replace(main, parts=result.parts)


def _conform(lifting: Lifting, node: Node, fields: Sequence[Field]) -> list[Field]:
    """Bring several operands to one grid and one order of channels."""
    if len(fields) == 1:
        return list(fields)
    fields = with_as_many_axes(lifting, fields)
    fields = [store(lifting, x, x.layout.in_order()) for x in fields]
    if all(x.layout.matches(fields[0].layout) for x in fields):
        return align(lifting, fields)
    main = max(fields, key=lambda x: prod(x.layout.shape))
    for x in fields:
        _check_broadcast(x.layout, main.layout)
    return align(lifting, lifting.broadcast(node, fields, main))


def _check_broadcast(small: Layout, large: Layout) -> None:
    """Check that broadcasting the native axes means broadcasting the stored channels."""
    pairs = zip_longest(reversed(small.axes), reversed(large.axes), fillvalue=())
    feature_axes = sum(any(a.kind is AtomKind.FEATURES for a in axis) for axis in large.axes)
    for mine, theirs in pairs:
        alike = [a.counted for a in mine] == [a.counted for a in theirs]
        if alike or (not mine and (feature_axes <= 1 or any(a.spatial for a in theirs))):
            continue
        raise EndsSharing("combines tensors whose axes are arranged otherwise")


def _operand(lifting: Lifting, name: str | None, x: Field) -> str | None:
    """Return a parameter in the arrangement of the stored map it is combined with."""
    recipe = lifting.out.parameter(name)
    if recipe is None:
        return None
    if prod(recipe.shape) == 1:
        fits = len(recipe.shape) <= 2 + len(x.axes)
        return lifting.out.constant(recipe if fits else recipe.reshape())
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
        if any(atom.kind is AtomKind.BATCH for atom in axis):
            raise EndsSharing("has parameters per image of the batch")
    atoms = [atom for axis, _ in reversed(varying) for atom in axis]
    ones = (1,) * len(x.axes)
    return lifting.out.constant(
        per_stored_channel(recipe, atoms, x.layout).reshape(1, x.layout.channels, *ones)
    )


def per_stored_channel(recipe: Recipe, atoms: Sequence[Atom], layout: Layout) -> Recipe:
    """Rearrange ``prod(atoms)`` numbers into the order of the stored channels, ``(C,)``."""
    if set(atoms) != set(layout.stored):
        raise EndsSharing("has parameters for some of the features")
    return (
        recipe.reshape(*sizes(atoms)).permute(*order(atoms, layout.stored)).reshape(layout.channels)
    )


@rule(PerChannel)
def per_channel(lifting: Lifting, node: Node, operation: PerChannel) -> Field:
    """Lift batch normalization in eval mode and PReLU: themselves, per stored channel.

    Exact when axis 1 holds features only. Ends sharing over a flattened map, where the
    parameters depend on the place inside the window.
    """
    x = lifting.field(node.inputs[0])
    axis = x.layout.axes[1] if len(x.layout.axes) > 1 else ()
    if any(atom.kind is not AtomKind.FEATURES for atom in axis):
        raise EndsSharing("has parameters that depend on the place inside the window")
    inputs: list[str | None] = []
    for name in node.inputs[1:]:
        recipe = lifting.out.parameter(name)
        if recipe is not None and prod(recipe.shape) > 1:
            recipe = per_stored_channel(recipe, axis, x.layout)
        inputs.append(lifting.out.constant(recipe))
    return lifting.each(node, operation, x, *inputs)


@rule(AlongAxis)
def along_axis(lifting: Lifting, node: Node, operation: AlongAxis) -> Field:
    """Lift softmax and local response normalization: themselves, over the stored channels.

    Exact when their axis holds all features and nothing else. Ends sharing otherwise.
    """
    x = lifting.field(node.inputs[0])
    axis = x.layout.axes[operation.axis]
    if any(a.kind is not AtomKind.FEATURES for a in axis) or set(axis) != set(x.layout.stored):
        raise EndsSharing("mixes along an axis that is not the features alone")
    if operation.ordered:
        x = store(lifting, x, axis)
    return lifting.each(node, replace(operation, axis=1), x)
