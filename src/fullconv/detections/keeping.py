"""What `detect` keeps in a folder until all is found: heatmaps, and the boxes that are done."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from fullconv.errors import OutputError
from fullconv.scanning.ours import remove_heatmap, remove_part

_HEATMAP = re.compile(r".+-[\d.e+-]+-[0-9a-f]{8}\.zarr(\.part)?", re.DOTALL)
"""The names that `detecting` gives, finished and not."""

WRITTEN = "written"
"""The name of the record of what is written; see Note [An unfinished detection]."""

BOXES = ".boxes"
"""Stands before the ending of the boxes of one image."""

_FILE = re.compile(r"written|\.written-\w+|.+\.boxes\.(csv|json)|\..+-\w+\.(csv|json)", re.DOTALL)
"""The record and the boxes; what a killed process was writing begins with a dot."""


def check_kept(folder: Path, out: Path) -> None:
    """Check that a folder is not there, or holds only what `detect` keeps.

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
    """Remove what `detect` keeps, and the folder where nothing else is in it."""
    for entry in list(folder.iterdir()):
        if _HEATMAP.fullmatch(entry.name):
            (remove_part if entry.suffix == ".part" else remove_heatmap)(entry)
        elif _FILE.fullmatch(entry.name):
            with suppress(OSError):  # a folder of that name is nothing of ours
                entry.unlink()
    with suppress(OSError):
        folder.rmdir()
