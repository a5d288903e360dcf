"""Small ONNX classifiers for mutations to begin from; all together are some kilobytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import fullconv

WINDOW = (12, 10)
"""Height and width that all of these are for."""

FLOAT = TensorProto.FLOAT
opset = helper.make_opsetid


def numbers(*shape: int) -> np.ndarray:
    """Return small weights, the same for the same shape."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32) / 4


def model_of(
    nodes: list[NodeProto],
    weights: dict[str, Any],
    *,
    version: int = 17,
    ir_version: int = 8,
    image: tuple[Any, ...] = ("N", 2, *WINDOW),
    functions: tuple[Any, ...] = (),
    domains: tuple[str, ...] = (),
) -> ModelProto:
    """Return a model from ``x`` to ``y`` with some weights."""
    graph = helper.make_graph(
        nodes,
        "seed",
        [helper.make_tensor_value_info("x", FLOAT, image)],
        [helper.make_tensor_value_info("y", FLOAT, [image[0], 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    imports = [opset("", version), *(opset(domain, 1) for domain in domains)]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=ir_version, functions=functions
    )


node = helper.make_node


def plain() -> ModelProto:
    """Return a convolution, a pool and a fully connected layer."""
    return model_of(
        [
            node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["c", "one", "b", "b", "one"], ["n"], name="norm"),
            node("Relu", ["n"], ["r"], name="relu"),
            node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p"], ["f"], name="flatten"),
            node("Gemm", ["f", "fw", "fb"], ["y"], name="head", transB=1),
        ],
        {
            "w": numbers(4, 2, 3, 3),
            "b": numbers(4),
            "one": np.ones(4, np.float32),
            "fw": numbers(3, 120),
            "fb": numbers(3),
        },
    )


def sizes() -> ModelProto:
    """Return a network that computes its sizes: Shape, Gather, Concat, Reshape, Resize, Range."""
    return model_of(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Shape", ["c"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Unsqueeze", ["n", "first"], ["n1"]),
            node("Slice", ["s", "two", "four"], ["hw"]),
            node("Mul", ["hw", "twice"], ["large"]),
            node("Slice", ["s", "first", "two"], ["nc"]),
            node("Concat", ["nc", "large"], ["size"], axis=0),
            node("Resize", ["c", "", "", "size"], ["u"], mode="nearest"),
            node("ReduceMean", ["u"], ["m"], axes=[2, 3], keepdims=0),
            node(
                "ConstantOfShape",
                ["shape"],
                ["k"],
                value=numpy_helper.from_array(np.ones(1, np.float32)),
            ),
            node("Range", ["zero", "span", "one"], ["range"]),
            node("Cast", ["range"], ["floats"], to=FLOAT),
            node("Expand", ["floats", "shape"], ["e"]),
            node("Mul", ["m", "k"], ["mk"]),
            node("Add", ["mk", "e"], ["a"]),
            node("Concat", ["n1", "rest"], ["to"], axis=0),
            node("Reshape", ["a", "to"], ["f"]),
            node("MatMul", ["f", "fw"], ["y"]),
        ],
        {
            "w": numbers(4, 2, 3, 3),
            "fw": numbers(4, 3),
            "zero": np.array(0),
            "one": np.array(1),
            "span": np.array(4),
            "first": np.array([0]),
            "two": np.array([2]),
            "four": np.array([4]),
            "twice": np.array([2, 2]),
            "shape": np.array([1, 4]),
            "rest": np.array([-1]),
        },
    )


def branched() -> ModelProto:
    """Return an If whose condition is computed from sizes, with values from outside, and a Loop."""
    value = helper.make_tensor_value_info
    then = helper.make_graph([node("Relu", ["c"], ["t"])], "then", [], [value("t", FLOAT, None)])
    other = helper.make_graph([node("Neg", ["c"], ["e"])], "else", [], [value("e", FLOAT, None)])
    body = helper.make_graph(
        [node("Add", ["state", "b"], ["next"]), node("Identity", ["going"], ["on"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("state", FLOAT, None),
        ],
        [value("on", TensorProto.BOOL, []), value("next", FLOAT, None)],
    )
    return model_of(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Shape", ["c"], ["s"]),
            node("Gather", ["s", "index"], ["channels"]),
            node("Equal", ["channels", "four"], ["is"]),
            node("If", ["is"], ["i"], then_branch=then, else_branch=other),
            node("Loop", ["trips", "yes", "i"], ["l"], body=body),
            node("GlobalAveragePool", ["l"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("Gemm", ["f", "fw"], ["y"], transB=1),
        ],
        {
            "w": numbers(4, 2, 3, 3),
            "b": numbers(1, 4, 1, 1),
            "fw": numbers(3, 4),
            "index": np.array(1),
            "four": np.array(4),
            "trips": np.array(3),
            "yes": np.array(True),
        },
    )


def functional() -> ModelProto:
    """Return a network with functions of its own, nested, one with an attribute."""
    leak = node("LeakyRelu", ["a"], ["b"])
    leak.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    act = helper.make_function("own", "Act", ["a"], ["b"], [leak], [opset("", 17)], ["slope"])
    inner = [
        node("Flatten", ["a"], ["c"]),
        node("Act", ["c"], ["d"], domain="own", slope=0.2),
        node("MatMul", ["d", "w"], ["b"]),
    ]
    head = helper.make_function(
        "own", "Head", ["a", "w"], ["b"], inner, [opset("", 17), opset("own", 1)]
    )
    return model_of(
        [node("Conv", ["x", "w"], ["c"]), node("Head", ["c", "fw"], ["y"], domain="own")],
        {"w": numbers(4, 2, 3, 3), "fw": numbers(320, 3)},
        functions=(act, head),
        domains=("own",),
    )


def quantized() -> ModelProto:
    """Return a network whose activations and bias go through whole numbers."""
    return model_of(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            node("DequantizeLinear", ["wq", "s", "z"], ["w"]),
            node("DequantizeLinear", ["bq", "s"], ["b"]),
            node("Conv", ["d", "w", "b"], ["c"]),
            node("ReduceMax", ["c"], ["m"], axes=[2, 3], keepdims=0),
            node("Gemm", ["m", "fw"], ["y"], transB=1),
        ],
        {
            "s": np.array(0.1, np.float32),
            "z": np.array(3, np.int8),
            "wq": (numbers(4, 2, 3, 3) * 40).astype(np.int8),
            "bq": np.array([3, -2, 1, 9], np.int32),
            "fw": numbers(3, 4),
        },
    )


def old() -> ModelProto:
    """Return operators of version 9, with weights among the inputs, ahead of the image."""
    model = model_of(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Slice", ["c"], ["s"], axes=[2], starts=[0], ends=[8]),
            node("Upsample", ["s", "scales"], ["u"], mode="nearest"),
            node("GlobalAveragePool", ["u"], ["g"]),
            node("Reshape", ["g", "flat"], ["f"]),
            node("Gemm", ["f", "fw", "fb"], ["y"], transB=1),
        ],
        {
            "w": numbers(4, 2, 3, 3),
            "scales": np.array([1, 1, 2, 2], np.float32),
            "flat": np.array([-1, 4]),
            "fw": numbers(3, 4),
            "fb": numbers(3),
        },
        version=9,
        ir_version=3,
        image=(1, 2, *WINDOW),
    )
    kept = list(model.graph.input)
    del model.graph.input[:]
    for tensor in model.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.add().CopyFrom(info)
    model.graph.input.extend(kept)
    return model


def converted() -> bytes:
    """Return the first of these converted by fullconv, with all that it stores."""
    fcn = fullconv.convert(
        plain(),
        classes=["background", "cat", "dog"],
        preprocessing=fullconv.Preprocessing(1 / 255, (0.5, 0.4), (0.2, 0.3), um_per_pixel=0.5),
    )
    with tempfile.TemporaryDirectory() as folder:
        fcn.save(Path(folder) / "converted.onnx")
        return (Path(folder) / "converted.onnx").read_bytes()


MODELS: dict[str, Callable[[], ModelProto]] = {
    maker.__name__: maker for maker in (plain, sizes, branched, functional, quantized, old)
}


@cache
def onnx_files() -> dict[str, bytes]:
    """Return them as files, the converted one among them."""
    files = {name: make().SerializeToString() for name, make in MODELS.items()}
    return {**files, "converted": converted()}
