"""Folders and what lies below them, each real folder once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from fullconv.errors import InputError


def files_below(folder: Path, enters: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the files in a folder and in those below, also where folders are links.

    However many links lead to a folder, and if they lead in a circle, its files come once: by the
    path without links, where there is one below ``folder``.

    Parameters
    ----------
    folder : Path
        Where to begin.
    enters : callable
        Is told each folder, and says whether to look into it.

    Raises
    ------
    InputError
        If a folder cannot be listed: what lies in it would be left out without a word.
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
