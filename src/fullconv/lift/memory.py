"""The memory of a run, as a polynomial in the numbers of windows along every axis."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import prod

from fullconv.graph.graph import Graph
from fullconv.lift.field import Field, Where
from fullconv.lift.split import Part, Split
from fullconv.operations import Operation, SlidingNormalization, SlidingSpread, SlidingTotal


class Size(tuple[int, ...]):
    """A number of elements that grows with the windows: one coefficient per set of axes.

    The sets stand in the order of ``itertools.product``, all axes first: ``(a, b, c, d)`` is
    ``a * rows * columns + b * rows + c * columns + d`` for these rows and columns of windows.
    """

    __slots__ = ()

    @classmethod
    def of_cells(cls, channels: int, cells: Sequence[tuple[int, int]]) -> Size:
        """Return the elements of a map whose cells along an axis are ``a * windows + b``."""
        return cls(channels * prod(chosen) for chosen in product(*cells))

    @classmethod
    def per_window(cls, number: int, dimensions: int) -> Size:
        """Return ``number`` elements for every window."""
        return cls.of_cells(number, ((1, 0),) * dimensions)

    def plus(self, other: Size) -> Size:
        """Add the elements of two tensors."""
        return Size(a + b for a, b in zip(self, other, strict=True))

    def times(self, number: int) -> Size:
        """Return the elements of ``number`` such tensors."""
        return Size(number * n for n in self)

    def at(self, windows: Sequence[int]) -> int:
        """Count the elements for these numbers of windows along every axis."""
        sets = product(*((count, 1) for count in windows))
        return sum(n * prod(chosen) for n, chosen in zip(self, sets, strict=True))

    @property
    def by_growth(self) -> tuple[int, ...]:
        """The coefficients of the polynomial in the numbers of windows less one.

        Those numbers are never negative. So one size is at least as large as another, for any
        windows, where each of its coefficients is.
        """
        rows = list(self)
        apart = len(rows)
        while apart > 1:
            apart //= 2
            for first in range(0, len(rows), 2 * apart):
                for index in range(first + apart, first + 2 * apart):
                    rows[index] += rows[index - apart]
        return tuple(rows)


Footprint = tuple[Size, ...]
"""Elements in memory at several times of a run; the largest is the memory that the run takes."""

BESIDE: Mapping[type[Operation], int] = {
    SlidingTotal: 2,
    SlidingSpread: 4,
    SlidingNormalization: 6,
}
"""How many tensors more, as large as its first input, an operation allocates while it runs."""


def elements(footprint: Footprint, windows: Sequence[int]) -> int:
    """Return the most elements in memory at once, for these numbers of windows of one image."""
    return max((size.at(windows) for size in footprint), default=0)


def cells_of(axis: Split, part: Part, window_step: int) -> tuple[int, int]:
    """Return ``(a, b)``: a part stores ``a * windows + b`` cells along an axis."""
    if part is not Part.MIDDLE:
        return len(axis.parts[part]), 0
    stride, span = axis.middle.needed(window_step)
    return stride, span - stride


def size_of_part(x: Field, where: Where, steps: Sequence[int]) -> Size:
    """Return the elements of one part of a field; axes beyond the image's hold one window."""
    cells = [cells_of(*each) for each in zip(x.axes, where, steps, strict=False)]
    beyond = prod(x.extent[len(steps) :])
    return Size.of_cells(x.layout.channels * beyond, cells)


def footprint(graph: Graph, sizes: Mapping[str, Size]) -> Footprint:
    """Return the elements in memory while an operation of the written graph runs, the largest.

    A value stays from the operation that makes it to the last one that reads it. A value of unknown
    size counts as large as the first input of its operation. Beside its result an operation is
    taken to allocate as much again as it reads and writes (a framework packs and pads), and
    `BESIDE` more.
    """
    known, nothing = dict(sizes), sizes[graph.image].times(0)
    last: dict[str, int] = {name: len(graph.nodes) for name in graph.outputs}
    for index, node in enumerate(graph.nodes):
        last.update((name, index) for name in node.inputs if name is not None)
    # An output of the network stays to the end.
    last.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    ending: dict[int, list[str]] = {}
    for name, index in last.items():
        ending.setdefault(index, []).append(name)
    live, total = {graph.image}, known[graph.image]
    peaks: set[Size] = set()
    for index, node in enumerate(graph.nodes):
        own = [known[name] for name in node.inputs if name in known and name != graph.image]
        for name in node.outputs:
            known.setdefault(name, own[0] if own else nothing)
            live.add(name)
            total = total.plus(known[name])
        beside = [*own, *(known[name] for name in node.outputs)]
        if own:
            beside.append(own[0].times(BESIDE.get(type(node.operation), 0)))
        peaks.add(functools.reduce(Size.plus, beside, total))
        unread = [name for name in node.outputs if name not in last]
        done = live.intersection([*ending.get(index, []), *unread])
        for name in done:
            total = total.plus(known[name].times(-1))
        live -= done
    return _largest(peaks)


def _largest(peaks: Iterable[Size]) -> Footprint:
    """Return the sizes without those that another one reaches for every number of windows."""
    kept: dict[Size, tuple[int, ...]] = {}
    # A size that is larger in every coefficient comes first in this order.
    for peak in sorted(peaks, key=lambda size: size.by_growth, reverse=True):
        growth = peak.by_growth
        if not any(all(map(operator.ge, larger, growth)) for larger in kept.values()):
            kept[peak] = growth
    return tuple(sorted(kept, reverse=True))
