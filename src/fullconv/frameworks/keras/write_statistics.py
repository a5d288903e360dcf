"""Write what takes statistics, of a channel, of a window, or of one that slides."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from fullconv.frameworks.keras import sliding_layers as sliding
from fullconv.frameworks.keras.values import Held, Values, fill, kept_settings, writes
from fullconv.graph import Node
from fullconv.operations import (
    ChannelNormalization,
    GroupNormalization,
    LayerNormalization,
    Power,
    SlidingNormalization,
    SlidingTotal,
    Stretch,
)

layers = keras.layers


class Statistics(Values):
    """Normalizations, and the totals of sliding windows."""

    @writes(ChannelNormalization)
    def write_channel_normalization(self, operation: ChannelNormalization, node: Node) -> Held:
        axis = -1 if self.last else 1
        x = self.map(node.inputs[0])
        return self.on_map(self._layer_norm(node, operation.epsilon, x, axis))

    @writes(LayerNormalization)
    def write_layer_normalization(self, operation: LayerNormalization, node: Node) -> Held:
        x = self.plain(node.inputs[0])
        rank = len(x.shape)
        axes = list(range(rank - operation.axes, rank))
        return Held(self._layer_norm(node, operation.epsilon, x, axes), False)

    def _layer_norm(self, node: Node, epsilon: float, x: Any, axis: Any) -> Any:
        scale, bias = (self.vector(name) for name in node.inputs[1:])
        settings = kept_settings(node.source.target, "gamma_regularizer", "beta_regularizer") | {
            "axis": axis,
            "epsilon": epsilon,
            "scale": scale is not None,
            "center": bias is not None,
        }
        key = "layer_norm", node.name
        norm = self.layer(key, layers.LayerNormalization, self.name(node), **settings)
        fresh = not norm.built
        result = norm(x)
        if fresh:
            for name, vector in (("gamma", scale), ("beta", bias)):
                if vector is not None:
                    getattr(norm, name).assign(vector)
        return result

    @writes(GroupNormalization)
    def write_group_normalization(self, operation: GroupNormalization, node: Node) -> Held:
        x = self.map(node.inputs[0])
        layer = node.source.target
        copy = self.clone(layer)
        fresh = not copy.built
        result = copy(x)
        if fresh:
            fill(copy, layer)
        return self.on_map(result)

    @writes(SlidingNormalization)
    def write_sliding_normalization(self, operation: SlidingNormalization, node: Node) -> Held:
        x, *parameters = node.inputs
        vectors = [self.vector(name) for name in parameters]
        layer = node.source.target
        settings: Any = {
            "groups": operation.groups,
            "kernel": operation.kernel,
            "dilation": operation.dilation,
            "epsilon": operation.epsilon,
            "scale": any(v is not None for v in vectors[:1]),
            "center": any(v is not None for v in vectors[1:]),
        }
        norm = self.layer(
            ("sliding", node.name),
            sliding.SlidingNormalization,
            self.name(node),
            channels_last=self.last,
            trainable=layer.trainable,
            **settings,
        )
        fresh = not norm.built
        result = norm(self.map(x))
        for name, vector in zip(("gamma", "beta"), vectors, strict=False):
            if fresh and vector is not None:
                weight = getattr(norm, name)
                weight.assign(np.repeat(vector, weight.shape[0] // vector.size))
        return self.on_map(result)

    @writes(Power)
    def write_power(self, operation: Power, node: Node) -> Held:
        x = self.map(node.inputs[0])
        return self.on_map(self.own(sliding.Power, x, kind=operation.kind))

    @writes(SlidingTotal)
    def write_sliding_total(self, operation: SlidingTotal, node: Node) -> Held:
        settings = {name: getattr(operation, name) for name in ("kind", "kernel", "dilation")}
        x = self.map(node.inputs[0])
        return self.on_map(self.own(sliding.SlidingTotal, x, node=node, **settings))

    @writes(Stretch)
    def write_stretch(self, operation: Stretch, node: Node) -> Held:
        x = self.map(node.inputs[0])
        if operation.dilation == (1, 1):
            return self.on_map(self.padded(x, operation.padding, mode="edge"))
        pads, distance = operation.padding, operation.dilation
        return self.on_map(self.own(sliding.Stretch, x, padding=pads, dilation=distance))
