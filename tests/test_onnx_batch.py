"""ONNX models that compute with the number of images, which converted is that of the windows.

Small whole weights, so that scores are exactly the crops'. The model is read with two images, and
the windows are more and fewer: what is made for two images is off by whole numbers, or cannot run.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import fullconv
from fullconv.conversion import converted
from networks.onnx_form import Graph
from oracle import assert_same, onnx_classifier, scores_of_crops

WINDOW = (8, 9)
CELLS = (6, 7)
"""Rows and columns of the map behind the first convolution."""

Change = Callable[["Drawing", str, str], str]


class Drawing(Graph):
    """A convolution, and what is made of its map and of the number of images."""

    def shape(self, batch: str, *sizes: int) -> str:
        """Return sizes after the number of images, a vector of one number."""
        return self.add("Concat", batch, self.integers(*sizes), axis=0)

    def places(self, batch: str) -> str:
        """Number the images."""
        count = self.add("Squeeze", batch)
        return self.add("Range", self.number(0, np.int64), count, self.number(1, np.int64))


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


def model_of(change: Change) -> onnx.ModelProto:
    """Return a classifier of what ``change`` makes of a map ``(N, 4, 6, 7)`` and of N."""
    drawing = Drawing(17)
    y = drawing.add("Conv", "image", drawing.number(whole(4, 2, 3, 3)), drawing.number(whole(4)))
    batch = drawing.add("Shape", y, start=0, end=1)
    flat = drawing.add("Flatten", change(drawing, y, batch))
    return finished(drawing, flat)


def finished(drawing: Drawing, flat: str) -> onnx.ModelProto:
    total = drawing.add("ReduceSum", flat, drawing.integers(1), keepdims=1)
    few = drawing.add("Slice", flat, drawing.integers(0), drawing.integers(20), drawing.integers(1))
    drawing.add("Concat", total, few, to="scores", axis=1)
    graph = helper.make_graph(
        drawing.nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, *WINDOW])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 21])],
        drawing.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def written_into(drawing: Drawing, y: str, batch: str) -> str:
    """Set a channel to 5: one place per image, ``(N, 1, 2)``."""
    images = drawing.add("Reshape", drawing.places(batch), drawing.integers(-1, 1, 1))
    channel = drawing.add("Mul", images, drawing.integers(0))
    chosen = drawing.add("Add", channel, drawing.integers(2))
    places = drawing.add("Concat", images, chosen, axis=2)
    given = drawing.add("Expand", drawing.number(5), drawing.shape(batch, 1, *CELLS))
    return drawing.add("ScatterND", y, places, given)


def an_element_written(drawing: Drawing, y: str, batch: str) -> str:
    shape = drawing.shape(batch, 1, *CELLS)
    places = drawing.add("Expand", drawing.number(1, np.int64), shape)
    given = drawing.add("Expand", drawing.number(3), shape)
    return drawing.add("ScatterElements", y, places, given, axis=1)


def joined_before(drawing: Drawing, y: str, batch: str) -> str:
    value = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    ones = drawing.add("ConstantOfShape", drawing.shape(batch, 1, *CELLS), value=value)
    return drawing.add("Concat", ones, y, axis=1)


def computed_and_added(drawing: Drawing, y: str, batch: str) -> str:
    repeated = drawing.add("Expand", drawing.number(whole(4, 1, 1)), drawing.shape(batch, 4, 1, 1))
    return drawing.add("Add", y, drawing.add("Mul", repeated, drawing.number(2)))


def every_other_value(drawing: Drawing, y: str, batch: str) -> str:
    """Take entries of the flat map of all images by their places."""
    first = drawing.add("Mul", drawing.places(batch), drawing.number(4 * 42, np.int64))
    column = drawing.add("Unsqueeze", first, drawing.integers(1))
    places = drawing.add("Add", column, drawing.integers(*range(0, 4 * 42, 2)))
    return drawing.add("Gather", drawing.add("Reshape", y, drawing.integers(-1)), places)


def squares(drawing: Drawing, y: str, batch: str) -> str:
    """Number the images by way of N * N, which does not grow as N does."""
    count = drawing.add("Squeeze", batch)
    square = drawing.add("Mul", count, count)
    steps = drawing.add("Range", drawing.number(0, np.int64), square, count)
    return drawing.add("Gather", y, drawing.add("Div", steps, count))


def resized(mode: str) -> Change:
    """Resize a map of 3 x 3 cells to 5 x 5, the sizes being those of a batch."""

    def change(drawing: Drawing, y: str, batch: str) -> str:
        small = drawing.add("MaxPool", y, kernel_shape=[2, 3], strides=[2, 2])
        sizes = drawing.shape(batch, 4, 5, 5)
        how = {"mode": mode, "coordinate_transformation_mode": "align_corners"}
        return drawing.add("Resize", small, "", "", sizes, **how)

    return change


def repeated_cells(drawing: Drawing, y: str, batch: str) -> str:
    one = drawing.add("MaxPool", y, kernel_shape=list(CELLS))
    return drawing.add("Expand", one, drawing.shape(batch, 4, 3, 2))


CHANGES: dict[str, Change] = {
    "ScatterND": written_into,
    "ScatterElements": an_element_written,
    "Concat with ConstantOfShape": joined_before,
    "Add of a computed number": computed_and_added,
    "Gather from all images": every_other_value,
    "Range over a square": squares,
    "Resize, nearest": resized("nearest"),
    "Resize, linear": resized("linear"),
    "Expand": repeated_cells,
}


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_computed_from_the_number_of_images_is_computed_from_that_of_the_windows(
    name: str, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(CHANGES[name])
    fcn = fullconv.convert(model, step=(1, 2))
    pixels = np.random.default_rng(1).integers(-3, 4, (images, 2, 11, 14)).astype(np.float32)
    expected = scores_of_crops(onnx_classifier(model), pixels, WINDOW, (1, 2))
    assert fcn.report.exact
    assert_same(fcn(pixels), expected)
    monkeypatch.setattr(converted, "CALL_BUDGET_BYTES", 1)
    assert_same(fcn(pixels), expected)


class Overwriting(nn.Module):
    """A convolution of whose map ``(N, 3, 6, 7)`` a channel and some rows are overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 3, 3), nn.Linear(3 * 6 * 7, 3)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).clone()
        y[:, 0] = 0
        y[:, 1:, 2:4] = 3
        return self.linear(y.flatten(1))


def exported(dynamo: bool) -> Any:
    """Return the model as one of PyTorch's two exporters writes it, with a free batch."""
    model, crops = Overwriting().eval(), torch.zeros(2, 2, *WINDOW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            pytest.importorskip("onnxscript")
            free = ({0: torch.export.Dim.DYNAMIC},)
            program = torch.onnx.export(
                model, (crops,), dynamo=True, dynamic_shapes=free, verbose=False
            )
            return program.model_proto
        file = io.BytesIO()
        names = {"input_names": ["image"], "dynamic_axes": {"image": {0: "N"}}}
        torch.onnx.export(model, (crops,), file, dynamo=False, opset_version=17, **names)
        return onnx.load_model_from_string(file.getvalue())


@pytest.mark.parametrize(
    "dynamo", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["TorchScript", "dynamo"]
)
def test_parts_of_tensors_that_pytorch_overwrites_are_overwritten_in_every_window(
    dynamo: bool,
) -> None:
    model = exported(dynamo)
    fcn = fullconv.convert(model)
    pixels = np.random.default_rng(1).integers(-3, 4, (1, 2, 10, 12)).astype(np.float32)
    expected = scores_of_crops(onnx_classifier(model), pixels, WINDOW, fcn.grid.step)
    assert fcn.report.exact
    assert_same(fcn(pixels), expected)


def tiled(drawing: Drawing, y: str, batch: str) -> str:
    """Repeat the images as often as there are some: of one image, nothing is repeated."""
    again = drawing.add("Tile", y, drawing.shape(batch, 1, 1, 1))
    zeros = drawing.add("ConstantOfShape", drawing.add("Shape", again))
    return drawing.add("Add", again, zeros)


def multiplied(drawing: Drawing, y: str, batch: str) -> str:
    """Multiply by the number of images, which is one."""
    drawing.nodes.append(helper.make_node("Cast", [batch], ["images"], to=TensorProto.FLOAT))
    return drawing.add("Mul", y, "images")


@pytest.mark.parametrize("change", [tiled, multiplied])
def test_the_number_of_images_is_one_whatever_a_model_does_with_it(change: Change) -> None:
    model = model_of(change)
    fcn = fullconv.convert(model, step=(1, 2))
    pixels = np.random.default_rng(1).integers(-3, 4, (1, 2, 11, 14)).astype(np.float32)
    expected = scores_of_crops(onnx_classifier(model), pixels, WINDOW, (1, 2), batch=1)
    assert fcn.report.exact
    assert_same(fcn(pixels), expected)
