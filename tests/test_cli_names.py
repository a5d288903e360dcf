"""No result is lost for the name of an image, in any output of any command."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from fullconv.detections.found import Detections
from fullconv.scanning.heatmap import Heatmap
from fullconv.sources.names import as_text
from scans import crops_scores, padded_model, picture
from test_cli_scan import STEP, call

NAMES = [
    *(b"a.b.png", b"a.png", b"A.png", b"-n.png", b" lead.png", b"trail .png", b"CON.png"),
    *(b"nul.1.png", b"caf\xe9.png", b"%E9 100%.png", b"a\nb\r\tc.png", b"=1+1.png", b"[x].png"),
    *(b"q\"uo,te'.png", b"a:b|c?.png", b"a\\b.png", b"x" * 250 + b".png", b"a.png.png"),
    *(name.encode() for name in ("\u00e9.png", "e\u0301.png", "\U0001f600\u202e.png")),
    ("\u00e9" * 125 + ".png").encode(),
]
"""As a disk of Linux has them; others refuse or change some, which are then left out."""

UNCHECKED = ("--check", "0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Make a model, and a picture of every name."""
    folder = tmp_path_factory.mktemp("names")
    onnx.save(padded_model(), folder / "model.onnx")
    (folder / "photos").mkdir()
    Image.fromarray(picture(20, 18)).save(folder / "one.png")
    data = (folder / "one.png").read_bytes()
    for name in NAMES:
        try:
            with open(os.path.join(os.fsencode(folder / "photos"), name), "xb") as file:
                file.write(data)
        except (OSError, UnicodeError):
            assert os.name == "nt" or os.uname().sysname == "Darwin"
    return folder, sorted(os.listdir(folder / "photos"))


def folded(paths: list[Path]) -> set[str]:
    return {unicodedata.normalize("NFC", str(path)).casefold() for path in paths}


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_one_file_holds_the_boxes_of_every_name(
    made: tuple[Path, list[str]], ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, names = made
    monkeypatch.chdir(folder)
    out = tmp_path / f"out.{ending}"
    more = ("--overlay", tmp_path / "drawn", *UNCHECKED)
    result = call("detect", "model.onnx", "photos", "-o", out, *more)
    assert (result.exit_code, result.stderr) == (0, "")
    found = Detections.read(out)
    assert sorted(found.names) == [f"photos/{name}" for name in names]
    counts = np.bincount(found.images)
    assert counts.min() == counts.max() >= 1
    for name in names:
        assert f"\nimage    photos/{as_text(name)}: " in result.stdout
    drawn = list((tmp_path / "drawn").iterdir())
    assert len(folded(drawn)) == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {out.name, "drawn"}


def test_a_folder_holds_a_result_for_every_name(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, names = made
    monkeypatch.chdir(folder)
    result = call("detect", "model.onnx", "photos", "-o", tmp_path / "found", "--json", *UNCHECKED)
    assert (result.exit_code, json.loads(result.stdout)["failed"]) == (0, [])
    paths = list((tmp_path / "found").iterdir())
    assert len(folded(paths)) == len(names)
    told = {Detections.read(path).names[0] for path in paths}
    assert told == {f"photos/{name}" for name in names}
    assert {path.name for path in paths} >= {"a.b.geojson", "-n.geojson", "caf%E9.geojson"}


def test_every_name_is_scanned_and_verified(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, names = made
    monkeypatch.chdir(folder)
    result = call("scan", "model.onnx", "photos", "-o", tmp_path / "scans", "--check", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    paths = list((tmp_path / "scans").iterdir())
    assert len(folded(paths)) == len(names)
    expected = crops_scores(picture(20, 18), STEP)
    for path in paths:
        assert path.suffix == ".zarr"
        np.testing.assert_array_equal(np.asarray(Heatmap.open(path)), expected)
        (path / "zarr.json").read_text(encoding="utf-8").encode()
        assert "\\ud" not in (path / "zarr.json").read_text().replace("\\ud83d\\ude00", "")
        result = call("verify", path, "--windows", "1")
        assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("ending", ["zarr", "tif"])
def test_a_heatmap_goes_where_its_name_is_no_utf_8(
    made: tuple[Path, list[str]], ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "tif":
        pytest.importorskip("rasterio")
    folder, names = made
    monkeypatch.chdir(folder)
    for name in ("caf\udce9", "%E9 100%", "a\nb\r\tc"):
        if f"{name}.png" in names:
            out = tmp_path / f"{name if ending == 'zarr' else 'heat'}.{ending}"
            result = call("scan", "model.onnx", f"photos/{name}.png", "-o", out, "--overwrite")
            assert (result.exit_code, result.stderr) == (0, "")
            assert call("verify", out).exit_code == 0


def test_an_image_that_cannot_be_read_is_named_in_one_line(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = made
    monkeypatch.chdir(folder)
    named = ["one.png", "no\udce9\n%41.png"]
    result = call("detect", "model.onnx", *named, "-o", tmp_path / "b.csv", "--json")
    assert (result.exit_code, result.stderr.count("\nfullconv: error: ")) == (3, 2)
    (failed,) = json.loads(result.stdout)["failed"]
    assert failed["image"] == "no%E9%0A%2541.png"
    assert failed["error"].startswith("no%E9%0A%2541.png: no such file; ")
    assert Detections.read(tmp_path / "b.csv").names == ("one.png",)
