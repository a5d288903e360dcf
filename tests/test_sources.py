"""Sources give the pixels of the library that wrote the file, whichever rectangle is read."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fullconv.errors import ImageError, InputError
from fullconv.sources import fit_channels, open_source, reopen
from fullconv.sources.blocks import BlockCache

RNG = np.random.default_rng(0)


def noise(*shape, dtype=np.uint8):
    """Return random pixels that use the whole range of a dtype."""
    if np.dtype(dtype).kind == "f":
        return RNG.standard_normal(shape).astype(dtype)
    held = np.iinfo(dtype)
    return RNG.integers(held.min, held.max, shape, dtype=dtype, endpoint=True)


def rectangles(size, count=20):
    """Return the whole image, its corners, and random rectangles of it."""
    height, width = size
    corners = [((y, y + 1), (x, x + 1)) for y in (0, height - 1) for x in (0, width - 1)]
    drawn = []
    for _ in range(count):
        y, x = int(RNG.integers(height)), int(RNG.integers(width))
        drawn.append(
            (
                (y, int(RNG.integers(y, height)) + 1),
                (x, int(RNG.integers(x, width)) + 1),
            )
        )
    return [((0, height), (0, width)), *corners, *drawn]


def check_pixels(source, expected):
    """Compare every rectangle with the same part of the whole image ``(H, W[, C])``."""
    expected = expected if expected.ndim == 3 else expected[:, :, None]
    assert source.size == expected.shape[:2]
    assert source.bands == expected.shape[2]
    assert source.dtype == expected.dtype
    for rows, columns in rectangles(source.size):
        pixels = source.read(rows, columns)
        assert pixels.dtype == source.dtype
        assert np.array_equal(pixels, expected[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1), (31, 47, 3), (1, 1, 7)])
def test_arrays_come_as_they_are(dtype, shape):
    pixels = noise(*shape, dtype=dtype)
    check_pixels(open_source(pixels), pixels)


def test_the_check_of_pixels_can_fail():
    pixels = noise(30, 40, 3)
    other = pixels.copy()
    other[-1, -1, -1] ^= 1
    with pytest.raises(AssertionError):
        check_pixels(open_source(pixels), other)


@pytest.mark.parametrize(
    ("ending", "mode"),
    [
        *[("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[("jpg", mode) for mode in ("L", "RGB", "CMYK")],
        *[("webp", mode) for mode in ("RGB", "RGBA")],
        *[("bmp", mode) for mode in ("1", "L", "P", "RGB")],
        *[("gif", mode) for mode in ("L", "P")],
        *[("jp2", mode) for mode in ("L", "RGB")],
        *[(ending, "RGB") for ending in ("ppm", "avif", "pcx", "sgi", "dds", "tga", "ico")],
        ("msp", "1"),
        ("blp", "P"),
    ],
)
def test_pictures_have_the_pixels_of_pillow(tmp_path, ending, mode):
    grey = noise(37, 53, dtype=np.uint16)
    image = Image.fromarray(noise(37, 53, 3)).convert("RGB" if mode == "I;16" else mode)
    image = Image.fromarray(grey) if mode == "I;16" else image
    path = tmp_path / f"image.{ending}"
    image.save(path)
    with Image.open(path) as held:
        wanted = {"1": "L", "P": "RGB", "CMYK": "RGB"}.get(held.mode, held.mode)
        expected = np.asarray(held if mode == "I;16" else held.convert(wanted))
    check_pixels(open_source(path), expected)


def test_colour_png_of_16_bits_keeps_them(tmp_path):
    import imagecodecs

    pixels = noise(37, 53, 3, dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(pixels))
    check_pixels(open_source(tmp_path / "deep.png"), pixels)


ADAM7 = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)


def interlaced_png(pixels, passes=ADAM7, bits=None, colours=()):
    """Return a PNG in the seven passes of Adam7, or in one, with a palette or transparency."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = bits or pixels.dtype.itemsize * 8
    colour = 3 if b"PLTE" in dict(colours) else {1: 0, 2: 4, 3: 2, 4: 6}[samples]

    def packed_row(row):
        if bits >= 8:
            return row.astype(pixels.dtype.newbyteorder(">")).tobytes()
        return np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()

    rows = b"".join(
        b"\0" + packed_row(row)
        for top, left, down, across in passes
        for row in pixels[top::down, left::across]
        if row.size
    )

    def chunk(kind, held):
        checksum = struct.pack(">I", zlib.crc32(kind + held))
        return struct.pack(">I", len(held)) + kind + held + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(passes == ADAM7))
    packed = zlib.compress(rows)
    parts = [(b"IHDR", header), *colours]
    parts += [(b"IDAT", packed[:99]), (b"IDAT", packed[99:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(37, 53), (37, 53, 2), (37, 53, 3), (37, 53, 4), (1, 3, 3)])
def test_interlaced_png_has_its_pixels_and_prints_nothing(tmp_path, capfd, dtype, shape):
    pixels = noise(*shape, dtype=dtype)
    (tmp_path / "a.png").write_bytes(interlaced_png(pixels))
    check_pixels(open_source(tmp_path / "a.png"), pixels)
    assert capfd.readouterr() == ("", "")


TABLE = (b"PLTE", bytes(range(48)))


@pytest.mark.parametrize(
    ("shape", "dtype", "bits", "colours", "bands"),
    [
        ((37, 53), "uint8", 8, [(b"tRNS", b"\0\1")], 2),
        ((37, 53), "uint16", 16, [(b"tRNS", b"\0\1")], 2),
        ((37, 53, 3), "uint8", 8, [(b"tRNS", b"\0\1\0\2\0\3")], 4),
        ((37, 53, 3), "uint16", 16, [(b"tRNS", b"\0\1\0\2\0\3")], 4),
        ((37, 53), "uint8", 1, [], 1),
        ((37, 53), "uint8", 2, [(b"tRNS", b"\0\1")], 2),
        ((37, 53), "uint8", 4, [], 1),
        ((37, 53), "uint8", 1, [TABLE], 3),
        ((37, 53), "uint8", 4, [TABLE, (b"tRNS", bytes(range(9)))], 4),
        ((1, 3), "uint8", 4, [TABLE], 3),
    ],
)
def test_a_png_is_the_same_plain_and_interlaced(
    tmp_path, capfd, shape, dtype, bits, colours, bands
):
    pixels = noise(*shape, dtype=dtype) & (2**bits - 1)
    pixels[0, 0] = [1, 2, 3] if len(shape) == 3 else 1
    for name, passes in (("a", ((0, 0, 1, 1),)), ("b", ADAM7)):
        data = interlaced_png(pixels, passes, bits, colours)
        (tmp_path / f"{name}.png").write_bytes(data)
    plain = open_source(tmp_path / "a.png")
    assert plain.bands == bands
    check_pixels(open_source(tmp_path / "b.png"), plain.read((0, shape[0]), (0, shape[1])))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_damaged_interlaced_png_is_one_line(tmp_path, capfd, dtype):
    data = interlaced_png(noise(37, 53, 3, dtype=dtype))
    broken = {"cut": data[:-40], "turned": data[:300] + bytes([data[300] ^ 255]) + data[301:]}
    for name, held in broken.items():
        (tmp_path / f"{name}.png").write_bytes(held)
        with pytest.raises(ImageError, match="the file is damaged or cut short"):
            open_source(tmp_path / f"{name}.png")
    assert capfd.readouterr() == ("", "")


def test_photoshop_files_have_the_picture_that_they_store_of_all_layers(tmp_path):
    pixels = noise(37, 53, 3)
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 37, 53, 8, 3)
    sections = bytes(12)  # of palettes, resources and layers: none
    planes = struct.pack(">H", 0) + pixels.transpose(2, 0, 1).tobytes()
    (tmp_path / "image.psd").write_bytes(header + sections + planes)
    check_pixels(open_source(tmp_path / "image.psd"), pixels)


def test_the_orientation_of_a_camera_is_not_applied(tmp_path):
    image = Image.fromarray(noise(37, 53, 3))
    turned = Image.Exif()
    turned[274] = 6
    image.save(tmp_path / "turned.png", exif=turned)
    check_pixels(open_source(tmp_path / "turned.png"), np.asarray(image))


def test_a_file_is_known_by_its_contents(tmp_path):
    image = Image.fromarray(noise(37, 53, 3))
    image.save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(tmp_path / "image.tif")
    check_pixels(open_source(tmp_path / "image.tif"), np.asarray(image))


def test_a_picture_of_more_pixels_than_pillow_allows_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    image = Image.fromarray(noise(37, 53, 3))
    image.save(tmp_path / "large.png")
    check_pixels(open_source(tmp_path / "large.png"), np.asarray(image))


def test_a_picture_of_several_frames_is_its_first(tmp_path):
    frames = [Image.fromarray(noise(20, 30)) for _ in range(3)]
    frames[0].save(tmp_path / "frames.gif", save_all=True, append_images=frames[1:])
    source = fit_channels(open_source(tmp_path / "frames.gif"), 1)
    check_pixels(source, np.asarray(frames[0]))


@pytest.mark.parametrize("bands", [[1], [3, 1], [2, 2, 2, 1]])
def test_bands_are_counted_from_1_and_come_in_the_wanted_order(bands):
    pixels = noise(20, 30, 3)
    check_pixels(open_source(pixels, bands=bands), pixels[:, :, [band - 1 for band in bands]])


@pytest.mark.parametrize("bands", [[0], [4], [-1], [], [True], [1.0]])
def test_bands_that_are_not_there_are_refused(bands):
    with pytest.raises(InputError) as caught:
        open_source(noise(20, 30, 3), bands=bands)
    assert str(caught.value) == (
        f"array has 3 bands, counted from 1; got bands "
        f"{', '.join(map(str, bands)) or 'none'}. Name bands between 1 and 3."
    )


def test_channels_are_fitted_to_the_model():
    pixels = noise(20, 30, 4)
    grey, alpha = pixels[:, :, :1], pixels[:, :, :2]
    check_pixels(fit_channels(open_source(pixels), 4), pixels)
    check_pixels(fit_channels(open_source(pixels), 3), pixels[:, :, :3])
    check_pixels(fit_channels(open_source(grey), 3), np.repeat(grey, 3, axis=2))
    check_pixels(fit_channels(open_source(alpha), 3), np.repeat(grey, 3, axis=2))
    check_pixels(fit_channels(open_source(alpha), 1), grey)


def test_bands_that_are_no_list_are_refused():
    with pytest.raises(InputError, match=r"open_source\(bands=5\): expected a list, counted"):
        open_source(noise(20, 30, 3), bands=5)


@pytest.mark.parametrize("bands", [3, 4])
def test_colours_become_the_grey_of_pillow(bands):
    levels = np.array([0, 1, 2, 100, 127, 128, 254, 255], np.uint8)
    pixels = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(16, 32, 3)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    pixels = np.dstack([pixels, noise(16, 32)])[:, :, :bands]
    check_pixels(fit_channels(open_source(pixels), 1), expected)


def test_grey_of_16_bits_and_float_is_the_same_mixture():
    pixels = noise(20, 30, 3, dtype=np.uint16)
    expected = pixels @ np.array([0.299, 0.587, 0.114])
    deep = fit_channels(open_source(pixels), 1).read((0, 20), (0, 30))[:, :, 0]
    assert deep.dtype == np.uint16
    assert np.abs(deep - expected).max() < 0.51
    real = fit_channels(open_source(pixels.astype(np.float32)), 1)
    assert real.dtype == np.float32
    assert np.allclose(real.read((0, 20), (0, 30))[:, :, 0], expected, rtol=1e-6)


def test_channels_that_cannot_be_fitted_are_refused_with_the_flag_that_helps():
    with pytest.raises(InputError) as caught:
        fit_channels(open_source(noise(20, 30, 7)), 3)
    assert str(caught.value) == (
        "array has 7 bands and the model takes 3 channels; choose 3 of the bands in the model's "
        "order with --bands, as in --bands 1,2,3."
    )


@pytest.mark.parametrize(
    ("pixels", "bands", "channels", "line"),
    [
        (noise(20, 30, 3), [1, 2], 3, "array: --bands chose 2 (1 red, 2 green) of 3, and the model "
         "takes 3 channels; choose 3 of the bands in the model's order with --bands, as in --bands "
         "1,2,3."),
        (noise(20, 30, 3), [3, 1], 1, "array: --bands chose 2 (3 blue, 1 red) of 3, and the model "
         "takes 1 channel; choose 1 of the bands in the model's order with --bands, as in --bands "
         "1."),
        (noise(20, 30, 7), [6, 7], 3, "array: --bands chose 2 (6, 7) of 7, and the model takes 3 "
         "channels; choose 3 of the bands in the model's order with --bands, as in --bands 1,2,3."),
        (noise(20, 30, 2), [2], 3, "array: --bands chose 1 (2 alpha) of 2, and the model takes 3 "
         "channels; give an image of 3 bands, or name a band for every channel with --bands."),
        (noise(20, 30, 3), None, 4, "array has 3 bands (1 red, 2 green, 3 blue) and the model "
         "takes 4 channels; give an image of 4 bands, or name a band for every channel with "
         "--bands."),
    ],
)  # fmt: skip
def test_a_misfit_says_which_bands_were_chosen_and_names_none_twice(
    pixels: np.ndarray, bands: list[int] | None, channels: int, line: str
) -> None:
    with pytest.raises(InputError) as caught:
        fit_channels(open_source(pixels, bands=bands), channels)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((0, 21), (0, 30)), ((-1, 5), (0, 30)), ((5, 5), (0, 30)), ((0, 20), (7, 3))],
)
def test_rectangles_outside_the_image_are_refused(rows, columns):
    with pytest.raises(InputError) as caught:
        open_source(noise(20, 30)).read(rows, columns)
    assert str(caught.value) == (
        f"read(rows={rows}, columns={columns}): expected a rectangle inside the image array of "
        f"30x20 pixels (width x height)."
    )


def test_a_fingerprint_is_that_of_the_pixels(tmp_path):
    pixels = noise(20, 30, 3)
    other = pixels.copy()
    other[3, 4, 1] ^= 1
    same = open_source(pixels).fingerprint()
    assert same == open_source(pixels.copy()).fingerprint()
    prints = {
        same,
        open_source(other).fingerprint(),
        open_source(pixels, bands=[1, 2]).fingerprint(),
        fit_channels(open_source(pixels), 1).fingerprint(),
        open_source(pixels.reshape(30, 20, 3)).fingerprint(),
    }
    assert len(prints) == 5
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    before = open_source(path).fingerprint()
    assert open_source(path).fingerprint() == before
    path.rename(tmp_path / "moved.png")
    assert open_source(tmp_path / "moved.png").fingerprint() == before
    Image.fromarray(other).save(path)
    assert open_source(path).fingerprint() != before


def test_an_open_source_comes_back_as_it_is():
    source = open_source(noise(20, 30))
    assert open_source(source) is source
    with pytest.raises(InputError) as caught:
        open_source(source, level=0)
    assert str(caught.value) == (
        "open_source(<array: 30x20 pixels, 1 bands of uint8>, level=0): the source is open "
        "already; choose when it is opened from its path."
    )


def test_an_array_cannot_be_opened_again():
    with pytest.raises(InputError) as caught:
        reopen(open_source(noise(20, 30)).describe())
    assert str(caught.value) == (
        "the scanned image was an array in memory, which is not stored with the result; give the "
        "array again."
    )


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (
            np.zeros((2, 3, 4, 5)),
            "open_source(array): expected (H, W) or (H, W, C); got shape (2, 3, 4, 5). Give one "
            "image at a time, its channels last.",
        ),
        (
            np.zeros((0, 5)),
            "open_source(array): shape (0, 5) has no pixels; expected at least one.",
        ),
        (
            np.zeros((4, 5), complex),
            "open_source(array): expected whole or floating-point numbers; got complex128. "
            "Convert the array.",
        ),
    ],
)
def test_arrays_that_are_no_images_are_refused(pixels, expected):
    with pytest.raises(InputError) as caught:
        open_source(pixels)
    assert str(caught.value) == expected


def test_the_cache_keeps_what_was_used_last_within_its_bytes():
    made = []

    def make(row, column):
        made.append((row, column))
        return np.zeros((10, 10), np.uint8)

    cache = BlockCache(250)
    for key in [(0, 0), (0, 1), (0, 0), (0, 2), (0, 0), (0, 1)]:
        cache.get(key, make)
    assert made == [(0, 0), (0, 1), (0, 2), (0, 1)]
    assert cache.cached_bytes == 200


def test_the_cache_makes_a_block_once_for_all_threads_and_again_after_an_error():
    made = []

    def make(row, column):
        made.append(row)
        if len(made) == 1:
            raise ValueError("not yet")
        return np.zeros((10, 10), np.uint8)

    cache = BlockCache(1000)
    with pytest.raises(ValueError, match="not yet"):
        cache.get((0, 0), make)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: cache.get((0, 0), make), range(40)))
    assert len(made) == 2


def test_importing_the_package_loads_no_image_library():
    import subprocess
    import sys

    code = (
        "import sys, fullconv.sources; heavy = {'PIL', 'tifffile', 'zarr', 'imagecodecs', "
        "'rasterio', 'openslide', 'torch', 'onnx'}; print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_a_jpeg_is_decoded_alike_by_both_libraries():
    import imagecodecs

    held = io.BytesIO()
    Image.fromarray(noise(61, 43, 3)).save(held, "JPEG", subsampling=2)
    expected = np.asarray(Image.open(io.BytesIO(held.getvalue())))
    assert np.array_equal(imagecodecs.jpeg_decode(held.getvalue()), expected)
