"""Writers of operations that compute number by number, per channel, or by statistics."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
import numpy as np

from fullconv.frameworks.keras import sliding_layers as sliding
from fullconv.frameworks.keras.calls import Array, Call, Tensor
from fullconv.frameworks.keras.copying import copied_on_map, repeat
from fullconv.frameworks.keras.part_layers import PartBatchNormalization
from fullconv.frameworks.keras.private import LayerScale
from fullconv.frameworks.keras.writing import Value, Writing, kept_settings, writes
from fullconv.graph.graph import Node
from fullconv.operations import (
    AlongAxis,
    ChannelNormalization,
    GroupNormalization,
    Identity,
    LayerNormalization,
    PerChannel,
    Pointwise,
    SlidingNormalization,
)

layers = keras.layers
Vectors = Sequence[Array | None]


@writes(Identity)
def write_identity(writing: Writing, node: Node, operation: Identity) -> Value:
    """Write an operation that changes nothing at inference, if it does something in training."""
    call = node.source
    if isinstance(call, Call) and "Random" not in type(call.target).__name__:
        (value,) = repeat(writing, node)
        return value
    return writing.first_input(node)  # varies images in training, and nothing at inference


@writes(Pointwise)
def write_pointwise(writing: Writing, node: Node, operation: Pointwise) -> Value:
    """Write a function of corresponding numbers; an activation is a layer of its own."""
    call = node.source
    if not isinstance(call, Call) or call.part != "activation":
        (value,) = repeat(writing, node)
        return value
    value, base = writing.first_input(node), writing.name(node)
    if not isinstance(call.target, layers.Activation):
        base = f"{base}_{operation.name}"
    function = call.target.activation
    activation = writing.layer(("activation", node.name), layers.Activation, base, function)
    return Value(activation(value.tensor), value.last)


@writes(AlongAxis)
def write_along_axis(writing: Writing, node: Node, operation: AlongAxis) -> Value:
    """Write softmax, or log-softmax; Keras has the latter along the last axis only."""
    value, base = writing.first_input(node), writing.name(node)
    axis, rank = writing.place(operation.axis, value), len(value.tensor.shape)
    if operation.name != "log_softmax":
        if not isinstance(node.source.target, layers.Activation | layers.Softmax):
            base = f"{base}_softmax"
        softmax = writing.layer(("softmax", node.name, axis), layers.Softmax, base, axis)
        return Value(softmax(value.tensor), value.last)
    order = (*(n for n in range(rank) if n != axis), axis)
    back = tuple(order.index(n) for n in range(rank))
    x = value.tensor if axis == rank - 1 else writing.permuted(value.tensor, order, "turned")
    key, base = ("log_softmax", node.name), f"{base}_log_softmax"
    x = writing.layer(key, layers.Activation, base, "log_softmax")(x)
    x = x if axis == rank - 1 else writing.permuted(x, back, "turned_back")
    return Value(x, value.last)


@writes(PerChannel)
def write_per_channel(writing: Writing, node: Node, operation: PerChannel) -> Value:
    """Write an operation with parameters for every channel."""
    value = writing.first_input(node)
    if not node.per_window:
        value = writing.on_map(writing.map(node.first))
    vectors = [writing.vector(name) for name in node.inputs[1:]]
    return Value(PER_CHANNEL[operation.name](writing, node, value, vectors), value.last)


def _batch_norm(writing: Writing, node: Node, value: Value, vectors: Vectors) -> Tensor:
    layer, axis = node.source.target, -1 if value.last else 1
    settings = kept_settings(layer, "gamma_regularizer", "beta_regularizer") | {
        "axis": axis,
        "momentum": layer.momentum,
        "epsilon": layer.epsilon,
        "center": layer.center,
        "scale": layer.scale,
    }
    calls = [n for n in writing.graph.nodes if n.source is node.source]
    key = "batch_norm", node.name, node.inputs[1:], axis
    kind = layers.BatchNormalization if len(calls) == 1 else PartBatchNormalization
    norm = writing.layer(key, kind, writing.name(node), **settings)
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return writing.filled(norm, value.tensor, lambda: dict(zip(names, vectors, strict=True)))


def _prelu(writing: Writing, node: Node, value: Value, vectors: Vectors) -> Tensor:
    rank, (slopes,) = len(value.tensor.shape), vectors
    assert slopes is not None
    axes = list(range(1, rank - 1)) if value.last or rank == 2 else list(range(2, rank))
    if slopes.size == 1:
        axes = list(range(1, rank))
    settings = kept_settings(node.source.target, "alpha_regularizer")
    settings["shared_axes"] = axes or None
    key = "prelu", node.name, node.inputs[1], rank
    prelu = writing.layer(key, layers.PReLU, writing.name(node), **settings)
    return writing.filled(prelu, value.tensor, lambda: {"alpha": slopes})


def _layer_scale(writing: Writing, node: Node, value: Value, vectors: Vectors) -> Tensor:
    layer, key = node.source.target, ("layer_scale", node.name, node.inputs[1])
    settings = kept_settings(layer)
    given = layer.init_values, layer.projection_dim
    scale = writing.layer(key, LayerScale, writing.name(node), *given, **settings)
    return writing.filled(scale, value.tensor, lambda: {"gamma": vectors[0]})


def _rescaling(writing: Writing, node: Node, value: Value, vectors: Vectors) -> Tensor:
    ones = [1] * (len(value.tensor.shape) - 2)
    shape = (*ones, -1) if value.last else (-1, *ones)
    scale, offset = (np.reshape(vector, shape) for vector in vectors if vector is not None)
    key, base = ("rescaling", node.name, node.inputs[1:], shape), writing.name(node)
    return writing.layer(key, layers.Rescaling, base, scale=scale, offset=offset)(value.tensor)


def _normalization(writing: Writing, node: Node, value: Value, vectors: Vectors) -> Tensor:
    mean, variance = (vector.tolist() for vector in vectors if vector is not None)
    axis = -1 if value.last else 1
    settings = {
        "axis": axis,
        "mean": mean,
        "variance": variance,
        "invert": node.source.target.invert,
    }
    key, base = ("normalization", node.name, node.inputs[1:], axis), writing.name(node)
    return writing.layer(key, layers.Normalization, base, **settings)(value.tensor)


PER_CHANNEL = {
    "batch_norm": _batch_norm,
    "prelu": _prelu,
    "LayerScale": _layer_scale,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
}


# By statistics.


@writes(ChannelNormalization)
def write_channel_normalization(
    writing: Writing, node: Node, operation: ChannelNormalization
) -> Value:
    """Write layer normalization over the channels of every cell."""
    x = writing.map(node.first)
    axis = writing.channel_axis
    return writing.on_map(_layer_norm(writing, node, operation.epsilon, x, axis))


@writes(LayerNormalization)
def write_layer_normalization(writing: Writing, node: Node, operation: LayerNormalization) -> Value:
    """Write layer normalization on one tensor per window."""
    x = writing.plain(node.first)
    rank = len(x.shape)
    axes = list(range(rank - operation.axes, rank))
    return Value(_layer_norm(writing, node, operation.epsilon, x, axes), False)


def _layer_norm(writing: Writing, node: Node, epsilon: float, x: Tensor, axis: Any) -> Tensor:
    scale, bias = (writing.vector(name) for name in node.inputs[1:])
    settings = kept_settings(node.source.target, "gamma_regularizer", "beta_regularizer") | {
        "axis": axis,
        "epsilon": epsilon,
        "scale": scale is not None,
        "center": bias is not None,
    }
    key = "layer_norm", node.name, node.inputs[1:], str(axis)
    norm = writing.layer(key, layers.LayerNormalization, writing.name(node), **settings)
    return writing.filled(norm, x, lambda: {"gamma": scale, "beta": bias})


@writes(GroupNormalization)
def write_group_normalization(writing: Writing, node: Node, operation: GroupNormalization) -> Value:
    """Write group normalization on one tensor per window, unchanged."""
    return copied_on_map(writing, node)


@writes(SlidingNormalization)
def write_sliding_normalization(
    writing: Writing, node: Node, operation: SlidingNormalization
) -> Value:
    """Write a normalization by the statistics of the window around every cell."""
    x, *parameters = node.inputs
    scale, bias = ([writing.vector(name) for name in parameters] + [None, None])[:2]
    norm = writing.layer(
        ("sliding", node.name, *parameters, operation),
        sliding.SlidingNormalization,
        writing.name(node),
        channels_last=writing.last,
        trainable=node.source.target.trainable,
        groups=operation.groups,
        kernel=operation.kernel,
        dilation=operation.dilation,
        epsilon=operation.epsilon,
        scale=scale is not None,
        center=bias is not None,
    )
    image = writing.map(x)
    channels = image.shape[writing.channel_axis]
    weights = {
        name: None if vector is None else np.repeat(vector, channels // prod(vector.shape))
        for name, vector in (("gamma", scale), ("beta", bias))
    }
    return writing.on_map(writing.filled(norm, image, lambda: weights))
