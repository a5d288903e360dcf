"""The same raster has the same pixels by TIFF's own reader and through GDAL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.sources import fit_channels, open_source
from fullconv.sources.palettes import reduced
from placed_files import raster
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


def test_inverted_grey_of_several_bands_is_never_read_as_it_is_not(tmp_path: Path) -> None:
    pixels = noise(40, 50, 2)
    tif, vrt = both(tmp_path, pixels, {"photometric": "miniswhite"})
    check_pixels(open_source(tif), 255 - pixels)
    with pytest.raises(ImageError, match=r"a\.vrt does not say that 0 is white in .*a\.tif"):
        open_source(vrt)
