"""Georeferenced rasters, by GDAL through rasterio."""

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
from fullconv.geometry import Pair
from fullconv.sources.contents import NO_PIXELS, files_below
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
from fullconv.sources.source import Georeference, Source
from fullconv.sources.trouble import check_block, damaged, reading
from fullconv.sources.virtual import read_mosaic


class RasterSource(Source):
    """One level of a raster; every thread has a handle of its own, as GDAL requires."""

    def __init__(
        self,
        path: Path,
        opening: Opening,
        parts: Sequence[Path],
        bands: Sequence[int],
        dtype: Any,
        **facts: Any,
    ) -> None:
        super().__init__(str(path), bands=len(bands), dtype=np.dtype(dtype), **facts)
        self._path, self._opening, self._parts, self._bands = path, opening, parts, list(bands)
        self._local = threading.local()
        self._handles: list[Any] = []
        self._lock = threading.Lock()

    def _read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        window = Window.from_slices(rows, columns)
        with reading(self.name), self._opening.environment():
            planes = self._handle().read(self._bands, window=window, out_dtype=self.dtype)
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))

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
            self._path,
            self._opening,
            self._parts,
            [self._bands[band] for band in bands],
            self.dtype,
            size=self.size,
            block=self.block,
            original_size=self.original_size,
            um_per_pixel=self.um_per_pixel,
            georeference=self.georeference,
        )
        chosen.description = self.description | {"bands": [band + 1 for band in bands]}
        self.close()
        return chosen

    def files(self) -> list[Path]:
        return raster_files(self._path, self._parts)

    def close(self) -> None:
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()
        self._local = threading.local()


def is_raster(path: Path) -> bool:
    """Whether one of the drivers that may open a file knows it."""
    return find_opening(path) is not None


def raster_files(path: Path, parts: Sequence[Path]) -> list[Path]:
    """Return the files of a raster: its own, the parts of a mosaic, and those that GDAL lists.

    Those in which GDAL keeps what programs have counted in a raster hold no pixels.
    """
    files = [path, *parts]
    asked = set(files)
    for one in [path, *parts]:
        opening = None if one.suffix.lower() == ".vrt" else find_opening(one)
        if opening is None:
            continue
        with suppress(RasterioError), replace(opening, beside=True).opened() as dataset:
            for listed in map(Path, dataset.files):
                if listed not in asked and not listed.name.endswith(NO_PIXELS):
                    asked.add(listed)
                    files += files_below(listed) if listed.is_dir() else [listed]
    return files


def georeference(path: Path) -> Georeference | None:
    """Return where a raster lies on the ground; None where it does not say."""
    opening = find_opening(path)
    if opening is None:
        return None
    # World files and what ArcGIS writes (.aux.xml) lie beside it.
    with suppress(RasterioError), replace(opening, beside=True).opened() as dataset:
        return _place(dataset)
    return None


def open_raster(path: Path) -> Pyramid:
    """Return a raster and its overviews.

    Raises
    ------
    ImageError
        If no driver that may open it can, or it has no bands of its own.
    """
    name = str(path)
    with reading(name):
        opening, parts = _opening(path)
        with opening.opened() as dataset:
            if dataset.count == 0:
                raise ImageError(
                    f"{name} holds several rasters and no image of its own; save the one to scan."
                )
            dtype = np.result_type(*dataset.dtypes)
            if dtype.kind not in "buif":
                raise ImageError(
                    f"{name} holds {dtype}, which cannot be read as pixels; save it with whole or "
                    f"floating-point numbers."
                )
            bands, place = range(1, dataset.count + 1), _place(dataset)
            openings = [opening, *_smaller(path, opening, dataset)]
        sizes, blocks = [], []
        for one in openings:
            with one.opened() as dataset:
                if dataset.count != len(bands):
                    raise damaged(name, "its smaller versions have other bands")
                sizes.append((dataset.height, dataset.width))
                blocks.append(dataset.block_shapes[0])
        for block in blocks:
            check_block(name, block, dtype.itemsize)

    def open_level(level: int, facts: dict[str, Any]) -> RasterSource:
        return RasterSource(
            *(path, openings[level], parts, bands, dtype),
            size=sizes[level],
            block=blocks[level],
            **facts,
        )

    return Pyramid(name, tuple(sizes), open_level, None, place)


def _opening(path: Path) -> tuple[Opening, tuple[Path, ...]]:
    """Return how a raster is opened, and the other files that it is made of."""
    if path.suffix.lower() == ".vrt":
        mosaic = read_mosaic(path)
        check_neighbours(path)
        return Opening(mosaic.text, "VRT"), tuple(mosaic.parts)
    found = find_opening(path)
    if found is None:
        raise damaged(str(path), "no driver that may read it knows it as a raster")
    return found, ()


def _smaller(path: Path, opening: Opening, dataset: Any) -> Iterator[Opening]:
    """Yield how the overviews of a raster are opened: its own, else those that lie beside it."""
    own = 0 if opening.driver in WITH_HEADER else overviews(dataset)
    for level in range(1, own + 1):
        yield replace(opening, level=level)
    beside = None if own else outer_overviews(path)
    if beside is not None:
        outer = Opening(beside, "GTiff")
        with outer.opened() as first:
            more = overviews(first)
        yield from (replace(outer, level=level) for level in range(more + 1))


def _place(dataset: Any) -> Georeference | None:
    if dataset.transform.is_identity and dataset.crs is None:
        return None
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    return Georeference((a, b, c, d, e, f), "" if dataset.crs is None else dataset.crs.to_wkt())
