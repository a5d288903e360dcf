"""Writers of operations that take, join or fold cells, channels and windows of stored maps."""

from __future__ import annotations

import functools

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.writing import Writing, writes
from fullconv.graph.graph import Node
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


@writes(Combine)
def write_combine(writing: Writing, node: Node, operation: Combine) -> ir.Value:
    """Write the sum, or the maximum, of two maps."""
    return writing.emit("Add" if operation.kind == "sum" else "Max", writing.inputs(node))


@writes(DivideCells)
def write_divide_cells(writing: Writing, node: Node, operation: DivideCells) -> ir.Value:
    """Write a division of every cell by its own number."""
    first, *others = (np.array(numbers, writing.dtype()) for numbers in operation.axes)
    numbers = functools.reduce(np.multiply.outer, others, first)
    divisor = writing.initializer(writing.unique("fullconv/cells"), numbers)
    return writing.emit("Div", [writing.first(node), divisor])


@writes(TakeChannels)
def write_take_channels(writing: Writing, node: Node, operation: TakeChannels) -> ir.Value:
    """Write a selection of channels, in any order."""
    index = writing.numbers(*operation.indices)
    return writing.emit("Gather", [writing.first(node), index], {"axis": 1})


@writes(Cells)
def write_cells(writing: Writing, node: Node, operation: Cells) -> ir.Value:
    """Write a cut of cells."""
    end = writing.numbers(*(-n or np.iinfo(np.int64).max for n in operation.after))
    inputs = [
        writing.first(node),
        writing.numbers(*operation.before),
        end,
        writing.numbers(*range(2, 2 + len(operation.stride))),
        writing.numbers(*operation.stride),
    ]
    return writing.emit("Slice", inputs)


@writes(Keep)
def write_keep(writing: Writing, node: Node, operation: Keep) -> ir.Value:
    """Write a cut to the cells of whole windows."""
    kept = [(i, k) for i, k in enumerate(operation.axes) if k is not None]
    ends = [writing.needed(i, *k) for i, k in kept]
    end = writing.emit("Concat", ends, {"axis": 0}) if len(ends) > 1 else ends[0]
    starts, axes = writing.numbers(*(0 for _ in kept)), writing.numbers(*(2 + i for i, _ in kept))
    return writing.emit("Slice", [writing.first(node), starts, end, axes])


@writes(Regroup)
def write_regroup(writing: Writing, node: Node, operation: Regroup) -> ir.Value:
    """Write two reshapes with axes reordered between them."""
    x = writing.emit("Reshape", [writing.first(node), writing.numbers(*operation.split)])
    x = writing.emit("Transpose", [x], {"perm": operation.order})
    return writing.emit("Reshape", [x, writing.numbers(*operation.shape)])


@writes(AddAxis)
def write_add_axis(writing: Writing, node: Node, operation: AddAxis) -> ir.Value:
    """Write features as the cells of a new axis."""
    x, axes = writing.first(node), writing.axes[node.outputs[0]] - 1
    if operation.extent == 1:
        return writing.emit("Unsqueeze", [x, writing.numbers(2 + axes)])
    wide = _split(writing, x, (operation.channels, operation.extent), axes)
    order = (0, 1, *range(3, 3 + axes), 2)
    return writing.emit("Transpose", [wide], {"perm": order})


@writes(FoldAxes)
def write_fold_axes(writing: Writing, node: Node, operation: FoldAxes) -> ir.Value:
    """Write axes of cells as features."""
    x, first = writing.first(node), 2 + operation.dimensions
    more = range(first, 2 + writing.axes[node.inputs[0] or ""])
    turned = writing.emit("Transpose", [x], {"perm": (0, 1, *more, *range(2, first))})
    images = writing.emit("Shape", [x], {"start": 0, "end": 1})
    cells = writing.emit("Shape", [x], {"start": 2, "end": first})
    sizes = [images, writing.numbers(operation.channels), cells]
    return writing.emit("Reshape", [turned, writing.emit("Concat", sizes, {"axis": 0})])


@writes(Interleave)
def write_interleave(writing: Writing, node: Node, operation: Interleave) -> ir.Value:
    """Write features as cells, side by side along an axis."""
    x, axes = writing.first(node), writing.axes[node.outputs[0]]
    wide = _split(writing, x, (operation.channels, operation.factor), axes)
    place = 3 + operation.axis
    order = (0, 1, *range(3, place + 1), 2, *range(place + 1, 3 + axes))
    turned = writing.emit("Transpose", [wide], {"perm": order})
    # The factor stands behind its axis, and is folded into it.
    sizes = [writing.emit("Shape", [x], {"start": 0, "end": 1})]
    sizes.append(writing.numbers(operation.channels))
    for axis in range(axes):
        size = writing.emit("Shape", [x], {"start": 2 + axis, "end": 3 + axis})
        if axis == operation.axis:
            size = writing.emit("Mul", [size, writing.numbers(operation.factor)])
        sizes.append(size)
    return writing.emit("Reshape", [turned, writing.emit("Concat", sizes, {"axis": 0})])


def _split(writing: Writing, x: ir.Value | None, channels: tuple[int, int], axes: int) -> ir.Value:
    """Reshape ``(N, a * b, *cells)`` to ``(N, a, b, *cells)``."""
    images = writing.emit("Shape", [x], {"start": 0, "end": 1})
    cells = writing.emit("Shape", [x], {"start": 2, "end": 2 + axes})
    shape = writing.emit("Concat", [images, writing.numbers(*channels), cells], {"axis": 0})
    return writing.emit("Reshape", [x, shape])


@writes(ForEachWindow)
def write_for_each_window(writing: Writing, node: Node, operation: ForEachWindow) -> ir.Value:
    """Write a parameter for every window."""
    count = writing.emit("Shape", [writing.values[writing.graph.image]], {"start": 0, "end": 1})
    for windows in writing.count():
        count = writing.emit("Mul", [count, windows])
    name = node.inputs[0] or ""
    recipe = writing.graph.constants.get(name)
    shape = writing.source.graph.shapes[name] if recipe is None else recipe.shape
    sizes = writing.emit("Concat", [count, writing.numbers(*shape)], {"axis": 0})
    return writing.emit("Expand", [writing.first(node), sizes])


@writes(FoldWindows)
def write_fold_windows(writing: Writing, node: Node, operation: FoldWindows) -> ir.Value:
    """Write the scores of all windows as maps."""
    images = writing.emit("Shape", [writing.values[writing.graph.image]], {"start": 0, "end": 1})
    sizes = [images, *writing.count()]
    if operation.shape:
        sizes.append(writing.numbers(*operation.shape))
    shape = writing.emit("Concat", sizes, {"axis": 0})
    x = writing.emit("Reshape", [writing.first(node), shape])
    first = 1 + writing.grid.dimensions
    order = (0, *range(first, first + len(operation.shape)), *range(1, first))
    return writing.emit("Transpose", [x], {"perm": order})


@writes(SplitChannels)
def write_split_channels(writing: Writing, node: Node, operation: SplitChannels) -> ir.Value:
    """Write channels in the shape of scores."""
    x = writing.first(node)
    if not operation.shape:
        return writing.emit("Squeeze", [x, writing.numbers(1)])
    images = writing.emit("Shape", [x], {"start": 0, "end": 1})
    cells = writing.emit("Shape", [x], {"start": 2, "end": 2 + writing.grid.dimensions})
    sizes = [images, writing.numbers(*operation.shape), cells]
    return writing.emit("Reshape", [x, writing.emit("Concat", sizes, {"axis": 0})])
