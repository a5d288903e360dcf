"""Readers of the layers that lifting adds: a converted model as a graph, to be written as ONNX.

A converted model is read at the size of one window. Its records do not depend on that size, except
for the sizes of per-window tensors, which are the same for every image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras.axis_layers import OneChannel
from fullconv.frameworks.keras.calls import Call, Tensor
from fullconv.frameworks.keras.kernels import as_depthwise_filters, as_filters
from fullconv.frameworks.keras.layers import OnMaps
from fullconv.frameworks.keras.map_layers import ReduceAxes, SliceAxis
from fullconv.frameworks.keras.part_layers import PartDepthwiseConv, Parts, spans
from fullconv.frameworks.keras.sliding_layers import SlidingNormalization
from fullconv.frameworks.keras.window_layers import FoldWindows, Regroup, SplitChannels
from fullconv.operations import Convolution

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader


def read(
    reader: Reader, layer: keras.Layer, path: str, args: Any, kwargs: Any, result: Any
) -> bool:
    """Read a call of one of our own layers; return whether it is one."""
    if isinstance(layer, Parts):
        _convolution(reader, layer, path, args[0], kwargs, result)
    elif isinstance(layer, OneChannel):
        # The writer of ONNX adds the one channel of the image itself.
        reader.hold(result, reader.native(args[0]), is_map=layer.channels_last)
    elif isinstance(layer, OnMaps):
        _on_maps(reader, layer, path, args[0], result)
    else:
        return False
    return True


def _on_maps(reader: Reader, layer: OnMaps, path: str, given: Any, result: Tensor) -> None:
    """Read a layer that carries out an operation."""
    tensors = list(given) if isinstance(given, (list, tuple)) else [given]
    data_format = "channels_last" if layer.channels_last else "channels_first"
    as_it_comes = isinstance(layer, (ReduceAxes, SliceAxis))
    names: list[str | None] = [
        reader.native(x)
        if as_it_comes or (isinstance(layer, FoldWindows) and not place)
        else reader.map(x, data_format)
        for place, x in enumerate(tensors)
    ]
    if isinstance(layer, SlidingNormalization):
        names += [
            None if weight is None else reader.weight(weight, f"{path}/{name}").source
            for weight, name in ((layer.gamma, "gamma"), (layer.beta, "beta"))
        ]
    scores = isinstance(layer, (FoldWindows, SplitChannels))
    is_map = layer.channels_last and not (scores or as_it_comes or isinstance(layer, Regroup))
    output = reader.bind(result, path, is_map=is_map)
    if scores:
        reader.scores.add(output)
    reader.add(layer.operation(tuple(result.shape)), names, (output,), path, Call(layer))


def _convolution(
    reader: Reader, layer: keras.Layer, path: str, x: Tensor, kwargs: Any, result: Tensor
) -> None:
    kernel = reader.weight(layer.kernel, f"{path}/kernel")
    source = reader.map(x, layer.data_format)
    if isinstance(layer, PartDepthwiseConv):
        weight, groups = as_depthwise_filters(kernel), kernel.shape[-2]
    else:
        weight, groups = as_filters(kernel), layer.groups
    used = {name: kwargs[name] for name in ("rows", "columns", "cuts") if name in kwargs}
    for axis, span in enumerate(spans(layer, **used)):
        if span is not None:
            weight = weight.take(2 + axis, *span)
    strides, dilation = (tuple(kwargs.get(name) or ()) for name in ("strides", "dilation"))
    padding = tuple(tuple(pair) for pair in kwargs.get("padding") or ())
    biased = layer.use_bias and kwargs.get("biased", True)
    bias = reader.weight(layer.bias, f"{path}/bias").source if biased else None
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    operation = Convolution(weight.shape[2:], strides, padding, dilation, groups)
    filters = reader.constant(weight, f"filters{len(reader.nodes)}")
    reader.add(operation, (source, filters, bias), (output,), path, Call(layer))
