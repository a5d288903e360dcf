"""The ONNX forms of Keras' pointwise functions, and of functions with parameters per channel."""

from __future__ import annotations

import keras
import onnx_ir as ir

from fullconv.frameworks.keras.onnx_functions import write_function
from fullconv.frameworks.onnx.foreign import Foreign, Forms
from fullconv.graph.graph import Node
from fullconv.operations import PerChannel, Pointwise

forms = Forms("a form in ONNX")


@forms(Pointwise)
def write_pointwise(writing: Foreign, node: Node, operation: Pointwise) -> ir.Value | None:
    """Write a function of corresponding numbers."""
    return write_function(writing, node)


@forms(PerChannel)
def write_per_channel(writing: Foreign, node: Node, operation: PerChannel) -> ir.Value:
    """Write a function with parameters for every channel; channels are the second axis."""
    if operation.name == "batch_norm":
        return _batch_norm(writing, node)
    x, *_ = writing.inputs(node)
    ones = [1] * (writing.rank(node) - 2)
    vectors = [writing.held(n, writing.array(n).reshape(-1, *ones)) for n in node.inputs[1:]]
    if operation.name in ("prelu", "LayerScale"):
        kind = "PRelu" if operation.name == "prelu" else "Mul"
        return writing.emit(kind, [x, *vectors], name=node.name)
    first, second = vectors
    if operation.name == "Rescaling":
        return writing.emit("Add", [writing.emit("Mul", [x, first]), second], name=node.name)
    floor = writing.number(keras.config.epsilon())
    spread = writing.emit("Max", [writing.emit("Sqrt", [second]), floor])
    if node.source.target.invert:
        return writing.emit("Add", [first, writing.emit("Mul", [x, spread])], name=node.name)
    return writing.emit("Div", [writing.emit("Sub", [x, first]), spread], name=node.name)


def _batch_norm(writing: Foreign, node: Node) -> ir.Value:
    x, scale, bias, *statistics = writing.inputs(node)
    (channels,) = writing.graph.constants[node.inputs[3] or ""].shape
    scale = writing.ones(channels) if scale is None else scale
    bias = writing.zeros(channels) if bias is None else bias
    settings = {"epsilon": float(node.source.target.epsilon)}
    given = [x, scale, bias, *statistics]
    return writing.emit("BatchNormalization", given, settings, node.name)
