"""A mask lies where it says: by its georeference, its space or its resolution, else stretched."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from fullconv.errors import ImageWarning, InputError
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source, resized
from placed_files import micrometres, ome_zarr, picture, raster, spot
from test_cli_scan import call
from test_placed_files import converted, mean_of, world

UTM = (2.0, 0.0, 500000.0, 0.0, -2.0, 5000000.0)


def marked(path: Path, mask: Any, **options: Any) -> list[tuple[float, float]]:
    """Return the centres (x, y) of the windows that a mask leaves, in pixels of the original."""
    heatmap = scan(converted(1), path, mask=mask, windows_to_check=0, **options)
    boxes = [heatmap.box(*place) for place in np.argwhere(np.isfinite(heatmap[0])).tolist()]
    return [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes]


def expected(
    image: tuple[float, ...], mask: tuple[float, ...], pixels: NDArray[Any], step: float = 1.0
) -> list[tuple[float, float]]:
    """Return the same of an image of 96x128 pixels, from the two transforms, window by window."""
    found = []
    a, b, c, d, e, f = mask
    for y in np.arange(16, 96 - 15, 4) * step:
        for x in np.arange(16, 128 - 15, 4) * step:
            east, north = world(image, y, x)
            column, row = np.linalg.solve([[a, b], [d, e]], [east - c, north - f]).round(9)
            inside = 0 <= row < pixels.shape[0] and 0 <= column < pixels.shape[1]
            if inside and pixels[int(row), int(column)]:
                found.append((float(x), float(y)))
    return found


def blot(height: int, width: int) -> NDArray[np.uint8]:
    """Return a mask of some rectangles."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 5 : width // 2] = 255
    mask[height // 2 :, width - width // 4 :] = 7
    return mask


@pytest.mark.parametrize(
    ("transform", "size", "is_partial"),
    [
        # As large, twice as large, coarser and apart, half as large, and turned.
        (UTM, (96, 128), False),
        (UTM, (192, 256), False),
        ((10.0, 0.0, 499980.0, 0.0, -10.0, 5000070.0), (40, 40), False),
        ((2.0, 0.0, 500060.0, 0.0, -2.0, 4999940.0), (60, 50), True),
        ((1.6, 1.2, 500000.0, 1.2, -1.6, 5000000.0), (200, 200), True),
    ],
)
def test_a_mask_lies_where_its_georeference_says(
    tmp_path: Path, transform: tuple[float, ...], size: tuple[int, int], is_partial: bool
) -> None:
    pytest.importorskip("rasterio")
    mask = blot(*size)
    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    raster(mask, transform=transform)(tmp_path / "m.tif")
    wanted = expected(UTM, transform, mask)
    assert wanted
    if is_partial:
        with pytest.warns(ImageWarning, match=r"m\.tif lies by its georeference over [\d.]+ % of"):
            assert marked(tmp_path / "i.tif", tmp_path / "m.tif") == wanted
    else:
        assert marked(tmp_path / "i.tif", tmp_path / "m.tif") == wanted


def test_a_mask_of_another_reference_system_is_turned(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from rasterio.warp import transform

    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    (west, east), (south, north) = transform(
        "EPSG:32632", "EPSG:4326", [499900.0, 500400.0], [4999700.0, 5000100.0]
    )
    mask = np.zeros((100, 100), np.uint8)
    mask[30:60, 30:70] = 1
    degrees = ((east - west) / 100, 0.0, west, 0.0, (south - north) / 100, north)
    raster(mask, transform=degrees, crs="EPSG:4326")(tmp_path / "m.tif")
    found = set(marked(tmp_path / "i.tif", tmp_path / "m.tif"))
    # By other code than the mask's own: every window's centre, one by one.
    for y in range(16, 81, 4):
        for x in range(16, 113, 4):
            place = world(UTM, y, x)
            (longitude,), (latitude,) = transform("EPSG:32632", "EPSG:4326", *([n] for n in place))
            column = (longitude - west) / degrees[0]
            row = (latitude - north) / degrees[4]
            assert ((x, y) in found) == (30 <= row < 60 and 30 <= column < 70)


@pytest.mark.parametrize("level", [0, 1])
def test_a_mask_lies_by_its_resolution_from_the_corner(tmp_path: Path, level: int) -> None:
    with tifffile.TiffWriter(tmp_path / "i.ome.tif", ome=True) as file:
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        first = np.full((96 * 2**level, 128 * 2**level), 9, np.uint8)
        file.write(first, subifds=level, metadata=size)
        if level:
            file.write(spot(), subfiletype=1)
    mask = blot(24, 32)
    size = {"PhysicalSizeX": 4.0, "PhysicalSizeY": 4.0}
    tifffile.imwrite(tmp_path / "m.ome.tif", mask, metadata=size)
    step = 2.0**level
    wanted = expected((0.5, 0, 0, 0, 0.5, 0), (4.0, 0, 0, 0, 4.0, 0), mask, step)
    found = marked(tmp_path / "i.ome.tif", tmp_path / "m.ome.tif", level=level)
    assert wanted
    assert found == wanted


@pytest.mark.parametrize("unit", ["micrometer", "nanometer"])
def test_a_mask_lies_where_its_translation_says(tmp_path: Path, unit: str) -> None:
    mask = blot(40, 50)
    here = [[("scale", [0.5, 0.25]), ("translation", [1000.0, 2000.0])]]
    per_um = {"micrometer": 1.0, "nanometer": 1000.0}[unit]
    scale, begin = np.array([2.0, 1.0]), np.array([990.0, 1995.0])
    there = [[("scale", (scale * per_um).tolist()), ("translation", (begin * per_um).tolist())]]
    ome_zarr([spot()], here)(tmp_path / "i.zarr")
    ome_zarr([mask], there, unit=unit)(tmp_path / "m.zarr")
    wanted = expected(micrometres(0.5, 0.25, 1000, 2000), micrometres(2, 1, 990, 1995), mask)
    assert wanted
    assert marked(tmp_path / "i.zarr", tmp_path / "m.zarr") == wanted


@pytest.mark.parametrize("unit", ["micrometer", "nanometer"])
@pytest.mark.parametrize("begin", [(1000.0, 2000.0), (0.0, 0.0)])
def test_a_mask_of_maps_lies_in_the_space_of_an_image(
    tmp_path: Path, unit: str, begin: tuple[float, float]
) -> None:
    """In a local system, as our own GeoTIFF of an image with a translation has it."""
    pytest.importorskip("rasterio")
    ome_zarr([spot()], [[("scale", [0.5, 0.25]), ("translation", [*begin])]])(tmp_path / "i.zarr")
    mask = blot(40, 50)
    here = micrometres(0.5, 0.25, *begin)
    there = (0.5, 0.0, begin[1] + 5, 0.0, 1.0, begin[0] - 3)
    per_um = {"micrometer": 1.0, "nanometer": 1000.0}[unit]
    system = f'LOCAL_CS["image, in {unit}",UNIT["{unit}",{1e-6 / per_um!r}]]'
    own = tuple(n * per_um for n in there)
    raster(mask, transform=own, crs=system)(tmp_path / "m.tif")
    wanted = expected(here, there, mask)
    assert wanted
    with pytest.warns(ImageWarning, match="lies by its georeference over"):
        assert marked(tmp_path / "i.zarr", tmp_path / "m.tif") == wanted


@pytest.mark.parametrize("kind", ["fov.zarr", "plain.png", "unitless.zarr"])
def test_our_own_heatmaps_lie_over_their_image_as_masks(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("rasterio")
    placed = [[("scale", [0.5, 0.25]), ("translation", [1000.0, 2000.0])]]
    write = {
        "fov.zarr": ome_zarr([spot()], placed),
        "plain.png": picture(spot()),
        "unitless.zarr": ome_zarr([spot()], placed, unit=""),
    }[kind]
    write(tmp_path / kind)
    heat = scan(converted(1), tmp_path / kind, tmp_path / "h.tif", windows_to_check=0)
    import rasterio

    with rasterio.open(tmp_path / "h.tif") as held:
        options = {"transform": tuple(held.transform)[:6], "crs": held.crs}
        chosen = (held.read(1) > 0.4).astype(np.uint8)
    wanted = [heat.box(*place) for place in np.argwhere(chosen).tolist()]
    assert wanted
    raster(chosen, **options)(tmp_path / "m.tif")
    centres = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in wanted]
    assert marked(tmp_path / kind, tmp_path / "m.tif") == centres


@pytest.mark.parametrize(
    ("image", "mask", "told"),
    [
        ("plain", "map", "it lies in EPSG:32632, and {} does not say where it lies"),
        ("plain", "fov", "it lies in image, in micrometer, and {} does not say where it lies"),
        ("plain", "sized", "it has 4 um per pixel, and no place, and {} does not say where"),
        ("fov", "map", "it lies in EPSG:32632, and {} lies in image, in micrometer"),
        ("map", "sized", "it has 4 um per pixel, and no place, and {} lies in EPSG:32632"),
        ("map", "fov", "it lies in image, in micrometer, and {} lies in EPSG:32632"),
    ],
)
def test_a_mask_that_says_where_it_lies_is_stretched_with_a_line(
    tmp_path: Path, image: str, mask: str, told: str
) -> None:
    pytest.importorskip("rasterio")
    placed = [[("scale", [0.5, 0.5]), ("translation", [1000.0, 2000.0])]]
    size = {"PhysicalSizeX": 4.0, "PhysicalSizeY": 4.0}
    write: dict[str, Any] = {
        "plain": (".png", picture),
        "map": (".tif", lambda pixels: raster(pixels, transform=UTM)),
        "fov": (".zarr", lambda pixels: ome_zarr([pixels], placed)),
        "sized": (".ome.tif", lambda pixels: lambda p: tifffile.imwrite(p, pixels, metadata=size)),
    }
    named = [tmp_path / f"{name}{write[kind][0]}" for name, kind in (("i", image), ("m", mask))]
    blots = blot(12, 16)
    for path, kind, pixels in zip(named, (image, mask), (spot(), blots), strict=True):
        write[kind][1](pixels)(path)
    wanted = expected((1, 0, 0, 0, 1, 0), (8, 0, 0, 0, 8, 0), blots)
    with pytest.warns(ImageWarning) as lines:
        assert marked(*named) == wanted
    (line,) = (str(one.message) for one in lines)
    begin = f"the mask {named[1]} is laid over the whole image by its size: "
    assert line.startswith(begin + told.format(named[0]))


@pytest.mark.parametrize("is_mask", [True, False])
def test_systems_without_a_way_between_them_are_refused(tmp_path: Path, is_mask: bool) -> None:
    pytest.importorskip("rasterio")
    own = {"transform": UTM, "crs": 'LOCAL_CS["site grid",UNIT["metre",1]]'}
    raster(spot(), **({"transform": UTM} if is_mask else own))(tmp_path / "i.tif")
    raster(blot(96, 128), **(own if is_mask else {"transform": UTM}))(tmp_path / "m.tif")
    with pytest.raises(InputError, match=r"mask .*m\.tif: it lies in .* GDAL knows no way"):
        marked(tmp_path / "i.tif", tmp_path / "m.tif")


def test_a_mask_that_is_open_at_a_level_lies_as_the_whole_does(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    mask = np.kron(blot(48, 64), np.ones((4, 4), np.uint8))
    fine = (1.0, 0.0, *UTM[2:4], -1.0, UTM[5])
    raster(mask, transform=fine)(tmp_path / "m.tif")
    wanted = expected(UTM, fine, mask)
    # Resizing mixes pixels at the edges of what is marked, by up to two of the coarser ones.
    around = [np.roll(mask, (y, x), (0, 1)) for y in (-8, 0, 8) for x in (-8, 0, 8)]
    most = expected(UTM, fine, np.max(around, axis=0))
    with open_source(tmp_path / "m.tif") as whole:
        assert marked(tmp_path / "i.tif", whole) == wanted
        found = marked(tmp_path / "i.tif", resized(whole, (48, 64)))
    assert set(wanted) <= set(found) <= set(most)


def test_a_mask_without_a_place_is_stretched(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    mask = blot(12, 16)
    wanted = expected((1, 0, 0, 0, 1, 0), (8, 0, 0, 0, 8, 0), mask)
    assert marked(tmp_path / "i.tif", mask) == wanted


def indexed(path: Path, labels: NDArray[np.uint8], colours: list[int]) -> None:
    """Write labels as numbers of a palette, with GDAL where the ending is not a picture's."""
    image = Image.fromarray(labels)
    image.putpalette(colours)
    if path.suffix in (".png", ".gif", ".bmp"):
        image.save(path)
        return
    rasterio = pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    raster(labels, transform=None, crs=None, photometric="palette")(path.with_suffix(".tif"))
    with rasterio.open(path.with_suffix(".tif"), "r+") as file:
        table = np.array(colours).reshape(-1, 3)
        file.write_colormap(1, {n: (*map(int, colour), 255) for n, colour in enumerate(table)})
    if path.suffix == ".vrt":
        copy(path.with_suffix(".tif"), path, driver="VRT")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("ending", [".png", ".gif", ".bmp", ".tif", ".vrt"])
@pytest.mark.parametrize(
    "colours",
    [[255, 255, 255, 255, 0, 0, 0, 0, 255], [0, 0, 0] * 3, [0, 0, 0, 255, 0, 0, 0, 255, 0]],
    ids=["white", "black", "shown"],
)
def test_a_mask_of_labels_marks_by_the_label(
    tmp_path: Path, ending: str, colours: list[int]
) -> None:
    picture(spot())(tmp_path / "i.png")
    labels = (blot(96, 128) > 0).astype(np.uint8) + (blot(96, 128) == 7)
    indexed(tmp_path / f"m{ending}", labels, [*colours, *[9] * (768 - len(colours))])
    wanted = expected((1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 1, 0), labels)
    with warnings.catch_warnings(record=True) as lines:
        warnings.simplefilter("always", ImageWarning)
        assert marked(tmp_path / "i.png", tmp_path / f"m{ending}") == wanted
    told = [str(line.message) for line in lines if line.category is ImageWarning]
    line = (
        f"the mask {tmp_path / f'm{ending}'} marks by the numbers of its palette: 0 is not marked"
    )
    is_alike = colours[:3] == [0, 0, 0] != colours[3:6]
    assert [one.startswith(line) for one in told] == [True] * (not is_alike)


@pytest.mark.parametrize("ending", ["tif", "vrt"])
@pytest.mark.parametrize(("nodata", "dtype"), [(255, "uint8"), (-9999, "int16"), (1e20, "float32")])
def test_nodata_of_a_mask_is_not_marked(
    tmp_path: Path, ending: str, nodata: float, dtype: str
) -> None:
    pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    mask = np.where(blot(96, 128), 1, nodata).astype(dtype)
    mask[:30] = 0
    raster(mask, transform=UTM, nodata=nodata)(tmp_path / "m.tif")
    copy(tmp_path / "m.tif", tmp_path / "m.vrt", driver="VRT")
    wanted = expected(UTM, UTM, mask == 1)
    assert wanted
    assert marked(tmp_path / "i.tif", tmp_path / f"m.{ending}") == wanted


def test_a_mask_beside_the_image_marks_nothing(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    raster(blot(40, 40), transform=(2.0, 0.0, 9000.0, 0.0, -2.0, 9000.0))(tmp_path / "m.tif")
    with pytest.raises(InputError, match="mask: it marks no window's centre"):
        scan(converted(1), tmp_path / "i.tif", mask=tmp_path / "m.tif")


def test_a_mask_that_lies_elsewhere_is_another_run(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    raster(blot(96, 128), transform=UTM)(tmp_path / "m.tif")
    out = tmp_path / "heat.zarr"
    scan(converted(1), tmp_path / "i.tif", out, mask=tmp_path / "m.tif")
    raster(blot(96, 128), transform=(1.0, 0.0, *UTM[2:4], -1.0, UTM[5]))(tmp_path / "m.tif")
    with (
        pytest.warns(ImageWarning, match="% of the image"),
        pytest.raises(InputError, match="another part of the image"),
    ):
        scan(converted(1), tmp_path / "i.tif", out, mask=tmp_path / "m.tif")


def test_partial_cover_is_said_by_the_command(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    raster(spot(), transform=UTM)(tmp_path / "i.tif")
    # Over the left half of the ground: columns 0 to 63, of windows' centres 12 of 25.
    raster(np.ones((96, 64), np.uint8), transform=UTM)(tmp_path / "m.tif")
    onnx.save(mean_of(1), tmp_path / "model.onnx")
    for verb, out in (("scan", "heat.zarr"), ("detect", "b.csv")):
        named = str(tmp_path / "model.onnx"), str(tmp_path / "i.tif"), "-o", str(tmp_path / out)
        result = call(verb, *named, "--mask", str(tmp_path / "m.tif"))
        assert result.stdout.count(
            f"note     the mask {tmp_path / 'm.tif'} lies by its georeference over 48 % of the "
            f"image; the rest is not scanned\n"
        ) == 1  # fmt: skip
