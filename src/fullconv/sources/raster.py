"""Georeferenced rasters, by GDAL through rasterio."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError, MissingExtraError
from fullconv.geometry import Pair
from fullconv.placement import Georeference
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.raster_pixels import Meaning, check_parts
from fullconv.sources.sidecars import Place
from fullconv.sources.source import Facts, Source
from fullconv.sources.trouble import check_block, file_stamp, reading

try:
    import rasterio
    from rasterio.windows import Window
except ImportError:
    raise MissingExtraError("Reading georeferenced rasters", "geo") from None

CACHE_MB = 128
"""GDAL keeps decoded blocks, of all open files together; by itself it takes 5 % of the memory."""


class RasterSource(Source):
    """One level of a raster; every thread has a handle of its own, as GDAL requires."""

    def __init__(
        self,
        path: Path,
        level: int,
        bands: Sequence[int],
        meaning: Meaning,
        size: Pair,
        block: Pair,
        facts: Facts,
    ) -> None:
        super().__init__(str(path), size, len(bands), meaning.dtype, block=block, facts=facts)
        self._path, self._level, self._bands = path, level, list(bands)
        self._meaning = meaning
        self._local = threading.local()
        self._handles: list[Any] = []
        self._lock = threading.Lock()

    def _read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        window = Window.from_slices(rows, columns)
        with reading(self.name), rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            planes = self._handle().read(
                [1] if self._meaning.table is not None else self._bands,
                window=window,
                out_dtype=self._meaning.stored,
            )
        pixels = self._meaning.pixels(np.moveaxis(planes, 0, -1))
        if self._meaning.table is not None:
            pixels = pixels[:, :, [band - 1 for band in self._bands]]
        return np.ascontiguousarray(pixels)

    def _handle(self) -> Any:
        handle = getattr(self._local, "handle", None)
        if handle is None:
            handle = self._local.handle = _open(self._path, self._level)
            with self._lock:
                self._handles.append(handle)
        return handle

    def select(self, bands: Sequence[int]) -> Source:
        """Return a source that reads only these bands."""
        chosen = RasterSource(
            self._path,
            self._level,
            [self._bands[band] for band in bands],
            self._meaning,
            self.size,
            self.block,
            self.facts_of(bands),
        )
        chosen.description = self.description | {"bands": [band + 1 for band in bands]}
        self.close()
        return chosen

    def stamp(self) -> Any:
        return file_stamp(self._path)

    def close(self) -> None:
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()
        self._local = threading.local()


def is_raster(path: Path) -> bool:
    """Whether GDAL knows a file."""
    with suppress(rasterio.errors.RasterioError):
        _open(path, 0).close()
        return True
    return False


def place_of(path: Path) -> Place:
    """Return where a file lies on the ground; nowhere where GDAL does not know it."""
    with suppress(rasterio.errors.RasterioError), _open(path, 0) as dataset:
        return _place(dataset)
    return Place()


def open_raster(path: Path) -> Pyramid:
    """Return a raster and its overviews.

    Raises
    ------
    ImageError
        If GDAL cannot read it, or it has no bands of its own.
    """
    name = str(path)
    with reading(name), _open(path, 0) as dataset:
        if dataset.count == 0:
            raise ImageError(
                f"{name} holds several rasters and no image of its own; save the one to scan."
            )
        check_parts(name, dataset.files)
        meaning = Meaning.of(dataset)
        if meaning.stored.kind not in "buif":
            raise ImageError(
                f"{name} holds {meaning.stored}, which cannot be read as pixels; save it with "
                f"whole or floating-point numbers."
            )
        bands = range(1, len(meaning.channels) + 1)
        sizes, blocks = [(dataset.height, dataset.width)], [dataset.block_shapes[0]]
        place = _place(dataset)
        for level in range(1, len(dataset.overviews(1)) + 1):
            with _open(path, level) as overview:
                sizes.append((overview.height, overview.width))
                blocks.append(overview.block_shapes[0])
        for block in blocks:
            check_block(name, block, meaning.stored.itemsize)

    def open_level(level: int, facts: Facts) -> RasterSource:
        return RasterSource(path, level, bands, meaning, sizes[level], blocks[level], facts)

    return Pyramid(
        name,
        tuple(sizes),
        open_level,
        georeference=place.georeference,
        channels=meaning.channels,
        remarks=place.remarks,
    )


def _open(path: Path, level: int) -> Any:
    """Open the raster itself (level 0) or one of its overviews."""
    chosen = {} if level == 0 else {"overview_level": level - 1}
    with warnings.catch_warnings():
        # That a raster has no place on the ground is no reason to warn of anything here.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, **chosen)


def _place(dataset: Any) -> Place:
    """Return where a dataset lies: by its transform, or by one that fits its control points."""
    name, crs = dataset.name, dataset.crs
    if not dataset.transform.is_identity:
        return Place(_georeference(dataset.transform, crs))
    points, crs_of_points = dataset.gcps
    if points:
        return _fitted(name, points, crs_of_points)
    if dataset.rpcs is not None:
        kind = "rational polynomials (RPC)"
    elif dataset.tags(ns="GEOLOCATION"):
        kind = "coordinates of single pixels (geolocation arrays)"
    elif crs is not None:
        kind = "a reference system alone, and no transform"
    else:
        return Place()
    line = f"{name} lies on the ground by {kind}, which fullconv does not use; warp it first"
    return Place(None, (f"{line} (gdalwarp).",))


def _fitted(name: str, points: Sequence[Any], crs: Any) -> Place:
    """Return the place by the affine transform that fits control points best, and how well.

    By least squares on the ground (GDAL's own gives no sign where points lie on one line).
    """
    known = f"{name} lies on the ground by {len(points)} control points"
    places = np.array([(point.col, point.row) for point in points])
    ground = np.array([(point.x, point.y) for point in points])
    # Both around their middle: coordinates on the ground are large, and their differences small.
    middle, centre = places.mean(axis=0), ground.mean(axis=0)
    centred = np.column_stack([places - middle, np.ones(len(points))])
    found, _, rank, _ = np.linalg.lstsq(centred, ground - centre)
    turned = found[:2].T
    if rank < 3 or not np.isfinite(found).all() or not np.linalg.det(turned):
        return Place(None, (f"{known}, to which no transform can be fitted; warp it first.",))
    begin = found[2] + centre - turned @ middle
    apart = centred @ found - (ground - centre)
    missed = np.linalg.norm(np.linalg.solve(turned, apart.T), axis=0)
    rms, most = (round(float(n), 6) for n in (np.sqrt((missed**2).mean()), missed.max()))
    line = f"{known}; the transform that fits them best misses them by {rms:.2g} pixels (RMS)"
    transform = (*turned[0], begin[0], *turned[1], begin[1])
    return Place(_georeference(transform, crs), (f"{line}, {most:.2g} at most.",))


def _georeference(transform: Sequence[Any], crs: Any) -> Georeference:
    a, b, c, d, e, f = (float(n) for n in tuple(transform)[:6])
    return Georeference((a, b, c, d, e, f), "" if crs is None else crs.to_wkt())
