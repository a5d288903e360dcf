"""What a detection in many images has written before it ends, and may write again.

Note [An unfinished detection]

Beside the heatmaps, the folder ``OUT.part`` (of results in a folder, ``OUT/detect.part``) holds

- the boxes of every image that is finished, where all go into one file at the end, each in a file
  of its own of the same format: ``NAME-HASH.boxes.csv``;
- ``written``: what was asked for, and each result that was begun and finished, by the digest of
  what it holds.

So a process that is killed has left the boxes of all images that it had finished. The same command
goes on: it writes results again that are as the one before it left them, and refuses all others,
as any command does. The folder goes when nothing has failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.detections.keeping import BOXES, WRITTEN
from fullconv.errors import OutputError
from fullconv.files import whole
from fullconv.names import as_file, as_text

if TYPE_CHECKING:
    from fullconv.detections.found import Detections
    from fullconv.detections.ids import Ids

BEGUN = "begun"


class Unfinished:
    """The folder of a detection that is not finished.

    Parameters
    ----------
    folder : Path
        It need not be there yet.
    asked : mapping
        All that results depend on: those of another call are not replaced.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self._folder = folder
        told = json.dumps(sorted((name, repr(value)) for name, value in asked.items()))
        self._asked = hashlib.sha256(told.encode()).hexdigest()
        self._written = self._read()
        self._is_begun = False

    def _read(self) -> dict[str, str]:
        """Return the state of each result of the same call."""
        try:
            asked, *lines = (self._folder / WRITTEN).read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):
            return {}
        if asked != self._asked:
            return {}
        # A line that was cut short has no line break behind it.
        pairs = [line.split(" ", 1) for line in lines[:-1] if " " in line]
        return {name: state for state, name in pairs}

    def may_replace(self, out: Path) -> bool:
        """Whether a result is one of this call, and nobody has changed it since."""
        state = self._written.get(self._key(out))
        return state == BEGUN or (state is not None and state == _digest(out))

    @contextlib.contextmanager
    def writing(self, out: Path) -> Iterator[None]:
        """Note that a result is written, before and afterwards.

        Raises
        ------
        OutputError
            If the note cannot be written.
        """
        self._note(out, BEGUN)
        yield
        self._note(out, _digest(out))

    def keep(self, found: Detections, ending: str, ids: Ids) -> None:
        """Write the boxes of a finished image, until those of all are written."""
        from fullconv.detections.formats import write
        from fullconv.sources.finding import without_ending

        name = found.names[0]
        told = hashlib.sha256(as_text(name).encode()).hexdigest()[:8]
        last = without_ending(Path(name).name)
        write(found, self._folder / as_file(last, f"-{told}{BOXES}{ending}"), None, True, ids)

    def _note(self, out: Path, state: str) -> None:
        name, path = self._key(out), self._folder / WRITTEN
        self._written[name] = state
        if not self._is_begun:  # anew: what another call has left goes, and a line cut short
            lines = [f"{state} {name}\n" for name, state in self._written.items()]
            with whole(path) as temporary:
                temporary.write_text("".join([f"{self._asked}\n", *lines]), encoding="utf-8")
            self._is_begun = True
            return
        try:
            with open(path, "ab") as file:
                file.write(f"{state} {name}\n".encode())
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror or error}; make room, or choose another "
                f"place."
            ) from None

    def _key(self, out: Path) -> str:
        """Return a result by its place from the folder, so that both may move together."""
        try:
            return as_text(os.path.relpath(out, self._folder))
        except ValueError:  # on another drive
            return as_text(os.path.abspath(out))


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "gone"
