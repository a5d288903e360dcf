"""``fullconv bench``: crops against the converted network, on the user's own image."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

import fullconv
from fullconv.demo.scene import draw_scene
from scans import picture
from test_cli_scan import DRESS, call, write_folder

NUMBER = r" +[\d.]+"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_padded_network_is_measured_in_both_forms_with_their_ceilings(folder: Path) -> None:
    result = call("bench", "model.onnx", "image.png", "--rounds", 2)
    assert (result.exit_code, result.stderr) == (0, "")
    first, head, *lines = result.stdout.splitlines()
    assert first == (
        "50x60 pixels of image.png: 1050 windows of 9x12, step 1x2; onnx, medians of 2 rounds"
    )
    assert re.fullmatch(r" +seconds +windows/s +times as fast +ceiling", head)
    for line, name in zip(lines, (r"crops, \d+ at a time", "exact", "approximate"), strict=True):
        assert re.fullmatch(name + NUMBER * 4, line), line
    assert len({len(line) for line in (head, *lines)}) == 1, "the columns stand under their heads"
    assert lines[0].split()[-2:] == ["1.00", "1.00"]
    cost = fullconv.explain("model.onnx").cost
    ceilings = [line.split()[-1] for line in lines[1:]]
    assert ceilings == [f"{cost.crops / n:.2f}" for n in (cost.exact, cost.approximate)]


def test_an_unpadded_network_has_one_form(folder: Path) -> None:
    Image.fromarray(draw_scene(0).image[100:300, 100:300]).save("street.png")
    result = call("bench", DRESS, "street.png", "--rounds", 1, "--json")
    held = json.loads(result.stdout)
    assert [way["name"] for way in held["ways"]] == ["crops", "exact"]
    assert held["size"] == [200, 200]
    assert (held["window"], held["step"], held["windows"]) == ([128, 64], [16, 8], 90)
    assert (held["framework"], held["rounds"]) == ("onnx", 1)
    crops, exact = held["ways"]
    assert exact["faster"] == pytest.approx(crops["seconds"] / exact["seconds"])
    assert result.stderr == ""


def test_of_a_large_image_the_middle_is_measured(folder: Path) -> None:
    Image.fromarray(picture(90, 200)).save("wide.png")
    result = call("bench", "model.onnx", "wide.png", "--size", 40, "--rounds", 1)
    assert result.stdout.startswith(
        "40x40 pixels of wide.png: 480 windows of 9x12, step 1x2; onnx, one round\n"
    )
    result = call("bench", "model.onnx", "wide.png", "--size", 3, "--rounds", 1, "--json")
    assert json.loads(result.stdout)["size"] == [12, 9], "at least one window"


def test_crops_that_would_take_long_are_told_from_some(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullconv.verification.benchmark.PATIENCE_S", 0.0)
    result = call("bench", "model.onnx", "image.png", "--rounds", 1)
    _, head, crops, *others = result.stdout.splitlines()
    found = re.fullmatch(r"crops, (\d+) at a time, extrapolated from (\d+)" + NUMBER * 4, crops)
    assert found
    assert found[1] == found[2]
    assert {len(line) for line in others} == {len(head)}


def test_the_remark_on_approximate_is_made(folder: Path) -> None:
    result = call("bench", "model.onnx", "image.png", "--rounds", 1, "--approximate")
    assert result.stdout.startswith(
        "note     both forms are measured; --approximate changes nothing here\n"
    )


def test_a_converted_model_has_no_crops_to_be_compared_with(folder: Path) -> None:
    call("convert", "model.onnx", "-o", "fcn.onnx")
    result = call("bench", "fcn.onnx", "image.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "fullconv: error: bench fcn.onnx: the model is converted already; give the classifier that "
        "it was converted from.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("no.onnx", "image.png"), 3, "no.onnx: no such file; check the path of the model."),
        (("model.onnx", "no.png"), 2, "no.png: no such file; check the path of the image."),
        (
            ("model.onnx", "tiny.png"),
            2,
            "the image is 5x5 pixels (width x height), smaller than one window of 9x12; enlarge or "
            "pad the image to at least the window.",
        ),
        (
            ("model.onnx", "image.png", "--size", 0),
            2,
            "bench: Invalid value for '--size': 0 is not in the range x>=1. See 'fullconv bench "
            "--help'.",
        ),
        (
            ("model.onnx", "image.png", "--rounds", 0),
            2,
            "bench: Invalid value for '--rounds': 0 is not in the range x>=1. See 'fullconv bench "
            "--help'.",
        ),
    ],
)
def test_a_wrong_call_is_one_line(
    folder: Path, arguments: tuple[object, ...], code: int, line: str
) -> None:
    Image.new("RGB", (5, 5)).save("tiny.png")
    result = call("bench", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == f"fullconv: error: {line}\n"
