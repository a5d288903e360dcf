"""Listing the files below a folder, where each real folder is visited once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from fullconv.errors import InputError


def files_below(folder: Path, enters: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the files in a folder and in those below, and follow links to folders.

    The files of a folder come once, even if several links lead to it, or lead in a circle. Their
    path is the one without links, where there is one below ``folder``.

    Parameters
    ----------
    folder : Path
        The folder to begin with.
    enters : callable
        Takes the path of a folder, and returns whether to list it.

    Raises
    ------
    InputError
        If a folder cannot be listed: its files would be left out silently.
    """
    seen: set[str] = set()
    waiting = deque([folder])
    while waiting:
        for place, folders, files in os.walk(waiting.popleft(), onerror=_refuse):
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            entered = [name for name in folders if enters(Path(place, name))]
            links = [name for name in entered if os.path.islink(os.path.join(place, name))]
            waiting.extend(Path(place, name) for name in links)
            folders[:] = [name for name in entered if name not in links]
            yield from (Path(place, name) for name in files)


def _refuse(error: OSError) -> NoReturn:
    raise InputError(
        f"{error.filename}: this folder cannot be listed: {error.strerror or error}; make it "
        f"readable, or name the other folders and files."
    ) from None
