"""ONNX operators whose settings are computed from the image, where constants are usual.

A setting that no reader knows must never be taken for the default: the window has the score of its
crop, or the model is refused in one line.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fullconv
from fullconv.errors import ModelError
from networks.onnx_form import Graph
from oracle import assert_close, onnx_classifier, scores_of_crops

WINDOW = (6, 6)
ROUNDINGS = 64
Y = "y"
"""The map ``(1, 3, 4, 4)`` behind the convolution."""


class Computed(Graph):
    """A convolution, and numbers and small whole numbers of the image."""

    def __init__(self, opset: int) -> None:
        super().__init__(opset)
        self.add("Conv", "image", self.number(whole(3, 2, 3, 3)), to=Y)
        self.most = self.add("ReduceMax", Y, keepdims=0)
        self.mean = self.add("ReduceMean", Y, keepdims=0)
        self.one = self.add("Greater", self.mean, self.number(0))

    def cast(self, x: str, to: int) -> str:
        name = f"cast_{len(self.nodes)}"
        self.nodes.append(helper.make_node("Cast", [x], [name], name=name, to=to))
        return name

    @property
    def index(self) -> str:
        """Nought or one, as the image is."""
        return self.cast(self.one, TensorProto.INT64)

    def vector(self, x: str) -> str:
        return self.add("Reshape", x, self.integers(1))

    def channels(self) -> str:
        return self.add("ReduceMax", Y, axes=[0, 2, 3], keepdims=0)

    def head(self, y: str) -> str:
        return self.add("MatMul", self.add("Flatten", y), self.number(whole(48, 4)))

    def model(self, scores: str) -> onnx.ModelProto:
        output = helper.make_tensor_value_info(scores, TensorProto.FLOAT, None)
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, *WINDOW])
        graph = helper.make_graph(self.nodes, "odd", [image], [output], self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


def padded(g: Computed, value: str, mode: str = "constant") -> str:
    around = g.add("Pad", Y, g.integers(0, 0, 1, 0, 0, 0, 0, 1), value, mode=mode)
    return g.add("Slice", around, g.integers(0, 1), g.integers(4, 5), g.integers(2, 3))


def normalized(g: Computed, kind: str, **attributes: object) -> str:
    return g.head(g.add(kind, Y, g.channels(), g.channels(), **attributes))


SCORED: dict[str, Callable[[Computed], str]] = {
    "Pad, its value": lambda g: g.head(padded(g, g.most)),
    "Pad of vectors": lambda g: g.add(
        "MatMul",
        g.add("Pad", g.add("Flatten", Y), g.integers(0, 1, 0, 1), g.most),
        g.number(whole(50, 4)),
    ),
    "Pad, a value of weights": lambda g: g.head(
        padded(g, g.add("DequantizeLinear", g.number(9, np.uint8), g.number(2)))
    ),
    "Clip, below": lambda g: g.head(g.add("Clip", Y, g.mean)),
    "Clip, above": lambda g: g.head(g.add("Clip", Y, "", g.mean)),
    "Clip, on both sides": lambda g: g.head(g.add("Clip", Y, g.mean, g.most)),
    "Clip, by weights": lambda g: g.head(
        g.add("Clip", Y, g.add("DequantizeLinear", g.number(9, np.uint8), g.number(2)))
    ),
    "Pow": lambda g: g.head(g.add("Pow", Y, g.cast(g.index, TensorProto.FLOAT))),
    "CumSum, its axis": lambda g: g.head(g.add("CumSum", Y, g.index)),
    "Trilu, its diagonal": lambda g: g.head(g.add("Trilu", Y, g.index)),
    "Gather": lambda g: g.add("Flatten", g.add("Gather", Y, g.vector(g.index), axis=1)),
    "Gather of a table": lambda g: g.add("Gather", g.number(whole(4, 3)), g.vector(g.index)),
    "Dropout, its share": lambda g: g.head(g.add("Dropout", Y, half(g), g.number(0, np.bool_))),
    "OneHot, its numbers": lambda g: g.add(
        "Flatten",
        g.add(
            "OneHot", g.add("ArgMax", Y, axis=1), g.integers(3), g.add("Concat", *pair(g), axis=0)
        ),
    ),
    "QuantizeLinear, its scale": lambda g: g.head(
        g.cast(g.add("QuantizeLinear", Y, g.add("Abs", g.most)), TensorProto.FLOAT)
    ),
    "PRelu": lambda g: g.head(g.add("PRelu", Y, g.mean)),
    "Where": lambda g: g.head(g.add("Where", g.one, Y, g.add("Neg", Y))),
    "InstanceNormalization": lambda g: normalized(g, "InstanceNormalization"),
    "BatchNormalization": lambda g: g.head(
        g.add("BatchNormalization", Y, *[g.add("Abs", g.channels())] * 4)
    ),
    "LayerNormalization": lambda g: g.head(
        g.add("LayerNormalization", Y, g.add("Squeeze", Y, g.integers(0)), axis=1)
    ),
    "Gemm, its bias": lambda g: g.add(
        "Gemm", g.add("Flatten", Y), g.number(whole(48, 3)), g.channels()
    ),
    "Conv, its filters": lambda g: g.add(
        "Flatten", g.add("Conv", Y, g.add("Slice", Y, *map(g.integers, (0, 2, 2))))
    ),
    "Conv, its bias": lambda g: g.add(
        "Flatten", g.add("Conv", Y, g.number(whole(3, 3, 2, 2)), g.channels())
    ),
    "ScatterElements, its numbers": lambda g: g.head(
        g.add("ScatterElements", Y, g.number(np.zeros((1, 3, 4, 1)), np.int64), spot(g), axis=3)
    ),
}


def pair(g: Computed) -> tuple[str, str]:
    return g.vector(g.mean), g.vector(g.most)


def half(g: Computed) -> str:
    return g.add("Mul", g.add("Sigmoid", g.mean), g.number(0.5))


def spot(g: Computed) -> str:
    return g.add("ReduceMax", Y, axes=[3], keepdims=1)


REFUSED: dict[str, Callable[[Computed], str]] = {
    "Pad, its pads": lambda g: g.add(
        "Flatten",
        g.add("Pad", Y, g.add("Mul", g.index, g.integers(0, 0, 1, 0, 0, 0, 0, 0)), g.number(1)),
    ),
    "Slice, its start": lambda g: g.add(
        "Flatten", g.add("Slice", Y, g.vector(g.index), g.integers(3), g.integers(2))
    ),
    "TopK, how many": lambda g: g.add_many(
        "TopK", g.add("Flatten", Y), g.vector(g.index), to=[None] * 2
    )[0],
    "Resize, its scales": lambda g: g.add(
        "Flatten", g.add("Resize", Y, "", g.add("Add", g.cast(g.index, 1), g.number([1, 1, 1, 1])))
    ),
    "Tile, how often": lambda g: g.add(
        "Flatten", g.add("Tile", Y, g.add("Add", g.index, g.integers(1, 1, 1, 1)))
    ),
}


def images() -> np.ndarray:
    drawn = np.random.default_rng(1).integers(-3, 4, (2, 2, 8, 10))
    return (drawn * np.arange(1, 11)).astype(np.float32)


@pytest.mark.parametrize("kind", SCORED)
def test_a_setting_of_the_image_is_that_of_each_window(kind: str) -> None:
    graph = Computed(17)
    model = graph.model(SCORED[kind](graph))
    fcn = fullconv.convert(model, step=1, check=False)
    assert fcn.report.exact
    expected = scores_of_crops(onnx_classifier(model), images(), WINDOW, (1, 1))
    unit = float(np.finfo(np.float32).eps * np.abs(expected).max())
    assert_close(fcn(images()), expected, unit, ROUNDINGS)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_size_of_the_image_is_refused_in_one_line(kind: str) -> None:
    graph = Computed(17)
    with pytest.raises(ModelError) as caught:
        fullconv.convert(graph.model(REFUSED[kind](graph)), step=1)
    assert "depends on the pixels" in str(caught.value)
    assert "\n" not in str(caught.value)
