"""How much memory a run takes, as a polynomial in the rows and columns of windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import NamedTuple

from fullconv.graph import Graph
from fullconv.lift.field import Where
from fullconv.lift.split import Part, Split
from fullconv.operations import Operation, SlidingNormalization, SlidingTotal


class Size(NamedTuple):
    """Elements ``both * r * c + rows * r + columns * c + rest`` for ``r`` by ``c`` windows."""

    both: int
    rows: int = 0
    columns: int = 0
    rest: int = 0

    def plus(self, other: Size) -> Size:
        """Add the elements of two tensors."""
        return Size(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, number: int) -> Size:
        """Return the elements of so many tensors."""
        return Size(*(number * n for n in self))

    def at(self, rows: int, columns: int) -> int:
        """Count the elements for so many windows."""
        return (self.both * columns + self.rows) * rows + self.columns * columns + self.rest


Footprint = tuple[Size, ...]
"""What is held at once at one time or another; the most of them is what a run takes."""

BESIDE: Mapping[type[Operation], int] = {SlidingTotal: 2, SlidingNormalization: 6}
"""Tensors as large as their first input that operations hold beside it and their result."""


def elements(footprint: Footprint, rows: int, columns: int) -> int:
    """Return the most elements that are held at once, for so many windows of one image."""
    return max((size.at(rows, columns) for size in footprint), default=0)


def size_of_cells(channels: int, rows: tuple[int, int], columns: tuple[int, int]) -> Size:
    """Return the elements of a map whose cells along an axis are ``a * windows + b``."""
    (a, b), (c, d) = rows, columns
    return Size(channels * a * c, channels * a * d, channels * b * c, channels * b * d)


def cells_of(axis: Split, part: Part, window_step: int) -> tuple[int, int]:
    """Return ``(a, b)``: a part stores ``a * windows + b`` cells along an axis."""
    if part is not Part.MIDDLE:
        return len(axis.parts[part]), 0
    stride, span = axis.middle.needed(window_step)
    return stride, span - stride


def size_of_part(
    channels: int, axes: tuple[Split, Split], where: Where, step: tuple[int, int]
) -> Size:
    """Return the elements of one part of a field."""
    rows, columns = (
        cells_of(axis, part, pixels) for axis, part, pixels in zip(axes, where, step, strict=True)
    )
    return size_of_cells(channels, rows, columns)


def size_per_window(shape: Iterable[int], batch: int) -> Size:
    """Return the elements of one native tensor per window."""
    return Size(prod(shape) // max(1, batch))


def footprint(graph: Graph, sizes: Mapping[str, Size]) -> Footprint:
    """Return what the written graph holds at each of its operations, the largest of them.

    A value is held from the operation that makes it to the last one that reads it. One whose size
    is not known is as large as what it is made from. What an operation allocates beside its
    result is taken to be as much again as it reads and writes (a framework packs and pads), and
    `BESIDE` more.
    """
    known = dict(sizes)
    last: dict[str, int] = {name: len(graph.nodes) for name in graph.outputs}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name is not None:
                last[name] = max(index, last.get(name, 0))
    held: dict[str, Size] = {graph.image: known[graph.image]}
    peaks: set[Size] = set()
    for index, node in enumerate(graph.nodes):
        own = [known[name] for name in node.inputs if name in known and name != graph.image]
        for name in node.outputs:
            known.setdefault(name, own[0] if own else Size(0))
            held[name] = known[name]
        total = Size(0)
        for size in [*held.values(), *own, *(known[name] for name in node.outputs)]:
            total = total.plus(size)
        if own:
            total = total.plus(own[0].times(BESIDE.get(type(node.operation), 0)))
        peaks.add(total)
        held = {name: size for name, size in held.items() if last.get(name, -1) > index}
    return tuple(
        peak
        for peak in sorted(peaks, reverse=True)
        if not any(_covers(other, peak) for other in peaks)
    )


def _covers(large: Size, small: Size) -> bool:
    """Whether one is larger for every number of windows."""
    return large != small and all(
        sum(large[i] for i in which) >= sum(small[i] for i in which)
        for which in ((0,), (0, 1), (0, 2), (0, 1, 2, 3))
    )
