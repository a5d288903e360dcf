"""Writers of totals and statistics of a sliding window."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.writing import Writing, writes
from fullconv.geometry.doubling import around, doublings
from fullconv.geometry.grid import BeforeAfter, Sizes
from fullconv.graph.graph import Node
from fullconv.operations import Power, SlidingNormalization, SlidingSpread, SlidingTotal, Stretch


@writes(Power)
def write_power(writing: Writing, node: Node, operation: Power) -> ir.Value:
    """Write a square or a square root."""
    x = writing.first(node)
    return writing.emit("Mul", [x, x]) if operation.kind == "square" else writing.emit("Sqrt", [x])


@writes(SlidingTotal)
def write_sliding_total(writing: Writing, node: Node, operation: SlidingTotal) -> ir.Value:
    """Write a sum or maximum over every box of cells."""
    merge = "Add" if operation.kind == "sum" else "Max"
    x = writing.first(node)
    assert x is not None
    for axis, (cells, distance) in enumerate(
        zip(operation.kernel, operation.dilation, strict=True)
    ):
        total = x
        for covered, more in doublings(cells):
            other = total if more == covered else x
            pair = _neighbours(writing, total, other, axis, distance * covered, distance * more)
            total = writing.emit(merge, pair)
        x = total
    return x


def _neighbours(
    writing: Writing, first: ir.Value, second: ir.Value, axis: int, covered: int, more: int
) -> tuple[ir.Value, ir.Value]:
    """Pair totals over ``covered`` cells with the totals over ``more`` cells that follow."""
    place, end = writing.numbers(2 + axis), writing.numbers(np.iinfo(np.int64).max)
    return (
        writing.emit("Slice", [first, writing.numbers(0), writing.numbers(-more), place]),
        writing.emit("Slice", [second, writing.numbers(covered), end, place]),
    )


@writes(SlidingNormalization)
def write_sliding_normalization(
    writing: Writing, node: Node, operation: SlidingNormalization
) -> ir.Value:
    """Write normalization by the statistics around every cell."""
    x, scale, bias = (*writing.inputs(node), None, None)[:3]
    assert x is not None
    # (N, groups, channels of each, *cells)
    shape, axes = writing.emit("Shape", [x]), len(operation.kernel)
    cuts = (0, 1), (2, 2 + axes)
    ends = [writing.emit("Slice", [shape, *map(writing.numbers, cut)]) for cut in cuts]
    sizes = [ends[0], writing.numbers(operation.groups, -1), ends[1]]
    wide = writing.emit("Reshape", [x, writing.emit("Concat", sizes, {"axis": 0})])
    moments = _moments(writing, wide, operation.kernel, operation.dilation)
    border = [around(*axis) for axis in zip(operation.kernel, operation.dilation, strict=True)]
    mean, variance = (_stretched(writing, m, 3, border, operation.dilation) for m in moments)
    epsilon = writing.number(operation.epsilon)
    spread = writing.emit("Sqrt", [writing.emit("Add", [variance, epsilon])])
    wide = writing.emit("Div", [writing.emit("Sub", [wide, mean]), spread])
    for kind, parameter in (("Mul", scale), ("Add", bias)):
        if parameter is not None:
            each = writing.numbers(operation.groups, -1, *(1,) * axes)
            wide = writing.emit(kind, [wide, writing.emit("Reshape", [parameter, each])])
    return writing.emit("Reshape", [wide, shape], name=node.name)


@writes(SlidingSpread)
def write_sliding_spread(writing: Writing, node: Node, operation: SlidingSpread) -> ir.Value:
    """Write a variance or deviation over every box of cells."""
    channels = writing.graph.shapes[node.first or ""][1]
    numbers = prod(operation.kernel) * (channels if operation.together else 1)
    # (N, groups, channels of each, *cells)
    apart = writing.numbers(1 if operation.together else 2)
    wide = writing.emit("Unsqueeze", [writing.first(node), apart])
    _, variance = _moments(writing, wide, operation.kernel, operation.dilation)
    variance = writing.emit("Squeeze", [variance, writing.numbers(2)])
    share = writing.number(numbers / (numbers - operation.correction))
    variance = writing.emit("Mul", [variance, share])
    return variance if operation.kind == "var" else writing.emit("Sqrt", [variance])


def _moments(
    writing: Writing, wide: ir.Value, kernel: Sizes, dilation: Sizes
) -> tuple[ir.Value, ir.Value]:
    """Return mean and variance of every box of cells, ``(N, groups, 1, *cells)`` each."""
    mean = _mean(writing, wide, 2)
    apart = writing.emit("Sub", [wide, mean])
    variance = _mean(writing, writing.emit("Mul", [apart, apart]), 2)
    for axis, (cells, distance) in enumerate(zip(kernel, dilation, strict=True)):
        single = total = (mean, variance)
        for covered, more in doublings(cells):
            other = total if more == covered else single
            means, variances = (
                _neighbours(writing, a, b, 1 + axis, distance * covered, distance * more)
                for a, b in zip(total, other, strict=True)
            )
            total = _merged(writing, means, variances, more / (covered + more))
        mean, variance = total
    return mean, variance


def _merged(
    writing: Writing, means: Sequence[ir.Value], variances: Sequence[ir.Value], share: float
) -> tuple[ir.Value, ir.Value]:
    """Merge the means and variances of two sets; the second is ``share`` of all numbers."""

    def between(a: ir.Value, difference: ir.Value) -> ir.Value:
        return writing.emit("Add", [a, writing.emit("Mul", [difference, writing.number(share)])])

    apart = writing.emit("Sub", [means[1], means[0]])
    variance = between(variances[0], writing.emit("Sub", [variances[1], variances[0]]))
    square = writing.emit("Mul", [apart, apart])
    scaled = writing.emit("Mul", [square, writing.number(share * (1 - share))])
    return between(means[0], apart), writing.emit("Add", [variance, scaled])


def _mean(writing: Writing, x: ir.Value, axis: int) -> ir.Value:
    if writing.opset >= 18:
        return writing.emit("ReduceMean", [x, writing.numbers(axis)])
    return writing.emit("ReduceMean", [x], {"axes": [axis]})


@writes(Stretch)
def write_stretch(writing: Writing, node: Node, operation: Stretch) -> ir.Value:
    """Write repeated border cells."""
    x = writing.first(node)
    assert x is not None
    return _stretched(writing, x, 2, operation.padding, operation.dilation)


def _stretched(
    writing: Writing, x: ir.Value, first: int, padding: Sequence[BeforeAfter], dilation: Sizes
) -> ir.Value:
    """Repeat the border cells of the axes from ``first`` on; see `Stretch`."""
    if all(distance == 1 for distance in dilation):
        none = [0] * first
        before, after = zip(*padding, strict=True)
        pads = writing.numbers(*none, *before, *none, *after)
        return writing.emit("Pad", [x, pads], {"mode": "edge"})
    zero, one = writing.integer(0), writing.integer(1)
    for axis, ((ahead, behind), distance) in enumerate(zip(padding, dilation, strict=True)):
        place = {"start": first + axis, "end": first + axis + 1}
        length = writing.emit("Squeeze", [writing.emit("Shape", [x], place), writing.numbers(0)])
        end = writing.emit("Add", [length, writing.integer(behind)])
        at = writing.emit("Range", [writing.integer(-ahead), end, one])
        last, each = writing.emit("Sub", [length, one]), writing.integer(distance)
        low = writing.emit("Mod", [at, each])
        at = writing.emit("Where", [writing.emit("Less", [at, zero]), low, at])
        beyond = writing.emit("Mod", [writing.emit("Sub", [last, at]), each])
        high = writing.emit("Sub", [last, beyond])
        at = writing.emit("Where", [writing.emit("Greater", [at, last]), high, at])
        at = writing.emit("Min", [writing.emit("Max", [at, zero]), last])
        x = writing.emit("Gather", [x, at], {"axis": first + axis})
    return x
