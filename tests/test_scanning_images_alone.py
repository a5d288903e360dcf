"""Networks over another number of axes than an image's: they convert, and are not scanned yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import fullconv
from fullconv.cli.group import commands
from fullconv.errors import InputError

NO_IMAGES = {
    1: "the network takes recordings, (samples); scans and the command line work on images, (rows, "
    "columns), so far. Call it with arrays instead: fcn(x).",
    3: "the network takes volumes, (planes, rows, columns); scans and the command line work on "
    "images, (rows, columns), so far. Call it with arrays instead: fcn(x).",
}
WITHOUT_CHANNELS = (
    "the network takes images without an axis of channels, (N, H, W); scans and the command line "
    "work on (N, C, H, W) so far. Call it with arrays instead: fcn(x)."
)


def linear(*crop: int) -> onnx.ModelProto:
    """Return a fully connected layer over whole crops."""
    weights = np.random.default_rng(0).standard_normal((int(np.prod(crop)), 3), np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *crop])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("axes", [1, 3])
def test_what_takes_no_images_is_refused_in_one_line(axes: int, tmp_path: Path) -> None:
    fcn = fullconv.convert(linear(2, *(8, 7, 6)[:axes]))
    assert fcn.grid.dimensions == axes
    image = np.zeros((20, 20, 2), np.uint8)
    for call in (
        lambda: fullconv.scan(fcn, image),
        lambda: fullconv.detect(fcn, image, classes=[1]),
        lambda: fullconv.detect(fcn, [image, image]),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == NO_IMAGES[axes]
    fcn.save(tmp_path / "fcn.onnx")
    onnx.save(linear(2, *(8, 7, 6)[:axes]), tmp_path / "model.onnx")
    Image.fromarray(image[..., 0]).save(tmp_path / "image.png")
    for command in (
        ("scan", "fcn.onnx", "image.png", "-o", "heat.zarr"),
        ("scan", "fcn.onnx", "image.png", "-o", "heat.zarr", "--dry-run"),
        ("detect", "model.onnx", "image.png", "-o", "boxes.json"),
        ("verify", "fcn.onnx", "image.png"),
        ("bench", "model.onnx", "image.png"),
    ):
        done = run(tmp_path, *command)
        assert done.exit_code == 2, done.output
        assert done.stderr.splitlines()[-1] == f"fullconv: error: {NO_IMAGES[axes]}"
    assert not {"heat.zarr", "boxes.json"} & {path.name for path in tmp_path.iterdir()}


def run(folder: Path, command: str, *words: str) -> Any:
    named = [str(folder / word) if "." in word else word for word in words]
    return CliRunner().invoke(commands, [command, *named])


def test_images_without_channels_are_refused_in_one_line() -> None:
    fcn = fullconv.convert(linear(8, 7), (8, 7))
    assert fcn.shape.takes == "cells"
    for call in (fullconv.scan, fullconv.detect):
        with pytest.raises(InputError) as caught:
            call(fcn, np.zeros((20, 20), np.uint8))
        assert str(caught.value) == WITHOUT_CHANNELS


@pytest.mark.parametrize("where", ["module", "program", "program of one", "onnx"])
def test_a_classifier_of_vectors_scans_the_pixels_of_an_image(where: str) -> None:
    classifier: Any = linear(5)
    if where != "onnx":
        torch = pytest.importorskip("torch")
        classifier = torch.nn.Linear(5, 3).eval()
        if where != "module":
            free = ({0: torch.export.Dim.DYNAMIC},) if where == "program" else None
            crops = torch.zeros(2 if free else 1, 5)
            classifier = torch.export.export(classifier, (crops,), dynamic_shapes=free)
    fcn = fullconv.convert(classifier, None if where == "onnx" else (1, 1))
    assert (fcn.shape.takes, fcn.grid.window) == ("features", (1, 1))
    pixels = np.random.default_rng(0).random((9, 11, 5), np.float32)
    heatmap = fullconv.scan(fcn, pixels, classifier=classifier)
    assert heatmap.shape == (3, 9, 11)
    assert heatmap.verification is not None
    assert heatmap.verification.passed
    assert np.ptp(heatmap[1]) > 0
