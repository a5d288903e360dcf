"""A lock that one process holds until it releases it, or ends."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import platform
from pathlib import Path
from typing import IO, Any

FAR = 2**31 - 2
"""The position of the byte that is locked on Windows, where a locked byte cannot be read or
written. It lies beyond the end of the file, and is the last that the C library can seek to."""

HELD_ELSEWHERE = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""Error numbers for a lock that another process holds; others mean that there are no locks."""


_ours: set[Path] = set()
"""The owner files that this process has written. Any other with its process number is stale."""


class LockedElsewhereError(Exception):
    """Another process holds the lock; the text names it where it is known, else it is empty."""


class Lock:
    """An exclusive lock on a file among processes.

    The system's own lock ends with the process, however the process ends. Where there is none, as
    on some file systems of clusters, an owner file names the process that holds the lock. It is
    stale once that process has ended, if it ran on this machine. Whether a process of another
    machine runs cannot be known, so a user must remove its file.

    Parameters
    ----------
    file : file object
        Open for writing; it must stay open while the lock is held.
    owner : Path
        File that names the process with the lock, written if the system has no locks.

    Raises
    ------
    LockedElsewhereError
        If another process holds the lock.
    OSError
        If ``owner`` is needed and cannot be written.
    """

    def __init__(self, file: IO[bytes], owner: Path) -> None:
        self._owner: Path | None = None
        if not _by_the_system(file):
            _by_name(owner)
            _ours.add(owner)
            self._owner = owner

    def release(self) -> None:
        """Remove the owner file, if there is one; a system lock ends when the file is closed."""
        if self._owner is not None:
            self._owner.unlink(missing_ok=True)
            _ours.discard(self._owner)
            self._owner = None


def _by_the_system(file: IO[bytes]) -> bool:
    """Lock a file by the system's own lock; return False where it has none."""
    for take in (_flock, _locking):
        try:
            take(file)
        except ImportError:
            continue
        except OSError as error:
            if error.errno in HELD_ELSEWHERE:
                raise LockedElsewhereError from None
            return False
        return True
    return False


def _flock(file: IO[bytes]) -> None:
    """Lock a file on Linux and macOS."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locking(file: IO[bytes]) -> None:
    """Lock a file on Windows."""
    msvcrt: Any = importlib.import_module("msvcrt")
    file.seek(FAR)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    finally:
        file.seek(0)


def _by_name(owner: Path) -> None:
    """Write the owner file, unless another process that may run has written one."""
    mine = {"machine": platform.node(), "process": os.getpid()}
    for _ in range(2):
        try:
            with owner.open("x", encoding="utf-8") as file:
                json.dump(mine, file)
            return
        except FileExistsError:
            before = _read(owner)
        other = _parsed(before)
        is_old = other == mine and owner not in _ours
        if not is_old and (
            other.get("machine") != mine["machine"] or is_running(other.get("process"))
        ):
            break
        _remove(owner, before)
    raise LockedElsewhereError(
        f"process {other.get('process', 'unknown')} on "
        f"{other.get('machine', 'an unknown machine')}; if it has ended, remove {owner}"
    )


def _read(owner: Path) -> bytes:
    try:
        return owner.read_bytes()
    except FileNotFoundError:
        return b""


def _parsed(data: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        record = json.loads(data)
        if isinstance(record, dict):
            return record
    return {}


def _remove(owner: Path, stale: bytes) -> None:
    """Remove the file of a process that has ended, unless another has replaced it meanwhile."""
    aside = owner.with_name(f"{owner.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(owner, aside)
        if _read(aside) != stale and not owner.exists():
            os.replace(aside, owner)
        aside.unlink(missing_ok=True)


def is_running(process: Any) -> bool:
    """Whether a process of this machine runs; True where that cannot be known."""
    if os.name == "nt" or type(process) is not int or process < 1:
        return True  # on Windows, kill(pid, 0) would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # another user's process
    return True
