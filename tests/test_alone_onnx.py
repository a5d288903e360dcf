"""ONNX classifiers whose score of an image depends on the other images of its batch.

As `test_alone` for PyTorch: whole numbers, and each crop scored alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fullconv
from fullconv.errors import ModelError
from networks.onnx_form import Graph
from oracle import assert_close, assert_same, leaves, onnx_classifier, scores_of_crops

WINDOW, STEP = (6, 7), (1, 2)
ROUNDINGS = 32


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


class Odd(Graph):
    """A convolution, a fully connected layer, and what is done around them."""

    def conv(self, x: str = "image") -> str:
        return self.add("Conv", x, self.number(whole(3, 2, 3, 3)))

    def head(self, y: str) -> str:
        return self.add("MatMul", self.add("Flatten", y), self.number(whole(60, 4)))

    def typed(self, kind: str, x: str, to: int) -> str:
        """Add an operator whose attribute is called ``to``."""
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [x], [name], name=name, to=to))
        return name

    def mirrored(self) -> str:
        ends = [self.integers(n) for n in (-1, np.iinfo(np.int64).min, 3, -1)]
        return self.add("Slice", "image", *ends)

    def several(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        return self.add_many(kind, *inputs, to=[None] * outputs, **attributes)

    def model(self, scores: str | list[str], batch: str | int) -> onnx.ModelProto:
        names = [scores] if isinstance(scores, str) else scores
        outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 2, *WINDOW])
        graph = helper.make_graph(self.nodes, "odd", [image], outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def standardised(g: Odd) -> str:
    y = g.conv()
    apart = g.add("Sub", y, g.add("ReduceMean", y, axes=[0, 2, 3]))
    spread = g.add("ReduceMean", g.add("Mul", apart, apart), axes=[0, 2, 3])
    return g.head(g.add("Div", apart, g.add("Sqrt", spread)))


def quantized(g: Odd) -> str:
    """What ONNX Runtime's dynamic quantizer writes: a scale for the whole batch, layer by layer."""
    filters = np.random.default_rng(0).integers(-127, 128, (3, 2, 3, 3)).astype(np.int8)
    weights = np.random.default_rng(1).integers(-127, 128, (60, 4)).astype(np.int8)
    zero = g.number(0, np.int8)
    whole_, scale, point = g.several("DynamicQuantizeLinear", "image", outputs=3)
    held = g.number(0)
    y = g.add("ConvInteger", whole_, _constant(g, filters), point, zero)
    y = g.add("Mul", g.typed("Cast", y, TensorProto.FLOAT), g.add("Mul", scale, g.number(0.01)))
    flat = g.add("Flatten", g.add("Max", y, held))
    whole_, scale, point = g.several("DynamicQuantizeLinear", flat, outputs=3)
    y = g.add("MatMulInteger", whole_, _constant(g, weights), point, zero)
    return g.add("Mul", g.typed("Cast", y, TensorProto.FLOAT), g.add("Mul", scale, g.number(0.01)))


def _constant(g: Odd, array: np.ndarray) -> str:
    name = f"weights{len(g.initializers)}"
    g.initializers.append(onnx.numpy_helper.from_array(array, name))
    return name


def in_training(g: Odd) -> str:
    channels = [g.number(whole(3) + n) for n in (0, 1, 2)]
    variance = g.number(np.abs(whole(3)) + 1)
    return g.head(
        g.several("BatchNormalization", g.conv(), *channels, variance, outputs=3, training_mode=1)[
            0
        ]
    )


def untrained(g: Odd) -> str:
    """Statistics of the batch, whose running ones are equal to scale and bias."""
    channels = [g.number([n] * 3) for n in (1, 0, 0, 1)]
    outputs = g.several("BatchNormalization", g.conv(), *channels, outputs=3, training_mode=1)
    return g.head(outputs[0])


def augmented(g: Odd) -> str:
    scores = g.head(g.conv(g.add("Concat", "image", g.mirrored(), axis=0)))
    apart = g.add("Reshape", scores, g.integers(2, -1, 4))
    return g.add("ReduceMax", apart, axes=[0], keepdims=0)


def of_one_image(*shape: int) -> Callable[[Odd], str]:
    def change(g: Odd) -> str:
        flat = g.add("Reshape", g.conv(), g.integers(*shape))
        return g.add("MatMul", flat, g.number(whole(60, 4)))

    return change


EXACTLY: dict[str, Callable[[Odd], str | list[str]]] = {
    "maximum of all": lambda g: g.head(
        g.add("Mul", g.conv(), g.add("ReduceMax", "image", keepdims=0))
    ),
    "minimum of all": lambda g: g.head(
        g.conv(g.add("Sub", "image", g.add("ReduceMin", "image", keepdims=0)))
    ),
    "sum over the batch": lambda g: g.head(
        g.add("Add", g.conv(), g.add("ReduceSum", g.conv(), g.integers(0)))
    ),
    "softmax over the batch": lambda g: g.head(g.add("Softmax", g.conv(), axis=0)),
    "running sum over the batch": lambda g: g.head(
        g.add("CumSum", g.conv(), g.number(0, np.int64))
    ),
    "largest of the batch": lambda g: g.head(
        g.several("TopK", g.conv(), g.integers(1), outputs=2, axis=0)[0]
    ),
    "chosen by all": lambda g: g.head(
        g.add(
            "Where",
            g.add("Greater", g.add("ReduceMax", "image", keepdims=0), g.number(30)),
            g.conv(),
            g.add("Neg", g.conv()),
        )
    ),
    "first of the batch": lambda g: g.add("Gather", g.head(g.conv()), g.number(0, np.int64)),
    "rows times rows": lambda g: g.add(
        "MatMul", g.add("Transpose", g.head(g.conv()), perm=[1, 0]), g.head(g.conv())
    ),
    "squeezed": lambda g: g.add("Squeeze", g.head(g.conv())),
    "one number": lambda g: g.add(
        "Squeeze", g.add("ReduceMax", g.head(g.conv()), axes=[1], keepdims=1)
    ),
    "[1, -1]": of_one_image(1, -1),
    "[1, 60]": of_one_image(1, 60),
    "[-1]": of_one_image(-1),
    "transposed scores": lambda g: g.add("Transpose", g.head(g.conv()), perm=[1, 0]),
    "augmented": augmented,
    "several outputs": lambda g: [
        g.head(g.conv()),
        g.add("ReduceMax", "image", keepdims=0),
        g.add("ReduceSum", g.conv(), g.integers(0), keepdims=0),
    ],
    "dynamically quantized": quantized,
    "places in the batch": lambda g: g.head(
        g.add(
            "ScatterND",
            g.conv(),
            _constant(g, np.array([[0, 1]], np.int64)),
            g.number(whole(1, 4, 5)),
        )
    ),
}

NEARLY: dict[str, Callable[[Odd], str | list[str]]] = {
    "mean of all": lambda g: g.head(
        g.conv(g.add("Sub", "image", g.add("ReduceMean", "image", keepdims=0)))
    ),
    "norm of all": lambda g: g.head(
        g.conv(g.add("Div", "image", g.add("ReduceL2", "image", keepdims=0)))
    ),
    "norm over the batch": lambda g: g.head(g.add("LpNormalization", g.conv(), axis=0)),
    "standardised": standardised,
    "mean and variance": lambda g: g.head(g.add("MeanVarianceNormalization", g.conv())),
    "statistics of the batch": in_training,
    "channels in the place of images": lambda g: g.head(
        g.add(
            "Transpose",
            g.add(
                "InstanceNormalization",
                g.add("Transpose", g.conv(), perm=[1, 0, 2, 3]),
                g.number([2]),
                g.number([1]),
            ),
            perm=[1, 0, 2, 3],
        )
    ),
}


def pixels() -> np.ndarray:
    drawn = np.random.default_rng(1).integers(-3, 4, (2, 2, 9, 12))
    return (drawn * np.arange(1, 13)).astype(np.float32)


def as_rows(scores: Any) -> list[np.ndarray]:
    return [leaf.reshape(len(leaf), -1, *leaf.shape[-2:]) for _, leaf in leaves(scores)]


def scores_and_crops(change: Callable[[Odd], Any], batch: str | int) -> tuple[Any, Any, Any]:
    graph = Odd(17)
    model = graph.model(change(graph), batch)
    fcn = fullconv.convert(model, step=STEP)
    assert fcn.report.exact
    onnx.checker.check_model(fcn.model)
    expected = scores_of_crops(onnx_classifier(model), pixels(), WINDOW, STEP)
    return fcn, as_rows(fcn(pixels())), as_rows(expected)


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("kind", EXACTLY)
def test_a_window_has_the_score_of_its_crop_alone(kind: str, batch: str | int) -> None:
    _, scores, expected = scores_and_crops(EXACTLY[kind], batch)
    assert_same(scores, expected)


@pytest.mark.parametrize("kind", NEARLY)
def test_a_window_has_the_score_of_its_crop_alone_but_for_roundings(kind: str) -> None:
    _, scores, expected = scores_and_crops(NEARLY[kind], "N")
    for own, wanted in zip(scores, expected, strict=True):
        unit = float(np.finfo(own.dtype).eps * np.abs(wanted).max())
        assert_close(own, wanted, unit, ROUNDINGS)


def test_weights_that_onnx_runtime_overwrites_are_named() -> None:
    """It lays equal weights together: with the running mean it overwrites the bias."""
    graph = Odd(17)
    with pytest.raises(ModelError) as caught:
        fullconv.convert(graph.model(untrained(graph), "N"), step=STEP)
    assert str(caught.value).startswith(
        "convert: the model gives other scores for a crop each time that it is scored: it keeps "
        "state between calls, in BatchNormalization 'BatchNormalization_1' in training mode; "
    )


def test_openvino_computes_what_runs_on_each_window_alone() -> None:
    pytest.importorskip("openvino")
    from fullconv.runtimes import open_runtime

    fcn, scores, _ = scores_and_crops(EXACTLY["minimum of all"], "N")
    with open_runtime(fcn, "openvino") as runtime:
        assert_same(as_rows(runtime.run(pixels())), scores)


def test_what_runs_alone_is_named() -> None:
    fcn, _, _ = scores_and_crops(EXACTLY["minimum of all"], "N")
    (node,) = [node for node in fcn.model.graph.node if node.op_type == "Scan"]
    assert [part.op_type for part in node.attribute[0].g.node] == ["ReduceMin", "Identity"]
    (reason,) = [reason for reason in fcn.report.reasons if "alone" in reason]
    assert reason.operation == "ReduceMin"
    assert reason.why == (
        "is not known to treat each image of a batch by itself; it runs on each window alone, one "
        "after the other"
    )
