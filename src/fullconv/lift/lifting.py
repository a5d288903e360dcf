"""The exact form: how rules read, move and write fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import prod

from fullconv.geometry.grid import Axis, Grid, Sizes, Sliding
from fullconv.graph.graph import Graph, Node
from fullconv.graph.layout import AtomKind, Layout, LayoutError, cells, features
from fullconv.lift.blocks import Blocks, reading
from fullconv.lift.emitter import Emitter
from fullconv.lift.field import Field, Joined, Lift, Shared, Where
from fullconv.lift.memory import Size, cells_of
from fullconv.lift.registry import EndsSharing
from fullconv.lift.split import Moved, Part, PartInput, Split
from fullconv.lift.statistics import own_statistic
from fullconv.operations import (
    DivideCells,
    Operation,
    Pad,
    Padding,
    PaddingMode,
    Pool,
)
from fullconv.wording import axis_names

Write = Callable[[str, tuple[PartInput, ...]], str]
"""Writes an operation on a block, given the block and its reads along every axis."""


class Lifting:
    """The state of one walk: every window is computed as if it had been cropped.

    Attributes
    ----------
    graph : Graph
        The classifier at its native size.
    grid : Grid
        The window and the wanted step.
    fixed : frozenset of int
        Axes along which there is one window.
    values : dict of str to Lift
        The lifted form of each value of the classifier.
    out : Emitter
        Collects the written operations and the notes.
    blocks : Blocks
        Reads fields.
    products : Size
        Multiply-accumulates so far, for any number of windows.
    """

    def __init__(self, graph: Graph, grid: Grid, fixed: Collection[int] = ()) -> None:
        self.graph, self.grid, self.fixed = graph, grid, frozenset(fixed)
        self.values: dict[str, Lift] = {}
        self.out = Emitter(graph)
        self.out.written.fixed = tuple(sorted(self.fixed))
        self.blocks = Blocks(grid, self.out)
        self.products = Size.per_window(0, grid.dimensions)

    # Reading inputs.

    def shared(self, name: str | None) -> Shared:
        """Return an input that windows share."""
        value = self.values.get(name or "")
        if isinstance(value, Field | Joined):
            return value
        raise EndsSharing("takes a computed tensor where a parameter or an image is known")

    def field(self, name: str | None) -> Field:
        """Return an input as one field."""
        value = self.shared(name)
        if isinstance(value, Joined):
            raise EndsSharing("works on several flattened maps at once")
        return value

    def axis_names(self) -> tuple[str, ...]:
        """Return the names of the cells along every axis of the image."""
        return axis_names(self.grid.dimensions)

    def worded(self, why: LayoutError) -> EndsSharing:
        """Return why a change of axes ends sharing, in words for this image."""
        return EndsSharing(why.reason(self.axis_names()))

    # Moving and writing fields.

    def slide(self, node: Node, x: Field, slidings: Sequence[Sliding]) -> list[Moved]:
        """Move a kernel over a field; return the new axes and the reads of their parts.

        Every window has its own padding.
        """
        return [
            axis.slide(sliding, step)
            for axis, sliding, step in zip(x.axes, slidings, self.blocks.steps(x), strict=True)
        ]

    def slide_middle(
        self, node: Node, axis: Axis, sliding: Sliding, step: int
    ) -> tuple[Axis, Sliding]:
        """Move a kernel over the cells that windows share along an axis."""
        return axis.slide(sliding, step)

    def slide_pool(self, node: Node, x: Field, operation: Pool) -> list[Moved]:
        """Move the box of a pool over a field, as `slide` does."""
        return self.slide(node, x, operation.slidings)

    def as_far_apart(self, fields: list[Field]) -> list[Field]:
        """Return fields that are joined cell for cell, whose single cells lie equally far apart."""
        return fields

    def side_by_side(self, x: Field, over: Collection[int]) -> Field:
        """Let the single cells of windows along these axes lie side by side, to be spread."""
        return x

    def cut(self, x: Field, kept: Sequence[range]) -> Field:
        """Keep some of the cells along every axis."""
        moved = [
            self.cut_axis(axis, cells, step)
            for axis, cells, step in zip(x.axes, kept, self.blocks.steps(x), strict=True)
        ]
        return self.blocks.moved(x, moved)

    def cut_axis(self, axis: Split, kept: range, step: int) -> Moved:
        """Keep some of the cells of an axis, gathered where that is cheaper."""
        return axis.cut(kept.start, kept.stop, kept.step, step)

    def extended(
        self, node: Node, x: Field, pads: Padding, mode: PaddingMode
    ) -> tuple[Field, list[Moved]]:
        """Add cells at both ends of every axis that repeat others of the window."""
        return x, [
            axis.extended(before, after, mode, step)
            for axis, (before, after), step in zip(x.axes, pads, self.blocks.steps(x), strict=True)
        ]

    def write(self, x: Field, moved: Sequence[Moved], channels: int, write: Write) -> Field:
        """Write an operation on every part of its result; return ``(N, channels, *cells)``."""
        parts: dict[Where, str] = {}
        for where, reads in reading(moved).items():
            parts[where] = write(self.blocks.block(x, reads), reads)
        return feature_map(x, channels, tuple(m.axis for m in moved), parts)

    def each(self, node: Node, operation: Operation, *operands: Field | str | None) -> Field:
        """Write an operation that treats every cell alike, on every part of some fields.

        The fields have the same parts; the result has the geometry and layout of the first.
        """
        main = next(x for x in operands if isinstance(x, Field))

        def write(where: Where, _: str) -> str:
            inputs = [x.parts[where] if isinstance(x, Field) else x for x in operands]
            return self.out.emit(node, operation, inputs)

        return main.each(write)

    def helped(self, x: Field, operation: Operation, layout: Layout | None = None) -> Field:
        """Write an operation that the original lacks on every part of a field."""
        return x.each(lambda _, value: self.out.helper(value, operation), layout)

    def padded_pool(
        self, node: Node, x: Field, operation: Pool, block: str, reads: Sequence[PartInput]
    ) -> str:
        """Write a pool that covers padding, on a block whose windows have their own."""
        moves = [read.sliding for read in reads]
        lifted = operation.plain(moves, x.layout.channels)
        empty = float("-inf") if operation.kind == "max" else 0.0
        pads = ((0, 0), (0, 0), *(sliding.padding for sliding in moves))
        block = self.out.helper(block, Pad(pads, value=empty))
        if operation.kind != "average" or operation.divisor is not None:
            return self.out.emit(node, lifted, (block,))
        total = self.out.emit(node, replace(lifted, kind="sum"), (block,))
        counts: list[Sizes] = []
        for axis, (extent, read) in enumerate(zip(x.extent, reads, strict=True)):
            if read.cells is None:
                counts.append((operation.kernel[axis],))
                continue
            first = read.cells[0] - read.sliding.before
            outputs = read.sliding.output(len(read.cells))
            counts.append(operation.covered(axis, extent, first, read.sliding, outputs))
        return self.out.emit(node, DivideCells(tuple(counts)), (total,))

    def dense(self, node: Node) -> bool:
        """Whether a statistic of the window is kept at every cell, to gate the map around it."""
        return False

    # Where the two forms differ.

    def unlike(self, axes: Sequence[Split]) -> list[Moved]:
        """Join axes whose middles lie at different places: give every window its own cells."""
        return [axis.gathered() for axis in axes]

    def broadcast(self, node: Node, fields: Sequence[Field], main: Field) -> list[Field]:
        """Give every window its own cells along the axes where a number stands for all of them.

        Every window scales its cells by its own number (a gate), so they are no longer shared.
        """
        over = [
            index
            for index, axis in enumerate(main.axes)
            if not axis.fixed and any(x.extent[index] != axis.extent for x in fields)
        ]
        if any(x.extent[index] not in (1, main.extent[index]) for x in fields for index in over):
            raise EndsSharing("joins maps of different extent")
        free = [index for index, axis in enumerate(main.axes) if not axis.fixed]
        statistic = own_statistic(self.graph, node) if over else None
        if statistic is not None:
            self.out.ends_sharing(node, f"normalizes each window by its own {statistic}")
        elif over and over == free:
            self.out.ends_sharing(
                node, "gates the cells of a window by a number of the whole window"
            )
        elif over:
            along = " and ".join(self.axis_names()[index] for index in over)
            self.out.ends_sharing(
                node,
                f"gates the cells of a window by a number of all its {along}",
                f"its {along} are not shared",
            )
        return [self.blocks.gathered(x, over) for x in fields]

    def statistics(self, node: Node, *, placed: bool) -> None:
        """Take statistics over a window; ``placed``: with parameters for every place in it."""
        raise EndsSharing("takes statistics over the window")

    def spreads_in(self, node: Node) -> None:
        """Spread cells outside the window into it."""
        raise EndsSharing("spreads cells outside the window into it")

    def count_products(self, x: Field, products: int) -> None:
        """Add ``products`` multiply-accumulates for every computed cell of a field."""
        windows = list(zip(self.grid.window, self.grid.step, strict=True))
        for where in x.parts:
            cells = [
                axis.middle.computed(window, step)
                if part is Part.MIDDLE
                else cells_of(axis, part, step)
                for axis, part, (window, step) in zip(x.axes, where, windows, strict=False)
            ]
            beyond = prod(x.extent[self.grid.dimensions :])
            self.products = self.products.plus(Size.of_cells(products * beyond, cells))


def feature_map(
    x: Field, channels: int, axes: tuple[Split, ...], parts: Mapping[Where, str]
) -> Field:
    """Return a field ``(N, channels, *cells)``."""
    atoms = (atom for axis in x.layout.axes for atom in axis)
    batch = next((atom.size for atom in atoms if atom.kind is AtomKind.BATCH), 1)
    spatial = [cells(index, axis.extent) for index, axis in enumerate(axes)]
    return Field(Layout.feature_map(batch, features(channels), spatial), axes, parts)
