"""The state of a detection in many images that has not ended.

Note [An unfinished detection]

The folder ``OUT.part`` (``OUT/detect.part`` for results in a folder) holds, beside the heatmaps:

- the boxes of every finished image, if all will go into one file at the end: a file per image, of
  the same format, ``NAME-HASH.boxes.csv``;
- ``written``: a digest of the options, and each result that was begun or finished, the latter with
  a digest of its content.

So a killed process leaves the boxes of all images that it finished. The same command goes on: it
replaces results that are unchanged since the earlier run wrote them, and refuses to replace others,
as any command does. The folder is removed when all images have succeeded.
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
from fullconv.sources.names import as_file, as_text
from fullconv.system.files import whole

if TYPE_CHECKING:
    from fullconv.detections.found import Detections
    from fullconv.detections.ids import Ids

BEGUN = "begun"


class Unfinished:
    """The folder of a detection that is not finished.

    Parameters
    ----------
    folder : Path
        It need not exist yet.
    asked : mapping
        All options that results depend on; results of a call with others are not replaced.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self._folder = folder
        text = json.dumps(sorted((name, repr(value)) for name, value in asked.items()))
        self._asked = hashlib.sha256(text.encode()).hexdigest()
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
        # A truncated line has no line break at its end.
        pairs = [line.split(" ", 1) for line in lines[:-1] if " " in line]
        return {name: state for state, name in pairs}

    def may_replace(self, out: Path) -> bool:
        """Whether an earlier run of this call wrote a result, and it is unchanged since."""
        state = self._written.get(self._key(out))
        return state == BEGUN or (state is not None and state == _digest(out))

    @contextlib.contextmanager
    def writing(self, out: Path) -> Iterator[None]:
        """Record a result in ``written``, before and after it is written.

        Raises
        ------
        OutputError
            If the record cannot be written.
        """
        self._note(out, BEGUN)
        yield
        self._note(out, _digest(out))

    def keep(self, detections: Detections, ending: str, ids: Ids) -> None:
        """Keep the boxes of a finished image until all are joined."""
        from fullconv.detections.formats import write
        from fullconv.sources.finding import without_ending

        name = detections.names[0]
        digest = hashlib.sha256(as_text(name).encode()).hexdigest()[:8]
        last = without_ending(Path(name).name)
        kept = self._folder / as_file(last, f"-{digest}{BOXES}{ending}")
        write(detections, kept, None, True, ids)

    def _note(self, out: Path, state: str) -> None:
        name, path = self._key(out), self._folder / WRITTEN
        self._written[name] = state
        if not self._is_begun:  # a new file, without lines of another call or truncated ones
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
        """Return a result's path relative to the folder, so that both can be moved together."""
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
