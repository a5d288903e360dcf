"""Rule: padding as a layer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fullconv.geometry.grid import BeforeAfter, Sliding
from fullconv.graph.graph import Node
from fullconv.lift.arranging import as_feature_map, in_native_order
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting, feature_map
from fullconv.lift.registry import EndsSharing, rule
from fullconv.lift.split import PartInput
from fullconv.operations import Pad


@rule(Pad)
def pad(lifting: Lifting, node: Node, operation: Pad) -> Field:
    """Lift padding: removed cells become an offset, added channels follow the stored ones.

    The channels may stand last. Exact always: every window has its own added cells.
    """
    x = lifting.field(node.inputs[0])
    rank = len(x.layout.axes)
    last = (0, rank - 1, *range(1, rank - 1))
    turned = x.layout.permute(last) if rank > 2 else x.layout
    if not x.layout.is_feature_map(rank - 2) and turned.is_feature_map(rank - 2):
        as_map = replace(operation, pads=tuple(operation.pads[axis] for axis in last))
        result = _pad(lifting, node, as_map, x.arranged(turned))
        return result.arranged(result.layout.permute((0, *range(2, rank), 1)))
    return _pad(lifting, node, operation, x)


def _pad(lifting: Lifting, node: Node, operation: Pad, x: Field) -> Field:
    x, axes = as_feature_map(lifting, x, len(operation.pads) - 2)
    batch, channels, *native = operation.pads
    spatial = [(0, 0)] * len(x.axes)
    for axis, pair in zip(axes, native, strict=True):
        spatial[axis] = pair
    if any(batch):
        raise EndsSharing("pads the batch")
    if min(channels) < 0:
        raise EndsSharing("removes channels by padding")
    if any(n < 0 for pair in spatial for n in pair):
        x = _cut(lifting, operation, x, spatial)
    added = tuple((max(0, before), max(0, after)) for before, after in spatial)
    if operation.mode == "constant":
        moved = lifting.slide(node, x, [Sliding(1, before=a, after=b) for a, b in added])
    else:
        x, moved = lifting.extended(node, x, added, operation.mode)

    def write(block: str, reads: tuple[PartInput, ...]) -> str:
        pads = ((0, 0), channels, *(read.sliding.padding for read in reads))
        if not any(map(any, pads)):
            return block
        return lifting.out.emit(node, replace(operation, pads=pads), (block,))

    result = lifting.write(x, moved, x.layout.channels + sum(channels), write)
    return in_native_order(result, axes)


def _cut(lifting: Lifting, operation: Pad, x: Field, pads: Sequence[BeforeAfter]) -> Field:
    """Remove the cells that negative padding removes."""
    # Cells are cut first, so those to be mirrored must be left; circular ones meet the other end.
    reaches = any(
        max(pair) >= extent + min(0, *pair) for pair, extent in zip(pads, x.extent, strict=True)
    )
    if operation.mode == "circular" or (operation.mode == "reflect" and reaches):
        raise EndsSharing("repeats cells that it removes")
    kept = [
        range(max(0, -before), extent - max(0, -after))
        for (before, after), extent in zip(pads, x.extent, strict=True)
    ]
    x = lifting.cut(x, kept)
    return feature_map(x, x.layout.channels, x.axes, x.parts)
