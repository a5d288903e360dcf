"""Georeferenced rasters, read by GDAL through rasterio."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry.grid import Sizes, Span
from fullconv.geometry.placement import Georeference
from fullconv.sources.colours import GREY
from fullconv.sources.contents import NO_PIXELS, visible_files
from fullconv.sources.gdal import (
    WITH_HEADER,
    Opening,
    RasterioError,
    Window,
    check_neighbours,
    find_opening,
    outer_overviews,
    overviews,
)
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.raster_pixels import Meaning, check_parts
from fullconv.sources.sidecars import Place
from fullconv.sources.source import Facts, Source
from fullconv.sources.trouble import check_block, damaged, reading
from fullconv.sources.virtual import read_mosaic


class RasterSource(Source):
    """One level of a raster; every thread opens its own handle, as GDAL requires."""

    def __init__(
        self,
        path: Path,
        opening: Opening,
        parts: Sequence[Path],
        bands: Sequence[int],
        meaning: Meaning,
        size: Sizes,
        block: Sizes,
        facts: Facts,
    ) -> None:
        super().__init__(str(path), size, len(bands), meaning.dtype, block=block, facts=facts)
        self._path, self._opening, self._parts, self._bands = path, opening, parts, list(bands)
        self._meaning = meaning
        self._local = threading.local()
        self._handles: list[Any] = []
        self._lock = threading.Lock()

    def _read(self, *spans: Span) -> NDArray[Any]:
        window = Window.from_slices(*spans)
        with reading(self.name), self._opening.environment():
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
            handle = self._local.handle = self._opening.open()
            with self._lock:
                self._handles.append(handle)
        return handle

    def select(self, bands: Sequence[int]) -> Source:
        """Return a source that reads only these bands."""
        chosen = RasterSource(
            path=self._path,
            opening=self._opening,
            parts=self._parts,
            bands=[self._bands[band] for band in bands],
            meaning=self._meaning,
            size=self.size,
            block=self.block,
            facts=self.facts_of(bands),
        )
        chosen.description = self.description | {"bands": [band + 1 for band in bands]}
        self.close()
        return chosen

    def numbers(self) -> Source:
        if not self._meaning.has_colours:
            return self
        facts = replace(self.facts, channels=GREY)
        meaning = replace(self._meaning, table=None, channels=GREY)
        return RasterSource(
            *(self._path, self._opening, self._parts, [1], meaning, self.size, self.block, facts)
        )

    def files(self) -> list[Path]:
        return raster_files(self._path, self._parts)

    def close(self) -> None:
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()
        self._local = threading.local()


def is_raster(path: Path) -> bool:
    """Whether one of the drivers that may open a file accepts it."""
    return find_opening(path) is not None


def raster_files(path: Path, parts: Sequence[Path]) -> list[Path]:
    """Return the files of a raster: its own, the parts of a mosaic, and those that GDAL lists.

    Files of statistics (`NO_PIXELS`) are left out.
    """
    files = [path, *parts]
    asked = set(files)
    for one in [path, *parts]:
        opening = None
        with suppress(OSError):  # a missing part is still listed
            opening = None if one.suffix.lower() == ".vrt" else find_opening(one)
        if opening is None:
            continue
        with suppress(RasterioError), replace(opening, beside=True).opened() as dataset:
            for listed in map(Path, dataset.files):
                if listed not in asked and not listed.name.endswith(NO_PIXELS):
                    asked.add(listed)
                    files += visible_files(listed) if listed.is_dir() else [listed]
    return files


def place_of(path: Path, offset: int | None = None) -> Place:
    """Return the place of a file on the ground; an empty one if no permitted driver accepts it.

    ``offset`` is the offset of a page's directory in a TIFF; the first page is the default.
    """
    opening = find_opening(path)
    if opening is not None and offset is not None:
        opening = opening.of_page(offset)
    return Place() if opening is None else _place_beside(path, opening)


def _place_beside(path: Path, opening: Opening) -> Place:
    """Return the place of a raster, also from world files and ArcGIS metadata (.aux.xml)."""
    with suppress(RasterioError), replace(opening, beside=True).opened() as dataset:
        return _place(str(path), dataset)
    return Place()


def open_raster(path: Path) -> Pyramid:
    """Return a raster and its overviews as a pyramid.

    Raises
    ------
    ImageError
        If no permitted driver can open the raster, or it has no bands of its own.
    """
    name = str(path)
    with reading(name):
        opening, parts = _opening(path)
        with opening.opened() as dataset:
            if dataset.count == 0:
                raise ImageError(
                    f"{name} holds several rasters and no image of its own; save the one to scan."
                )
            meaning, count = Meaning.of(dataset), dataset.count
            nodata = dataset.nodata
            check_parts(name, parts, meaning, str(opening.place))
            if meaning.stored.kind not in "buif":
                raise ImageError(
                    f"{name} holds {meaning.stored}, which cannot be read as pixels; save it with "
                    f"whole or floating-point numbers."
                )
            place = _place(name, dataset)
            openings = [opening, *_smaller(path, opening, dataset)]
        if opening.driver != "VRT":
            place = _place_beside(path, opening)
        bands = range(1, len(meaning.channels) + 1)
        sizes, blocks = [], []
        for one in openings:
            with one.opened() as dataset:
                if dataset.count != count:
                    raise damaged(name, "its smaller versions have other bands")
                sizes.append((dataset.height, dataset.width))
                blocks.append(dataset.block_shapes[0])
        for block in blocks:
            check_block(name, block, meaning.stored.itemsize)

    def open_level(level: int, facts: Facts) -> RasterSource:
        return RasterSource(
            *(path, openings[level], parts, bands, meaning, sizes[level], blocks[level], facts)
        )

    return Pyramid(
        name,
        tuple(sizes),
        open_level,
        georeference=place.georeference,
        channels=meaning.channels,
        remarks=place.remarks,
        nodata=meaning.nodata(nodata),
    )


def _opening(path: Path) -> tuple[Opening, tuple[Path, ...]]:
    """Return the opening of a raster, and the parts of a mosaic."""
    if path.suffix.lower() == ".vrt":
        mosaic = read_mosaic(path)
        check_neighbours(path)
        return Opening(mosaic.text, "VRT"), tuple(mosaic.parts)
    opening = find_opening(path)
    if opening is None:
        raise damaged(str(path), "no driver that may read it knows it as a raster")
    return opening, ()


def _smaller(path: Path, opening: Opening, dataset: Any) -> Iterator[Opening]:
    """Yield the openings of a raster's overviews: those inside it, else those beside it."""
    own = 0 if opening.driver in WITH_HEADER else overviews(dataset)
    for level in range(1, own + 1):
        yield replace(opening, level=level)
    beside = None if own else outer_overviews(path)
    if beside is not None:
        outer = Opening(beside, "GTiff")
        with outer.opened() as first:
            more = overviews(first)
        yield from (replace(outer, level=level) for level in range(more + 1))


def _place(name: str, dataset: Any) -> Place:
    """Return the place of a dataset, from its transform or fitted to its control points."""
    crs = dataset.crs
    if not np.isfinite(tuple(dataset.transform)[:6]).all():
        raise damaged(name, "it lies at coordinates that are not finite")
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
    """Return the place by the affine transform that fits control points best, and its error.

    The fit is by least squares on the ground. GDAL's own fit does not report points on one line.
    """
    known = f"{name} lies on the ground by {len(points)} control points"
    places = np.array([(point.col, point.row) for point in points])
    ground = np.array([(point.x, point.y) for point in points])
    # Both are centred: coordinates on the ground are large, and their differences small.
    middle, centre = places.mean(axis=0), ground.mean(axis=0)
    centred = np.column_stack([places - middle, np.ones(len(points))])
    solution, _, rank, _ = np.linalg.lstsq(centred, ground - centre)
    linear = solution[:2].T
    if rank < 3 or not np.isfinite(solution).all() or not np.linalg.det(linear):
        return Place(None, (f"{known}, to which no transform can be fitted; warp it first.",))
    begin = solution[2] + centre - linear @ middle
    residuals = centred @ solution - (ground - centre)
    missed = np.linalg.norm(np.linalg.solve(linear, residuals.T), axis=0)
    rms, most = (round(float(n), 6) for n in (np.sqrt((missed**2).mean()), missed.max()))
    line = f"{known}; the transform that fits them best misses them by {rms:.2g} pixels (RMS)"
    transform = (*linear[0], begin[0], *linear[1], begin[1])
    return Place(_georeference(transform, crs), (f"{line}, {most:.2g} at most.",))


def _georeference(transform: Sequence[Any], crs: Any) -> Georeference:
    a, b, c, d, e, f = (float(n) for n in tuple(transform)[:6])
    return Georeference((a, b, c, d, e, f), "" if crs is None else crs.to_wkt())
