"""Whole slides and rasters: what OpenSlide and GDAL read, and what is said without them."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from fullconv.errors import ImageError, MissingExtraError
from fullconv.sources import Georeference, fit_channels, open_source, reopen
from test_sources import check_pixels, noise, rectangles

PLACE = (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


@pytest.fixture
def slide(tmp_path):
    """Write a tiled TIFF of two levels under a name that OpenSlide is asked for."""
    pytest.importorskip("openslide")
    pixels = noise(512, 768, 3)
    path = tmp_path / "slide.ndpi"
    with tifffile.TiffWriter(path) as file:
        options = {"photometric": "rgb", "tile": (128, 128), "metadata": None}
        file.write(pixels, **options)
        file.write(pixels[::2, ::2], subfiletype=1, **options)
    return path, [pixels, pixels[::2, ::2]]


def test_levels_of_a_slide_are_read(slide):
    path, levels = slide
    for level, expected in enumerate(levels):
        with open_source(path, level=level) as source:
            assert source.block == (128, 128)
            assert source.original_size == (512, 768)
            check_pixels(source, expected)
            check_pixels(reopen(source.describe()), expected)


def test_threads_read_a_slide_as_one(slide):
    path, levels = slide
    with open_source(path) as source, ThreadPoolExecutor(4) as threads:
        asked = rectangles(source.size, 40)
        for (rows, columns), got in zip(
            asked, threads.map(lambda pair: source.read(*pair), asked), strict=True
        ):
            assert np.array_equal(got, levels[0][slice(*rows), slice(*columns)])


def test_what_a_slide_does_not_show_is_its_background():
    pytest.importorskip("openslide")
    from fullconv.sources.slide import opaque

    white = np.full(3, 255, np.uint32)
    pixels = np.array([[(200, 0, 100, 51), (1, 2, 3, 0), (1, 2, 3, 255)]], np.uint8)
    # 51 of 255 is a fifth of the colour over four fifths of white.
    assert opaque(pixels, white).tolist() == [[[244, 204, 224], [255] * 3, [1, 2, 3]]]
    assert opaque(pixels[:, 2:], white).tolist() == [[[1, 2, 3]]]


def test_a_slide_is_asked_for_with_its_extra(slide, monkeypatch):
    path, _ = slide
    monkeypatch.setattr("fullconv.sources.formats._installed", lambda module: False)
    with pytest.raises(MissingExtraError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"Reading {path} needs the optional packages of the 'wsi' extra, which are not installed. "
        f'Install them with: pip install "fullconv[wsi]"'
    )
    assert caught.value.exit_code == 3


def write_raster(path, pixels, **options):
    """Write ``(bands, H, W)`` with GDAL."""
    import rasterio

    profile = {"driver": "GTiff", "crs": "EPSG:32631", "transform": rasterio.Affine(*PLACE)}
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **(shape | profile | options)) as file:
        file.write(pixels)
    return path


@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_geotiff_has_the_pixels_and_the_place_of_gdal(tmp_path, interleave, compress, dtype):
    pytest.importorskip("rasterio")
    pixels = noise(5, 70, 101, dtype=dtype)
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    path = write_raster(
        tmp_path / "r.tif", pixels, compress=compress, interleave=interleave, **tiles
    )
    with open_source(path, bands=[4, 2, 1]) as source:
        check_pixels(source, np.moveaxis(pixels[[3, 1, 0]], 0, -1))
        place = source.georeference
    assert isinstance(place, Georeference)
    assert place.transform == PLACE
    assert 'ID["EPSG",32631]' in place.crs or '"32631"' in place.crs


def test_a_cloud_optimised_geotiff_has_its_overviews(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = write_raster(tmp_path / "cog.tif", noise(3, 700, 900), driver="COG", blocksize=128)
    with rasterio.open(path) as file:
        factors = file.overviews(1)
    for level in range(len(factors) + 1):
        held = {} if level == 0 else {"overview_level": level - 1}
        with rasterio.open(path, **held) as file:
            check_pixels(open_source(path, level=level), np.moveaxis(file.read(), 0, -1))


def test_a_geotiff_opens_without_rasterio_and_has_no_place(tmp_path, monkeypatch):
    pytest.importorskip("rasterio")
    pixels = noise(1, 70, 101)
    path = write_raster(tmp_path / "r.tif", pixels)
    for name in ("raster", "gdal", "virtual"):
        monkeypatch.delitem(sys.modules, f"fullconv.sources.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    source = open_source(path)
    check_pixels(source, pixels[0])
    assert source.georeference is None


@pytest.mark.parametrize(("driver", "ending"), [("HFA", "img"), ("ENVI", "dat")])
def test_rasters_that_only_gdal_reads_are_read(tmp_path, driver, ending):
    rasterio = pytest.importorskip("rasterio")
    pixels = noise(4, 70, 101, dtype=np.uint16)
    path = write_raster(tmp_path / f"r.{ending}", pixels, driver=driver)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2], rasterio.enums.Resampling.average)
    with open_source(path) as source:
        check_pixels(source, np.moveaxis(pixels, 0, -1))
        assert source.georeference.transform == PLACE
    with open_source(path, bands=[3, 1]) as source:
        check_pixels(source, np.moveaxis(pixels[[2, 0]], 0, -1))
        check_pixels(reopen(source.describe()), np.moveaxis(pixels[[2, 0]], 0, -1))
    assert open_source(path, level=1).size == (35, 51)


def test_threads_read_a_raster_as_one(tmp_path):
    pytest.importorskip("rasterio")
    pixels = noise(3, 300, 400)
    path = write_raster(tmp_path / "r.img", pixels, driver="HFA")
    with open_source(path) as source, ThreadPoolExecutor(4) as threads:
        asked = rectangles(source.size, 40)
        for (rows, columns), got in zip(
            asked, threads.map(lambda pair: source.read(*pair), asked), strict=True
        ):
            assert np.array_equal(got, np.moveaxis(pixels[:, slice(*rows), slice(*columns)], 0, -1))


def test_a_virtual_raster_is_read(tmp_path):
    pytest.importorskip("rasterio")
    pixels = noise(1, 70, 101)
    write_raster(tmp_path / "r.tif", pixels)
    (tmp_path / "r.vrt").write_text(
        '<VRTDataset rasterXSize="101" rasterYSize="70"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">r.tif</SourceFilename></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    check_pixels(open_source(tmp_path / "r.vrt"), pixels[0])


def test_a_raster_is_asked_for_with_its_extra(tmp_path, monkeypatch):
    (tmp_path / "r.img").write_bytes(b"anything")
    monkeypatch.setattr("fullconv.sources.formats._installed", lambda module: False)
    with pytest.raises(MissingExtraError) as caught:
        open_source(tmp_path / "r.img")
    assert str(caught.value).startswith(
        f"Reading {tmp_path / 'r.img'} needs the optional packages of the 'geo' extra, which"
    )


def test_jpeg_2000_is_alike_with_and_without_gdal(tmp_path, monkeypatch):
    pytest.importorskip("rasterio")
    import imagecodecs

    pixels = noise(70, 101, 3)
    (tmp_path / "p.jp2").write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0))
    check_pixels(open_source(tmp_path / "p.jp2"), pixels)
    monkeypatch.setattr("fullconv.sources.formats._installed", lambda module: False)
    check_pixels(open_source(tmp_path / "p.jp2"), pixels)
    check_pixels(fit_channels(open_source(tmp_path / "p.jp2"), 3), pixels)


def test_a_name_that_gdal_does_not_take_is_not_called_damage(slide, tmp_path):
    """OpenSlide takes any."""
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(
        tmp_path / "a.img", "w", driver="HFA", width=8, height=9, count=1, dtype="uint8",
        transform=rasterio.Affine(*PLACE),
    ) as raster:  # fmt: skip
        raster.write(noise(9, 8, 1)[None, ..., 0])
    odd = [tmp_path / f"caf\udce9{ending}" for ending in (".img", ".ndpi")]
    try:
        os.rename(tmp_path / "a.img", odd[0])
        os.rename(slide[0], odd[1])
    except (OSError, UnicodeError):
        pytest.skip("this disk takes text alone")
    with pytest.raises(ImageError) as caught:
        open_source(odd[0])
    assert str(caught.value) == (
        f"{odd[0]} cannot be opened: its name is not UTF-8, and the library that reads such files "
        f"takes no other; rename it."
    )
    with open_source(odd[1]) as source:
        check_pixels(source, slide[1][0])
