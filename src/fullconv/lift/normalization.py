"""Rules: normalization by the mean and variance of features, or of the cells of a window."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fullconv.graph.graph import Node
from fullconv.graph.layout import Atom, AtomKind, LayoutError, sizes
from fullconv.lift.arranging import store
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
def layer_normalization(lifting: Lifting, node: Node, operation: LayerNormalization) -> Field:
    """Lift layer normalization: over the features, itself over the stored channels.

    Exact when it normalizes over all features and nothing else. Over cells of the window it ends
    sharing in the exact form; in the approximate form its statistics slide along with the cell,
    unless its parameters depend on the place inside the window, which ends sharing.
    """
    x = lifting.field(node.inputs[0])
    atoms = [atom for axis in x.layout.axes[-operation.axes :] for atom in axis]
    recipes = [lifting.out.parameter(name) for name in node.inputs[1:]]
    if any(atom.spatial for atom in atoms):
        apart = tuple(atom for atom in x.layout.in_order() if atom not in atoms)
        placed = any(recipe is not None for recipe in recipes)
        return _around(lifting, node, x, apart, atoms, operation.epsilon, placed=placed)
    if any(a.kind is not AtomKind.FEATURES for a in atoms) or set(atoms) != set(x.layout.stored):
        raise EndsSharing("normalizes over some of the features only")
    inputs = [lifting.out.constant(r and per_stored_channel(r, atoms, x.layout)) for r in recipes]
    return lifting.each(node, ChannelNormalization(operation.epsilon), x, *inputs)


@rule(GroupNormalization)
def group_normalization(lifting: Lifting, node: Node, operation: GroupNormalization) -> Field:
    """Lift group and instance normalization: their statistics slide along with the cell.

    Exact where the window has one cell. Else it ends sharing in the exact form: all cells of a
    window are scaled by its own numbers.
    """
    x = lifting.field(node.inputs[0])
    batch, channels, *rest = x.layout.shape
    try:
        split = (batch, operation.groups, channels // operation.groups, *rest)
        grouped = x.layout.reshape(split)
        x = x.arranged(grouped.reshape(x.layout.shape))
    except LayoutError as why:
        raise lifting.worded(why) from None
    images, apart, *others = grouped.axes
    if any(atom.kind is not AtomKind.BATCH for atom in images):
        raise EndsSharing("takes features for the images of a batch")
    return _around(lifting, node, x, apart, [a for axis in others for a in axis], operation.epsilon)


def _around(
    lifting: Lifting,
    node: Node,
    x: Field,
    apart: Sequence[Atom],
    over: Sequence[Atom],
    epsilon: float,
    *,
    placed: bool = False,
) -> Field:
    """Normalize every cell by the cells around it, each of the features ``apart`` by itself."""
    if any(atom.kind is not AtomKind.FEATURES for atom in apart):
        raise EndsSharing("normalizes each place in the window by itself")
    if any(atom.kind is AtomKind.BATCH for atom in over):
        raise EndsSharing("normalizes over the images of a batch")
    spatial = {atom.key for atom in over if atom.spatial}
    kernel = tuple(axis.extent if index in spatial else 1 for index, axis in enumerate(x.axes))
    if any(size > 1 and not axis.fixed for size, axis in zip(kernel, x.axes, strict=True)):
        lifting.statistics(node, placed=placed)
    elif placed:
        raise EndsSharing("has parameters that depend on the place inside the window")
    inside = tuple(atom for atom in x.layout.in_order() if atom in over)
    x = store(lifting, x, (*apart, *inside))
    groups = prod(sizes(apart))
    inputs: list[str | None] = []
    for name in node.inputs[1:]:
        recipe = lifting.out.parameter(name)
        if recipe is not None and recipe.shape not in ((groups,), (x.layout.channels,)):
            raise EndsSharing("has parameters for some of the features")
        inputs.append(lifting.out.constant(recipe))
    operation = SlidingNormalization(groups, kernel, x.dilation, epsilon)
    return lifting.each(node, operation, x, *inputs)
