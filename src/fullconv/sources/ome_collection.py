"""The images in an OME-Zarr group: a plate, a well, or a group of bioformats2raw.

The format is OME-NGFF 0.4 and 0.5, "plate", "well" and "bioformats2raw.layout". Only metadata is
read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fullconv.errors import ImageError
from fullconv.sources.ome_zarr import ome_of
from fullconv.sources.trouble import TEXT_BYTES, damaged

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")

DEEPEST = 3
"""How deep groups are searched for images where the metadata does not name them."""

NAMED = 5
"""The number of images that the message names."""


def is_zarr(path: Path) -> bool:
    """Whether a folder holds the metadata of a zarr array or group."""
    return any(os.path.isfile(path / name) for name in METADATA[:3])


def images_in(path: Path) -> list[Path] | None:
    """Return the images in a zarr folder; None where the folder is an image itself, or an array.

    Raises
    ------
    ImageError
        If its metadata names places outside of it.
    """
    attributes = _attributes(path)
    if attributes is None or ome_of(attributes).get("multiscales"):
        return None
    return list(_images(path, ome_of(attributes), DEEPEST)) or None


def refuse_collection(path: Path) -> None:
    """Refuse a group that holds images, and is not an image itself.

    Raises
    ------
    ImageError
        If the group is refused; it names the images.
    """
    images = images_in(path)
    if images is not None:
        count = "1 image" if len(images) == 1 else f"{len(images)} images"
        raise ImageError(
            f"{path} is no image, and holds {count}: {listed(images)}. Name one of them; 'fullconv "
            f"scan' and 'detect' take all of them, with a folder to write to."
        )


def listed(images: Sequence[Path]) -> str:
    """Return the names of the first few images, and the count of the others."""
    more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
    return f"{', '.join(map(str, images[:NAMED]))}{more}"


def _images(path: Path, ome: Mapping[str, Any], depth: int) -> Iterator[Path]:
    """Yield the images of a group that is not an image itself."""
    if "plate" in ome:
        for well in _named(path, ome["plate"].get("wells", [])):
            attributes = _attributes(well)
            # A missing well is yielded as well, so that opening it reports the error.
            yield from [well] if attributes is None else _images(well, ome_of(attributes), 1)
    elif "well" in ome:
        yield from _named(path, ome["well"].get("images", []))
    else:
        yield from _below(path, ome.get("series"), depth)


def _below(path: Path, series: Any, depth: int) -> Iterator[Path]:
    """Yield the images in the groups below: as metadata lists them, else numbered groups first."""
    if not series:
        listing = _attributes(path / "OME")  # bioformats2raw's own list
        series = ome_of(listing).get("series") if listing else None
    names = [{"path": str(name)} for name in series] if isinstance(series, list) else []
    folders = list(_named(path, names)) or sorted(
        (entry for entry in path.iterdir() if entry.is_dir() and entry.name != "labels"),
        key=lambda entry: (not entry.name.isdigit(), len(entry.name), entry.name),
    )
    for folder in folders:
        attributes = _attributes(folder)
        if attributes is None:
            continue
        if ome_of(attributes).get("multiscales"):
            yield folder
        elif depth > 1:
            yield from _images(folder, ome_of(attributes), depth - 1)


def _named(path: Path, entries: Sequence[Mapping[str, Any]]) -> Iterator[Path]:
    """Yield the folders that metadata names."""
    for entry in entries:
        within = PurePosixPath(str(entry["path"]))
        if within.is_absolute() or ".." in within.parts:
            raise damaged(str(path), f"it names {within}, which lies outside of it")
        yield path / within


def _attributes(path: Path) -> Mapping[str, Any] | None:
    """Return the attributes of a zarr group or array; None where there is none."""
    if not is_zarr(path):
        return None
    try:
        if (path / "zarr.json").is_file():
            attributes = _read(path / "zarr.json").get("attributes", {})
        else:
            file = path / ".zattrs"
            attributes = _read(file) if file.is_file() else {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}  # opening the folder reports what is wrong
    return attributes if isinstance(attributes, dict) else {}


def _read(path: Path) -> Any:
    if path.stat().st_size > TEXT_BYTES:
        raise ValueError(path)
    return json.loads(path.read_bytes())
