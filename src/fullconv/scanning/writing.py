"""The tiles of an unfinished output: written, proven, and taken over from a finished one."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import HeatmapWarning, ImageError
from fullconv.geometry.tiling import Tile
from fullconv.scanning.chunks import create_folder, write_chunk
from fullconv.scanning.damage import damage_of, differing, named
from fullconv.scanning.digests import Checksums, digest
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.ledger import Ledger
from fullconv.scanning.lines import Line
from fullconv.scanning.repairing import Repair
from fullconv.scanning.storing import encoded
from fullconv.scanning.task import Scored, Task
from fullconv.sources import Source, reopen
from fullconv.sources.contents import checksum, combined
from fullconv.wording import corners

COMPARED = 16
"""Number of tiles that are read again if an image is identified by a part of its bytes."""


class HeatmapWriter:
    """Writes the tiles of one run, and knows which are finished.

    Parameters
    ----------
    ledger : Ledger
        Locked, and begun or resumed.
    task : Task
    dtype : str
        How scores are stored.
    run : mapping
        The record of the run.
    """

    def __init__(self, ledger: Ledger, task: Task, dtype: str, run: Mapping[str, Any]) -> None:
        self.ledger, self.task, self.dtype = ledger, task, dtype
        plan = task.plan
        self.shape = task.shape
        self.tile = plan.shape
        is_damaged = create_folder(ledger.heatmap, self.shape, self.tile, dtype, run)
        ledger.created()
        if is_damaged and ledger.lines:
            warnings.warn(
                f"{ledger.heatmap}: what describes the scores was lost or damaged, and is written "
                f"anew",
                HeatmapWarning,
                stacklevel=2,
            )

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Which tiles are finished."""
        finished = np.zeros(len(self.task.plan), np.bool_)
        finished[list(self.ledger.lines)] = True
        return finished

    @property
    def checksums(self) -> Checksums:
        """The digests of all tiles; those without a line are empty."""
        known = {index: line.digest for index, line in self.ledger.lines.items()}
        return Checksums.of(self.shape, self.tile, self.dtype, known)

    def write(self, tile: Tile, made: Scored) -> None:
        """Write the scores of a tile."""
        scores = encoded(made.scores, self.dtype)
        self._write(tile, scores, made.windows, made.unscored, made.checksum)

    def prove(self, unfinished: Heatmap) -> None:
        """Check all tiles that earlier runs have finished, and forget those that are not whole.

        Raises
        ------
        ImageError
            If the image is not the one from which they were scanned.
        """
        lines = self.ledger.lines
        digests = {index: line.digest for index, line in lines.items()}
        lost = differing(unfinished.array, self.shape, self.tile, self.dtype, digests)
        for index in lost:
            del lines[index]
        again = [named(damage_of(unfinished, self.tile, lost))] if lost else []
        if self.ledger.damaged:
            count = self.ledger.damaged
            again.append(f"what {count} damaged line{'s' * (count > 1)} of the ledger listed")
        if again:
            warnings.warn(
                f"{self.ledger.folder}: computed again: {'; and '.join(again)}",
                HeatmapWarning,
                stacklevel=2,
            )
        self.compare_pixels()

    def compare_pixels(self) -> None:
        """Read some finished tiles again, if the image is identified by a part of its bytes.

        Raises
        ------
        ImageError
            If their pixels are not those that were scanned.
        """
        known = [line for line in self.ledger.lines.values() if line.pixels is not None]
        if not known:
            return
        with _opened_anew(self.task.image) as image:
            for line in random.sample(known, min(COMPARED, len(known))):
                tile = self.task.plan[line.tile]
                now = combined([checksum(image.read(*one.pixels)) for one in tile.passes])
                if now != line.pixels:
                    begin, end = zip(*reversed(tile.pixels), strict=True)
                    raise ImageError(
                        f"{image.name} has changed since a part of it was scanned (its "
                        f"{corners([*begin, *end])} read differently now): {self.ledger.folder} "
                        f"holds scores of the old and the new image; start again with "
                        f"resume=False (--no-resume)."
                    )

    def take_over(self, repair: Repair) -> None:
        """Copy the undamaged tiles of a finished heatmap, except those that are finished here."""
        for tile in self.task.left(self.finished):
            if repair.keeps(tile):
                stored = repair.finished.array[(slice(None), *tile.cells)]
                scores = np.asarray(stored).astype(self.dtype)
                windows = int(self.task.region.wanted(*tile.windows).sum())
                self._write(tile, scores, windows, 0, None)
        self.ledger.settle()

    def _write(
        self, tile: Tile, scores: NDArray[Any], windows: int, unscored: int, pixels: int | None
    ) -> None:
        place = map(str, self.task.plan.place(tile.index))
        chunk: Path = self.ledger.heatmap.joinpath("0", "c", "0", *place)
        write_chunk(chunk, scores, self.tile)
        self.ledger.add(
            Line(tile.index, windows, unscored, digest(scores, self.dtype), pixels), chunk
        )


@contextlib.contextmanager
def _opened_anew(image: Source) -> Iterator[Source]:
    """Yield an image opened anew, which has cached nothing; an array is yielded as it is."""
    described = image.describe()
    if described.get("path") is None:
        yield image
        return
    with reopen(described) as fresh:
        yield fresh
