"""Mutations of what an ``.onnx`` file states: attributes, weights, types, sizes, versions."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

SIZES = (-(1 << 63), -(1 << 31), -2, -1, 0, 1, 2, 3, 7, 1 << 16, 1 << 31, (1 << 63) - 1)


def names_in(model: ModelProto) -> list[str]:
    found = {"", "x", "y", "no_such_value"}
    for node in model.graph.node:
        found.update((*node.input, *node.output))
    return sorted(found)


def attribute(model: ModelProto, chance: Random) -> None:
    """Change one attribute's value or type, drop it, or add one."""
    node = chance.choice(model.graph.node)
    kind = chance.randrange(4)
    if kind == 0 or not node.attribute:
        value = chance.choice(
            (
                chance.choice(SIZES),
                float("nan"),
                "text",
                [chance.choice(SIZES)] * 3,
                [1.5, -2.0],
                b"\xff",
            )
        )
        names = ("axis", "axes", "pads", "strides", "kernel_shape", "perm", "to", "group", "mode")
        node.attribute.append(helper.make_attribute(chance.choice(names), value))
        return
    place = chance.randrange(len(node.attribute))
    if kind == 1:
        del node.attribute[place]
        return
    held = node.attribute[place]
    if kind == 2 or held.type not in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS):
        held.type = chance.randrange(0, 15)
    elif held.type == onnx.AttributeProto.INT:
        held.i = chance.choice(SIZES)
    elif chance.random() < 0.6 and held.ints:
        held.ints[chance.randrange(len(held.ints))] = chance.choice(SIZES)
    else:
        held.ints.extend([chance.choice(SIZES)] * chance.randrange(1, 4))


def weight_sizes(model: ModelProto, chance: Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    if tensor.dims and chance.random() < 0.7:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(SIZES)
    else:
        tensor.dims.append(chance.choice(SIZES))


def weight_type(model: ModelProto, chance: Random) -> None:
    chance.choice(model.graph.initializer).data_type = chance.randrange(-1, 30)


def weight_data(model: ModelProto, chance: Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    kind = chance.randrange(4)
    if kind == 0:
        tensor.raw_data = tensor.raw_data[: chance.randrange(1 + len(tensor.raw_data))]
    elif kind == 1:
        tensor.ClearField("raw_data")
    elif kind == 2:
        tensor.float_data.extend([1.0] * chance.randrange(1, 9))
    else:
        tensor.data_location = TensorProto.EXTERNAL
        places = ("../x", "/dev/zero", "none.bin", "", "/etc/passwd", ".")
        tensor.external_data.add(key="location", value=chance.choice(places))
        tensor.external_data.add(key="offset", value=str(chance.choice(SIZES)))
        tensor.external_data.add(
            key="length", value=chance.choice((str(chance.choice(SIZES)), "many"))
        )


def whole_numbers(model: ModelProto, chance: Random) -> None:
    """Change what the sizes are computed from."""
    held = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    held = [t for t in held if len(t.raw_data) == 8 * math.prod(t.dims)]
    if not held:
        return weight_sizes(model, chance)
    tensor = chance.choice(held)
    array = numpy_helper.to_array(tensor).copy()
    if array.size and chance.random() < 0.8:
        array.reshape(-1)[chance.randrange(array.size)] = chance.choice(SIZES)
    else:
        array = np.full(chance.randrange(0, 9), chance.choice(SIZES))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return None


def lose_weight(model: ModelProto, chance: Random) -> None:
    del model.graph.initializer[chance.randrange(len(model.graph.initializer))]


def repeat_weight(model: ModelProto, chance: Random) -> None:
    model.graph.initializer.append(chance.choice(model.graph.initializer))


def image(model: ModelProto, chance: Random) -> None:
    """Change the type or sizes of an input or output."""
    ends = list(model.graph.input if chance.random() < 0.8 else model.graph.output)
    if not ends:
        return
    kind = chance.choice(ends).type
    if chance.random() < 0.3:
        kind.tensor_type.elem_type = chance.randrange(0, 25)
    elif kind.tensor_type.shape.dim:
        dim = chance.choice(kind.tensor_type.shape.dim)
        if chance.random() < 0.7:
            dim.dim_value = chance.choice(SIZES)
        else:
            dim.dim_param = chance.choice(("N", "H", "", "batch*2"))
    if chance.random() < 0.2:
        kind.tensor_type.shape.dim.add(dim_value=chance.choice(SIZES))
    if chance.random() < 0.1:
        kind.ClearField("tensor_type")
    if chance.random() < 0.1:
        kind.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT


def ends_of_graph(model: ModelProto, chance: Random) -> None:
    """Drop, repeat or rename an input or output of the graph."""
    ends = model.graph.input if chance.random() < 0.5 else model.graph.output
    kind = chance.randrange(3)
    if not ends or kind == 0:
        ends.add(name=chance.choice(names_in(model)))
    elif kind == 1:
        del ends[chance.randrange(len(ends))]
    else:
        chance.choice(ends).name = chance.choice(names_in(model))


def versions(model: ModelProto, chance: Random) -> None:
    kind = chance.randrange(4)
    if kind == 0:
        model.ir_version = chance.choice((0, 1, 3, 7, 99, -1, 1 << 40))
    elif kind == 1:
        model.ClearField(chance.choice(("ir_version", "opset_import", "graph", "functions")))
    elif model.opset_import:
        held = chance.choice(model.opset_import)
        held.version = chance.choice((-1, 0, 1, 7, 12, 16, 21, 999, 1 << 40))
        if chance.random() < 0.3:
            model.opset_import.append(held)
