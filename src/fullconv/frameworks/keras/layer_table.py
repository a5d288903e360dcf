"""How each layer of Keras reads as records of the vocabulary.

Dispatch is by the very class: a subclass may do anything in its ``call``. What has no handler, and
what a handler cannot honour, becomes `Opaque`, and runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
from keras.src.applications.convnext import LayerScale, StochasticDepth

from fullconv.errors import WindowError
from fullconv.frameworks.keras import operation_table, stored_table
from fullconv.frameworks.keras.activations import operation_of, read_activation
from fullconv.frameworks.keras.calls import TO_MAP, TO_NATIVE, Call, Slot, numbers
from fullconv.frameworks.keras.part_layers import PartBatchNormalization
from fullconv.graph import Recipe
from fullconv.operations import (
    NO_PADDING,
    AlongAxis,
    Cells,
    Concat,
    Convolution,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    Opaque,
    Pad,
    Padding,
    PerChannel,
    Permute,
    Pointwise,
    Pool,
    Reduce,
    Reshape,
    Slice,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.keras.read import Reader

layers = keras.layers

Handler = Callable[["Reader", Any, str, Any, Any], bool]
"""Reads a call of a layer on a tensor, or several; returns whether it could."""

_handlers: dict[type, Handler] = {}

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


def read(reader: Reader, layer: Any, path: str, args: Any, kwargs: Any, result: Any) -> None:
    """Read one call; what cannot be read becomes `Opaque`."""
    if not isinstance(layer, keras.Layer):
        operation_table.read(reader, layer, path, args, kwargs, result)
        return
    if stored_table.read(reader, layer, path, args, kwargs, result):
        return
    handler = _handlers.get(type(layer))
    tensors = keras.tree.flatten(args)
    known = all(isinstance(x, keras.KerasTensor) for x in tensors)
    # A model in use tells every layer that it does not train, whatever the call said; what is told
    # anything else does something of its own.
    told = any(value is not None for name, value in kwargs.items() if name != "training")
    plain = known and not told and len(args) == 1 and isinstance(result, keras.KerasTensor)
    if handler is None or not plain or _quantized(layer):
        reader.add_opaque(layer, path, args, kwargs, result)
        return
    given = args[0] if isinstance(args[0], (list, tuple)) else tensors[0]
    if not handler(reader, layer, path, given, result):
        reader.add_opaque(layer, path, args, kwargs, result)


def _quantized(layer: Any) -> bool:
    """Whether a layer's weights are not simply its variables."""
    return bool(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False))


def _handles(*kinds: type) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for kind in kinds:
            if kind in _handlers:
                raise RuntimeError(f"{kind.__name__} is already read elsewhere")
            _handlers[kind] = handler
        return handler

    return register


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


def _pair(numbers: Any) -> tuple[int, int]:
    rows, columns = numbers
    return int(rows), int(columns)


# Convolutions and fully connected layers.


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
    kernel, stride = (weight.shape[2], weight.shape[3]), _pair(layer.strides)
    dilation = _pair(layer.dilation_rate)
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


@_handles(layers.Conv2D)
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


@_handles(layers.DepthwiseConv2D)
def _depthwise(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    kernel = reader.weight(layer.kernel, f"{path}/kernel")
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    bias = _bias(reader, layer, path)
    weight = _by_channel(kernel)
    _convolve(reader, layer, path, source, weight, bias, kernel.shape[2], made, "depthwise")
    finish()
    return True


@_handles(layers.SeparableConv2D)
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


@_handles(layers.Conv2DTranspose)
def _transposed(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    kernel, stride = _pair(layer.kernel_size), _pair(layer.strides)
    plain = layer.padding == "valid" and layer.output_padding is None
    if not plain or any(k < s for k, s in zip(kernel, stride, strict=True)):
        return False
    if _pair(layer.dilation_rate) != (1, 1):
        return False
    weight = reader.weight(layer.kernel, f"{path}/kernel").permute(3, 2, 0, 1)
    source = reader.map(x, layer.data_format)
    made, finish = read_activation(reader, layer, path, result, layer.data_format)
    operation = TransposedConvolution(kernel, stride, NO_PADDING, (1, 1), 1, (0, 0))
    inputs = (source, reader.constant(weight, "filters"), _bias(reader, layer, path))
    reader.add(operation, inputs, (made,), path, Call(layer))
    finish()
    return True


@_handles(layers.UpSampling2D)
def _upsample(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    if layer.interpolation != "nearest":
        return False
    source = reader.map(x, layer.data_format)
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    reader.add(Upsample(_pair(layer.size)), (source,), (output,), path, Call(layer))
    return True


@_handles(layers.Dense)
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


# Pools.


@_handles(layers.MaxPooling2D, layers.AveragePooling2D)
def _pool(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    kind: Literal["max", "average"] = "max" if type(layer) is layers.MaxPooling2D else "average"
    kernel, stride = _pair(layer.pool_size), _pair(layer.strides)
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


@_handles(layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
def _global_pool(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    average = type(layer) is layers.GlobalAveragePooling2D
    source = reader.map(x, layer.data_format)
    is_map = layer.keepdims and layer.data_format == "channels_last"
    output = reader.bind(result, path, is_map=is_map)
    operation = Reduce("mean" if average else "max", (2, 3), bool(layer.keepdims))
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


# What treats every number alike.


@_handles(*POINTWISE)
def _pointwise(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source, output = reader.alike([x], result, path)
    reader.add(Pointwise(type(layer).__name__), source, (output,), path, Call(layer))
    return True


@_handles(*UNCHANGED)
def _unchanged(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source, output = reader.alike([x], result, path)
    reader.add(Identity(type(layer).__name__), source, (output,), path, Call(layer))
    return True


@_handles(layers.Activation)
def _activation(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    operation = operation_of(layer.activation, len(x.shape) - 1)
    if isinstance(operation, Opaque):
        return False
    source, output = reader.alike([x], result, path)
    if isinstance(operation, AlongAxis):
        operation = replace(operation, axis=reader.axis(operation.axis, result))
    reader.add(operation, source, (output,), path, Call(layer, part="activation"))
    return True


@_handles(*MERGES)
def _merge(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    tensors = list(x)
    if len({len(tensor.shape) for tensor in tensors}) > 1:
        return False
    sources, output = reader.alike(tensors, result, path)
    call = Call(layer, ([Slot(index) for index in range(len(tensors))],))
    reader.add(Pointwise(type(layer).__name__), sources, (output,), path, call)
    return True


@_handles(layers.Softmax)
def _softmax(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    if not isinstance(layer.axis, int):
        return False
    source, output = reader.alike([x], result, path)
    axis = reader.axis(layer.axis, result)
    reader.add(AlongAxis("softmax", axis), source, (output,), path, Call(layer))
    return True


@_handles(layers.PReLU)
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


@_handles(layers.BatchNormalization, PartBatchNormalization)
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


@_handles(LayerScale)
def _layer_scale(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    if len(x.shape) != 4 or not reader.channels_last:
        return False
    source, output = reader.map(x), reader.bind(result, path, is_map=True)
    factors = reader.weight(layer.gamma, f"{path}/gamma").source
    reader.add(PerChannel("LayerScale"), (source, factors), (output,), path, Call(layer))
    return True


@_handles(layers.LayerNormalization)
def _layer_norm(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    rank = len(x.shape)
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    count = len(axes)
    if getattr(layer, "rms_scaling", False):
        return False
    along_channels = rank == 4 and axes == [1]
    if not along_channels and sorted(n % rank for n in axes) != list(range(rank - count, rank)):
        return False
    source, output = reader.native(x), reader.bind(result, path)
    parameters = [
        reader.weight(variable, f"{path}/{name}").source if used else None
        for variable, name, used in (
            (layer.gamma, "gamma", layer.scale),
            (layer.beta, "beta", layer.center),
        )
    ]
    operation = LayerNormalization(count, float(layer.epsilon))
    if not along_channels:
        reader.add(operation, (source, *parameters), (output,), path, Call(layer))
        return True
    turned, normal = (reader.fresh(f"{path}/{word}") for word in ("turned", "normal"))
    for name in (turned, normal):
        reader.shapes[name] = tuple(x.shape[i] for i in TO_NATIVE)
    reader.add(Permute(TO_NATIVE), (source,), (turned,), path, Call(layer, part="turned"))
    reader.add(operation, (turned, *parameters), (normal,), path, Call(layer))
    reader.add(Permute(TO_MAP), (normal,), (output,), path, Call(layer, part="turned"))
    return True


@_handles(layers.GroupNormalization)
def _group_norm(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    rank = len(x.shape)
    if rank != 4 or not isinstance(layer.axis, int) or layer.axis % rank not in (1, 3):
        return False
    last = layer.axis % rank == 3
    source = reader.map(x) if last else reader.native(x)
    channels = reader.shapes[source][1]
    output = reader.bind(result, path, is_map=last)
    parameters = [
        reader.weight(variable, f"{path}/{name}").source if used else None
        for variable, name, used in (
            (layer.gamma, "gamma", layer.scale),
            (layer.beta, "beta", layer.center),
        )
    ]
    groups = channels if layer.groups == -1 else int(layer.groups)
    operation = GroupNormalization(groups, float(layer.epsilon))
    reader.add(operation, (source, *parameters), (output,), path, Call(layer))
    return True


@_handles(layers.Rescaling, layers.Normalization)
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


# What moves, cuts and joins.


@_handles(layers.Flatten)
def _flatten(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source, rank = reader.native(x), len(x.shape)
    if layer.data_format == "channels_first" and rank > 2:
        # Keras flattens with the channels last, whichever way the map comes.
        order = (0, *range(2, rank), 1)
        turned = reader.fresh(f"{path}/turned")
        reader.shapes[turned] = tuple(x.shape[i] for i in order)
        reader.add(Permute(order), (source,), (turned,), path, Call(layer, part="turned"))
        source = turned
    output = reader.bind(result, path)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, Call(layer))
    return True


@_handles(layers.Reshape)
def _reshape(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source, output = reader.native(x), reader.bind(result, path)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, Call(layer))
    return True


@_handles(layers.Permute)
def _permute(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    order = (0, *(int(n) for n in layer.dims))
    if order == (0, 3, 1, 2) and reader.has_map(x):
        # The map itself, as a tensor with its channels first.
        reader.hold(result, reader.map(x))
        return True
    source, output = reader.native(x), reader.bind(result, path)
    reader.add(Permute(order), (source,), (output,), path, Call(layer))
    return True


@_handles(layers.Concatenate)
def _concatenate(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    sources, output = reader.alike(list(x), result, path)
    axis = reader.axis(layer.axis, result)
    reader.add(Concat(axis), sources, (output,), path, Call(layer))
    return True


@_handles(layers.ZeroPadding2D)
def _zero_padding(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source = reader.map(x, layer.data_format)
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    rows, columns = (_pair(pads) for pads in layer.padding)
    operation = Pad(((0, 0), (0, 0), rows, columns))
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


@_handles(layers.Cropping2D)
def _cropping(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    is_map = layer.data_format == "channels_last"
    source = reader.map(x, layer.data_format)
    if reader.stored:
        before, after = (_pair(cut) for cut in zip(*layer.cropping, strict=True))
        output = reader.bind(result, path, is_map=is_map)
        reader.add(Cells(before, after, (1, 1)), (source,), (output,), path, Call(layer))
        return True
    shape = list(reader.shapes[source])
    cuts = [
        (2 + place, before, shape[2 + place] - after)
        for place, (before, after) in enumerate(layer.cropping)
    ]
    for axis, start, stop in cuts[:1]:
        shape[axis] = stop - start
        cut = reader.fresh(f"{path}/rows")
        reader.shapes[cut] = tuple(shape)
        reader.add(Slice(axis, start, stop), (source,), (cut,), path, Call(layer, part="rows"))
    output = reader.bind(result, path, is_map=is_map)
    reader.add(Slice(*cuts[1]), (cut,), (output,), path, Call(layer, part="columns"))
    return True
