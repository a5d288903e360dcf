"""Blocks: the cells that an operation reads, put together from the parts of a field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, product
from math import prod

from fullconv.geometry.grid import BeforeAfter, Grid, Sizes
from fullconv.lift.emitter import Emitter
from fullconv.lift.field import Field, Where, places
from fullconv.lift.memory import Size, cells_of
from fullconv.lift.split import Moved, Part, PartInput, Split, on_window_grid
from fullconv.operations import (
    Assemble,
    Cells,
    Gathered,
    Keep,
    LayOut,
    Own,
    Running,
    Segments,
)


class Blocks:
    """Reading fields: blocks of cells, other margins, whole windows.

    Attributes
    ----------
    grid : Grid
        The window and the wanted step.
    out : Emitter
        Takes the operations that put blocks together.
    sizes : dict of str to Size
        Elements of written values, where they are known.
    """

    def __init__(self, grid: Grid, out: Emitter) -> None:
        self.grid = grid
        self.out = out
        self.sizes: dict[str, Size] = {}

    def steps(self, x: Field) -> Sizes:
        """Return the pixels between windows along every axis of a field."""
        beyond = len(x.axes) - self.grid.dimensions
        return (*self.grid.step, *(1,) * beyond)

    def block(self, x: Field, reads: Sequence[PartInput]) -> str:
        """Return one stored map that holds the cells of a read along every axis.

        Along an axis where the read names its cells, the map holds these for every window; along
        the others it is the shared map itself.
        """
        steps = self.steps(x)
        taken = [_segments(*each) for each in zip(x.axes, reads, steps, strict=True)]
        values = [x.parts[where] for where in product(*(parts for parts, _ in taken))]
        segments = tuple(along for _, along in taken)
        skips = [_skipped(along) for along in segments]
        if None not in skips:
            before, after = zip(*(skip for skip in skips if skip is not None), strict=True)
            if not any((*before, *after)):
                return values[0]
            return self.out.helper(values[0], Cells(before, after, (1,) * len(skips)))
        operation = Assemble(x.layout.channels, segments)
        result = self.out.helper(values, operation, image=True)
        cells = [
            cells_of(axis, Part.MIDDLE, step) if read.cells is None else (len(read.cells), 0)
            for axis, read, step in zip(x.axes, reads, self.grid.step, strict=False)
        ]
        beyond = prod(len(read.cells or ()) for read in reads[self.grid.dimensions :])
        self.sizes[result] = Size.of_cells(x.layout.channels * beyond, cells)
        return result

    def moved(self, x: Field, moved: Sequence[Moved]) -> Field:
        """Return a field of the cells that the reads take, every ``stride``-th of them."""
        parts = {}
        for where, reads in reading(moved).items():
            parts[where] = self.block(x, reads)
            strides = tuple(read.sliding.stride for read in reads)
            if any(stride != 1 for stride in strides):
                none = (0,) * len(strides)
                parts[where] = self.out.helper(parts[where], Cells(none, none, strides))
        return Field(x.layout, tuple(m.axis for m in moved), parts)

    def gathered(self, x: Field, over: Collection[int] | None = None) -> Field:
        """Give every window all its cells along these axes, by default along all."""
        return self.moved(
            x,
            [
                axis.gathered() if over is None or index in over else axis.as_it_is()
                for index, axis in enumerate(x.axes)
            ],
        )

    def lay_out(
        self, value: str, x: Field, channels: int, where: Where, over: Collection[int]
    ) -> tuple[str, Where]:
        """Lay windows out on the grid, for a part with one private cell along these axes."""
        private = tuple(part is not Part.MIDDLE for part in where)
        laid = tuple(
            index in over and alone and not axis.fixed
            for index, (alone, axis) in enumerate(zip(private, x.axes, strict=True))
        )
        if not any(laid):
            return value, where
        there = tuple(Part.MIDDLE if out else part for out, part in zip(laid, where, strict=True))
        return self.out.helper(value, LayOut(channels, laid, private), image=True), there

    def on_grid(self, x: Field) -> Field:
        """Return a field of one cell per window, laid out on the window grid."""
        ((where, value),) = x.parts.items()
        over = range(len(x.axes))
        value, there = self.lay_out(value, x, x.layout.channels, where, over)
        axes = tuple(
            Split(0, on_window_grid(window, step)) if axis.private and not axis.fixed else axis
            for axis, window, step in zip(
                x.axes, (*self.grid.window, *(1,) * len(x.axes)), self.steps(x), strict=False
            )
        )
        return Field(x.layout, axes, {there: value})

    def keep(self, x: Field, over: Collection[int] | None = None) -> Field:
        """Cut the shared cells along these axes to those that whole windows own."""
        spans: list[tuple[int, int] | None] = []
        axes = []
        for index, (axis, step) in enumerate(zip(x.axes, self.steps(x), strict=True)):
            wanted = (over is None or index in over) and not axis.private
            spans.append(axis.middle.needed(step) if wanted else None)
            kept = axis.middle.cut_to_windows(step) if wanted else axis.middle
            axes.append(replace(axis, middle=kept))

        def cut(where: Where, value: str) -> str:
            kept = tuple(
                span if part is Part.MIDDLE else None
                for span, part in zip(spans, where, strict=True)
            )
            return self.out.helper(value, Keep(kept), image=True) if any(kept) else value

        return replace(x.each(cut), axes=tuple(axes))


def reading(moved: Sequence[Moved]) -> Mapping[Where, tuple[PartInput, ...]]:
    """Return the reads of each part of a result along every axis, the shared part first."""
    return {
        where: tuple(m.reads[part] for m, part in zip(moved, where, strict=True))
        for where in places(m.axis for m in moved)
    }


def _segments(axis: Split, read: PartInput, window_step: int) -> tuple[list[Part], Segments]:
    """Return the parts that a read takes cells of, and the segment of each."""
    if read.cells is None:
        return [Part.MIDDLE], (Running(read.skip),)
    part_of = {cell: part for part, cells in axis.parts.items() for cell in cells}
    parts: list[Part] = []
    segments: list[Own | Gathered] = []
    for part, group in groupby(read.cells, part_of.__getitem__):
        cells = axis.parts[part]
        local = tuple(cell - cells.start for cell in group)
        parts.append(part)
        if part is Part.MIDDLE:
            dilation = axis.middle.dilation
            stored = tuple(cell * dilation for cell in local)
            segments.append(Gathered(stored, axis.middle.stride(window_step)))
        else:
            segments.append(Own(local, len(cells)))
    return parts, tuple(segments)


def _skipped(segments: Segments) -> BeforeAfter | None:
    """Return the cells left out at both ends, where a single part is read in a row; else None."""
    if len(segments) != 1:
        return None
    (segment,) = segments
    if isinstance(segment, Running):
        return segment.skip
    if isinstance(segment, Own):
        first, last = segment.cells[0], segment.cells[-1]
        if segment.cells == tuple(range(first, last + 1)):
            return first, segment.of - 1 - last
    return None
