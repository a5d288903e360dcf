"""Where a picture or TIFF lies on the ground, as its own tags or a file beside it say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fullconv.errors import MissingExtraError
from fullconv.placement import Georeference
from fullconv.sources.trouble import check_text

PAM_BYTES = 1 << 20
"""So much of a file beside an image is looked through for a place."""

PAM_PLACES = (b"<SRS", b"<GeoTransform", b"<GCPList", b'domain="RPC"', b"GeodataXform")
"""What in GDAL's or ArcGIS's .aux.xml says where an image lies; most hold statistics alone."""

TAB_PLACES = (b'type "raster"',)
"""What in a table of MapInfo (.tab), in small letters, says that it places an image."""

STILL_NS = 2_000_000_000
"""A folder that has not changed for so long is not looked through again until it does."""

RPC_ENDINGS = ("_RPC.TXT", "_rpc.txt", ".RPB", ".rpb")


@dataclass(frozen=True)
class Place:
    """Where an image lies, and what is to be said of it.

    Attributes
    ----------
    georeference : Georeference or None
    remarks : tuple of str
        What was found and is not used, or not exact, in one line each.
    """

    georeference: Georeference | None = None
    remarks: tuple[str, ...] = ()


def find_place(path: Path, tags: str = "", offset: int | None = None) -> Place:
    """Return where a picture or TIFF lies by what GDAL finds in it and beside it.

    Parameters
    ----------
    path : Path
    tags : str
        What in the file itself says so; empty where nothing does.
    offset : int, optional
        Where in a TIFF the directory of the page begins, if it is not the first.
    """
    found = [*([tags] if tags else []), *(file.name for file in placing(path))]
    if not found:
        return Place()
    told = f"{path} lies on the ground by its {' and '.join(found)}, not used here"
    try:
        from fullconv.sources.raster import place_of
    except MissingExtraError as error:
        return Place(None, (f"{told}: {error}",))
    place = place_of(path, offset)
    if place.georeference is None and not place.remarks:
        return Place(None, (f"{told}: GDAL finds no place there, or does not read such files.",))
    return place


def placing(path: Path) -> Iterator[Path]:
    """Yield the files beside an image that say where it lies, by the names that GDAL knows.

    Raises
    ------
    ImageError
        If one of them is no text.
    """
    for file in _placing(path):
        if file.suffix.lower() == ".tab" and not _holds(file, TAB_PLACES):
            continue  # some other table
        check_text(file)
        if not file.name.endswith(".aux.xml") or _holds(file, PAM_PLACES):
            yield file


def _holds(path: Path, words: tuple[bytes, ...]) -> bool:
    with path.open("rb") as file:
        held = file.read(PAM_BYTES)
    held = held.lower() if words is TAB_PLACES else held
    return any(word in held for word in words)


def pam_of(path: Path) -> bytes | None:
    """Return GDAL's .aux.xml of an image; None where there is none.

    Raises
    ------
    ImageError
        If it is no text.
    """
    file = path.with_name(f"{path.name}.aux.xml")
    if file.name not in _names(path.parent):
        return None
    check_text(file)
    return file.read_bytes()


def _placing(path: Path) -> Iterator[Path]:
    there = _names(path.parent)
    ending = path.suffix[1:]
    # The first and the last letter of the ending and a w, as in .jgw; or the whole of it.
    worlds = [ending[:1] + ending[-1:] + "w", f"{ending}w", "wld"] if ending else ["wld"]
    names = dict.fromkeys(f".{name}" for n in worlds for name in (n, n.lower(), n.upper()))
    worlds_of_it = (path.with_suffix(name) for name in names)
    yield from (file for file in worlds_of_it if file.name in there and file != path)
    others = [path.with_name(f"{path.name}.aux.xml"), path.with_suffix(".aux.xml")]
    others += [path.with_name(path.stem + name) for name in (*RPC_ENDINGS, ".tab", ".TAB")]
    yield from (file for file in others if file.name in there)


def _names(folder: Path) -> frozenset[str]:
    """Return the names in a folder; asked once for the many images of one that does not change.

    To ask for each name that a file beside an image may have takes as long as to read a small one.
    """
    try:
        changed = folder.stat().st_mtime_ns
        # Clocks of file systems tick slowly: what changes in the same tick cannot be told.
        if time.time_ns() - changed < STILL_NS:
            return frozenset(os.listdir(folder))
        return _listed(folder, changed)
    except OSError:
        return frozenset()


@lru_cache(maxsize=4)
def _listed(folder: Path, changed: int) -> frozenset[str]:
    return frozenset(os.listdir(folder))
