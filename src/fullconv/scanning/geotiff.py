"""A heatmap as a GeoTIFF: one band per class, placed over the image in any program for maps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError, InputError, MissingExtraError
from fullconv.geometry.placement import NOWHERE, Georeference
from fullconv.scanning.describing import transform_of
from fullconv.scanning.storing import LEVELS, NOT_SCANNED
from fullconv.scanning.validity import no_heatmap, valid
from fullconv.sources.trouble import check_block, check_regular
from fullconv.system.disk import to_disk

if TYPE_CHECKING:
    from fullconv.scanning.heatmap import Heatmap

BLOCK = 256
"""Rows and columns of a block of the file, a multiple of 16 as TIFF demands."""

RECORD = "FULLCONV"
"""The name of the metadata that holds fullconv's own record."""


def write_geotiff(heatmap: Heatmap, path: Path) -> None:
    """Write a heatmap as a tiled, compressed GeoTIFF, and read it again from beginning to end.

    The file is read again because GDAL raises nothing if the disk is full when it closes the file
    and has yet to write the file's directory.

    Raises
    ------
    MissingExtraError
        If rasterio is not installed.
    OSError
        If the file is not whole, as on a full disk.
    """
    rasterio = _rasterio(path)
    path.unlink(missing_ok=True)  # GDAL would first read the remains of a try on a full disk
    try:
        written = _write(heatmap, path, rasterio)
        to_disk(path)
        kept, _ = open_geotiff(path)
        with closing(kept.raster):
            read = [crc32(kept[(slice(None), *at)].tobytes()) for at in _blocks(kept.shape)]
        whole = read == written
    except (rasterio.errors.RasterioError, InputError):
        whole = False
    if not whole:
        raise OSError("the GeoTIFF could not be written whole")


def _write(heatmap: Heatmap, path: Path, rasterio: Any) -> list[int]:
    """Write it block by block, and return a checksum of each."""
    from rasterio.windows import Window

    metadata = heatmap.metadata
    place = heatmap.georeference or Georeference(NOWHERE, "")
    transform = transform_of(heatmap)
    count, rows, columns = heatmap.shape
    stored = np.dtype(metadata["dtype"])
    # GDAL knows float16 only since 3.11; every program reads float32.
    dtype = np.dtype(np.float32) if stored == np.float16 else stored
    written = []
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=columns,
        height=rows,
        count=count,
        dtype=dtype.name,
        crs=place.crs or None,
        transform=rasterio.Affine(*transform),
        nodata=NOT_SCANNED if dtype == np.uint8 else float("nan"),
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        compress="deflate",
        bigtiff="if_safer",
    ) as raster:
        for at in _blocks(heatmap.shape):
            block = np.asarray(heatmap.array[(slice(None), *at)], dtype, order="C")
            raster.write(block, window=Window.from_slices(*at))
            written.append(crc32(block.tobytes()))
        for number, name in zip(range(1, count + 1), heatmap.classes, strict=False):
            raster.set_band_description(number, name)
        if dtype == np.uint8:
            raster.scales = [1 / LEVELS] * count
        raster.update_tags(**{RECORD: json.dumps(metadata)})
    return written


def _blocks(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of every block."""
    _, rows, columns = shape
    for top in range(0, rows, BLOCK):
        for left in range(0, columns, BLOCK):
            yield slice(top, min(top + BLOCK, rows)), slice(left, min(left + BLOCK, columns))


class Bands:
    """The bands of a raster, sliced like an array ``(K, rows, columns)``."""

    def __init__(self, path: Path) -> None:
        _rasterio(path)
        from fullconv.sources.gdal import Opening

        check_regular(path)
        # As GeoTIFF and nothing else: GDAL would open the files that a virtual raster refers to.
        self._opening = Opening(path, "GTiff")
        with self._opening.environment():
            self.raster = self._opening.open()
        self.shape = (self.raster.count, self.raster.height, self.raster.width)
        self.dtype = np.dtype(self.raster.dtypes[0])
        self.chunks = (self.shape[0], BLOCK, BLOCK)
        try:
            check_block(str(path), self.raster.block_shapes[0], self.dtype.itemsize)
        except ImageError:
            self.raster.close()
            raise

    def __getitem__(self, place: Any) -> NDArray[Any]:
        """Read the values at an index of whole numbers, slices and lists, as in NumPy."""
        from rasterio.windows import Window

        places = place if isinstance(place, tuple) else (place,)
        if any(p is None or isinstance(p, bool) for p in places):
            raise IndexError(f"{place}: expected whole numbers, slices and lists")
        at = next((i for i, p in enumerate(places) if p is Ellipsis), len(places))
        rest = places[at + 1 :]
        places = (*places[:at], *[slice(None)] * (3 - at - len(rest)), *rest)
        if len(places) > 3 or any(p is Ellipsis for p in rest):
            raise IndexError(f"{place}: expected class, row and column, or fewer")
        sides = [_read_for(p, size) for p, size in zip(places, self.shape, strict=True)]
        bands, rows, columns = (side for side, _ in sides)
        if not all(map(len, (bands, rows, columns))):
            block = np.empty([len(side) for side, _ in sides], self.dtype)
        else:
            window = Window(columns.start, rows.start, len(columns), len(rows))
            with self._opening.environment():
                block = self.raster.read([band + 1 for band in bands], window=window)
        values: NDArray[Any] = block[tuple(inside for _, inside in sides)]
        return values


def _read_for(place: Any, size: int) -> tuple[range, Any]:
    """Return the range of an axis to read for an index, and the index within that range."""
    if isinstance(place, slice):
        wanted = range(size)[place]
        if not wanted:
            return range(0), slice(None)
        first, last = sorted((wanted[0], wanted[-1]))
        return range(first, last + 1), slice(None, None, wanted.step)
    numbers = np.arange(size)[place]  # which also refuses numbers out of range
    if numbers.ndim > 1 or numbers.size == 0:
        return range(size), place
    return range(numbers.min(), numbers.max() + 1), numbers - numbers.min()


def open_geotiff(path: Path) -> tuple[Bands, dict[str, Any]]:
    """Open a heatmap that `write_geotiff` wrote."""
    try:
        bands = Bands(path)
        try:
            return bands, valid(json.loads(bands.raster.tags()[RECORD]))
        except BaseException:
            bands.raster.close()
            raise
    except MissingExtraError:
        raise
    except Exception as error:
        raise no_heatmap(path, error) from None


def check_installed(path: Path) -> None:
    """Check that GeoTIFFs can be written, before the work for one.

    Raises
    ------
    MissingExtraError
        If rasterio is not installed.
    """
    _rasterio(path)


def _rasterio(path: Path) -> Any:
    try:
        import rasterio
    except ImportError:
        raise MissingExtraError(f"The GeoTIFF {path}", "geo") from None
    return rasterio
