"""Choosing the reader of an image file or folder, by its contents and its ending."""

from __future__ import annotations

from pathlib import Path

from fullconv.errors import ImageError, MissingExtraError
from fullconv.sources import numpy_file
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.starts import HDF5_START, TIFF_STARTS, VRT_START
from fullconv.sources.trouble import (
    UnreadableKindError,
    check_regular,
    reading,
)
from fullconv.wording import kinds, names

SLIDES = (".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm")
"""Endings of whole slides that only OpenSlide reads."""

RASTERS = (".vrt", ".img", ".ecw", ".nc", ".bil", ".asc", ".dem", ".hgt")
"""Endings of rasters that GDAL reads. GDAL also tries files that no other reader knows."""


def open_path(path: Path, dimensions: int = 2) -> Pyramid:
    """Open a file or folder, after recognising its format by its contents, or by its ending."""
    from fullconv.sources.picture import open_picture, picture_format

    with reading(str(path)):
        if not path.exists():
            raise ImageError(f"{path}: no such file; check the path of the image.")
        if path.is_dir():
            return _open_folder(path, dimensions)
        check_regular(path)
        with open(path, "rb") as file:
            start = file.read(64)
    ending = path.suffix.lower()
    if not start:
        raise ImageError(f"{path} is empty; copy or save the image again.")
    if start.startswith(numpy_file.START):
        return numpy_file.open_numpy(path, dimensions)
    if dimensions != 2:
        raise ImageError(
            f"{path}: {kinds(dimensions)}, {names(dimensions)}, are read from .npy files and zarr "
            f"arrays; save it as one of these, or give a network that takes images."
        )
    _refuse_indirect(path, start)
    if ending in SLIDES:
        return _open_slide(path, start)
    if ending in RASTERS:
        return _open_raster(path)
    if start.startswith(TIFF_STARTS):
        return _open_tiff(path)
    known = picture_format(start)
    if known == "JPEG2000" and _installed("rasterio"):
        return _open_raster(path)  # GDAL decodes its tiles one by one
    if known is not None:
        return open_picture(path, known)
    if _installed("rasterio"):
        from fullconv.sources.raster import is_raster

        with reading(str(path)):
            is_known = is_raster(path)
        if is_known:
            return _open_raster(path)
    raise ImageError(
        f"{path} is not an image, or of a kind that fullconv does not know; give a PNG, JPEG, "
        f"TIFF, or zarr, or with the extras 'wsi' and 'geo' a whole slide or a GDAL raster."
    )


def _refuse_indirect(path: Path, start: bytes) -> None:
    """Refuse formats that name other files, unless the file's own ending says so (``.vrt``)."""
    if start.startswith(HDF5_START):
        raise ImageError(
            f"{path} is HDF5 (netCDF-4), which may name other files, so fullconv does not open it; "
            f"save the raster as GeoTIFF, or as classic netCDF (nccopy -k classic)."
        )
    if path.suffix.lower() != ".vrt" and start.lstrip().startswith(VRT_START):
        raise ImageError(
            f"{path} is no picture but a virtual raster of GDAL, which names other files; if you "
            f"trust it, rename it to end in .vrt."
        )


def _open_folder(path: Path, dimensions: int) -> Pyramid:
    from fullconv.sources.ome_collection import is_zarr
    from fullconv.sources.zarr_folder import open_zarr

    if not is_zarr(path):
        raise ImageError(
            f"{path} is a folder without zarr metadata; give an image in it, or a zarr folder."
        )
    return open_zarr(path, dimensions)


def _open_tiff(path: Path) -> Pyramid:
    from fullconv.sources.tiff import open_tiff

    try:
        return open_tiff(path)
    except UnreadableKindError:
        # OpenSlide reads some makers' variants of TIFF, such as JPEG 2000 in YCbCr.
        if _installed("openslide"):
            from fullconv.sources.slide import is_slide

            if is_slide(path):
                return _open_slide(path, TIFF_STARTS[0])
        raise


def _open_slide(path: Path, start: bytes) -> Pyramid:
    if not _installed("openslide"):
        raise MissingExtraError(f"Reading {path}", "wsi")
    from fullconv.sources.slide import open_slide

    if start.startswith(TIFF_STARTS):
        from fullconv.sources.tiff import check_claims

        check_claims(path)

    return open_slide(path)


def _open_raster(path: Path) -> Pyramid:
    if not _installed("rasterio"):
        raise MissingExtraError(f"Reading {path}", "geo")
    from fullconv.sources.raster import open_raster

    return open_raster(path)


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None
