"""The same raster has the same pixels by TIFF's own reader and through GDAL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fullconv.errors import ImageError
from fullconv.sources import fit_channels, open_source
from fullconv.sources.palettes import reduced
from placed_files import UTM, raster
from test_sources import check_pixels, noise

DEEP = noise(40, 50, dtype=np.uint16)
BITS = noise(40, 50) % 2
COLOURS = {n: (n * 37 % 256, n * 91 % 256, n * 53 % 256, 255) for n in range(256)}
BLACK_AND_WHITE = {0: (0, 0, 0, 255), 1: (255, 255, 255, 255)}

RASTERS: dict[str, tuple[NDArray[Any], dict[str, Any], NDArray[Any]]] = {
    "grey": (noise(40, 50), {}, np.array(())),
    "white is zero": (noise(40, 50), {"photometric": "miniswhite"}, np.array(())),
    "deep white is zero": (DEEP, {"photometric": "miniswhite"}, 65535 - DEEP),
    "one bit": (BITS, {"nbits": 1}, 255 * BITS),
    "one bit, white is zero": (BITS, {"nbits": 1, "photometric": "miniswhite"}, 255 - 255 * BITS),
    "two bits": (noise(40, 50) % 4, {"nbits": 2}, np.array(())),
    "four bits": (noise(40, 50) % 16, {"nbits": 4}, np.array(())),
    "twelve bits": (DEEP % 4096, {"nbits": 12}, DEEP % 4096),
    "planar JPEG": (noise(40, 50, 3), {"compress": "jpeg", "interleave": "band"}, np.array(())),
    "JPEG of three bands": (
        noise(40, 50, 3),
        {"compress": "jpeg", "interleave": "pixel", "photometric": "minisblack"},
        np.array(()),
    ),
    "planar JPEG of five bands": (
        noise(40, 50, 5),
        {"compress": "jpeg", "interleave": "band"},
        np.array(()),
    ),
    "south up": (noise(40, 50), {"transform": (1.0, 0.0, 5.0, 0.0, 1.0, 9.0)}, np.array(())),
}


def both(path: Path, pixels: NDArray[Any], options: dict[str, Any]) -> list[Path]:
    """Write a raster as TIFF, and as a virtual one over it."""
    pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    raster(pixels, **options)(path / "a.tif")
    copy(path / "a.tif", path / "a.vrt", driver="VRT")
    return [path / "a.tif", path / "a.vrt"]


def whole(path: Path) -> NDArray[Any]:
    """Return all pixels ``(H, W, bands)``."""
    with open_source(path) as source:
        return source.read((0, source.size[0]), (0, source.size[1]))


@pytest.mark.parametrize("name", RASTERS)
def test_a_tiff_and_a_virtual_raster_over_it_are_alike(tmp_path: Path, name: str) -> None:
    pixels, options, expected = RASTERS[name]
    paths = both(tmp_path, pixels, options)
    first = whole(paths[0])
    if expected.size:
        assert np.array_equal(first[:, :, 0], expected)
    for path in paths:
        check_pixels(open_source(path), first)
    assert open_source(paths[0]).georeference == open_source(paths[1]).georeference


@pytest.mark.parametrize("bits", [4, 8])
def test_palettes_become_their_colours_through_both(tmp_path: Path, bits: int) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    numbers = noise(40, 50) & np.uint8(2**bits - 1)
    path = tmp_path / "a.tif"
    raster(numbers, photometric="palette", nbits=bits)(path)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {n: COLOURS[n] for n in range(2**bits)})
    copy(path, tmp_path / "a.vrt", driver="VRT")
    copy(path, tmp_path / "a.img", driver="HFA")
    expected = np.array([COLOURS[n][:3] for n in range(256)], np.uint8)[numbers]
    for name in ("a.tif", "a.vrt", "a.img"):
        check_pixels(open_source(tmp_path / name), expected)
        check_pixels(fit_channels(open_source(tmp_path / name), 3), expected)
        check_pixels(open_source(tmp_path / name, bands=[3, 1]), expected[..., [2, 0]])


def test_a_palette_of_black_and_white_is_seen_as_such_through_both(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    for bits in (1, 8):
        path = tmp_path / f"{bits}.tif"
        raster(BITS, photometric="palette", nbits=bits)(path)
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, BLACK_AND_WHITE)
        copy(path, tmp_path / f"{bits}.vrt", driver="VRT")
        for ending in ("tif", "vrt"):
            fitted = fit_channels(open_source(tmp_path / f"{bits}.{ending}"), 1)
            check_pixels(fitted, 255 * BITS)


def test_only_ramps_of_grey_are_grey() -> None:
    ramp = np.arange(256, dtype=np.uint8)
    grey = np.repeat(ramp[:, None], 3, axis=1)
    assert reduced(grey).shape == (256, 1)
    assert np.array_equal(reduced(grey[::-1])[:, 0], ramp[::-1])
    assert reduced(grey[[0, 255]]).shape == (2, 1)
    assert reduced(grey[::17]).shape == (16, 1)
    coloured = grey.copy()
    coloured[9, 1] += 1
    for others in (coloured, grey[:100], grey[[0, 254]], grey[:1]):
        assert reduced(others) is others


@pytest.mark.parametrize(
    ("pixels", "options", "line"),
    [
        (noise(40, 50, 4), {"photometric": "cmyk"}, "is in the colour space SEPARATED, which"),
        (noise(40, 50, 3), {"photometric": "cielab"}, "is in the colour space CIELAB, which"),
    ],
)
def test_colours_that_are_refused_are_refused_through_both(
    tmp_path: Path, pixels: NDArray[Any], options: dict[str, Any], line: str
) -> None:
    for path in both(tmp_path, pixels, options):
        with pytest.raises(ImageError, match=rf"a\.tif {line} fullconv does not read; save it in"):
            open_source(path)


def by_hand(path: Path, part: str, kind: str = "Byte", within: str = "") -> Path:
    """Write a virtual raster that says nothing of what the numbers of its part mean."""
    source = f"<SourceFilename relativeToVRT='1'>{part}</SourceFilename><SourceBand>1</SourceBand>"
    tag = "ComplexSource" if within else "SimpleSource"
    path.write_text(
        f"<VRTDataset rasterXSize='50' rasterYSize='40'><VRTRasterBand dataType='{kind}' band='1'>"
        f"<{tag}>{source}{within}</{tag}></VRTRasterBand></VRTDataset>"
    )
    return path


@pytest.mark.parametrize(
    ("pixels", "options", "kind", "line"),
    [
        (noise(40, 50), {"photometric": "miniswhite"}, "Byte", "0 is white"),
        (DEEP, {"photometric": "miniswhite"}, "UInt16", "0 is white"),
        (BITS, {"nbits": 1}, "Byte", "numbers have 1 bit"),
        (noise(40, 50) % 4, {"nbits": 2}, "Byte", "numbers have 2 bits"),
        (noise(40, 50) % 16, {"nbits": 4}, "Byte", "numbers have 4 bits"),
        (noise(40, 50), {"colours": COLOURS}, "Byte", "numbers stand for colours"),
    ],
)
def test_a_mosaic_that_does_not_say_what_its_numbers_mean_is_refused(
    tmp_path: Path, pixels: NDArray[Any], options: dict[str, Any], kind: str, line: str
) -> None:
    rasterio = pytest.importorskip("rasterio")
    raster(pixels, **{k: v for k, v in options.items() if k != "colours"})(tmp_path / "a.tif")
    if "colours" in options:
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.write_colormap(1, options["colours"])
    held = "inner.vrt"
    by_hand(tmp_path / held, "a.tif", kind)
    for path in (tmp_path / held, by_hand(tmp_path / "a.vrt", held, kind)):
        with pytest.raises(ImageError, match=rf"vrt does not say that {line} in .*a\.tif, one of"):
            open_source(path)
    # What the mosaic itself makes of the numbers is as its maker wants it.
    own = by_hand(tmp_path / "own.vrt", "a.tif", kind, "<ScaleRatio>1</ScaleRatio>")
    check_pixels(open_source(own), pixels)


def test_a_palette_of_a_picture_is_said_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    image = Image.fromarray(noise(40, 50))
    image.putpalette([part for colour in COLOURS.values() for part in colour[:3]])
    image.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"does not say that numbers stand for .*a\.png, one of"):
        open_source(by_hand(tmp_path / "a.vrt", "a.png"))


def test_a_palette_beside_grey_is_one_through_both(tmp_path: Path) -> None:
    """As rasterio's manual writes it: after the pixels, when the tag says grey already."""
    rasterio = pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    pixels = noise(40, 50)
    shape = {"count": 1, "height": 40, "width": 50, "dtype": "uint8", "driver": "GTiff"}
    shape["transform"] = rasterio.Affine(*UTM)
    with rasterio.open(tmp_path / "a.tif", "w", **shape) as file:
        file.write(np.squeeze(pixels), 1)
        file.write_colormap(1, COLOURS)
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    table = np.array([colour[:3] for colour in COLOURS.values()], np.uint8)
    for ending in ("tif", "vrt"):
        check_pixels(open_source(tmp_path / f"a.{ending}"), table[np.squeeze(pixels)])


def test_parts_that_lack_blocks_are_refused_through_a_mosaic(tmp_path: Path) -> None:
    """Alone they are not scanned there; GDAL gives 0."""
    rasterio = pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    shape = {"count": 1, "height": 64, "width": 64, "dtype": "uint8", "driver": "GTiff"}
    shape["transform"] = rasterio.Affine(*UTM)
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32, "sparse_ok": True}
    with rasterio.open(tmp_path / "a.tif", "w", **shape, **tiles) as file:
        file.write(noise(32, 64).reshape(32, 64), 1, window=((0, 32), (0, 64)))
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    assert open_source(tmp_path / "a.tif").lacks_pixels
    with pytest.raises(ImageError, match=r"say that 2 of 4 blocks were never written in .*a\.tif"):
        open_source(tmp_path / "a.vrt")


def test_inverted_grey_of_several_bands_is_never_read_as_it_is_not(tmp_path: Path) -> None:
    pixels = noise(40, 50, 2)
    tif, vrt = both(tmp_path, pixels, {"photometric": "miniswhite"})
    check_pixels(open_source(tif), 255 - pixels)
    with pytest.raises(ImageError, match=r"a\.vrt does not say that 0 is white in .*a\.tif"):
        open_source(vrt)
