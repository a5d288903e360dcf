"""The example of a detector without fullconv: its boxes are those of `fullconv.detect`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fullconv
from data import REPOSITORY
from fullconv.demo.scene import draw_scene

EXAMPLE = REPOSITORY / "examples" / "deploy"
DRESS = files("fullconv") / "demo" / "dress.onnx"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a model of bytes, and a photo."""
    folder = tmp_path_factory.mktemp("deploy")
    model, photo = folder / "dress-bytes.onnx", folder / "photo.png"
    fullconv.convert(str(DRESS), embed_preprocessing=True).save(model)
    Image.fromarray(draw_scene(0).image).save(photo)
    return model, photo


def boxes(detector: tuple[Path, Path], *program: str | Path) -> list[dict[str, object]]:
    model, photo = detector
    done = subprocess.run(
        [*program, model, photo], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_as_fullconv(found: list[dict[str, object]], model: Path, photo: Path) -> None:
    expected = fullconv.detect(fullconv.load(model), photo)
    assert [one["box"] for one in found] == expected.boxes.tolist()
    np.testing.assert_array_equal([one["score"] for one in found], expected.scores.round(4))
    assert len(found) == 5


def test_python_reads_the_boxes_that_fullconv_finds(detector: tuple[Path, Path]) -> None:
    found = boxes(detector, sys.executable, EXAMPLE / "boxes.py")
    assert_as_fullconv(found, *detector)


def test_node_reads_the_boxes_that_fullconv_finds(detector: tuple[Path, Path]) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    if not (EXAMPLE / "node_modules" / "onnxruntime-node").exists():
        pytest.skip("the packages are not installed: 'make deploy-example' does it")
    assert_as_fullconv(boxes(detector, node, EXAMPLE / "boxes.mjs"), *detector)
