"""How layers read that compute each number by itself, or with the parameters of its channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras.src.applications.convnext import LayerScale, StochasticDepth

from fullconv.frameworks.keras.activations import operation_of
from fullconv.frameworks.keras.calls import Call, Slot, numbers
from fullconv.frameworks.keras.layer_table import handles
from fullconv.frameworks.keras.part_layers import PartBatchNormalization
from fullconv.operations import AlongAxis, Identity, Opaque, PerChannel, Pointwise

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

layers = keras.layers

POINTWISE = (layers.ReLU, layers.LeakyReLU, layers.ELU)
MERGES = (
    *(layers.Add, layers.Subtract, layers.Multiply),
    *(layers.Average, layers.Maximum, layers.Minimum),
)
UNCHANGED = (
    *(layers.Dropout, layers.SpatialDropout2D, layers.GaussianDropout, layers.AlphaDropout),
    *(layers.GaussianNoise, layers.ActivityRegularization, layers.Identity),
    *(layers.RandomFlip, layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom),
    *(layers.RandomContrast, layers.RandomBrightness, StochasticDepth),
)
"""Layers that hand their input on when a model is evaluated."""


@handles(*POINTWISE)
def _pointwise(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source, output = reader.alike([x], result, path)
    reader.add(Pointwise(type(layer).__name__), source, (output,), path, Call(layer))
    return True


@handles(*UNCHANGED)
def _unchanged(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source, output = reader.alike([x], result, path)
    reader.add(Identity(type(layer).__name__), source, (output,), path, Call(layer))
    return True


@handles(layers.Activation)
def _activation(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    operation = operation_of(layer.activation, len(x.shape) - 1)
    if isinstance(operation, Opaque):
        return False
    source, output = reader.alike([x], result, path)
    if isinstance(operation, AlongAxis):
        operation = replace(operation, axis=reader.axis(operation.axis, result))
    reader.add(operation, source, (output,), path, Call(layer, part="activation"))
    return True


@handles(*MERGES)
def _merge(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    tensors = list(x)
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        return False
    sources, output = reader.alike(tensors, result, path)
    call = Call(layer, ([Slot(index) for index in range(len(tensors))],))
    reader.add(Pointwise(type(layer).__name__), sources, (output,), path, call)
    return True


@handles(layers.Softmax)
def _softmax(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    if not isinstance(layer.axis, int):
        return False
    source, output = reader.alike([x], result, path)
    axis = reader.axis(layer.axis, result)
    reader.add(AlongAxis("softmax", axis), source, (output,), path, Call(layer))
    return True


@handles(layers.PReLU)
def _prelu(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    rank = len(x.shape)
    varying = [1 + place for place, size in enumerate(layer.alpha.shape) if size != 1]
    last = rank == 4 and (varying == [3] or (not varying and reader.has_map(x)))
    if len(varying) > 1 or (varying and not last and varying != [1]):
        return False
    source = reader.map(x) if last else reader.native(x)
    output = reader.bind(result, path, is_map=last)
    slopes = reader.weight(layer.alpha, f"{path}/alpha")
    flat = reader.constant(slopes.reshape(prod(slopes.shape)), "slopes")
    reader.add(PerChannel("prelu"), (source, flat), (output,), path, Call(layer))
    return True


@handles(layers.BatchNormalization, PartBatchNormalization)
def _batch_norm(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    rank = len(x.shape)
    if layer.axis % rank not in (1, rank - 1) or rank not in (2, 4):
        return False
    last = rank == 4 and layer.axis % rank == 3
    source = reader.map(x) if last else reader.native(x)
    output = reader.bind(result, path, is_map=last)
    held = (
        layer.gamma if layer.scale else None,
        layer.beta if layer.center else None,
        layer.moving_mean,
        layer.moving_variance,
    )
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    parameters = [
        None if variable is None else reader.weight(variable, f"{path}/{name}").source
        for variable, name in zip(held, names, strict=True)
    ]
    inputs = (source, *parameters)
    reader.add(PerChannel("batch_norm"), inputs, (output,), path, Call(layer))
    return True


@handles(LayerScale)
def _layer_scale(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    if len(x.shape) != 4 or not reader.channels_last:
        return False
    source, output = reader.map(x), reader.bind(result, path, is_map=True)
    factors = reader.weight(layer.gamma, f"{path}/gamma").source
    reader.add(PerChannel("LayerScale"), (source, factors), (output,), path, Call(layer))
    return True


@handles(layers.Rescaling, layers.Normalization)
def _scaling(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    """Read what is subtracted from and multiplied with all pixels, or with those of a channel."""
    if type(layer) is layers.Rescaling:
        arrays = [numbers(layer.scale), numbers(layer.offset)]
        if keras.config.image_data_format() == "channels_first":  # then it gives them these axes
            arrays = [a.reshape(*a.shape, *[1] * (3 - a.ndim)) if a.ndim else a for a in arrays]
        names = ("scale", "offset")
    else:
        arrays = [numbers(layer.mean), numbers(layer.variance)]
        names = ("mean", "variance")
    if all(array.size == 1 for array in arrays):
        source, output = reader.alike([x], result, path)
        kind = type(layer).__name__
        reader.add(Pointwise(kind), source, (output,), path, Call(layer))
        return True
    rank, channels = len(x.shape), max(array.size for array in arrays)
    along = {_axis_of(array.shape, rank) for array in arrays if array.size > 1}
    if along not in ({1}, {rank - 1}) or rank not in (2, 4):
        return False
    last = rank == 4 and along == {3}
    source_ = reader.map(x) if last else reader.native(x)
    output = reader.bind(result, path, is_map=last)
    vectors = [
        reader.weight(np.broadcast_to(array.reshape(-1), (channels,)), f"{path}/{name}").source
        for array, name in zip(arrays, names, strict=True)
    ]
    operation = PerChannel(type(layer).__name__)
    reader.add(operation, (source_, *vectors), (output,), path, Call(layer))
    return True


def _axis_of(shape: Sequence[int], rank: int) -> int:
    """Return the axis of a tensor along which a parameter varies; -1 where along several."""
    varying = [rank - len(shape) + place for place, size in enumerate(shape) if size != 1]
    return varying[0] if len(varying) == 1 else -1
