"""TIFFs of every make are read block by block, with the pixels that were written."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image

from fullconv.errors import ImageError, InputError
from fullconv.geometry.placement import Placement
from fullconv.sources import fit_channels, open_source, reopen, resized
from fullconv.sources.pyramid import placement_by_size
from test_sources import check_pixels, noise, rectangles

TILES = {"tile": (32, 48)}
STRIPS = {"rowsperstrip": 7}


def whole(path):
    """Return what tifffile reads as ``(H, W)`` or ``(H, W, bands)``."""
    pixels = tifffile.imread(path)
    return np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 and pixels.shape[0] < 8 else pixels


@pytest.mark.parametrize("storage", [TILES, STRIPS, {}], ids=["tiles", "strips", "one strip"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("shape", [(70, 101), (70, 101, 3), (70, 101, 5)])
def test_pixels_are_those_written(tmp_path, storage, compression, dtype, shape):
    pixels = noise(*shape, dtype=dtype)
    predictor = compression in ("zlib", "zstd")
    photometric = "rgb" if shape[2:] == (3,) else "minisblack"
    options = {"photometric": photometric, "planarconfig": "contig"} if len(shape) == 3 else {}
    path = tmp_path / "image.tif"
    tifffile.imwrite(
        path, pixels, compression=compression, predictor=predictor, **options, **storage
    )
    with open_source(path) as source:
        check_pixels(source, pixels)


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000", "png"])
@pytest.mark.parametrize("storage", [TILES, STRIPS], ids=["tiles", "strips"])
@pytest.mark.parametrize("bands", [1, 3])
def test_pictures_in_a_tiff_are_those_of_tifffile(tmp_path, compression, storage, bands):
    if compression == "webp" and bands == 1:
        pytest.skip("WebP has no grey")
    pixels = noise(70, 101, 3) if bands == 3 else noise(70, 101)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, compression=compression, **storage)
    check_pixels(open_source(path), whole(path))


@pytest.mark.parametrize("storage", [TILES, STRIPS, {}], ids=["tiles", "strips", "one strip"])
@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_bands_that_are_stored_apart_are_read_alone(tmp_path, storage, compression):
    if compression == "jpeg" and not storage:
        storage = STRIPS
    path = tmp_path / "image.tif"
    tifffile.imwrite(
        path,
        noise(3, 70, 101),
        planarconfig="separate",
        photometric="rgb",
        compression=compression,
        **storage,
    )
    check_pixels(open_source(path), whole(path))
    with open_source(path, bands=[3, 1]) as chosen:
        check_pixels(chosen, whole(path)[:, :, [2, 0]])
        assert chosen.cache.cached_bytes <= 70 * 101 * 2
        check_pixels(reopen(chosen.describe()), whole(path)[:, :, [2, 0]])


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_byte_order_and_bigtiff_make_no_difference(tmp_path, byteorder, bigtiff, compression):
    pixels = noise(70, 101, dtype=np.uint16)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, byteorder=byteorder, bigtiff=bigtiff, compression=compression)
    check_pixels(open_source(path), pixels)


def test_grey_where_0_is_white_is_inverted(tmp_path):
    for dtype, highest in (("uint8", 255), ("uint16", 65535)):
        pixels = noise(70, 101, dtype=dtype)
        tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="miniswhite")
        check_pixels(open_source(tmp_path / "image.tif"), highest - pixels)


def test_a_palette_becomes_its_colours(tmp_path):
    colours, numbers = noise(3, 256, dtype=np.uint16), noise(70, 101)
    tifffile.imwrite(
        tmp_path / "image.tif", numbers, photometric="palette", colormap=colours, **TILES
    )
    expected = (colours.T >> 8).astype(np.uint8)[numbers]
    check_pixels(open_source(tmp_path / "image.tif"), expected)


def test_black_and_white_are_0_and_255(tmp_path):
    image = Image.fromarray(noise(70, 101)).convert("1")
    for compression in ("raw", "packbits", "group4", "tiff_deflate"):
        image.save(tmp_path / "image.tif", compression=compression)
        check_pixels(open_source(tmp_path / "image.tif"), np.asarray(image.convert("L")))
    tifffile.imwrite(tmp_path / "image.tif", np.asarray(image), photometric="miniswhite")
    check_pixels(open_source(tmp_path / "image.tif"), 255 - np.asarray(image.convert("L")))


def test_ycbcr_jpeg_and_its_tables_become_rgb(tmp_path):
    """libtiff, which GDAL uses, writes tables once per page; the tiles alone are not JPEGs."""
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "image.tif"
    profile = {"height": 70, "width": 101, "count": 3, "dtype": "uint8", "driver": "GTiff"}
    tiled = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    place = rasterio.Affine(0.5, 0, 10, 0, -0.5, 20)
    with rasterio.open(
        path, "w", **profile, **tiled, compress="jpeg", photometric="ycbcr", transform=place
    ) as file:
        file.write(noise(3, 70, 101))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.jpegtables is not None
    # GDAL spreads the colours of neighbouring pixels more roughly than libjpeg in Pillow.
    check_pixels(open_source(path), np.asarray(Image.open(path).convert("RGB")))


def test_channels_in_pages_of_an_ome_tiff_are_bands(tmp_path):
    pixels = noise(4, 70, 101, dtype=np.uint16)
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX"}, **TILES)
    check_pixels(open_source(path), np.moveaxis(pixels, 0, -1))
    check_pixels(open_source(path, bands=[4, 2]), np.moveaxis(pixels[[3, 1]], 0, -1))


AXES = ("YXC", "YCX", "CYX", "CXY", "XYC", "XCY")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
def test_axes_in_any_order_are_rows_columns_and_bands(tmp_path, axes, compression, dtype):
    pixels = noise(40, 50, 4, dtype=np.dtype(dtype).newbyteorder("="))
    path = tmp_path / "image.tif"
    tifffile.imwrite(
        path,
        np.ascontiguousarray(pixels.transpose(["YXC".index(axis) for axis in axes])),
        metadata={"axes": axes},
        photometric="minisblack",
        compression=compression,
        byteorder=">" if dtype.startswith(">") else "<",
    )
    check_pixels(open_source(path), pixels)
    check_pixels(open_source(path, bands=[3, 1]), pixels[..., [2, 0]])


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "palette"])
def test_columns_before_rows_are_turned(tmp_path, compression, photometric):
    pixels = noise(40, 50)
    path = tmp_path / "image.tif"
    colours = noise(3, 256, dtype=np.uint16)
    tifffile.imwrite(
        path,
        np.ascontiguousarray(pixels.T),
        metadata={"axes": "XY"},
        photometric=photometric,
        compression=compression,
        **({"colormap": colours} if photometric == "palette" else {}),
    )
    expected = {
        "minisblack": pixels,
        "miniswhite": 255 - pixels,
        "palette": (colours.T >> 8).astype(np.uint8)[pixels],
    }
    check_pixels(open_source(path), expected[photometric])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("axes", ["CYX", "TZCYX", "YX"])
def test_bands_that_imagej_keeps_behind_one_page_are_read(tmp_path, dtype, axes):
    pixels = noise(3 if "C" in axes else 1, 70, 101, dtype=dtype)
    stored = pixels.reshape([1] * (len(axes) - 3) + list(pixels.shape))[..., :, :]
    path = tmp_path / "image.tif"
    tifffile.imwrite(
        path,
        stored if "C" in axes else pixels[0],
        imagej=True,
        metadata={"axes": axes},
        truncate=True,
    )
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 1
    check_pixels(open_source(path), np.moveaxis(pixels, 0, -1))
    if "C" in axes:
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ImageError, match="pixels are missing at its end"):
            open_source(path)


def test_what_lies_beside_the_image_is_not_the_first_page(tmp_path):
    full, path = noise(80, 112, 3), tmp_path / "image.tif"
    small = np.ascontiguousarray(full[::4, ::4])
    half = np.ascontiguousarray(full[::2, ::2])
    plain = {"photometric": "rgb", "metadata": None}
    reduced, old = {"subfiletype": 1} | plain, {"extratags": [(255, "H", 1, 2, True)]} | plain
    # A thumbnail first; in the older tag; and with levels of the image behind it.
    for first, more in ((reduced, 0), (old, 0), (reduced, 1)):
        with tifffile.TiffWriter(path) as file:
            file.write(small, **first)
            file.write(full, **plain)
            if more:
                file.write(half, **reduced)
        check_pixels(open_source(path), full)
        if more:
            check_pixels(open_source(path, level=1), half)
    # The image below the thumbnail; and one of the same size.
    with tifffile.TiffWriter(path) as file:
        file.write(small, subifds=1, **reduced)
        file.write(full, **plain)
    check_pixels(open_source(path), full)
    with tifffile.TiffWriter(path) as file:
        file.write(255 - full, **reduced)
        file.write(full, **plain)
    check_pixels(open_source(path), full)


def test_of_unrelated_pages_the_first_is_read(tmp_path):
    pages = [noise(70, 101, 3) for _ in range(3)]
    path = tmp_path / "image.tif"
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, photometric="rgb", metadata=None)
    check_pixels(open_source(path), pages[0])


def test_tiles_that_were_never_written_are_nodata(tmp_path):
    pixels = noise(70, 101, dtype=np.int16)
    pixels[32:64, 48:96] = -9
    tiles = [
        None if (y, x) == (32, 48) else np.pad(pixels, ((0, 26), (0, 43)))[y : y + 32, x : x + 48]
        for y in range(0, 70, 32)
        for x in range(0, 101, 48)
    ]
    path = tmp_path / "image.tif"
    for tags, value in (([(42113, "s", 0, "-9", True)], -9), ([], 0)):
        tifffile.imwrite(
            path,
            iter(tiles),
            shape=(70, 101),
            dtype=np.int16,
            extratags=tags,
            compression="zlib",
            **TILES,
        )
        pixels[32:64, 48:96] = value
        check_pixels(open_source(path), pixels)


def pyramid(path, pixels, ome, **options):
    """Write a pyramid of three levels, each half as large, and return the levels."""
    levels = [pixels, pixels[::2, ::2], pixels[::4, ::4]]
    with tifffile.TiffWriter(path, ome=ome) as file:
        file.write(levels[0], photometric="rgb", subifds=2 if ome else 0, **TILES, **options)
        for level in levels[1:]:
            file.write(level, photometric="rgb", subfiletype=1, metadata=None, **TILES)
    return levels


@pytest.mark.parametrize("ome", [True, False], ids=["OME", "overviews"])
def test_every_level_is_read(tmp_path, ome):
    path = tmp_path / "image.tif"
    options = {} if ome else {"metadata": None}
    levels = pyramid(path, noise(201, 303, 3), ome, **options)
    for level, expected in enumerate(levels):
        with open_source(path, level=level) as source:
            check_pixels(source, expected)
            assert source.original_size == (201, 303)
            assert source.placement == Placement((2.0**level,) * 2, (0.0, 0.0))
            check_pixels(reopen(source.describe()), expected)
    with pytest.raises(InputError) as caught:
        open_source(path, level=3)
    assert str(caught.value) == f"{path} has 3 levels, 0 to 2; got level 3. Choose one of these."


@pytest.mark.parametrize(
    ("size", "level", "expected"),
    [
        ((1000, 700), (500, 350), (2.0, 2.0)),
        ((1001, 701), (500, 350), (2.0, 2.0)),  # rounded down
        ((1001, 701), (501, 351), (2.0, 2.0)),  # and up
        ((1003, 707), (62, 44), (16.0, 16.0)),
        ((1003, 707), (4, 3), (256.0, 256.0)),  # of many whole factors a power of 2
        ((1000, 700), (333, 233), (3.0, 3.0)),
        ((1000, 700), (1000, 350), (1.0, 2.0)),
        ((1000, 700), (666, 466), (1000 / 666, 700 / 466)),
        ((30, 40), (30, 40), (1.0, 1.0)),
    ],
)
def test_the_factor_of_a_level_is_whole_where_its_size_was_rounded(size, level, expected):
    assert placement_by_size(size, level) == Placement(expected, (0.0, 0.0))


@pytest.mark.parametrize(
    ("size", "level", "per_cm", "factor"),
    [
        ((300, 450), (200, 300), (9000, 6000), 1.5),
        ((301, 451), (200, 300), (9000, 6000), 1.5),  # rounded down
        ((300, 450), (160, 240), (8000, 4000), 2.0),  # filled up to tiles of 32x48
        ((300, 450), (150, 225), (8000, 8000), 2.0),  # of the first level in all
        ((300, 450), (150, 225), (8000, 1000), 2.0),  # not true of the sizes
    ],
)
def test_the_resolution_of_a_level_says_where_it_lies(tmp_path, size, level, per_cm, factor):
    path = tmp_path / "image.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for n, (shape, resolution) in enumerate(zip((size, level), per_cm, strict=True)):
            told = {"resolution": (resolution, resolution), "resolutionunit": "CENTIMETER"}
            below = {"subfiletype": 1} if n else {"subifds": 1}
            file.write(noise(*shape), **told, **below, **TILES)
    source = open_source(path, level=1)
    assert source.placement.scale == pytest.approx((factor, factor))
    assert source.placement.offset == (0.0, 0.0)


def test_the_coarsest_level_that_is_fine_enough_is_read_and_resized(tmp_path):
    path = tmp_path / "image.ome.tif"
    physical = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 500.0, "PhysicalSizeYUnit": "nm"}
    levels = pyramid(path, noise(200, 304, 3), True, metadata=physical)
    assert open_source(path).um_per_pixel == (0.5, 0.5)
    assert open_source(path, level=2).um_per_pixel == (2.0, 2.0)
    for wanted, level in ((0.5, 0), (0.504, 0), (1.0, 1), (0.995, 1), (2.01, 2)):
        with open_source(path, um_per_pixel=wanted) as source:
            check_pixels(source, levels[level])
    for wanted, level, size in ((0.8, 0, (125, 190)), (1.5, 1, (67, 101)), (0.25, 0, (400, 608))):
        with open_source(path, um_per_pixel=wanted) as source:
            inner = open_source(path, level=level)
            assert source.size == size
            assert source.um_per_pixel == pytest.approx((wanted, wanted), rel=0.01)
            assert source.placement.scale == (200 / size[0], 304 / size[1])
            rows, columns = (0, size[0]), (0, size[1])
            expected = resized(inner, size).read(rows, columns)
            assert np.array_equal(source.read(rows, columns), expected)
            again = reopen(fit_channels(source, 1).describe())
            grey = fit_channels(open_source(expected), 1).read(rows, columns)
            assert np.array_equal(again.read(rows, columns), grey)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": (20000, 10000), "resolutionunit": "CENTIMETER"}, (1.0, 0.5)),
        ({"resolution": (25400, 25400), "resolutionunit": "INCH"}, (1.0, 1.0)),
        ({"resolution": (20000, 20000), "resolutionunit": "NONE"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (28, 28), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (4, 4), "imagej": True, "metadata": {"unit": "um"}}, (0.25, 0.25)),
        ({}, None),
        (
            {"description": "Aperio Image Library v1\r\n10x10 |AppMag = 40|MPP = 0.2498"},
            (0.2498, 0.2498),
        ),
    ],
)
def test_the_resolution_is_found_where_makers_write_it(tmp_path, options, expected):
    path = tmp_path / "image.tif"
    rgb = {} if "imagej" in options else {"metadata": None}
    tifffile.imwrite(path, noise(70, 101, 3), photometric="rgb", **(rgb | options))
    assert open_source(path).um_per_pixel == expected


def test_a_resolution_that_nobody_says_is_asked_for_by_the_flag(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, noise(70, 101))
    with pytest.raises(InputError) as caught:
        open_source(path, um_per_pixel=0.5)
    assert str(caught.value) == (
        f"{path} does not say how large its pixels are, and 0.5 um per pixel are asked for; say "
        f"it with --image-um-per-pixel (own_um_per_pixel in Python)."
    )
    with open_source(path, um_per_pixel=0.5, own_um_per_pixel=0.25) as source:
        assert source.size == (35, 50)
        assert reopen(source.describe()).size == (35, 50)


@pytest.mark.parametrize("name", ["um_per_pixel", "own_um_per_pixel"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_resolution_is_more_than_0(name, value):
    with pytest.raises(InputError) as caught:
        open_source(noise(20, 30), **{name: value})
    assert str(caught.value) == f"open_source({name}={value}): expected micrometres, more than 0."


def test_a_level_and_a_resolution_are_not_both_chosen():
    with pytest.raises(InputError) as caught:
        open_source(noise(20, 30), level=0, um_per_pixel=1.0, own_um_per_pixel=1.0)
    assert str(caught.value) == (
        "open_source(level=0, um_per_pixel=1.0): each of them chooses a resolution; give one."
    )


def test_an_image_of_one_level_says_so():
    with pytest.raises(InputError) as caught:
        open_source(noise(20, 30), level=1)
    assert str(caught.value) == "array has one level, 0; got level 1. Choose one of these."


def test_threads_read_the_same_as_one(tmp_path):
    pixels = noise(400, 500, 3)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, compression="zlib", tile=(64, 64))
    with open_source(path) as source:
        source.cache.limit_bytes = 5 * 64 * 64 * 3
        asked = rectangles(source.size, 200)
        with ThreadPoolExecutor(8) as threads:
            read = list(threads.map(lambda pair: source.read(*pair), asked))
        assert source.cache.cached_bytes <= source.cache.limit_bytes
    for (rows, columns), got in zip(asked, read, strict=True):
        assert np.array_equal(got, pixels[slice(*rows), slice(*columns)])


def test_a_large_image_is_never_held(tmp_path):
    """Tiles that were never written cost nothing in the file; decoded, all would be 3.6 GB."""
    import tracemalloc

    path = tmp_path / "image.tif"
    count = (30208 // 512) * (40448 // 512)
    tifffile.imwrite(
        path,
        iter([noise(512, 512, 3), *[None] * (count - 1)]),
        shape=(30208, 40448, 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(512, 512),
        compression="zlib",
    )
    tracemalloc.start()
    try:
        with open_source(path) as source:
            for column in range(0, 40448, 2048):
                tile = source.read((0, 2048), (column, min(column + 2048, 40448)))
                assert tile.any() == (column == 0)
            assert source.cache.cached_bytes <= source.cache.limit_bytes < 150e6
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 200e6


def test_an_unencoded_image_in_one_strip_is_read_in_pieces(tmp_path):
    pixels = noise(3000, 1000)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, rowsperstrip=3000)
    with open_source(path) as source:
        assert source.block == (1048, 1000)
        assert np.array_equal(source.read((2000, 2010), (5, 8))[:, :, 0], pixels[2000:2010, 5:8])
        assert source.cache.cached_bytes == 1048 * 1000


def test_what_is_not_one_image_of_several_bands_is_refused(tmp_path):
    volume, parts, luma = (tmp_path / f"{name}.tif" for name in ("volume", "parts.ome", "luma"))
    tifffile.imwrite(volume, noise(32, 64, 64), tile=(16, 16, 16), volumetric=True)
    tifffile.imwrite(parts, noise(2, 64, 64), metadata={"axes": "CYX", "UUID": "urn:uuid:1"})
    with tifffile.TiffFile(parts) as tiff:
        at = parts.read_bytes().index(b"<TiffData")
        assert b"<TiffData" in tiff.pages.first.description.encode()
    held = bytearray(parts.read_bytes())
    held[at:] = held[at:].replace(b'PlaneCount="2"', b'PlaneCount="1"', 1)
    parts.write_bytes(held)
    tifffile.imwrite(luma, noise(64, 64, 3), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(luma, mode="r+") as tiff:
        tiff.pages.first.tags[262].overwrite(6)
    expected = {
        volume: "holds a stack of pictures (32 along Z), and one image is read at a time; save "
        "the one that you want to scan.",
        parts: "keeps some of its bands in other files; save them together in one file.",
        luma: "is in the colour space YCBCR without JPEG compression, which fullconv does not "
        "read; save it in RGB or grey.",
    }
    for path, line in expected.items():
        with pytest.raises(ImageError) as caught:
            open_source(path)
        assert str(caught.value) == f"{path} {line}"
