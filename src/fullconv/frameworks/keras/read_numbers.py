"""Readers of layers that compute number by number, per channel, or by statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import keras
import numpy as np

from fullconv.frameworks.keras.activations import operation_of
from fullconv.frameworks.keras.calls import Call, Slot, Tensor, numbers
from fullconv.frameworks.keras.part_layers import PartBatchNormalization
from fullconv.frameworks.keras.private import LayerScale, StochasticDepth
from fullconv.frameworks.keras.tables import handles, of_axes
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.operations import (
    AlongAxis,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Opaque,
    PerChannel,
    Permute,
    Pointwise,
)

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

layers = keras.layers

POINTWISE = (layers.ReLU, layers.LeakyReLU, layers.ELU)
MERGES = (
    *(layers.Add, layers.Subtract, layers.Multiply),
    *(layers.Average, layers.Maximum, layers.Minimum),
)
UNCHANGED = (
    *(layers.Dropout, layers.GaussianDropout, layers.AlphaDropout, StochasticDepth),
    *of_axes("SpatialDropout{}D"),
    *(layers.GaussianNoise, layers.ActivityRegularization, layers.Identity),
    *(layers.RandomFlip, layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom),
    *(layers.RandomContrast, layers.RandomBrightness),
)
"""Layers that return their input unchanged at inference."""


@handles(*POINTWISE)
def _pointwise(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    source, output = reader.alike([x], result, path)
    reader.add(Pointwise(type(layer).__name__), source, (output,), path, Call(layer))
    return True


@handles(*UNCHANGED)
def _unchanged(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    source, output = reader.alike([x], result, path)
    reader.add(Identity(type(layer).__name__), source, (output,), path, Call(layer))
    return True


@handles(layers.Activation)
def _activation(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    operation = operation_of(layer.activation, len(x.shape) - 1)
    if isinstance(operation, Opaque):
        return False
    source, output = reader.alike([x], result, path)
    if isinstance(operation, AlongAxis):
        operation = replace(operation, axis=reader.axis(operation.axis, result))
    reader.add(operation, source, (output,), path, Call(layer, part="activation"))
    return True


@handles(*MERGES)
def _merge(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    tensors = list(x)
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        return False
    sources, output = reader.alike(tensors, result, path)
    call = Call(layer, ([Slot(index) for index in range(len(tensors))],))
    reader.add(Pointwise(type(layer).__name__), sources, (output,), path, call)
    return True


@handles(layers.Softmax)
def _softmax(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    if not isinstance(layer.axis, int):
        return False
    source, output = reader.alike([x], result, path)
    axis = reader.axis(layer.axis, result)
    reader.add(AlongAxis("softmax", axis), source, (output,), path, Call(layer))
    return True


# Layers with parameters for every channel, which is the last or the second axis.


@handles(layers.PReLU)
def _prelu(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    varying = [1 + place for place, size in enumerate(layer.alpha.shape) if size != 1]
    if len(varying) > 1:
        return False
    axis = varying[0] if varying else -1 if reader.has_map(x) else 1
    named = reader.along(x, result, axis, path)
    if named is None:
        return False
    slopes = reader.weight(layer.alpha, f"{path}/alpha")
    flat = reader.constant(slopes.reshape(prod(slopes.shape)), "slopes")
    reader.add(PerChannel("prelu"), (named[0], flat), named[1:], path, Call(layer))
    return True


@handles(layers.BatchNormalization, PartBatchNormalization)
def _batch_norm(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    named = reader.along(x, result, layer.axis, path)
    if named is None:
        return False
    variables = (
        (layer.gamma if layer.scale else None, "gamma"),
        (layer.beta if layer.center else None, "beta"),
        (layer.moving_mean, "moving_mean"),
        (layer.moving_variance, "moving_variance"),
    )
    parameters = [
        None if variable is None else reader.weight(variable, f"{path}/{name}").source
        for variable, name in variables
    ]
    inputs = (named[0], *parameters)
    reader.add(PerChannel("batch_norm"), inputs, named[1:], path, Call(layer))
    return True


@handles(LayerScale)
def _layer_scale(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    if len(x.shape) < 3 or not reader.channels_last:
        return False
    source, output = reader.map(x), reader.bind(result, path, is_map=True)
    factors = reader.weight(layer.gamma, f"{path}/gamma").source
    reader.add(PerChannel("LayerScale"), (source, factors), (output,), path, Call(layer))
    return True


@handles(layers.Rescaling, layers.Normalization)
def _scaling(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    """Read a shift and a scaling of all pixels, or of the pixels of each channel."""
    if type(layer) is layers.Rescaling:
        arrays = [numbers(layer.scale), numbers(layer.offset)]
        if keras.config.image_data_format() == "channels_first":  # then the layer adds these axes
            arrays = [a.reshape(*a.shape, *[1] * (3 - a.ndim)) if a.ndim else a for a in arrays]
        names = ("scale", "offset")
    else:
        arrays = [numbers(layer.mean), numbers(layer.variance)]
        names = ("mean", "variance")
    if all(array.size == 1 for array in arrays):
        sources, output = reader.alike([x], result, path)
        kind = type(layer).__name__
        reader.add(Pointwise(kind), sources, (output,), path, Call(layer))
        return True
    channels = max(array.size for array in arrays)
    axes = {_axis_of(array.shape, len(x.shape)) for array in arrays if array.size > 1}
    axis = axes.pop() if len(axes) == 1 else 0
    named = reader.along(x, result, axis, path) if axis else None
    if named is None:
        return False
    vectors = [
        reader.weight(np.broadcast_to(array.reshape(-1), (channels,)), f"{path}/{name}").source
        for array, name in zip(arrays, names, strict=True)
    ]
    operation = PerChannel(type(layer).__name__)
    reader.add(operation, (named[0], *vectors), named[1:], path, Call(layer))
    return True


def _axis_of(shape: Sequence[int], rank: int) -> int:
    """Return the axis of a tensor along which a parameter varies; 0 if it varies along several."""
    varying = [rank - len(shape) + place for place, size in enumerate(shape) if size != 1]
    return varying[0] if len(varying) == 1 else 0


# Layers that normalize by statistics of their input.


def _affine(reader: Reader, layer: keras.Layer, path: str) -> list[str | None]:
    """Name the factors and summands of a normalization; None for those that it lacks."""
    variables = ((layer.gamma, "gamma", layer.scale), (layer.beta, "beta", layer.center))
    return [
        reader.weight(variable, f"{path}/{name}").source if used else None
        for variable, name, used in variables
    ]


@handles(layers.LayerNormalization)
def _layer_norm(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    rank = len(x.shape)
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    count = len(axes)
    if getattr(layer, "rms_scaling", False):
        return False
    along_channels = rank > 2 and axes == [1]
    if not along_channels and sorted(n % rank for n in axes) != list(range(rank - count, rank)):
        return False
    source, output = reader.native(x), reader.bind(result, path)
    parameters = _affine(reader, layer, path)
    operation = LayerNormalization(count, float(layer.epsilon))
    if not along_channels:
        reader.add(operation, (source, *parameters), (output,), path, Call(layer))
        return True
    last, back = to_last_order(rank), to_map_order(rank)
    turned, normal = (reader.fresh(f"{path}/{word}") for word in ("turned", "normal"))
    for name in (turned, normal):
        reader.shapes[name] = tuple(x.shape[i] for i in last)
    reader.add(Permute(last), (source,), (turned,), path, Call(layer, part="turned"))
    reader.add(operation, (turned, *parameters), (normal,), path, Call(layer))
    reader.add(Permute(back), (normal,), (output,), path, Call(layer, part="turned"))
    return True


@handles(layers.GroupNormalization)
def _group_norm(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    rank = len(x.shape)
    if rank < 3 or not isinstance(layer.axis, int):
        return False
    named = reader.along(x, result, layer.axis, path)
    if named is None:
        return False
    channels = reader.shapes[named[0]][1]
    groups = channels if layer.groups == -1 else int(layer.groups)
    operation = GroupNormalization(groups, float(layer.epsilon))
    inputs = (named[0], *_affine(reader, layer, path))
    reader.add(operation, inputs, named[1:], path, Call(layer))
    return True
