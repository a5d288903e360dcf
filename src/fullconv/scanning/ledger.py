"""What survives a killed process: which tiles are written, and which run they belong to.

Note [An unfinished output]

While a scan writes ``heat.zarr``, everything lies in the folder ``heat.zarr.part``: the heatmap,
``run.json`` (what the run was asked for and what it chose, written before the first tile) and
``tiles`` (a line for each finished tile: its number, how many of its windows were to be scored, and
how many of these hold NaN pixels).
A tile's line is written when its scores are on the disk, so whatever moment the process is killed
at, every tile with a line is whole, and every other is computed again. A last line that is cut
short counts for nothing. Of tiles that follow fast on each other, those of a second are brought to
the disk together: to wait for it after each took 3 % of a fast scan. When the heatmap is complete
it is moved to its own name in one step: what has that name is finished.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fullconv.errors import InputError, OutputError, first_line

HEATMAP = "heatmap"
RUN = "run.json"
TILES = "tiles"

SETTLED_EVERY = 1.0
"""Seconds for which finished tiles wait for others, with which they are brought to the disk."""

SLOW = 0.25
"""A tile does not wait where one takes so many seconds: several lanes may end theirs together, and
the next to end would come late."""

WHAT = {
    "model": "another model, or another conversion of it",
    "image": "another image",
    "read": "another level, resolution, size or bands of the image",
    "pixels": "the image as it was before it changed",
    "place": "the image where it lay before",
    "preprocessing": "pixels prepared in another way",
    "region": "another part of the image",
    "cover": "another --cover",
    "dtype": "another --dtype",
    "output": "another output of the model",
    "runtime": "another --runtime",
    "device": "another --device",
    "precision": "another --precision",
    "tile": "other tiles",
    "fullconv": "another version of fullconv",
}
"""What the words of a run's record mean to whom it refuses."""


class Ledger:
    """The finished tiles of an unfinished output; one process at a time holds it.

    Attributes
    ----------
    before : NDArray
        Numbers of the tiles that earlier runs have finished.
    windows, odd : int
        Windows in all finished tiles, and those of them that hold NaN pixels.

    Raises
    ------
    InputError
        If the unfinished output belongs to another run.
    OutputError
        If it cannot be written, or another process is writing it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(out.name + ".part")
        self.before = np.zeros(0, np.int64)
        self.windows = self.odd = 0
        self._file: Any = None
        self._unsettled: list[tuple[bytes, Path]] = []
        self._began_at, self._added = time.monotonic(), 0
        self._settled_at = self._began_at - SETTLED_EVERY
        self._known: set[Path] = set()

    @property
    def heatmap(self) -> Path:
        """Where the heatmap is written."""
        return self.folder / HEATMAP

    def begun(self) -> dict[str, Any] | None:
        """Return the record of the run that began this output; None where there is none."""
        try:
            record = json.loads((self.folder / RUN).read_bytes())
        except (OSError, ValueError):
            return None  # killed before the record was whole: nothing is lost
        # Killed before the first tile; or when the heatmap had its own name already.
        is_there = (self.heatmap / "zarr.json").exists()
        return record if is_there and isinstance(record, dict) else None

    def lock(self) -> None:
        """Make the folder, and keep every other process out of it until this one ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / TILES).open("a+b", buffering=0)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.out}: {error.strerror or error}; choose a folder that exists "
                f"and that you may write to."
            ) from None
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            self._file = None
            raise OutputError(
                f"cannot write {self.out}: another process is writing it; wait for it, or choose "
                f"another name."
            ) from None
        except OSError:
            return  # some file systems of clusters know no locks

    def begin(self, record: Mapping[str, Any]) -> None:
        """Start from nothing, under a run's record."""
        self._file.truncate(0)  # first: no tile may count whose scores are removed
        os.fsync(self._file.fileno())
        for entry in self.folder.iterdir():
            if entry.name != TILES:
                _remove(entry)
        _write_whole(self.folder / RUN, json.dumps(record, indent=2).encode())

    def created(self) -> None:
        """Bring the empty heatmap to the disk, before a tile counts on it."""
        for record in self.heatmap.rglob("zarr.json"):
            to_disk(record)
            to_disk(record.parent)

    def resume(self) -> None:
        """Read which tiles are done, and sweep up what a killed process left half-written."""
        self._file.seek(0)
        held = self._file.read()
        whole = held[: held.rfind(b"\n") + 1]
        lines = np.array(whole.split(), np.int64).reshape(-1, 3)
        self.before = lines[:, 0]
        self.windows, self.odd = (int(n) for n in lines[:, 1:].sum(axis=0))
        self._file.truncate(len(whole))
        for left in self.folder.rglob("*.partial"):
            left.unlink(missing_ok=True)

    def add(self, tile: int, windows: int, odd: int, chunk: Path) -> None:
        """Note that a tile's scores are in this file; it counts when that is on the disk."""
        self._unsettled.append((b"%d %d %d\n" % (tile, windows, odd), chunk))
        self._added += 1
        self.windows += windows
        self.odd += odd
        now = time.monotonic()
        is_slow = now - self._began_at >= SLOW * self._added
        if is_slow or now - self._settled_at >= SETTLED_EVERY:
            self.settle()

    def settle(self) -> None:
        """Bring the tiles that were added to the disk, and then a line for each."""
        if not self._unsettled:
            return
        settled, self._unsettled = self._unsettled, []
        parents = {chunk.parent for _, chunk in settled}
        for place in [chunk for _, chunk in settled] + sorted(parents):
            to_disk(place)
        for parent in parents - self._known:  # it may be new in its own parent, and so on
            for place in parent.relative_to(self.folder).parents:
                to_disk(self.folder / place)
        self._known |= parents
        lines = b"".join(line for line, _ in settled)
        whole = os.fstat(self._file.fileno()).st_size
        try:
            while lines:  # a full disk takes what it can, and refuses only the next byte
                lines = lines[self._file.write(lines) :]
        except OSError:
            self._file.truncate(whole)  # no line that is cut short, for the next to join
            raise
        os.fsync(self._file.fileno())
        self._settled_at = time.monotonic()

    def keeps(self) -> bool:
        """Whether a tile is finished, of this run or an earlier one."""
        with suppress(OSError):  # of a disk that is full, which has been told already
            self.settle()
        # By the file itself: what a run that was refused has not read is another run's work.
        return os.fstat(self._file.fileno()).st_size > 0

    def finish(self, made: Path, overwrite: bool) -> None:
        """Move the finished output to its name, and remove all else."""
        if self.out.exists() and not overwrite:
            raise OutputError(
                f"cannot write {self.out}: somebody else has made it meanwhile; the finished "
                f"heatmap is {made}."
            )
        try:
            if self.out.exists():
                self.out.rename(self.folder / "replaced")
            made.rename(self.out)
            to_disk(self.out.parent)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.out}: {first_line(error)}; the finished heatmap is {made}."
            ) from None
        self.close()
        with suppress(OSError):  # the output is whole, whatever is left here
            _remove(self.folder)

    def close(self) -> None:
        """Let others write it. What is finished stays; where nothing is, nothing stays."""
        if self._file is None:
            return
        keeps, file, self._file = self.keeps(), self._file, None
        with file:
            if not keeps:
                _remove(self.folder)


def refuse_other(out: Path, begun: Mapping[str, Any], asked: Mapping[str, Any], todo: str) -> None:
    """Refuse an output that belongs to another run, with the reason."""
    other = [word for word in WHAT if begun.get(word) != asked.get(word)]
    if other:
        # From another model, or other pixels of an image, follows more that differs.
        telling = [word for word in other if word in ("model", "image", "read")] or other
        reasons = ", and ".join(WHAT[word] for word in telling)
        raise InputError(f"{out} belongs to another run: {reasons}; {todo}.")


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_bytes(data)
    to_disk(temporary)
    temporary.replace(path)
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Have the system write a file or folder out now."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # Windows opens no folders
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise  # else: a file system, such as of a network, that cannot do so for folders
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
