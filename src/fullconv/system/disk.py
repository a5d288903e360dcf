"""Writing files out to the disk, and moving them to their final names."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

PATIENCE_S = 1.0
"""How long `replace` retries while another program has the file open (on Windows)."""

IN_USE = (5, 32, 33)
"""Windows' codes for it: ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION."""


def to_disk(path: Path) -> None:
    """Flush a file or folder to the disk, where the system can.

    Raises
    ------
    OSError
        If a file cannot be flushed, or a folder on a system that flushes folders.
    """
    is_folder = path.is_dir()
    try:
        # Windows flushes only files that are open for writing, and does not open folders.
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    except PermissionError:
        if is_folder:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise  # else: a file system, such as a network's, that cannot flush folders
    finally:
        os.close(handle)


def file_of(path: Path) -> tuple[int, int] | Path:
    """Return the identity of a file, the same for all its names: other capitals, links, folders."""
    try:
        state = path.stat()
    except OSError:
        return path.resolve()
    return state.st_dev, state.st_ino


def replace(made: Path, place: Path) -> None:
    """Move a finished file to its place, in one step, replacing a file that is there.

    Windows refuses while a program has either file open. Virus scanners open every new file for a
    moment, so the move is retried for `PATIENCE_S` seconds.

    Raises
    ------
    OSError
        If the file cannot be moved.
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
