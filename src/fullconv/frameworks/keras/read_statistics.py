"""How layers read that take statistics of what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras.calls import TO_MAP, TO_NATIVE, Call
from fullconv.frameworks.keras.layer_table import handles
from fullconv.operations import GroupNormalization, LayerNormalization, Permute

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

layers = keras.layers


@handles(layers.LayerNormalization)
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


@handles(layers.GroupNormalization)
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
