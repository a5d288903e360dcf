"""Rules: what moves no data of a field (reshape, permute) and what keeps some of it (slice)."""

from __future__ import annotations

from typing import cast

import numpy as np

from fullconv.graph import Node
from fullconv.layout import Kind, Layout, LayoutError, features, order, sizes
from fullconv.lift.field import Field, Joined, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Cells, Permute, Reshape, Slice, TakeChannels


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
        return x.holding(x.value, x.layout.reshape(operation.shape))
    except LayoutError as why:
        raise EndsSharing(str(why)) from None


@rule(Permute)
def permute(lifting: Lifting, node: Node) -> Field:
    """Lift permute and transpose: only the layout is rewritten. Exact always."""
    x = lifting.field(node.inputs[0])
    return x.holding(x.value, x.layout.permute(cast(Permute, node.operation).order))


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
    by_rows = axis[0].kind is Kind.ROWS
    numbers = operation.start, operation.stop, operation.step
    rows, y = x.rows.cut(*(numbers if by_rows else (0, x.rows.extent, 1)), lifting.grid.step[0])
    columns, x_ = x.columns.cut(
        *((0, x.columns.extent, 1) if by_rows else numbers), lifting.grid.step[1]
    )
    value = lifting.emit(node, Cells(*zip(y, x_, strict=True)), (x.value,))
    kept = rows if by_rows else columns
    atom = () if kept.extent == 1 else (type(axis[0])(axis[0].kind, kept.extent),)
    layout = x.layout.with_axis(operation.axis, atom)
    return Field.shared(layout, rows, columns, value)


def _channels(lifting: Lifting, node: Node, x: Field) -> Field:
    operation = cast(Slice, node.operation)
    axis = x.layout.axes[operation.axis]
    rest = tuple(atom for atom in x.layout.stored if atom not in axis)
    index = np.arange(x.layout.channels).reshape(sizes(x.layout.stored))
    index = index.transpose(order(x.layout.stored, (*axis, *rest)))
    index = index.reshape(int(np.prod(sizes(axis))), -1)
    index = index[operation.start : operation.stop : operation.step]
    taken = TakeChannels(tuple(int(i) for i in index.reshape(-1)))
    value = lifting.emit(node, taken, (x.value,))
    kept = features(len(index))
    axes = list(x.layout.axes)
    axes[operation.axis] = kept
    return x.holding(value, Layout(tuple(axes), (*kept, *rest)))
