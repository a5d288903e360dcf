"""Writers of convolutions, fully connected layers, pools and upsampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from fullconv.frameworks.keras.activations import name_of
from fullconv.frameworks.keras.axis_layers import Upsample
from fullconv.frameworks.keras.calls import Array, Call
from fullconv.frameworks.keras.copying import copied_on_map
from fullconv.frameworks.keras.kernels import Use, as_depthwise_kernel, as_kernel, use_of
from fullconv.frameworks.keras.layers import settings_of
from fullconv.frameworks.keras.map_layers import MovingPool
from fullconv.frameworks.keras.part_layers import (
    PartConv1D,
    PartConv2D,
    PartConv3D,
    PartDepthwiseConv1D,
    PartDepthwiseConv2D,
)
from fullconv.frameworks.keras.write_borders import cropped, padded
from fullconv.frameworks.keras.writing import Value, Writing, kept_settings, writes
from fullconv.geometry.grid import Sliding
from fullconv.graph.graph import Node
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Linear,
    Padding,
    Pointwise,
    Pool,
    TransposedConvolution,
)
from fullconv.operations import Upsample as Repeat

layers = keras.layers

CONVOLUTIONS = {
    1: (layers.Conv1D, PartConv1D),
    2: (layers.Conv2D, PartConv2D),
    3: (layers.Conv3D, PartConv3D),
}
DEPTHWISE = {
    1: (layers.DepthwiseConv1D, PartDepthwiseConv1D),
    2: (layers.DepthwiseConv2D, PartDepthwiseConv2D),
}
TRANSPOSED = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
POOLS = {
    "max": {1: layers.MaxPooling1D, 2: layers.MaxPooling2D, 3: layers.MaxPooling3D},
    "average": {1: layers.AveragePooling1D, 2: layers.AveragePooling2D, 3: layers.AveragePooling3D},
}
ENLARGING = {2: layers.UpSampling2D, 3: layers.UpSampling3D}
"""Layers over one axis are not listed: they have their channels last only."""


@writes(Convolution)
def write_convolution(writing: Writing, node: Node, operation: Convolution) -> Value:
    """Write a convolution: a plain layer where its filters are called in one way only."""
    whole, use = use_of(writing.graph, node)
    uses, axes = writing.uses[whole], operation.dimensions
    x, name = writing.map(node.first), writing.name(node)
    by_channel = node.source.part == "depthwise"
    depthwise = by_channel and axes in DEPTHWISE
    plain = len(set(uses)) == 1 and not use.cuts and _has_layer(operation, depthwise)
    bias = next((u.bias for u in uses if u.bias is not None), None)
    settings = _settings(node, depthwise) | {
        "kernel_size": whole.shape[2:],
        "use_bias": bias is not None,
        "data_format": writing.format,
    }
    if by_channel and "Separable" in type(node.source.target).__name__:
        name = f"{name}_depthwise"
    if plain:
        settings |= {"strides": operation.stride, "dilation_rate": operation.dilation}
        mode = _padding_of(operation)
        if mode is not None:
            settings["padding"] = mode
        else:
            x = padded(writing, x, operation.padding)
        function = _fused(writing, node) if len(uses) == 1 else None
        if function is not None:
            settings["activation"] = function
    times = max(1, whole.shape[0] // operation.groups)
    if depthwise:
        settings["depth_multiplier"] = times
    else:
        settings |= {"filters": whole.shape[0], "groups": operation.groups}
    kind = (DEPTHWISE if depthwise else CONVOLUTIONS)[axes][0 if plain else 1]
    layer = writing.layer(("conv", whole), kind, name, **settings)

    def weights() -> dict[str, Array | None]:
        filters = writing.array(whole)
        kernel = as_depthwise_kernel(filters, times) if depthwise else as_kernel(filters)
        return {"kernel": kernel, "bias": writing.vector(bias)}

    return writing.on_map(writing.filled(layer, x, weights, **({} if plain else _arguments(use))))


def _has_layer(operation: Convolution, depthwise: bool) -> bool:
    """Whether Keras has a layer of this geometry: no layer strides and dilates at once."""
    both = max(operation.stride) > 1 and max(operation.dilation) > 1
    uneven = depthwise and len(set(operation.stride)) > 1
    return not both and not uneven


def _padding_of(operation: Convolution) -> str | None:
    """Return Keras' word for a padding that is the same at every size; None if it has none."""
    if not any(map(any, operation.padding)):
        return "valid"
    spans = [d * (k - 1) for k, d in zip(operation.kernel, operation.dilation, strict=True)]
    if operation.padding == tuple((n // 2, n - n // 2) for n in spans):
        return "same" if set(operation.stride) == {1} else None
    causal = operation.groups == 1 and operation.padding == ((spans[0], 0),)
    return "causal" if causal else None


def _settings(node: Node, depthwise: bool) -> dict[str, Any]:
    """Return the settings that a convolution keeps of its original layer."""
    layer = node.source.target
    kernel = "depthwise" if depthwise else "kernel"
    names = [f"{kernel}_regularizer", "bias_regularizer"]
    settings = kept_settings(layer, *names) | {f"{kernel}_initializer": "zeros"}
    if "Separable" in type(layer).__name__ and not depthwise:
        settings[names[0]] = layer.pointwise_regularizer
    return settings


def _arguments(use: Use) -> dict[str, Any]:
    """Return the arguments of one call of a layer that is called in several ways."""
    operation = use.operation
    cut = {axis: (start, stop) for axis, start, stop in use.cuts}
    spans = tuple(cut.get(2 + axis) for axis in range(operation.dimensions))
    by_name = zip(("rows", "columns"), spans, strict=True) if len(spans) == 2 else ()
    return {
        "strides": operation.stride,
        "dilation": operation.dilation,
        "padding": operation.padding if any(map(any, operation.padding)) else None,
        **(dict(by_name) or {"cuts": spans}),
        "biased": use.bias is not None,
    }


def _fused(writing: Writing, node: Node) -> Any:
    """Return the activation that alone reads a convolution, and fuse the two."""
    (value,) = node.outputs
    readers = writing.graph.consumers(value)
    if len(readers) != 1 or value in writing.graph.outputs:
        return None
    (reader,) = readers
    call, own = reader.source, node.source
    if not isinstance(call, Call) or call.target is not own.target or reader.per_window:
        return None
    if call.part != "activation" or isinstance(call.target, layers.Activation):
        return None
    function = call.target.activation
    along = writing.last and name_of(function) in ("softmax", "log_softmax")
    if not along and not isinstance(reader.operation, Pointwise):
        return None
    writing.fuse(reader)
    return function


@writes(TransposedConvolution)
def write_transposed_convolution(
    writing: Writing, node: Node, operation: TransposedConvolution
) -> Value:
    """Write a transposed convolution, and cut what its padding takes away."""
    filters = writing.array(node.inputs[1] or "")
    ends = zip(operation.padding, operation.output_padding, strict=True)
    beyond = [more - after for (_, after), more in ends]
    # By default, Keras adds the cells that a stride leaves beyond a shorter kernel.
    moves = zip(operation.kernel, operation.dilation, operation.stride, strict=True)
    plain = not any(beyond) and all(Sliding(k, 1, d).span >= s for k, d, s in moves)
    bias = writing.vector(node.inputs[2])
    settings = _settings(node, False) | {
        "filters": filters.shape[1],
        "kernel_size": operation.kernel,
        "strides": operation.stride,
        "dilation_rate": operation.dilation,
        "output_padding": None if plain else tuple(max(0, n) for n in beyond),
        "use_bias": bias is not None,
        "data_format": writing.format,
    }
    key = "transposed", node.inputs[1], operation
    layer = writing.layer(key, TRANSPOSED[operation.dimensions], writing.name(node), **settings)
    weights = {"kernel": as_kernel(filters), "bias": bias}
    result = writing.filled(layer, writing.map(node.first), lambda: weights)
    before = (before for before, _ in operation.padding)
    cut = tuple(zip(before, (max(0, -n) for n in beyond), strict=True))
    return writing.on_map(cropped(writing, result, cut) if any(map(any, cut)) else result)


@writes(Linear)
def write_linear(writing: Writing, node: Node, operation: Linear) -> Value:
    """Write a fully connected layer on one tensor per window."""
    weight, bias = (writing.vector(name) for name in node.inputs[1:3])
    assert weight is not None
    settings = _settings(node, False) | {"use_bias": bias is not None}
    key = "dense", node.inputs[1:]
    layer = writing.layer(key, layers.Dense, writing.name(node), weight.shape[0], **settings)
    x = writing.plain(node.first)
    weights = {"kernel": weight.T, "bias": bias}
    return Value(writing.filled(layer, x, lambda: weights), False)


@writes(Pool)
def write_pool(writing: Writing, node: Node, operation: Pool) -> Value:
    """Write a pool, as a layer of Keras where it has one for it."""
    x = writing.map(node.first)
    if node.per_window:
        return copied_on_map(writing, node)
    mode = _pool_padding(operation)
    if mode is None:
        settings = settings_of(MovingPool, operation)
        return writing.on_map(writing.own(MovingPool, x, node=node, **settings))
    kind = POOLS[operation.kind][operation.dimensions]
    key = "pool", node.name, replace(operation, channels=0)
    moves = operation.kernel, operation.stride, mode, writing.format
    return writing.on_map(writing.layer(key, kind, writing.name(node), *moves)(x))


def _pool_padding(operation: Pool) -> str | None:
    """Return Keras' word for a pool's padding; None where it has no word, or no such pool."""
    if set(operation.dilation) != {1} or operation.kind == "sum" or operation.divisor is not None:
        return None
    pads = operation.padding
    if not any(map(any, pads)):
        return "valid"
    same: Padding = tuple(((k - 1) // 2, k // 2) for k in operation.kernel)
    even = all(before == after for before, after in pads)
    fits = pads == same and set(operation.stride) == {1}
    return "same" if fits and (even or operation.kind == "max") else None


@writes(AdaptivePool)
def write_adaptive_pool(writing: Writing, node: Node, operation: AdaptivePool) -> Value:
    """Write an adaptive pool on one tensor per window, unchanged."""
    return copied_on_map(writing, node)


@writes(Repeat)
def write_upsample(writing: Writing, node: Node, operation: Repeat) -> Value:
    """Write an upsampling, which repeats every cell."""
    x, axes = writing.map(node.first), operation.dimensions
    if axes == 1 and not writing.last:
        return writing.on_map(writing.own(Upsample, x, node=node, factor=operation.factor))
    key, name = ("upsample", node.name), writing.name(node)
    if axes == 1:
        (factor,) = operation.factor
        return writing.on_map(writing.layer(key, layers.UpSampling1D, name, factor)(x))
    enlarge = writing.layer(key, ENLARGING[axes], name, operation.factor, writing.format)
    return writing.on_map(enlarge(x))
