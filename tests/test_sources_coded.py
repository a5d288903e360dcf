"""Pictures that imagecodecs reads and Pillow does not."""

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile

from bad_images import replace_tiles
from fullconv.errors import ImageError
from fullconv.sources import find_images, open_source
from fullconv.sources.coded import CODINGS
from fullconv.sources.encoded import jpeg_frame
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


def in_parts(encoded: bytes, first: int) -> bytes:
    """Return a JPEG XL codestream as a container of two parts, the first of so many bytes."""
    boxes = [
        (b"JXL ", b"\r\n\x87\n"),
        (b"ftyp", b"jxl \0\0\0\0jxl "),
        (b"jxlp", struct.pack(">I", 0) + encoded[:first]),
        (b"jxlp", struct.pack(">I", 1 << 31 | 1) + encoded[first:]),
    ]
    return b"".join(struct.pack(">I", 8 + len(held)) + kind + held for kind, held in boxes)


SIZES = [
    (1, 1),
    (8, 8),
    (48, 64),
    (256, 256),
    (9, 16),
    (30, 36),
    (2, 3),
    (5, 4),
    (7, 600),
    (9000, 3),
]


@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_jpeg_xl_is_read_from_its_header(size):
    shape = CODINGS["JPEG XL"].shape
    pixels = np.zeros((*size, 3), np.uint8)
    encoded = imagecodecs.jpegxl_encode(pixels)
    assert shape(encoded) == (size, 3)
    assert shape(imagecodecs.jpegxl_encode(pixels, usecontainer=True)) == (size, 3)
    for first in (1, 2, 3, 9):
        assert shape(in_parts(encoded, first)) == (size, 3)
    for dtype, number in (("uint16", 2), ("float32", 4)):
        encoded = imagecodecs.jpegxl_encode(pixels.astype(dtype), lossless=True)
        assert shape(encoded) == (size, 3 * number)


def test_the_channels_of_a_jpeg_xl_are_counted_before_it_is_decoded(tmp_path):
    pixels = np.zeros((20, 30, 40), np.uint8)
    encoded = imagecodecs.jpegxl_encode(pixels, planar=True, photometric="gray", lossless=True)
    assert CODINGS["JPEG XL"].shape(encoded) == ((30, 40), 3 + 19)
    film = imagecodecs.jpegxl_encode(noise(2, 20, 30, 4), lossless=True)
    assert CODINGS["JPEG XL"].shape(film) == ((20, 30), 4)


def test_a_jpeg_xl_in_parts_is_read(tmp_path):
    pixels = noise(37, 53, 3)
    path = tmp_path / "parts.jxl"
    path.write_bytes(in_parts(imagecodecs.jpegxl_encode(pixels, lossless=True), 3))
    check_pixels(open_source(path), pixels)


def test_a_frame_that_decoders_do_not_see_does_not_hide_theirs():
    encoded = imagecodecs.jpeg8_encode(noise(40, 48, dtype=np.uint16) >> 4, bitspersample=12)
    false = b"\xff\xc1" + struct.pack(">HBHHB", 11, 12, 8, 8, 1) + bytes(3)
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(false)) + false
    assert jpeg_frame(encoded).size == (40, 48)
    for before in (comment, b"\xff\x01" + comment, b"\xff" * 999, b"garbage" + comment):
        held = b"\xff\xd8" + before + encoded[2:]
        assert imagecodecs.jpeg8_decode(held).shape == (40, 48)
        assert jpeg_frame(held).size == (40, 48)


def test_a_large_file_of_fill_bytes_is_refused(tmp_path):
    """A search that begins anew at every byte would not come to its end."""
    (tmp_path / "fill.jpg").write_bytes(b"\xff\xd8" + b"\xff" * 50_000_000)
    with pytest.raises(ImageError, match="truncated before it says its size"):
        open_source(tmp_path / "fill.jpg")


def test_a_tile_that_says_that_it_is_larger_is_not_decoded(tmp_path):
    whole, other = tmp_path / "whole.tif", tmp_path / "other.tif"
    tifffile.imwrite(
        whole, noise(64, 64, 3), photometric="rgb", tile=(32, 32), compression="jpegxl"
    )
    large = imagecodecs.jpegxl_encode(noise(96, 128, 3))
    for tile in (large, in_parts(large, 3)):
        replace_tiles(whole, other, tile)
        with pytest.raises(ImageError, match="a block says that it is 128x96 pixels"):
            open_source(other).read((0, 64), (0, 64))


def test_jpeg_xr_is_refused_as_its_decoder_ends_the_process(tmp_path):
    pixels = noise(64, 64, 3)
    (tmp_path / "image.jxr").write_bytes(imagecodecs.jpegxr_encode(pixels))
    with pytest.raises(ImageError, match="of a kind that fullconv does not know"):
        open_source(tmp_path / "image.jxr")
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 32), compression="jpegxr")
    with pytest.raises(ImageError, match="is compressed as JPEG XR, whose decoder ends"):
        open_source(path)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        ((b"8BPS", 1, 3, 37, 53, 16, 3), "a Photoshop file of more than 8 bits, or a large one"),
        ((b"8BPS", 2, 3, 37, 53, 8, 3), "a Photoshop file of more than 8 bits, or a large one"),
    ],
)
def test_photoshop_files_that_pillow_does_not_read_are_named(tmp_path, start, what):
    (tmp_path / "image.psd").write_bytes(struct.pack(">4sH6xHIIHH", *start) + bytes(9999))
    with pytest.raises(ImageError, match=f"image.psd is {what}"):
        open_source(tmp_path / "image.psd")


def test_deep_jpeg_of_four_colours_is_named(tmp_path):
    pixels = noise(40, 48, 3, dtype=np.uint16) >> 4
    encoded = bytearray(imagecodecs.jpeg8_encode(pixels, bitspersample=12))
    encoded[encoded.index(b"\xff\xc1") + 9] = 4
    (tmp_path / "image.jpg").write_bytes(encoded)
    with pytest.raises(ImageError, match=r"image\.jpg is a JPEG of 12 bits in 4 colours, which"):
        open_source(tmp_path / "image.jpg")
