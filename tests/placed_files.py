"""Files whose right pixels and places are known by hand, for `test_placed_files`.

``python tests/placed_files.py FOLDER`` writes them, to be tried by hand. All hold the same field
of 96x128 pixels of noise with one bright square, and say in their own ways where they lie. To have
one more format tested, add a line to `FILES`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

SIZE = (96, 128)
OBJECT = (60, 40, 92, 72)
"""The bright square, as x0, y0, x1, y1, as large as a window."""

PIXELS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
UTM = (10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0)
"""Squares of 10 m, north up."""

TURNED = (8.0, 6.0, 500000.0, 6.0, -8.0, 5000000.0)
ON_GROUND = [(500000.0, 5e6), (501280.0, 5e6), (500000.0, 4999040.0), (501280.0, 4999040.0)]
"""The corners of the field, by `UTM`."""

SOUTH = (10.0, 0.0, 500000.0, 0.0, 10.0, 5000000.0)

Write = Callable[[Path], Any]


@dataclass(frozen=True)
class Placed:
    """A file, and what is to come of it.

    Attributes
    ----------
    name : str
    write : callable
        Writes it at a path.
    pixels : NDArray
        ``(H, W, bands)`` as they are to be read.
    transform : tuple of six float
        World coordinates of its pixels at full resolution, as in `Georeference`.
    crs : str
        What the reference system is called; empty where there is none.
    options : mapping
        How it is opened.
    step : float
        Pixels at full resolution of a pixel that is read.
    needs : str
        A package without which it is not read.
    by_gdal : str
        What GDAL calls the page of the path that is meant.
    um : float
        Micrometres of a pixel at full resolution, where a file says no more.
    """

    name: str
    write: Write
    pixels: NDArray[Any]
    transform: tuple[float, ...] = PIXELS
    crs: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    step: float = 1.0
    needs: str = "numpy"
    by_gdal: str = "{}"
    um: float = 1.0

    def __str__(self) -> str:
        return self.name

    @property
    def box(self) -> tuple[float, ...]:
        """The object at full resolution: x0, y0, x1, y1."""
        return tuple(self.step * edge for edge in OBJECT)


def spot(seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Return the field."""
    field_ = np.random.default_rng(seed).integers(0, 100, size, np.uint8)
    x0, y0, x1, y1 = OBJECT
    field_[y0:y1, x0:x1] = 255
    return field_


def colours() -> NDArray[np.uint8]:
    """Return the field in RGB: the object is white."""
    return np.dstack([spot(1), spot(2), spot(3)])


def ome_zarr(
    levels: list[NDArray[Any]],
    transforms: list[list[tuple[str, list[float]]]],
    whole: list[tuple[str, list[float]]] | None = None,
    unit: str = "micrometer",
    version: str = "0.4",
) -> Write:
    """Return what writes levels ``(H, W)`` as OME-Zarr with these transformations."""

    def told(held: list[tuple[str, list[float]]]) -> list[dict[str, Any]]:
        return [{"type": kind, kind: numbers} for kind, numbers in held]

    def write(path: Path) -> None:
        group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
        for number, level in enumerate(levels):
            group.create_array(str(number), data=level, chunks=(32, 32))
        image: dict[str, Any] = {
            "axes": [{"name": name, "type": "space", "unit": unit} for name in "yx"],
            "datasets": [
                {"path": str(n), "coordinateTransformations": told(one)}
                for n, one in enumerate(transforms)
            ],
        }
        if whole is not None:
            image["coordinateTransformations"] = told(whole)
        if version == "0.4":
            group.attrs["multiscales"] = [image | {"version": "0.4"}]
        else:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}

    return write


def raster(pixels: NDArray[Any], **given: Any) -> Write:
    """Return what writes ``(H, W, bands)`` by GDAL."""

    def write(path: Path) -> None:
        import rasterio

        options = dict(given)
        planes = np.moveaxis(np.atleast_3d(pixels), -1, 0)
        shape = dict(zip(("count", "height", "width"), planes.shape, strict=True))
        kind = {"driver": "GTiff", "dtype": planes.dtype, "crs": "EPSG:32632"}
        place = options.pop("transform", UTM)
        kind |= {"transform": place and rasterio.Affine(*place)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path, "w", **(shape | kind | options)) as file:
                file.write(planes)

    return write


def picture(pixels: NDArray[Any], **options: Any) -> Write:
    """Return what writes a picture by its ending."""
    return lambda path: Image.fromarray(pixels).save(path, **options)


def beside(write: Write, ending: str) -> Write:
    """Return what also writes a world file, and GDAL's file that names its reference system."""

    def both(path: Path) -> None:
        write(path)
        a, b, c, d, e, f = UTM
        # The centre of the first pixel, not its corner (GDAL, "WLD -- ESRI World File").
        path.with_suffix(ending).write_text(f"{a}\n{d}\n{b}\n{e}\n{c + a / 2}\n{f + e / 2}\n")
        system = "<PAMDataset><SRS>EPSG:32632</SRS></PAMDataset>"
        path.with_name(f"{path.name}.aux.xml").write_text(system)

    return both


def pam(path: Path) -> None:
    """Write a picture whose place stands in GDAL's file beside it."""
    Image.fromarray(spot()).save(path)
    a, b, c, d, e, f = UTM
    path.with_name(f"{path.name}.aux.xml").write_text(
        f"<PAMDataset><SRS>EPSG:32632</SRS><GeoTransform>{c}, {a}, {b}, {f}, {d}, {e}"
        f"</GeoTransform></PAMDataset>"
    )


TAB = """!table
!version 300
!charset WindowsLatin1

Definition Table
  File "a"
  Type "RASTER"
  (500000,5000000) (0,0) Label "1",
  (501280,5000000) (128,0) Label "2",
  (500000,4999040) (0,96) Label "3"
  CoordSys Earth Projection 8, 104, "m", 9, 0, 0.9996, 500000, 0
  Units "m"
"""
"""The same place as MapInfo has it."""


def by_table(path: Path) -> None:
    """Write a picture whose place stands in MapInfo's file beside it."""
    Image.fromarray(spot()).save(path)
    path.with_suffix(".tab").write_text(TAB)


def by_arcgis(path: Path) -> None:
    """Write a picture whose place stands in ArcGIS's file beside it, whose rows go up."""
    Image.fromarray(spot()).save(path)
    lists = {
        "SourceGCPs": [0, 0, 128, 0, 0, -96],
        "TargetGCPs": [500000, 5000000, 501280, 5000000, 500000, 4999040],
    }
    points = "".join(
        f'<{name} xsi:type="typens:ArrayOfDouble">'
        + "".join(f"<Double>{n}</Double>" for n in numbers)
        + f"</{name}>"
        for name, numbers in lists.items()
    )
    path.with_name(f"{path.name}.aux.xml").write_text(
        '<PAMDataset><Metadata domain="xml:ESRI" format="xml"><GeodataXform '
        'xsi:type="typens:PolynomialXform" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:typens="http://www.esri.com/schemas/ArcGIS/10.3"><PolynomialOrder>1'
        f"</PolynomialOrder>{points}</GeodataXform></Metadata></PAMDataset>"
    )


def by_points(places: list[tuple[int, int]], ground: list[tuple[float, float]]) -> Write:
    """Return what writes a raster that knows where some of its pixels (y, x) lie."""

    def write(path: Path) -> None:
        from rasterio.control import GroundControlPoint

        points = [
            GroundControlPoint(*place, *known) for place, known in zip(places, ground, strict=True)
        ]
        raster(spot(), transform=None, gcps=points)(path)

    return write


CORNERS = [(0, 0), (0, 128), (96, 0), (96, 128)]


def virtual(pixels: NDArray[Any], **options: Any) -> Write:
    """Return what writes a virtual raster over a TIFF."""

    def write(path: Path) -> None:
        from rasterio.shutil import copy

        part = path.with_name(f"part of {path.stem}.tif")
        raster(pixels, **options)(part)
        copy(part, path, driver="VRT")

    return write


def coloured(pixels: NDArray[Any]) -> Write:
    """Return what writes a raster whose bands are blue, green and red."""

    def write(path: Path) -> None:
        import rasterio
        from rasterio.enums import ColorInterp

        raster(pixels, photometric="minisblack")(path)
        with rasterio.open(path, "r+") as file:
            file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]

    return write


def tiff(pixels: NDArray[Any], **options: Any) -> Write:
    """Return what writes a plain TIFF."""
    return lambda path: tifffile.imwrite(path, pixels, **({"metadata": None} | options))


def planes() -> NDArray[np.uint8]:
    """Return the field in RGB, its channels first."""
    return np.ascontiguousarray(np.moveaxis(colours(), -1, 0))


def one_page(pixels: NDArray[Any]) -> Write:
    """Return what writes channels as ImageJ does where they are large: behind one directory."""
    return tiff(pixels, imagej=True, metadata={"axes": "CYX"}, truncate=True)


def in_order(axes: str) -> Write:
    """Return what writes the field in RGB with its axes in another order."""
    moved = colours().transpose(["YXC".index(axis) for axis in axes])
    return tiff(np.ascontiguousarray(moved), metadata={"axes": axes}, photometric="minisblack")


def on_utm(size: float) -> list[tuple[Any, ...]]:
    """Return the GeoTIFF tags of a page whose pixels are so many metres large, else as by `UTM`."""
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632)
    corner = (0.0, 0.0, 0.0, UTM[2], UTM[5], 0.0)
    scale = (size, size, 0.0)
    return [(33550, 12, 3, scale, True), (33922, 12, 6, corner, True), (34735, 3, 16, keys, True)]


def after_thumbnail(small: float | None = None, whole: float | None = None) -> Write:
    """Return what writes a thumbnail and then the field in RGB, with pixels of so many metres."""

    def write(path: Path) -> None:
        thumbnail = np.ascontiguousarray(colours()[::4, ::4])
        with tifffile.TiffWriter(path) as file:
            for pixels, metres, kind in ((thumbnail, small, 1), (colours(), whole, 0)):
                tags = on_utm(metres) if metres else []
                options = {"subfiletype": kind, "extratags": tags, "photometric": "rgb"}
                file.write(pixels, metadata=None, **options)

    return write


def black(height: int, width: int) -> NDArray[np.uint8]:
    """Return a level that nobody is to read."""
    return np.zeros((height, width), np.uint8)


def padded(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return pixels in so many rows and columns, black below and to the right."""
    missing = height - pixels.shape[0], width - pixels.shape[1]
    return np.pad(pixels, ((0, missing[0]), (0, missing[1])))


def pyramid(levels: list[NDArray[Any]], ome: bool = False, **options: Any) -> Write:
    """Return what writes a TIFF of several levels."""

    def write(path: Path) -> None:
        with tifffile.TiffWriter(path, ome=ome) as file:
            kind = {"tile": (32, 32)} | options
            below = {"subifds": len(levels) - 1} if ome else {"metadata": None}
            file.write(levels[0], **below, **kind)
            for level in levels[1:]:
                file.write(level, subfiletype=1, metadata=None, **kind)

    return write


def per_inch(levels: list[NDArray[Any]], resolutions: tuple[int, ...]) -> Write:
    """Return what writes a TIFF of several levels with their pixels per inch."""

    def write(path: Path) -> None:
        with tifffile.TiffWriter(path) as file:
            for n, (level, dpi) in enumerate(zip(levels, resolutions, strict=True)):
                options: dict[str, Any] = {"resolution": (dpi, dpi), "resolutionunit": 2}
                options |= {"tile": (32, 32), "metadata": None, "subfiletype": int(n > 0)}
                file.write(level, **options)

    return write


def aperio(levels: list[NDArray[Any]], um: tuple[float, ...]) -> Write:
    """Return what writes a slide as Aperio does, with the micrometres of its levels' pixels."""

    def write(path: Path) -> None:
        with tifffile.TiffWriter(path) as file:
            options: dict[str, Any] = {"photometric": "rgb", "metadata": None, "software": None}
            for n, (level, mpp) in enumerate(zip(levels, um, strict=True)):
                told = f"Aperio Image Library v11.2.1 \r\n(64x64)|AppMag = 20|MPP = {mpp}"
                file.write(level, tile=(64, 64), description=told, **options)
                if not n:
                    file.write(level[:64, :64].copy(), description=told, **options)

    return write


def micrometres(sy: float, sx: float, y: float, x: float) -> tuple[float, ...]:
    """Return the transform where the centre of pixel 0 lies at (y, x)."""
    return (sx, 0.0, x - sx / 2, 0.0, sy, y - sy / 2)


FOV = [[("scale", [0.5, 0.25]), ("translation", [1000.0, 2000.0])]]
"""A field of view, whose pixels are twice as high as wide."""

PLANE = {
    "axes": "YX",
    "PhysicalSizeX": 0.25,
    "PhysicalSizeY": 0.5,
    "Plane": {
        "PositionX": [2.0],
        "PositionXUnit": ["mm"],
        "PositionY": [1000.0],
        "PositionYUnit": ["\u00b5m"],
    },
}
"""The same of OME's metadata in a TIFF."""

GDAL: dict[str, Any] = {"needs": "rasterio"}
LEVEL = {"level": 1}
FOURTH: dict[str, Any] = {"pixels": spot(), "options": LEVEL, "step": 4.0}


def scaled(factor: float) -> list[list[tuple[str, list[float]]]]:
    """Return the transformations of two levels that begin at (50, 30) micrometres."""
    begin = ("translation", [50.0, 30.0])
    return [[("scale", [n, n]), begin] for n in (1.0, factor)]


ON_MAP: dict[str, Any] = {"transform": UTM, "crs": "EPSG:32632", "needs": "rasterio"}
FOV_PLACE = (micrometres(0.5, 0.25, 1000, 2000), "image, in micrometer")
BITS = (spot() == 255).astype(np.uint8)
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 48}

FILES = (
    Placed("plain.tif", lambda path: tifffile.imwrite(path, spot(), metadata=None), spot()),
    Placed("map.tif", raster(spot()), spot(), UTM, "EPSG:32632", **GDAL),
    Placed("colours.tif", raster(colours()), colours(), UTM, "EPSG:32632", **GDAL),
    Placed(
        "fov4.zarr",
        ome_zarr([spot()], FOV),
        spot(),
        micrometres(0.5, 0.25, 1000, 2000),
        "image, in micrometer",
    ),
    Placed(
        "fov5.zarr",
        ome_zarr([spot()], FOV, [("translation", [7.0, -9.0])], "nanometer", "0.5"),
        spot(),
        micrometres(0.5, 0.25, 1007, 1991),
        "image, in nanometer",
    ),
    # Turned, upside down, and placed by files beside them or by control points.
    Placed("turned.tif", raster(spot(), transform=TURNED), spot(), TURNED, "EPSG:32632", **GDAL),
    Placed("upside.tif", raster(spot(), transform=SOUTH), spot(), SOUTH, "EPSG:32632", **GDAL),
    Placed("points.tif", by_points(CORNERS, ON_GROUND), spot(), UTM, "EPSG:32632", **GDAL),
    Placed("world.png", beside(picture(spot()), ".pgw"), spot(), UTM, "EPSG:32632", **GDAL),
    Placed("world.bmp", beside(picture(spot()), ".bpw"), spot(), UTM, "EPSG:32632", **GDAL),
    Placed("wld.png", beside(picture(spot()), ".wld"), spot(), UTM, "EPSG:32632", **GDAL),
    Placed("world.tif", beside(picture(spot()), ".tfw"), spot(), UTM, "EPSG:32632", **GDAL),
    Placed("pam.png", pam, spot(), UTM, "EPSG:32632", **GDAL),
    Placed("table.tif", by_table, spot(), UTM, "EPSG", **GDAL),
    Placed("arcgis.png", by_arcgis, spot(), UTM, **GDAL),
    # The same raster through GDAL, and what its numbers mean.
    Placed("map.vrt", virtual(spot()), spot(), UTM, "EPSG:32632", **GDAL),
    Placed("turned.vrt", virtual(255 - spot(), photometric="miniswhite"), spot(), **ON_MAP),
    Placed("turned0.tif", raster(255 - spot(), photometric="miniswhite"), spot(), **ON_MAP),
    Placed("bits.tif", raster(BITS, nbits=1), 255 * BITS, **ON_MAP),
    Placed("bits.vrt", virtual(BITS, nbits=1), 255 * BITS, **ON_MAP),
    Placed("tiles.tif", raster(colours(), **TILED, compress="deflate"), colours(), **ON_MAP),
    Placed("planes.tif", raster(colours(), **TILED, interleave="band"), colours(), **ON_MAP),
    Placed("bgr.tif", coloured(colours()[..., ::-1]), colours()[..., ::-1], **ON_MAP),
    # TIFFs in other orders, pages and kinds of numbers.
    Placed("thumbnail.tif", after_thumbnail(), colours()),
    Placed(
        "thumbnail0.tif", after_thumbnail(40, 10), colours(), **ON_MAP, by_gdal="GTIFF_DIR:2:{}"
    ),
    Placed(
        "thumbnail1.tif", after_thumbnail(None, 10), colours(), **ON_MAP, by_gdal="GTIFF_DIR:2:{}"
    ),
    Placed(
        "plane.ome.tif",
        tiff(spot(), metadata=PLANE),
        spot(),
        micrometres(0.5, 0.25, 1000, 2000),
        "image, in micrometer",
    ),
    Placed("behind.tif", one_page(planes()), colours()),
    Placed("xyc.tif", in_order("XYC"), colours()),
    Placed("cxy.tif", in_order("CXY"), colours()),
    Placed("deep.tif", tiff(spot().astype(">u2"), byteorder=">"), spot().astype(np.uint16)),
    Placed("real.tif", tiff(spot().astype(np.float32)), spot().astype(np.float32)),
    # Pictures, and arrays on the disk.
    Placed("plain.png", picture(colours()), colours()),
    Placed("grey.webp", picture(colours(), lossless=True), colours()),
    Placed("array.zarr", lambda path: zarr.save_array(path, colours()), colours()),
    Placed("well.zarr/A/1/0", ome_zarr([spot()], FOV), spot(), *FOV_PLACE),
    # Levels that are rounded down, padded to chunks, or of no whole factor.
    Placed("rounded.tif", pyramid([black(193, 257), spot()]), spot(), options=LEVEL, step=2.0),
    # What is declared is rounded, and the sizes tell what it stood for.
    Placed(
        "dpi.tif",
        per_inch([black(768 >> n, 1024 >> n) for n in range(3)] + [spot()], (300, 150, 75, 37)),
        spot(),
        options={"level": 3},
        step=8.0,
    ),
    Placed(
        "quarters.svs",
        aperio([np.zeros((216, 288, 3), np.uint8), colours()], (0.25, 0.56)),
        colours(),
        um=0.25,
        options=LEVEL,
        step=2.25,
    ),
    Placed(
        "rounded.svs",
        aperio([np.zeros((387, 515, 3), np.uint8), colours()], (0.2522, 1.01)),
        colours(),
        um=0.2522,
        options=LEVEL,
        step=4.0,
    ),
    Placed("rounded.ome.tif", pyramid([black(385, 515), spot()], True), **FOURTH),
    Placed(
        "padded.zarr",
        ome_zarr([black(192, 256), padded(spot(), 128, 160)], scaled(2.0)),
        padded(spot(), 128, 160),
        micrometres(1, 1, 50, 30),
        "image, in micrometer",
        LEVEL,
        2.0,
    ),
    Placed(
        "whole.zarr",
        ome_zarr([black(192, 256), spot()], [[], []], FOV[0]),
        spot(),
        *FOV_PLACE,
        LEVEL,
        2.0,
    ),
    Placed(
        "uneven.zarr",
        ome_zarr([black(145, 193), spot()], scaled(1.5), version="0.5"),
        spot(),
        micrometres(1, 1, 50, 30),
        "image, in micrometer",
        LEVEL,
        1.5,
    ),
)


def write_all(folder: Path) -> None:
    """Write all into a folder."""
    for file in FILES:
        try:
            (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
            file.write(folder / file.name)
        except ImportError as error:
            print(f"{file.name}: {error}")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
