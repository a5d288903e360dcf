"""Write what computes each number by itself, or with the parameters of its channel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from fullconv.frameworks.keras.calls import TO_NATIVE, Call
from fullconv.frameworks.keras.part_layers import PartBatchNormalization
from fullconv.frameworks.keras.values import Held, Values, kept_settings, writes
from fullconv.graph import Node
from fullconv.operations import AlongAxis, Identity, PerChannel, Pointwise

layers = keras.layers


class Numbers(Values):
    """Activations, softmax, and scales and shifts of channels."""

    @writes(Identity)
    def write_identity(self, operation: Identity, node: Node) -> Any:
        call = node.source
        if isinstance(call, Call) and "Random" not in type(call.target).__name__:
            return self._repeat(node)
        return self.values[node.inputs[0] or ""]  # varies images in training, and nothing in use

    @writes(Pointwise)
    def write_pointwise(self, operation: Pointwise, node: Node) -> Any:
        call = node.source
        if isinstance(call, Call) and call.part == "activation":
            return self._activation(node, operation.name)
        return self._repeat(node)

    def _activation(self, node: Node, function: str) -> Held:
        held = self.values[node.inputs[0] or ""]
        base = self.name(node)
        if not isinstance(node.source.target, layers.Activation):
            base = f"{base}_{function}"
        key = "activation", node.name
        return Held(
            self.layer(key, layers.Activation, base, node.source.target.activation)(held.tensor),
            held.last,
        )

    @writes(AlongAxis)
    def write_along_axis(self, operation: AlongAxis, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        axis = TO_NATIVE.index(operation.axis) if held.last else operation.axis
        rank = len(held.tensor.shape)
        if operation.name == "log_softmax":
            if axis != rank - 1:
                order = (*(n for n in range(1, rank) if n != axis), axis)
                turn = self.layer(("permute", order), layers.Permute, "turned", order)
                back = tuple(order.index(n) + 1 for n in range(1, rank))
                again = self.layer(("permute", back), layers.Permute, "turned_back", back)
                return Held(again(self._log_softmax(node, turn(held.tensor))), held.last)
            return Held(self._log_softmax(node, held.tensor), held.last)
        base = self.name(node)
        if not isinstance(node.source.target, layers.Activation | layers.Softmax):
            base = f"{base}_softmax"
        softmax = self.layer(("softmax", node.name, axis), layers.Softmax, base, axis)
        return Held(softmax(held.tensor), held.last)

    def _log_softmax(self, node: Node, x: Any) -> Any:
        base = f"{self.name(node)}_log_softmax"
        return self.layer(("log_softmax", node.name), layers.Activation, base, "log_softmax")(x)

    @writes(PerChannel)
    def write_per_channel(self, operation: PerChannel, node: Node) -> Held:
        x, *parameters = node.inputs
        held = self.values[x or ""]
        if not node.per_window:
            held = self.on_map(self.map(x))
        vectors = [self.vector(name) for name in parameters]
        write = {
            "batch_norm": self._batch_norm,
            "prelu": self._prelu,
            "LayerScale": self._layer_scale,
            "Rescaling": self._rescaling,
            "Normalization": self._normalization,
        }[operation.name]
        return Held(write(node, held, vectors), held.last)

    def _batch_norm(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        layer = node.source.target
        axis = -1 if held.last else 1
        settings = kept_settings(layer, "gamma_regularizer", "beta_regularizer") | {
            "axis": axis,
            "momentum": layer.momentum,
            "epsilon": layer.epsilon,
            "center": layer.center,
            "scale": layer.scale,
        }
        calls = [n for n in self.graph.nodes if n.source is node.source]
        key = "batch_norm", node.name, tuple(node.inputs[1:]), axis
        kind = layers.BatchNormalization if len(calls) == 1 else PartBatchNormalization
        norm = self.layer(key, kind, self.name(node), **settings)
        fresh = not norm.built
        x = norm(held.tensor)
        if fresh:
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            for name, vector in zip(names, vectors, strict=True):
                if vector is not None:
                    getattr(norm, name).assign(vector)
        return x

    def _prelu(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        rank = len(held.tensor.shape)
        axes = list(range(1, rank - 1)) if held.last or rank == 2 else list(range(2, rank))
        (slopes,) = vectors
        if slopes.size == 1:
            axes = list(range(1, rank))
        settings = kept_settings(node.source.target, "alpha_regularizer") | {
            "shared_axes": axes or None
        }
        key = "prelu", node.name, node.inputs[1], rank
        prelu = self.layer(key, layers.PReLU, self.name(node), **settings)
        fresh = not prelu.built
        x = prelu(held.tensor)
        if fresh:
            prelu.alpha.assign(np.reshape(slopes, prelu.alpha.shape))
        return x

    def _layer_scale(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        scale = self.clone(node.source.target)
        fresh = not scale.built
        x = scale(held.tensor)
        if fresh:
            scale.gamma.assign(vectors[0])
        return x

    def _rescaling(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        shape = (1, 1, -1) if held.last else (-1, *[1] * (len(held.tensor.shape) - 2))
        scale, offset = (vector.reshape(shape) for vector in vectors)
        key = "rescaling", node.name
        base = self.name(node)
        return self.layer(key, layers.Rescaling, base, scale=scale, offset=offset)(held.tensor)

    def _normalization(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        mean, variance = (vector.tolist() for vector in vectors)
        settings = {
            "axis": -1 if held.last else 1,
            "mean": mean,
            "variance": variance,
            "invert": node.source.target.invert,
        }
        key = "normalization", node.name
        return self.layer(key, layers.Normalization, self.name(node), **settings)(held.tensor)
