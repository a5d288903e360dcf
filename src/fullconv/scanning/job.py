"""One scan from its beginning, or from where it stopped, to the finished heatmap."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.converted import FullyConvolutional
from fullconv.errors import InputError, OutputError, first_line
from fullconv.runtimes import native
from fullconv.scanning import geotiff, record
from fullconv.scanning import heatmap as heatmaps
from fullconv.scanning.check import verify_heatmap
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.ledger import Ledger, refuse_other
from fullconv.scanning.measure import choose_lanes, choose_plan, largest_plan
from fullconv.scanning.options import Options
from fullconv.scanning.pipeline import run
from fullconv.scanning.progress import Listener, Meter
from fullconv.scanning.region import Region
from fullconv.scanning.task import Scored, Task, prepared_pixels
from fullconv.sources import Source
from fullconv.tiling import Plan, Tile

ENDINGS = (".zarr", ".tif", ".tiff")


@dataclass
class Job:
    """One image, one network, and what is asked for; run once.

    Attributes
    ----------
    odd_windows : int
        Windows that hold NaN or infinite pixels, so far.
    """

    engine: Engine
    image: Source
    options: Options
    classifier: Any
    origin: Mapping[str, str] | None
    progress: Listener | None
    odd_windows: int = 0

    def __post_init__(self) -> None:
        image, options = self.image, self.options
        self.region = Region.of(self.fcn.grid, image.size, image.scale, options.roi, options.mask)
        self.preprocessing = options.prepared(self.fcn)

    @property
    def fcn(self) -> FullyConvolutional:
        """The network."""
        return self.engine.fcn

    def in_memory(self) -> Heatmap:
        """Scan into memory."""
        from zarr.storage import MemoryStore

        store = MemoryStore()
        task = self._task({})
        self._score(task, store, None)
        metadata = self._finish(task, store)
        return Heatmap(_scores(store), metadata, None)

    def to(self, out: Path, resume: bool, overwrite: bool) -> Heatmap:
        """Scan into a folder or file, going on with what is there of the same run."""
        if out.suffix.lower() not in ENDINGS:
            raise InputError(
                f"scan(out={str(out)!r}): the kind of output is told by its ending; use .zarr, or "
                f".tif for a GeoTIFF."
            )
        asked = record.asked(
            self.engine.digest, self.image, self.options, self.preprocessing, self.region
        )
        if os.path.exists(out):
            # Also where it is to be replaced: what is no heatmap is never removed.
            finished = Heatmap.open(out)
            if not overwrite:
                todo = "choose another name, or replace it with overwrite=True (--overwrite)"
                refuse_other(out, finished.metadata.get("asked", {}), asked, todo)
                return finished
        if out.suffix.lower() != ".zarr":
            geotiff.check_installed(out)
        with contextlib.closing(Ledger(out)) as ledger:
            self._write(ledger, asked, resume, overwrite)
        return Heatmap.open(out)

    def _write(
        self, ledger: Ledger, asked: Mapping[str, Any], resume: bool, overwrite: bool
    ) -> None:
        """Begin or go on, and end."""
        ledger.lock()
        begun = ledger.begun() if resume else None
        if begun is not None:
            todo = "finish it as it was begun, or start again with resume=False (--no-resume)"
            refuse_other(ledger.folder, begun.get("asked", {}), asked, todo)
        task = self._task(begun["chosen"] if begun is not None else {})
        try:
            if begun is None:
                ledger.begin({"asked": asked, "chosen": record.chosen(task)})
            else:
                ledger.resume()
            self._score(task, ledger.heatmap, ledger)
            ledger.finish(self._made(task, ledger, asked), overwrite)
        except OutputError:
            raise
        except OSError as error:
            todo = "make room, and give the same command again"
            if ledger.keeps():
                todo = (
                    "what was scanned is kept: make room, and the same command goes on where it "
                    "stopped"
                )
            raise OutputError(
                f"cannot write {ledger.out}: {error.strerror or first_line(error)}; {todo}."
            ) from None

    def _made(self, task: Task, ledger: Ledger, asked: Mapping[str, Any]) -> Path:
        """Check and describe what was scanned, and return it as what was asked for."""
        metadata = self._finish(task, ledger.heatmap) | {"asked": asked}
        heatmap = Heatmap(_scores(ledger.heatmap), metadata, None)
        heatmaps.describe(ledger.heatmap, heatmap)
        if ledger.out.suffix.lower() == ".zarr":
            return ledger.heatmap
        path = ledger.folder / ledger.out.name
        geotiff.write_geotiff(heatmap, path)
        return path

    def _task(self, chosen: Mapping[str, Any]) -> Task:
        """Choose what runs and by which tiles, or take what an earlier run has chosen."""
        fcn, options, size = self.fcn, self.options, self.image.size
        name = chosen.get("runtime", options.runtime)
        name = native(fcn) if name == "native" else name
        memory_bytes = options.memory(fcn, name)
        shape = chosen.get("tile", options.tile)

        def plan_for(lanes: int) -> Plan:
            if shape is None:
                return largest_plan(fcn, size, memory_bytes // lanes)
            rows, columns = fcn.grid.shape(size)
            return Plan(size, fcn.grid, (min(shape[0], rows), min(shape[1], columns)), fcn.halo)

        runtime = self.engine.runtime(
            name,
            size,
            options.precision,
            chosen.get("device", options.device),
            chosen.get("lanes") or choose_lanes(plan_for, name),
        )
        if shape is None:
            plan = choose_plan(fcn, self.engine.digest, size, memory_bytes, runtime, self._pixels)
        else:
            plan = plan_for(runtime.lanes)
        return Task(
            self.image,
            self.preprocessing,
            self.region,
            plan,
            runtime,
            options.output,
            fcn.shape.channels,
        )

    def _pixels(self, tile: Tile) -> NDArray[np.float32]:
        """Return a tile's prepared pixels, ``(1, C, h, w)``."""
        return prepared_pixels(self.image, self.preprocessing, *tile.pixels)[0][None]

    def _score(self, task: Task, store: Any, ledger: Ledger | None) -> None:
        """Score all tiles that are not done yet."""
        finished = np.zeros(len(task.plan), np.bool_)
        if ledger is not None:
            finished[ledger.before] = True
        if not finished.any():
            shape = (task.scores_of_a_window(), *task.plan.counts)
            heatmaps.create(store, shape, task.plan.shape, self.options.dtype)
            if ledger is not None:
                ledger.created()
        scores = _scores(store)

        def write(tile: Tile, made: Scored) -> None:
            encoded = heatmaps.encoded(made.scores, self.options.dtype)
            if ledger is None:
                scores[(slice(None), *(slice(*span) for span in tile.windows))] = encoded
                return
            band, across = divmod(tile.index, task.plan.tiles[1])
            chunk = ledger.heatmap / "0" / "c" / "0" / f"{band}" / f"{across}"
            heatmaps.write_chunk(chunk, encoded, task.plan.shape)
            ledger.add(tile.index, made.windows, made.odd, chunk)

        meter = Meter(self.image, task.plan.counts, self.region.count(), self.progress)
        if ledger is not None:
            self.odd_windows = ledger.odd
            meter.before = ledger.windows
        meter.tell()
        lanes = task.runtime.lanes
        for _, made in run(task.left(finished), task.read, task.compute, write, lanes):
            self.odd_windows += made.odd
            meter.fresh += made.windows
            meter.tell()
        if ledger is not None:
            ledger.settle()

    def _finish(self, task: Task, store: Any) -> dict[str, Any]:
        """Return all that is to be known of the heatmap, with the check of some windows."""
        scores = _scores(store)
        metadata = record.made(self.engine, task, self.options.dtype, scores.shape[0])
        metadata |= {
            "origin": dict(self.origin) if self.origin else None,
            "odd_windows": self.odd_windows,
        }
        if self.options.windows_to_check:
            model = self.fcn.model if self.classifier is None else self.classifier
            made = Heatmap(scores, metadata, None)
            # Another session of the same model would take the weights of a large one once more.
            is_own = task.runtime.name == native(self.fcn) == "onnxruntime"
            spared = task.runtime if is_own and self.classifier is None else None
            proof = verify_heatmap(
                made, model, self.image, self.options.windows_to_check, runtime=spared
            )
            metadata["verification"] = proof.as_dict() if proof else None
        return metadata


def _scores(store: Any) -> Any:
    import zarr

    return zarr.open_array(store, path="0", mode="r+")
