"""How layers on maps read: convolutions, fully connected layers, pools and upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import keras
import numpy as np

from fullconv.errors import WindowError
from fullconv.frameworks.keras.activations import read_activation
from fullconv.frameworks.keras.calls import Call, Tensor, numbers
from fullconv.frameworks.keras.kernels import as_depthwise_filters, as_filters
from fullconv.frameworks.keras.layer_table import handles, of_axes
from fullconv.geometry import Pair, Sizes
from fullconv.graph import Recipe
from fullconv.operations import (
    AdaptivePool,
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
    return tuple(pads)


def whole(sizes: Sequence[int] | int) -> Sizes:
    """Return a setting as whole numbers, one for every axis."""
    return (int(sizes),) if isinstance(sizes, int) else tuple(int(n) for n in sizes)


def format_of(layer: keras.Layer) -> str:
    """Return where a layer's channels stand; some layers over one axis know them last only."""
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
    _convolve(reader, layer, path, source, weight, bias, layer.groups, made)
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
    _convolve(reader, layer, path, source, weight, bias, groups, made, "depthwise")
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
    _convolve(reader, layer, path, source, weight, None, groups, between, "depthwise")
    filters = reader.constant(as_filters(mixing), "filters")
    bias = _bias(reader, layer, path)
    operation = Convolution((1,) * len(cells))
    reader.add(operation, (between, filters, bias), (made,), path, Call(layer))
    finish()
    return True


@handles(*of_axes("Conv{}DTranspose"))
def _transposed(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    operation = _spreading(layer)
    if operation is None:
        return False
    weight = as_filters(reader.weight(layer.kernel, f"{path}/kernel"))
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    inputs = (source, reader.constant(weight, "filters"), _bias(reader, layer, path))
    reader.add(operation, inputs, (made,), path, Call(layer))
    finish()
    return True


def _spreading(layer: keras.Layer) -> TransposedConvolution | None:
    """Return what a transposed convolution does; None where this backend does something else."""
    kernel, stride = whole(layer.kernel_size), whole(layer.strides)
    dilation, more = whole(layer.dilation_rate), layer.output_padding
    cuts = [
        _cut(d * (k - 1) + 1, s, layer.padding, n)
        for k, s, d, n in zip(kernel, stride, dilation, more or (None,) * len(kernel), strict=True)
    ]
    padding = tuple((before, max(0, after)) for before, after in cuts)
    added = tuple(max(0, -after) for _, after in cuts)
    operation = TransposedConvolution(kernel, stride, padding, dilation, 1, added)
    beyond = any(n >= s for n, s in zip(added, stride, strict=True))
    return None if beyond or not _does(layer, operation) else operation


def _cut(span: int, stride: int, padding: str, more: int | None) -> Pair:
    """Return how many cells are cut away before and after; negative where some are added.

    Of all that ``n`` cells reach, ``(n - 1) * stride + span``. With "valid" padding what is left is
    no less than ``n * stride``, with "same" just that, cut at both ends (TensorFlow,
    conv2d_transpose; Keras, BaseConvTranspose).
    """
    if padding == "valid":
        return 0, span - max(span, stride) if more is None else -more
    total = stride + span - 2 if more is None else span + span % 2 - 2 + more
    before = min((total + 1) // 2, span - 1)
    return span - 1 - before, span - 1 - (total - before)


def _does(layer: keras.Layer, operation: TransposedConvolution) -> bool:
    """Ask the backend whether it spreads a few cells just so; they have not always agreed."""
    axes, cells = operation.dimensions, 3
    kernel = np.arange(1, 1 + np.prod(operation.kernel), dtype=np.float32)
    kernel = kernel.reshape(operation.kernel)
    x = np.arange(1, 1 + cells**axes, dtype=np.float32).reshape((cells,) * axes)
    reached = [
        (cells - 1) * s + d * (k - 1) + 1 + n
        for k, s, d, n in zip(
            operation.kernel,
            operation.stride,
            operation.dilation,
            operation.output_padding,
            strict=True,
        )
    ]
    expected = np.zeros(reached, np.float32)
    for place in np.ndindex(*operation.kernel):
        spread = tuple(
            slice(k * d, k * d + (cells - 1) * s + 1, s)
            for k, d, s in zip(place, operation.dilation, operation.stride, strict=True)
        )
        expected[spread] += x * kernel[place]
    inside = tuple(
        slice(before, n - after)
        for (before, after), n in zip(operation.padding, reached, strict=True)
    )
    given = keras.ops.conv_transpose(
        x[None, ..., None],
        kernel[..., None, None],
        strides=operation.stride,
        padding=layer.padding,
        output_padding=layer.output_padding,
        data_format="channels_last",
        dilation_rate=operation.dilation,
    )
    actual = numbers(given)[0, ..., 0]
    return actual.shape == expected[inside].shape and np.array_equal(actual, expected[inside])


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


Kind = Literal["max", "average"]


def _kind(layer: keras.Layer) -> Kind:
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
        # border, the others leave it out): the layer itself knows.
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
