"""What a path leads to, and what a picture says beside its pixels, cannot do harm."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import onnx
import pytest
import tifffile
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import fullconv
from bad_files import write_onnx
from bad_images import png_of, replace_tiles
from fullconv.cli.group import commands
from fullconv.errors import FullconvError, ImageError, InputError
from fullconv.sources import find_images, open_source, resized
from fullconv.sources.encoded import png_pixels
from fullconv.sources.xml import read_xml
from fuzz.image_metadata import BOMB
from measured import opened
from test_sources import check_pixels, noise

NO_FILE = "{} is {}, and images are read from files; save it as a file."


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a folder of things that are no files, under names of files."""
    monkeypatch.chdir(tmp_path)
    write_onnx(tmp_path)
    for name in ("pipe.png", "pipe.tif", "pipe.vrt", "pipe.ndpi", "pipe.txt", "pipe.onnx"):
        os.mkfifo(name)
    (tmp_path / "link.png").symlink_to("pipe.png")
    return tmp_path


@pytest.mark.parametrize("name", ["pipe.png", "pipe.tif", "pipe.vrt", "pipe.ndpi", "link.png"])
def test_a_pipe_is_refused_at_once(folder, name):
    with pytest.raises(FullconvError, match="is a pipe, and fullconv reads files and folders"):
        open_source(name)
    from fullconv.sources.formats import open_path

    with pytest.raises(ImageError) as caught:  # where a list named it
        open_path(Path(name))
    assert str(caught.value) == NO_FILE.format(name, "a pipe")


def test_a_socket_and_a_device_are_refused(folder):
    with socket.socket(socket.AF_UNIX) as held:
        held.bind("socket.png")
        with pytest.raises(InputError, match="is a socket, and fullconv reads"):
            open_source("socket.png")
    with pytest.raises(InputError, match="is a device, and fullconv reads"):
        open_source("/dev/zero")


@pytest.mark.parametrize(
    "arguments",
    [
        "scan fixed.onnx pipe.png -o heat.zarr",
        "scan fixed.onnx /dev/zero -o heat.zarr",
        "scan fixed.onnx pipe.txt -o heat.zarr",
        "scan fixed.onnx image.png -o heat.zarr --mask pipe.png",
        "scan fixed.onnx image.png -o heat.zarr --preprocessing pipe.png",
        "detect fixed.onnx pipe.tif -o boxes.json",
        "verify fixed.onnx pipe.png",
        "verify /dev/zero image.png",
        "explain pipe.onnx",
        "explain package.module:callable --weights pipe.png",
        "bench pipe.onnx image.png",
        "train /dev/full -o out.onnx",
    ],
)
def test_no_command_waits_for_a_pipe(folder, arguments):
    before = set(os.listdir())
    result = CliRunner().invoke(commands, arguments.split())
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert " is a pipe" in line or " is a device" in line
    assert set(os.listdir()) == before


def test_pipes_in_a_folder_do_not_keep_images_from_being_found(folder):
    found = {path.name for path in find_images(["."])}
    assert {"image.png", "pipe.tif"} <= found


def test_a_pipe_beside_a_raster_does_not_keep_gdal_waiting(folder):
    rasterio = pytest.importorskip("rasterio")
    from test_sources_extras import write_raster

    assert rasterio
    write_raster(folder / "r.bil", noise(1, 20, 30), driver="ENVI")
    for name in ("r.aux.xml", "r.bil.ovr", "r.prj"):
        os.mkfifo(name)
        with pytest.raises(ImageError, match=rf"{name} is a pipe"):
            open_source("r.bil")
        os.unlink(name)


# What files claim, and what they become


def lerc_of(size: int) -> bytes:
    """Return a block of LERC, of some tens of bytes whatever its size."""
    file = io.BytesIO()
    zeros = np.zeros((size, size), np.uint8)
    tifffile.imwrite(
        file, zeros, photometric="minisblack", compression="lerc", tile=(size, size), metadata=None
    )
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        return file.getvalue()[page.dataoffsets[0] :][: page.databytecounts[0]]


def ico_of(png: bytes) -> bytes:
    """Return an icon of one picture."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Read pictures that grow, in a process of its own."""
    folder = tmp_path_factory.mktemp("growing")
    pixels = noise(544, 544, 1)[:, :, 0]
    options = {"photometric": "minisblack", "tile": (272, 272), "metadata": None}
    tifffile.imwrite(folder / "lerc.tif", pixels, compression="lerc", **options)
    for name, data in {
        "lerc_size": lerc_of(12_000),
        "lerc_zlib": zlib.compress(bytes(10**8), 1),
        "lerc_zstd": imagecodecs.zstd_encode(bytes(10**8)),
        "lerc_noise": np.random.default_rng(0).bytes(300),
        "lerc_short": lerc_of(272)[:20],
    }.items():
        replace_tiles(folder / "lerc.tif", folder / f"{name}.tif", data)
    (folder / "ico.ico").write_bytes(ico_of(png_of(30_000, 30_000)))
    fits = "SIMPLE  = T".ljust(80) + "ZCMPTYPE= 'GZIP_1'".ljust(80) + "END".ljust(80)
    (folder / "packed.fits").write_bytes(fits.ljust(2880).encode())
    description = BOMB + b'<OME xmlns="x"><Image><Pixels a="&j;"/></Image></OME>'
    tifffile.imwrite(folder / "bomb.ome.tif", pixels, metadata=None, description=description)
    return opened(sorted(path.name for path in folder.iterdir()), folder)


GROWING = {
    "lerc_size.tif": "a block says that it is 12000x12000 pixels, in an image of blocks of 272x272",
    "lerc_zlib.tif": "a block of it becomes more than 6 MB",
    "lerc_zstd.tif": "a block of it becomes more than 6 MB",
    "lerc_noise.tif": "a block of it is no LERC 2",
    "lerc_short.tif": "a block of LERC ends early",
    "ico.ico": "ico.ico cannot be read",
    "packed.fits": "packed.fits is a compressed FITS, which fullconv does not read",
    "bomb.ome.tif": "bomb.ome.tif cannot be read",
}


@pytest.mark.parametrize("name", GROWING)
def test_what_grows_is_refused_before(outcome, name):
    found = outcome[0][name]
    assert GROWING[name] in str(found.line)
    assert found.grown_bytes < 200e6
    assert found.took_s < 20
    assert outcome[1] == ""


@pytest.mark.parametrize("more", [{}, {"compression": "deflate"}, {"compression": "zstd"}])
def test_lerc_is_read_compressed_once_more_or_not(tmp_path, more):
    pixels = noise(100, 120, 1, dtype=np.float32)[:, :, 0]
    options = {"photometric": "minisblack", "tile": (48, 48), "metadata": None}
    arguments = {"compression": "lerc", "compressionargs": {"level": 0, **more}}
    tifffile.imwrite(tmp_path / "l.tif", pixels, **options, **arguments)
    check_pixels(open_source(tmp_path / "l.tif"), pixels[:, :, None])


def test_a_png_is_decoded_without_what_does_not_decide_its_pixels(capfd):
    file = io.BytesIO()
    pixels = noise(20, 30, 3)
    image = Image.fromarray(pixels).quantize(16)
    image.save(file, "PNG", icc_profile=b"short", transparency=3, dpi=(300, 300))
    bare = png_pixels(file.getvalue())
    assert b"iCCP" in file.getvalue()
    assert b"iCCP" not in bare
    assert np.array_equal(imagecodecs.png_decode(bare), imagecodecs.png_decode(file.getvalue()))
    capfd.readouterr()
    imagecodecs.png_decode(bare)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        BOMB + b"<x>&j;</x>",
        b'<!DOCTYPE x SYSTEM "/etc/passwd"><x/>',
        '<?xml version="1.0" encoding="cp037"?>'.encode("cp037") + "<x/>".encode("cp037"),
        b'<?xml version="1.0" encoding="none"?><x/>',
        b"<x>",
        b"",
        "<x>\ud800</x>",
    ],
)
def test_xml_that_grows_or_is_none_is_one_line(text):
    with pytest.raises(
        ImageError, match=r"image\.tif cannot be read: the file is damaged"
    ) as caught:
        read_xml("image.tif", text)
    assert "\n" not in str(caught.value)


def test_the_parts_of_a_slide_lie_in_its_folder(tmp_path):
    pytest.importorskip("openslide")
    from fullconv.sources.slide import check_parts

    (tmp_path / "in").mkdir()
    slide = tmp_path / "in/slide.vms"
    (tmp_path / "outside.jpg").write_bytes(b"")
    (tmp_path / "in/part.jpg").write_bytes(b"")
    slide.write_text("[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=part.jpg\n")
    check_parts(slide)
    for name in ("../outside.jpg", str(tmp_path / "outside.jpg"), "/etc/passwd"):
        slide.write_text(f"[Virtual Microscope Specimen]\nImageFile={name}\n")
        with pytest.raises(ImageError, match="outside its own folder; fullconv does not follow it"):
            open_source(slide)


# Sizes


def test_a_resize_that_reads_gigabytes_for_a_pixel_is_refused():
    class Claimed:
        """Stands for an image of a terapixel, of which nothing is read."""

    with open_source(np.zeros((40, 40, 3), np.uint8)) as source:
        source.size = (1 << 20, 1 << 20)
        with pytest.raises(InputError) as caught:
            resized(source, (16, 16))
    assert str(caught.value) == (
        "array: 1048576x1048576 pixels become 16x16, each of 196612x196612, which do not fit in "
        "memory; reduce it less, or read a coarser level of it."
    )
    assert Claimed


def test_strong_reduction_is_made_in_small_blocks_and_right():
    pixels = np.zeros((9000, 9000, 3), np.uint8)
    pixels[4500:] = 200
    small = resized(open_source(pixels), (4, 4))
    assert small.block == (4, 4)
    expected = np.asarray(Image.fromarray(pixels).resize((4, 4), Image.Resampling.BILINEAR))
    assert np.abs(small.read((0, 4), (0, 4)).astype(int) - expected).max() <= 1
    with open_source(np.zeros((40, 40, 3), np.uint8)) as source:
        source.size = (60_000, 60_000)
        height, width = resized(source, (40, 40)).block
        assert (height * 1500 + 3004) * (width * 1500 + 3004) * 3 <= 1 << 28


@pytest.mark.parametrize("um", [1e-9, 0.001])
def test_an_enlargement_beyond_64_is_refused(um):
    with pytest.raises(InputError, match="would enlarge it more than 64 times; check both numbers"):
        open_source(noise(10, 10, 3), um_per_pixel=um, own_um_per_pixel=0.25)


def free_model() -> onnx.ModelProto:
    """Return a classifier of windows of any size."""
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["c"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "fw"], ["y"]),
        ],
        "free",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(rng.random(shape, dtype=np.float32), name)
            for name, shape in {"w": (256, 3, 3, 3), "fw": (256, 2)}.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (
            (30_000, 30_000),
            "900 million pixels in a window, and fullconv takes up to 17 (4096x",
        ),
        ((1, 2**31 - 1), "2147 million pixels in a window"),
        ((10**30, 1), "expected two whole numbers of at least 1 pixel"),
        (
            (4096, 4096),
            "numbers, and fullconv makes at most 268435456 for one window of this model",
        ),
    ],
)
def test_a_window_that_would_take_gigabytes_is_refused(window, expected):
    with pytest.raises(FullconvError) as caught:
        fullconv.convert(free_model(), window)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
