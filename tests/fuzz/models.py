"""A small classifier for cases that need one."""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper


@cache
def model() -> bytes:
    """Return an ``.onnx`` file: windows of 16x16, three channels, two scores."""
    chance = np.random.default_rng(0)
    weights = {"w": (4, 3, 3, 3), "fw": (2, 784), "fb": (2,)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
            helper.make_node("Flatten", ["c"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "fw", "fb"], ["y"], name="head", transB=1),
        ],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(chance.integers(-2, 3, shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = proto.SerializeToString()
    return data
