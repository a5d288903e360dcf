"""How layers on maps read: convolutions, fully connected layers, pools and upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import keras

from fullconv.errors import WindowError
from fullconv.frameworks.keras.activations import read_activation
from fullconv.frameworks.keras.calls import Call
from fullconv.frameworks.keras.layer_table import handles
from fullconv.graph import Recipe
from fullconv.operations import (
    NO_PADDING,
    Convolution,
    Linear,
    Padding,
    Pool,
    Reduce,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

layers = keras.layers


def _same(
    cells: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Padding:
    """Return what ``padding="same"`` adds at a size: TensorFlow's rule, the odd cell goes after."""
    pads = []
    for n, k, s, d in zip(cells, kernel, stride, dilation, strict=True):
        total = d * (k - 1)
        if s > 1:
            total = max(0, (-(n // -s) - 1) * s + total + 1 - n)
        pads.append((total // 2, total - total // 2))
    return pads[0], pads[1]


def pair(numbers: Any) -> tuple[int, int]:
    """Return two whole numbers, as (rows, columns)."""
    rows, columns = numbers
    return int(rows), int(columns)


def _convolve(
    reader: Reader,
    layer: Any,
    path: str,
    x: str,
    weight: Recipe,
    bias: str | None,
    groups: int,
    output: str,
    part: str = "",
) -> None:
    """Append the convolution that a layer's own settings describe."""
    kernel, stride = (weight.shape[2], weight.shape[3]), pair(layer.strides)
    dilation = pair(layer.dilation_rate)
    padding = NO_PADDING
    if layer.padding == "same":
        padding = _same(reader.shapes[x][2:], kernel, stride, dilation)
    operation = Convolution(kernel, stride, padding, dilation, groups)
    filters = reader.constant(weight, "filters")
    reader.add(operation, (x, filters, bias), (output,), path, Call(layer, part=part))


def _bias(reader: Reader, layer: Any, path: str) -> str | None:
    if not layer.use_bias:
        return None
    return reader.weight(layer.bias, f"{path}/bias").source


@handles(layers.Conv2D)
def _conv(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    weight = reader.weight(layer.kernel, f"{path}/kernel").permute(3, 2, 0, 1)
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    bias = _bias(reader, layer, path)
    _convolve(reader, layer, path, source, weight, bias, layer.groups, made)
    finish()
    return True


def _by_channel(kernel: Recipe) -> Recipe:
    """Turn a depthwise kernel ``(kh, kw, C, M)`` into filters ``(C * M, 1, kh, kw)``."""
    kh, kw, channels, multiplier = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, kh, kw)


@handles(layers.DepthwiseConv2D)
def _depthwise(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    kernel = reader.weight(layer.kernel, f"{path}/kernel")
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    bias = _bias(reader, layer, path)
    weight = _by_channel(kernel)
    _convolve(reader, layer, path, source, weight, bias, kernel.shape[2], made, "depthwise")
    finish()
    return True


@handles(layers.SeparableConv2D)
def _separable(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    kernel = reader.weight(layer.depthwise_kernel, f"{path}/depthwise_kernel")
    mixing = reader.weight(layer.pointwise_kernel, f"{path}/pointwise_kernel")
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    between = reader.fresh(f"{path}/depthwise")
    batch, _, *cells = reader.shapes[made]
    reader.shapes[between] = (batch, mixing.shape[2], *cells)
    weight = _by_channel(kernel)
    _convolve(reader, layer, path, source, weight, None, kernel.shape[2], between, "depthwise")
    filters = reader.constant(mixing.permute(3, 2, 0, 1), "filters")
    bias = _bias(reader, layer, path)
    reader.add(Convolution((1, 1)), (between, filters, bias), (made,), path, Call(layer))
    finish()
    return True


@handles(layers.Conv2DTranspose)
def _transposed(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    kernel, stride = pair(layer.kernel_size), pair(layer.strides)
    plain = layer.padding == "valid" and layer.output_padding is None
    if not plain or any(k < s for k, s in zip(kernel, stride, strict=True)):
        return False
    if pair(layer.dilation_rate) != (1, 1):
        return False
    weight = reader.weight(layer.kernel, f"{path}/kernel").permute(3, 2, 0, 1)
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    operation = TransposedConvolution(kernel, stride, NO_PADDING, (1, 1), 1, (0, 0))
    inputs = (source, reader.constant(weight, "filters"), _bias(reader, layer, path))
    reader.add(operation, inputs, (made,), path, Call(layer))
    finish()
    return True


@handles(layers.Dense)
def _dense(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
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


@handles(layers.MaxPooling2D, layers.AveragePooling2D)
def _pool(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    kind: Literal["max", "average"] = "max" if type(layer) is layers.MaxPooling2D else "average"
    kernel, stride = pair(layer.pool_size), pair(layer.strides)
    source = reader.map(x, layer.data_format)
    padding = NO_PADDING
    if layer.padding == "same":
        padding = _same(reader.shapes[source][2:], kernel, stride, (1, 1))
    if kind == "average" and any(before != after for before, after in padding):
        # Backends disagree about what such padding counts for (Keras 3.15: PyTorch's repeats the
        # border, the others leave it out): the layer itself knows.
        return False
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    reader.add(Pool(kind, kernel, stride, padding), (source,), (output,), path, Call(layer))
    return True


@handles(layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
def _global_pool(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    average = type(layer) is layers.GlobalAveragePooling2D
    source = reader.map(x, layer.data_format)
    is_map = layer.keepdims and layer.data_format == "channels_last"
    output = reader.bind(result, path, is_map=is_map)
    operation = Reduce("mean" if average else "max", (2, 3), bool(layer.keepdims))
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


@handles(layers.UpSampling2D)
def _upsample(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    if layer.interpolation != "nearest":
        return False
    source = reader.map(x, layer.data_format)
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    reader.add(Upsample(pair(layer.size)), (source,), (output,), path, Call(layer))
    return True
