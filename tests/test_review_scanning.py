"""What a careful reader of the scanning core once found wrong, and must not come back."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray
from torch import nn
from zarr.storage import MemoryStore

import fullconv
from fullconv.detections.activated import Activated
from fullconv.detections.detecting import detect
from fullconv.errors import InputError, MissingExtraError, OutputError
from fullconv.runtimes import open_runtime
from fullconv.scanning import geotiff
from fullconv.scanning import ledger as ledgers
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.ledger import Ledger
from fullconv.scanning.lines import Line
from fullconv.scanning.measure import SHARES, choose_plan, recall, remember
from fullconv.scanning.progress import Progress
from fullconv.scanning.region import Region
from fullconv.scanning.scanner import scan
from fullconv.scanning.storing import encoded
from fullconv.sources import open_source
from fullconv.windows import Windows
from models import Padded, Several, with_integers
from scans import PADDED, blank, converted, crops_scores, picture

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


def pull(*_: Any) -> None:
    raise PulledError


def pull_at_the_end(_: Path, kept: tuple[str, ...] = ()) -> None:
    if not kept:  # else it has only begun
        raise PulledError


def lines(out: Path) -> int:
    return (out.with_name(out.name + ".part") / "tiles").read_bytes().count(b"\n") - 1


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "heat.zarr"


# What is on the disk


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


# What is to be scanned


def test_the_alpha_of_a_mask_marks_nothing() -> None:
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[..., 3] = 255
    mask[2:4, 1:3, :3] = 255
    expected = np.asarray(scan(converted(STEP), IMAGE, mask=mask[..., 0]))
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(np.asarray(scan(converted(STEP), IMAGE, mask=mask)), expected)
    grey = mask[..., [0, 3]]
    np.testing.assert_array_equal(np.asarray(scan(converted(STEP), IMAGE, mask=grey)), expected)


def test_a_mask_of_nan_marks_nothing() -> None:
    mask = np.full((6, 5), np.nan)
    mask[2:4, 1:3] = 1
    expected = np.asarray(scan(converted(STEP), IMAGE, mask=np.nan_to_num(mask)))
    np.testing.assert_array_equal(np.asarray(scan(converted(STEP), IMAGE, mask=mask)), expected)


@pytest.mark.parametrize(("roi", "at"), [(None, (0, 0)), ((20, 20, 50, 60), (20, 15))])
def test_a_mask_that_marks_no_windows_centre_is_refused(
    tmp_path: Path, roi: tuple[float, ...] | None, at: tuple[int, int]
) -> None:
    mask = np.zeros(IMAGE.shape[:2], np.uint8)
    mask[at] = 1
    with pytest.raises(InputError) as caught:
        scan(converted(STEP), IMAGE, tmp_path / "heat.zarr", roi=roi, mask=mask)
    assert str(caught.value) == (
        "mask: it marks no window's centre, so there is nothing to scan; mark more of the image "
        "(and of the roi, where there is one), or scan at a smaller step."
    )
    assert os.listdir(tmp_path) == []


def test_a_mask_that_the_caller_has_opened_stays_open() -> None:
    with open_source(np.eye(6, dtype=np.uint8)) as mask:
        found = detect(converted(STEP), IMAGE, scales=(1.0, 0.75), mask=mask)
        assert mask.read((0, 6), (0, 6)).shape == (6, 6, 1)
    assert found.names == ("array",)


def test_masks_of_the_same_bits_in_another_shape_are_told_apart() -> None:
    bits = np.eye(8, dtype=np.uint8)
    windows = Windows.of(fullconv.Grid((12, 9), (2, 1)), (60, 50))
    image = open_source(np.zeros((60, 50), np.uint8))
    one, other = (
        Region.of(windows, image, None, mask).describe() for mask in (bits, bits.reshape(4, 16))
    )
    assert one != other


@pytest.mark.parametrize("end", [np.inf, np.nan])
def test_a_rectangle_without_an_end_is_refused(end: float) -> None:
    with pytest.raises(InputError, match="expected x0, y0, x1, y1 in pixels of the image"):
        scan(converted(STEP), IMAGE, roi=(0, 0, end, 40))


def test_a_pixel_beyond_single_precision_is_left_out_as_an_infinite_one() -> None:
    image = IMAGE.astype(np.float64)
    image[13, 17, 1] = np.inf
    expected = np.asarray(scan(converted(STEP), image))
    image[13, 17, 1] = 1e300
    heatmap = scan(converted(STEP), image)
    np.testing.assert_array_equal(np.asarray(heatmap), expected)
    assert heatmap.metadata["odd_windows"] == np.isnan(expected[0]).sum() > 0


# What is stored, and what the check claims of it


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


# What is measured and remembered


def test_what_a_narrow_image_teaches_makes_no_narrow_tiles_of_the_next() -> None:
    fcn = converted((1, 1))
    with open_runtime(fcn) as runtime:
        alone = choose_plan(fcn, "one", (800, 800), 1 << 19, runtime, blank)
        assert recall()
        narrow = choose_plan(fcn, "other", (13, 20_000), 1 << 19, runtime, blank)
        after = choose_plan(fcn, "other", (800, 800), 1 << 19, runtime, blank)
    assert narrow.shape[0] == 2
    assert after.shape[0] > 4
    assert alone.shape[0] > 4


@pytest.mark.parametrize("nonsense", [[0, 5], ["a", 1], 0, 3, "4", None, {}])
def test_a_memory_of_nonsense_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, nonsense: Any
) -> None:
    monkeypatch.setattr("fullconv.scanning.measure._key", lambda *_: "key")
    remember("key", nonsense)
    fcn = converted((1, 1))
    with open_runtime(fcn) as runtime:
        choose_plan(fcn, "one", (800, 800), 1 << 19, runtime, blank)
    assert recall()["key"] in SHARES


def test_a_user_without_a_home_can_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    heatmap = scan(converted((1, 1)), picture(200, 200), memory_bytes=1 << 19, windows_to_check=9)
    assert heatmap.verification is not None
    assert heatmap.verification.max_error == 0


# Detections


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,), (float("nan"),), (65.0,)])
def test_scales_that_cannot_be_are_one_line(scales: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected at least one, each above 0 and up to 64"):
        detect(converted(STEP), IMAGE, scales=scales)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 50), slice(8, 9), slice(7, 99)])
def test_chances_are_the_same_for_any_rectangle_and_hold_one_chunk_of_all_classes(
    rows: slice,
) -> None:
    scores = np.random.default_rng(0).normal(size=(5, 60, 40)).astype(np.float32)
    scores[:, 10:20, 5:9] = np.nan
    array = zarr.create_array(MemoryStore(), data=scores, chunks=(5, 8, 7))
    asked: list[int] = []

    class Spy:
        """Notes how much is read at once."""

        shape, chunks = array.shape, array.chunks

        def __getitem__(self, place: Any) -> Any:
            held = array[place]
            asked.append(np.asarray(held).size)
            return held

    record = {"window": PADDED.window, "step": STEP, "classes": [], "original_size": [1, 1]}
    heatmap = Heatmap(Spy(), record | {"image_size": [1, 1]}, None)
    weights = np.exp(scores.astype(np.float64))
    expected = (weights / weights.sum(axis=0))[1:3, rows, 2:33]
    actual = Activated(heatmap, "softmax")[1:3, rows, 2:33]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    assert max(asked) <= 5 * 8 * 7
