"""Writers that assemble blocks of cells from the parts of a map, and lay parts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import gcd
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.writing import Writing, writes
from fullconv.graph.graph import Node
from fullconv.operations import Assemble, Gathered, LayOut, Own, Running

Segment = Own | Gathered | Running


@writes(Assemble)
def write_assemble(writing: Writing, node: Node, operation: Assemble) -> ir.Value:
    """Write a block of cells, assembled from parts of a map."""
    pieces = []
    for name, segments in zip(node.inputs, product(*operation.segments), strict=False):
        x = writing.value(name)
        assert x is not None
        pieces.append(_part(writing, x, segments, operation.channels))
    for axis in reversed(range(len(operation.segments))):
        many = len(operation.segments[axis])
        if many > 1:
            pieces = [
                writing.emit("Concat", pieces[first : first + many], {"axis": 2 + axis})
                for first in range(0, len(pieces), many)
            ]
    (block,) = pieces
    return block


def _part(writing: Writing, x: ir.Value, segments: Sequence[Segment], channels: int) -> ir.Value:
    """Take the cells of a block from one part; gathered cells come first, since they are few."""
    axes = len(segments)
    private = {axis for axis, segment in enumerate(segments) if isinstance(segment, Own)}
    for axis, segment in enumerate(segments):
        if isinstance(segment, Gathered):
            inside = frozenset(private if any(other > axis for other in private) else ())
            x = _once(writing, (x, axis, segment, inside), _gather, axes, channels)
            private.add(axis)
    for axis, segment in enumerate(segments):
        if not isinstance(segment, Gathered):
            x = _once(writing, (x, axis, segment), _slice)
    return x


def _once(
    writing: Writing, what: tuple[Any, ...], take: Callable[..., ir.Value], *settings: Any
) -> ir.Value:
    """Take the same cells of the same map once: blocks for neighbouring parts share them."""
    if what not in writing.taken:
        writing.taken[what] = take(writing, *what, *settings)
    return writing.taken[what]


def _slice(writing: Writing, x: ir.Value, axis: int, segment: Own | Running) -> ir.Value:
    place = writing.numbers(2 + axis)
    if isinstance(segment, Running):
        before, after = segment.skip
        if not before and not after:
            return x
        end = writing.numbers(-after or np.iinfo(np.int64).max)
        return writing.emit("Slice", [x, writing.numbers(before), end, place])
    first, last = segment.cells[0], segment.cells[-1]
    if segment.cells != tuple(range(first, last + 1)):
        return writing.emit("Gather", [x, writing.numbers(*segment.cells)], {"axis": 2 + axis})
    if len(segment.cells) == segment.of:
        return x
    return writing.emit("Slice", [x, writing.numbers(first), writing.numbers(last + 1), place])


def _gather(
    writing: Writing,
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
    # (B, C, *cells) or, with entries to go before, (N, *windows, C, *cells)
    x_, first = x, 1
    if inside:
        first = 1 + axes
        x_ = writing.emit("Reshape", [x, _unfolded(writing, x, inside, axes)])
    place, extent = first + 1 + axis, len(segment.cells)
    many = _together(segment) if axis == axes - 1 else 1
    if many > 1:
        x_ = _in_groups(writing, x_, place, axis, segment, many)
    if many == 1 or (many, segment.stride) != (extent, extent):
        index = _window_index(writing, axis, segment, many)
        x_ = writing.emit("Gather", [x_, index], {"axis": place})
    order = list(range(first + 2 + axes + (1 < many < extent)))
    order.remove(place)
    if first > 1:
        x_ = writing.emit("Squeeze", [x_, writing.numbers(1 + axis)])
        order = [n if n < 1 + axis else n - 1 for n in order if n != 1 + axis]
        order.insert(1 + axis, place - 1)
    else:
        order.insert(1, place)
    x_ = writing.emit("Transpose", [x_], {"perm": tuple(order)})
    sizes: list[ir.Value] = []
    numbers = [-1, channels]
    for other in range(axes):
        if other == axis:
            numbers.append(extent)
            continue
        if numbers:
            sizes.append(writing.numbers(*numbers))
            numbers = []
        sizes.append(writing.emit("Shape", [x], {"start": 2 + other, "end": 3 + other}))
    if numbers:
        sizes.append(writing.numbers(*numbers))
    return writing.emit("Reshape", [x_, writing.emit("Concat", sizes, {"axis": 0})])


def _unfolded(writing: Writing, x: ir.Value, private: frozenset[int], axes: int) -> ir.Value:
    """Return the shape ``(N, windows or 1 along every axis, C, *cells)`` of a stored map."""
    images = writing.emit("Shape", [writing.values[writing.graph.image]], {"start": 0, "end": 1})
    counts = [
        writing.count_along(axis) if axis in private else writing.numbers(1) for axis in range(axes)
    ]
    rest = writing.emit("Shape", [x], {"start": 1, "end": 2 + axes})
    return writing.emit("Concat", [images, *counts, rest], {"axis": 0})


def _together(segment: Gathered) -> int:
    """Return how many neighbouring cells are copied as one group, which no window cuts."""
    first, extent = segment.cells[0], len(segment.cells)
    in_a_row = segment.cells == tuple(range(first, first + extent))
    return gcd(segment.stride, extent) if in_a_row else 1


def _in_groups(
    writing: Writing, x: ir.Value, place: int, axis: int, segment: Gathered, many: int
) -> ir.Value:
    """Cut the cells that windows take of the last axis into groups of ``many``."""
    first = segment.cells[0]
    end = writing.needed(axis, segment.stride, first + len(segment.cells))
    x = writing.emit("Slice", [x, writing.numbers(first), end, writing.numbers(place)])
    return writing.emit("Reshape", [x, writing.numbers(*(0,) * place, -1, many)])


def _window_index(writing: Writing, axis: int, segment: Gathered, many: int) -> ir.Value:
    """Return the groups of ``many`` cells that each window takes along one axis.

    The shape is ``(windows, groups)``, or ``(windows,)`` where a group is as long as the window.
    """
    key = axis, segment, many
    if key not in writing.taken:
        scalars = [writing.integer(n) for n in (0, 1)]
        count = writing.emit("Squeeze", [writing.count()[axis], writing.numbers(0)])
        index = writing.emit("Range", [scalars[0], count, scalars[1]])
        index = writing.emit("Mul", [index, writing.numbers(segment.stride // many)])
        groups = segment.cells if many == 1 else range(len(segment.cells) // many)
        if len(groups) > 1 or many == 1:
            column = writing.emit("Unsqueeze", [index, writing.numbers(1)])
            index = writing.emit("Add", [column, writing.numbers(*groups)])
        writing.taken[key] = index
    return writing.taken[key]


@writes(LayOut)
def write_lay_out(writing: Writing, node: Node, operation: LayOut) -> ir.Value:
    """Write windows as cells."""
    x = writing.first(node)
    assert x is not None
    axes = len(operation.axes)
    private = frozenset(axis for axis, alone in enumerate(operation.private) if alone)
    wide = writing.emit("Reshape", [x, _unfolded(writing, x, private, axes)])
    order = list(range(2 + 2 * axes))
    for axis, laid in enumerate(operation.axes):
        if laid:
            cell = 2 + axes + axis
            order[1 + axis], order[cell] = order[cell], order[1 + axis]
    turned = writing.emit("Transpose", [wide], {"perm": tuple(order)})
    rest = writing.emit("Shape", [turned], {"start": 1 + axes, "end": 2 + 2 * axes})
    shape = writing.emit("Concat", [writing.numbers(-1), rest], {"axis": 0})
    return writing.emit("Reshape", [turned, shape])
