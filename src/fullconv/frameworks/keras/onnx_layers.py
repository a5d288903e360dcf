"""What Keras' layers are in ONNX, where it calls them otherwise."""

from __future__ import annotations

import keras
import onnx_ir as ir

from fullconv.frameworks.keras.onnx_functions import write_function
from fullconv.frameworks.keras.onnx_writer import KerasWriter, in_onnx
from fullconv.graph import Node
from fullconv.operations import (
    AlongAxis,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    PerChannel,
    Pointwise,
    Take,
)


@in_onnx(Pointwise)
def write_pointwise(writer: KerasWriter, operation: Pointwise, node: Node) -> ir.Value | None:
    """Write a function of corresponding numbers."""
    return write_function(writer, node)


@in_onnx(Identity)
def write_identity(writer: KerasWriter, operation: Identity, node: Node) -> ir.Value:
    """Write what changes nothing."""
    return writer.emit("Identity", writer.inputs(node), name=node.name)


@in_onnx(Take)
def write_take(writer: KerasWriter, operation: Take, node: Node) -> ir.Value:
    """Write what leaves out or reorders entries of an axis."""
    given = [*writer.inputs(node), writer.whole(*operation.indices)]
    return writer.emit("Gather", given, {"axis": operation.axis}, node.name)


@in_onnx(Linear)
def write_linear(writer: KerasWriter, operation: Linear, node: Node) -> ir.Value:
    """Write a fully connected layer."""
    x, _, bias = writer.inputs(node)
    weight = writer.held(node.inputs[1], writer.array(node.inputs[1]).T)
    product = writer.emit("MatMul", [x, weight], name=node.name)
    return product if bias is None else writer.emit("Add", [product, bias])


@in_onnx(AlongAxis)
def write_along_axis(writer: KerasWriter, operation: AlongAxis, node: Node) -> ir.Value:
    """Write softmax or log-softmax."""
    kind = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[operation.name]
    return writer.emit(kind, writer.inputs(node), {"axis": operation.axis}, node.name)


@in_onnx(LayerNormalization)
def write_layer_norm(writer: KerasWriter, operation: LayerNormalization, node: Node) -> ir.Value:
    """Write layer normalization, which in ONNX has a scale always."""
    x, scale, bias = writer.inputs(node)
    if scale is None:
        scale = writer.ones(*writer.graph.shapes[node.first or ""][-operation.axes :])
    given = [x, scale] if bias is None else [x, scale, bias]
    settings = {"axis": -operation.axes, "epsilon": operation.epsilon}
    return writer.emit("LayerNormalization", given, settings, node.name)


@in_onnx(GroupNormalization)
def write_group_norm(writer: KerasWriter, operation: GroupNormalization, node: Node) -> ir.Value:
    """Normalize each window's groups: as rows of an instance normalization."""
    x, scale, bias = writer.inputs(node)
    shape = writer.emit("Shape", [x])
    wide = writer.emit("Reshape", [x, writer.whole(0, operation.groups, -1)])
    given = [wide, writer.ones(operation.groups), writer.zeros(operation.groups)]
    settings = {"epsilon": operation.epsilon}
    normal = writer.emit("InstanceNormalization", given, settings, node.name)
    result = writer.emit("Reshape", [normal, shape])
    column = writer.whole(-1, *[1] * (writer.rank(node) - 2))
    for kind, parameter in (("Mul", scale), ("Add", bias)):
        if parameter is not None:
            result = writer.emit(kind, [result, writer.emit("Reshape", [parameter, column])])
    return result


@in_onnx(PerChannel)
def write_per_channel(writer: KerasWriter, operation: PerChannel, node: Node) -> ir.Value:
    """Write what has parameters for every channel, which stand second."""
    if operation.name == "batch_norm":
        return _batch_norm(writer, node)
    x, *_ = writer.inputs(node)
    ones = [1] * (writer.rank(node) - 2)
    vectors = [writer.held(n, writer.array(n).reshape(-1, *ones)) for n in node.inputs[1:]]
    if operation.name in ("prelu", "LayerScale"):
        kind = "PRelu" if operation.name == "prelu" else "Mul"
        return writer.emit(kind, [x, *vectors], name=node.name)
    first, second = vectors
    if operation.name == "Rescaling":
        return writer.emit("Add", [writer.emit("Mul", [x, first]), second], name=node.name)
    floor = writer.number(keras.config.epsilon())
    spread = writer.emit("Max", [writer.emit("Sqrt", [second]), floor])
    if node.source.target.invert:
        return writer.emit("Add", [first, writer.emit("Mul", [x, spread])], name=node.name)
    return writer.emit("Div", [writer.emit("Sub", [x, first]), spread], name=node.name)


def _batch_norm(writer: KerasWriter, node: Node) -> ir.Value:
    x, scale, bias, *statistics = writer.inputs(node)
    (channels,) = writer.graph.constants[node.inputs[3] or ""].shape
    scale = writer.ones(channels) if scale is None else scale
    bias = writer.zeros(channels) if bias is None else bias
    settings = {"epsilon": float(node.source.target.epsilon)}
    given = [x, scale, bias, *statistics]
    return writer.emit("BatchNormalization", given, settings, node.name)
