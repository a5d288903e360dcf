"""What is written down of a scan: what it was asked for, what it chose, and what it made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fullconv import __version__
from fullconv.checking import are_whole
from fullconv.errors import InputError
from fullconv.geometry import NUMBERS
from fullconv.names import as_text
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.engine import Engine
from fullconv.scanning.options import Options
from fullconv.scanning.region import Region
from fullconv.scanning.task import Task
from fullconv.sources import Source
from fullconv.wording import sized

FORM = 2
"""Of what is kept beside the scores: since 2, checksums, and images by their contents."""

WHAT = {
    "window": "another --window",
    "step": "another --step",
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
    "form": "an earlier version of fullconv, which kept no checksums",
}
"""What the words of a run's record mean to whom it refuses."""

GRID = ("window", "step")
"""Words that records of before do not have."""


def refuse_other(out: Path, begun: Mapping[str, Any], asked: Mapping[str, Any], todo: str) -> None:
    """Refuse an output that belongs to another run, with the reason.

    Raises
    ------
    InputError
        If it does.
    """
    other = [word for word in WHAT if begun.get(word) != asked.get(word)]
    other = [word for word in other if word not in GRID or word in begun]  # else told as the model
    if set(GRID) & set(other):
        other = [word for word in other if word != "model"]  # its digest holds the grid
    if "cover" in other and _mask(begun) == _mask(asked):
        other = [word for word in other if word != "region"]  # of other windows
    if "form" in other:
        other = [word for word in other if word != "pixels"]  # told in another way then
    elif "pixels" not in other:
        other = [word for word in other if word != "image"]  # the same by another name
    if other:
        # From another model, or other pixels of an image, follows more that differs.
        telling = [word for word in other if word in (*GRID, "model", "image", "read")] or other
        reasons = ", and ".join(f"{WHAT[word]}{_size(begun, word)}" for word in telling)
        raise InputError(f"{out} belongs to another run: {reasons}; {todo}.")


def _size(begun: Mapping[str, Any], word: str) -> str:
    """Return the window or step that a run had, as it is written on the command line."""
    held: Any = begun.get(word)
    is_told = (
        word in GRID and isinstance(held, list) and len(held) in NUMBERS and are_whole(held, 1)
    )
    return f" ({sized(held)})" if is_told else ""


def _mask(record: Mapping[str, Any]) -> Any:
    region = record.get("region")
    return region.get("mask") if isinstance(region, Mapping) else None


def as_of_before(asked: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is asked for as far as a heatmap without checksums can tell it."""
    unknown = {word for word in WHAT if word not in before} | {"pixels"}
    return {**asked, **{word: before.get(word) for word in unknown}}


def asked(
    digest: str,
    image: Source,
    options: Options,
    preprocessing: Preprocessing | None,
    region: Region,
) -> dict[str, Any]:
    """Return what decides the scores, to be compared with that of an earlier run."""
    axes = region.windows.axes
    return {
        "window": [axis.window for axis in axes],
        "step": [axis.step for axis in axes],
        "model": digest,
        "image": as_text(Path(image.name).name),
        "read": {k: v for k, v in image.describe().items() if k != "path"},
        "pixels": image.fingerprint(),
        "place": {
            "placement": image.placement.as_dict(),
            "space": image.facts.space.as_dict() if image.facts.space else None,
            "georeference": _placed(image),
        },
        "preprocessing": preprocessing.to_json() if preprocessing else None,
        "region": region.describe(),
        "cover": None if options.cover == "whole" else options.cover,
        "output": options.output,
        "dtype": options.dtype,
        "runtime": options.runtime,
        "precision": options.precision,
        "device": options.device,
        "tile": list(options.tile) if options.tile else None,
        "fullconv": __version__,
        "form": FORM,
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
        "random": fcn.report.random,
        "window": list(fcn.grid.window),
        "step": list(fcn.grid.step),
        "cover": task.plan.cover,
        "positions": task.plan.all_windows.describe(),
        "channels": fcn.shape.channels,
        # Of a model with several outputs, the names are those of one of them.
        "classes": names if len(names) == scores else [],
        "background": fcn.background,
        "image": _found_again(image),
        "image_size": list(image.size),
        "lacks_pixels": image.lacks_pixels,
        "original_size": list(image.original_size),
        "placement": image.placement.as_dict(),
        "um_per_pixel": list(image.um_per_pixel) if image.um_per_pixel else None,
        "space": image.facts.space.as_dict() if image.facts.space else None,
        "georeference": _placed(image),
        "preprocessing": task.preprocessing.to_json() if task.preprocessing else None,
        "region": task.region.describe(),
        "output": task.output,
        "dtype": dtype,
        "chosen": chosen(task),
        "precision": runtime.precision,
        "verification": None,
        **({} if fcn.shape.takes == "map" else {"takes": fcn.shape.takes}),
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
