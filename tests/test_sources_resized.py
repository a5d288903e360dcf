"""A resized source is the whole image resized, whichever rectangle is read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fullconv.errors import InputError
from fullconv.sources import open_source, reopen, resized
from test_sources import noise, rectangles

SIZES = [(300, 520), (201, 303), (700, 1100), (10, 17), (1, 1), (611, 40)]


def whole(pixels, size):
    """Resize a whole image with Pillow, band by band."""
    deep = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    bands = [
        Image.fromarray(np.ascontiguousarray(deep[:, :, band])).resize(
            size[::-1], Image.Resampling.BILINEAR
        )
        for band in range(pixels.shape[2])
    ]
    return np.stack([np.asarray(band) for band in bands], axis=2)


def check_near(read, expected):
    """Check that 8-bit pixels differ by one grey level at most, very few by two."""
    off = np.abs(read.astype(int) - expected)
    assert off.max() <= 2
    assert (off > 1).sum() <= 1 + off.size // 100_000


def test_the_check_of_nearness_can_fail():
    black = np.zeros((300, 300), np.uint8)
    check_near(black + 1, black)
    for wrong in (black + 3, np.where(np.arange(300) < 3, 2, black)):
        with pytest.raises(AssertionError):
            check_near(wrong, black)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_pixels_are_those_of_the_whole_image_resized(size, bands):
    pixels = noise(611, 1003, bands)
    read = resized(open_source(pixels), size).read((0, size[0]), (0, size[1]))
    assert read.dtype == np.uint8
    check_near(read, whole(pixels, size))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_deep_pixels_are_those_of_the_whole_image_resized(dtype, size):
    pixels = noise(611, 1003, 2, dtype=dtype)
    read = resized(open_source(pixels), size).read((0, size[0]), (0, size[1]))
    assert read.dtype == dtype
    # Positions inside a block are known to 2**-15 of a pixel; 16 bits show that, and round.
    allowed = 65535 * 2**-15 + 0.5 if np.dtype(dtype).kind in "ui" else 8 * 2**-15
    assert np.abs(read - whole(pixels, size)).max() <= allowed


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_rectangle_has_bitwise_the_same_pixels(data):
    extent = st.integers(1, 700)
    pixels = noise(data.draw(extent), data.draw(extent), 3)
    size = data.draw(extent), data.draw(extent)
    expected = resized(open_source(pixels), size).read((0, size[0]), (0, size[1]))
    assert expected.shape == (*size, 3)
    source = resized(open_source(pixels), size)
    for rows, columns in rectangles(size, 5):
        assert np.array_equal(source.read(rows, columns), expected[slice(*rows), slice(*columns)])
    check_near(expected, whole(pixels, size))


def test_a_strong_reduction_reads_little_at_a_time():
    pixels = noise(4000, 6000)
    source = resized(open_source(pixels), (40, 60))
    assert source.block == (40, 40)
    read = source.read((0, 40), (0, 60))
    check_near(read, whole(pixels[:, :, None], (40, 60)))


def test_the_largest_numbers_stay_in_their_dtype():
    for dtype in (np.uint16, np.int32, np.uint32):
        highest = np.iinfo(dtype).max
        pixels = np.full((50, 50), highest, dtype)
        read = resized(open_source(pixels), (20, 20)).read((0, 20), (0, 20))
        assert read.min() >= highest - highest // 2**20


def test_resizing_tells_its_scale_and_can_be_opened_again(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(noise(60, 90, 3)).save(path)
    source = resized(open_source(path, own_um_per_pixel=0.5, bands=[2]), (30, 30))
    assert source.placement.scale == (2.0, 3.0)
    assert source.um_per_pixel == (1.0, 1.5)
    assert source.original_size == (60, 90)
    described = source.describe()
    assert described == {
        "path": str(path),
        "own_um_per_pixel": 0.5,
        "bands": [2],
        "then": [{"size": [30, 30]}],
    }
    again = reopen(described)
    assert np.array_equal(again.read((0, 30), (0, 30)), source.read((0, 30), (0, 30)))
    assert again.fingerprint() == source.fingerprint()
    assert again.fingerprint() != open_source(path).fingerprint()


def test_the_same_size_is_the_source_itself():
    source = open_source(noise(20, 30))
    assert resized(source, (20, 30)) is source


@pytest.mark.parametrize("size", [(0, 5), (5,), (2.5, 5), (-1, 5)])
def test_a_size_is_two_whole_numbers(size):
    with pytest.raises(InputError) as caught:
        resized(open_source(noise(20, 30)), size)
    assert str(caught.value) == (
        f"resized(size={size}): expected two whole numbers of at least 1 pixel, (rows, columns)."
    )
