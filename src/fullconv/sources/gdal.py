"""The files that GDAL may open, and its settings for them.

Note [A raster is only a file]
------------------------------
GDAL chooses one of 150 drivers by a file's contents, whatever its name. Some of these drivers read
other places that the file *names*: a virtual raster (VRT) any file or address, an HDF5 file the
bytes of any other file, tile services the network. So a file is never offered to all drivers, but
only to those in `DRIVERS`, in turn. These read the file itself, and text files of the same name
beside it. Virtual rasters are read, checked and rewritten (`fullconv.sources.virtual`).

These formats are left out, beside all that fetch (WMS, WMTS, WCS, EEDA, STAC, HTTP, MRF, PLMosaic):
HDF5, and with it netCDF-4 and BAG (external storage names any file); PCIDSK (linked channels), ERS
(translated headers), PDS and ISIS (labels) and GTI (tile indexes), which name other files too; NITF
and GRIB, which open their contents by any driver; GeoPackage and MBTiles, whose database may define
tables that open other files.

A second way out exists in every raster: metadata of the domain ``OVERVIEWS`` name the file of its
overviews, and GDAL opens that file, by any driver, when overviews are requested. So they are never
requested from a raster with such metadata (`overviews`). A third way out is through files beside
the raster (``.ovr``, ``.msk``, ``.aux``). These are checked first (`check_neighbours`), and hidden
from GDAL where the format does not need them.
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
from fullconv.sources.starts import HFA_START, NETCDF_STARTS, TIFF_STARTS
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
"""Drivers that read one file. Those that this build of GDAL lacks are skipped."""

WITH_HEADER = (
    *("ENVI", "EHdr", "AAIGrid", "GRASSASCIIGrid", "USGSDEM", "SRTMHGT", "DTED"),
    *("GSAG", "GSBG", "GS7BG"),
)
"""Drivers that read a file, and text files beside it of its name: ``.hdr``, ``.prj``, ``.clr``."""

DRIVERS = ALONE + WITH_HEADER
"""All drivers that may open a file of the user's, in the order in which they are tried."""

TEXTS = (".hdr", ".aux.xml", ".prj", ".clr", ".stx", ".tab", ".imd", ".rpb", ".tfw", ".wld")
"""Endings of the text files that GDAL looks for beside a raster."""


CACHE_MB = 128
"""GDAL's cache of decoded blocks, shared by all open files; its default is 5 % of the memory."""


@dataclass(frozen=True)
class Opening:
    """The arguments for opening a raster, or one of its overviews.

    Attributes
    ----------
    place : Path or str
        A file, GDAL's name of a page in it, or the text of a checked virtual raster.
    driver : str
        The only driver that may open it.
    level : int
        0 for the raster itself, else one of its overviews.
    beside : bool
        Whether GDAL may see the files beside it (`check_neighbours`).
    """

    place: Path | str
    driver: str
    level: int = 0
    beside: bool = False

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Set GDAL's options in this thread while the raster is opened and read.

        No driver in `DRIVERS` uses the network or runs code. The options that forbid both are a
        second safeguard.
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
        """Open the raster. This and all reading must happen in an `environment`."""
        chosen = {} if self.level == 0 else {"overview_level": self.level - 1}
        # An absolute path cannot be mistaken for an address, or for a driver's prefix.
        place = os.path.abspath(self.place) if isinstance(self.place, Path) else self.place
        # A raster without a place on the ground is normal, and needs no warning.
        with quiet(NotGeoreferencedWarning):
            return rasterio.open(place, driver=self.driver, **chosen)

    def of_page(self, offset: int) -> Opening:
        """Return the opening of a page of a TIFF, by the offset of its directory in the file."""
        return replace(self, place=f"GTIFF_DIR:off:{offset}:{os.path.abspath(self.place)}")

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """Yield the open raster, and close it afterwards."""
        with self.environment(), self.open() as dataset:
            yield dataset


@cache
def _nothing() -> str:
    """Return a random name that no address has."""
    return secrets.token_hex(16)


def find_opening(path: Path) -> Opening | None:
    """Return the opening of a file, by the first of `DRIVERS` that accepts it; None if none does.

    Raises
    ------
    ImageError
        If it is not a file, or a file beside it could lead GDAL elsewhere.
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
    """Count the overviews inside a raster's own file (Note [A raster is only a file])."""
    if names_overviews(dataset):
        return 0
    return len(dataset.overviews(1))


def names_overviews(dataset: Any) -> bool:
    """Whether a raster's metadata name another file for its overviews."""
    return bool(dataset.tags(ns="OVERVIEWS"))


def outer_overviews(path: Path) -> Path | None:
    """Return the file of overviews beside a raster; None without one."""
    return next(_there(path, ".ovr"), None)


def check_neighbours(path: Path) -> None:
    """Refuse a raster if GDAL would open a file beside it that does not have its proper format.

    GDAL opens ``.ovr`` and ``.msk`` by any driver. So it does ``.aux``, if that begins like an
    Imagine file, even without the zero at the end of the mark. With the zero no text driver, such
    as that of virtual rasters, accepts the file.

    Raises
    ------
    ImageError
        If the raster is refused; it names the neighbour.
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
    """Yield the existing files named after ``path`` with ``ending`` added, in either case."""
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
