"""Blocks: what an operation reads, put together from the parts of a field."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from fullconv.geometry import Axis, Grid
from fullconv.lift.emitter import Emitter
from fullconv.lift.field import Field, Where, places
from fullconv.lift.memory import cells_of, size_of_cells
from fullconv.lift.split import Moved, Part, Read, Split, on_window_grid
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


class Blocks(Emitter):
    """Reading fields: blocks of cells, other margins, whole windows.

    Attributes
    ----------
    grid : Grid
        The window and the wanted step.
    """

    grid: Grid

    def block(self, x: Field, rows: Read, columns: Read) -> str:
        """Return one stored map that holds the cells of a read, row by row and column by column.

        Along an axis whose cells are named it holds them for every window; along the other it is
        the shared map itself.
        """
        row_parts, row_segments = _segments(x.rows, rows, self.grid.step[0])
        column_parts, column_segments = _segments(x.columns, columns, self.grid.step[1])
        values = [x.parts[r, c] for r in row_parts for c in column_parts]
        single = _single(row_segments, column_segments)
        if single is not None:
            (top, bottom), (left, right) = single
            if not any((top, bottom, left, right)):
                return values[0]
            return self.helper(values[0], Cells((top, left), (bottom, right), (1, 1)))
        operation = Assemble(x.layout.channels, row_segments, column_segments)
        result = self.helper(values, operation, image=True)
        rows_, columns_ = (
            cells_of(axis, Part.MIDDLE, step) if read.cells is None else (len(read.cells), 0)
            for axis, read, step in zip(
                (x.rows, x.columns), (rows, columns), self.grid.step, strict=True
            )
        )
        self.sizes[result] = size_of_cells(x.layout.channels, rows_, columns_)
        return result

    def moved(self, x: Field, rows: Moved, columns: Moved) -> Field:
        """Return a field whose parts hold what the reads take, every ``stride``-th of it."""
        parts = {}
        for where in places(rows.axis, columns.axis):
            y, x_ = rows.reads[where[0]], columns.reads[where[1]]
            parts[where] = self.block(x, y, x_)
            strides = y.sliding.stride, x_.sliding.stride
            if strides != (1, 1):
                parts[where] = self.helper(parts[where], Cells((0, 0), (0, 0), strides))
        return Field(x.layout, rows.axis, columns.axis, parts)

    def gathered(self, x: Field, rows: bool = True, columns: bool = True) -> Field:
        """Give every window all its cells along these axes."""

        return self.moved(
            x,
            x.rows.gathered() if rows else x.rows.as_it_is(),
            x.columns.gathered() if columns else x.columns.as_it_is(),
        )

    def lay_out(
        self, value: str, channels: int, where: Where, axes: tuple[bool, bool]
    ) -> tuple[str, Where]:
        """Lay the windows of a part with one private cell along these axes out on the grid."""
        private = where[0] is not Part.MIDDLE, where[1] is not Part.MIDDLE
        laid = axes[0] and private[0], axes[1] and private[1]
        if not any(laid):
            return value, where
        there = (Part.MIDDLE if laid[0] else where[0], Part.MIDDLE if laid[1] else where[1])
        return self.helper(value, LayOut(channels, laid, private), image=True), there

    def on_grid(self, x: Field) -> Field:
        """Return a field of one cell per window with all of them on the window grid."""
        ((where, value),) = x.parts.items()
        value, there = self.lay_out(value, x.layout.channels, where, (True, True))
        rows, columns = (
            Split(0, on_window_grid(window, step)) if axis.private else axis
            for axis, window, step in zip(
                (x.rows, x.columns), self.grid.window, self.grid.step, strict=True
            )
        )
        return Field(x.layout, rows, columns, {there: value})

    def keep(self, x: Field, rows: bool = True, columns: bool = True) -> Field:
        """Cut the shared cells along these axes to those that whole windows own."""
        (y, new_rows), (x_, new_columns) = (
            _needed(axis, step) if wanted else (None, axis)
            for axis, step, wanted in zip(
                (x.rows, x.columns), self.grid.step, (rows, columns), strict=True
            )
        )

        def cut(where: Where, value: str) -> str:
            spans = [
                span if part is Part.MIDDLE else None
                for span, part in zip((y, x_), where, strict=True)
            ]
            if spans == [None, None]:
                return value
            return self.helper(value, Keep(spans[0], spans[1]), image=True)

        return replace(x.each(cut), rows=new_rows, columns=new_columns)


def _segments(axis: Split, read: Read, window_step: int) -> tuple[list[Part], Segments]:
    """Return the parts that a read takes cells of, and what of each."""
    if read.cells is None:
        return [Part.MIDDLE], (Running(read.skip),)
    held = {cell: part for part, cells in axis.parts.items() for cell in cells}
    parts: list[Part] = []
    segments: list[Own | Gathered] = []
    for part, group in groupby(read.cells, held.__getitem__):
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


def _single(rows: Segments, columns: Segments) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return what a block leaves out of a single part, or None where there is more to do."""
    left_out = []
    for segments in (rows, columns):
        if len(segments) != 1:
            return None
        (segment,) = segments
        if isinstance(segment, Running):
            left_out.append(segment.skip)
        elif isinstance(segment, Own) and segment.cells == tuple(
            range(segment.cells[0], segment.cells[-1] + 1)
        ):
            left_out.append((segment.cells[0], segment.of - 1 - segment.cells[-1]))
        else:
            return None
    return left_out[0], left_out[1]


def _needed(axis: Split, window_step: int) -> tuple[tuple[int, int] | None, Split]:
    if axis.private:
        return None, axis
    middle: Axis = axis.middle
    return middle.needed(window_step), replace(axis, middle=middle.cut_to_windows(window_step))
