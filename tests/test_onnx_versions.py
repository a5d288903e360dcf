"""ONNX operators whose meaning has changed between versions: each means what it meant in its own.

The loop over crops runs the model as it was written; what is converted was brought to a later set
of operators first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fullconv
from fullconv.errors import ModelError
from fullconv.frameworks.onnx.versions import current
from networks.onnx_form import Graph
from oracle import assert_close, onnx_classifier, scores_of_crops

WINDOW = (6, 6)
ROUNDINGS = 64


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


def resized(kind: str, mode: str, *factors: float) -> Callable[[Graph, str], str]:
    def change(g: Graph, y: str) -> str:
        if g.opset < 9:
            return g.add(kind, y, mode=mode, scales=[1.0, 1.0, *factors])
        return g.add(kind, y, g.number([1, 1, *factors]), mode=mode)

    return change


CASES: dict[tuple[str, int], Callable[[Graph, str], str]] = {
    **{
        (f"{kind}, {attributes}", opset): lambda g, y, kind=kind, attributes=attributes: g.add(
            kind, y, **attributes
        )
        for kind in ("Hardmax", "Softmax", "LogSoftmax")
        for attributes in ({}, {"axis": 2}, {"axis": 3})
        for opset in (8, 12, 13)
    },
    **{
        (f"{kind} {mode} {factors}", opset): resized(kind, mode, *factors)
        for kind, opset in (("Upsample", 8), ("Upsample", 9), ("Resize", 10))
        for mode in ("nearest", "linear")
        for factors in ((1.5, 1.3), (2.0, 3.0))
    },
    **{
        (f"Resize {mode} {factors}", 10): resized("Resize", mode, *factors)
        for mode in ("nearest", "linear")
        for factors in ((0.5, 0.6), (0.75, 1.0))
    },
}


def classifier(opset: int, change: Callable[[Graph, str], str]) -> onnx.ModelProto:
    graph = Graph(opset)
    y = graph.add("Conv", "image", graph.number(whole(3, 2, 3, 3)))
    y = graph.add("Flatten", change(graph, y))
    output = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, *WINDOW])]
    if opset < 9:  # weights are inputs as well
        inputs += [
            helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
            for weight in graph.initializers
        ]
    made = helper.make_graph(graph.nodes, "old", inputs, [output], graph.initializers)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(made, opset_imports=opsets, ir_version=4 if opset > 8 else 3)


@pytest.mark.parametrize(("kind", "opset"), CASES)
def test_an_operator_means_what_it_meant_in_its_version(kind: str, opset: int) -> None:
    model = classifier(opset, CASES[kind, opset])
    fcn = fullconv.convert(model, step=1, check=False)
    drawn = np.random.default_rng(1).integers(-9, 10, (2, 2, 7, 9)).astype(np.float32)
    expected = scores_of_crops(onnx_classifier(model), drawn, WINDOW, (1, 1))
    unit = float(np.finfo(np.float32).eps * np.abs(expected).max())
    assert_close(fcn(drawn), expected, unit, ROUNDINGS)


def test_a_resize_that_no_later_version_can_say_is_refused() -> None:
    model = classifier(10, resized("Resize", "nearest", 0.5, 2.0))
    with pytest.raises(ModelError, match="larger along one axis and smaller along another"):
        fullconv.convert(model, step=1)


def test_a_hardmax_of_a_branch_means_what_it_meant() -> None:
    inner = helper.make_graph(
        [helper.make_node("Hardmax", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    branches = {"then_branch": inner, "else_branch": inner}
    choice = helper.make_node("If", ["yes"], ["y"], **branches)
    graph = Graph(12)
    graph.initializers.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    made = helper.make_graph(
        [choice],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        graph.initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
    brought = current(model).graph.node[0].attribute[0].g
    assert [node.op_type for node in brought.node] == ["Shape", "Flatten", "Hardmax", "Reshape"]
