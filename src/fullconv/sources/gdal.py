"""What GDAL may open, and under which settings.

Note [A raster is only a file]
------------------------------
GDAL looks at what a file holds and hands it to any of 150 drivers, whatever the file is called.
Some of these drivers read what the file *names*: a virtual raster (VRT) any file or address, an
HDF5 file the bytes of any other file, tile services the network. So no file is opened by all
drivers; each is offered to those in `DRIVERS` in turn, which read the file, and text files beside
it that bear its name. Virtual rasters are read, checked and written anew
(`fullconv.sources.virtual`).

Left out, beside everything that fetches (WMS, WMTS, WCS, EEDA, STAC, HTTP, MRF, PLMosaic):
HDF5, and with it netCDF-4, BAG and the like (external storage names any file); PCIDSK (linked
channels), ERS (translated headers), PDS and ISIS (labels), GTI (tile indexes), which name others
too; NITF and GRIB, which open what lies inside them by any driver; GeoPackage and MBTiles, whose
database may define tables that open other files.

A second way leads out of any raster: metadata of the domain ``OVERVIEWS`` name the file that holds
its smaller versions, and GDAL opens it, by any driver, when it is asked for them. So what has such
metadata is never asked (`overviews`). A third leads over files beside the raster (``.ovr``,
``.msk``, ``.aux``), which are looked at before (`check_neighbours`), and hidden from GDAL where the
format does not need its neighbours.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from fullconv.errors import ImageError, MissingExtraError
from fullconv.sources.sidecars import placing
from fullconv.sources.trouble import check_regular, check_text, quiet

try:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.errors import RasterioError as RasterioError
    from rasterio.windows import Window as Window
except ImportError:
    raise MissingExtraError("Reading georeferenced rasters", "geo") from None

ALONE = (
    *("GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "ECW", "MrSID", "HFA"),
    *("PNG", "JPEG", "WEBP", "BMP", "GIF", "netCDF"),
)
"""Drivers that read one file; those that are not built into this GDAL are passed over."""

WITH_HEADER = (
    *("ENVI", "EHdr", "AAIGrid", "GRASSASCIIGrid", "USGSDEM", "SRTMHGT", "DTED"),
    *("GSAG", "GSBG", "GS7BG"),
)
"""Drivers that read a file and, beside it, text of the same name: ``.hdr``, ``.prj``, ``.clr``."""

DRIVERS = ALONE + WITH_HEADER
"""All drivers that may open what a user names, in the order in which they are asked."""

TEXTS = (".hdr", ".aux.xml", ".prj", ".clr", ".stx", ".tab", ".imd", ".rpb", ".tfw", ".wld")
"""Endings of text that GDAL looks for beside a raster."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HFA_START = b"EHFA_HEADER_TAG\0"
NETCDF_STARTS = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
"""Of netCDF only the classic formats: the fourth is HDF5."""

CACHE_MB = 128
"""GDAL keeps decoded blocks, of all open files together; by itself it takes 5 % of the memory."""


@dataclass(frozen=True)
class Opening:
    """How a raster, or one of its smaller versions, is opened.

    Attributes
    ----------
    place : Path or str
        A file, GDAL's name of a page in it, or the text of a checked virtual raster.
    driver : str
        The only driver that may open it.
    level : int
        0 for the raster itself, else one of its overviews.
    beside : bool
        Whether GDAL may look at what lies beside it (`check_neighbours`).
    """

    place: Path | str
    driver: str
    level: int = 0
    beside: bool = False

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Set what holds for GDAL in this thread while the raster is opened and read.

        Nothing that may open a file here uses the network or runs code; the settings that forbid
        both are a second lock.
        """
        settings: dict[str, Any] = {
            "GDAL_CACHEMAX": CACHE_MB,
            "GDAL_VRT_ENABLE_PYTHON": "NO",
            "GDAL_DISABLE_READDIR_ON_OPEN": "NO" if self.beside else "EMPTY_DIR",
            "CPL_VSIL_CURL_ALLOWED_FILENAME": _nothing(),
            "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": _nothing(),
        }
        with rasterio.Env(**settings):
            yield

    def open(self) -> Any:
        """Open it, in an `environment`, in which it must also be read."""
        chosen = {} if self.level == 0 else {"overview_level": self.level - 1}
        # An absolute path cannot be taken for an address, or for what some driver calls its own.
        place = os.path.abspath(self.place) if isinstance(self.place, Path) else self.place
        # That a raster has no place on the ground is no reason to warn of anything here.
        with quiet(NotGeoreferencedWarning):
            return rasterio.open(place, driver=self.driver, **chosen)

    def of_page(self, offset: int) -> Opening:
        """Return how a page of a TIFF is opened, by where its directory begins in the file."""
        return replace(self, place=f"GTIFF_DIR:off:{offset}:{os.path.abspath(self.place)}")

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """Give the open raster, and close it."""
        with self.environment(), self.open() as dataset:
            yield dataset


@cache
def _nothing() -> str:
    """Return a name that no address has."""
    return secrets.token_hex(16)


def find_opening(path: Path) -> Opening | None:
    """Return how a file is opened, by the first of `DRIVERS` that knows it; None if none does.

    Raises
    ------
    ImageError
        If it is no file, or what lies beside it could lead elsewhere.
    """
    check_regular(path)
    check_neighbours(path)
    for ending in TEXTS:
        for named in (path, path.with_suffix("")):
            for beside in _there(named, ending):
                check_text(beside)
    list(placing(path))
    for driver in DRIVERS:
        opening = Opening(path, driver, beside=driver in WITH_HEADER)
        if driver in _registered() and (driver != "netCDF" or _begins(path, *NETCDF_STARTS)):
            with contextlib.suppress(RasterioError), opening.opened():
                return opening
    return None


@cache
def _registered() -> frozenset[str]:
    with rasterio.Env() as env:
        return frozenset(env.drivers())


def overviews(dataset: Any) -> int:
    """Count the smaller versions that a raster holds itself (Note [A raster is only a file])."""
    if names_overviews(dataset):
        return 0
    return len(dataset.overviews(1))


def names_overviews(dataset: Any) -> bool:
    """Whether a raster's metadata name another file to look for overviews in."""
    return bool(dataset.tags(ns="OVERVIEWS"))


def outer_overviews(path: Path) -> Path | None:
    """Return the file of smaller versions that lies beside a raster; None where none does."""
    return next(_there(path, ".ovr"), None)


def check_neighbours(path: Path) -> None:
    """Refuse a raster beside which lies what GDAL would open with it, and is not what it should be.

    GDAL opens ``.ovr`` and ``.msk`` by any driver, and so what begins as Imagine files do (all but
    the zero at the end of their mark) under the name ``.aux``. Drivers that look for text, as that
    of virtual rasters, give up at a zero.

    Raises
    ------
    ImageError
        With the name of the neighbour.
    """
    for beside in (*_there(path, ".aux"), *_there(path.with_suffix(""), ".aux")):
        if beside != path and _begins(beside, HFA_START[:-1]) and not _begins(beside, HFA_START):
            raise _out_of_place(beside, path, "is no Imagine file")
    for beside in (*_there(path, ".ovr"), *_there(path, ".msk")):
        if not _begins(beside, *TIFF_STARTS):
            raise _out_of_place(beside, path, "is no TIFF")
        try:
            with Opening(beside, "GTiff").opened() as dataset:
                leads_on = names_overviews(dataset)
        except RasterioError:
            raise _out_of_place(beside, path, "is damaged") from None
        if leads_on:
            raise _out_of_place(beside, path, "names another file in its metadata")
        check_neighbours(beside)


def _there(path: Path, ending: str) -> Iterator[Path]:
    """Yield which of the two names with an ending more are files."""
    for more in (ending, ending.upper()):
        beside = path.with_name(path.name + more)
        if os.path.lexists(beside):
            check_regular(beside)
            yield beside


def _out_of_place(beside: Path, path: Path, why: str) -> ImageError:
    return ImageError(
        f"{beside} lies beside {path.name}, where GDAL would open it, and {why}; make it again, or "
        f"move it away."
    )


def _begins(path: Path, *starts: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(64).startswith(starts)
