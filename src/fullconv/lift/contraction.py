"""Contraction: what a window's cells along an axis come to, as a sum or maximum over its parts.

A fully connected layer, a global pool, a convolution as large as its map read every cell of a
window. Nothing needs to be gathered for that: each part gives its own term, computed where the
part is stored, and the terms are added (or the larger one taken) on the window grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fullconv.geometry import Sliding
from fullconv.graph import Node
from fullconv.lift.field import Field, Where
from fullconv.lift.lifting import Lifting
from fullconv.lift.split import Part, Split, on_window_grid
from fullconv.operations import Combine, Keep

Total = Literal["sum", "max"]


@dataclass(frozen=True)
class Term:
    """A part as one term: its map, the window's cells it holds, and the kernel that covers them."""

    where: Where
    value: str
    rows: range
    columns: range
    y: Sliding
    x: Sliding

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the kernel."""
        return self.y.kernel, self.x.kernel

    @property
    def stride(self) -> tuple[int, int]:
        """Stored stride, (rows, columns)."""
        return self.y.stride, self.x.stride

    @property
    def dilation(self) -> tuple[int, int]:
        """Stored dilation, (rows, columns)."""
        return self.y.dilation, self.x.dilation


WriteTerm = Callable[[Term, bool, bool], str]
"""Writes one term: the term, whether it is the first of its sum, and whether it is the result."""


@dataclass(frozen=True)
class Contracted:
    """The result: its axes, and the sum over all terms for each part that is left."""

    rows: Split
    columns: Split
    parts: dict[Where, str]


def covered(x: Field, rows: Sliding, columns: Sliding, *, dense: bool = False) -> tuple[bool, bool]:
    """Along which axes a kernel covers every cell once, while it leaves the others as they are.

    Only where that spares gathering, where such an axis is in several parts; or where the result
    is kept ``dense``.
    """
    covers, alone, several = [], [], []
    for axis, sliding in ((x.rows, rows), (x.columns, columns)):
        plain = sliding.padding == (0, 0) and sliding.dilation == 1
        covers.append(plain and sliding.kernel == axis.extent)
        alone.append(plain and (sliding.kernel, sliding.stride) == (1, 1))
        several.append(covers[-1] and (dense or len(axis.parts) > 1))
    if any(several) and all(c or a for c, a in zip(covers, alone, strict=True)):
        return covers[0], covers[1]
    return False, False


def contract(
    lifting: Lifting,
    node: Node,
    x: Field,
    over: tuple[bool, bool],
    channels: int,
    kind: Total,
    write: WriteTerm,
    *,
    final: bool = True,
) -> Contracted:
    """Sum, or take the maximum, over rows and columns where `over` says so.

    ``final`` names the result as the node's own.
    """
    ends = [
        _end(lifting, node, axis, wanted, index)
        for index, (axis, wanted) in enumerate(zip((x.rows, x.columns), over, strict=True))
    ]
    several = [
        wanted and len(axis.parts) > 1
        for axis, wanted in zip((x.rows, x.columns), over, strict=True)
    ]
    terms: dict[Where, list[str]] = {}
    for where, value in x.parts.items():
        target = _target(where, over)
        written = terms.setdefault(target, [])
        rows, columns = x.rows.parts[where[0]], x.columns.parts[where[1]]
        term = Term(where, value, rows, columns, ends[0][1][where[0]], ends[1][1][where[1]])
        named = final and not any(several) and len(terms) == 1
        result = write(term, not written, named)
        result, _ = lifting.lay_out(result, channels, where, over)
        cut = [
            (1, 1) if many and part is Part.MIDDLE else None
            for many, part in zip(several, where, strict=True)
        ]
        if cut != [None, None]:
            result = lifting.helper(result, Keep(cut[0], cut[1]), image=True)
        written.append(result)
    parts = {
        target: combined(lifting, node, written, kind, final=final and not index)
        for index, (target, written) in enumerate(terms.items())
    }
    return Contracted(ends[0][0], ends[1][0], parts)


def combined(
    lifting: Lifting, node: Node, terms: Sequence[str], kind: Total, *, final: bool = True
) -> str:
    """Write the sum or maximum of some maps; ``final`` names it as the node's own."""
    total = terms[0]
    for index, term in enumerate(terms[1:], start=2):
        last = final and index == len(terms)
        total = lifting.emit(node, Combine(kind), (total, term), final=last)
    return total


def _end(
    lifting: Lifting, node: Node, axis: Split, over: bool, index: int
) -> tuple[Split, dict[Part, Sliding]]:
    """Return what is left of an axis, and how a kernel covers each of its parts."""
    if not over:
        return axis, {part: Sliding(1) for part in axis.parts}
    step, window = lifting.grid.step[index], lifting.grid.window[index]
    covering = {part: Sliding(len(cells)) for part, cells in axis.parts.items()}
    left = Split(0, on_window_grid(window, step))
    if not axis.private:
        dense = not lifting.exact and node.outputs[0] in lifting.sliding
        middle, stored = axis.middle.slide(Sliding(axis.middle.extent), step, dense=dense)
        covering[Part.MIDDLE] = stored
        if axis.shared:
            left = Split(0, middle)
    return left, covering


def _target(where: Where, over: tuple[bool, bool]) -> Where:
    rows, columns = where
    return (Part.MIDDLE if over[0] else rows, Part.MIDDLE if over[1] else columns)
