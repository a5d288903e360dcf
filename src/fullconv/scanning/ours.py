"""The files that fullconv has made: no other is ever removed, wherever it lies.

Others' files in a heatmap that is replaced are moved into the new one.
"""

from __future__ import annotations

import os
import platform
import re
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

from fullconv.errors import OutputError
from fullconv.scanning.chunks import UNFINISHED
from fullconv.scanning.digests import is_sealed
from fullconv.scanning.file_names import GROUP, PARTIAL, FileNames
from fullconv.scanning.lines import HEADER
from fullconv.system.files import bytes_of, json_of, kind_of, starts_with
from fullconv.system.locking import is_running

HEATMAP = "heatmap"
REPLACED = "replaced"
RUN = "run.json"
TILES = "tiles"
OWNER = "owner"

_OF_PART = re.compile(rf"{RUN}(\.[0-9a-f]{{32}}\.partial)?|run\.partial|{TILES}|{OWNER}(\.\d+)?")

_ASKED_BEFORE = {"model", "image", "read", "pixels", "region", "output", "dtype", "runtime"}
_CHOSEN_BEFORE = {"runtime", "device", "tile"}
"""Entries that every record of a run had before records had seals."""

_TILES_BEFORE = re.compile(rb"(\d+ \d+ \d+\n)*[\d ]*")
"""The lines of a ledger at that time: tile, windows, and windows with NaN pixels."""

_FRESH = re.compile(r"\.fullconv-([0-9a-f]{8})-(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{16}\.part")
"""Temporary names of an unfinished output, before it is complete and after it has ended: hashes of
its usual name and of the machine, and the process."""

STRAY_S = 24 * 3600.0
"""Age after which a folder of such a name is left over, whoever has made it."""


_making: set[str] = set()
"""The folders of such names that threads of this process are making."""


def is_ours(folder: Path) -> bool:
    """Whether a folder is an unfinished output, of this form or an earlier one."""
    if folder.is_symlink():
        return False
    if starts_with(folder / TILES, HEADER):
        return True
    records = record_in(folder / RUN), copy_in(folder / HEATMAP)
    return any(
        record is not None and ("seal" in record or _is_ledger_of_before(folder / TILES))
        for record in records
    )


def check_places(folder: Path, out: Path) -> None:
    """Check that files and folders of an unfinished output are what they should be.

    Raises
    ------
    OutputError
        If a link, a pipe or the like lies in the place of one.
    """
    for name in (TILES, RUN, HEATMAP, REPLACED):
        place, is_folder = folder / name, name in (HEATMAP, REPLACED)
        with suppress(FileNotFoundError):
            mode = os.lstat(place).st_mode
            if not (stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode)):
                refuse_place(out, place, mode)
    for place in FileNames.of(folder / HEATMAP).links():
        refuse_place(out, place, os.lstat(place).st_mode)


def refuse_place(out: Path, place: Path, mode: int) -> None:
    """Raise the error that says what lies in the place of a file or folder of ours."""
    raise OutputError(
        f"cannot write {out}: {place} is {kind_of(mode)}, which fullconv did not make; move it "
        f"away, or choose another name."
    )


def make_part(folder: Path) -> bool:
    """Make a folder with an empty ledger in it, in one step; False if there is one already."""
    if os.path.lexists(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = _fresh(folder)
    _making.add(made.name)
    try:
        made.mkdir()
        (made / TILES).write_bytes(HEADER)
        made.rename(folder)
    except OSError:
        remove_part(made)
        if os.path.lexists(folder):
            return False
        raise
    finally:
        _making.discard(made.name)
    return True


def record_in(path: Path) -> dict[str, Any] | None:
    """Return the record of a run; None where it is lost or damaged.

    Records of earlier versions have no seal and no form: they are returned, to be refused.
    """
    return _whole(json_of(path))


def copy_in(heatmap: Path) -> dict[str, Any] | None:
    """Return the copy of a run's record in its heatmap."""
    try:
        return _whole((json_of(heatmap / GROUP) or {})["attributes"][UNFINISHED])
    except (LookupError, TypeError):
        return None


def _whole(record: Any) -> dict[str, Any] | None:
    if not isinstance(record, dict):
        return None
    if not all(isinstance(record.get(part), dict) for part in ("asked", "chosen")):
        return None
    return record if _is_of_before(record) or is_sealed(record) else None


def _is_of_before(record: Mapping[str, Any]) -> bool:
    asked, chosen = record["asked"], record["chosen"]
    is_known = asked.keys() >= _ASKED_BEFORE and chosen.keys() >= _CHOSEN_BEFORE
    return is_known and "seal" not in record and "form" not in asked


def _is_ledger_of_before(path: Path) -> bool:
    with suppress(OSError):
        return _TILES_BEFORE.fullmatch(bytes_of(path)) is not None
    return False


def remove_heatmap(folder: Path) -> None:
    """Remove a heatmap's files, and its folders where they are empty then; others' files stay."""
    if folder.is_file() and not folder.is_symlink():
        folder.unlink()  # a GeoTIFF
        return
    layout = FileNames.of(folder)
    for path in list(layout.own()):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    for place in list(layout.folders()):
        with suppress(OSError):  # others' files are left there
            place.rmdir()


def remove_part(folder: Path, kept: tuple[str, ...] = ()) -> None:
    """Remove an unfinished output except for files named in ``kept``, and others' files.

    The record of the run goes last: it identifies the run that has ended.
    """
    for part in (HEATMAP, REPLACED):
        if (folder / part).is_dir():
            remove_heatmap(folder / part)
    for entry in sorted(_own_entries(folder), key=lambda entry: entry.name == RUN):
        if entry.name not in kept:
            entry.unlink(missing_ok=True)
    if not kept:
        with suppress(OSError):  # others' files are in it
            folder.rmdir()


def set_aside(folder: Path) -> Path | None:
    """Rename an unfinished output that has ended, in one step, so that it can be removed.

    Returns the temporary name; None where it cannot be renamed, or others have files in it, which
    stay where they are.
    """
    for heatmap in (folder / HEATMAP, folder / REPLACED):
        if any(FileNames.of(heatmap).others()):
            return None
    known = {HEATMAP, REPLACED, *(entry.name for entry in _own_entries(folder))}
    aside = _fresh(folder)
    try:
        if not {entry.name for entry in folder.iterdir()} <= known:
            return None
        folder.rename(aside)
    except OSError:
        return None
    return aside


def remove_strays(folder: Path) -> None:
    """Remove the folders that killed processes have left under temporary names of this output.

    Folders that a running process has just made, or is about to remove, are left to it.
    """
    with suppress(OSError):
        for entry in list(folder.parent.iterdir()):
            parts = _FRESH.fullmatch(entry.name)
            if parts and parts[1] == _number(folder.name) and _is_stray(entry, parts):
                remove_part(entry)


def _is_stray(entry: Path, parts: re.Match[str]) -> bool:
    if entry.is_symlink():
        return False
    if parts[2] == _number(platform.node()):
        process = int(parts[3])
        if entry.name not in _making if process == os.getpid() else not is_running(process):
            return True
    return time.time() - entry.stat().st_mtime > STRAY_S


def _own_entries(folder: Path) -> list[Path]:
    """Return the files in an unfinished output that are ours, except those of heatmaps."""
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [entry for entry in entries if _is_own(entry, folder)]


def _is_own(entry: Path, folder: Path) -> bool:
    is_file = entry.is_file() and not entry.is_symlink()
    if entry.suffix.lower() in (".tif", ".tiff"):  # the output itself, which is not finished
        return is_file and (entry.name == folder.stem or _FRESH.fullmatch(folder.name) is not None)
    return is_file and _OF_PART.fullmatch(entry.name) is not None


def _fresh(folder: Path) -> Path:
    return folder.with_name(
        f".fullconv-{_number(folder.name)}-{_number(platform.node())}-{os.getpid()}-"
        f"{uuid4().hex[:16]}.part"
    )


def _number(name: str) -> str:
    return f"{crc32(os.fsencode(name)):08x}"


def remove_partial(folder: Path) -> None:
    """Remove files that a killed process left under temporary names."""
    layout = FileNames.of(folder / HEATMAP)
    for path in [*_own_entries(folder), *layout.own()]:
        if PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def keep_others(old: Path, new: Path) -> list[Path]:
    """Move others' files in an old heatmap into the new one, and return their paths there.

    Files that cannot be moved stay where they are.
    """
    moved = []
    for path in list(FileNames.of(old).others()):
        place = new / path.relative_to(old)
        if os.path.lexists(place):
            continue
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
            moved.append(place)
    return moved
