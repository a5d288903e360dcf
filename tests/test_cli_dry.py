"""``--dry-run``: what would be read and computed, with nothing computed and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile

from bad_files import listing
from test_cli_scan import NOTE, call
from test_placed_files import mean_of
from test_sources_channels import bands_of, ome_tiff


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fullconv.runtimes.choosing.open_runtime", None)  # nothing is computed
    monkeypatch.setattr("fullconv.scanning.measure.open_runtime", None)
    onnx.save(mean_of(1), "model.onnx")
    return tmp_path


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folder: Path) -> None:
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    with tifffile.TiffWriter("a.ome.tif", ome=True) as file:
        file.write(np.zeros((254, 400), np.uint8), subifds=1, metadata=size)
        half = np.arange(127 * 200, dtype=np.uint32).reshape(127, 200) % 251
        file.write(half.astype(np.uint8), subfiletype=1)
    before = listing(folder)
    result = call("scan", "model.onnx", "a.ome.tif", "--dry-run", "--level", "1", "--step", "32")
    assert (result.exit_code, result.stderr) == (0, "")
    mean = half[:96, :192].mean()  # what the windows hold
    assert result.stdout == (
        f"{NOTE}"
        f"image    a.ome.tif, 200x127 pixels of uint8, level 1 of 2, 0 to 1, 2 times coarser than "
        f"400x254, 0.5 um per pixel\n"
        f"channels 1 grey; the model takes 1\n"
        f"windows  6x3 of 32x32, step 32\n"
        f"border   8 of 200 columns and 31 of 127 rows of pixels are in no window; --cover all "
        f"adds windows flush with the border\n"
        f"pixels   0 to 250, mean {mean:.4g}, as the network sees them\n"
        f"tiles    1 tile of at most 6x3 windows (a measurement chooses), 1 at a time, in "
        f"onnxruntime\n"
        f"cost     1.15 k multiply-accumulates (1.15 k from crops), 0.0184 megapixels read\n"
    )
    assert listing(folder) == before


def test_channels_are_shown_also_where_they_do_not_fit(folder: Path) -> None:
    ome_tiff(folder / "a.ome.tif", bands_of(["DAPI", "GFP"]), ["DAPI", "GFP"])
    before = listing(folder)
    for verb in ("scan", "detect"):
        result = call(verb, "model.onnx", "a.ome.tif", "--dry-run")
        assert result.exit_code == 2
        assert "channels 1 DAPI, 2 GFP; the model takes 1\n" in result.stdout
        assert "choose 1 of the bands in the model's order with --bands" in result.stderr
        result = call(verb, "model.onnx", "a.ome.tif", "--dry-run", "--bands", "2")
        assert result.exit_code == 0
        assert "channels 1 GFP; the model takes 1\n" in result.stdout
    assert listing(folder) == before


def test_every_image_and_scale_is_told_of(folder: Path) -> None:
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(name, np.full((96, 128), 9, np.uint8))
    (folder / "c.tif").write_bytes(b"II*\0")
    named = ("a.tif", "b.tif", "c.tif", "--scales", "1,0.5", "--dry-run", "--cover", "all")
    result = call("detect", "model.onnx", *named)
    assert result.exit_code == 3
    assert result.stdout.count("windows  25x17 of 32x32, step 4\n") == 2
    assert result.stdout.count("windows  9x5 of 32x32, step 4 at scale 0.5\n") == 2
    assert "c.tif cannot be read" in result.stderr
    assert "1 of 3 images failed: c.tif; the reason of each stands above." in result.stderr


def test_a_rectangle_and_tiles_are_told_of(folder: Path) -> None:
    tifffile.imwrite("a.tif", np.full((96, 128), 9, np.uint8))
    options = ("--roi", "0,0,64,64", "--tile", "10x5", "--dry-run")
    result = call("scan", "model.onnx", "a.tif", *options)
    assert "windows  25x17 of 32x32, step 4, of which 81 are to be scored\n" in result.stdout
    assert "tiles    12 tiles of 10x5 windows, " in result.stdout


def test_a_dry_run_can_be_one_object(folder: Path) -> None:
    tifffile.imwrite("a.tif", np.full((96, 128), 9, np.uint8))
    result = call("scan", "model.onnx", "a.tif", "--dry-run", "--json")
    (image,) = json.loads(result.stdout)["images"]
    assert image["image"] == "a.tif"
    assert "windows: 25x17 of 32x32, step 4" in image["lines"]


@pytest.mark.parametrize("verb", ["scan", "detect"])
def test_an_output_is_asked_for_where_something_is_to_be_written(folder: Path, verb: str) -> None:
    tifffile.imwrite("a.tif", np.full((96, 128), 9, np.uint8))
    result = call(verb, "model.onnx", "a.tif")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        f"{verb}: Missing option '-o' / '--output'. See 'fullconv {verb} --help'.\n"
    )
