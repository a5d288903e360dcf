"""Whether sharing saves more time than it takes: a model of the time of a run.

Parts of a window are many small blocks of cells. Putting a block together moves numbers, and a
kernel takes some time for a block however small it is. Where maps are small, or sharing ends after
a layer or two, this takes longer than sharing saves. Then every window is given its own pixels at
once, and the classifier runs on them as it is. The constants are fitted by `benchmarks/axes.py`;
see also docs/theory.md, "When parts pay".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from fullconv.graph.graph import Graph
from fullconv.lift.cost import products
from fullconv.lift.memory import Size
from fullconv.operations import Assemble

PARTS_PAY = 1.0
"""Parts are kept while they take at most this times as long as whole windows."""


@dataclass(frozen=True)
class Pace:
    """The time that a framework takes beside multiplying, in multiply-accumulates.

    Attributes
    ----------
    written : int
        For a number that an operation writes.
    moved : int
        For a number that is put into a block of cells.
    block : int
        For a block of cells of a single window, beside its numbers.
    call : int
        For an operation that is called, once for all windows.
    """

    written: int = 20
    moved: int = 100
    block: int = 7500
    call: int = 300_000

    def of_parts(
        self, written: Graph, sizes: Mapping[str, Size], blocks: Collection[str], count: Size
    ) -> Size:
        """Return the time of a lifted graph, for any number of windows.

        Parameters
        ----------
        sizes : mapping of str to Size
            Elements of written values, where they are known.
        blocks : collection of str
            Values that are a block of every single window.
        count : Size
            Multiply-accumulates.
        """
        dimensions = len(written.window)
        calls = self.call * len(written.nodes)
        time = count.plus(Size.of_cells(calls, ((0, 1),) * dimensions))
        for node in written.nodes:
            moves = isinstance(node.operation, Assemble)
            for name in node.outputs:
                if name in sizes:
                    time = time.plus(sizes[name].times(self.moved if moves else self.written))
                if name in blocks:
                    time = time.plus(Size.per_window(self.block, dimensions))
        return time

    def of_windows(self, graph: Graph) -> Size:
        """Return the time of the classifier on windows whose pixels are gathered."""
        names, time = {graph.image}, self.moved * prod(graph.shapes[graph.image])
        for node in graph.nodes:
            if names.isdisjoint(node.inputs):
                continue
            names.update(node.outputs)
            time += self.written * sum(prod(graph.shapes.get(n, ())) for n in node.outputs)
            time += products(node, graph)
        dimensions = len(graph.window)
        calls = Size.of_cells(self.call * len(graph.nodes), ((0, 1),) * dimensions)
        return Size.per_window(time, dimensions).plus(calls)


def per_window(time: Size, windows: Sequence[int]) -> float:
    """Return the time per window, in an image of these windows; of many where none are given."""
    return time.at(windows) / prod(windows) if windows else time[0]
