"""Rule: concatenation."""

from __future__ import annotations

from dataclasses import replace

from fullconv.graph.graph import Node
from fullconv.graph.layout import AtomKind, features
from fullconv.lift.arranging import align, store
from fullconv.lift.field import Field, Joined, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Concat


@rule(Concat)
def concat(lifting: Lifting, node: Node, operation: Concat) -> Shared:
    """Lift a concatenation.

    Features: the stored maps are brought to one size and concatenated. Flattened maps: nothing is
    computed until a linear layer sums over them. Exact always. Ends sharing along cells or the
    batch, or with parameters.
    """
    axis = operation.axis
    if any(lifting.out.is_parameter(name) for name in node.inputs):
        raise EndsSharing("joins the map with parameters")
    operands = [lifting.shared(name) for name in node.inputs]
    fields = [part for x in operands for part in (x.fields if isinstance(x, Joined) else (x,))]
    kinds = {atom.kind for x in fields for atom in x.layout.axes[axis]}
    if kinds <= {AtomKind.FEATURES} and not any(isinstance(x, Joined) for x in operands):
        return _channels(lifting, node, fields, axis)
    flattened = all(
        {atom for other in x.layout.axes for atom in other if atom.kind is not AtomKind.BATCH}
        == set(x.layout.axes[axis])
        for x in fields
    )
    nested = all(x.axis == axis for x in operands if isinstance(x, Joined))
    if not flattened or not nested or AtomKind.BATCH in kinds:
        raise EndsSharing("joins maps along rows or columns")
    return Joined(tuple(fields), axis)


def _channels(lifting: Lifting, node: Node, fields: list[Field], axis: int) -> Field:
    arranged = []
    for x in fields:
        own = x.layout.axes[axis]
        others = tuple(a for a in x.layout.in_order() if a not in own)
        arranged.append(store(lifting, x, (*own, *others)))
    first = arranged[0].layout
    for x in arranged[1:]:
        for mine, theirs in zip(x.layout.axes, first.axes, strict=True):
            unlike = [a.counted for a in mine] != [a.counted for a in theirs]
            if unlike and mine is not x.layout.axes[axis]:
                raise EndsSharing("joins tensors whose axes are arranged otherwise")
    arranged = align(lifting, arranged)
    total = features(sum(int(x.layout.shape[axis]) for x in arranged))
    others = tuple(a for a in first.stored if a not in first.axes[axis])
    joined = lifting.each(node, Concat(1), *arranged)
    return joined.arranged(replace(first.with_axis(axis, total), stored=(*total, *others)))
