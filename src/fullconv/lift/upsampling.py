"""Rule: nearest-neighbour upsampling."""

from __future__ import annotations

from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Node
from fullconv.lift.arranging import must_lie_apart, over_cells
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import rule
from fullconv.lift.split import Moved, PartInput
from fullconv.operations import Upsample


@rule(Upsample)
@over_cells
def upsample(lifting: Lifting, node: Node, operation: Upsample, axes: Sizes, x: Field) -> Field:
    """Lift upsampling: every cell is repeated, in whatever part of the map it lies.

    Exact always: output ``o`` is cell ``o // factor``, so no cell meets another, nor a border.
    """
    x = lifting.side_by_side(x, [i for i, factor in enumerate(operation.factor) if factor > 1])
    moved = []
    for axis, factor in zip(x.axes, operation.factor, strict=True):
        if factor > 1:
            must_lie_apart(lifting, axis, "repeats")
        moved.append(Moved(axis.repeated(factor), axis.as_it_is().reads))

    def write(block: str, reads: tuple[PartInput, ...]) -> str:
        return lifting.out.emit(node, operation, (block,))

    return lifting.write(x, moved, x.layout.channels, write)
