"""Files that fullconv did not make stay, and what is no file is never waited for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullconv.errors import HeatmapWarning, InputError, OutputError
from fullconv.scanning.digests import sealed
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.lines import HEADER
from fullconv.scanning.ours import is_ours, make_part, remove_strays
from fullconv.scanning.scanner import scan
from scans import converted, crops_scores, picture
from test_damaged_heatmaps import listed, zstd_of_zeros
from test_resume import PulledError, pull_after

STEP, TILE = (2, 1), (9, 14)
IMAGE = picture(60, 50)
EXPECTED = crops_scores(IMAGE, STEP)
"""25 x 42 windows, in 3 x 3 tiles."""

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")


def go_on(out: Path, **options: Any) -> Heatmap:
    return scan(converted(STEP), IMAGE, out, **{"tile": TILE} | options)


def part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Begin a scan, and end it after a few tiles."""
    path = tmp_path / "heat.zarr"
    with pytest.raises(PulledError):
        go_on(path, progress=pull_after(4), windows_to_check=0)
    return path


# An unfinished output


BEFORE = {
    "asked": dict.fromkeys(
        ("model", "image", "read", "pixels", "region", "output", "dtype", "runtime")
    ),
    "chosen": {"runtime": "onnxruntime", "device": "cpu", "tile": [9, 14]},
}
FOLDERS: dict[str, dict[str, str]] = {
    "two tables": {"run.json": '{"asked":{},"chosen":{}}', "tiles": "mine"},
    "two tables and numbers": {"run.json": '{"asked":{},"chosen":{}}', "tiles": "0 1 0\n"},
    "two tables and no more": {"run.json": '{"asked":{},"chosen":{}}'},
    "as of before, with other lines": {"run.json": json.dumps(BEFORE), "tiles": "mine\n"},
    "as of before, without lines": {"run.json": json.dumps(BEFORE)},
    "another seal": {"run.json": json.dumps(BEFORE | {"seal": "mine"}), "tiles": "0 1 0\n"},
    "a copy": {"heatmap/zarr.json": json.dumps({"attributes": {"fullconv_run": {"asked": 1}}})},
    "nearly our header": {"tiles": HEADER.decode()[:-1]},
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_that_looks_nearly_like_ours_is_not(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "heat.zarr"
    for name, text in (FOLDERS[kind] | {"heat.zarr": "mine"}).items():
        write(part(out) / name, text)
    before = listed(tmp_path)
    for options in ({}, {"resume": False}, {"overwrite": True}, {"repair": True}):
        with pytest.raises(OutputError, match="is there, and fullconv did not make it; move it"):
            go_on(out, **options)
        assert listed(tmp_path) == before
    for name, text in FOLDERS[kind].items():
        assert (part(out) / name).read_text() == text


def test_a_folder_of_before_is_ours(tmp_path: Path) -> None:
    write(tmp_path / "run.json", json.dumps(BEFORE))
    for lines in ("", "0 126 0\n", "0 126 0\n1 126 0\n2 12"):
        write(tmp_path / "tiles", lines)
        assert is_ours(tmp_path)


def test_a_file_called_like_the_output_within_is_kept(out: Path) -> None:
    write(part(out) / "heat.zarr", "mine")
    np.testing.assert_array_equal(np.asarray(go_on(out)), EXPECTED)
    assert (part(out) / "heat.zarr").read_text() == "mine"


def as_pipe(place: Path) -> None:
    os.mkfifo(place)


def as_folder(place: Path) -> None:
    place.mkdir()
    (place / "mine").write_text("mine")


def as_link(place: Path) -> None:
    held = place.parent.parent / "precious"
    held.write_text("mine")
    place.symlink_to(held)


PLACES = [
    (make, name)
    for make in (as_pipe, as_folder, as_link)
    for name in ("tiles", "run.json", "heatmap")
    if (make, name) != (as_folder, "heatmap")
]


@needs_pipes
@pytest.mark.parametrize(("make", "name"), PLACES)
@pytest.mark.parametrize("options", [{}, {"resume": False}])
def test_what_is_no_file_is_one_line(
    out: Path, make: Callable[[Path], None], name: str, options: dict[str, Any]
) -> None:
    place = part(out) / name
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    make(place)
    before = listed(out.parent)
    with pytest.raises(OutputError, match=r"which fullconv did not make; move it away") as caught:
        go_on(out, **options)
    kind = {as_pipe: "a pipe", as_folder: "a folder", as_link: "a link"}[make]
    assert str(caught.value).startswith(f"cannot write {out}: {place} is {kind}, which")
    assert listed(out.parent) == before
    if make is as_link:
        assert (out.parent / "precious").read_text() == "mine"


def test_a_row_of_chunks_that_lies_elsewhere_is_not_written_to(out: Path) -> None:
    row = part(out) / "heatmap" / "0" / "c" / "0" / "0"
    row.rename(out.parent / "elsewhere")
    row.symlink_to(out.parent / "elsewhere")
    with pytest.raises(OutputError, match=f"{row} is a link, which fullconv did not make"):
        go_on(out)


def first_chunk(out: Path) -> Path:
    return part(out) / "heatmap" / "0" / "c" / "0" / "0" / "0"


@needs_pipes
@pytest.mark.parametrize("how", ["pipe", "empty folder", "link to a device", "bomb"])
def test_a_chunk_that_is_no_file_or_no_chunk_is_computed_again(out: Path, how: str) -> None:
    place = first_chunk(out)
    place.unlink()
    if how == "pipe":
        as_pipe(place)
    elif how == "empty folder":
        place.mkdir()
    elif how == "link to a device":
        place.symlink_to("/dev/zero")
    else:
        place.write_bytes(zstd_of_zeros(3_000_000_000))
    with pytest.warns(HeatmapWarning, match="computed again: rows 0 to 8 and columns 0 to 13"):
        heatmap = go_on(out)
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert os.listdir(out.parent) == ["heat.zarr"]


def test_a_folder_of_somebody_in_the_place_of_a_chunk_is_one_line(out: Path) -> None:
    place = first_chunk(out)
    place.unlink()
    as_folder(place)
    with (
        pytest.warns(HeatmapWarning),
        pytest.raises(OutputError, match=f"{place} is a folder, which fullconv did not make; move"),
    ):
        go_on(out)
    assert (place / "mine").read_text() == "mine"
    shutil.rmtree(place)
    with pytest.warns(HeatmapWarning, match="missing"):
        np.testing.assert_array_equal(np.asarray(go_on(out)), EXPECTED)


@needs_pipes
@pytest.mark.filterwarnings("ignore::fullconv.errors.HeatmapWarning")
@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json"])
def test_what_describes_the_scores_may_be_a_pipe(out: Path, name: str) -> None:
    (part(out) / "heatmap" / name).unlink()
    os.mkfifo(part(out) / "heatmap" / name)
    np.testing.assert_array_equal(np.asarray(go_on(out)), EXPECTED)


# A finished heatmap


@needs_pipes
@pytest.mark.parametrize("name", ["heat.zarr", "heat.tif", "heat.zarr/zarr.json"])
def test_a_pipe_in_the_place_of_a_heatmap_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is not a heatmap that fullconv has finished"):
        Heatmap.open(tmp_path / name.partition("/")[0])


def test_a_virtual_raster_in_the_place_of_a_geotiff_is_not_followed(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    (tmp_path / "heat.tif").write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"/>'
        "</VRTDataset>"
    )
    with pytest.raises(InputError, match=r"not a heatmap .*not recognized as being in a supported"):
        Heatmap.open(tmp_path / "heat.tif")


MINE = ("0/c/7/7/7", "0/c/0/9/0", "0/c/0/01/1", "0/12", "0/.zattrs", ".zattrs", "0/c/0/1/1.bak")
EMPTY = ("empty", "0/empty", "0/c/0/5", "labels/deep")


@pytest.mark.parametrize("options", [{"overwrite": True}, {"repair": True}])
def test_what_lies_beside_the_grid_is_kept(tmp_path: Path, options: dict[str, Any]) -> None:
    out = tmp_path / "heat.zarr"
    go_on(out, windows_to_check=0)
    for name in MINE:
        write(out / name, "mine")
    for name in EMPTY:
        (out / name).mkdir(parents=True)
    (out / "0" / "c" / "0" / "2" / "2").unlink()
    with pytest.warns(HeatmapWarning, match="not of the heatmap that was replaced, and kept"):
        np.testing.assert_array_equal(np.asarray(go_on(out, **options)), EXPECTED)
    assert all((out / name).read_text() == "mine" for name in MINE)
    assert all((out / name).is_dir() for name in EMPTY)
    assert os.listdir(tmp_path) == ["heat.zarr"]


# Processes that begin at the same time


def fresh(name: str, process: int, folder: Path) -> Path:
    """Make what a process has made that is about to give it the name of an unfinished output."""
    make_part(folder / name)
    (held,) = folder.glob(name)
    code = f"import fullconv.scanning.ours as o; o.os.getpid = lambda: {process};" + (
        f"import pathlib; print(o._fresh(pathlib.Path({str(held)!r})))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return held.rename(made.stdout.strip())


def test_what_another_process_is_just_making_is_left_to_it(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    runs = fresh("a.zarr.part", os.getppid(), tmp_path)
    over = fresh("a.zarr.part", ended.pid, tmp_path)
    other = fresh("b.zarr.part", ended.pid, tmp_path)
    theirs = tmp_path / (runs.name[:19] + "0" * 8 + runs.name[27:])  # on another machine
    shutil.copytree(runs, theirs)
    remove_strays(tmp_path / "a.zarr.part")
    assert set(tmp_path.iterdir()) == {runs, other, theirs}
    assert not over.exists()
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(theirs, (long_ago, long_ago))
    remove_strays(tmp_path / "a.zarr.part")
    assert set(tmp_path.iterdir()) == {runs, other}


def test_a_sealed_record_is_ours_without_a_ledger(tmp_path: Path) -> None:
    write(tmp_path / "run.json", json.dumps(sealed(BEFORE)))
    assert is_ours(tmp_path)
