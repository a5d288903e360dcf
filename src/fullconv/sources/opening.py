"""Opening a source from a path or an array: choosing the format, level, resolution and bands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fullconv.errors import ImageError, InputError, MissingExtraError
from fullconv.files import check_local
from fullconv.sources import numpy_file
from fullconv.sources.array import open_array
from fullconv.sources.channels import fit_channels, select_bands
from fullconv.sources.pyramid import Pyramid, open_chosen
from fullconv.sources.resized import resized
from fullconv.sources.source import Source
from fullconv.sources.starts import HDF5_START, TIFF_STARTS, VRT_START
from fullconv.sources.trouble import (
    UnreadableKindError,
    check_pixels,
    check_regular,
    reading,
)
from fullconv.wording import kinds, names

SLIDES = (".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm")
"""Endings of whole slides that only OpenSlide reads."""

RASTERS = (".vrt", ".img", ".ecw", ".nc", ".bil", ".asc", ".dem", ".hgt")
"""Endings of rasters that GDAL reads. GDAL also tries files that no other reader knows."""


def open_source(
    source: Any,
    *,
    level: int | None = None,
    um_per_pixel: float | None = None,
    own_um_per_pixel: float | None = None,
    bands: Sequence[int] | None = None,
    dimensions: int = 2,
) -> Source:
    """Open an image of any size for reading, or with other ``dimensions`` a recording or a volume.

    Parameters
    ----------
    source : array, path, or Source
        A NumPy or zarr array ``(H, W)`` or ``(H, W, C)``, a file, a zarr folder, or an open source,
        which is returned as it is. The first page of a file with several pages is read. A camera's
        orientation in the file (EXIF) is not applied: pixels are read as they are stored.
    level : int
        Level of a pyramid; 0 (the default) is the full resolution.
    um_per_pixel : float
        Resolution to read at. The coarsest level that is fine enough is resized to it.
    own_um_per_pixel : float
        Resolution of the full image, where the file gives none or a wrong one.
    bands : sequence of int
        Bands to read, counted from 1, in this order; all by default.
    dimensions : int
        Number of axes beside that of channels: 1 for recordings ``(L,)`` or ``(L, C)``, 3 for
        volumes ``(D, H, W)`` or ``(D, H, W, C)``. These are arrays, ``.npy`` files, or zarr
        arrays.

    Raises
    ------
    ImageError
        If the file is missing, damaged, of an unknown format, or too large for its format, or has
        another number of axes.
    InputError
        If the level, resolution or bands do not exist.
    MissingExtraError
        If reading this format needs an optional package.
    """
    if bands is not None and not isinstance(bands, Sequence):
        raise InputError(
            f"open_source(bands={bands}): expected a list, counted from 1, as in [4, 3, 2]."
        )
    chosen = {
        "level": level,
        "um_per_pixel": um_per_pixel,
        "own_um_per_pixel": own_um_per_pixel,
        "bands": None if bands is None else list(bands),
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if isinstance(source, Source):
        if chosen:
            raise InputError(
                f"open_source({source!r}, {', '.join(f'{k}={v}' for k, v in chosen.items())}): "
                f"the source is open already; choose when it is opened from its path."
            )
        check_dimensions(source, dimensions)
        return source
    path = None
    if isinstance(source, (str, Path)):
        path = str(check_local("open_source(source)", source, reads=True))
    elif np.ma.is_masked(source):
        raise ImageError(
            "open_source(array): some of its pixels are masked, and a masked array's numbers would "
            "be read without its mask; fill them (array.filled(0)), and give scan(mask=...) what "
            "is to be scanned."
        )
    if path is not None:
        pyramid = open_path(Path(path), dimensions)
    elif _is_zarr_array(source):
        from fullconv.sources.zarr_folder import open_held

        pyramid = open_held(source, dimensions)
        path = None if pyramid.name == "array" else pyramid.name
    else:
        pyramid = open_array(np.asarray(source), dimensions)
    try:
        check_pixels(pyramid.name, list(pyramid.sizes))
        opened = open_chosen(pyramid, level, um_per_pixel, own_um_per_pixel)
    except BaseException:
        pyramid.close()
        raise
    if bands is not None:
        try:
            opened = select_bands(opened, bands)
        except InputError:
            opened.close()
            raise
    axes = {} if dimensions == 2 else {"dimensions": dimensions}
    opened.description = {"path": path, **axes, **chosen}
    return opened


def check_dimensions(source: Source, dimensions: int) -> None:
    """Refuse an open source with another number of axes.

    Raises
    ------
    ImageError
        If the number of axes differs; it names the axes of the source.
    """
    axes = len(source.size)
    if axes != dimensions:
        raise ImageError(
            f"{source.name} was opened along {names(axes)}, and {kinds(dimensions)} lie along "
            f"{names(dimensions)}; open it with dimensions={dimensions}, or give another network."
        )


def _is_zarr_array(source: Any) -> bool:
    """Whether this is a zarr array, without importing zarr: its owner has imported it already."""
    zarr = sys.modules.get("zarr")
    return zarr is not None and isinstance(source, zarr.Array)


def reopen(described: Mapping[str, Any]) -> Source:
    """Open a source again from its description (`Source.describe`).

    Raises
    ------
    InputError
        If the source was an array, whose pixels are not stored.
    """
    if described.get("path") is None:
        raise InputError(
            "the scanned image was an array in memory, which is not stored with the result; give "
            "the array again."
        )
    first = ("level", "um_per_pixel", "own_um_per_pixel", "bands", "dimensions")
    opened = open_source(
        described["path"], **{name: described[name] for name in first if name in described}
    )
    for step in described.get("then", []):
        if "channels" in step:
            opened = fit_channels(opened, step["channels"])
        elif "bands" in step:
            opened = select_bands(opened, step["bands"])
        else:
            opened = resized(opened, step["size"])
    return opened


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
