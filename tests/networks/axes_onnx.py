"""The networks of `networks.axes` as ONNX models."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from networks.axes import Classifier, Layer

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class Drawing:
    """A graph that grows by one node at a time."""

    def __init__(self, axes: int) -> None:
        self.axes = axes
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def layer(self, layer: Layer, x: str) -> str:
        n, axes = layer.numbers, self.axes
        weights = [self.constant(weight) for weight in layer.weights]
        pads = [*(a for a, _ in n["pads"]), *(b for _, b in n["pads"])] if "pads" in n else []
        match layer.kind:
            case "conv" if "stride" in n:
                moves = {"strides": n["stride"], "dilations": n["dilation"], "group": n["groups"]}
                return self.add("Conv", x, *weights, pads=pads, **moves)
            case "conv":
                return self.add("Flatten", self.add("Conv", x, *weights), axis=1)
            case "transposed":
                return self.add("ConvTranspose", x, *weights, strides=n["stride"])
            case "max":
                moves = {"kernel_shape": n["kernel"], "strides": n["stride"], "pads": pads}
                return self.add("MaxPool", x, **moves)
            case "average":
                return self.add("AveragePool", x, kernel_shape=n["kernel"], strides=n["stride"])
            case "relu":
                return self.add("Relu", x)
            case "norm":
                shape = (1, -1, *(1,) * axes)
                scale, shift = (self.constant(w.reshape(shape)) for w in layer.weights)
                return self.add("Add", self.add("Mul", x, scale), shift)
            case "pad":
                around = [0, 0, *pads[:axes], 0, 0, *pads[axes:]]
                return self.add("Pad", x, self.constant(np.array(around)), mode=MODES[n["mode"]])
            case "up":
                scales = self.constant(np.array([1, 1, *n["factor"]], np.float32))
                settings = {
                    "mode": "nearest",
                    "coordinate_transformation_mode": "asymmetric",
                    "nearest_mode": "floor",
                }
                return self.add("Resize", x, "", scales, **settings)
            case "skip":
                return self.add("Add", x, self.add("Conv", x, *weights, pads=pads))
            case "branches":
                around = [k // 2 for k in n["kernel"]] * 2
                largest = self.add("MaxPool", x, kernel_shape=n["kernel"], pads=around)
                return self.add("Concat", x, largest, axis=1)
            case "flatten":
                return self.add("Gemm", self.add("Flatten", x, axis=1), *weights, transB=1)
            case "last":
                turned = self.add("Transpose", x, perm=[0, *range(2, 2 + axes), 1])
                return self.add("Gemm", self.add("Flatten", turned, axis=1), *weights, transB=1)
            case "largest":
                pooled = self.add("GlobalMaxPool", x)
                return self.add("Gemm", self.add("Flatten", pooled, axis=1), *weights, transB=1)
            case "linear":
                return self.add("Gemm", x, *weights, transB=1)
        raise NotImplementedError(layer.kind)


def onnx_form(classifier: Classifier) -> onnx.ModelProto:
    """Return the classifier as a model with a free number of images."""
    drawing, x = Drawing(len(classifier.window)), "images"
    for layer in classifier.layers:
        x = drawing.layer(layer, x)
    shape = ["N", classifier.channels, *classifier.window]
    graph = helper.make_graph(
        drawing.nodes,
        "drawn",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", None])],
        drawing.weights,
    )
    assert prod(classifier.window)
    opset = helper.make_opsetid("", 19)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)
