"""Opening a source from a path or an array: choosing the level, resolution and bands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from fullconv.errors import ImageError, InputError
from fullconv.sources.array import open_array
from fullconv.sources.channels import fit_channels, select_bands
from fullconv.sources.formats import open_path
from fullconv.sources.given import ImageLike
from fullconv.sources.pyramid import Pyramid, open_chosen
from fullconv.sources.resized import resized
from fullconv.sources.source import Source
from fullconv.sources.trouble import (
    check_pixels,
)
from fullconv.system.files import check_local
from fullconv.wording import kinds, names

if TYPE_CHECKING:
    import zarr


def open_source(
    source: ImageLike,
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
    pyramid, path = _pyramid_of(source, dimensions)
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


def _pyramid_of(source: ImageLike, dimensions: int) -> tuple[Pyramid, str | None]:
    """Return all levels of a path or an array, and its path."""
    if isinstance(source, (str, Path)):
        path = str(check_local("open_source(source)", source, reads=True))
        return open_path(Path(path), dimensions), path
    if np.ma.is_masked(source):
        raise ImageError(
            "open_source(array): some of its numbers are masked, and a masked array would be read "
            "without its mask; fill them (array.filled(0)), and give scan(mask=...) what "
            "is to be scanned."
        )
    if _is_zarr_array(source):
        from fullconv.sources.zarr_folder import open_zarr_array

        pyramid = open_zarr_array(source, dimensions)
        return pyramid, None if pyramid.name == "array" else pyramid.name
    return open_array(np.asarray(source), dimensions), None


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


def _is_zarr_array(source: ImageLike) -> TypeGuard[zarr.Array[Any]]:
    """Whether this is a zarr array, without importing zarr: its owner has imported it already."""
    loaded = sys.modules.get("zarr")
    return loaded is not None and isinstance(source, loaded.Array)


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
