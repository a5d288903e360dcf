"""Rules: normalization by the mean and variance of features, or of the cells of a window."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import cast

from fullconv.graph import Node
from fullconv.layout import Atom, Kind, LayoutError, sizes
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.pointwise import per_stored_channel
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import (
    ChannelNormalization,
    GroupNormalization,
    LayerNormalization,
    SlidingNormalization,
)


@rule(LayerNormalization)
def layer_normalization(lifting: Lifting, node: Node) -> Field:
    """Lift layer normalization: over the features, itself over the stored channels.

    Exact when it normalizes over all features and nothing else. Over rows or columns it ends
    sharing in the exact form; in the approximate form its statistics slide along with the cell,
    unless its parameters depend on the place inside the window, which ends sharing.
    """
    operation = cast(LayerNormalization, node.operation)
    x = lifting.field(node.inputs[0])
    atoms = [atom for axis in x.layout.axes[-operation.axes :] for atom in axis]
    recipes = [lifting.parameter(name) for name in node.inputs[1:]]
    if any(atom.spatial for atom in atoms):
        if not lifting.exact and any(recipe is not None for recipe in recipes):
            raise EndsSharing("has parameters that depend on the place inside the window")
        apart = tuple(atom for atom in x.layout.in_order() if atom not in atoms)
        return _around(lifting, node, x, apart, atoms, operation.epsilon)
    if any(a.kind is not Kind.FEATURES for a in atoms) or set(atoms) != set(x.layout.stored):
        raise EndsSharing("normalizes over some of the features only")
    inputs = [lifting.constant(r and per_stored_channel(r, atoms, x.layout)) for r in recipes]
    return lifting.each(node, ChannelNormalization(operation.epsilon), x, *inputs)


@rule(GroupNormalization)
def group_normalization(lifting: Lifting, node: Node) -> Field:
    """Lift group and instance normalization: their statistics slide along with the cell.

    Exact where the window has one cell. Else it ends sharing in the exact form: all cells of a
    window are scaled by its own numbers.
    """
    operation = cast(GroupNormalization, node.operation)
    x = lifting.field(node.inputs[0])
    batch, channels, *rest = x.layout.shape
    try:
        split = (batch, operation.groups, channels // operation.groups, *rest)
        grouped = x.layout.reshape(split)
        x = x.arranged(grouped.reshape(x.layout.shape))
    except LayoutError as why:
        raise EndsSharing(str(why)) from None
    images, apart, *others = grouped.axes
    if any(atom.kind is not Kind.BATCH for atom in images):
        raise EndsSharing("takes features for the images of a batch")
    return _around(lifting, node, x, apart, [a for axis in others for a in axis], operation.epsilon)


def _around(
    lifting: Lifting,
    node: Node,
    x: Field,
    apart: Sequence[Atom],
    over: Sequence[Atom],
    epsilon: float,
) -> Field:
    """Normalize every cell by the cells around it, for each of the features ``apart`` by itself."""
    if any(atom.kind is not Kind.FEATURES for atom in apart):
        raise EndsSharing("normalizes each place in the window by itself")
    kinds = {atom.kind for atom in over}
    if Kind.BATCH in kinds:
        raise EndsSharing("normalizes over the images of a batch")
    kernel = (
        x.rows.extent if Kind.ROWS in kinds else 1,
        x.columns.extent if Kind.COLUMNS in kinds else 1,
    )
    if kernel != (1, 1):
        if lifting.exact:
            raise EndsSharing("takes statistics over the window")
        lifting.approximate(
            node, "takes its statistics over a window that slides along with the cell"
        )
    inside = tuple(atom for atom in x.layout.in_order() if atom in over)
    x = lifting.store(x, (*apart, *inside))
    groups = prod(sizes(apart))
    inputs: list[str | None] = []
    for name in node.inputs[1:]:
        recipe = lifting.parameter(name)
        if recipe is not None and recipe.shape not in ((groups,), (x.layout.channels,)):
            raise EndsSharing("has parameters for some of the features")
        inputs.append(lifting.constant(recipe))
    dilation = (x.rows.middle.dilation, x.columns.middle.dilation)
    operation = SlidingNormalization(groups, kernel, dilation, epsilon)
    return lifting.each(node, operation, x, *inputs)
