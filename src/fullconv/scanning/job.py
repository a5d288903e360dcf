"""One scan: the choice of a runtime and of tiles, and the loop over all tiles."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import ImageError, ImageWarning
from fullconv.geometry.grid import Sizes
from fullconv.geometry.images import in_place_of
from fullconv.geometry.tiling import Plan, Tile
from fullconv.geometry.windows import Windows
from fullconv.runtimes import native
from fullconv.scanning import record
from fullconv.scanning.check import verify_heatmap
from fullconv.scanning.chunks import create
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.measure import choose_lanes, choose_plan, largest_plan
from fullconv.scanning.options import Options
from fullconv.scanning.pipeline import run
from fullconv.scanning.pixels import PixelRange, look, remark
from fullconv.scanning.progress import Listener, Meter
from fullconv.scanning.region import Region
from fullconv.scanning.storing import encoded
from fullconv.scanning.task import Scored, Task, prepared_pixels
from fullconv.sources import Source
from fullconv.sources.names import as_text


@dataclass
class Job:
    """One image, one network, and the options of a scan; run once.

    Attributes
    ----------
    unscored_windows : int
        Windows that hold NaN or infinite pixels, so far.
    seen : Seen or None
        The range of some pixels as the network sees them, once it is known.
    """

    engine: Engine
    image: Source
    options: Options
    classifier: Any
    origin: Mapping[str, str] | None
    progress: Listener | None
    unscored_windows: int = 0
    seen: PixelRange | None = None

    def __post_init__(self) -> None:
        image, options = self.image, self.options
        windows = Windows.of(self.fcn.grid, image.size, options.cover)
        self.region = Region.of(windows, image, options.roi, options.mask)
        self.preprocessing = options.prepared(self.fcn)

    def look(self) -> None:
        """Look at some pixels, and warn of those that cannot be what the model was trained on."""
        # Bytes are all that a model takes which prepares them itself.
        inside = self.fcn.embedded.preprocessing
        self.seen = look(self.image, self.region, inside or self.preprocessing)
        line = remark(self.seen, self.image, None if inside else self.preprocessing)
        if line is not None:
            warnings.warn(line, ImageWarning, stacklevel=2)

    @property
    def fcn(self) -> FullyConvolutional:
        """The network."""
        return self.engine.fcn

    def in_memory(self) -> Heatmap:
        """Scan into memory."""
        import zarr
        from zarr.storage import MemoryStore

        self.image.first_contents()
        self.look()
        store, dtype = MemoryStore(), self.options.dtype
        task = self.task({})
        create(store, task.shape, task.plan.shape, dtype, {})
        scores = zarr.open_array(store, path="0", mode="r+")

        def write(tile: Tile, made: Scored) -> None:
            stored = encoded(made.scores, dtype)
            scores[(slice(None), *tile.cells)] = stored

        self.score(task, np.zeros(len(task.plan), np.bool_), write, 0)
        return Heatmap(scores, self.finished(task, scores), None)

    def task(self, chosen: Mapping[str, Any]) -> Task:
        """Choose the runtime and the tiles, or take those that an earlier run chose."""
        fcn, options, size = self.fcn, self.options, self.image.size
        name = self._runtime(chosen)
        memory_bytes = options.memory(fcn, name)
        shape = chosen.get("tile", options.tile)
        plan_for = partial(self._plan, memory_bytes, shape)
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
        if options.cover == "all":
            plan = plan.covering()
        return Task(
            image=self.image,
            preprocessing=self.preprocessing,
            region=self.region,
            plan=plan,
            runtime=runtime,
            output=options.output,
            channels=fcn.shape.channels,
        )

    def _runtime(self, chosen: Mapping[str, Any]) -> str:
        name: str = chosen.get("runtime", self.options.runtime)
        return native(self.fcn) if name == "native" else name

    def _plan(self, memory_bytes: int, shape: Sizes | None, lanes: int) -> Plan:
        """Return a plan of the largest tiles for ``lanes`` lanes, or of the tiles asked for."""
        fcn, size = self.fcn, self.image.size
        if shape is None:
            return largest_plan(fcn, size, memory_bytes // lanes)
        tile = tuple(map(min, shape, fcn.grid.shape(size)))
        return Plan(size, fcn.grid, tile, fcn.halo)

    def planned(self) -> tuple[Plan, int, str]:
        """Return the largest tiles that a scan would take, its lanes, and its runtime's name.

        Nothing is opened or measured.
        """
        name, options = self._runtime({}), self.options
        plan_for = partial(self._plan, options.memory(self.fcn, name), options.tile)
        lanes = choose_lanes(plan_for, name)
        plan = plan_for(lanes)
        return (plan.covering() if options.cover == "all" else plan), lanes, name

    def _pixels(self, tile: Tile) -> NDArray[np.float32]:
        """Return a tile's prepared pixels, ``(1, C, *size)``."""
        return prepared_pixels(self.image, self.preprocessing, *tile.pixels)[0][None]

    def score(
        self,
        task: Task,
        finished: NDArray[np.bool_],
        write: Callable[[Tile, Scored], None],
        windows: int,
    ) -> None:
        """Score all unfinished tiles; earlier runs have scored ``windows`` windows."""
        meter = Meter(self.image, task.plan.counts, self.region.count(), self.progress)
        meter.before = windows
        meter.tell()
        lanes = task.runtime.lanes
        for _, made in run(task.left(finished), task.read, task.compute, write, lanes):
            self.unscored_windows += made.unscored
            meter.fresh += made.windows
            meter.tell()
        if self.image.has_changed():
            raise ImageError(
                f"{self.image.name} was changed while it was scanned, so that some scores are of "
                f"its old pixels and some of the new; scan it again, with resume=False "
                f"(--no-resume)."
            )

    def finished(self, task: Task, scores: Any) -> dict[str, Any]:
        """Return the heatmap's metadata, after a check of some windows."""
        metadata = record.made(self.engine, task, self.options.dtype, scores.shape[0])
        metadata |= {
            "origin": {k: as_text(v) for k, v in self.origin.items()} if self.origin else None,
            "odd_windows": self.unscored_windows,
            "windows": self.region.count() - self.unscored_windows,
            "pixels": self.seen.as_dict() if self.seen else None,
        }
        if self.options.windows_to_check:
            model = self.fcn.model if self.classifier is None else self.classifier
            takes = self.fcn.shape.takes
            made = Heatmap(scores, metadata, None)
            # A second session would hold the weights of a large model once more.
            is_own = task.runtime.name == native(self.fcn) == "onnxruntime"
            is_own = is_own and self.options.precision == "f32"
            spared = task.runtime if is_own and self.classifier is None else None
            proof = verify_heatmap(
                made,
                model,
                self.image,
                self.options.windows_to_check,
                runtime=spared,
                takes=in_place_of(takes) if self.classifier is None else takes,
            )
            metadata["verification"] = proof.as_dict() if proof else None
        return metadata
