"""Rule: a mean, sum, maximum or norm over whole axes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fullconv.graph import Node
from fullconv.layout import Kind, Layout
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.pooling import pool_whole
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Power, Reduce


@rule(Reduce)
def reduce(lifting: Lifting, node: Node, operation: Reduce) -> Field:
    """Lift a mean, sum or maximum over whole axes.

    Exact when it runs over cells (a pool of the native extent, of squares for a norm), or over all
    features. Ends sharing when it mixes the two, or takes some of the features only.
    """
    x = lifting.field(node.inputs[0])
    atoms = {atom for axis in operation.axes for atom in x.layout.axes[axis]}
    if any(atom.kind is Kind.BATCH for atom in atoms):
        raise EndsSharing("reduces over the batch")
    if atoms and not any(atom.spatial for atom in atoms):
        if atoms != set(x.layout.stored):
            raise EndsSharing("reduces over some of the features only")
        reduced = lifting.each(node, Reduce(operation.kind, (1,), True), x)
    elif all(atom.spatial for atom in atoms):
        reduced = _over_cells(lifting, node, operation, x, {atom.key for atom in atoms})
    else:
        names = " or ".join(lifting.axis_names())
        raise EndsSharing(f"reduces over features together with {names}")
    axes = list(reduced.layout.axes)
    for axis in sorted(operation.axes, reverse=True):
        axes[axis : axis + 1] = [()] if operation.keepdims else []
    left = [atom for axis in axes for atom in axis]
    stored = tuple(atom for atom in reduced.layout.stored if atom in left)
    return reduced.arranged(Layout(tuple(axes), stored))


def _over_cells(
    lifting: Lifting, node: Node, operation: Reduce, x: Field, over: Collection[int]
) -> Field:
    if not over:
        return x
    if operation.kind == "l2":
        squares = x.each(lambda _, value: lifting.out.helper(value, Power("square")))
        pooled = pool_whole(lifting, node, squares, "sum", over)
        pooled = pooled.each(lambda _, value: lifting.out.helper(value, Power("root")))
    else:
        kind = "average" if operation.kind == "mean" else operation.kind
        pooled = pool_whole(lifting, node, x, kind, over)
    return replace(pooled, layout=x.layout.without(over))
