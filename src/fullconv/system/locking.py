"""A lock that one process holds until it lets go, or ends."""

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
"""The byte that is locked on Windows, where nobody can read or write what is locked: no file of
ours is so long, and the C library counts no further."""

HELD_ELSEWHERE = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What systems say of a lock that another process holds; all else means that there are no locks."""


_ours: set[Path] = set()
"""The owners' files that this process has written: of another with its number, all are old."""


class HeldElsewhereError(Exception):
    """Another process holds the lock; the text says what is known of it, or nothing."""


class Lock:
    """Keeps other processes from a file, or says that one of them keeps us from it.

    The system's own lock ends with the process, however that ends. Where there is none, on some
    file systems of clusters, a file tells who holds it: a process of this machine that has ended
    holds nothing; of another machine's nothing can be known, and somebody must remove the file.

    Parameters
    ----------
    file : file object
        Open for writing; it must stay open while the lock is held.
    owner : Path
        Where to tell who holds it, if the system has no locks.

    Raises
    ------
    HeldElsewhereError
        If another process holds it.
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
        """Let others have it, once the file is closed."""
        if self._owner is not None:
            self._owner.unlink(missing_ok=True)
            _ours.discard(self._owner)
            self._owner = None


def _by_the_system(file: IO[bytes]) -> bool:
    """Lock a file as the system does; False where it knows no locks."""
    for take in (_flock, _locking):
        try:
            take(file)
        except ImportError:
            continue
        except OSError as error:
            if error.errno in HELD_ELSEWHERE:
                raise HeldElsewhereError from None
            return False
        return True
    return False


def _flock(file: IO[bytes]) -> None:
    """Lock as Linux and macOS do."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locking(file: IO[bytes]) -> None:
    """Lock as Windows does."""
    msvcrt: Any = importlib.import_module("msvcrt")
    file.seek(FAR)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    finally:
        file.seek(0)


def _by_name(owner: Path) -> None:
    """Write who holds a lock, unless somebody does already."""
    mine = {"machine": platform.node(), "process": os.getpid()}
    for _ in range(2):
        try:
            with owner.open("x", encoding="utf-8") as file:
                json.dump(mine, file)
            return
        except FileExistsError:
            before = _read(owner)
        told = _parsed(before)
        is_old = told == mine and owner not in _ours
        if not is_old and (
            told.get("machine") != mine["machine"] or is_running(told.get("process"))
        ):
            break
        _remove(owner, before)
    raise HeldElsewhereError(
        f"process {told.get('process', 'unknown')} on {told.get('machine', 'a machine unknown')}; "
        f"if that has ended, remove {owner}"
    )


def _read(owner: Path) -> bytes:
    try:
        return owner.read_bytes()
    except FileNotFoundError:
        return b""


def _parsed(told: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        held = json.loads(told)
        if isinstance(held, dict):
            return held
    return {}


def _remove(owner: Path, stale: bytes) -> None:
    """Remove what a process that has ended has left; not what another has put there meanwhile."""
    aside = owner.with_name(f"{owner.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(owner, aside)
        if _read(aside) != stale and not owner.exists():
            os.replace(aside, owner)
        aside.unlink(missing_ok=True)


def is_running(process: Any) -> bool:
    """Whether a process of this machine runs; True where nobody tells."""
    if os.name == "nt" or type(process) is not int or process < 1:
        return True  # on Windows, to ask would be to end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True
