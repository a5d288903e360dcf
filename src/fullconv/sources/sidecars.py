"""The files beside an image that give its place on the ground."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fullconv.geometry.placement import Georeference
from fullconv.sources.trouble import check_text

PAM_BYTES = 1 << 20
"""The length of a file beside an image that is searched for a place."""

PAM_PLACES = (b"<SRS", b"<GeoTransform", b"<GCPList", b'domain="RPC"', b"GeodataXform")
"""Texts that mark a place in GDAL's or ArcGIS's .aux.xml; most such files hold only statistics."""

TAB_PLACES = (b'type "raster"',)
"""Texts, in lower case, that mark a table of MapInfo (.tab) as the place of an image."""

STILL_NS = 2_000_000_000
"""The listing of a folder is cached once the folder has not changed for this long."""

RPC_ENDINGS = ("_RPC.TXT", "_rpc.txt", ".RPB", ".rpb")


@dataclass(frozen=True)
class Place:
    """The place of an image, and remarks on it for the user.

    Attributes
    ----------
    georeference : Georeference or None
    remarks : tuple of str
        Lines about places that are not used, or not exact.
    """

    georeference: Georeference | None = None
    remarks: tuple[str, ...] = ()


def placing(path: Path) -> Iterator[Path]:
    """Yield the files beside an image that give its place, by the names that GDAL knows.

    Raises
    ------
    ImageError
        If one of them is not a regular file, or too long for text.
    """
    for file in _placing(path):
        if file.suffix.lower() == ".tab" and not _holds(file, TAB_PLACES):
            continue  # some other table
        check_text(file)
        if not file.name.endswith(".aux.xml") or _holds(file, PAM_PLACES):
            yield file


def _holds(path: Path, words: tuple[bytes, ...]) -> bool:
    with path.open("rb") as file:
        data = file.read(PAM_BYTES)
    data = data.lower() if words is TAB_PLACES else data
    return any(word in data for word in words)


def pam_of(path: Path) -> bytes | None:
    """Return GDAL's .aux.xml of an image; None without one.

    Raises
    ------
    ImageError
        If it is not a regular file, or too long for text.
    """
    file = path.with_name(f"{path.name}.aux.xml")
    if file.name not in _names(path.parent):
        return None
    check_text(file)
    return file.read_bytes()


def _placing(path: Path) -> Iterator[Path]:
    there = _names(path.parent)
    ending = path.suffix[1:]
    # World files end with the first and last letter of the ending and a w, as in .jgw, or with the
    # whole ending and a w.
    worlds = [ending[:1] + ending[-1:] + "w", f"{ending}w", "wld"] if ending else ["wld"]
    names = dict.fromkeys(f".{name}" for n in worlds for name in (n, n.lower(), n.upper()))
    worlds_of_it = (path.with_suffix(name) for name in names)
    yield from (file for file in worlds_of_it if file.name in there and file != path)
    others = [path.with_name(f"{path.name}.aux.xml"), path.with_suffix(".aux.xml")]
    others += [path.with_name(path.stem + name) for name in (*RPC_ENDINGS, ".tab", ".TAB")]
    yield from (file for file in others if file.name in there)


def _names(folder: Path) -> frozenset[str]:
    """Return the names in a folder, from a cache if the folder has not changed.

    Looking up every possible name of a file beside an image takes as long as reading a small image.
    """
    try:
        changed = folder.stat().st_mtime_ns
        # Clocks of file systems are coarse: a second change in the same tick would go unnoticed.
        if time.time_ns() - changed < STILL_NS:
            return frozenset(os.listdir(folder))
        return _listed(folder, changed)
    except OSError:
        return frozenset()


@lru_cache(maxsize=4)
def _listed(folder: Path, changed: int) -> frozenset[str]:
    return frozenset(os.listdir(folder))
