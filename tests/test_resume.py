"""What a killed scan leaves behind, and how the same call goes on with it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile

import fullconv
from fullconv.errors import FullconvError, InputError, OutputError
from fullconv.scanning import engine
from fullconv.scanning import ledger as ledger_module
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.ledger import SETTLED_EVERY, SLOW, Ledger
from fullconv.scanning.lines import Line
from fullconv.scanning.progress import Progress
from fullconv.scanning.record import refuse_other
from fullconv.scanning.scanner import scan
from scans import converted, crops_scores, padded_model, picture

KILLS = 20
STEP = (2, 1)


def scan_command(folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "fullconv", "scan", "model.onnx", "image.tif", "-o", "heat.zarr"),
        *("--step", f"{STEP[1]}x{STEP[0]}", "--tile", "4x5", *more),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(padded_model(), tmp_path / "model.onnx")
    tifffile.imwrite(tmp_path / "image.tif", picture(300, 260), tile=(64, 64), compression="zlib")
    return tmp_path


def tiles_in(path: Path) -> int:
    """Count the lines of a ledger that are whole, but for the first, which names it."""
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def test_a_scan_killed_twenty_times_ends_as_if_nothing_had_happened(folder: Path) -> None:
    """Real processes, killed by SIGKILL at random moments, until one comes to its end."""
    expected = crops_scores(picture(300, 260), STEP)
    chance = random.Random(4)
    kills = in_between = ends = 0
    while kills < KILLS:
        process = subprocess.Popen(
            scan_command(folder), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        tiles = folder / "heat.zarr.part" / "tiles"
        before = tiles_in(tiles)
        if kills % 2:
            # Most of the start is imports; every other kill is to fall on what comes after.
            deadline = time.monotonic() + 60
            while (
                tiles_in(tiles) <= before and process.poll() is None and time.monotonic() < deadline
            ):
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 1.5 * SETTLED_EVERY))
        else:
            time.sleep(chance.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            kills += 1
            in_between += tiles_in(tiles) > before > 0
        else:
            assert process.returncode == 0, errors.decode()
            scores = np.asarray(Heatmap.open(folder / "heat.zarr"))
            np.testing.assert_array_equal(scores, expected)
            assert not (folder / "heat.zarr.part").exists()
            ends += 1
            (folder / "heat.zarr").rename(folder / f"done{ends}.zarr")
    assert in_between >= 3, "too few kills fell between two tiles of a resumed run"
    result = subprocess.run(scan_command(folder), cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.asarray(Heatmap.open(folder / "heat.zarr")), expected)


class PulledError(Exception):
    """The plug."""


def pull_after(tiles: int) -> Any:
    """Return a listener that ends the run after so many tiles."""

    def listener(progress: Progress) -> None:
        nonlocal tiles
        if progress.fresh_pixels:
            tiles -= 1
        if tiles <= 0:
            raise PulledError

    return listener


def interrupted(out: Path, image: np.ndarray, tiles: int = 3, **options: Any) -> None:
    with pytest.raises(PulledError):
        scan(converted(STEP), image, out, tile=(4, 5), progress=pull_after(tiles), **options)


def test_a_resumed_scan_computes_only_what_is_missing(tmp_path: Path) -> None:
    image, out = picture(60, 50), tmp_path / "heat.zarr"
    interrupted(out, image, tiles=4)
    assert not out.exists()
    ledger = Ledger(out)
    ledger.lock()
    ledger.resume(13 * 11)
    assert 4 <= len(ledger.lines) <= 6
    ledger.close()
    told: list[Progress] = []
    heatmap = scan(converted(STEP), image, out, tile=(4, 5), progress=told.append)
    assert told[0].windows > 0
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(image, STEP))
    assert os.listdir(tmp_path) == ["heat.zarr"]


def lines_after_each(folder: Path, seconds: list[float], patch: pytest.MonkeyPatch) -> list[int]:
    """Return how many tiles count after each is finished, so many seconds after the one before."""
    now = 0.0
    patch.setattr(time, "monotonic", lambda: now)
    ledger = Ledger(folder / "heat.zarr")
    ledger.lock()
    counted = []
    for tile, later in enumerate(seconds):
        now += later
        (ledger.folder / f"{tile}").write_bytes(b"scores")
        ledger.add(Line(tile, 20, 0, "d" * 16), ledger.folder / f"{tile}")
        counted.append(tiles_in(ledger.folder / "tiles"))
    ledger.close()
    assert tiles_in(ledger.folder / "tiles") == len(seconds)
    return counted


def test_tiles_are_brought_to_the_disk_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = [0.15 * SETTLED_EVERY] * 10
    assert lines_after_each(tmp_path, fast, monkeypatch) == [1] * 7 + [8] * 3


def test_slow_tiles_are_not_kept_waiting_where_lanes_end_theirs_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = [9 * SLOW, 0.0, 0.0, 0.0, 9 * SLOW, 0.0, 0.0, 0.0]
    assert lines_after_each(tmp_path, lanes, monkeypatch) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_line_is_written_when_its_scores_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, before = tmp_path / "heat.zarr", {}
    tiles, real = tmp_path / "heat.zarr.part" / "tiles", ledger_module.to_disk

    def to_disk(path: Path) -> None:
        before.setdefault(path, tiles_in(tiles))
        real(path)

    monkeypatch.setattr(ledger_module, "to_disk", to_disk)
    ledger = Ledger(out)
    ledger.lock()
    for tile in range(3):
        chunk = ledger.heatmap / "0" / "c" / "0" / f"{tile}" / "0"
        chunk.parent.mkdir(parents=True)
        chunk.write_bytes(b"scores")
        ledger.add(Line(tile, 20, 0, "d" * 16), chunk)
        ledger.settle()
        for place in (chunk, chunk.parent):
            assert before[place] == tile
    assert tiles_in(tiles) == 3
    ledger.add(Line(3, 20, 0, "d" * 16), ledger.heatmap / "missing")
    with pytest.raises(FileNotFoundError):
        ledger.settle()
    assert tiles_in(tiles) == 3
    ledger.close()


WHOLE = Line(7, 20, 0, "d" * 16).to_bytes()


@pytest.mark.parametrize("cut", [WHOLE[:length] for length in (1, 4, 30, len(WHOLE) - 1)])
def test_a_last_line_that_is_cut_short_counts_for_nothing(tmp_path: Path, cut: bytes) -> None:
    image, out = picture(60, 50), tmp_path / "heat.zarr"
    interrupted(out, image)
    tiles = tmp_path / "heat.zarr.part" / "tiles"
    whole = tiles.read_bytes()
    tiles.write_bytes(whole + cut)
    half = tmp_path / "heat.zarr.part" / "heatmap" / "0" / "c" / "0" / f"7.{'0' * 32}.partial"
    half.write_bytes(b"half")
    heatmap = scan(converted(STEP), image, out, tile=(4, 5))
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(image, STEP))
    assert not list(out.rglob("*.partial"))


def test_nan_windows_are_counted_across_runs(tmp_path: Path) -> None:
    image = picture(60, 50).astype(np.float32)
    image[5, 5] = np.nan
    out = tmp_path / "heat.zarr"
    interrupted(out, image, tiles=5)
    heatmap = scan(converted(STEP), image, out, tile=(4, 5))
    assert heatmap.metadata["odd_windows"] == np.isnan(np.asarray(heatmap)[0]).sum() > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": picture(60, 50, seed=1)}, "the image as it was before it changed"),
        ({"roi": (0, 0, 40, 40)}, "another part of the image"),
        ({"resize": 0.5}, "another level, resolution, size or bands of the image"),
        ({"dtype": "float16"}, "another --dtype"),
        ({"tile": (4, 6)}, "other tiles"),
        ({"runtime": "onnxruntime"}, "another --runtime"),
        ({"preprocessing": fullconv.Preprocessing(2.0)}, "pixels prepared in another way"),
        ({"fcn": converted((2, 2))}, "another --step (1x2)"),
        ({"fcn": converted(STEP, exact=False)}, "another model, or another conversion of it"),
        ({"cover": "all"}, "another --cover"),
        ({"cover": "all", "dtype": "float16"}, "another --cover, and another --dtype"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_an_output_of_another_run_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, Any], reason: str, finished: bool
) -> None:
    image, out = picture(60, 50), tmp_path / "heat.zarr"
    if finished:
        scan(converted(STEP), image, out, tile=(4, 5))
        todo = "choose another name, or replace it with overwrite=True (--overwrite)"
    else:
        interrupted(out, image)
        todo = "finish it as it was begun, or start again with resume=False (--no-resume)"
    asked = {"fcn": converted(STEP), "source": image, "tile": (4, 5)} | change
    with pytest.raises(InputError) as caught:
        scan(out=out, **asked)
    named = out if finished else f"{out}.part"
    assert str(caught.value) == f"{named} belongs to another run: {reason}; {todo}."
    assert scan(converted(STEP), image, out, tile=(4, 5)).shape == (2, 25, 42)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ({"window": [12, 9], "model": "a"}, "another --window (9x12)"),
        ({"window": [12, 9], "step": [2, 1], "model": "a"},
         "another --window (9x12), and another --step (1x2)"),
        ({"window": [12, 9], "read": {"level": 1}, "model": "a"},
         "another --window (9x12), and another level, resolution, size or bands of the image"),
        ({"window": None, "model": "a"}, "another --window"),
        ({"cover": "all", "region": {"rows": [0, 9], "mask": "b"}},
         "another part of the image, and another --cover"),
    ],
)  # fmt: skip
def test_another_run_is_told_by_what_was_changed_and_not_by_what_follows(
    before: dict[str, Any], reason: str
) -> None:
    now: dict[str, Any] = {"window": [16, 16], "step": [4, 4], "model": "b", "read": {}}
    now |= {"cover": None, "region": {"rows": [0, 8], "mask": None}}
    with pytest.raises(InputError) as caught:
        refuse_other(Path("h.zarr"), now | before, now, "go")
    assert str(caught.value) == f"h.zarr belongs to another run: {reason}; go."


def test_a_record_of_before_that_has_no_step_is_told_by_its_model() -> None:
    now = {"window": [16, 16], "step": [4, 4], "model": "b"}
    refuse_other(Path("h.zarr"), {"model": "b"}, now, "go")
    with pytest.raises(InputError, match="run: another model, or another conversion of it; go"):
        refuse_other(Path("h.zarr"), {"model": "a"}, now, "go")


def test_no_resume_starts_again_and_overwrite_replaces(tmp_path: Path) -> None:
    image, other, out = picture(60, 50), picture(60, 50, seed=1), tmp_path / "heat.zarr"
    interrupted(out, image)
    scan(converted(STEP), other, out, resume=False)
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(other, STEP))
    scan(converted(STEP), image, out, overwrite=True)
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(image, STEP))
    assert os.listdir(tmp_path) == ["heat.zarr"]


def test_a_scan_that_starts_again_and_is_killed_goes_on_from_its_own_tiles(tmp_path: Path) -> None:
    image, other, out = picture(60, 50), picture(60, 50, seed=1), tmp_path / "heat.zarr"
    interrupted(out, image, tiles=9)
    interrupted(out, other, tiles=2, resume=False)
    scan(converted(STEP), other, out, tile=(4, 5))
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(other, STEP))


def test_what_stays_there_until_it_is_replaced_is_whole(tmp_path: Path) -> None:
    image, other, out = picture(60, 50), picture(60, 50, seed=1), tmp_path / "heat.zarr"
    scan(converted(STEP), image, out)
    interrupted(out, other, overwrite=True)
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(image, STEP))


def test_a_finished_scan_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, out = picture(60, 50), tmp_path / "heat.zarr"
    scan(converted(STEP), image, out)
    monkeypatch.setattr(engine, "choose_runtime", None)
    assert scan(converted(STEP), image, out).shape == (2, 25, 42)


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    image, out = picture(60, 50), tmp_path / "heat.zarr"
    interrupted(out, image)
    other = Ledger(out)
    other.lock()
    other.resume(13 * 11)
    with pytest.raises(OutputError, match="another process is writing it; wait for it"):
        scan(converted(STEP), image, out, tile=(4, 5))
    other.close()
    assert scan(converted(STEP), image, out, tile=(4, 5)).shape == (2, 25, 42)


def test_what_is_there_and_no_heatmap_is_never_touched(tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(InputError, match="it is there and is no heatmap of fullconv"):
        scan(converted(STEP), picture(60, 50), out)
    assert (out / "mine").read_text() == "mine"


def test_a_run_that_fails_before_its_first_tile_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FullconvError):
        scan(converted(STEP), picture(60, 50), tmp_path / "heat.zarr", output=3)
    assert os.listdir(tmp_path) == []


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv.pop(1))
from fullconv.cli.group import commands
import zarr, numpy, onnxruntime
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
commands.main(prog_name="fullconv")
"""


def scan_on_a_full_disk(folder: Path, limit: int) -> str:
    """Return the last line on stderr of a scan to a disk that takes so many bytes of each file.

    A limit on the size of files stands in for the disk: the system refuses to write on.
    """
    arguments = scan_command(folder)[3:]
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(limit), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
    )
    assert result.returncode == 3, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


def test_a_disk_that_is_full_is_one_line_and_the_same_command_goes_on(folder: Path) -> None:
    assert scan_on_a_full_disk(folder, 3000) == (
        "fullconv: error: cannot write heat.zarr: File too large; what was scanned is kept: make "
        "room, and the same command goes on where it stopped."
    )
    result = subprocess.run(scan_command(folder), cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    expected = crops_scores(picture(300, 260), STEP)
    np.testing.assert_array_equal(np.asarray(Heatmap.open(folder / "heat.zarr")), expected)


def test_a_disk_that_is_full_from_the_beginning_keeps_nothing_and_does_not_say_so(
    folder: Path,
) -> None:
    assert scan_on_a_full_disk(folder, 100) == (
        "fullconv: error: cannot write heat.zarr: File too large; make room, and give the same "
        "command again."
    )
    assert not list(folder.glob("heat.zarr*"))


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(folder: Path) -> None:
    process = subprocess.Popen(
        scan_command(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that was started in the background ignores Ctrl-C, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    tiles = folder / "heat.zarr.part" / "tiles"
    deadline = time.monotonic() + 60
    while tiles_in(tiles) < 1 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "fullconv: interrupted"
    assert "Traceback" not in errors
    result = subprocess.run(scan_command(folder), cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
