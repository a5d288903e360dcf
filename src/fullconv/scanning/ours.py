"""Which files fullconv has made: no other is ever removed, wherever it lies.

What lies in a heatmap that is replaced and is not of the heatmap is moved into the new one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

from fullconv.scanning.chunks import PARTIAL, UNFINISHED
from fullconv.scanning.digests import is_sealed
from fullconv.scanning.lines import HEADER

HEATMAP = "heatmap"
REPLACED = "replaced"
RUN = "run.json"
TILES = "tiles"
OWNER = "owner"

_OF_HEATMAP = re.compile(
    r"zarr\.json|\.zgroup|\.zattrs|\.zmetadata"
    r"|0/(zarr\.json|\.zarray|\.zattrs|(c/)?\d+([./]\d+)*)"
)
"""What a heatmap consists of, as fullconv writes it or others store it again (zarr 2, shards)."""

_OF_PART = re.compile(rf"{RUN}|run\.partial|{TILES}|{OWNER}(\.\d+)?")


_FRESH = ".fullconv-{:08x}-"
"""What the names begin with that an unfinished output has before it is made, and when it ended."""


def is_ours(folder: Path) -> bool:
    """Whether a folder is an unfinished output, of this form or an earlier one."""
    with suppress(OSError), open(folder / TILES, "rb") as file:
        if file.read(len(HEADER)) == HEADER:
            return True
    return record_in(folder / RUN) is not None or copy_in(folder / HEATMAP) is not None


def make_part(folder: Path) -> bool:
    """Make a folder with an empty ledger in it, in one step; False if there is one already."""
    if os.path.lexists(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = _fresh(folder)
    made.mkdir()
    try:
        (made / TILES).write_bytes(HEADER)
        made.rename(folder)
    except OSError:
        remove_part(made)
        if os.path.lexists(folder):
            return False
        raise
    return True


def record_in(path: Path) -> dict[str, Any] | None:
    """Return the record of a run; None where it is lost or damaged.

    Those of before have no seal and no form: they are returned, to be refused.
    """
    try:
        return _whole(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None


def copy_in(heatmap: Path) -> dict[str, Any] | None:
    """Return the copy of a run's record in its heatmap."""
    try:
        return _whole(json.loads((heatmap / "zarr.json").read_bytes())["attributes"][UNFINISHED])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _whole(record: Any) -> dict[str, Any] | None:
    if not isinstance(record, dict):
        return None
    if not all(isinstance(record.get(part), dict) for part in ("asked", "chosen")):
        return None
    is_of_before = "seal" not in record and "form" not in record["asked"]
    return record if is_of_before or is_sealed(record) else None


def remove_heatmap(folder: Path) -> None:
    """Remove a heatmap, and all folders that are empty then; other files in it stay."""
    if folder.is_symlink() or folder.is_file():
        _unlink(folder)
        return
    for path in list(_files(folder)):
        if _is_of(path, folder):
            _unlink(path)
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # what is not ours is left there
            os.rmdir(place)


def remove_part(folder: Path, kept: tuple[str, ...] = ()) -> None:
    """Remove an unfinished output but for files of these names, and for files of others.

    The record of the run goes last: by that it is known for one that has ended.
    """
    for name in (HEATMAP, REPLACED):
        if name not in kept:
            remove_heatmap(folder / name)
    for entry in sorted(_own_entries(folder), key=lambda entry: entry.name == RUN):
        if entry.name not in kept:
            _unlink(entry)
    if not kept:
        with suppress(OSError):  # it holds what is not ours
            folder.rmdir()


def set_aside(folder: Path) -> Path | None:
    """Give an unfinished output that has ended a name of its own, in one step, to be removed.

    Returns None where that cannot be done, or others have files in it: these stay where they are.
    """
    for heatmap in (folder / HEATMAP, folder / REPLACED):
        if not all(_is_of(path, heatmap) for path in _files(heatmap)):
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
    """Remove what killed processes have left of an unfinished output under names of its own."""
    with suppress(OSError):
        for entry in list(folder.parent.iterdir()):
            if entry.name.startswith(_FRESH.format(_number(folder))):
                remove_part(entry)


def _own_entries(folder: Path) -> list[Path]:
    """Return the files in an unfinished output that are ours, but for those of heatmaps."""
    name = folder.stem  # of the output itself, a file that is not finished
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        return []
    return [
        entry
        for entry in entries
        if entry.name == name or _OF_PART.fullmatch(entry.name) or PARTIAL.fullmatch(entry.name)
    ]


def _fresh(folder: Path) -> Path:
    return folder.with_name(f"{_FRESH.format(_number(folder))}{uuid4().hex[:16]}.part")


def _number(folder: Path) -> int:
    return crc32(os.fsencode(folder.name))


def remove_partial(folder: Path) -> None:
    """Remove files that a killed process has left before they had their names."""
    for path in list(_files(folder)):
        if PARTIAL.fullmatch(path.name):
            _unlink(path)


def keep_others(old: Path, new: Path) -> list[Path]:
    """Move what is not of an old heatmap into the new one, and return what it is called there.

    What cannot be moved stays where it is.
    """
    moved = []
    for path in list(_files(old)):
        place = new / path.relative_to(old)
        if _is_of(path, old) or os.path.lexists(place):
            continue
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
            moved.append(place)
    return moved


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and links to folders."""
    for place, folders, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
        yield from (Path(place, name) for name in folders if Path(place, name).is_symlink())


def _is_of(path: Path, heatmap: Path) -> bool:
    name = path.relative_to(heatmap).as_posix()
    return bool(_OF_HEATMAP.fullmatch(name) or PARTIAL.fullmatch(path.name))


def _unlink(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
