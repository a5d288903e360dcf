"""What other systems lack is done in another way: with the calls taken away, the same results."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import zarr

from fullconv.cli.naming import places_below
from fullconv.errors import ImageError
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.ledger import OWNER, TILES
from fullconv.scanning.lines import HEADER
from fullconv.sources import open_source
from fullconv.system import disk, locking
from fullconv.system.locking import FAR, Lock, LockedElsewhereError
from fullconv.system.processor import cores
from fullconv.system.reading import PositionedFile
from scans import crops_scores, padded_model, picture
from test_resume import interrupted, tiles_in

STEP = (2, 1)
IMAGE = picture(120, 100)
SCAN = ["scan", "model.onnx", "Täler.tif", "--step", "1x2", "--tile", "5x4", "-o"]
DETECT = ["detect", "model.onnx", "Täler.tif", "--step", "1x2", "--threshold", "25", "-o"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(padded_model(), tmp_path / "model.onnx")
    tifffile.imwrite(tmp_path / "Täler.tif", IMAGE, tile=(64, 64), compression="zlib")
    return tmp_path


def as_on_windows(folder: Path, *calls: list[str], **environment: str) -> list[tuple[int, str]]:
    """Run commands in a process from which all that Windows lacks is taken."""
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("as_on_windows.py"), json.dumps(calls)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    return [(code, told) for code, told in json.loads(result.stdout)]


def test_the_commands_do_their_work_without_what_windows_lacks(folder: Path) -> None:
    calls = [
        ["explain", "model.onnx"],
        ["convert", "model.onnx", "-o", "fcn.onnx", "--step", "1x2"],
        ["convert", "model.onnx", "-o", "fcn.onnx", "--step", "1x2"],
        ["verify", "fcn.onnx", "Täler.tif", "--original", "model.onnx"],
        [*SCAN, "heat.zarr", "--overlay", "heat.png"],
        [*SCAN, "heat.zarr"],
        [*SCAN, "heat.zarr", "--overwrite"],
        [*SCAN, "heat.tif"],
        [*SCAN, "heat.tif", "--overwrite"],
        ["verify", "heat.zarr"],
        ["verify", "heat.tif"],
        [*DETECT, "boxes.csv", "--overlay", "boxes.png"],
        [*DETECT, "boxes.csv", "--overlay", "boxes.png", "--overwrite"],
        ["bench", "model.onnx", "Täler.tif", "--rounds", "1"],
        ["demo", "-o", "demo"],
    ]
    for call, (code, told) in zip(calls, as_on_windows(folder, *calls), strict=True):
        assert code == 0, (call, told)
    expected = crops_scores(IMAGE, STEP)
    for name in ("heat.zarr", "heat.tif"):
        np.testing.assert_array_equal(np.asarray(Heatmap.open(folder / name)), expected)
    made = {path.name for path in folder.iterdir()}
    assert {"fcn.onnx", "heat.png", "boxes.csv", "boxes.png", "demo"} < made
    assert not [name for name in made if name.endswith((".part", ".partial"))]


def test_a_scan_that_was_killed_goes_on_without_what_windows_lacks(folder: Path) -> None:
    interrupted(folder / "heat.zarr", folder / "Täler.tif", tiles=40)
    assert tiles_in(folder / "heat.zarr.part" / TILES) >= 40
    fails = [*SCAN, "byte.zarr", "--dtype", "uint8"]  # before its first tile: scores above 1
    (code, told), (failed, _) = as_on_windows(folder, [*SCAN, "heat.zarr"], fails)
    assert (code, failed) == (0, 2), told
    assert not list(folder.glob("byte*"))
    np.testing.assert_array_equal(
        np.asarray(Heatmap.open(folder / "heat.zarr")), crops_scores(IMAGE, STEP)
    )
    assert not (folder / "heat.zarr.part").exists()


@pytest.mark.parametrize("call", [[*SCAN, "heat.zarr"], [*SCAN, "heat.zarr", "--no-resume"]])
def test_of_two_processes_on_windows_one_writes(folder: Path, call: list[str]) -> None:
    part = folder / "heat.zarr.part"
    part.mkdir()
    with (part / TILES).open("wb", buffering=0) as file:
        file.write(HEADER)
        fcntl.lockf(file, fcntl.LOCK_EX, 1, FAR)  # what the stand-in of msvcrt.locking is made of
        ((code, told),) = as_on_windows(folder, call)
    assert code == 3
    assert told.endswith(
        "cannot write heat.zarr: another process is writing it; wait for it, or choose another "
        "name.\n"
    )
    assert list(part.iterdir()) == [part / TILES]


# ---------------------------------------------------------------------------------------------
# The lock where the system has none


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fcntl", "msvcrt"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Any]:
    """Takes a lock on one file, again and again."""
    files = []

    def take() -> Lock:
        files.append((tmp_path / "file").open("a+b"))
        return Lock(files[-1], tmp_path / OWNER)

    yield take
    for file in files:
        file.close()


def test_a_lock_holds_once(locked: Any) -> None:
    lock = locked()
    with pytest.raises(LockedElsewhereError):
        locked()
    lock.release()


def test_a_lock_by_name_holds_once_and_until_it_is_released(
    locked: Any, without_locks: None, tmp_path: Path
) -> None:
    first = locked()
    with pytest.raises(LockedElsewhereError) as caught:
        locked()
    assert str(caught.value) == (
        f"process {os.getpid()} on {platform.node()}; if it has ended, remove {tmp_path / OWNER}"
    )
    first.release()
    assert not (tmp_path / OWNER).exists()
    locked().release()


def test_a_disk_without_locks_is_locked_by_name(
    locked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    locked()
    with pytest.raises(LockedElsewhereError):
        locked()


@pytest.mark.parametrize(
    ("machine", "is_ended", "is_held"),
    [("here", True, False), ("here", False, True), ("there", True, True)],
)
def test_a_process_that_has_ended_holds_nothing_if_it_was_of_this_machine(
    locked: Any,
    without_locks: None,
    tmp_path: Path,
    ended: int,
    machine: str,
    is_ended: bool,
    is_held: bool,
) -> None:
    owner = {
        "machine": platform.node() if machine == "here" else "there.example",
        "process": ended if is_ended else os.getppid(),
    }
    (tmp_path / OWNER).write_text(json.dumps(owner), encoding="utf-8")
    if is_held:
        with pytest.raises(LockedElsewhereError, match=f"process {owner['process']} on "):
            locked()
        assert json.loads((tmp_path / OWNER).read_bytes()) == owner
    else:
        locked()
        assert json.loads((tmp_path / OWNER).read_bytes())["process"] == os.getpid()
    assert sorted(os.listdir(tmp_path)) == ["file", OWNER]


def test_a_process_of_our_own_number_that_ran_before_us_holds_nothing(
    locked: Any, without_locks: None, tmp_path: Path
) -> None:
    """As in containers, where the only process of each is number 1."""
    owner = {"machine": platform.node(), "process": os.getpid()}
    before = json.dumps(owner, indent=2).encode()  # in other bytes than we write
    (tmp_path / OWNER).write_bytes(before)
    locked()
    kept = (tmp_path / OWNER).read_bytes()
    assert json.loads(kept)["process"] == os.getpid()
    assert kept != before


@pytest.mark.parametrize("held", [b"", b"\0\xff", b"[]", b'{"process": "me"}', b'{"process": -1}'])
def test_an_owner_that_cannot_be_read_holds(
    locked: Any, without_locks: None, tmp_path: Path, held: bytes
) -> None:
    (tmp_path / OWNER).write_bytes(held)
    with pytest.raises(LockedElsewhereError, match=r"process .* on an unknown machine; if it"):
        locked()
    assert (tmp_path / OWNER).read_bytes() == held


def test_what_another_process_has_put_in_an_old_owners_place_stays(tmp_path: Path) -> None:
    owner = tmp_path / OWNER
    owner.write_bytes(b"new")
    locking._remove(owner, b"old")
    assert owner.read_bytes() == b"new"
    locking._remove(owner, b"new")
    assert os.listdir(tmp_path) == []


def test_where_there_are_no_locks_a_scan_says_who_writes(folder: Path) -> None:
    part = folder / "heat.zarr.part"
    part.mkdir()
    (part / TILES).write_bytes(HEADER)
    owner = {"machine": platform.node(), "process": os.getpid()}
    (part / OWNER).write_text(json.dumps(owner), encoding="utf-8")
    ((code, told),) = as_on_windows(folder, [*SCAN, "heat.zarr"], WITHOUT_LOCKS="1")
    assert code == 3
    assert told.endswith(
        f"cannot write heat.zarr: another process is writing it (process {os.getpid()} on "
        f"{platform.node()}; if it has ended, remove heat.zarr.part/owner); wait for it, or "
        f"choose another name.\n"
    )
    (part / OWNER).unlink()
    ((code, told),) = as_on_windows(folder, [*SCAN, "heat.zarr"], WITHOUT_LOCKS="1")
    assert code == 0, told
    assert not part.exists()


# ---------------------------------------------------------------------------------------------
# Files, and the processor


@pytest.mark.parametrize("has_pread", [True, False])
def test_threads_read_a_file_each_at_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_pread: bool
) -> None:
    if not has_pread:
        monkeypatch.delattr(os, "pread")
    data = random.Random(3).randbytes(100_000)
    (tmp_path / "file").write_bytes(data)
    file = PositionedFile(tmp_path / "file")
    assert file.size_bytes == len(data)
    places = [(number * 7919 % len(data), 1 + number * 31 % 500) for number in range(2000)]
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda place: file.read(place[1], place[0]), places))
    assert read == [data[offset : offset + count] for offset, count in places]
    file.close()
    with pytest.raises((OSError, ValueError)):
        file.read(1, 0)


def test_a_system_that_gives_less_at_a_time_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, at: pread(file, min(count, 3), at))
    (tmp_path / "file").write_bytes(b"0123456789")
    file = PositionedFile(tmp_path / "file")
    assert (file.read(7, 2), file.read(7, 5), file.read(1, 10)) == (b"2345678", b"56789", b"")
    file.close()


def in_use(path: Any) -> PermissionError:
    error = PermissionError(errno.EACCES, "in use", path)
    error.winerror = 32  # type: ignore[attr-defined]
    return error


def test_a_file_that_is_in_use_for_a_moment_is_replaced_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, replace = [], os.replace

    def in_use_twice(made: Path, place: Path) -> None:
        tries.append(made)
        if len(tries) < 3:
            raise in_use(made)
        replace(made, place)

    monkeypatch.setattr(os, "replace", in_use_twice)
    made, place = tmp_path / "made", tmp_path / "place"
    made.write_bytes(b"new")
    place.write_bytes(b"old")
    disk.replace(made, place)
    assert (len(tries), place.read_bytes()) == (3, b"new")


@pytest.mark.parametrize(
    ("error", "most"), [(PermissionError(errno.EACCES, "no"), 1), (in_use("x"), 1000)]
)
def test_a_file_that_stays_in_use_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, most: int
) -> None:
    tries = []

    def refuse(*_: Any) -> None:
        tries.append(1)
        raise error

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(disk, "PATIENCE_S", 0.1)
    with pytest.raises(PermissionError):
        disk.replace(tmp_path / "a", tmp_path / "b")
    assert 1 <= len(tries) <= most
    assert (len(tries) > 1) == (most > 1)


def test_all_cores_count_where_a_process_has_none_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


# ---------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([r"C:\a\b\x.tif", r"D:\y.png"], [r"C\a\b\x", r"D\y"]),
        ([r"\\host\share\a\x.tif", r"D:\y.png"], [r"hostshare\a\x", r"D\y"]),
        ([r"c:\A\b\x.tif", r"C:\a\y.png"], [r"b\x", "y"]),
        ([r"C:\x.tif"], ["x"]),
    ],
)
def test_images_of_several_drives_have_places_of_their_own(
    images: list[str], expected: list[str]
) -> None:
    assert places_below([PureWindowsPath(image) for image in images]) == [
        PureWindowsPath(place) for place in expected
    ]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_a_name_that_a_pipe_cannot_show_is_shown_by_its_codes(folder: Path, encoding: str) -> None:
    call = [sys.executable, "-m", "fullconv", "convert", "model.onnx", "-o", "Ω.onnx"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    result = subprocess.run(call, cwd=folder, env=environment, capture_output=True)
    assert result.returncode == 0, result.stderr
    shown = "Ω.onnx" if encoding == "utf-8" else r"\u03a9.onnx"
    assert f"wrote    {shown} (" in result.stdout.decode(encoding)
    assert (folder / "Ω.onnx").exists()


def test_a_level_that_is_named_by_its_drive_lies_elsewhere(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "image.zarr")
    group.create_array("C:level", data=IMAGE[:, :, 0])
    image = {"axes": ["y", "x"], "datasets": [{"path": "C:level"}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    with pytest.raises(ImageError, match="its array 'C:level' is missing"):
        open_source(tmp_path / "image.zarr")


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (["/a/b/x.tif", "/a/bc/x.tif"], ["b/x", "bc/x"]),
        (["/a/x.tif", "/a/x.png"], ["x.tif", "x.png"]),
        (["/a/y.png", "/a/Y.jpg", "/a/z.png"], ["y.png", "Y.jpg", "z"]),
        (["/a/\u00e9.png", "/a/e\u0301.jpg"], ["\u00e9.png", "e\u0301.jpg"]),
    ],
)
def test_no_two_images_have_one_place_on_any_system(images: list[str], expected: list[str]) -> None:
    found: list[PurePath] = places_below([PurePosixPath(image) for image in images])
    assert [str(place) for place in found] == expected
