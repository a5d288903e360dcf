"""What is written down of a scan: what it was asked for, what it chose, and what it made."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fullconv import __version__
from fullconv.names import as_text
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.engine import Engine
from fullconv.scanning.options import Options
from fullconv.scanning.region import Region
from fullconv.scanning.task import Task
from fullconv.sources import Source


def asked(
    digest: str,
    image: Source,
    options: Options,
    preprocessing: Preprocessing | None,
    region: Region,
) -> dict[str, Any]:
    """Return what decides the scores, to be compared with that of an earlier run."""
    return {
        "model": digest,
        "image": as_text(Path(image.name).name),
        "read": {k: v for k, v in image.describe().items() if k != "path"},
        "pixels": image.fingerprint(),
        "preprocessing": preprocessing.to_json() if preprocessing else None,
        "region": region.describe(),
        "output": options.output,
        "dtype": options.dtype,
        "runtime": options.runtime,
        "precision": options.precision,
        "device": options.device,
        "tile": list(options.tile) if options.tile else None,
        "fullconv": __version__,
    }


def chosen(task: Task) -> dict[str, Any]:
    """Return what an unfinished scan goes on with."""
    runtime = task.runtime
    return {
        "runtime": runtime.name,
        "device": runtime.device,
        "lanes": runtime.lanes,
        "tile": list(task.plan.shape),
    }


def made(engine: Engine, task: Task, dtype: str, scores: int) -> dict[str, Any]:
    """Return what a heatmap of so many scores for each window is, of what, and by what."""
    fcn, image, runtime, names = engine.fcn, task.image, task.runtime, list(engine.fcn.classes)
    return {
        "versions": {name: version(name) for name in ("fullconv", "numpy", "zarr", runtime.name)},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": engine.digest,
        "exact": fcn.report.exact,
        "window": list(fcn.grid.window),
        "step": list(fcn.grid.step),
        "channels": fcn.shape.channels,
        # Of a model with several outputs, the names are those of one of them.
        "classes": names if len(names) == scores else [],
        "background": fcn.background,
        "image": _found_again(image),
        "image_size": list(image.size),
        "original_size": list(image.original_size),
        "um_per_pixel": list(image.um_per_pixel) if image.um_per_pixel else None,
        "georeference": _placed(image),
        "preprocessing": task.preprocessing.to_json() if task.preprocessing else None,
        "region": task.region.describe(),
        "output": task.output,
        "dtype": dtype,
        "chosen": chosen(task),
        "precision": runtime.precision,
        "verification": None,
    }


def _found_again(image: Source) -> dict[str, Any]:
    """Return how the image is opened again, from whatever folder."""
    described = dict(image.describe())
    if described.get("path"):
        described["path"] = as_text(str(Path(described["path"]).absolute()))
    return described


def _placed(image: Source) -> dict[str, Any] | None:
    place = image.georeference
    return None if place is None else {"transform": list(place.transform), "crs": place.crs}
