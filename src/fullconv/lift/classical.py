"""The approximate form: the classical conversion, which pads at the image's border only.

See docs/theory.md, "One pass".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction

from fullconv.geometry.doubling import around
from fullconv.geometry.grid import Axis, BeforeAfter, Grid, Sliding
from fullconv.graph.graph import Graph, Node
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing
from fullconv.lift.sliding import sliding_statistics
from fullconv.lift.split import Moved, Part, PartInput, Split
from fullconv.operations import Pad, Padding, PaddingMode, Pool, Stretch


class Classical(Lifting):
    """One pass over the image: windows see their surroundings where crops see padding.

    Equal to the crops at the native size, and along an axis with one window.

    Attributes
    ----------
    sliding : frozenset of str
        Values that gate a map: see `fullconv.lift.sliding`.
    """

    def __init__(self, graph: Graph, grid: Grid, fixed: Collection[int] = ()) -> None:
        super().__init__(graph, grid, fixed)
        slides = [axis for axis in range(grid.dimensions) if axis not in self.fixed]
        self.sliding = sliding_statistics(graph, slides)

    def slide(self, node: Node, x: Field, slidings: Sequence[Sliding]) -> list[Moved]:
        """Move a kernel over the image, which is padded where the classifier pads a crop.

        It differs from the crops wherever a window does not touch that border on all sides.
        """
        padded = [
            (0, 0) if axis.fixed else sliding.read_padding(axis.extent)
            for axis, sliding in zip(x.axes, slidings, strict=True)
        ]
        if any(map(any, padded)):
            self.out.approximate(
                node,
                f"padding ({self._amounts(padded)}) is put at the border of the image, not of each "
                f"window",
            )
        moved = []
        for axis, sliding, step in zip(x.axes, slidings, self.blocks.steps(x), strict=True):
            if axis.fixed:
                moved.append(axis.slide(sliding, step))
                continue
            middle, stored = self.slide_middle(node, axis.middle, sliding, step)
            moved.append(Moved(Split(0, middle), {Part.MIDDLE: PartInput(None, stored)}))
        return moved

    def slide_middle(
        self, node: Node, axis: Axis, sliding: Sliding, step: int
    ) -> tuple[Axis, Sliding]:
        """Move a kernel over the map; a single cell keeps its distance from the next.

        Padding around it is padding at the native size only if no other stored cell lies there.
        """
        moved, stored = axis.slide(sliding, step, dense=self.dense(node))
        if axis.extent == sliding.kernel == 1:
            stored = stored._replace(dilation=sliding.dilation)
        # Where a kernel has one place only, its stride leads nowhere.
        stride = 1 if sliding._replace(stride=1).output(axis.extent) == 1 else sliding.stride
        return moved.spaced(axis.pitch * stride), stored

    def as_far_apart(self, fields: list[Field]) -> list[Field]:
        """Keep single cells as far from the next as where they lie furthest apart."""
        along = zip(*(x.axes for x in fields), strict=True)
        widest = [max(axis.middle.pitch for axis in axes) for axes in along]
        return [replace(x, axes=tuple(map(_spaced, x.axes, widest))) for x in fields]

    def side_by_side(self, x: Field, over: Collection[int]) -> Field:
        """Keep a single cell for each window, next to that of the next window.

        Finer cells have no place between those of windows that lie closer than a cell is wide.
        """
        single = [i for i in over if x.extent[i] == 1 and not x.axes[i].apart]
        if not single:
            return x
        kept = self.blocks.keep(x, single)
        axes = [
            replace(axis, middle=replace(axis.middle, pitch=axis.middle.step))
            if index in single
            else axis
            for index, axis in enumerate(kept.axes)
        ]
        return replace(kept, axes=tuple(axes))

    def _amounts(self, padded: Sequence[BeforeAfter]) -> str:
        """Return the padding along every axis of the image, in words."""
        *most, last = (
            f"{before}+{after} {name}"
            for (before, after), name in zip(padded, self.axis_names(), strict=False)
        )
        return f"{', '.join(most)} and {last}" if most else last

    def slide_pool(self, node: Node, x: Field, operation: Pool) -> list[Moved]:
        """Move the box of a pool over a field; how often it overhangs depends on the image."""
        moved = self.slide(node, x, operation.slidings)
        pads = any(any(read.sliding.padding) for m in moved for read in m.reads.values())
        if not pads or not any(operation.overhang):
            return moved
        return [
            replace(m, axis=replace(m.axis, middle=replace(m.axis.middle, reach=None, kept=None)))
            for m in moved
        ]

    def padded_pool(
        self, node: Node, x: Field, operation: Pool, block: str, reads: Sequence[PartInput]
    ) -> str:
        """Write a pool that covers padding at the border of the image."""
        moves = [read.sliding for read in reads]
        same = [(s.stride, s.dilation) for s in moves] == list(
            zip(operation.stride, operation.dilation, strict=True)
        )
        if same:
            return self.out.emit(node, operation, (block,))
        if operation.kind == "average":
            raise EndsSharing("averages over padding at a step finer than its own")
        pads = ((0, 0), (0, 0), *(sliding.padding for sliding in moves))
        block = self.out.helper(block, Pad(pads, value=float("-inf")))
        return self.out.emit(node, operation.plain(moves, x.layout.channels), (block,))

    def cut_axis(self, axis: Split, kept: range, step: int) -> Moved:
        """Keep some of the cells of an axis."""
        moved = axis.cut(kept.start, kept.stop, kept.step, step, gather=False)
        return replace(moved, axis=_spaced(moved.axis, axis.middle.pitch * kept.step))

    def extended(
        self, node: Node, x: Field, pads: Padding, mode: PaddingMode
    ) -> tuple[Field, list[Moved]]:
        """Add cells at both ends of the image that repeat others."""
        padded = any(any(pair) for pair in pads)
        if padded and any(dilation != 1 for dilation in x.dilation):
            if mode == "circular":
                raise EndsSharing("goes round to cells that lie closer than the window's own")
            # Mirrored and repeated cells must be those of the last whole window.
            x = self.blocks.keep(x)
        added = [Sliding(1, before=before, after=after) for before, after in pads]
        return x, self.slide(node, x, added)

    def dense(self, node: Node) -> bool:
        """Whether a statistic of the window is kept at every cell, to gate the map around it."""
        return node.outputs[0] in self.sliding

    def unlike(self, axes: Sequence[Split]) -> list[Moved]:
        """Refuse axes whose middles lie at different places."""
        raise EndsSharing("joins maps whose cells lie at different distances")

    def broadcast(self, node: Node, fields: Sequence[Field], main: Field) -> list[Field]:
        """Spread one number per window over the map that it gates.

        Each cell takes the number of the window around it; the last window inside stands for
        windows beyond the image's border. At the native size that is the only window.
        """
        return [x if x.extent == main.extent else self._spread(node, x, main) for x in fields]

    def _spread(self, node: Node, gate: Field, main: Field) -> Field:
        axes: list[Split] = []
        padding: list[BeforeAfter] = []
        for small, large in zip(gate.axes, main.axes, strict=True):
            if small.fixed or small.extent == large.extent:
                axes.append(small)
                padding.append((0, 0))
                continue
            inner, outer = small.middle, large.middle
            grown = (outer.extent - 1) * outer.dilation
            if (
                inner.extent != 1
                or inner.step != outer.step
                or inner.reach is None
                or outer.reach is None
                or inner.reach - outer.reach != grown * outer.step
            ):
                raise EndsSharing("gates a map by numbers that were taken over another extent")
            axes.append(large)
            padding.append(around(outer.extent, outer.dilation))
        if axes == list(gate.axes):
            return gate
        why = "the gate is taken over a window that slides along with the cell"
        self.out.approximate(node, why)
        stretch = Stretch(tuple(padding), main.dilation)
        stretched = self.helped(gate, stretch)
        return replace(stretched, axes=tuple(axes))

    def statistics(self, node: Node, *, placed: bool) -> None:
        """Let statistics slide along with the cell."""
        if placed:
            raise EndsSharing("has parameters that depend on the place inside the window")
        why = "takes its statistics over a window that slides along with the cell"
        self.out.approximate(node, why)

    def spreads_in(self, node: Node) -> None:
        """Let cells outside the window spread into it."""
        self.out.approximate(node, "cells outside the window spread into it")


def _spaced(axis: Split, pitch: Fraction) -> Split:
    return replace(axis, middle=axis.middle.spaced(pitch))
