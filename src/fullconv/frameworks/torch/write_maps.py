"""Write the operations that lifting adds: parts of stored maps, and sliding statistics."""

from __future__ import annotations

from typing import Any

import torch

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.writing import FxNode, Writing, writes
from fullconv.graph.graph import Node
from fullconv.operations import (
    AddAxis,
    Assemble,
    Cells,
    Combine,
    DivideCells,
    FoldAxes,
    FoldWindows,
    ForEachWindow,
    Gathered,
    Interleave,
    Keep,
    LayOut,
    Own,
    Power,
    Regroup,
    Running,
    SlidingNormalization,
    SlidingSpread,
    SlidingTotal,
    SplitChannels,
    Stretch,
    TakeChannels,
)


@writes(Combine)
def write_combine(writing: Writing, node: Node, operation: Combine) -> FxNode:
    """Write the sum or the maximum of two maps."""
    return writing.apply(node, torch.add if operation.kind == "sum" else torch.maximum)


@writes(TakeChannels)
def write_take_channels(writing: Writing, node: Node, operation: TakeChannels) -> FxNode:
    """Write a selection of channels."""
    return writing.apply(node, functional.take_channels, operation.indices)


@writes(Cells)
def write_cells(writing: Writing, node: Node, operation: Cells) -> FxNode:
    """Write a cut of cells."""
    ends = operation.before, operation.after
    return writing.apply(node, functional.cells, *ends, operation.stride)


@writes(Keep)
def write_keep(writing: Writing, node: Node, operation: Keep) -> FxNode:
    """Write a cut to the cells of whole windows."""
    return writing.apply(node, functional.keep, *writing.geometry, operation.axes)


@writes(Assemble)
def write_assemble(writing: Writing, node: Node, operation: Assemble) -> FxNode:
    """Write a block of cells, assembled from parts."""
    *parts, image = writing.inputs(node)
    segments = tuple(tuple(map(_segment, axis)) for axis in operation.segments)
    return writing.function(
        functional.assemble, parts, image, *writing.geometry, operation.channels, segments
    )


@writes(LayOut)
def write_lay_out(writing: Writing, node: Node, operation: LayOut) -> FxNode:
    """Write windows of one cell as the cells of a map."""
    axes = operation.channels, operation.axes, operation.private
    return writing.apply(node, functional.lay_out, *writing.geometry, *axes)


@writes(DivideCells)
def write_divide_cells(writing: Writing, node: Node, operation: DivideCells) -> FxNode:
    """Write a division of every cell by a number of its own."""
    return writing.apply(node, functional.divide_cells, operation.axes)


@writes(AddAxis)
def write_add_axis(writing: Writing, node: Node, operation: AddAxis) -> FxNode:
    """Write features as the cells of a new axis."""
    return writing.apply(node, functional.add_axis, operation.channels, operation.extent)


@writes(FoldAxes)
def write_fold_axes(writing: Writing, node: Node, operation: FoldAxes) -> FxNode:
    """Write axes of cells as features."""
    return writing.apply(node, functional.fold_axes, operation.dimensions)


@writes(Interleave)
def write_interleave(writing: Writing, node: Node, operation: Interleave) -> FxNode:
    """Write features as neighbouring cells along an axis."""
    moves = operation.axis, operation.factor, operation.channels
    return writing.apply(node, functional.interleave, *moves)


@writes(Regroup)
def write_regroup(writing: Writing, node: Node, operation: Regroup) -> FxNode:
    """Write a reshape, a permutation and another reshape."""
    moves = operation.split, operation.order, operation.shape
    return writing.apply(node, functional.regroup, *moves)


@writes(ForEachWindow)
def write_for_each_window(writing: Writing, node: Node, operation: ForEachWindow) -> FxNode:
    """Write a parameter, repeated for every window."""
    return writing.apply(node, functional.for_each_window, *writing.geometry)


@writes(FoldWindows)
def write_fold_windows(writing: Writing, node: Node, operation: FoldWindows) -> FxNode:
    """Write the scores of all windows as maps."""
    return writing.apply(node, functional.fold_windows, *writing.geometry, operation.shape)


@writes(SplitChannels)
def write_split_channels(writing: Writing, node: Node, operation: SplitChannels) -> FxNode:
    """Write the channels in the shape that scores have."""
    return writing.apply(node, functional.split_channels, operation.shape)


@writes(Power)
def write_power(writing: Writing, node: Node, operation: Power) -> FxNode:
    """Write a square or a square root."""
    return writing.apply(node, torch.square if operation.kind == "square" else torch.sqrt)


@writes(SlidingTotal)
def write_sliding_total(writing: Writing, node: Node, operation: SlidingTotal) -> FxNode:
    """Write a sum or maximum over every box of cells."""
    moves = operation.kernel, operation.dilation
    return writing.apply(node, functional.sliding_total, operation.kind, *moves)


@writes(SlidingSpread)
def write_sliding_spread(writing: Writing, node: Node, operation: SlidingSpread) -> FxNode:
    """Write a variance or deviation over every box of cells."""
    moves = operation.kernel, operation.dilation, operation.together, operation.correction
    return writing.apply(node, functional.sliding_spread, operation.kind, *moves)


@writes(SlidingNormalization)
def write_sliding_normalization(
    writing: Writing, node: Node, operation: SlidingNormalization
) -> FxNode:
    """Write normalization by the statistics around every cell."""
    x, weight, bias = (*writing.inputs(node), None, None)[:3]
    moves = operation.groups, operation.kernel, operation.dilation, operation.epsilon
    return writing.function(functional.sliding_norm, x, weight, bias, *moves)


@writes(Stretch)
def write_stretch(writing: Writing, node: Node, operation: Stretch) -> FxNode:
    """Write repeated border cells."""
    return writing.apply(node, functional.stretch, operation.padding, operation.dilation)


def _segment(segment: Own | Gathered | Running) -> tuple[Any, ...]:
    """Return a segment of a block in the form that `functional.assemble` takes."""
    if isinstance(segment, Own):
        return ("own", segment.cells)
    if isinstance(segment, Gathered):
        return ("gathered", segment.cells, segment.stride)
    return ("running", segment.skip)
