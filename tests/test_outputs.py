"""What a scan leaves on the disk: begun, refused, replaced, cut short, under odd names."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from fullconv.errors import InputError, MissingExtraError, OutputError
from fullconv.scanning import geotiff
from fullconv.scanning import ledger as ledgers
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.ledger import Ledger
from fullconv.scanning.lines import Line
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from fullconv.scanning.storing import encoded
from scans import converted, crops_scores, picture

STEP = (2, 1)
IMAGE, OTHER = picture(60, 50), picture(60, 50, seed=1)


class PulledError(Exception):
    """The plug."""


def interrupted(out: Path, tiles: int = 4, **options: Any) -> None:
    """Begin a scan and leave it unfinished."""

    def listener(progress: Progress) -> None:
        nonlocal tiles
        tiles -= bool(progress.fresh_pixels)
        if tiles <= 0:
            raise PulledError

    with pytest.raises(PulledError):
        scan(converted(STEP), IMAGE, out, tile=(4, 5), progress=listener, **options)


def pull(*_: Any, **__: Any) -> None:
    raise PulledError


def pull_at_the_end(_: Path, kept: tuple[str, ...] = ()) -> None:
    if not kept:  # else it has only begun
        raise PulledError


def lines(out: Path) -> int:
    return (out.with_name(out.name + ".part") / "tiles").read_bytes().count(b"\n") - 1


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "heat.zarr"


@pytest.mark.parametrize("asked", [{"source": OTHER}, {"dtype": "float16"}, {"output": 3}])
def test_a_call_that_is_refused_keeps_what_another_run_has_begun(
    out: Path, asked: dict[str, Any]
) -> None:
    interrupted(out)
    begun = lines(out)
    with pytest.raises(InputError):
        scan(**{"fcn": converted(STEP), "source": IMAGE, "out": out, "tile": (4, 5)} | asked)
    assert lines(out) == begun > 0


def test_a_run_that_is_interrupted_while_it_starts_keeps_what_was_done(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(out)
    begun = lines(out)
    with monkeypatch.context() as patch:
        patch.setattr("fullconv.scanning.engine.choose_runtime", pull)
        with pytest.raises(PulledError):
            scan(converted(STEP), IMAGE, out, tile=(4, 5))
    assert lines(out) == begun > 0


def test_starting_again_forgets_the_tiles_before_it_removes_their_scores(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, the next run would take removed scores for finished ones."""
    interrupted(out)
    with monkeypatch.context() as patch:
        patch.setattr(ledgers, "remove_part", pull)
        with pytest.raises(PulledError):
            scan(converted(STEP), IMAGE, out, tile=(4, 5), resume=False)
    shutil.rmtree(f"{out}.part/heatmap/0/c", ignore_errors=True)
    heatmap = scan(converted(STEP), IMAGE, out, tile=(4, 5))
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(IMAGE, STEP))


@pytest.mark.parametrize("source", [IMAGE, OTHER])
def test_a_run_killed_when_all_was_in_place_stands_in_nobodys_way(
    out: Path, monkeypatch: pytest.MonkeyPatch, source: NDArray[np.uint8]
) -> None:
    scan(converted(STEP), OTHER, out)
    with monkeypatch.context() as patch:
        patch.setattr(ledgers, "remove_part", pull_at_the_end)
        with pytest.raises(PulledError):
            scan(converted(STEP), IMAGE, out, tile=(4, 5), overwrite=True)
    (left,) = [path for path in out.parent.iterdir() if path.suffix == ".part"]
    assert (left / "heatmap").exists()
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(IMAGE, STEP))
    scan(converted(STEP), source, out, tile=(4, 5), overwrite=True)
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(source, STEP))
    assert os.listdir(out.parent) == ["heat.zarr"]


def test_a_run_killed_between_the_two_renames_goes_on(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(converted(STEP), OTHER, out)
    rename = Path.rename

    def once(self: Path, target: Path) -> Path:
        if self.name == "heatmap":
            raise PulledError
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", once)
        patch.setattr(ledgers, "exchange", lambda *_: False)  # a system that cannot
        with pytest.raises(PulledError):
            scan(converted(STEP), IMAGE, out, tile=(4, 5), overwrite=True)
    assert not out.exists()
    told: list[Progress] = []
    scan(converted(STEP), IMAGE, out, tile=(4, 5), overwrite=True, progress=told.append)
    assert [p.fresh_pixels for p in told] == [0]
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(IMAGE, STEP))
    assert os.listdir(out.parent) == ["heat.zarr"]


def test_a_line_of_which_the_disk_took_a_part_is_never_joined_by_the_next(tmp_path: Path) -> None:
    class Full:
        """A file on a disk that takes two more bytes, and has room again later."""

        def __init__(self, file: Any) -> None:
            self.file = file
            self.left = 2

        def write(self, data: bytes) -> int:
            if not self.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken, self.left = data[: self.left], 0
            return int(self.file.write(taken))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    ledger = Ledger(tmp_path / "heat.zarr")
    ledger.lock()
    chunk = ledger.folder / "chunk"
    chunk.write_bytes(b"scores")
    file, ledger._file = ledger._file, Full(ledger._file)
    ledger._unsettled.append((Line(12, 40, 0, "d" * 16).to_bytes(), chunk))
    with pytest.raises(OSError, match="No space left"):
        ledger.settle()
    assert not ledger.keeps()
    ledger._file = file
    ledger.add(Line(7, 20, 0, "d" * 16), chunk)
    ledger.settle()
    ledger.resume(20)
    assert list(ledger.lines) == [7]
    assert ledger.damaged == 0
    ledger.close()


def test_a_finished_output_counts_though_what_is_left_beside_it_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path, kept: tuple[str, ...] = ()) -> None:
        if not kept:
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ledgers, "remove_part", refused)
    heatmap = scan(converted(STEP), IMAGE, tmp_path / "heat.zarr", tile=(4, 5))
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(IMAGE, STEP))


@pytest.mark.parametrize("name", ["heat.zarr", "heat.tif"])
def test_an_output_that_another_process_has_made_meanwhile_is_not_overwritten(
    tmp_path: Path, name: str
) -> None:
    out = tmp_path / name

    def meanwhile(progress: Progress) -> None:
        if not out.exists():
            out.write_text("theirs")

    with pytest.raises(OutputError, match="somebody else has made it meanwhile"):
        scan(converted(STEP), IMAGE, out, progress=meanwhile)
    assert out.read_text() == "theirs"


def test_what_is_no_heatmap_is_not_overwritten_even_when_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "image.zarr"
    zarr.save_array(str(out), IMAGE)
    with pytest.raises(InputError, match="it is there and is no heatmap of fullconv"):
        scan(converted(STEP), out, out, overwrite=True)
    np.testing.assert_array_equal(zarr.load(str(out)), IMAGE)


def test_a_geotiff_without_rasterio_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    told: list[Progress] = []
    with pytest.raises(MissingExtraError):
        scan(converted(STEP), IMAGE, tmp_path / "heat.tif", progress=told.append)
    assert told == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("missing", [1, 2000, 6000])
def test_a_geotiff_that_the_disk_has_cut_is_refused_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """A limit on the size of files stands in for the disk; of its end GDAL says nothing."""
    rasterio = pytest.importorskip("rasterio")
    scan(converted(STEP), IMAGE, tmp_path / "whole.tif")
    room = (tmp_path / "whole.tif").stat().st_size - missing
    write, out = geotiff.write_geotiff, tmp_path / "heat.tif"

    def on_a_small_disk(heatmap: Heatmap, path: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            write(heatmap, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(geotiff, "write_geotiff", on_a_small_disk)
    for _ in range(2):
        with pytest.raises(OutputError) as caught:
            scan(converted(STEP), IMAGE, out)
        assert str(caught.value) == (
            f"cannot write {out}: the GeoTIFF could not be written whole; what was scanned is kept:"
            f" make room, and the same command goes on where it stopped."
        )
        assert not out.exists()
    monkeypatch.undo()
    told: list[Progress] = []
    scan(converted(STEP), IMAGE, out, progress=told.append)
    assert [progress.fresh_pixels for progress in told] == [0]
    with rasterio.open(out) as raster:
        np.testing.assert_array_equal(raster.read(), crops_scores(IMAGE, STEP))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_a_geotiff_of_many_blocks_and_nan_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    pytest.importorskip("rasterio")
    monkeypatch.setattr(geotiff, "BLOCK", 16)
    image = IMAGE.astype(np.float32) / 1000
    image[13, 17] = np.nan
    expected = np.asarray(scan(converted(STEP), image, dtype="float32"))
    low, high = np.nanmin(expected), np.nanmax(expected)
    scores = (expected - low) / (high - low)
    metadata = scan(converted(STEP), image).metadata | {"dtype": dtype}
    stored = encoded(scores, dtype)
    heatmap = Heatmap(stored, metadata, None)
    geotiff.write_geotiff(heatmap, tmp_path / "heat.tif")
    np.testing.assert_array_equal(
        np.asarray(Heatmap.open(tmp_path / "heat.tif")), np.asarray(heatmap)
    )


def test_a_disk_without_locks_is_written_all_the_same(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert scan(converted(STEP), IMAGE, out).path == out


def test_a_disk_that_cannot_bring_folders_to_the_disk_is_written_all_the_same(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def of_files(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", of_files)
    assert scan(converted(STEP), IMAGE, out).path == out


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        scan(converted(STEP), IMAGE, tmp_path / f"{'x' * 300}.zarr")


@pytest.mark.parametrize("name", ["heat[1].zarr", "a b%20#?.zarr", "ä\nö.zarr", "s3::x.zarr"])
def test_a_name_of_odd_characters_is_a_name(tmp_path: Path, name: str) -> None:
    scan(converted(STEP), IMAGE, tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    assert Heatmap.open(tmp_path / name).shape == (2, 25, 42)
