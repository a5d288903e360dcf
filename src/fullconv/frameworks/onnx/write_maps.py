"""How cells, channels and windows of stored maps are taken, joined and folded."""

from __future__ import annotations

import functools

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.values import Values, writes
from fullconv.graph import Node
from fullconv.operations import (
    AddAxis,
    Cells,
    Combine,
    DivideCells,
    FoldAxes,
    FoldWindows,
    ForEachWindow,
    Interleave,
    Keep,
    Regroup,
    SplitChannels,
    TakeChannels,
)


class Maps(Values):
    """One method per operation that lifting adds, but for blocks and sliding windows."""

    @writes(Combine)
    def write_combine(self, operation: Combine, node: Node) -> ir.Value:
        return self._emit("Add" if operation.kind == "sum" else "Max", self._inputs(node))

    @writes(DivideCells)
    def write_divide_cells(self, operation: DivideCells, node: Node) -> ir.Value:
        first, *others = (np.array(numbers, self._dtype()) for numbers in operation.axes)
        numbers = functools.reduce(np.multiply.outer, others, first)
        divisor = self._initializer(self._unique("fullconv/cells"), numbers)
        return self._emit("Div", [self._first(node), divisor])

    @writes(TakeChannels)
    def write_take_channels(self, operation: TakeChannels, node: Node) -> ir.Value:
        index = self._numbers(*operation.indices)
        return self._emit("Gather", [self._first(node), index], {"axis": 1})

    @writes(Cells)
    def write_cells(self, operation: Cells, node: Node) -> ir.Value:
        end = self._numbers(*(-n or np.iinfo(np.int64).max for n in operation.after))
        inputs = [
            self._first(node),
            self._numbers(*operation.before),
            end,
            self._numbers(*range(2, 2 + len(operation.stride))),
            self._numbers(*operation.stride),
        ]
        return self._emit("Slice", inputs)

    @writes(Keep)
    def write_keep(self, operation: Keep, node: Node) -> ir.Value:
        kept = [(i, k) for i, k in enumerate(operation.axes) if k is not None]
        ends = [self._needed(i, *k) for i, k in kept]
        end = self._emit("Concat", ends, {"axis": 0}) if len(ends) > 1 else ends[0]
        starts, axes = self._numbers(*(0 for _ in kept)), self._numbers(*(2 + i for i, _ in kept))
        return self._emit("Slice", [self._first(node), starts, end, axes])

    @writes(Regroup)
    def write_regroup(self, operation: Regroup, node: Node) -> ir.Value:
        x = self._emit("Reshape", [self._first(node), self._numbers(*operation.split)])
        x = self._emit("Transpose", [x], {"perm": operation.order})
        return self._emit("Reshape", [x, self._numbers(*operation.shape)])

    @writes(AddAxis)
    def write_add_axis(self, operation: AddAxis, node: Node) -> ir.Value:
        x, axes = self._first(node), self.axes[node.outputs[0]] - 1
        if operation.extent == 1:
            return self._emit("Unsqueeze", [x, self._numbers(2 + axes)])
        wide = self._split(x, (operation.channels, operation.extent), axes)
        order = (0, 1, *range(3, 3 + axes), 2)
        return self._emit("Transpose", [wide], {"perm": order})

    @writes(FoldAxes)
    def write_fold_axes(self, operation: FoldAxes, node: Node) -> ir.Value:
        x, first = self._first(node), 2 + operation.dimensions
        more = range(first, 2 + self.axes[node.inputs[0] or ""])
        turned = self._emit("Transpose", [x], {"perm": (0, 1, *more, *range(2, first))})
        images = self._emit("Shape", [x], {"start": 0, "end": 1})
        cells = self._emit("Shape", [x], {"start": 2, "end": first})
        sizes = [images, self._numbers(operation.channels), cells]
        return self._emit("Reshape", [turned, self._emit("Concat", sizes, {"axis": 0})])

    @writes(Interleave)
    def write_interleave(self, operation: Interleave, node: Node) -> ir.Value:
        x, axes = self._first(node), self.axes[node.outputs[0]]
        wide = self._split(x, (operation.channels, operation.factor), axes)
        place = 3 + operation.axis
        order = (0, 1, *range(3, place + 1), 2, *range(place + 1, 3 + axes))
        turned = self._emit("Transpose", [wide], {"perm": order})
        # The factor stands behind its axis; an unknown size there takes both.
        sizes = [self._emit("Shape", [x], {"start": 0, "end": 1})]
        sizes.append(self._numbers(operation.channels))
        for axis in range(axes):
            size = self._emit("Shape", [x], {"start": 2 + axis, "end": 3 + axis})
            if axis == operation.axis:
                size = self._emit("Mul", [size, self._numbers(operation.factor)])
            sizes.append(size)
        return self._emit("Reshape", [turned, self._emit("Concat", sizes, {"axis": 0})])

    def _split(self, x: ir.Value | None, channels: tuple[int, int], axes: int) -> ir.Value:
        """``(N, a * b, *cells)`` to ``(N, a, b, *cells)``."""
        images = self._emit("Shape", [x], {"start": 0, "end": 1})
        cells = self._emit("Shape", [x], {"start": 2, "end": 2 + axes})
        shape = self._emit("Concat", [images, self._numbers(*channels), cells], {"axis": 0})
        return self._emit("Reshape", [x, shape])

    @writes(ForEachWindow)
    def write_for_each_window(self, operation: ForEachWindow, node: Node) -> ir.Value:
        count = self._emit("Shape", [self.values[self.graph.image]], {"start": 0, "end": 1})
        for windows in self._count():
            count = self._emit("Mul", [count, windows])
        name = node.inputs[0] or ""
        held = self.graph.constants.get(name)
        shape = self.source.graph.shapes[name] if held is None else held.shape
        sizes = self._emit("Concat", [count, self._numbers(*shape)], {"axis": 0})
        return self._emit("Expand", [self._first(node), sizes])

    @writes(FoldWindows)
    def write_fold_windows(self, operation: FoldWindows, node: Node) -> ir.Value:
        images = self._emit("Shape", [self.values[self.graph.image]], {"start": 0, "end": 1})
        sizes = [images, *self._count()]
        if operation.shape:
            sizes.append(self._numbers(*operation.shape))
        shape = self._emit("Concat", sizes, {"axis": 0})
        x = self._emit("Reshape", [self._first(node), shape])
        first = 1 + self.grid.dimensions
        order = (0, *range(first, first + len(operation.shape)), *range(1, first))
        return self._emit("Transpose", [x], {"perm": order})

    @writes(SplitChannels)
    def write_split_channels(self, operation: SplitChannels, node: Node) -> ir.Value:
        x = self._first(node)
        if not operation.shape:
            return self._emit("Squeeze", [x, self._numbers(1)])
        images = self._emit("Shape", [x], {"start": 0, "end": 1})
        cells = self._emit("Shape", [x], {"start": 2, "end": 2 + self.grid.dimensions})
        sizes = [images, self._numbers(*operation.shape), cells]
        return self._emit("Reshape", [x, self._emit("Concat", sizes, {"axis": 0})])
