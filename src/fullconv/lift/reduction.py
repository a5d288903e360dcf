"""Rule: a mean, sum, maximum, norm or spread over whole axes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from math import prod
from typing import Literal, cast

from fullconv.graph.graph import Node
from fullconv.graph.layout import AtomKind, Layout
from fullconv.lift.contraction import Term, contract
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.pooling import PoolKind, pool_whole
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import DivideCells, Operation, Power, Reduce, SlidingSpread


@rule(Reduce)
def reduce(lifting: Lifting, node: Node, operation: Reduce) -> Field:
    """Lift a mean, sum or maximum over whole axes.

    Exact when it runs over cells (a pool of the native extent, of squares for a norm), over all
    features, or over both. In the exact form a variance over cells ends sharing, which keeps the
    crops' own digits; in the approximate form it slides along with the cell that it scales. Ends
    sharing when it takes some of the features only.
    """
    x = lifting.field(node.inputs[0])
    atoms = {atom for axis in operation.axes for atom in x.layout.axes[axis]}
    if any(atom.kind is AtomKind.BATCH for atom in atoms):
        raise EndsSharing("reduces over the images that the network takes")
    cells = {atom.key for atom in atoms if atom.spatial}
    if not atoms and operation.kind in ("l2", "var", "std"):
        raise EndsSharing(f"takes the {operation.title} of every number")
    features = {atom for atom in atoms if not atom.spatial}
    if features and features != set(x.layout.stored):
        raise EndsSharing("reduces over some of the features only")
    if cells and operation.kind in ("var", "std"):
        reduced = _spread(lifting, node, operation, x, cells, together=bool(features))
    elif cells and features:
        reduced = _over_both(lifting, node, operation, x, cells)
    elif features:
        reduced = lifting.each(node, replace(operation, axes=(1,), keepdims=True), x)
    else:
        reduced = _over_cells(lifting, node, operation.kind, x, cells)
    axes = list(x.layout.without(cells).axes)
    for axis in sorted(operation.axes, reverse=True):
        axes[axis : axis + 1] = [()] if operation.keepdims else []
    left = [atom for axis in axes for atom in axis]
    stored = tuple(atom for atom in x.layout.stored if atom in left)
    return reduced.arranged(Layout(tuple(axes), stored))


def _over_cells(lifting: Lifting, node: Node, kind: str, x: Field, over: Collection[int]) -> Field:
    if not over:
        return x
    if kind == "l2":
        squares = lifting.helped(x, Power("square"))
        pooled = pool_whole(lifting, node, squares, "sum", over)
        return lifting.helped(pooled, Power("root"))
    pool_kind = cast(PoolKind, "average" if kind == "mean" else kind)
    return pool_whole(lifting, node, x, pool_kind, over)


def _over_both(
    lifting: Lifting, node: Node, operation: Reduce, x: Field, over: Collection[int]
) -> Field:
    """Reduce over cells first, then over the features; a mean is divided once, at the end."""
    steps: list[Operation] = []
    if operation.kind == "l2":
        x = lifting.helped(x, Power("square"))
        steps.append(Power("root"))
    total: Literal["sum", "max"] = "max" if operation.kind == "max" else "sum"
    pooled = pool_whole(lifting, node, x, total, over)
    whole = Reduce(total, (1,), True)
    if operation.kind == "mean":
        numbers = x.layout.channels * prod(x.extent[axis] for axis in over)
        steps.append(DivideCells.by(numbers, len(x.axes)))

    for step in (whole, *steps):
        pooled = lifting.helped(pooled, step)
    return pooled


def _spread(
    lifting: Lifting,
    node: Node,
    operation: Reduce,
    x: Field,
    over: Collection[int],
    *,
    together: bool,
) -> Field:
    """Take the variance around every cell."""
    if not lifting.dense(node):
        raise EndsSharing("takes statistics over the window")
    channels = 1 if together else x.layout.channels

    def write(term: Term, first: bool) -> str:
        spread = SlidingSpread(
            cast(Literal["var", "std"], operation.kind),
            term.kernel,
            term.dilation,
            together,
            operation.correction,
        )
        return lifting.out.emit(node, spread, (term.value,))

    result = contract(lifting, node, x, over, channels, "sum", write)
    lifting.out.change(node, f"{operation.title} around every cell")
    return result
