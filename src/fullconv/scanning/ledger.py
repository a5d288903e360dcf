"""The ledger of a scan: its finished tiles and its run, on the disk, to survive a killed process.

Note [An unfinished output]

While a scan writes ``heat.zarr``, everything lies in the folder ``heat.zarr.part``: the heatmap,
``run.json`` (what the run was asked for and what it chose, written before the first tile, with a
copy in the heatmap) and ``tiles`` (a line for each finished tile, see `lines`).
A tile's line is written after its scores are on the disk. So whenever the process is killed, every
tile with a line is whole, and every other is computed again. Both are verified all the same: a line
by its checksum, and a tile by the digest of its scores. Lines are only ever added, and the last one
for a tile counts. A last line that is cut short is ignored. Tiles that follow fast on each other
are synced to the disk together, once a second: a sync after each took 3 % of a fast scan. The
complete heatmap is moved to its own name in one step, so a heatmap of that name is finished.

The folder is made with the first line of ``tiles`` in it, in one step. A folder that has neither
that line nor ``run.json`` is somebody else's, and is not touched.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from fullconv.errors import HeatmapWarning, InputError, OutputError, first_line
from fullconv.scanning import lines
from fullconv.scanning.chunks import write_whole
from fullconv.scanning.digests import sealed
from fullconv.scanning.lines import CUT, HEADER, Line
from fullconv.scanning.ours import (
    HEATMAP,
    OWNER,
    REPLACED,
    RUN,
    TILES,
    check_places,
    copy_in,
    is_ours,
    keep_others,
    make_part,
    record_in,
    remove_part,
    remove_partial,
    remove_strays,
    set_aside,
)
from fullconv.system.disk import replace, to_disk
from fullconv.system.exchanging import exchange
from fullconv.system.locking import Lock, LockedElsewhereError

SETTLED_EVERY = 1.0
"""Seconds for which finished tiles wait for others, to be synced to the disk together."""

SLOW = 0.25
"""Seconds of a tile, on average, from which on tiles do not wait: several lanes may end theirs
together, and the next to end would come late."""


class Ledger:
    """The finished tiles of an unfinished output; one process at a time may lock it.

    Attributes
    ----------
    lines : dict of Line
        The lines of finished tiles, by the number of the tile.
    damaged : int
        Number of damaged lines.

    Raises
    ------
    InputError
        If the record of the unfinished output's run is lost or damaged.
    OutputError
        If it cannot be written, another process is writing it, or fullconv did not make it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(out.name + ".part")
        self.lines: dict[int, Line] = {}
        self.damaged = 0
        self._file: Any = None
        self._lock: Lock | None = None
        self._is_new = self._is_cut = False
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
        own = record_in(self.folder / RUN)
        record = own if own is not None else copy_in(self.heatmap)
        if record is None:
            if self.keeps() or self.heatmap.exists():
                raise InputError(
                    f"{self.folder}: its {RUN} is lost or damaged, so that nobody knows which run "
                    f"it belongs to; put it back, or start again with resume=False (--no-resume), "
                    f"which discards what was scanned."
                )
            return None  # killed before the record was whole: nothing is lost
        if own is None:
            warnings.warn(
                f"{self.folder / RUN} was lost or damaged; its copy in the heatmap has taken its "
                f"place",
                HeatmapWarning,
                stacklevel=2,
            )
            write_whole(self.folder / RUN, json.dumps(record, indent=2).encode())
        # No heatmap: killed before the first tile, or after the heatmap got its own name.
        return record if self.heatmap.exists() else None

    def lock(self) -> None:
        """Make the folder, and keep every other process out of it until this one ends."""
        if self._file is not None:
            return
        try:
            self._is_new = make_part(self.folder)
            if not self._is_new and not is_ours(self.folder):
                raise OutputError(
                    f"cannot write {self.out}: {self.folder} is there, and fullconv did not make "
                    f"it; move it away, or choose another name."
                )
            check_places(self.folder, self.out)
            self._file = open(self.folder / TILES, "a+b", buffering=0, opener=_no_link)  # noqa: SIM115
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"cannot write {self.out}: {error.strerror or error}; choose a folder that exists "
                f"and that you may write to."
            ) from None
        try:
            self._lock = Lock(self._file, self.folder / OWNER)
        except LockedElsewhereError as other:
            self._file.close()
            self._file = None
            holder = f" ({other})" if str(other) else ""
            raise OutputError(
                f"cannot write {self.out}: another process is writing it{holder}; wait for it, or "
                f"choose another name."
            ) from None
        if not self._is_in_place():  # the process that had locked it has ended, and removed it
            self.close()
            self.lock()

    def begin(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Start from nothing, and return the record of the run as it is stored."""
        self._is_new = True
        if self._content() != HEADER:
            self._file.truncate(0)  # before the scores are removed, so that no tile lacks them
            self._file.write(HEADER)
            os.fsync(self._file.fileno())
        remove_part(self.folder, kept=(TILES, OWNER))
        whole = sealed({**record, "id": uuid4().hex})
        write_whole(self.folder / RUN, json.dumps(whole, indent=2).encode())
        return whole

    def created(self) -> None:
        """Sync the empty heatmap to the disk, before tiles are written into it."""
        for place in (self.heatmap / "zarr.json", self.heatmap / "0" / "zarr.json"):
            to_disk(place)
            to_disk(place.parent)
        to_disk(self.folder)

    def resume(self, tiles: int) -> None:
        """Read which of ``tiles`` tiles are finished, and remove half-written files."""
        content = self._content()
        self.lines, self.damaged = lines.read(content, tiles)
        self._is_cut = not content.endswith(b"\n")
        remove_partial(self.folder)

    def add(self, line: Line, chunk: Path) -> None:
        """Add a tile whose scores are in a file; its line is written once that is on the disk."""
        self._unsettled.append((line.to_bytes(), chunk))
        self._added += 1
        self.lines[line.tile] = line
        now = time.monotonic()
        is_slow = now - self._began_at >= SLOW * self._added
        if is_slow or now - self._settled_at >= SETTLED_EVERY:
            self.settle()

    def settle(self) -> None:
        """Sync the added tiles to the disk, then write a line for each."""
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
        unwritten = (CUT if self._is_cut else b"") + b"".join(line for line, _ in settled)
        self._is_cut = True
        while unwritten:  # a full disk takes what it can, and refuses only the next byte
            unwritten = unwritten[self._file.write(unwritten) :]
        self._is_cut = False
        os.fsync(self._file.fileno())
        self._settled_at = time.monotonic()

    def keeps(self) -> bool:
        """Whether a tile is finished, of this run or an earlier one."""
        with suppress(OSError):  # of a full disk, which was reported already
            self.settle()
        # The file itself is read: a run that was refused has not read the lines of the other run.
        return any(lines.parsed(line) for line in self._content().split(b"\n"))

    def finish(self, made: Path, overwrite: bool) -> None:
        """Move the finished output to its name, and remove all else."""
        if self.out.exists() and not overwrite:
            raise OutputError(
                f"cannot write {self.out}: somebody else has made it meanwhile; the finished "
                f"heatmap is {made}."
            )
        try:
            if made.is_file():
                replace(made, self.out)
            elif not self.out.exists():
                made.rename(self.out)
            elif not exchange(made, self.out):
                self.out.rename(self.folder / REPLACED)
                made.rename(self.out)
            to_disk(self.out.parent)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.out}: {first_line(error)}; the finished heatmap is {made}."
            ) from None
        self.sweep()

    def recover(self) -> None:
        """Put back the output that a killed run had moved away, but not yet replaced.

        Everything else that killed processes have left is removed.
        """
        remove_strays(self.folder)
        if os.path.exists(self.folder / REPLACED) and not os.path.lexists(self.out):
            self.lock()
            (self.folder / REPLACED).rename(self.out)

    def is_left_by(self, run: str | None) -> bool:
        """Whether this folder was left by a run whose heatmap already has its own name."""
        left = record_in(self.folder / RUN)
        return left is not None and run is not None and left.get("id") == run

    def sweep(self) -> None:
        """Remove what a run has left whose heatmap has its own name, but keep others' files."""
        self.lock()
        for old in (self.heatmap, self.folder / REPLACED):
            if old.is_dir() and not old.is_symlink():
                kept = keep_others(old, self.out)
                if kept:
                    warnings.warn(
                        f"{', '.join(map(str, kept[:3]))}{' and others' * (len(kept) > 3)}: not of "
                        f"the heatmap that was replaced, and kept",
                        HeatmapWarning,
                        stacklevel=2,
                    )
        self._let_go(remove=True)

    def close(self) -> None:
        """Unlock the output. Finished tiles stay; a new output without any is removed."""
        if self._file is not None:
            self._let_go(remove=not self.keeps() and self._is_new)

    def _let_go(self, remove: bool) -> None:
        file, self._file = self._file, None
        with file:  # while nobody else can have it
            aside = set_aside(self.folder) if remove else None
        if self._lock is not None and aside is None:
            self._lock.release()
        if remove:
            aside = aside or set_aside(self.folder)  # Windows can, once the file is closed
            with suppress(OSError):  # the output is whole, whatever is left here
                remove_part(aside or self.folder)

    def _is_in_place(self) -> bool:
        with suppress(OSError):
            place = (self.folder / TILES).stat()
            return os.path.samestat(os.fstat(self._file.fileno()), place)
        return False

    def _content(self) -> bytes:
        self._file.seek(0)
        content: bytes = self._file.read()
        return content


def _no_link(path: str, flags: int) -> int:
    """Open a file without following a link, or waiting for the other end of a pipe."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.open(path, flags, 0o666)
