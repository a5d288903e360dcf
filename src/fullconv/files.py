"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fullconv.errors import OutputError
from fullconv.system.disk import replace


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, and move it there when the block succeeds.

    Raises
    ------
    OutputError
        If the folder is missing or cannot be written to, or the disk is full.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; name a file in it.")
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent or Path()
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
        # mkstemp makes files that only their owner can read; a model is an ordinary file.
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
