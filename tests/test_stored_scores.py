"""What is stored of scores, what the check at the end claims of it, and averages by any runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fullconv
from fullconv.detections.detecting import detect
from fullconv.errors import InputError
from fullconv.scanning.scanner import scan
from fullconv.scanning.storing import encoded
from models import Padded, Several, with_integers


def test_a_double_precision_model_passes_its_own_check() -> None:
    torch.manual_seed(0)
    model = Padded().double().eval()
    image = np.random.default_rng(0).random((60, 70), dtype=np.float32)
    proof = scan(fullconv.convert(model, (16, 12)), image, classifier=model).verification
    assert proof is not None
    assert proof.exact
    assert proof.passed
    # Storing in single precision, and no more.
    assert proof.max_error <= 2.0**-24


def test_the_check_of_a_half_precision_model_claims_nothing() -> None:
    torch.manual_seed(0)
    model = Padded().to(torch.bfloat16).eval()
    image = np.random.default_rng(0).random((60, 70), dtype=np.float32)
    proof = scan(fullconv.convert(model, (16, 12)), image, classifier=model).verification
    assert proof is not None
    assert not proof.exact
    assert proof.passed


def test_uint8_takes_what_rounds_to_0_and_1_and_nothing_else() -> None:
    near = np.array([-1e-7, 0, 1, 1 + 1e-6, np.nan], np.float32)
    assert encoded(near, "uint8").tolist() == [0, 0, 254, 254, 255]
    for beyond in (-0.01, 1.01, np.inf, -np.inf):
        with pytest.raises(InputError, match="stores scores between 0 and 1"):
            encoded(np.array([0.5, beyond, np.nan], np.float32), "uint8")


def test_viewers_are_told_the_range_of_what_is_stored(tmp_path: Path) -> None:
    fcn = fullconv.convert("src/fullconv/demo/dress.onnx")
    image = np.random.default_rng(0).integers(0, 256, (200, 150, 3), np.uint8)
    for dtype, brightest in (("float32", 1), ("uint8", 254)):
        out = tmp_path / f"{dtype}.zarr"
        scan(fcn, image, out, dtype=dtype)
        held = json.loads((out / "zarr.json").read_text())["attributes"]["ome"]["omero"]
        assert {channel["window"]["end"] for channel in held["channels"]} == {brightest}


def test_names_of_another_output_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    model = with_integers(Several(lambda kind, place: (place, kind)))
    fcn = fullconv.convert(model, (20, 24), classes=["a", "b", "c", "d"])
    image = np.random.default_rng(0).integers(0, 4, (60, 70), np.uint8)
    assert scan(fcn, image, output=0).classes == ("a", "b", "c", "d")
    assert scan(fcn, image, tmp_path / "kind.tif", output=1).classes == ()
    assert detect(fcn, image, threshold=-99, output=1).classes == ("class 0", "class 1", "class 2")


AVERAGES = {
    "padded": nn.AvgPool2d(3, 1, padding=1),
    "strided": nn.AvgPool2d(3, 2, padding=1),
    "not counting": nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
    "ceil": nn.AvgPool2d(3, 2, ceil_mode=True),
    "divisor": nn.AvgPool2d(3, 3, divisor_override=2),
}


SLOW = [name for name in AVERAGES if name != "divisor"]
"""Each writes an exact padded network as ONNX, for which PyTorch's exporter takes half a minute."""


@pytest.mark.parametrize(
    "pool",
    [
        pytest.param(pool, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, pool in AVERAGES.items()
    ],
)
def test_an_average_pool_scans_alike_in_pytorch_and_in_its_onnx_form(pool: nn.Module) -> None:
    """PyTorch's exporter drops the divisor of an average, and says nothing."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), pool, nn.Flatten())
    cells = trunk(torch.zeros(1, 1, 16, 12)).shape[1]
    model = nn.Sequential(*trunk, nn.Linear(cells, 2)).eval()
    image = np.random.default_rng(0).random((40, 37), dtype=np.float32)
    fcn = fullconv.convert(model, (16, 12))
    proof = scan(fcn, image, classifier=model, runtime="onnxruntime").verification
    assert proof is not None
    assert proof.passed
