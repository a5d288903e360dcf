"""What is for images alone, and says so in one line to networks of recordings and volumes."""

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
from fullconv.geometry.grid import NUMBERS
from fullconv.scanning.check import verify_heatmap
from fullconv.sources import open_source
from fullconv.wording import kind, kinds, names, unit

INSTEAD = {
    1: "for images, (rows, columns), and these are recordings, (samples)",
    3: "for images, (rows, columns), and these are volumes, (planes, rows, columns)",
}
READ = {
    1: "recordings, (samples), are read from .npy files and zarr arrays; save it as one of these, "
    "or give a network that takes images.",
    3: "volumes, (planes, rows, columns), are read from .npy files and zarr arrays; save it as one "
    "of these, or give a network that takes images.",
}


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


def run(folder: Path, command: str, *words: str) -> Any:
    named = [str(folder / word) if "." in word else word for word in words]
    return CliRunner().invoke(commands, [command, *named])


@pytest.mark.parametrize("axes", [1, 3])
def test_pictures_are_no_recordings_or_volumes(axes: int, tmp_path: Path) -> None:
    onnx.save(linear(2, *(8, 7, 6)[:axes]), tmp_path / "model.onnx")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "image.png")
    for command in (
        ("scan", "model.onnx", "image.png", "-o", "heat.zarr"),
        ("scan", "model.onnx", "image.png", "-o", "heat.zarr", "--dry-run"),
        ("detect", "model.onnx", "image.png", "-o", "boxes.json"),
        ("verify", "model.onnx", "image.png"),
        ("bench", "model.onnx", "image.png"),
    ):
        done = run(tmp_path, *command)
        assert done.exit_code == 2, done.output
        line = f"fullconv: error: {tmp_path / 'image.png'}: {READ[axes]}"
        assert done.stderr.splitlines()[-1] == line
    assert not {"heat.zarr", "boxes.json"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("axes", [1, 3])
def test_formats_of_images_are_refused_before_the_work(axes: int, tmp_path: Path) -> None:
    onnx.save(linear(2, *(8, 7, 6)[:axes]), tmp_path / "model.onnx")
    np.save(tmp_path / "a.npy", np.zeros((*(20, 19, 18)[:axes], 2), np.uint8))
    heat, boxes, drawn = (tmp_path / name for name in ("heat.tif", "boxes.geojson", "o.png"))
    for command, line in (
        (
            ("scan", "model.onnx", "a.npy", "-o", "heat.tif"),
            f"scan(out={str(heat)!r}): a GeoTIFF is {INSTEAD[axes]}; use .zarr.",
        ),
        (
            ("scan", "model.onnx", "a.npy", "-o", "heat.zarr", "--overlay", "o.png"),
            f"--overlay {drawn}: pictures are {INSTEAD[axes]}; leave it out.",
        ),
        (
            ("detect", "model.onnx", "a.npy", "-o", "boxes.geojson"),
            f"detect -o {boxes}: .geojson is {INSTEAD[axes]}; use .csv or .json.",
        ),
        (
            ("detect", "model.onnx", "a.npy", "-o", "boxes.json", "--truth", "t.json"),
            f"detect --truth {tmp_path / 't.json'}: COCO annotations are {INSTEAD[axes]}; leave "
            f"the truth out.",
        ),
        (
            ("detect", "model.onnx", "a.npy", "-o", "boxes.json", "--overlay", "o.png"),
            f"--overlay {drawn}: pictures are {INSTEAD[axes]}; leave it out.",
        ),
    ):
        done = run(tmp_path, *command)
        assert done.exit_code == 2, done.output
        assert done.stderr.splitlines()[-1] == f"fullconv: error: {line}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "model.onnx"]


@pytest.mark.parametrize("axes", [1, 3])
def test_only_images_are_resized(axes: int) -> None:
    fcn = fullconv.convert(linear(2, *(8, 7, 6)[:axes]))
    for call in (
        lambda: fullconv.scan(fcn, np.zeros((*(20, 19, 18)[:axes], 2)), resize=0.5),
        lambda: fullconv.detect(fcn, np.zeros((*(20, 19, 18)[:axes], 2)), scales=(0.5,)),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value).startswith("array: only images, (rows, columns), are resized")


@pytest.mark.parametrize("axes", [1, 3])
def test_a_resolution_is_that_of_an_image(axes: int) -> None:
    fcn = fullconv.convert(linear(2, *(8, 7, 6)[:axes]))
    with pytest.raises(InputError) as caught:
        fullconv.scan(fcn, np.zeros((*(20, 19, 18)[:axes], 2)), um_per_pixel=2)
    assert str(caught.value) == (
        f"array: 2 um per pixel are asked for, and only images, (rows, columns), are resized to a "
        f"resolution; this is a {kind(axes)}. Read it as it is: leave --um-per-pixel (um_per_pixel "
        f"in Python) out, or give --level 0."
    )


@pytest.mark.parametrize("axes", [1, 3])
def test_the_size_of_an_image_is_none_of_a_recording_or_volume(axes: int, tmp_path: Path) -> None:
    onnx.save(linear(2, *(8, 7, 6)[:axes]), tmp_path / "model.onnx")
    done = run(tmp_path, "explain", "model.onnx", "--image", "100x90")
    assert (done.exit_code, done.stderr) == (
        2,
        f"fullconv: error: image=(90, 100) (--image 100x90): the model takes {kinds(axes)}; "
        f"expected {NUMBERS[axes]} of at least 1 {unit(axes)}, {names(axes)}; got a size along 2 "
        f"axes.\n",
    )


def test_images_without_channels_are_scanned() -> None:
    fcn = fullconv.convert(linear(8, 7), (8, 7))
    assert fcn.shape.takes == "cells"
    pixels = np.random.default_rng(0).integers(0, 9, (20, 20)).astype(np.uint8)
    heatmap = fullconv.scan(fcn, pixels)
    assert heatmap.verification is not None
    assert heatmap.verification.passed
    assert len(fullconv.detect(fcn, pixels, 1e9, classes=[2])) == 0


@pytest.mark.parametrize("where", ["module", "program", "program of one", "onnx"])
def test_a_classifier_of_vectors_scans_the_pixels_of_an_image(where: str, tmp_path: Path) -> None:
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
    again = verify_heatmap(heatmap, classifier, open_source(pixels))
    assert again is not None
    assert again.passed
    fcn.save(tmp_path / "fcn.onnx")
    again = verify_heatmap(heatmap, tmp_path / "fcn.onnx", open_source(pixels))
    assert again is not None
    assert again.passed
