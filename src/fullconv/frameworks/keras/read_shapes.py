"""How layers read that move, cut, pad and join tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras.calls import Call
from fullconv.frameworks.keras.layer_table import handles
from fullconv.frameworks.keras.read_maps import pair
from fullconv.operations import Cells, Concat, Pad, Permute, Reshape, Slice

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

layers = keras.layers


@handles(layers.Flatten)
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


@handles(layers.Reshape)
def _reshape(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source, output = reader.native(x), reader.bind(result, path)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, Call(layer))
    return True


@handles(layers.Permute)
def _permute(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    order = (0, *(int(n) for n in layer.dims))
    if order == (0, 3, 1, 2) and reader.has_map(x):
        # The map itself, as a tensor with its channels first.
        reader.hold(result, reader.map(x))
        return True
    source, output = reader.native(x), reader.bind(result, path)
    reader.add(Permute(order), (source,), (output,), path, Call(layer))
    return True


@handles(layers.Concatenate)
def _concatenate(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    sources, output = reader.alike(list(x), result, path)
    axis = reader.axis(layer.axis, result)
    reader.add(Concat(axis), sources, (output,), path, Call(layer))
    return True


@handles(layers.ZeroPadding2D)
def _zero_padding(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    source = reader.map(x, layer.data_format)
    output = reader.bind(result, path, is_map=layer.data_format == "channels_last")
    rows, columns = (pair(pads) for pads in layer.padding)
    operation = Pad(((0, 0), (0, 0), rows, columns))
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


@handles(layers.Cropping2D)
def _cropping(reader: Reader, layer: Any, path: str, x: Any, result: Any) -> bool:
    is_map = layer.data_format == "channels_last"
    source = reader.map(x, layer.data_format)
    if reader.stored:
        before, after = (pair(cut) for cut in zip(*layer.cropping, strict=True))
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
