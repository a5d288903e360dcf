"""Readers of layers on maps: convolutions, fully connected layers, pools and upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import keras

from fullconv.errors import WindowError
from fullconv.frameworks.keras.activations import read_activation
from fullconv.frameworks.keras.calls import Call, Tensor, whole
from fullconv.frameworks.keras.kernels import as_depthwise_filters, as_filters
from fullconv.frameworks.keras.spreading import spreading
from fullconv.frameworks.keras.tables import handles, of_axes
from fullconv.graph.graph import Recipe
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Linear,
    Padding,
    Pool,
    Reduce,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

layers = keras.layers


def _same(
    cells: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Padding:
    """Return what ``padding="same"`` adds at a size; the odd cell goes after, as in TensorFlow."""
    pads = []
    for n, k, s, d in zip(cells, kernel, stride, dilation, strict=True):
        total = d * (k - 1)
        if s > 1:
            total = max(0, (-(n // -s) - 1) * s + total + 1 - n)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def format_of(layer: keras.Layer) -> str:
    """Return a layer's order of channels; some layers over one axis have them last only."""
    return str(getattr(layer, "data_format", "channels_last"))


def _convolve(
    reader: Reader,
    layer: keras.Layer,
    path: str,
    x: str,
    weight: Recipe,
    bias: str | None,
    groups: int,
    output: str,
    part: str = "",
) -> None:
    """Append the convolution that a layer's own settings describe."""
    kernel, stride, dilation = weight.shape[2:], whole(layer.strides), whole(layer.dilation_rate)
    padding: Padding = ()
    if layer.padding == "same":
        padding = _same(reader.shapes[x][2:], kernel, stride, dilation)
    elif layer.padding == "causal":
        padding = tuple((d * (k - 1), 0) for k, d in zip(kernel, dilation, strict=True))
    operation = Convolution(kernel, stride, padding, dilation, groups)
    filters = reader.constant(weight, "filters")
    reader.add(operation, (x, filters, bias), (output,), path, Call(layer, part=part))


def _bias(reader: Reader, layer: keras.Layer, path: str) -> str | None:
    if not layer.use_bias:
        return None
    return reader.weight(layer.bias, f"{path}/bias").source


@handles(*of_axes("Conv{}D"))
def _conv(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    weight = as_filters(reader.weight(layer.kernel, f"{path}/kernel"))
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    bias = _bias(reader, layer, path)
    _convolve(
        reader=reader,
        layer=layer,
        path=path,
        x=source,
        weight=weight,
        bias=bias,
        groups=layer.groups,
        output=made,
    )
    finish()
    return True


@handles(*of_axes("DepthwiseConv{}D"))
def _depthwise(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    kernel = reader.weight(layer.kernel, f"{path}/kernel")
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    bias, weight, groups = (
        _bias(reader, layer, path),
        as_depthwise_filters(kernel),
        kernel.shape[-2],
    )
    _convolve(
        reader=reader,
        layer=layer,
        path=path,
        x=source,
        weight=weight,
        bias=bias,
        groups=groups,
        output=made,
        part="depthwise",
    )
    finish()
    return True


@handles(*of_axes("SeparableConv{}D"))
def _separable(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    kernel = reader.weight(layer.depthwise_kernel, f"{path}/depthwise_kernel")
    mixing = reader.weight(layer.pointwise_kernel, f"{path}/pointwise_kernel")
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    between = reader.fresh(f"{path}/depthwise")
    batch, _, *cells = reader.shapes[made]
    reader.shapes[between] = (batch, mixing.shape[-2], *cells)
    weight, groups = as_depthwise_filters(kernel), kernel.shape[-2]
    _convolve(
        reader=reader,
        layer=layer,
        path=path,
        x=source,
        weight=weight,
        bias=None,
        groups=groups,
        output=between,
        part="depthwise",
    )
    filters = reader.constant(as_filters(mixing), "filters")
    bias = _bias(reader, layer, path)
    operation = Convolution((1,) * len(cells))
    reader.add(operation, (between, filters, bias), (made,), path, Call(layer))
    finish()
    return True


@handles(*of_axes("Conv{}DTranspose"))
def _transposed(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    operation = spreading(layer)
    if operation is None:
        return False
    weight = as_filters(reader.weight(layer.kernel, f"{path}/kernel"))
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    inputs = (source, reader.constant(weight, "filters"), _bias(reader, layer, path))
    reader.add(operation, inputs, (made,), path, Call(layer))
    finish()
    return True


@handles(layers.Dense)
def _dense(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    source = reader.native(x)
    kernel = reader.weight(layer.kernel, f"{path}/kernel")
    given, wanted = reader.shapes[source][-1], kernel.shape[0]
    if given != wanted:
        raise WindowError(
            f"convert: the model does not take images of this size: Dense {path!r} is given "
            f"{given} numbers and has weights for {wanted}. Give the size it was trained on."
        )
    made, finish = read_activation(reader, layer, path, result, "channels_first")
    weight = reader.constant(kernel.permute(1, 0), "turned")
    inputs = (source, weight, _bias(reader, layer, path))
    reader.add(Linear(), inputs, (made,), path, Call(layer))
    finish()
    return True


PoolKind = Literal["max", "average"]


def _kind(layer: keras.Layer) -> PoolKind:
    return "max" if "Max" in type(layer).__name__ else "average"


@handles(*of_axes("MaxPooling{}D", "AveragePooling{}D"))
def _pool(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    kind, kernel, stride = _kind(layer), whole(layer.pool_size), whole(layer.strides)
    source = reader.map(x, layer.data_format)
    padding: Padding = ()
    if layer.padding == "same":
        padding = _same(reader.shapes[source][2:], kernel, stride, (1,) * len(kernel))
    if kind == "average" and any(before != after for before, after in padding):
        # Backends disagree about what such padding counts for (Keras 3.15: PyTorch's repeats the
        # border, the others leave it out), so the layer itself is called.
        return False
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    operation = Pool(kernel, stride, padding, kind=kind)
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


@handles(*of_axes("AdaptiveMaxPooling{}D", "AdaptiveAveragePooling{}D"))
def _adaptive_pool(
    reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor
) -> bool:
    source = reader.map(x, layer.data_format)
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    operation = AdaptivePool(_kind(layer), whole(layer.output_size))
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


@handles(*of_axes("GlobalAveragePooling{}D", "GlobalMaxPooling{}D"))
def _global_pool(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    source = reader.map(x, layer.data_format)
    is_map = layer.keepdims and layer.data_format == "channels_last"
    output = reader.bind(result, path, is_map=is_map)
    axes = tuple(range(2, len(x.shape)))
    operation = Reduce("max" if _kind(layer) == "max" else "mean", axes, bool(layer.keepdims))
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


@handles(*of_axes("UpSampling{}D"))
def _upsample(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    if getattr(layer, "interpolation", "nearest") != "nearest":
        return False
    source = reader.map(x, format_of(layer))
    output = reader.bind(result, path, is_map=format_of(layer) == "channels_last")
    reader.add(Upsample(whole(layer.size)), (source,), (output,), path, Call(layer))
    return True
