"""Local files: which texts may name one, and writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fullconv.errors import InputError, OutputError
from fullconv.system.disk import replace

ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*::)*([A-Za-z][A-Za-z0-9+.-]+:/|(?<=::)/)")
"""The beginning of an address, also after `Path` has turned ``//`` into ``/``. A drive letter is
no address. Prefixes before ``::`` name a cache, as in ``simplecache::s3://bucket/heat.zarr``."""


LONGEST_STEM = 40
"""The letters of a name that its temporary file repeats, so that its own name stays short."""


KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""The types of directory entries. Reads from a pipe may block, and from a device never end."""


JSON_BYTES = 1 << 26
"""The limit of a JSON file; fullconv writes none that is longer."""


def kind_of(mode: int) -> str:
    """Return the name of the type of a directory entry, from its mode."""
    return next((name for is_kind, name in KINDS if is_kind(mode)), "no file")


def why_not_local(text: str, *, reads: bool = False) -> str | None:
    """Return why a text cannot name a local file; None where it can.

    ``reads`` is for a path that will be read: an existing file may look like an address.
    """
    if not text.strip() and not (reads and text and os.path.lexists(text)):
        return f"expected a path; got {'a name of spaces' if text else 'an empty name'}"
    if "\0" in text:
        return f"{text!r} holds a zero byte, which no path can"
    try:
        mode = os.stat(text).st_mode
    except OSError as error:
        mode = None
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return f"the path {text[:60]!r}... cannot be used: {error.strerror}"
    if reads and mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return (
            f"{text!r} is {kind_of(mode)}, and fullconv reads files and folders; save it as a file"
        )
    if ADDRESS.match(text) and not (reads and os.path.lexists(text)):
        todo = (
            "reads files of this machine; copy it here first"
            if reads
            else "writes to this machine; write here, and copy the result with that storage's tools"
        )
        return f"{text!r} is an address, and fullconv {todo}"
    return None


def check_local(call: str, path: str | Path, *, reads: bool = False) -> Path:
    """Return the path that a user gave.

    Raises
    ------
    InputError
        If it is empty, an address like ``s3://bucket/heat.zarr``, or holds a zero byte.
    """
    why = why_not_local(os.fspath(path), reads=reads)
    if why is not None:
        raise InputError(f"{call}: {why}.")
    return Path(path)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and move the file to ``path`` if the block succeeds.

    Raises
    ------
    OutputError
        If the folder is missing or cannot be written to, or the disk is full.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; name a file in it.")
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:LONGEST_STEM]}-", suffix=path.suffix, dir=path.parent or Path()
        )
        os.close(handle)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that exists and "
            f"that you may write to."
        ) from None
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read; a result has the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        replace(temporary, path)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another "
            f"place."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def bytes_of(path: Path, most: int = -1) -> bytes:
    """Return the bytes of a file, or the first ``most`` of them.

    Raises
    ------
    OSError
        If the file is missing, or is not a regular file: a read from a pipe could block.
    """
    with open(path, "rb", opener=_at_once) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {kind_of(mode)}, and no file", str(path))
        return file.read(most)


def starts_with(path: Path, start: bytes) -> bool:
    """Whether this is a file that begins with these bytes."""
    with contextlib.suppress(OSError):
        return bytes_of(path, len(start)) == start
    return False


def json_of(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None without a file or an object."""
    try:
        data = bytes_of(path, JSON_BYTES + 1)
        value = json.loads(data) if len(data) <= JSON_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
