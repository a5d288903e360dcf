"""How blocks of cells are put together from the parts of a map, and parts laid out."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.values import Values, writes
from fullconv.graph import Node
from fullconv.operations import Assemble, Gathered, LayOut, Own, Running

Segment = Own | Gathered | Running


class Blocks(Values):
    """Slices of shared parts, and the cells of every window gathered from them."""

    @writes(Assemble)
    def write_assemble(self, operation: Assemble, node: Node) -> ir.Value:
        parts, bands = iter(node.inputs), []
        for row in operation.rows:
            line = []
            for column in operation.columns:
                x = self._value(next(parts))
                assert x is not None
                line.append(self._part(x, row, column, operation.channels))
            bands.append(self._emit("Concat", line, {"axis": 3}) if len(line) > 1 else line[0])
        return self._emit("Concat", bands, {"axis": 2}) if len(bands) > 1 else bands[0]

    def _part(self, x: ir.Value, row: Segment, column: Segment, channels: int) -> ir.Value:
        """Take what a block takes of one part; what is gathered comes first, and is small."""
        if isinstance(column, Gathered) and not isinstance(row, Gathered):
            x = self._take(x, 1, column, channels)
            return self._take(x, 0, row, channels)
        x = self._take(x, 0, row, channels, other=isinstance(column, Own))
        return self._take(x, 1, column, channels)

    def _take(
        self,
        x: ir.Value,
        axis: int,
        segment: Segment,
        channels: int,
        *,
        other: bool = False,
    ) -> ir.Value:
        """Take cells along one axis; ``other``: the windows of the columns are entries already.

        The same cells of the same map are taken once: blocks for neighbouring parts share them.
        """
        key = x, axis, segment, other
        if key not in self._taken:
            if isinstance(segment, Gathered):
                self._taken[key] = self._gather(x, axis, segment, channels, other)
            else:
                self._taken[key] = self._slice(x, axis, segment)
        return self._taken[key]

    def _slice(self, x: ir.Value, axis: int, segment: Own | Running) -> ir.Value:
        place = self._numbers(2 + axis)
        if isinstance(segment, Running):
            before, after = segment.skip
            if not before and not after:
                return x
            end = self._numbers(-after or np.iinfo(np.int64).max)
            return self._emit("Slice", [x, self._numbers(before), end, place])
        first, last = segment.cells[0], segment.cells[-1]
        if segment.cells != tuple(range(first, last + 1)):
            return self._emit("Gather", [x, self._numbers(*segment.cells)], {"axis": 2 + axis})
        if len(segment.cells) == segment.of:
            return x
        return self._emit("Slice", [x, self._numbers(first), self._numbers(last + 1), place])

    def _gather(
        self, x: ir.Value, axis: int, segment: Gathered, channels: int, other: bool
    ) -> ir.Value:
        """Gather cells for every window, and make the windows entries of the batch."""
        index = self._window_index(axis, segment)
        cells = len(segment.cells)
        if axis == 1:
            # (B, C, Y, X) -> (B, C, Y, columns, ax) -> (B, columns, C, Y, ax)
            x_ = self._emit("Gather", [x, index], {"axis": 3})
            x_ = self._emit("Transpose", [x_], {"perm": (0, 3, 1, 2, 4)})
            rows = self._emit("Shape", [x], {"start": 2, "end": 3})
            sizes = [self._numbers(-1, channels), rows, self._numbers(cells)]
        elif not other:
            # (N, C, Y, X) -> (N, C, rows, ay, X) -> (N, rows, C, ay, X)
            x_ = self._emit("Gather", [x, index], {"axis": 2})
            x_ = self._emit("Transpose", [x_], {"perm": (0, 2, 1, 3, 4)})
            columns = self._emit("Shape", [x], {"start": 3, "end": 4})
            sizes = [self._numbers(-1, channels, cells), columns]
        else:
            # (N * columns, C, Y, X) -> (N, columns, C, rows, ay, X) -> (N, rows, columns, C, ay, X)
            x_ = self._emit("Reshape", [x, self._unfolded(x, (False, True))])
            x_ = self._emit("Gather", [x_, index], {"axis": 4})
            x_ = self._emit("Squeeze", [x_, self._numbers(1)])
            x_ = self._emit("Transpose", [x_], {"perm": (0, 3, 1, 2, 4, 5)})
            columns = self._emit("Shape", [x], {"start": 3, "end": 4})
            sizes = [self._numbers(-1, channels, cells), columns]
        return self._emit("Reshape", [x_, self._emit("Concat", sizes, {"axis": 0})])

    def _unfolded(self, x: ir.Value, private: tuple[bool, bool]) -> ir.Value:
        """Return the shape ``(N, rows or 1, columns or 1, C, Y, X)`` of a stored map."""
        images = self._emit("Shape", [self.values[self.graph.image]], {"start": 0, "end": 1})
        counts = [
            count if one else self._numbers(1)
            for count, one in zip(self._count(), private, strict=True)
        ]
        rest = self._emit("Shape", [x], {"start": 1, "end": 4})
        return self._emit("Concat", [images, *counts, rest], {"axis": 0})

    def _window_index(self, axis: int, segment: Gathered) -> ir.Value:
        """Return ``(windows, cells)``: the stored cells of each window along one axis."""
        key = axis, segment
        if key not in self._taken:
            scalars = [self._integer(n) for n in (0, 1)]
            count = self._emit("Squeeze", [self._count()[axis], self._numbers(0)])
            starts = self._emit("Range", [scalars[0], count, scalars[1]])
            starts = self._emit("Mul", [starts, self._numbers(segment.stride)])
            column = self._emit("Unsqueeze", [starts, self._numbers(1)])
            self._taken[key] = self._emit("Add", [column, self._numbers(*segment.cells)])
        return self._taken[key]

    @writes(LayOut)
    def write_lay_out(self, operation: LayOut, node: Node) -> ir.Value:
        x = self._first(node)
        assert x is not None
        wide = self._emit("Reshape", [x, self._unfolded(x, operation.private)])
        order = list(range(6))
        for axis in (1, 2):
            if operation.axes[axis - 1]:
                order[axis], order[3 + axis] = order[3 + axis], order[axis]
        turned = self._emit("Transpose", [wide], {"perm": order})
        rest = self._emit("Shape", [turned], {"start": 3, "end": 6})
        shape = self._emit("Concat", [self._numbers(-1), rest], {"axis": 0})
        return self._emit("Reshape", [turned, shape])
