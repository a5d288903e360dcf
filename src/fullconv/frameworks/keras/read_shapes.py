"""Readers of layers that move, cut, pad and join tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from fullconv.frameworks.keras.calls import Call, Tensor
from fullconv.frameworks.keras.read_maps import format_of
from fullconv.frameworks.keras.tables import handles, of_axes
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.geometry.grid import BeforeAfter
from fullconv.operations import Cells, Concat, Pad, Permute, Reshape, Slice

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

layers = keras.layers


@handles(layers.Flatten)
def _flatten(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    source, rank = reader.native(x), len(x.shape)
    if layer.data_format == "channels_first" and rank > 2:
        # Keras flattens with the channels last, whatever the order of the map.
        order = to_last_order(rank)
        turned = reader.fresh(f"{path}/turned")
        reader.shapes[turned] = tuple(x.shape[i] for i in order)
        reader.add(Permute(order), (source,), (turned,), path, Call(layer, part="turned"))
        source = turned
    output = reader.bind(result, path)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, Call(layer))
    return True


@handles(layers.Reshape)
def _reshape(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    source, output = reader.native(x), reader.bind(result, path)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, Call(layer))
    return True


@handles(layers.Permute)
def _permute(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    order = (0, *(int(n) for n in layer.dims))
    if len(order) > 2 and order == to_map_order(len(order)) and reader.has_map(x):
        # The map itself, as a tensor with its channels first.
        reader.hold(result, reader.map(x))
        return True
    source, output = reader.native(x), reader.bind(result, path)
    reader.add(Permute(order), (source,), (output,), path, Call(layer))
    return True


@handles(layers.Concatenate)
def _concatenate(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    sources, output = reader.alike(list(x), result, path)
    axis = reader.axis(layer.axis, result)
    reader.add(Concat(axis), sources, (output,), path, Call(layer))
    return True


def _pairs(given: tuple[BeforeAfter, ...] | BeforeAfter) -> list[BeforeAfter]:
    """Return (before, after) for every axis; a layer over one axis has a single pair."""
    pairs = [given] if isinstance(given[0], int) else given
    return [(int(before), int(after)) for before, after in pairs]


@handles(*of_axes("ZeroPadding{}D"))
def _zero_padding(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    source = reader.map(x, format_of(layer))
    output = reader.bind(result, path, is_map=format_of(layer) == "channels_last")
    operation = Pad(((0, 0), (0, 0), *_pairs(layer.padding)))
    reader.add(operation, (source,), (output,), path, Call(layer))
    return True


@handles(*of_axes("Cropping{}D"))
def _cropping(reader: Reader, layer: keras.Layer, path: str, x: Tensor, result: Tensor) -> bool:
    cropping, is_map = _pairs(layer.cropping), format_of(layer) == "channels_last"
    source = reader.map(x, format_of(layer))
    if reader.stored:
        before, after = zip(*cropping, strict=True)
        operation = Cells(before, after, (1,) * len(cropping))
        output = reader.bind(result, path, is_map=is_map)
        reader.add(operation, (source,), (output,), path, Call(layer))
        return True
    shape, last = list(reader.shapes[source]), len(cropping) - 1
    for place, (first, beyond) in enumerate(cropping):
        axis = 2 + place
        kept = Slice(axis, first, shape[axis] - beyond)
        shape[axis] = kept.stop - kept.start
        if place == last:
            cut = reader.bind(result, path, is_map=is_map)
        else:
            cut = reader.fresh(f"{path}/axis{axis}")
            reader.shapes[cut] = tuple(shape)
        reader.add(kept, (source,), (cut,), path, Call(layer, part=f"axis{axis}"))
        source = cut
    return True
