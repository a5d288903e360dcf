"""Contraction: a sum or maximum over a window's cells along an axis, part by part.

A fully connected layer, a global pool, and a convolution as large as its map read every cell of a
window. Nothing needs to be gathered for that: each part gives its own term, computed where the
part is stored, and the terms are added (or the larger one taken) on the window grid. See
docs/theory.md, "Reading a whole window".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from fullconv.geometry.grid import Sizes, Sliding
from fullconv.graph.graph import Node
from fullconv.lift.field import Field, Where
from fullconv.lift.lifting import Lifting, feature_map
from fullconv.lift.split import Part, Split, on_window_grid
from fullconv.operations import Combine, Keep

Total = Literal["sum", "max"]


@dataclass(frozen=True)
class Term:
    """A part as one term: its map, the window's cells it holds, and the kernel that covers them."""

    value: str
    cells: tuple[range, ...]
    slidings: tuple[Sliding, ...]

    @property
    def kernel(self) -> Sizes:
        """Cells of the kernel along every axis."""
        return tuple(s.kernel for s in self.slidings)

    @property
    def dilation(self) -> Sizes:
        """Stored dilation along every axis."""
        return tuple(s.dilation for s in self.slidings)


WriteTerm = Callable[[Term, bool], str]
"""Writes one term: the term, and whether it is the first of its sum."""


def covered(x: Field, slidings: Sequence[Sliding], *, dense: bool = False) -> frozenset[int]:
    """Return the axes along which a kernel covers every cell once, and leaves all others alone.

    There are none unless such an axis is in several parts, so that gathering is spared, or the
    result is kept ``dense``.
    """
    covers, spares, alone = set(), False, True
    for index, (axis, sliding) in enumerate(zip(x.axes, slidings, strict=True)):
        plain = sliding.padding == (0, 0) and sliding.dilation == 1
        if plain and sliding.kernel == axis.extent:
            covers.add(index)
            spares = spares or dense or len(axis.parts) > 1
        elif not plain or (sliding.kernel, sliding.stride) != (1, 1):
            alone = False
    return frozenset(covers) if spares and alone else frozenset()


def contract(
    lifting: Lifting,
    node: Node,
    x: Field,
    over: Collection[int],
    channels: int,
    kind: Total,
    write: WriteTerm,
) -> Field:
    """Sum, or take the maximum, over the cells along some axes."""
    ends = [_end(lifting, node, axis, index in over, index) for index, axis in enumerate(x.axes)]
    several = [index in over and len(axis.parts) > 1 for index, axis in enumerate(x.axes)]
    terms: dict[Where, list[str]] = {}
    for where, value in x.parts.items():
        target = tuple(
            Part.MIDDLE if index in over and not axis.fixed else part
            for index, (axis, part) in enumerate(zip(x.axes, where, strict=True))
        )
        written = terms.setdefault(target, [])
        term = Term(
            value,
            tuple(axis.parts[part] for axis, part in zip(x.axes, where, strict=True)),
            tuple(covering[part] for (_, covering), part in zip(ends, where, strict=True)),
        )
        result, _ = lifting.blocks.lay_out(write(term, not written), x, channels, where, over)
        cut = tuple(
            (1, 1) if many and part is Part.MIDDLE else None
            for many, part in zip(several, where, strict=True)
        )
        written.append(lifting.out.helper(result, Keep(cut), image=True) if any(cut) else result)
    parts = {target: combined(lifting, node, written, kind) for target, written in terms.items()}
    return feature_map(x, channels, tuple(left for left, _ in ends), parts)


def combined(lifting: Lifting, node: Node, terms: Sequence[str], kind: Total) -> str:
    """Write the sum or maximum of some maps."""
    total = terms[0]
    for term in terms[1:]:
        total = lifting.out.emit(node, Combine(kind), (total, term))
    return total


def _end(
    lifting: Lifting, node: Node, axis: Split, over: bool, index: int
) -> tuple[Split, dict[Part, Sliding]]:
    """Return the axis that is left, and how a kernel covers each part of the old one."""
    if not over:
        return axis, {part: Sliding(1) for part in axis.parts}
    covering = {part: Sliding(len(cells)) for part, cells in axis.parts.items()}
    if axis.fixed:
        return Split.fixed_to(1), covering
    step, window = lifting.grid.step[index], lifting.grid.window[index]
    left = Split(0, on_window_grid(window, step))
    if not axis.private:
        whole = Sliding(axis.middle.extent)
        middle, covering[Part.MIDDLE] = lifting.slide_middle(node, axis.middle, whole, step)
        if axis.shared:
            left = Split(0, middle)
    return left, covering
