"""The record of a scan: what it was asked for, what it chose, and what it made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fullconv import __version__
from fullconv.checking import are_whole
from fullconv.errors import InputError
from fullconv.geometry.grid import NUMBERS
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.engine import Engine
from fullconv.scanning.options import Options
from fullconv.scanning.region import Region
from fullconv.scanning.task import Task
from fullconv.sources import Source
from fullconv.sources.names import as_text
from fullconv.wording import kind, sized, unit

FORM = 2
"""Version of the record: since 2 it has checksums, and identifies images by their contents."""

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
"""The meaning of a record's entries in the error that refuses another run."""

GRID = ("window", "step")
"""Entries that older records do not have."""


def refuse_other(out: Path, begun: Mapping[str, Any], asked: Mapping[str, Any], todo: str) -> None:
    """Refuse an output that belongs to another run, with the reason.

    Raises
    ------
    InputError
        If it does.
    """
    other = [word for word in WHAT if begun.get(word) != asked.get(word)]
    # An older record has the grid in the model's digest only.
    other = [word for word in other if word not in GRID or word in begun]
    if set(GRID) & set(other):
        other = [word for word in other if word != "model"]  # its digest holds the grid
    if "cover" in other and _mask(begun) == _mask(asked):
        other = [word for word in other if word != "region"]  # of other windows
    if "form" in other:
        other = [word for word in other if word != "pixels"]  # identified in another way then
    elif "pixels" not in other:
        other = [word for word in other if word != "image"]  # the same by another name
    if other:
        # Another model, or other pixels of an image, make further entries differ.
        telling = [word for word in other if word in (*GRID, "model", "image", "read")] or other
        reasons = ", and ".join(f"{_told(begun, word)}{_size(begun, word)}" for word in telling)
        raise InputError(f"{out} belongs to another run: {reasons}; {todo}.")


def _told(begun: Mapping[str, Any], word: str) -> str:
    """Return what a word means to whom it refuses, by the axes of the window that a run had."""
    window: Any = begun.get("window")
    dimensions = len(window) if isinstance(window, list) else 2
    return (
        WHAT[word].replace("pixels", unit(dimensions, many=True)).replace("image", kind(dimensions))
    )


def _size(begun: Mapping[str, Any], word: str) -> str:
    """Return the window or step that a run had, as it is written on the command line."""
    size: Any = begun.get(word)
    is_known = (
        word in GRID and isinstance(size, list) and len(size) in NUMBERS and are_whole(size, 1)
    )
    return f" ({sized(size)})" if is_known else ""


def _mask(record: Mapping[str, Any]) -> Any:
    region = record.get("region")
    return region.get("mask") if isinstance(region, Mapping) else None


def as_of_before(asked: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is asked for, with a heatmap's own entries where its older record has none.

    A heatmap without checksums cannot be compared in these, nor in its pixels.
    """
    unknown = {word for word in WHAT if word not in before} | {"pixels"}
    return {**asked, **{word: before.get(word) for word in unknown}}


def asked(
    digest: str,
    image: Source,
    options: Options,
    preprocessing: Preprocessing | None,
    region: Region,
) -> dict[str, Any]:
    """Return everything that decides the scores, to be compared with that of an earlier run."""
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
    """Return the choices with which an unfinished scan continues."""
    runtime = task.runtime
    return {
        "runtime": runtime.name,
        "device": runtime.device,
        "lanes": runtime.lanes,
        "tile": list(task.plan.shape),
    }


def made(engine: Engine, task: Task, dtype: str, scores: int) -> dict[str, Any]:
    """Return the metadata of a heatmap with ``scores`` scores for each window."""
    fcn, image, runtime, names = engine.fcn, task.image, task.runtime, list(engine.fcn.classes)
    activation = fcn.activation(task.output)
    return {
        "versions": {name: version(name) for name in ("fullconv", "numpy", "zarr", runtime.name)},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": engine.digest,
        "exact": fcn.report.exact,
        **({"rounded": True} if fcn.report.rounded else {}),
        **({"agreement": fcn.report.agreement} if fcn.report.agreement else {}),
        "random": fcn.report.random,
        "window": list(fcn.grid.window),
        "step": list(fcn.grid.step),
        "cover": task.plan.cover,
        "positions": task.plan.all_windows.describe(),
        "channels": fcn.shape.channels,
        # If a model has several outputs, the names are those of one of them.
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
        "precision": fcn.report.precision or runtime.precision,
        "verification": None,
        **({} if fcn.shape.takes == "map" else {"takes": fcn.shape.takes}),
        **({"embedded": fcn.embedded.to_json()} if fcn.embedded else {}),
        **({} if activation == "none" else {"activation": activation}),
    }


def _found_again(image: Source) -> dict[str, Any]:
    """Return the description by which the image can be opened again, from any folder."""
    described = dict(image.describe())
    if described.get("path"):
        described["path"] = as_text(str(Path(described["path"]).absolute()))
    return described


def _placed(image: Source) -> dict[str, Any] | None:
    place = image.georeference
    return None if place is None else {"transform": list(place.transform), "crs": place.crs}
