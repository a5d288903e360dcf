"""Rule: nearest-neighbour upsampling."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from fullconv.graph import Node
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.lift.split import Moved, Read, Split
from fullconv.operations import Upsample


@rule(Upsample)
def upsample(lifting: Lifting, node: Node) -> Field:
    """Lift upsampling: every cell is repeated, in whatever part of the map it lies.

    Exact always: output ``o`` is cell ``o // factor``, so no cell meets another, nor a border.
    """
    operation = cast(Upsample, node.operation)
    x = lifting.feature_map(node.inputs[0])
    rows, columns = (
        _repeated(axis, factor)
        for axis, factor in zip((x.rows, x.columns), operation.factor, strict=True)
    )

    def write(block: str, y: Read, x: Read, final: bool) -> str:
        return lifting.emit(node, operation, (block,), final=final)

    return lifting.write(x, (rows, columns), x.layout.channels, write)


def _repeated(axis: Split, factor: int) -> Moved:
    """Return the axis with every cell so many times, each part read as it is."""
    middle = axis.middle
    if factor > 1 and not axis.private and middle.dilation != 1:
        raise EndsSharing(
            f"repeats cells that lie {middle.pitch} pixels apart, so only windows a multiple of "
            f"that apart can share it"
        )
    longer = replace(
        middle,
        extent=middle.extent * factor,
        pitch=middle.pitch / factor,
        step=middle.step / factor,
        reach=middle.reach if factor == 1 else None,
        kept=None if middle.kept is None else middle.kept * factor,
    )
    return Moved(Split(axis.low * factor, longer, axis.high * factor), axis.as_it_is().reads)
