"""Which images an OME-Zarr group holds: plates, wells, and what bioformats2raw writes.

OME-NGFF 0.4 and 0.5, "plate", "well" and "bioformats2raw.layout". Only metadata is read.
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
"""Groups below a group that says nothing of its images are looked through so far down."""

NAMED = 5
"""So many images are named where one is to be chosen."""


def is_zarr(path: Path) -> bool:
    """Whether a folder holds the metadata of a zarr array or group."""
    return any(os.path.isfile(path / name) for name in METADATA[:3])


def images_in(path: Path) -> list[Path] | None:
    """Return the images that a zarr folder holds; None where it is one image itself, or an array.

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
    """Refuse a group that holds images and is none.

    Raises
    ------
    ImageError
        With the names of its images.
    """
    images = images_in(path)
    if images is not None:
        count = "1 image" if len(images) == 1 else f"{len(images)} images"
        raise ImageError(
            f"{path} is no image, and holds {count}: {listed(images)}. Name one of them; 'fullconv "
            f"scan' and 'detect' take all of them, with a folder to write to."
        )


def listed(images: Sequence[Path]) -> str:
    """Return the first few names of images."""
    more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
    return f"{', '.join(map(str, images[:NAMED]))}{more}"


def _images(path: Path, ome: Mapping[str, Any], depth: int) -> Iterator[Path]:
    """Yield the images of a group that is none itself."""
    if "plate" in ome:
        for well in _named(path, ome["plate"].get("wells", [])):
            held = _attributes(well)
            # A well that is missing is named, so that opening it says so.
            yield from [well] if held is None else _images(well, ome_of(held), 1)
    elif "well" in ome:
        yield from _named(path, ome["well"].get("images", []))
    else:
        yield from _below(path, ome.get("series"), depth)


def _below(path: Path, series: Any, depth: int) -> Iterator[Path]:
    """Yield the images in the groups below, in the order of numbers where they are numbered."""
    if not series:
        held = _attributes(path / "OME")  # bioformats2raw's own list
        series = ome_of(held).get("series") if held else None
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


def _named(path: Path, held: Sequence[Mapping[str, Any]]) -> Iterator[Path]:
    """Yield the folders that metadata names."""
    for one in held:
        within = PurePosixPath(str(one["path"]))
        if within.is_absolute() or ".." in within.parts:
            raise damaged(str(path), f"it names {within}, which lies outside of it")
        yield path / within


def _attributes(path: Path) -> Mapping[str, Any] | None:
    """Return the attributes of a zarr group or array; None where there is none."""
    if not is_zarr(path):
        return None
    try:
        if (path / "zarr.json").is_file():
            held = _read(path / "zarr.json").get("attributes", {})
        else:
            attributes = path / ".zattrs"
            held = _read(attributes) if attributes.is_file() else {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}  # opening it says what is wrong
    return held if isinstance(held, dict) else {}


def _read(path: Path) -> Any:
    if path.stat().st_size > TEXT_BYTES:
        raise ValueError(path)
    return json.loads(path.read_bytes())
