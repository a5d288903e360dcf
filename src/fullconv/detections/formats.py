"""Detections in files, by ending: .csv, .json and .geojson.

Each format has a file of its own; all are written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fullconv.detections import coco, geojson, table
from fullconv.detections.columns import Columns
from fullconv.detections.ids import Ids
from fullconv.errors import InputError
from fullconv.system.files import whole
from fullconv.wording import only_images

if TYPE_CHECKING:
    from fullconv.detections.found import Detections
    from fullconv.geometry.placement import Georeference

KNOWN = "use .csv (WSInfer's columns), .json (COCO results) or .geojson (QuPath, GIS)"


def check_ending(path: Path) -> None:
    """Refuse an ending without a known format, before anything is computed."""
    if path.suffix.lower() not in (".csv", ".json", ".geojson"):
        raise InputError(
            f"{path}: the format of detections is told by the ending, and {_ending(path)}; {KNOWN}."
        )


def check_holds(call: str, path: Path, dimensions: int) -> None:
    """Refuse a format that has no place for boxes along ``dimensions`` axes."""
    if dimensions != 2 and path.suffix.lower() == ".geojson":
        raise InputError(f"{call}: .geojson is {only_images(dimensions)}; use .csv or .json.")


def check_place(path: Path, georeference: Georeference | None) -> None:
    """Refuse a place that is asked for and cannot be written."""
    check_ending(path)
    if georeference is not None and path.suffix.lower() != ".geojson":
        raise InputError(
            f"{path}: only .geojson holds coordinates of the raster; use that ending, or leave "
            f"the georeference out."
        )


def write(
    found: Detections,
    path: Path,
    georeference: Georeference | None = None,
    named: bool = False,
    ids: Ids | None = None,
) -> None:
    """Write detections in the format that the ending names; see `Detections.save`."""
    check_ending(path)
    check_holds(str(path), path, found.dimensions)
    ending = path.suffix.lower()
    if ending == ".geojson":
        lines = geojson.lines(found, georeference)
    elif ending == ".json":
        lines = coco.lines(found, ids or Ids.counted(found.names))
    else:
        lines = table.lines(found, named)
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def truth_ids(found: Detections, path: Path, truth: Path) -> Ids:
    """Return the ids in annotations of the images and classes that have detections.

    Raises
    ------
    InputError
        If ``path`` is not that of COCO results, or the annotations do not know an image or class.
    """
    call = f"save({str(path)!r}, truth={str(truth)!r})"
    check_holds_ids(call, path, found.dimensions)
    images = [found.names[number] for number in np.unique(found.images)]
    classes = [found.classes[label] for label in np.unique(found.labels)]
    return Ids.of_truth(call, truth, images, classes)


def check_holds_ids(call: str, path: Path, dimensions: int = 2) -> None:
    """Refuse a format, or boxes, that have no place for the ids of annotations."""
    if dimensions != 2:
        raise InputError(
            f"{call}: COCO annotations are {only_images(dimensions)}; leave the truth out."
        )
    if path.suffix.lower() != ".json":
        raise InputError(
            f"{call}: only .json (COCO results) holds the ids of the truth; use that ending, or "
            f"leave the truth out."
        )


def reader(path: Path) -> Callable[[str], Columns]:
    """Return what reads the text of a file; see `Detections.read`.

    Raises
    ------
    InputError
        If files of this ending are not read.
    """
    readers = {".csv": table.parse, ".json": coco.parse, ".geojson": geojson.parse}
    ending = path.suffix.lower()
    if ending not in readers:
        raise InputError(
            f"{path}: detections are read from .csv, .json (COCO results) or .geojson, and "
            f"{_ending(path)}."
        )
    return readers[ending]


def _ending(path: Path) -> str:
    return f"{path.suffix!r} is not known" if path.suffix else "there is none"
