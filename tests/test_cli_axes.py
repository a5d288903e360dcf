"""The commands over recordings and volumes: sizes, boxes, what is printed and what is written."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import zarr
from click.testing import CliRunner, Result

import fullconv
from axes_scans import SIZE, STEP, TILE, array, classifier, converted, crops_scores
from fullconv.cli.group import commands
from fullconv.frameworks.onnx.session import session
from fullconv.preprocessing import unchanged
from fullconv.scanning.heatmap import Heatmap
from fullconv.wording import sized

AXES = [1, 3]

STORY = {
    1: """\
image    a.npy, 203 samples: 60 windows of 24, step 3, 2 scores each
run      onnxruntime on cpu, f32, in tiles of 13 windows
border   2 of 203 samples are in no window; --cover all adds windows flush with the border
check    8 windows compared with crops: largest difference 0 (the model's own: 0), same best class \
in 100.0 %
         equal: the scores are the crops' own
samples  0 to 3, mean {mean:.4g}, as the network sees them
wrote    heat.zarr
""",
    3: """\
image    a.npy, 15x16x17 voxels: 9x4x5 windows of 7x6x8, step 1x3x2, 2 scores each
run      onnxruntime on cpu, f32, in tiles of 5x2x2 windows
border   1 of 16 rows and 1 of 17 planes of voxels are in no window; --cover all adds windows \
flush with the border
check    8 windows compared with crops: largest difference 0 (the model's own: 0), same best class \
in 100.0 %
         equal: the scores are the crops' own
voxels   0 to 3, mean {mean:.4g}, as the network sees them
wrote    heat.zarr
""",
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


@pytest.fixture(params=AXES)
def axes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Go to a folder with a model and an array, as a file and in chunks."""
    number: int = request.param
    onnx.save(classifier(number), tmp_path / "model.onnx")
    np.save(tmp_path / "a.npy", array(number))
    chunks = (*(7, 5, 6)[:number], 1)
    zarr.create_array(tmp_path / "a.zarr", data=array(number), chunks=chunks)
    monkeypatch.chdir(tmp_path)
    return number


def scan_options(axes: int) -> tuple[str, ...]:
    return ("--step", sized(STEP[axes]), "--tile", sized(TILE[axes]), "--check", "8")


def test_scan_tells_the_story_and_verify_finds_it_true(axes: int) -> None:
    result = call("scan", "model.onnx", "a.npy", "-o", "heat.zarr", *scan_options(axes))
    assert result.exit_code == 0, result.output
    grid = converted(axes).grid
    last = grid.box(*(n - 1 for n in grid.shape(SIZE[axes])))[axes:]
    seen = array(axes)[tuple(map(slice, reversed(last)))]
    assert result.output == f"note     {unchanged(axes)}\n{STORY[axes].format(mean=seen.mean())}"
    expected = crops_scores(session(classifier(axes)), array(axes), grid)
    assert np.array_equal(np.asarray(Heatmap.open("heat.zarr")), expected)
    result = call("verify", "heat.zarr", "--windows", "9")
    assert result.exit_code == 0, result.output
    assert "verdict                equal" in result.output
    shutil.move("a.npy", "b.npy")
    assert call("verify", "heat.zarr", "b.npy", "--windows", "9").exit_code == 0
    (Path("heat.zarr") / {1: "0/c/0/1", 3: "0/c/0/0/1/1"}[axes]).unlink()
    result = call("verify", "heat.zarr", "b.npy")
    assert result.exit_code == 4
    named = {1: "windows 13 to 25 (samples 39 to 99)", 3: "planes 0 to 1, rows 2 to 3 and columns"}
    assert f"damage                 {named[axes]}" in result.output


def test_zarr_arrays_masks_and_parts_are_read(axes: int) -> None:
    mask = np.zeros(SIZE[axes], np.uint8)
    mask[tuple(slice(n // 4, None) for n in SIZE[axes])] = 1
    np.save("mask.npy", mask)
    roi = (*(2 for _ in SIZE[axes]), *(n - 2 for n in reversed(SIZE[axes])))
    options = (*scan_options(axes), "--roi", ",".join(map(str, roi)), "--cover", "all")
    result = call("scan", "model.onnx", "a.zarr", "-o", "heat.zarr", "--mask", "mask.npy", *options)
    assert result.exit_code == 0, result.output
    expected = fullconv.scan(converted(axes), array(axes), roi=roi, mask=mask, cover="all")
    found = np.asarray(Heatmap.open("heat.zarr"))
    assert np.array_equal(found, np.asarray(expected), equal_nan=True)
    assert 0 < np.isnan(found).mean() < 1


def test_a_dry_run_says_what_would_be_read(axes: int) -> None:
    options = ("--step", sized(STEP[axes]), "--tile", 4)
    result = call("scan", "model.onnx", "a.npy", *options, "--dry-run")
    assert result.exit_code == 0, result.output
    windows = {1: "60 of 24, step 3", 3: "9x4x5 of 7x6x8, step 1x3x2"}[axes]
    tiles = {1: "15 tiles of 4 windows", 3: "6 tiles of 4x4x4 windows"}[axes]
    assert f"windows  {windows}\n" in result.output
    assert f"tiles    {tiles}, 1 at a time, in onnxruntime\n" in result.output.replace(
        "2 at", "1 at"
    )
    assert {1: " megasamples read", 3: " megavoxels read"}[axes] in result.output


def test_detect_writes_intervals_and_cuboids(axes: int) -> None:
    expected = fullconv.detect(converted(axes), array(axes), 20.0, 0.2, classes=[1])
    assert len(expected)
    options = (*scan_options(axes), "--no-check", "--threshold", 20, "--iou", 0.2, "--classes", 1)
    for out in ("boxes.csv", "boxes.json"):
        result = call("detect", "model.onnx", "a.npy", "-o", out, *options)
        assert result.exit_code == 0, result.output
        assert np.array_equal(fullconv.Detections.read(out).boxes, expected.boxes)
    with open("boxes.csv", encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    named = {1: ["t0", "t1"], 3: ["x0", "y0", "z0", "x1", "y1", "z1"]}[axes]
    assert [float(first[name]) for name in named] == expected.boxes[0].tolist()
    (held, *_) = json.loads(Path("boxes.json").read_text(encoding="utf-8"))
    assert held["box"] == expected.boxes[0].tolist()
    several = call("detect", "model.onnx", "a.npy", "a.zarr", "-o", "all.csv", *options)
    assert several.exit_code == 0, several.output
    assert len(fullconv.Detections.read("all.csv")) == 2 * len(expected)


def test_verify_and_bench_read_arrays(axes: int) -> None:
    for command in ("verify", "bench"):
        more = ("--rounds", 1) if command == "bench" else ()
        result = call(command, "model.onnx", "a.zarr", "--step", sized(STEP[axes]), *more, "--json")
        assert result.exit_code == 0, result.output
        held = json.loads(result.stdout)
        assert held["step"] == list(STEP[axes])
    assert held["size"] == list(SIZE[axes])


def test_nothing_speaks_of_pixels_that_are_none(axes: int) -> None:
    numbers = array(axes).astype(np.float32)
    numbers[(5,) * axes] = np.nan
    np.save("a.npy", numbers)
    options = ("--step", sized(STEP[axes]))
    convert = ("convert", "model.onnx", "-o", "fcn.onnx", *options)
    scan = ("scan", "fcn.onnx", "a.npy", "-o", "heat.zarr")
    said = [
        call(*command).output
        for command in (
            convert,
            ("explain", "model.onnx", *options),
            (*scan, "--dry-run"),
            scan,
            ("scan", "fcn.onnx", "a.npy", "-o", "heat.zarr", "--scale", 2),
            ("verify", "model.onnx", "a.npy", *options),
            ("detect", "fcn.onnx", "a.npy", "-o", "boxes.csv"),
        )
    ]
    things = {1: "samples", 3: "voxels"}[axes]
    assert f"windows of random {things}: " in said[0]
    assert f"hold NaN or infinite {things}" in said[3]
    assert f"another run: {things} prepared in another way" in said[4]
    for text in said:
        assert "fullconv: internal" not in text
        assert "pixel" not in text
        assert "255" not in text


def test_one_number_is_the_step_of_all_axes_and_a_window_of_one(axes: int) -> None:
    from fullconv.conversion.loading import load

    window = sized(converted(axes).grid.window)
    result = call(
        *("convert", "model.onnx", "-o", "fcn.onnx", "--step", 2, "--window", window, "--no-check")
    )
    assert result.exit_code == 0, result.output
    assert load("fcn.onnx").grid == fullconv.Grid(converted(axes).grid.window, (2,) * axes)
    result = call("scan", "fcn.onnx", "a.npy", "-o", "heat.zarr", "--tile", 3)
    assert result.exit_code == 0, result.output
    assert Heatmap.open("heat.zarr").metadata["chosen"]["tile"] == [3] * axes


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5,6,7,8", "5,5", "0,0,9,9,9,0"])
def test_boxes_of_no_kind_are_refused(text: str) -> None:
    result = call("scan", "model.onnx", "a.npy", "-o", "heat.zarr", "--roi", text)
    assert result.exit_code == 2
    assert "Invalid value for '--roi'" in result.output
