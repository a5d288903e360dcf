"""Write convolutions, fully connected layers, pools and upsampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from fullconv.frameworks.keras import map_layers
from fullconv.frameworks.keras.values import Held, Values, writes
from fullconv.graph import Node
from fullconv.operations import (
    Convolution,
    Linear,
    Pool,
    TransposedConvolution,
    Upsample,
)

layers = keras.layers


class Layers(Values):
    """What moves over maps."""

    @writes(Convolution)
    def write_convolution(self, operation: Convolution, node: Node) -> Any:
        return self.convolving.convolution(operation, node)

    @writes(TransposedConvolution)
    def write_transposed_convolution(self, operation: TransposedConvolution, node: Node) -> Any:
        return self.convolving.transposed(operation, node)

    @writes(Linear)
    def write_linear(self, operation: Linear, node: Node) -> Any:
        return self.convolving.linear(node)

    @writes(Pool)
    def write_pool(self, operation: Pool, node: Node) -> Held:
        x = self.map(node.inputs[0])
        if node.per_window:
            return self.on_map(self.clone(node.source.target)(x))
        mode = _padding_mode(operation)
        if mode is None:
            settings = ("kind", "kernel", "stride", "padding", "dilation", "divisor")
            given = {name: getattr(operation, name) for name in settings}
            return self.on_map(self.own(map_layers.MovingPool, x, node=node, **given))
        kind = layers.MaxPooling2D if operation.kind == "max" else layers.AveragePooling2D
        key = "pool", node.name, replace(operation, channels=0)
        settings_ = operation.kernel, operation.stride, mode, self.format
        return self.on_map(self.layer(key, kind, self.name(node), *settings_)(x))

    @writes(Upsample)
    def write_upsample(self, operation: Upsample, node: Node) -> Any:
        key = "upsample", node.name
        settings = operation.factor, self.format
        repeat = self.layer(key, layers.UpSampling2D, self.name(node), *settings)
        return self.on_map(repeat(self.map(node.inputs[0])))


def _padding_mode(operation: Pool) -> str | None:
    """Return how Keras calls a pool's padding; None where it has no word, or no such pool."""
    if operation.dilation != (1, 1) or operation.kind == "sum" or operation.divisor is not None:
        return None
    pads = operation.padding
    if not any(map(any, pads)):
        return "valid"
    same = tuple(((k - 1) // 2, k // 2) for k in operation.kernel)
    even = all(before == after for before, after in pads)
    fits = pads == same and operation.stride == (1, 1)
    return "same" if fits and (even or operation.kind == "max") else None
