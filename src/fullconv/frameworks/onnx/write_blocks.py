"""How blocks of cells are put together from the parts of a map, and parts laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

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
        pieces = []
        for name, segments in zip(node.inputs, product(*operation.segments), strict=False):
            x = self._value(name)
            assert x is not None
            pieces.append(self._part(x, segments, operation.channels))
        for axis in reversed(range(len(operation.segments))):
            many = len(operation.segments[axis])
            if many > 1:
                pieces = [
                    self._emit("Concat", pieces[first : first + many], {"axis": 2 + axis})
                    for first in range(0, len(pieces), many)
                ]
        (block,) = pieces
        return block

    def _part(self, x: ir.Value, segments: Sequence[Segment], channels: int) -> ir.Value:
        """Take what a block takes of one part; what is gathered comes first, and is small."""
        axes = len(segments)
        private = {axis for axis, segment in enumerate(segments) if isinstance(segment, Own)}
        for axis, segment in enumerate(segments):
            if isinstance(segment, Gathered):
                inside = frozenset(private if any(other > axis for other in private) else ())
                x = self._once((x, axis, segment, inside), self._gather, axes, channels)
                private.add(axis)
        for axis, segment in enumerate(segments):
            if not isinstance(segment, Gathered):
                x = self._once((x, axis, segment), self._slice)
        return x

    def _once(
        self, what: tuple[Any, ...], take: Callable[..., ir.Value], *settings: Any
    ) -> ir.Value:
        """Take the same cells of the same map once: blocks for neighbouring parts share them."""
        if what not in self._taken:
            self._taken[what] = take(*what, *settings)
        return self._taken[what]

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
        self,
        x: ir.Value,
        axis: int,
        segment: Gathered,
        inside: frozenset[int],
        axes: int,
        channels: int,
    ) -> ir.Value:
        """Gather cells for every window, and make the windows entries of the batch.

        Entries stand in the order of the axes. Where windows along a later axis are entries
        already, the new ones go ``inside`` the entries along these axes.
        """
        index = self._window_index(axis, segment)
        # (B, C, *cells) or, with entries to go before, (N, *windows, C, *cells)
        x_, first = x, 1
        if inside:
            first = 1 + axes
            x_ = self._emit("Reshape", [x, self._unfolded(x, inside, axes)])
        place = first + 1 + axis
        x_ = self._emit("Gather", [x_, index], {"axis": place})
        order = list(range(first + 2 + axes))
        order.remove(place)
        if first > 1:
            x_ = self._emit("Squeeze", [x_, self._numbers(1 + axis)])
            order = [n if n < 1 + axis else n - 1 for n in order if n != 1 + axis]
            order.insert(1 + axis, place - 1)
        else:
            order.insert(1, place)
        x_ = self._emit("Transpose", [x_], {"perm": tuple(order)})
        sizes: list[ir.Value] = []
        numbers = [-1, channels]
        for other in range(axes):
            if other == axis:
                numbers.append(len(segment.cells))
                continue
            if numbers:
                sizes.append(self._numbers(*numbers))
                numbers = []
            sizes.append(self._emit("Shape", [x], {"start": 2 + other, "end": 3 + other}))
        if numbers:
            sizes.append(self._numbers(*numbers))
        return self._emit("Reshape", [x_, self._emit("Concat", sizes, {"axis": 0})])

    def _unfolded(self, x: ir.Value, private: frozenset[int], axes: int) -> ir.Value:
        """Return the shape ``(N, windows or 1 along every axis, C, *cells)`` of a stored map."""
        images = self._emit("Shape", [self.values[self.graph.image]], {"start": 0, "end": 1})
        counts = [
            self._count_along(axis) if axis in private else self._numbers(1) for axis in range(axes)
        ]
        rest = self._emit("Shape", [x], {"start": 1, "end": 2 + axes})
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
        axes = len(operation.axes)
        private = frozenset(axis for axis, alone in enumerate(operation.private) if alone)
        wide = self._emit("Reshape", [x, self._unfolded(x, private, axes)])
        order = list(range(2 + 2 * axes))
        for axis, laid in enumerate(operation.axes):
            if laid:
                cell = 2 + axes + axis
                order[1 + axis], order[cell] = order[cell], order[1 + axis]
        turned = self._emit("Transpose", [wide], {"perm": tuple(order)})
        rest = self._emit("Shape", [turned], {"start": 1 + axes, "end": 2 + 2 * axes})
        shape = self._emit("Concat", [self._numbers(-1), rest], {"axis": 0})
        return self._emit("Reshape", [turned, shape])
