"""Rules: what moves no data of a field (reshape, permute) and what keeps some of it (slice)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from fullconv.graph import Node
from fullconv.layout import Kind, Layout, LayoutError, features, order, sizes
from fullconv.lift.field import Field, Joined, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Permute, Reshape, Slice, TakeChannels


@rule(Reshape)
def reshape(lifting: Lifting, node: Node) -> Shared:
    """Lift flatten, view, squeeze and unsqueeze: only the layout is rewritten.

    Exact always. Ends sharing when an axis would end inside the rows or columns of the window.
    """
    operation = cast(Reshape, node.operation)
    x = lifting.shared(node.inputs[0])
    if isinstance(x, Joined):
        if operation.shape == lifting.graph.shapes[node.inputs[0] or ""]:
            return x
        raise EndsSharing("rearranges several flattened maps at once")
    try:
        return x.arranged(x.layout.reshape(operation.shape))
    except LayoutError as why:
        raise EndsSharing(str(why)) from None


@rule(Permute)
def permute(lifting: Lifting, node: Node) -> Field:
    """Lift permute and transpose: only the layout is rewritten. Exact always."""
    x = lifting.field(node.inputs[0])
    return x.arranged(x.layout.permute(cast(Permute, node.operation).order))


@rule(Slice)
def slice_(lifting: Lifting, node: Node) -> Field:
    """Lift a slice: of features, some channels; of rows or columns, an offset and a stride.

    Exact always. Ends sharing over the batch, or over a flattened axis.
    """
    operation = cast(Slice, node.operation)
    x = lifting.field(node.inputs[0])
    axis = x.layout.axes[operation.axis]
    if not axis:
        return x
    if all(atom.kind is Kind.FEATURES for atom in axis):
        return _channels(lifting, node, x)
    if len(axis) > 1 or not axis[0].spatial:
        raise EndsSharing("cuts through a flattened map or the batch")
    kept = range(operation.start, operation.stop, operation.step)
    if axis[0].kind is Kind.ROWS:
        x = lifting.cut(x, kept, range(x.columns.extent))
    else:
        x = lifting.cut(x, range(x.rows.extent), kept)
    atom = () if len(kept) == 1 else (replace(axis[0], size=len(kept)),)
    return x.arranged(x.layout.with_axis(operation.axis, atom))


def _channels(lifting: Lifting, node: Node, x: Field) -> Field:
    operation = cast(Slice, node.operation)
    axis = x.layout.axes[operation.axis]
    rest = tuple(atom for atom in x.layout.stored if atom not in axis)
    index = np.arange(x.layout.channels).reshape(sizes(x.layout.stored))
    index = index.transpose(order(x.layout.stored, (*axis, *rest)))
    index = index.reshape(int(np.prod(sizes(axis))), -1)
    index = index[operation.start : operation.stop : operation.step]
    taken = TakeChannels(tuple(int(i) for i in index.reshape(-1)))
    kept = features(len(index))
    axes = list(x.layout.axes)
    axes[operation.axis] = kept
    return lifting.each(node, taken, x).arranged(Layout(tuple(axes), (*kept, *rest)))
