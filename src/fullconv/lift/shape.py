"""Rules: what moves no data of a field (reshape, permute) and what keeps some of it (slice)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import cast

import numpy as np

from fullconv.geometry import Pair
from fullconv.graph import Node
from fullconv.layout import Atom, Kind, Layout, LayoutError, features, order, sizes
from fullconv.lift.field import Field, Joined, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Concat, Permute, Reshape, Slice, TakeChannels


@rule(Reshape)
def reshape(lifting: Lifting, node: Node) -> Shared:
    """Lift flatten, view, squeeze and unsqueeze: only the layout is rewritten.

    Rows or columns that are split, ``(N, C, h, w)`` to ``(N, C, h/a, a, w/b, b)``, are every
    ``a``-th row and ``b``-th column from each of the first ones (space to depth).

    Exact always. Ends sharing when an axis would end inside the rows or columns otherwise, or where
    blocks hold more than `BLOCK` cells, as those of attention do.
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
        block = blocks(x.layout.shape, operation.shape)
        if block is None or not x.layout.is_feature_map():
            raise EndsSharing(str(why)) from None
        return _space_to_depth(lifting, node, x, block)


BLOCK = 64


def blocks(shape: Sequence[int], wanted: Sequence[int]) -> Pair | None:
    """Return ``(a, b)`` of a reshape ``(N, C, h, w)`` to ``(N, C, h/a, a, w/b, b)``, or None."""
    if len(shape) != 4 or len(wanted) != 6 or tuple(wanted[:2]) != tuple(shape[:2]):
        return None
    _, _, rows, a, columns, b = wanted
    split = rows * a == shape[2] and columns * b == shape[3]
    return (a, b) if split and a * b <= BLOCK else None


def _space_to_depth(lifting: Lifting, node: Node, x: Field, block: Pair) -> Field:
    x = lifting.store(x, x.layout.in_order())
    rows, columns = (
        [range(first, extent, size) for first in range(size)]
        for extent, size in zip(x.extent, block, strict=True)
    )
    cells = lifting.align([lifting.cut(x, *kept) for kept in product(rows, columns)])
    joined = lifting.each(node, Concat(1), *cells)
    batch, channels, _, _ = x.layout.axes
    inner = features(block[0]), features(block[1])
    y, x_ = (
        () if axis.extent == 1 else (Atom(kind, axis.extent),)
        for kind, axis in ((Kind.ROWS, joined.rows), (Kind.COLUMNS, joined.columns))
    )
    layout = Layout((batch, channels, y, inner[0], x_, inner[1]), (*inner[0], *inner[1], *channels))
    return joined.arranged(layout)


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
