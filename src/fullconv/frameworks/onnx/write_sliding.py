"""How totals and statistics of a sliding window are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from fullconv.doubling import around, doublings
from fullconv.frameworks.onnx.values import Values, writes
from fullconv.geometry import Pair, Sizes
from fullconv.graph import Node
from fullconv.operations import Power, SlidingNormalization, SlidingTotal, Stretch


class Statistics(Values):
    """Sums by doubling; see Note [Totals of a sliding window]."""

    @writes(Power)
    def write_power(self, operation: Power, node: Node) -> ir.Value:
        x = self._first(node)
        return self._emit("Mul", [x, x]) if operation.kind == "square" else self._emit("Sqrt", [x])

    @writes(SlidingTotal)
    def write_sliding_total(self, operation: SlidingTotal, node: Node) -> ir.Value:
        merge = "Add" if operation.kind == "sum" else "Max"
        x = self._first(node)
        assert x is not None
        for axis, (cells, distance) in enumerate(
            zip(operation.kernel, operation.dilation, strict=True)
        ):
            total = x
            for held, more in doublings(cells):
                other = total if more == held else x
                pair = self._neighbours(total, other, axis, distance * held, distance * more)
                total = self._emit(merge, pair)
            x = total
        return x

    def _neighbours(
        self, first: ir.Value, second: ir.Value, axis: int, held: int, more: int
    ) -> tuple[ir.Value, ir.Value]:
        """Pair totals over ``held`` cells with those over ``more`` that begin ``held`` on."""
        place, end = self._numbers(2 + axis), self._numbers(np.iinfo(np.int64).max)
        return (
            self._emit("Slice", [first, self._numbers(0), self._numbers(-more), place]),
            self._emit("Slice", [second, self._numbers(held), end, place]),
        )

    @writes(SlidingNormalization)
    def write_sliding_normalization(self, operation: SlidingNormalization, node: Node) -> ir.Value:
        x, scale, bias = (*self._inputs(node), None, None)[:3]
        assert x is not None
        # (N, groups, channels of each, *cells)
        shape, axes = self._emit("Shape", [x]), len(operation.kernel)
        cuts = (0, 1), (2, 2 + axes)
        ends = [self._emit("Slice", [shape, *map(self._numbers, cut)]) for cut in cuts]
        sizes = [ends[0], self._numbers(operation.groups, -1), ends[1]]
        wide = self._emit("Reshape", [x, self._emit("Concat", sizes, {"axis": 0})])
        mean, variance = self._moments(wide, operation.kernel, operation.dilation)
        epsilon = self._scalar(operation.epsilon)
        spread = self._emit("Sqrt", [self._emit("Add", [variance, epsilon])])
        wide = self._emit("Div", [self._emit("Sub", [wide, mean]), spread])
        for kind, parameter in (("Mul", scale), ("Add", bias)):
            if parameter is not None:
                each = self._numbers(operation.groups, -1, *(1,) * axes)
                wide = self._emit(kind, [wide, self._emit("Reshape", [parameter, each])])
        return self._emit("Reshape", [wide, shape], name=node.name)

    def _moments(self, wide: ir.Value, kernel: Sizes, dilation: Sizes) -> list[ir.Value]:
        """Return mean and variance around every cell, ``(N, groups, 1, *cells)`` each."""
        mean = self._mean(wide, 2)
        apart = self._emit("Sub", [wide, mean])
        variance = self._mean(self._emit("Mul", [apart, apart]), 2)
        for axis, (cells, distance) in enumerate(zip(kernel, dilation, strict=True)):
            single = total = (mean, variance)
            for held, more in doublings(cells):
                other = total if more == held else single
                means, variances = (
                    self._neighbours(a, b, 1 + axis, distance * held, distance * more)
                    for a, b in zip(total, other, strict=True)
                )
                total = self._merged(means, variances, more / (held + more))
            mean, variance = total
        border = [around(*axis) for axis in zip(kernel, dilation, strict=True)]
        return [self._stretched(x, 3, border, dilation) for x in (mean, variance)]

    def _merged(
        self, means: Sequence[ir.Value], variances: Sequence[ir.Value], share: float
    ) -> tuple[ir.Value, ir.Value]:
        """Merge the means and variances of two sets, of which the second holds this share."""

        def between(a: ir.Value, difference: ir.Value) -> ir.Value:
            return self._emit("Add", [a, self._emit("Mul", [difference, self._scalar(share)])])

        apart = self._emit("Sub", [means[1], means[0]])
        variance = between(variances[0], self._emit("Sub", [variances[1], variances[0]]))
        square = self._emit("Mul", [apart, apart])
        scaled = self._emit("Mul", [square, self._scalar(share * (1 - share))])
        return between(means[0], apart), self._emit("Add", [variance, scaled])

    def _mean(self, x: ir.Value, axis: int) -> ir.Value:
        if self.opset >= 18:
            return self._emit("ReduceMean", [x, self._numbers(axis)])
        return self._emit("ReduceMean", [x], {"axes": [axis]})

    @writes(Stretch)
    def write_stretch(self, operation: Stretch, node: Node) -> ir.Value:
        x = self._first(node)
        assert x is not None
        return self._stretched(x, 2, operation.padding, operation.dilation)

    def _stretched(
        self, x: ir.Value, first: int, padding: Sequence[Pair], dilation: Sizes
    ) -> ir.Value:
        """Repeat the border cells of the axes from ``first`` on; see `Stretch`."""
        if all(distance == 1 for distance in dilation):
            none = [0] * first
            before, after = zip(*padding, strict=True)
            pads = self._numbers(*none, *before, *none, *after)
            return self._emit("Pad", [x, pads], {"mode": "edge"})
        zero, one = self._integer(0), self._integer(1)
        for axis, ((ahead, behind), distance) in enumerate(zip(padding, dilation, strict=True)):
            place = {"start": first + axis, "end": first + axis + 1}
            length = self._emit("Squeeze", [self._emit("Shape", [x], place), self._numbers(0)])
            end = self._emit("Add", [length, self._integer(behind)])
            at = self._emit("Range", [self._integer(-ahead), end, one])
            last, each = self._emit("Sub", [length, one]), self._integer(distance)
            low = self._emit("Mod", [at, each])
            at = self._emit("Where", [self._emit("Less", [at, zero]), low, at])
            beyond = self._emit("Mod", [self._emit("Sub", [last, at]), each])
            high = self._emit("Sub", [last, beyond])
            at = self._emit("Where", [self._emit("Greater", [at, last]), high, at])
            at = self._emit("Min", [self._emit("Max", [at, zero]), last])
            x = self._emit("Gather", [x, at], {"axis": first + axis})
        return x
