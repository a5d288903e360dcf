"""Every ONNX operator that is said to treat the images of a batch alone, along every axis.

As `test_standing` for PyTorch: one model does all of them behind a convolution, each an output of
its own, and the loop over crops decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fullconv
from fullconv.frameworks.onnx.standing import families
from networks.onnx_form import Graph
from oracle import assert_close, onnx_classifier, scores_of_crops

WINDOW, CELLS = (5, 6), (3, 3, 4)
RANK = 4
ROUNDINGS = 64
Y = "y"
"""The map ``(1, 3, 3, 4)`` behind the convolution."""


class Everything(Graph):
    """A convolution, and operators behind it."""

    def __init__(self, dim: int, opset: int = 21) -> None:
        super().__init__(opset)
        self.dim = dim
        self.outputs: list[str] = []
        self.tried: set[str] = set()
        self.add("Conv", "image", self.number(whole(3, 2, 3, 3)), to=Y)
        self.small = self.add("Clip", Y, self.number(-9), self.number(9))
        self.bytes = self.cast(self.add("Abs", self.small), TensorProto.UINT8)
        self.turned = self.turn(Y)
        self.vectors = self.add("Reshape", Y, self.integers(-1, 36))

    def cast(self, x: str, to: int) -> str:
        name = f"cast_{len(self.nodes)}"
        self.nodes.append(helper.make_node("Cast", [x], [name], name=name, to=to))
        return name

    def held(self, array: np.ndarray) -> str:
        name = f"held_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def turn(self, x: str) -> str:
        """Return a map whose images are the entries of an axis, twice as many along this axis."""
        if not self.dim:
            return x
        order = list(range(RANK))
        order[0], order[self.dim] = self.dim, 0
        doubled = self.add("Concat", x, self.add("Neg", x), axis=0)
        return self.add("Transpose", doubled, perm=order)

    def give(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """Add an operator, all of whose results are outputs of the model."""
        self.tried.add(kind)
        results = self.add_many(kind, *inputs, to=[None] * outputs, **attributes)
        for result in results:
            name = f"{kind} {len(self.outputs)}"
            self.nodes.append(
                helper.make_node("Cast", [result], [name], name=name, to=TensorProto.FLOAT)
            )
            self.outputs.append(name)
        return results[0]

    def model(self) -> onnx.ModelProto:
        outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in self.outputs]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, *WINDOW])
        graph = helper.make_graph(self.nodes, "all", [image], outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


def along_an_axis(g: Everything) -> None:
    d = g.dim
    lengths = (1, *CELLS)
    for kind in ("ArgMax", "ArgMin", "Hardmax", "LpNormalization"):
        g.give(kind, Y, axis=d)
    g.give("TopK", Y, g.integers(1), outputs=2, axis=d)
    g.give("Concat", Y, Y, axis=d)
    g.give("Split", Y, g.integers(lengths[d]), axis=d)
    g.give("LayerNormalization", Y, g.number(whole(*lengths[d:])), axis=d)
    g.give("CumSum", Y, g.number(d, np.int64))
    for kind in "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split():
        x = g.add("Max", g.small, g.number(1)) if kind == "LogSum" else g.small
        g.give(f"Reduce{kind}", x, g.integers(d), keepdims=d % 2)
    g.give("Gather", Y, g.integers(0, 0), axis=d)
    g.give("Gather", Y, g.add("ArgMax", g.vectors, axis=0), axis=3) if not d else None
    first = g.add("ArgMin", Y, axis=d)
    g.give("GatherElements", Y, first, axis=d)
    chosen = g.add("Gather", Y, g.integers(0), axis=d)
    g.give("ScatterElements", Y, first, chosen, axis=d, reduction="add")
    g.give("Compress", Y, g.held(np.array([True])), axis=d)
    g.give("OneHot", g.add("ArgMax", Y, axis=1), g.integers(3), g.number([1, 5]), axis=d)
    g.give("Slice", Y, g.integers(0), g.integers(1), g.integers(d))
    g.give("Pad", Y, g.integers(1, 1), g.number(3), g.integers(d))
    g.give("Pad", Y, g.integers(*[int(k % 4 == d) for k in range(8)]), g.number(3))
    g.give("Tile", Y, g.integers(*[1 + (axis == d) for axis in range(RANK)]))
    kept = g.add("Slice", Y, g.integers(0), g.integers(1), g.integers(d))
    g.give("Expand", kept, g.integers(*[5 if axis == d else 1 for axis in range(RANK)]))
    scales = g.number([2 if axis == d else 1 for axis in range(RANK)])
    for mode in ("nearest", "linear") if d > 1 else ("nearest",):
        g.give("Resize", Y, "", scales, mode=mode)
    box = [0.0] * RANK + [0.5 if axis == d else 1.0 for axis in range(RANK)]
    cut = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": mode}
    g.give("Resize", Y, g.number(box), scales, **cut)
    scale, point = g.number(np.arange(1, 1 + lengths[d])), g.number([3] * lengths[d], np.uint8)
    g.give(
        "DequantizeLinear", g.give("QuantizeLinear", Y, scale, point, axis=d), scale, point, axis=d
    )


def of_batches(g: Everything) -> None:
    t = g.turned
    g.give("Trilu", t)
    g.give("MatMul", t, g.add("Transpose", t, perm=[0, 1, 3, 2]))
    rows = g.add(
        "Squeeze", g.add("Slice", t, g.integers(0), g.integers(1), g.integers(1)), g.integers(1)
    )
    g.give("MatMul", rows, g.add("Transpose", rows, perm=[0, 2, 1]))
    g.give("GatherND", t, g.held(np.zeros((1, 1), np.int64)))
    g.give("GlobalAveragePool", t)
    g.give("GlobalMaxPool", t)
    g.give("GlobalLpPool", t)
    kernel = {"kernel_shape": [1, 2], "strides": [1, 1]}
    g.give("MaxPool", t, **kernel)
    g.give("MaxPool", t, outputs=2, **kernel)
    g.give("AveragePool", t, pads=[0, 1, 0, 1], **kernel)
    g.give("LpPool", t, **kernel)


def once(g: Everything) -> None:
    """Add what has no axis to choose."""
    weights = g.number(whole(36, 2))
    for kind in ("Gemm", "MatMul"):
        g.give(kind, g.vectors, weights)
    g.give("Gemm", g.vectors, g.vectors, transA=1)
    g.give("Gemm", g.vectors, weights, g.number(whole(1, 2)))
    squeezed = g.add("Squeeze", Y, g.integers(0))
    g.give("MatMul", squeezed, g.number(whole(3, 4, 2)))
    for equation in ("nchw,nchv->nwv", "nchw,mchw->nm", "nchw,nchw->cw"):
        g.give("Einsum", Y, Y, equation=equation)
    g.give("Conv", Y, g.number(whole(2, 3, 1, 2)))
    g.give("ConvTranspose", Y, g.number(whole(3, 2, 2, 2)), strides=[2, 2])
    g.give("SpaceToDepth", g.add("Concat", Y, Y, axis=2), blocksize=2)
    g.give("DepthToSpace", g.add("Concat", Y, Y, Y, Y, axis=1), blocksize=2)
    grid = g.add("Tanh", g.add("Reshape", Y, g.integers(-1, 3, 6, 2)))
    g.give("GridSample", Y, grid)
    matrices = g.add("Reshape", g.bytes, g.integers(-1, 9, 4))
    kernel = g.held(whole(4, 2).astype(np.int8))
    point, signed = g.number(1, np.uint8), g.number(0, np.int8)
    g.give("MatMulInteger", matrices, kernel, point, signed)
    unit = g.number(0.5)
    g.give("QLinearMatMul", matrices, unit, point, kernel, unit, signed, g.number(9), point)
    filters = g.held(whole(2, 3, 1, 2).astype(np.int8))
    g.give("ConvInteger", g.bytes, filters, point, signed)
    g.give("QLinearConv", g.bytes, unit, point, filters, unit, signed, g.number(9), point)
    rows = g.add("Reshape", g.add("ArgMax", Y, axis=1), g.integers(-1, 12, 1))
    g.give("GatherND", Y, rows, batch_dims=1)
    steps = g.add("Reshape", Y, g.integers(9, -1, 4))
    for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        inputs = [g.number(whole(1, gates * 2, 4)), g.number(whole(1, gates * 2, 2) / 4)]
        length = g.number([7], np.int32)
        state = g.number(whole(1, 1, 2))
        more = [state, state] if kind == "LSTM" else [state]
        count = 3 if kind == "LSTM" else 2
        g.give(kind, steps, *inputs, outputs=count, hidden_size=2)
        g.give(kind, steps, *inputs, "", length, *more, outputs=count, hidden_size=2)


def late(g: Everything) -> None:
    """Add what there is since version 23 of the operators."""
    for d in range(RANK):
        g.give("RMSNormalization", Y, g.number(whole(*(1, *CELLS)[d:])), axis=d)
    g.give("Attention", *[g.add("Concat", Y, Y, axis=1)] * 3)


def images() -> np.ndarray:
    """Return images whose windows differ by far: a hundredfold from left to right."""
    drawn = np.random.default_rng(1).random((2, 2, 6, 9), np.float32) - 0.3
    return (drawn * np.logspace(-1, 1, 9)).astype(np.float32)


def assert_as_crops(graph: Everything) -> None:
    """Compare each output with the crops' by itself, within roundings of the largest number."""
    model = graph.model()
    fcn = fullconv.convert(model, step=1, check=False)
    assert fcn.report.exact
    expected = scores_of_crops(onnx_classifier(model), images(), WINDOW, (1, 1))
    for name, mine, wanted in zip(graph.outputs, fcn(images()), expected, strict=True):
        rows = [x.reshape(len(x), -1, *x.shape[-2:]) for x in (mine, wanted)]
        unit = float(np.finfo(np.float32).eps * np.nanmax(np.abs(wanted)))
        try:
            assert_close(*rows, unit, ROUNDINGS)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("dim", range(RANK))
def test_every_operator_has_the_scores_of_the_crops_along_every_axis(dim: int) -> None:
    graph = Everything(dim)
    for part in PARTS:
        part(graph)
    assert_as_crops(graph)


@pytest.mark.parametrize(("part", "opset"), [(once, 21), (late, 23)])
def test_operators_without_an_axis_have_the_scores_of_the_crops(
    part: Callable[[Everything], None], opset: int
) -> None:
    graph = Everything(0, opset)
    part(graph)
    assert_as_crops(graph)


PARTS: Sequence[Callable[[Everything], None]] = (along_an_axis, of_batches)
OLD = {"Scatter", "Upsample", "DeformConv"}
"""Listed operators under older names, and one that ONNX Runtime has not."""


def test_every_listed_operator_is_tried() -> None:
    graph = Everything(1)
    for part in (*PARTS, once, late):
        part(graph)
    assert set(families) <= graph.tried | OLD
