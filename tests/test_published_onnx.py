"""ONNX files as other tools wrote them, taken as they are: they convert, and equal their crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

import fullconv
from data import data_file
from fullconv.cli.group import commands
from oracle import assert_close, onnx_classifier, scores_of_crops, self_difference, windows_of

WINDOWS = {"ch_ppocr_mobile_v2.0_cls_mobile.onnx": (48, 192)}
"""What each was trained on, (height, width); its file leaves it open."""


@pytest.mark.parametrize("name", WINDOWS)
def test_a_published_file_equals_its_crops(name: str) -> None:
    path, window = data_file(f"odd_onnx/{name}"), WINDOWS[name]
    fcn = fullconv.convert(path, window)
    height, width = (w + 2 * s for w, s in zip(window, fcn.grid.step, strict=True))
    images = np.random.default_rng(0).normal(0, 1, (1, 3, height, width)).astype(np.float32)
    classify = onnx_classifier(onnx.load(path))
    expected = scores_of_crops(classify, images, window, fcn.grid.step)
    unit = self_difference(classify, windows_of(images, window, fcn.grid.step))
    assert fcn.report.exact
    assert np.ptp(expected) > 1000 * unit
    assert_close(fcn(images), expected, unit, 16)


@pytest.mark.parametrize("name", WINDOWS)
def test_a_published_file_is_scanned_with_no_code(name: str, tmp_path: Path) -> None:
    path, (height, width) = data_file(f"odd_onnx/{name}"), WINDOWS[name]
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (height + 20, width + 40, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    line = ["scan", path, photo, "--window", f"{width}x{height}", "-o", tmp_path / "heat.zarr"]
    done = CliRunner().invoke(commands, [str(a) for a in line])
    assert done.exit_code == 0, done.output
    assert "equal: the scores are the crops' own" in done.output
