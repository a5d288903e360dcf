"""How the layers that lifting adds read back: a converted model as a graph, to be written as ONNX.

A converted model is read at its window, where it answers for one; but for sizes of per-window
tensors, which are the same for every image, nothing in its records depends on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fullconv.frameworks.keras import layers, map_layers, window_layers
from fullconv.frameworks.keras import sliding_layers as sliding
from fullconv.frameworks.keras.calls import Call
from fullconv.frameworks.keras.part_layers import PartConv2D, PartDepthwiseConv2D
from fullconv.graph import Recipe
from fullconv.operations import (
    NO_PADDING,
    Assemble,
    Cells,
    Convolution,
    DivideCells,
    FoldWindows,
    Gathered,
    Keep,
    LayOut,
    Operation,
    Own,
    Pad,
    PaddingMode,
    Pool,
    Power,
    Reduce,
    Regroup,
    Running,
    Slice,
    SlidingNormalization,
    SlidingTotal,
    SplitChannels,
    Stretch,
    TakeChannels,
)

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader


def read(reader: Reader, layer: Any, path: str, args: Any, kwargs: Any, result: Any) -> bool:
    """Read a call of one of our own layers; return whether it is one."""
    if isinstance(layer, (PartConv2D, PartDepthwiseConv2D)):
        _convolution(reader, layer, path, args[0], kwargs, result)
        return True
    if isinstance(layer, sliding.SlidingNormalization):
        _normalization(reader, layer, path, args[0], result)
        return True
    if isinstance(layer, (map_layers.ReduceAxes, map_layers.SliceAxis)):
        _on_any(reader, layer, path, args[0], result)
        return True
    if not isinstance(layer, layers.OnMaps):
        return False
    tensors = args[0] if isinstance(args[0], (list, tuple)) else [args[0]]
    data_format = "channels_last" if layer.channels_last else "channels_first"
    operation = _record(layer, result)
    of_windows = isinstance(layer, window_layers.FoldWindows)
    names = [
        reader.native(x) if of_windows and not place else reader.map(x, data_format)
        for place, x in enumerate(tensors)
    ]
    if isinstance(layer, window_layers.Regroup):
        output = reader.bind(result, path)
    elif isinstance(layer, (window_layers.FoldWindows, window_layers.SplitChannels)):
        output = reader.bind(result, path)
        reader.scores.add(output)
    else:
        output = reader.bind(result, path, is_map=layer.channels_last)
    reader.add(operation, names, (output,), path, Call(layer))
    return True


def _record(layer: Any, result: Any) -> Operation:
    match layer:
        case window_layers.Keep():
            return Keep(*layer.kept)
        case map_layers.Cells():
            return Cells(layer.before, layer.after, layer.stride)
        case window_layers.Assemble():
            axes: Any = [tuple(map(_segment, s)) for s in (layer.along_rows, layer.along_columns)]
            return Assemble(layer.channels, *axes)
        case window_layers.LayOut():
            channels = layer._sizes(tuple(result.shape))[2]
            return LayOut(channels, layer.axes, layer.private)
        case map_layers.DivideCells():
            return DivideCells(layer.along_rows, layer.along_columns)
        case window_layers.Regroup():
            return Regroup(layer.split, layer.order, layer.shape, layer.shape.index(-1))
        case window_layers.FoldWindows():
            return FoldWindows(layer.shape)
        case window_layers.SplitChannels():
            return SplitChannels(layer.shape)
        case map_layers.PadCells():
            mode: PaddingMode = "replicate" if layer.mode == "edge" else "constant"
            return Pad(((0, 0), layer.channels, *layer.pads), mode, layer.value)
        case map_layers.TakeChannels():
            return TakeChannels(layer.indices)
        case map_layers.MovingPool():
            channels = layer._sizes(tuple(result.shape))[2]
            moves = layer.kernel, layer.stride, layer.padding, layer.dilation
            return Pool(layer.kind, *moves, divisor=layer.divisor, channels=channels)
        case sliding.SlidingTotal():
            return SlidingTotal(layer.kind, layer.kernel, layer.dilation)
        case sliding.Stretch():
            return Stretch(layer.padding, layer.dilation)
        case sliding.Power():
            return Power(layer.kind)
    raise TypeError(f"{type(layer).__name__} is not read back")


def _segment(segment: Sequence[Any]) -> Own | Gathered | Running:
    if segment[0] == "own":
        return Own(segment[1], 0)  # how many there are, a converted model need not know
    if segment[0] == "gathered":
        return Gathered(segment[1], segment[2])
    return Running(segment[1])


def _on_any(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> None:
    """Read a layer that takes the axes of a tensor as they come."""
    source, output = reader.native(x), reader.bind(result, path)
    operation: Operation
    if isinstance(layer, map_layers.ReduceAxes):
        operation = Reduce(layer.kind, layer.axes, layer.keepdims)
    else:
        operation = Slice(layer.axis, layer.start, layer.stop, layer.stride)
    reader.add(operation, (source,), (output,), path, Call(layer))


def _convolution(reader: Reader, layer: Any, path: str, x: Any, kwargs: Any, result: Any) -> None:
    weight: Recipe = reader.weight(layer.kernel, f"{path}/kernel")
    source = reader.map(x, layer.data_format)
    groups = 1
    if isinstance(layer, PartDepthwiseConv2D):
        kh, kw, groups, times = weight.shape
        weight = weight.permute(2, 3, 0, 1).reshape(groups * times, 1, kh, kw)
    else:
        weight, groups = weight.permute(3, 2, 0, 1), layer.groups
    for axis, cut in ((2, kwargs.get("rows")), (3, kwargs.get("columns"))):
        if cut is not None:
            weight = weight.take(axis, *cut)
    strides, dilation = (tuple(kwargs.get(k) or (1, 1)) for k in ("strides", "dilation"))
    padding = tuple(map(tuple, kwargs["padding"])) if kwargs.get("padding") else NO_PADDING
    kernel = weight.shape[2], weight.shape[3]
    biased = layer.use_bias and kwargs.get("biased", True)
    bias = reader.weight(layer.bias, f"{path}/bias").source if biased else None
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    operation = Convolution(kernel, strides, padding, dilation, groups)  # type: ignore[arg-type]
    filters = reader.constant(weight, f"filters{len(reader.nodes)}")
    reader.add(operation, (source, filters, bias), (output,), path, Call(layer))


def _normalization(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> None:
    data_format = "channels_last" if layer.channels_last else "channels_first"
    source = reader.map(x, data_format)
    output = reader.bind(result, path, is_map=layer.channels_last)
    names = [
        None if weight is None else reader.weight(weight, f"{path}/{name}").source
        for weight, name in ((layer.gamma, "gamma"), (layer.beta, "beta"))
    ]
    moves = layer.groups, layer.kernel, layer.dilation, layer.epsilon
    reader.add(SlidingNormalization(*moves), (source, *names), (output,), path, Call(layer))
