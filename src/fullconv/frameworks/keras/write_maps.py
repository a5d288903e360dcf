"""Write how cells, channels and windows of stored maps are taken, joined and folded."""

from __future__ import annotations

from typing import Any

import keras

from fullconv.frameworks.keras import map_layers, window_layers
from fullconv.frameworks.keras.values import Held, Values, writes
from fullconv.graph import Node
from fullconv.operations import (
    Assemble,
    Cells,
    Combine,
    DivideCells,
    FoldWindows,
    Gathered,
    Keep,
    LayOut,
    Own,
    Regroup,
    Running,
    SplitChannels,
    TakeChannels,
)

layers = keras.layers


class Maps(Values):
    """What lifting adds, but for sliding windows."""

    def _maps(self, node: Node) -> list[Any]:
        return [self.map(name) for name in node.inputs]

    @writes(Combine)
    def write_combine(self, operation: Combine, node: Node) -> Held:
        kind = layers.Add if operation.kind == "sum" else layers.Maximum
        base = f"{self.name(node)}_{operation.kind}"
        return self.on_map(self.layer(("combine", node.name), kind, base)(self._maps(node)))

    @writes(TakeChannels)
    def write_take_channels(self, operation: TakeChannels, node: Node) -> Held:
        settings: Any = {"indices": operation.indices}
        x = self.map(node.inputs[0])
        return self.on_map(self.own(map_layers.TakeChannels, x, node=node, **settings))

    @writes(Cells)
    def write_cells(self, operation: Cells, node: Node) -> Held:
        x = self.map(node.inputs[0])
        if operation.stride == (1, 1):
            pads = tuple(zip(operation.before, operation.after, strict=True))
            crop = self.layer(("crop", pads), layers.Cropping2D, "crop", pads, self.format)
            return self.on_map(crop(x))
        settings = {name: getattr(operation, name) for name in ("before", "after", "stride")}
        return self.on_map(self.own(map_layers.Cells, x, **settings))

    @writes(Keep)
    def write_keep(self, operation: Keep, node: Node) -> Held:
        kept = operation.rows, operation.columns
        return self.on_map(self.own(window_layers.Keep, self._maps(node), kept=kept))

    @writes(Assemble)
    def write_assemble(self, operation: Assemble, node: Node) -> Held:
        settings: Any = {
            "channels": operation.channels,
            "along_rows": tuple(map(_segment, operation.rows)),
            "along_columns": tuple(map(_segment, operation.columns)),
        }
        return self.on_map(self.own(window_layers.Assemble, self._maps(node), **settings))

    @writes(LayOut)
    def write_lay_out(self, operation: LayOut, node: Node) -> Held:
        settings: Any = {"axes": operation.axes, "private": operation.private}
        return self.on_map(self.own(window_layers.LayOut, self._maps(node), **settings))

    @writes(DivideCells)
    def write_divide_cells(self, operation: DivideCells, node: Node) -> Held:
        settings: Any = {"along_rows": operation.rows, "along_columns": operation.columns}
        x = self.map(node.inputs[0])
        return self.on_map(self.own(map_layers.DivideCells, x, **settings))

    @writes(Regroup)
    def write_regroup(self, operation: Regroup, node: Node) -> Held:
        settings: Any = {name: getattr(operation, name) for name in ("split", "order", "shape")}
        return Held(self.own(window_layers.Regroup, self.map(node.inputs[0]), **settings), False)

    @writes(FoldWindows)
    def write_fold_windows(self, operation: FoldWindows, node: Node) -> Held:
        x, image = node.inputs
        tensors = [self.plain(x), self.map(image)]
        return self.on_map(self.own(window_layers.FoldWindows, tensors, shape=operation.shape))

    @writes(SplitChannels)
    def write_split_channels(self, operation: SplitChannels, node: Node) -> Held:
        x = self.map(node.inputs[0])
        return self.on_map(self.own(window_layers.SplitChannels, x, shape=operation.shape))


def _segment(segment: Own | Gathered | Running) -> tuple[Any, ...]:
    """Return what one part gives to a block along one axis, as `Assemble` takes it."""
    if isinstance(segment, Own):
        return ("own", segment.cells)
    if isinstance(segment, Gathered):
        return ("gathered", segment.cells, segment.stride)
    return ("running", segment.skip)
