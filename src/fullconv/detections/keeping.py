"""The folder in which `detect` keeps heatmaps until all is found, and nothing else."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from fullconv.errors import OutputError
from fullconv.scanning.ours import remove_heatmap, remove_part

_KEPT = re.compile(r".+-[\d.e+-]+-[0-9a-f]{8}\.zarr(\.part)?", re.DOTALL)
"""The names that `detecting` gives, finished and not."""


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
    if any(_KEPT.fullmatch(name) is None for name in names):
        raise OutputError(
            f"cannot write {out}: {folder} is there, and fullconv did not make it; move it away, "
            f"or choose another name."
        )


def remove_kept(folder: Path) -> None:
    """Remove what `detect` keeps, and the folder where nothing else is in it."""
    for entry in list(folder.iterdir()):
        if _KEPT.fullmatch(entry.name):
            (remove_part if entry.suffix == ".part" else remove_heatmap)(entry)
    with suppress(OSError):
        folder.rmdir()
