"""What was damaged of an unfinished scan is computed again; what is not ours is never touched."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fullconv.errors import FullconvError, HeatmapWarning, InputError, OutputError
from fullconv.scanning import ledger as ledgers
from fullconv.scanning.chunks import write_chunk
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.lines import HEADER, Line, parsed, read
from fullconv.scanning.ours import make_part
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from fullconv.system.exchanging import exchange
from scans import converted, crops_scores, picture
from test_cli_scan import call, write_folder
from test_damaged_heatmaps import listed
from test_resume import PulledError, pull_after

STEP, TILE = (2, 1), (9, 14)
IMAGE, OTHER = picture(60, 50), picture(60, 50, seed=1)
EXPECTED = crops_scores(IMAGE, STEP)
"""25 x 42 windows, in 3 x 3 tiles."""

DONE = 6
"""So many tiles are finished when a scan is interrupted here."""


def go_on(out: Path, **options: Any) -> Heatmap:
    return scan(converted(STEP), IMAGE, out, **{"tile": TILE} | options)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Begin a scan, and end it after `DONE` tiles."""
    path = tmp_path / "heat.zarr"
    with pytest.raises(PulledError):
        go_on(path, progress=pull_after(DONE), runtime="onnxruntime", precision="f32")
    ledger = path.with_name("heat.zarr.part") / "tiles"
    whole = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(whole[: DONE + 1]))
    for line in whole[DONE + 1 :]:  # what other lanes had finished meanwhile
        chunk(path, parsed(line.strip()).tile).unlink()  # type: ignore[union-attr]
    return path


OPTIONS = {"runtime": "onnxruntime", "precision": "f32"}


def part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def chunk(out: Path, tile: int) -> Path:
    return part(out) / "heatmap" / "0" / "c" / "0" / f"{tile // 3}" / f"{tile % 3}"


def check_goes_on(out: Path, fresh: int, line: str | None) -> None:
    """Go on, and check how many tiles are computed, what is said, and the scores."""
    told: list[Progress] = []
    if line is None:
        heatmap = go_on(out, progress=told.append, **OPTIONS)
    else:
        with pytest.warns(HeatmapWarning, match=line):
            heatmap = go_on(out, progress=told.append, **OPTIONS)
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert heatmap.damage() == ()
    assert len(told) - 1 == fresh
    assert os.listdir(out.parent) == ["heat.zarr"]
    assert not list(out.rglob("*.partial"))


def test_nothing_is_said_where_nothing_is_amiss(out: Path) -> None:
    check_goes_on(out, 9 - DONE, None)


# Chunks


def lost(out: Path) -> None:
    chunk(out, 1).unlink()


def cut(out: Path) -> None:
    chunk(out, 1).write_bytes(chunk(out, 1).read_bytes()[:-7])


def garbage(out: Path) -> None:
    chunk(out, 1).write_bytes(bytes(range(256)) * 9)


def foreign(out: Path) -> None:
    write_chunk(chunk(out, 1), crops_scores(OTHER, STEP)[:, :9, 14:28], TILE)


def edited(out: Path) -> None:
    array: Any = zarr.open_array(part(out) / "heatmap", path="0", mode="r+")
    array[1, 3, 20] += 1


def swapped(out: Path) -> None:
    held = chunk(out, 1).read_bytes()
    chunk(out, 1).write_bytes(chunk(out, 3).read_bytes())
    chunk(out, 3).write_bytes(held)


CHUNKS: dict[Callable[[Path], None], tuple[int, str]] = {
    lost: (1, r"part: computed again: rows 0 to 8 and columns 14 to 27 of the .*\): missing$"),
    cut: (1, r"computed again: rows 0 to 8 and columns 14 to 27 .*\): damaged \("),
    garbage: (1, r"computed again: rows 0 to 8 and columns 14 to 27 .*\): damaged \("),
    foreign: (1, r"columns 14 to 27 .*\): not the scores that were scanned$"),
    edited: (1, r"columns 14 to 27 .*\): not the scores that were scanned$"),
    swapped: (2, r"columns 14 to 27 .*were scanned; rows 9 to 17 and columns 0 to 13 .*scanned$"),
}


@pytest.mark.parametrize("hurt", CHUNKS, ids=lambda hurt: hurt.__name__)
def test_a_chunk_that_is_not_whole_is_computed_again(
    out: Path, hurt: Callable[[Path], None]
) -> None:
    hurt(out)
    more, line = CHUNKS[hurt]
    check_goes_on(out, 9 - DONE + more, line)


def test_chunks_that_no_line_lists_are_computed_again_unasked(out: Path) -> None:
    tiles = part(out) / "tiles"
    tiles.write_bytes(b"".join(tiles.read_bytes().splitlines(keepends=True)[:3]))
    check_goes_on(out, 9 - 2, None)


# Lines


def with_lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def hurt(out: Path) -> None:
        tiles = part(out) / "tiles"
        first, *lines = tiles.read_bytes().splitlines(keepends=True)
        assert (first, len(lines)) == (HEADER, DONE)
        tiles.write_bytes(first + b"".join(change(lines)))

    return hurt


NUL = b"\0" * 40
BEYOND = Line(10**9, 126, 0, "d" * 16).to_bytes()
NOWHERE = Line(8, 126, 0, "d" * 16).to_bytes()
LINES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int, str | None]] = {
    "windows edited": (
        lambda lines: [lines[0].replace(b" 126 ", b" 125 "), *lines[1:]], 1, "what 1 damaged"),
    "tile edited": (lambda lines: [b"7" + lines[0][1:], *lines[1:]], 1, "what 1 damaged line of"),
    "NUL bytes between": (lambda lines: [*lines[:2], NUL, *lines[2:]], 1, "what 1 damaged line"),
    "NUL line": (lambda lines: [*lines, NUL + b"\n"], 0, "computed again: what 1 damaged line"),
    "NUL bytes at the end": (lambda lines: [*lines, NUL], 0, None),
    "out of range": (lambda lines: [*lines, BEYOND], 0, "what 1 damaged line of the ledger"),
    "a minus": (lambda lines: [*lines, b"-1 126 0 dddd - 00000000\n"], 0, "what 1 damaged line"),
    "a chunk that is not there": (lambda lines: [*lines, NOWHERE], 0, r"rows 18 to 24 .* missing$"),
    "twice": (lambda lines: lines + lines, 0, None),
    "in another order": (lambda lines: lines[::-1], 0, None),
    "one is gone": (lambda lines: lines[1:], 1, None),
    "two digests": (
        lambda lines: [*lines, Line(0, 126, 0, "d" * 16).to_bytes()], 1, "rows 0 to 8 and columns"),
    "words": (lambda lines: [b"every tile is done\n", *lines], 0, "what 1 damaged line"),
    "as of before": (lambda _: [b"%d 126 0\n" % n for n in range(9)], DONE, "what 9 damaged lines"),
    "Windows ends": (lambda lines: [x[:-1] + b"\r\n" for x in lines], DONE, "what 6 damaged lines"),
    "numbers beyond measure": (lambda lines: [*lines, b"9" * 5000 + b"\n"], 0, "what 1 damaged"),
    "all are gone": (lambda _: [], DONE, None),
}  # fmt: skip


@pytest.mark.parametrize("kind", LINES)
def test_a_line_that_is_not_whole_costs_its_tile(out: Path, kind: str) -> None:
    change, more, line = LINES[kind]
    with_lines(change)(out)
    check_goes_on(out, 9 - DONE + more, line)


@pytest.mark.parametrize(
    ("held", "count"), [(b"", 1), (b"\0" * 4000, 2), (bytes(range(256)), 3), (HEADER[3:], 2)]
)
def test_a_ledger_without_a_whole_line_costs_its_tiles(out: Path, held: bytes, count: int) -> None:
    (part(out) / "tiles").write_bytes(held)
    check_goes_on(out, 9, f"what {count} damaged line")


def test_any_byte_of_a_line_that_is_changed_is_noticed() -> None:
    whole = Line(12, 345, 6, "aZ-_" * 4, 0xDEADBEEF).to_bytes()
    assert parsed(whole[:-1]) == Line(12, 345, 6, "aZ-_" * 4, 0xDEADBEEF)
    chance = random.Random(0)
    for _ in range(2000):
        changed = bytearray(whole)
        changed[chance.randrange(len(changed) - 1)] ^= 1 << chance.randrange(8)
        found, _ = read(bytes(changed), 1000)
        assert found == {}


# The record of the run


def test_a_lost_record_is_taken_from_its_copy(out: Path) -> None:
    for held in (None, b"", b"{", b"[]", b"\0" * 100):
        shutil.copytree(part(out), out.parent / "kept")
        if held is None:
            (part(out) / "run.json").unlink()
        else:
            (part(out) / "run.json").write_bytes(held)
        with pytest.warns(HeatmapWarning, match=r"run\.json was lost or damaged; its copy in the"):
            heatmap = go_on(out, **OPTIONS)
        np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
        shutil.rmtree(out)
        (out.parent / "kept").rename(part(out))


def test_an_edited_record_is_damaged(out: Path) -> None:
    run = part(out) / "run.json"
    held = json.loads(run.read_text())
    held["chosen"]["tile"] = [1, 1]
    run.write_text(json.dumps(held))
    check_goes_on(out, 9 - DONE, "was lost or damaged; its copy")


@pytest.mark.parametrize("lost", ["seal", "id"])
def test_a_record_that_has_lost_an_entry_is_damaged(out: Path, lost: str) -> None:
    run = part(out) / "run.json"
    held = json.loads(run.read_text())
    del held[lost]
    run.write_text(json.dumps(held))
    check_goes_on(out, 9 - DONE, "was lost or damaged; its copy")


@pytest.mark.parametrize("tiles", ["kept", "emptied"])
def test_a_record_that_is_lost_with_its_copy_is_one_line_and_discards_nothing(
    out: Path, tiles: str
) -> None:
    (part(out) / "run.json").write_bytes(b"{}")
    (part(out) / "heatmap" / "zarr.json").unlink()
    if tiles == "emptied":
        (part(out) / "tiles").write_bytes(HEADER)
    before = listed(out.parent)
    with pytest.raises(InputError) as caught:
        go_on(out, **OPTIONS)
    assert str(caught.value) == (
        f"{part(out)}: its run.json is lost or damaged, so that nobody knows which run it belongs "
        f"to; put it back, or start again with resume=False (--no-resume), which discards what was "
        f"scanned."
    )
    assert listed(out.parent) == before
    np.testing.assert_array_equal(np.asarray(go_on(out, resume=False)), EXPECTED)


@pytest.mark.parametrize("how", ["lost", "garbage", "other"])
def test_what_describes_the_scores_is_written_anew(out: Path, how: str) -> None:
    described = part(out) / "heatmap" / "0" / "zarr.json"
    if how == "lost":
        described.unlink()
    elif how == "garbage":
        described.write_bytes(b"\0\xff{")
    else:
        held = json.loads(described.read_text())
        described.write_text(json.dumps(held | {"shape": [2, 20, 42]}))
    check_goes_on(out, 9 - DONE, "what describes the scores was lost or damaged")


def test_a_group_that_is_lost_is_written_anew(out: Path) -> None:
    (part(out) / "heatmap" / "zarr.json").unlink()
    check_goes_on(out, 9 - DONE, None)


# What is not ours


@pytest.mark.parametrize("kind", ["file", "folder", "empty folder", "notes", "no folder", "link"])
def test_a_folder_of_that_name_that_is_not_ours_is_never_touched(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "heat.zarr"
    theirs = part(out)
    if kind == "no folder":
        theirs.write_text("mine")
    elif kind == "link":
        theirs.symlink_to(tmp_path / "nowhere")
    else:
        theirs.mkdir()
    if kind in ("file", "notes"):
        (theirs / {"file": "mine", "notes": "tiles"}[kind]).write_text("mine\n")
    elif kind == "folder":
        (theirs / "heatmap").mkdir()
        (theirs / "heatmap" / "zarr.json").write_text("{}")
        (theirs / "run.json").write_text('{"speed": 3}')
    before = listed(tmp_path)
    for options in ({}, {"resume": False}, {"overwrite": True}, {"repair": True}):
        with pytest.raises(OutputError) as caught:
            go_on(out, **options)
        assert str(caught.value) == (
            f"cannot write {out}: {theirs} is there, and fullconv did not make it; move it away, "
            f"or choose another name."
        )
        assert listed(tmp_path) == before


@pytest.mark.parametrize("options", [{}, {"resume": False}])
def test_files_of_others_in_our_folder_are_kept(out: Path, options: dict[str, Any]) -> None:
    (part(out) / "notes.txt").write_text("mine")
    (part(out) / "mine").mkdir()
    (part(out) / "mine" / "tiles").write_text("mine")
    (part(out) / "heatmap" / "0" / "c" / "notes.txt").write_text("mine")
    np.testing.assert_array_equal(np.asarray(go_on(out, **options, **OPTIONS)), EXPECTED)
    assert listed(part(out)) == ["mine", "mine/tiles", "notes.txt"]
    assert (out / "0" / "c" / "notes.txt").read_text() == "mine"


def test_files_of_others_in_a_heatmap_that_is_replaced_are_kept(tmp_path: Path) -> None:
    for by in ("one step", "two"):
        out = tmp_path / by / "heat.zarr"
        scan(converted(STEP), OTHER, out)
        (out / "notes.txt").write_text("mine")
        (out / "labels").mkdir()
        (out / "labels" / "zarr.json").write_text("{}")
        (out / "0" / "c" / "0" / "7.txt").write_text("mine")
        with pytest.MonkeyPatch.context() as patch:
            if by == "two":
                patch.setattr(ledgers, "exchange", lambda *_: False)
            with pytest.warns(HeatmapWarning, match=r"notes\.txt.*: not of the heatmap that was"):
                heatmap = go_on(out, overwrite=True)
        np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
        for name in ("notes.txt", "labels/zarr.json", "0/c/0/7.txt"):
            assert (out / name).exists()
        assert os.listdir(out.parent) == ["heat.zarr"]


@pytest.mark.parametrize("kind", ["folder", "zarr group", "zarr array", "file", "link", "record"])
def test_what_is_no_heatmap_is_never_replaced(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "heat.zarr"
    if kind == "folder":
        out.mkdir()
        (out / "mine").write_text("mine")
    elif kind == "zarr group":
        zarr.open_group(out, mode="w").attrs["fullconv"] = 3
    elif kind == "zarr array":
        zarr.save_array(str(out), IMAGE)
    elif kind == "file":
        out.write_text("mine")
    elif kind == "link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        scan(converted(STEP), IMAGE, out)
        group = zarr.open_group(out, mode="r+")
        record: Any = group.attrs["fullconv"]
        group.attrs["fullconv"] = record | {"window": [12, "9"]}
    before = listed(tmp_path)
    for options in ({}, {"overwrite": True}, {"repair": True}):
        with pytest.raises(InputError, match="it is there and is no heatmap of fullconv") as told:
            go_on(out, **options)
        assert "\n" not in str(told.value)
        assert listed(tmp_path) == before


def test_detect_touches_no_folder_that_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path)
    Path("boxes.csv.part").mkdir()
    Path("boxes.csv.part/mine").write_text("mine")
    arguments = ("detect", "model.onnx", "image.png", "-o", "boxes.csv", "--threshold", "0")
    result = call(*arguments)
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == (
        "fullconv: error: cannot write boxes.csv: boxes.csv.part is there, and fullconv did not "
        "make it; move it away, or choose another name."
    )
    assert Path("boxes.csv.part/mine").read_text() == "mine"
    Path("boxes.csv.part/mine").unlink()
    assert call(*arguments).exit_code == 0
    assert not Path("boxes.csv.part").exists()


# Several at a time


def test_two_that_write_the_same_tile_leave_no_torn_chunk(tmp_path: Path) -> None:
    from fullconv.scanning.chunks import create_folder

    create_folder(tmp_path, (2, 9, 14), TILE, "float32", {})
    both = [crops_scores(image, STEP)[:, :9, :14] for image in (IMAGE, OTHER)]
    place = tmp_path / "0" / "c" / "0" / "0" / "0"
    write_chunk(place, both[0], TILE)
    array: Any = zarr.open_array(tmp_path, path="0", mode="r")
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write_chunk, place, both[n % 2], TILE) for n in range(300)]
        while not all(one.done() for one in writing):
            held = np.asarray(array)
            assert any(np.array_equal(held, each) for each in both)
        for one in writing:
            one.result()
    assert os.listdir(place.parent) == ["0"]


def test_a_chunk_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = EXPECTED[:, :9, :14]
    write_chunk(tmp_path / "0", scores, TILE)
    before = (tmp_path / "0").read_bytes()
    monkeypatch.setattr("fullconv.scanning.chunks.replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_chunk(tmp_path / "0", scores + 1, TILE)
    assert (tmp_path / "0").read_bytes() == before
    assert os.listdir(tmp_path) == ["0"]


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_another_process_makes_meanwhile_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if not part(out).exists():
            part(out).mkdir()
            (part(out) / "tiles").write_bytes(HEADER)
        return rename(self, target)

    out = tmp_path / "heat.zarr"
    monkeypatch.setattr(Path, "rename", late)
    assert not make_part(part(out))
    assert os.listdir(tmp_path) == ["heat.zarr.part"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as Linux does it")
def test_folders_and_files_take_each_others_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_text("1")
    (tmp_path / "b").write_text("2")
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot")
    assert (tmp_path / "a").read_text() == "2"
    assert (tmp_path / "b" / "1").read_text() == "1"
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "c")


def test_a_system_that_cannot_exchange_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not exchange(tmp_path / "a", tmp_path / "b")


# Any damage


def hurt_at_random(path: Path, chance: random.Random) -> str:
    """Damage one file, and say how."""
    files = sorted(one for one in path.rglob("*") if one.is_file())
    one = chance.choice(files)
    data = bytearray(one.read_bytes() or b"x")
    how = chance.choice(("flip", "cut", "zero", "remove", "double", "insert", "swap"))
    if how == "flip":
        for _ in range(chance.choice((1, 1, 5))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del data[chance.randrange(len(data)) :]
    elif how == "zero":
        start = chance.randrange(len(data))
        data[start : start + 50] = bytes(len(data[start : start + 50]))
    elif how == "double":
        data += bytes(data)
    elif how == "insert":
        place = chance.randrange(len(data))
        data[place:place] = chance.randbytes(5)
    elif how == "swap":
        other = chance.choice(files)
        held = other.read_bytes()
        other.write_bytes(data)
        data = bytearray(held)
    if how == "remove":
        one.unlink()
    else:
        one.write_bytes(data)
    return f"{how} {one.relative_to(path)}"


@pytest.mark.filterwarnings("ignore::fullconv.errors.HeatmapWarning")
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("seed", range(40))
def test_no_damage_is_ever_taken_for_scores(tmp_path: Path, out: Path, seed: int) -> None:
    """Either the scores are those of the crops in the end, or one line says what to do."""
    chance = random.Random(seed)
    where = part(out) if seed % 2 else out
    if seed % 2 == 0:
        go_on(out, **OPTIONS, windows_to_check=0)
    hurt = [hurt_at_random(where, chance) for _ in range(chance.choice((1, 1, 3)))]
    heatmap = None
    for options in ({}, {"repair": True}, {"repair": True, "resume": False}):
        try:
            heatmap = go_on(out, **OPTIONS, windows_to_check=0, **options)
            break
        except FullconvError as error:
            line = str(error)
        assert line.count("\n") == 0, hurt
    if heatmap is None:
        assert "it is there and is no heatmap of fullconv" in line, hurt
        return
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED, str(hurt))
    assert heatmap.damage() == (), hurt
