"""ONNX pools have the outputs that ONNX Runtime gives, and windows equal their crops.

With ``ceil_mode``, ONNX' own inference counts a last output whose box begins past the cells;
neither ONNX Runtime nor PyTorch computes it. Weights and pixels are whole numbers, so that right
means equal.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import fullconv
from fullconv.frameworks.onnx.session import session
from oracle import assert_same

Setting = dict[str, object]

NARROW: list[tuple[str, int, int, int, Setting]] = [
    ("MaxPool", 1, 8, 12, {"kernel_shape": [1], "strides": [2]}),
    ("MaxPool", 2, 8, 12, {"kernel_shape": [2, 1], "strides": [2, 2]}),
    ("MaxPool", 2, 7, 17, {"kernel_shape": [2, 2], "strides": [4, 3], "pads": [1, 0, 1, 1]}),
    ("MaxPool", 3, 4, 12, {"kernel_shape": [1, 2, 1], "strides": [3, 2, 2]}),
    ("MaxPool", 1, 7, 12, {"kernel_shape": [2], "strides": [3], "dilations": [2]}),
    ("AveragePool", 2, 8, 12, {"kernel_shape": [2, 1], "strides": [2, 2]}),
    ("AveragePool", 1, 5, 22, {"kernel_shape": [2], "strides": [4], "pads": [0, 1]}),
    (
        "AveragePool",
        2,
        5,
        22,
        {"kernel_shape": [2, 2], "strides": [4, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1},
    ),
    ("AveragePool", 1, 5, 22, {"kernel_shape": [2], "strides": [1], "dilations": [2]}),
    ("LpPool", 1, 8, 22, {"kernel_shape": [1], "strides": [2], "p": 1}),
    ("LpPool", 2, 5, 22, {"kernel_shape": [2, 1], "strides": [4, 2], "p": 1}),
]
"""An operator, the axes and length of its window, the operator set, and its attributes."""


def classifier(
    operator: str, axes: int, opset: int, attributes: Setting, outputs: int | None
) -> ModelProto:
    """Return a pool of signs, and weights for its ``outputs``; without these, the pool alone."""
    sizes = ["n", 1, *(f"size{axis}" for axis in range(axes))]
    nodes = [helper.make_node(operator, ["x"], ["pooled"], ceil_mode=1, **attributes)]
    weights, result = [], "pooled"
    if outputs is not None:
        held = np.random.default_rng(2).integers(-3, 4, (outputs, 2)).astype(np.float32)
        weights, result = [numpy_helper.from_array(held, "w")], "scores"
        nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
        nodes.append(helper.make_node("MatMul", ["flat", "w"], ["scores"]))
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)
    given = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "pools", [image], [given], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(("operator", "axes", "length", "opset", "attributes"), NARROW)
def test_pools_narrower_than_their_stride_equal_the_crops(
    operator: str, axes: int, length: int, opset: int, attributes: Setting, step: int
) -> None:
    numbers = np.random.default_rng(0)
    blank = np.zeros((1, 1, *(length,) * axes), np.float32)
    pooled = session(classifier(operator, axes, opset, attributes, None))(blank)
    model = classifier(operator, axes, opset, attributes, pooled.size)
    # Averages over up to four cells are whole, too.
    images = 12.0 * numbers.integers(-9, 10, (1, 1, *(length + 3,) * axes)).astype(np.float32)
    fcn = fullconv.convert(model, (length,) * axes, step, check=False)
    assert fcn.report.exact
    assert not any("alone" in reason for reason in fcn.report.reasons)
    scores, classify = fcn(images), session(model)
    for at in product(range(scores.shape[2]), repeat=axes):
        crop = images[(slice(None), slice(None), *(slice(i * step, i * step + length) for i in at))]
        assert_same(scores[(slice(None), slice(None), *at)], classify(np.ascontiguousarray(crop)))


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_sizes_are_those_of_onnx_runtime(operator: str) -> None:
    from fullconv.frameworks.onnx.moving import pooled

    settings = product((1, 2, 3), (1, 2, 3, 4), ((0, 0), (0, 1), (1, 0), (1, 2)), (0, 1), (5, 8))
    for kernel, stride, pads, ceil, cells in settings:
        if max(pads) >= kernel:
            continue
        attributes = {"kernel_shape": [kernel], "strides": [stride], "pads": pads}
        model = classifier(operator, 1, 22, attributes, None)
        node = model.graph.node[0]
        next(a for a in node.attribute if a.name == "ceil_mode").i = ceil
        given = session(model)(np.zeros((1, 1, cells), np.float32)).shape[2:]
        assert pooled(onnx_node(node), (cells,)) == given, (kernel, stride, pads, ceil, cells)


def onnx_node(node: onnx.NodeProto) -> object:
    import onnx_ir

    return onnx_ir.serde.deserialize_node(node)
