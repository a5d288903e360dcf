"""Rules: operations that move no data of a field (reshape, permute) or keep some (slice, take)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod

from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Node
from fullconv.graph.layout import AtomKind, Layout, LayoutError, cells, features, sizes
from fullconv.lift.arranging import align, places_of, store
from fullconv.lift.field import Field, Joined, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Concat, Permute, Reshape, Slice, Take, TakeChannels


@rule(Reshape)
def reshape(lifting: Lifting, node: Node, operation: Reshape) -> Shared:
    """Lift flatten, view, squeeze and unsqueeze: only the layout is rewritten.

    Cells that are split, ``(N, C, h, w)`` to ``(N, C, h/a, a, w/b, b)``, become every ``a``-th row
    and ``b``-th column, from each of the first ones (space to depth).

    Exact always. Ends sharing when an axis would end inside the cells in any other way, or where
    blocks hold more than `BLOCK` cells, as those of attention do.
    """
    x = lifting.shared(node.inputs[0])
    if isinstance(x, Joined):
        if operation.shape == lifting.graph.shapes[node.inputs[0] or ""]:
            return x
        raise EndsSharing("rearranges several flattened maps at once")
    try:
        return x.arranged(x.layout.reshape(operation.shape))
    except LayoutError as why:
        block = blocks(x.layout.shape, operation.shape)
        if block is None or not x.layout.is_feature_map(len(x.axes)):
            raise lifting.worded(why) from None
        return _space_to_depth(lifting, node, x, block)


BLOCK = 64
"""The most cells of a block that become features."""


def blocks(shape: Sequence[int], wanted: Sequence[int]) -> Sizes | None:
    """Return ``(a, b)`` of a reshape ``(N, C, h, w)`` to ``(N, C, h/a, a, w/b, b)``, or None.

    It works over any number of axes of cells.
    """
    cells, split = shape[2:], wanted[2:]
    if not cells or len(split) != 2 * len(cells) or tuple(wanted[:2]) != tuple(shape[:2]):
        return None
    outer, inner = split[::2], tuple(split[1::2])
    fits = all(a * b == n for a, b, n in zip(outer, inner, cells, strict=True))
    return inner if fits and prod(inner) <= BLOCK else None


def _space_to_depth(lifting: Lifting, node: Node, x: Field, block: Sizes) -> Field:
    x = store(lifting, x, x.layout.in_order())
    firsts = [
        [range(first, extent, size) for first in range(size)]
        for extent, size in zip(x.extent, block, strict=True)
    ]
    taken = align(lifting, [lifting.cut(x, kept) for kept in product(*firsts)])
    joined = lifting.each(node, Concat(1), *taken)
    batch, channels, *_ = x.layout.axes
    inner = [features(size) for size in block]
    split = [
        part
        for index, axis in enumerate(joined.axes)
        for part in (cells(index, axis.extent), inner[index])
    ]
    stored = (*(atom for part in inner for atom in part), *channels)
    return joined.arranged(Layout((batch, channels, *split), stored))


@rule(Permute)
def permute(lifting: Lifting, node: Node, operation: Permute) -> Field:
    """Lift permute and transpose: only the layout is rewritten. Exact always."""
    x = lifting.field(node.inputs[0])
    return x.arranged(x.layout.permute(operation.order))


@rule(Slice)
def slice_(lifting: Lifting, node: Node, operation: Slice) -> Field:
    """Lift a slice: of features, some channels; of cells, an offset and a stride.

    Exact always. Ends sharing over the batch, or over a flattened axis.
    """
    x = lifting.field(node.inputs[0])
    atoms = x.layout.axes[operation.axis]
    if not atoms:
        return x
    if all(atom.kind is AtomKind.FEATURES for atom in atoms):
        kept = range(operation.start, operation.stop, operation.step)
        return _channels(lifting, node, operation.axis, kept, x)
    if len(atoms) > 1 or not atoms[0].spatial:
        raise EndsSharing("cuts through a flattened map or the batch")
    axis, spans = atoms[0].key, [range(extent) for extent in x.extent]
    spans[axis] = range(operation.start, operation.stop, operation.step)
    x = lifting.cut(x, spans)
    return x.arranged(x.layout.with_axis(operation.axis, cells(axis, len(spans[axis]))))


@rule(Take)
def take(lifting: Lifting, node: Node, operation: Take) -> Field:
    """Lift a flip, a roll or an index of features: some channels, in this order.

    Exact always. Ends sharing over the cells of a window, whose order is that of the image, and
    over the batch.
    """
    x = lifting.field(node.inputs[0])
    atoms = x.layout.axes[operation.axis]
    if any(atom.kind is not AtomKind.FEATURES for atom in atoms):
        raise EndsSharing("reorders what is not features alone")
    return _channels(lifting, node, operation.axis, operation.indices, x)


def _channels(lifting: Lifting, node: Node, place: int, wanted: Sequence[int], x: Field) -> Field:
    axis = x.layout.axes[place]
    rest = tuple(atom for atom in x.layout.stored if atom not in axis)
    index = places_of(x.layout.stored, (*axis, *rest)).reshape(prod(sizes(axis)), -1)
    index = index[list(wanted)]
    kept = features(len(index))
    taken = lifting.each(node, TakeChannels(tuple(index.reshape(-1).tolist())), x)
    return taken.arranged(replace(x.layout.with_axis(place, kept), stored=(*kept, *rest)))
