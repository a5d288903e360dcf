"""Pictures that imagecodecs reads and Pillow does not."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from bad_images import replace_tiles
from fullconv.errors import ImageError
from fullconv.sources import find_images, open_source
from fullconv.sources.coded import CODINGS
from test_sources import check_pixels, noise

JXL = {"lossless": True}
GREY, COLOURS, SEEN_THROUGH = (37, 53), (37, 53, 3), (37, 53, 4)


@pytest.mark.parametrize(
    ("ending", "codec", "shape", "dtype", "options"),
    [
        ("jxl", "jpegxl", GREY, "uint8", JXL),
        ("jxl", "jpegxl", COLOURS, "uint8", JXL),
        ("jxl", "jpegxl", COLOURS, "uint8", JXL | {"usecontainer": True}),
        ("jxl", "jpegxl", SEEN_THROUGH, "uint8", JXL),
        ("jxl", "jpegxl", COLOURS, "uint16", JXL),
        ("jxl", "jpegxl", COLOURS, "float32", JXL),
        ("jxr", "jpegxr", GREY, "uint8", {"level": 1.0}),
        ("jxr", "jpegxr", COLOURS, "uint8", {"level": 1.0}),
        ("wdp", "jpegxr", GREY, "uint16", {"level": 1.0}),
        ("jls", "jpegls", GREY, "uint8", {}),
        ("jls", "jpegls", COLOURS, "uint8", {}),
        ("jls", "jpegls", GREY, "uint16", {}),
        ("jpg", "ljpeg", GREY, "uint16", {"bitspersample": 16}),
        ("jpg", "jpeg8", COLOURS, "uint8", {"lossless": True}),
    ],
)
def test_pictures_come_as_they_were_encoded(tmp_path, ending, codec, shape, dtype, options):
    pixels = noise(*shape, dtype=dtype)
    encoded = getattr(imagecodecs, f"{codec}_encode")(pixels, **options)
    (tmp_path / f"image.{ending}").write_bytes(encoded)
    (path,) = find_images([tmp_path])
    check_pixels(open_source(path), pixels)


def test_jpeg_of_12_bits_keeps_them(tmp_path):
    pixels = np.full((40, 48, 3), 1800, np.uint16)
    path = tmp_path / "image.jpg"
    path.write_bytes(imagecodecs.jpeg8_encode(pixels, bitspersample=12, level=98))
    held = open_source(path).read((0, 40), (0, 48))
    assert held.dtype == np.uint16
    assert np.abs(held.astype(int) - 1800).max() <= 4  # of 4095; JPEG rounds


def test_radiance_has_the_light_that_it_stores(tmp_path):
    pixels = np.array([[[0.5, 1, 8], [0.25, 0.125, 0]]], np.float32)  # powers of two are exact
    (tmp_path / "image.hdr").write_bytes(imagecodecs.rgbe_encode(pixels, header=True))
    check_pixels(open_source(tmp_path / "image.hdr"), pixels)


def test_of_a_film_the_first_picture_is_read(tmp_path):
    film = noise(2, 20, 30, 3)
    (tmp_path / "film.jxl").write_bytes(imagecodecs.jpegxl_encode(film, lossless=True))
    check_pixels(open_source(tmp_path / "film.jxl"), film[0])


@pytest.mark.parametrize(
    "size",
    [(1, 1), (8, 8), (48, 64), (256, 256), (9, 16), (30, 36), (2, 3), (5, 4), (7, 600), (9000, 3)],
)
def test_the_size_of_a_jpeg_xl_is_read_from_its_header(size):
    for options in ({}, {"usecontainer": True}):
        data = imagecodecs.jpegxl_encode(np.zeros((*size, 3), np.uint8), **options)
        assert CODINGS["JPEG XL"].size(data) == size


@pytest.mark.parametrize("codec", ["jpegxl", "jpegxr"])
def test_a_tile_that_says_that_it_is_larger_is_not_decoded(tmp_path, codec):
    whole, other = tmp_path / "whole.tif", tmp_path / "other.tif"
    tifffile.imwrite(whole, noise(64, 64, 3), photometric="rgb", tile=(32, 32), compression=codec)
    replace_tiles(whole, other, getattr(imagecodecs, f"{codec}_encode")(noise(96, 128, 3)))
    with pytest.raises(ImageError, match="a block says that it is 128x96 pixels"):
        open_source(other).read((0, 64), (0, 64))
