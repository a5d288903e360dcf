"""Write what lifting adds: how stored maps are taken, joined and folded, and sliding windows."""

from __future__ import annotations

from typing import Any

import torch

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.values import FxNode, Values, writes
from fullconv.graph import Node
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


class Maps(Values):
    """One method per operation that lifting adds; most call a function of `functional`."""

    @writes(Combine)
    def write_combine(self, operation: Combine, node: Node) -> FxNode:
        target = torch.add if operation.kind == "sum" else torch.maximum
        return self._function(target, *self._inputs(node))

    @writes(TakeChannels)
    def write_take_channels(self, operation: TakeChannels, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.take_channels, x, operation.indices)

    @writes(Cells)
    def write_cells(self, operation: Cells, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(
            functional.cells, x, operation.before, operation.after, operation.stride
        )

    @writes(Keep)
    def write_keep(self, operation: Keep, node: Node) -> FxNode:
        x, image = self._inputs(node)
        return self._function(functional.keep, x, image, *self.geometry, operation.axes)

    @writes(Assemble)
    def write_assemble(self, operation: Assemble, node: Node) -> FxNode:
        *parts, image = self._inputs(node)
        segments = tuple(tuple(map(_segment, axis)) for axis in operation.segments)
        return self._function(
            functional.assemble, parts, image, *self.geometry, operation.channels, segments
        )

    @writes(LayOut)
    def write_lay_out(self, operation: LayOut, node: Node) -> FxNode:
        x, image = self._inputs(node)
        axes = operation.channels, operation.axes, operation.private
        return self._function(functional.lay_out, x, image, *self.geometry, *axes)

    @writes(DivideCells)
    def write_divide_cells(self, operation: DivideCells, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.divide_cells, x, operation.axes)

    @writes(AddAxis)
    def write_add_axis(self, operation: AddAxis, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.add_axis, x, operation.channels, operation.extent)

    @writes(FoldAxes)
    def write_fold_axes(self, operation: FoldAxes, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.fold_axes, x, operation.dimensions)

    @writes(Interleave)
    def write_interleave(self, operation: Interleave, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        moves = operation.axis, operation.factor, operation.channels
        return self._function(functional.interleave, x, *moves)

    @writes(Regroup)
    def write_regroup(self, operation: Regroup, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(
            functional.regroup, x, operation.split, operation.order, operation.shape
        )

    @writes(ForEachWindow)
    def write_for_each_window(self, operation: ForEachWindow, node: Node) -> FxNode:
        x, image = self._inputs(node)
        return self._function(functional.for_each_window, x, image, *self.geometry)

    @writes(FoldWindows)
    def write_fold_windows(self, operation: FoldWindows, node: Node) -> FxNode:
        x, image = self._inputs(node)
        return self._function(functional.fold_windows, x, image, *self.geometry, operation.shape)

    @writes(SplitChannels)
    def write_split_channels(self, operation: SplitChannels, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.split_channels, x, operation.shape)

    @writes(Power)
    def write_power(self, operation: Power, node: Node) -> FxNode:
        target = torch.square if operation.kind == "square" else torch.sqrt
        return self._function(target, self._value(node.inputs[0]))

    @writes(SlidingTotal)
    def write_sliding_total(self, operation: SlidingTotal, node: Node) -> FxNode:
        x, kind = self._value(node.inputs[0]), operation.kind
        return self._function(
            functional.sliding_total, x, kind, operation.kernel, operation.dilation
        )

    @writes(SlidingSpread)
    def write_sliding_spread(self, operation: SlidingSpread, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        moves = operation.kernel, operation.dilation, operation.together, operation.correction
        return self._function(functional.sliding_spread, x, operation.kind, *moves)

    @writes(SlidingNormalization)
    def write_sliding_normalization(self, operation: SlidingNormalization, node: Node) -> FxNode:
        x, weight, bias = (*self._inputs(node), None, None)[:3]
        moves = operation.groups, operation.kernel, operation.dilation, operation.epsilon
        return self._function(functional.sliding_norm, x, weight, bias, *moves)

    @writes(Stretch)
    def write_stretch(self, operation: Stretch, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.stretch, x, operation.padding, operation.dilation)


def _segment(segment: Own | Gathered | Running) -> tuple[Any, ...]:
    """Return what one part gives to a block along one axis, as `functional.assemble` takes it."""
    if isinstance(segment, Own):
        return ("own", segment.cells)
    if isinstance(segment, Gathered):
        return ("gathered", segment.cells, segment.stride)
    return ("running", segment.skip)
