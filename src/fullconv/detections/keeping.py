"""The files that `detect` keeps in a folder until it ends: heatmaps, and the boxes of images."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from fullconv.errors import OutputError
from fullconv.scanning.ours import remove_heatmap, remove_part

_HEATMAP = re.compile(r".+-[\d.e+-]+-[0-9a-f]{8}\.zarr(\.part)?", re.DOTALL)
"""Names that `detecting` gives to heatmaps, finished and not."""

WRITTEN = "written"
"""Name of the record of the files that are written; see Note [An unfinished detection]."""

BOXES = ".boxes"
"""Suffix before the ending of a file with the boxes of one image."""

_FILE = re.compile(r"written|\.written-\w+|.+\.boxes\.(csv|json)|\..+-\w+\.(csv|json)", re.DOTALL)
"""The record and the boxes; a file that a killed process was writing begins with a dot."""


def check_kept(folder: Path, out: Path) -> None:
    """Check that a folder does not exist, or holds only files that `detect` keeps.

    Raises
    ------
    OutputError
        If it holds anything else.
    """
    if not os.path.lexists(folder):
        return
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:  # no folder
        names = [folder.name]
    if not all(_HEATMAP.fullmatch(name) or _FILE.fullmatch(name) for name in names):
        raise OutputError(
            f"cannot write {out}: {folder} is there, and fullconv did not make it; move it away, "
            f"or choose another name."
        )


def remove_kept(folder: Path) -> None:
    """Remove the files that `detect` keeps, and the folder if nothing else is in it."""
    for entry in list(folder.iterdir()):
        if _HEATMAP.fullmatch(entry.name):
            (remove_part if entry.suffix == ".part" else remove_heatmap)(entry)
        elif _FILE.fullmatch(entry.name):
            with suppress(OSError):  # a folder of that name is not ours
                entry.unlink()
    with suppress(OSError):
        folder.rmdir()
