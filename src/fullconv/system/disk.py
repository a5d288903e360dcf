"""Bringing files to the disk, and to their names."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

PATIENCE_S = 1.0
"""How long a file that another program has open is waited for, where that keeps it in its place."""

IN_USE = (5, 32, 33)
"""What Windows says of it: ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION."""


def to_disk(path: Path) -> None:
    """Have the system write a file or folder out now, where it can.

    Raises
    ------
    OSError
        If a file cannot be written out; or a folder, on a system that does so for folders.
    """
    is_folder = path.is_dir()
    try:
        # Windows writes out only what is open for writing, and opens no folders.
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    except PermissionError:
        if is_folder:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise  # else: a file system, such as of a network, that cannot do so for folders
    finally:
        os.close(handle)


def file_of(path: Path) -> tuple[int, int] | Path:
    """Return what is the same for all names of a file: by capitals, links, or another folder."""
    try:
        held = path.stat()
    except OSError:
        return path.resolve()
    return held.st_dev, held.st_ino


def replace(made: Path, place: Path) -> None:
    """Move what was made to its place, in one step; a file that is there is replaced.

    Windows refuses while a program has either of them open, as programs that look for viruses do
    with every new file, for a moment.

    Raises
    ------
    OSError
        If it cannot be moved.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            os.replace(made, place)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE or time.monotonic() > until:
                raise
        time.sleep(0.02)
