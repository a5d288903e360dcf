"""Detections in files, by ending: .csv, .json and .geojson.

Each format has a file of its own; all are written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

from fullconv.detections import coco, geojson, table
from fullconv.detections.found import Detections, Georeferenced
from fullconv.errors import InputError, first_line
from fullconv.files import whole

KNOWN = "use .csv (WSInfer's columns), .json (COCO results) or .geojson (QuPath, GIS)"


def check_ending(path: Path) -> None:
    """Refuse what no format is known for, before anything is computed."""
    if path.suffix.lower() not in (".csv", ".json", ".geojson"):
        raise InputError(
            f"{path}: the format of detections is told by the ending, and {_ending(path)}; {KNOWN}."
        )


def check_place(path: Path, georeference: Georeferenced | None) -> None:
    """Refuse a place that is asked for and cannot be written."""
    check_ending(path)
    if georeference is not None and path.suffix.lower() != ".geojson":
        raise InputError(
            f"{path}: only .geojson holds coordinates of the raster; use that ending, or leave "
            f"the georeference out."
        )


def write(
    found: Detections, path: Path, georeference: Georeferenced | None = None, named: bool = False
) -> None:
    """Write detections in the format that the ending tells; see `Detections.save`."""
    check_ending(path)
    ending = path.suffix.lower()
    if ending == ".geojson":
        lines = geojson.lines(found, georeference)
    elif ending == ".json":
        lines = coco.lines(found)
    else:
        lines = table.lines(found, named)
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def read(path: Path) -> Detections:
    """Return the detections in a file; see `Detections.read`."""
    readers = {".csv": table.parse, ".json": coco.parse}
    ending = path.suffix.lower()
    if ending not in readers:
        raise InputError(
            f"{path}: detections are read from .csv or .json (COCO results), and {_ending(path)}."
        )
    text = read_text(path)
    try:
        return readers[ending](text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_text(path: Path) -> str:
    """Return a text file.

    Raises
    ------
    InputError
        If it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or first_line(error)}; check the path."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8.") from None


def _ending(path: Path) -> str:
    return f"{path.suffix!r} is not known" if path.suffix else "there is none"
