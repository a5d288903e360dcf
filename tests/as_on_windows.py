"""The command line without what Windows does not have, as far as another system can show it.

``python as_on_windows.py '[["scan", ...], ["verify", ...]]'`` runs the commands one after the
other in this process, and prints a JSON list of their exit codes and what each printed.

Calls that only POSIX has are taken away, and modules too, once the standard library has what it
needs of them; names that Windows does not take are refused; a file that this process has open can
be neither moved, replaced nor removed, and a folder around it neither; folders cannot be opened;
text is in the encoding of the country. ``msvcrt.locking`` is there, made of POSIX' own record
locks; `WITHOUT_LOCKS` in the environment takes it away as well.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - needs fcntl on POSIX, and is imported by zarr
import builtins
import contextlib
import errno
import fcntl
import importlib
import io
import json
import os
import shutil
import subprocess  # noqa: F401 - as asyncio
import sys
import tempfile  # noqa: F401
import types
from collections.abc import Callable
from typing import Any

CALLS = """
chown confstr fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp
getpriority getresuid getsid getuid killpg lchown lockf mkfifo mknod nice openpty pathconf
posix_fadvise posix_fallocate pread preadv pwrite pwritev readv sched_getaffinity sched_setaffinity
sched_yield sendfile setsid statvfs sync sysconf uname wait3 wait4 writev
""".split()
MODULES = "fcntl resource pwd grp termios tty pty syslog readline".split()
PACKAGES = "numpy onnx onnx_ir onnxruntime zarr tifffile imagecodecs PIL.Image rasterio".split()
RESERVED = set('<>:"|?*')
IN_USE = 32
COUNTRY = "cp1252"


def refused(path: Any, error: int, windows: int) -> OSError:
    made = OSError(error, os.strerror(error), os.fspath(path))
    made.winerror = windows
    return made


def check_name(path: Any) -> None:
    """Refuse a name that Windows does not take."""
    if isinstance(path, str | os.PathLike):
        for part in os.fspath(path).split(os.sep):
            if RESERVED & set(part) or (part.endswith((" ", ".")) and part not in (".", "..")):
                raise refused(path, errno.EINVAL, 123)


def check_closed(path: Any) -> None:
    """Refuse to move or remove what this process has open, or mapped into memory."""
    place = os.path.realpath(path)
    held = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    with REAL_OPEN("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        held |= {line.split(None, 5)[-1].strip() for line in maps}
    if any(one == place or one.startswith(place + os.sep) for one in held):
        raise refused(path, errno.EACCES, IN_USE)


REAL_OPEN, OS_OPEN, FSYNC = builtins.open, os.open, os.fsync
LOCKF, FCNTL = fcntl.lockf, fcntl.fcntl
EXCLUSIVE, STATUS = fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.F_GETFL


def closed_first(call: Callable[..., Any], may_exist: bool = True) -> Callable[..., Any]:
    def checked(path: Any, *rest: Any, **options: Any) -> Any:
        check_closed(path)
        for other in rest[:1]:
            check_name(other)
            if os.path.exists(other):
                check_closed(other)
                if not may_exist or os.path.isdir(other):
                    raise refused(other, errno.EEXIST, 183)
        return call(path, *rest, **options)

    return checked


def named_well(call: Callable[..., Any]) -> Callable[..., Any]:
    def checked(path: Any, *rest: Any, **options: Any) -> Any:
        check_name(path)
        return call(path, *rest, **options)

    return checked


def open_file(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
    """Open a file; text in the encoding of the country, where none is named."""
    check_name(path)
    if "b" not in mode and options.get("encoding") in (None, "locale") and len(rest) < 2:
        options["encoding"] = COUNTRY
    return REAL_OPEN(path, mode, *rest, **options)


def open_handle(path: Any, flags: int, *rest: Any, **options: Any) -> int:
    if os.path.isdir(path):
        raise refused(path, errno.EACCES, 5)
    check_name(path)
    return OS_OPEN(path, flags, *rest, **options)


def fsync(handle: int) -> None:
    if FCNTL(handle, STATUS) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    FSYNC(handle)


def kill(process: int, number: int) -> None:
    raise AssertionError(f"os.kill({process}, {number}) would end that process")


def locking(handle: int, mode: int, count: int) -> None:
    """Lock so many bytes from the file's position, for this process alone (CRT, _locking)."""
    if mode != 2:
        raise ValueError(mode)
    try:
        LOCKF(handle, EXCLUSIVE, count, os.lseek(handle, 0, os.SEEK_CUR))
    except OSError:
        raise OSError(errno.EACCES, "Permission denied") from None


def take_away() -> None:
    for name in CALLS:
        if hasattr(os, name):
            delattr(os, name)
    os.process_cpu_count = os.cpu_count  # Python 3.13 counts the cores of a process by such a call
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    if "WITHOUT_LOCKS" not in os.environ:
        sys.modules["msvcrt"] = types.SimpleNamespace(  # type: ignore[assignment]
            locking=locking, LK_NBLCK=2
        )
        os.kill = kill
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    os.open, os.fsync = open_handle, fsync
    os.rename = closed_first(os.rename, may_exist=False)
    os.replace = closed_first(os.replace)
    for name in ("remove", "unlink", "rmdir"):
        setattr(os, name, closed_first(getattr(os, name)))
    os.mkdir = named_well(os.mkdir)
    builtins.open = io.open = open_file


def main() -> None:
    from click.testing import CliRunner

    import fullconv.cli.group
    import fullconv.lift.pace

    fullconv.lift.pace.PARTS_PAY = float("inf")  # as in the process of the tests

    # Packages that are made for each system ask at their import which one it is.
    for package in PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    take_away()
    told = []
    for arguments in json.loads(sys.argv[1]):
        result = CliRunner(charset=COUNTRY).invoke(fullconv.cli.group.commands, arguments)
        told.append([result.exit_code, result.output])
    print(json.dumps(told))


if __name__ == "__main__":
    main()
