"""A bad image file gets one line, in little time and memory, and nothing on stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bad_images import write_all
from fullconv.errors import FullconvError, ImageError
from fullconv.sources import find_images, open_source
from test_bad_input import says

DAMAGED = "{} cannot be read: the file is damaged or cut short ({}); copy or save it again."
WHOLE = (
    "{} says that it is {} pixels (width x height), which is {} GB decoded, and this kind of "
    "picture must be decoded whole; fullconv does so up to 2.1 GB. Save it as a tiled TIFF."
)
BLOCKS = (
    "{} is stored in blocks of {} pixels (width x height), {} GB each decoded; fullconv reads "
    "blocks of up to 2.1 GB. Save it as a tiled TIFF."
)
NO_IMAGE = (
    "{} is not an image, or of a kind that fullconv does not know; give a PNG, JPEG, TIFF, or "
    "zarr, or with the extras 'wsi' and 'geo' a whole slide or a GDAL raster."
)
EMPTY = "{} is empty; copy or save the image again."
NO_PIXELS = "{} is {} pixels (width x height), so there is nothing to read; save the image again."
COLOURS = "{} is in the colour space {}, which fullconv does not read; save it in RGB or grey."
NO_ZARR = "{} is a folder without zarr metadata; give an image in it, or a zarr folder."
NUMBERS = (
    "{} holds {}, which cannot be read as pixels; save it with whole or floating-point numbers."
)
LISTS = "it lists {} of the {} blocks that an image of {} pixels has"
CODED = ("jxl", "jls", "jpe", "hdr")
CUT_PICTURES = [f"cut{part}_whole" for part in (10, 50, 90)]

EXPECTED = {
    "empty.png": EMPTY,
    "empty.tif": EMPTY,
    **dict.fromkeys(["text.jpg", "text.tif", "noise.png", "program.eps", "list.txt"], NO_IMAGE),
    "noise.ndpi": (DAMAGED, "OpenSlide does not know it as a slide"),
    "noise.mrxs": (DAMAGED, "OpenSlide does not know it as a slide"),
    "noise.vrt": (DAMAGED, "it is no virtual raster"),
    "bare": NO_ZARR,
    "missing.png": "{}: no such file; check the path of the image.",
    **{f"{name}.png": (DAMAGED, "<any>too small") for name in CUT_PICTURES},
    **{
        f"{n}.{e}": (DAMAGED, "<any>truncated<any>")
        for n in CUT_PICTURES
        for e in ("jpg", "bmp", "gif")
    },
    **{f"{n}.{e}": (DAMAGED, "<any>") for n in CUT_PICTURES for e in ("webp", "jp2")},
    **{f"{n}.{e}": (DAMAGED, "<any>") for n in CUT_PICTURES for e in ("jxl", "jls", "hdr")},
    **{f"{n}.jpe": (DAMAGED, "it ends early") for n in CUT_PICTURES[1:]},
    "cut10_whole.jpe": (DAMAGED, "<any>"),
    "cut50_progressive.jpg": (DAMAGED, "<any>truncated<any>"),
    "bomb.png": (WHOLE, "100000x100000", "30.0"),
    "thin.png": (WHOLE, "2147483647x1", "6.4"),
    "bomb.jpg": (WHOLE, "65000x65000", "12.7"),
    "bomb.bmp": (WHOLE, "90000x90000", "24.3"),
    "bomb.jxl": (WHOLE, "90000x90000", "24.3"),
    "bomb.jls": (WHOLE, "65000x65000", "12.7"),
    "bomb.jpe": (WHOLE, "65000x65000", "25.4"),
    "bomb.hdr": (WHOLE, "90000x90000", "97.2"),
    "nothing.png": (DAMAGED, "<any>"),
    **{
        f"cut{part}_{name}.tif": (DAMAGED, "pixels are missing at its end")
        for part in (2, 50, 90)
        for name in ("deflate", "jpeg", "plain")
    },
    **{f"cut{part}_libtiff.tif": (DAMAGED, "<any>") for part in (2, 50, 90)},
    "wide.tif": (DAMAGED, LISTS.format(12, 201326592, "2147483647x96")),
    "high.tif": (DAMAGED, LISTS.format(12, 268435456, "112x2147483647")),
    "high.bif": (DAMAGED, "it claims 268435456 blocks in <any> bytes"),
    "plain_high.tif": (DAMAGED, LISTS.format(1, 10923, "112x1048576")),
    "no_width.tif": (NO_PIXELS, "0x96"),
    "no_height.tif": (NO_PIXELS, "112x0"),
    "no_tile.tif": (DAMAGED, "its blocks are 112x0 pixels"),
    **{f"huge_tile.{e}": (BLOCKS, "1073741824x32", "103.1") for e in ("tif", "svs", "scn")},
    "unknown_compression.tif": (
        "{} is compressed or coded in a way that cannot be read (<any>); save it again, with "
        "Deflate or JPEG compression."
    ),
    "cmyk.tif": (COLOURS, "SEPARATED"),
    "cmyk_high.tif": (COLOURS, "SEPARATED"),
    "lab.tif": (COLOURS, "CIELAB"),
    "odd_bits.tif": (NUMBERS, "numbers of an unknown kind"),
    "complex.tif": (NUMBERS, "complex64"),
    "tile_bomb.tif": (DAMAGED, "<any>"),
    "tile_noise.tif": (DAMAGED, "<any>"),
    "tile_short.tif": (DAMAGED, "<any>"),
    "jpeg_bomb.tif": (
        DAMAGED,
        "a block says that it is 65000x65000 pixels, in an image of blocks of 32x32",
    ),
    "webp_bomb.tif": (
        DAMAGED,
        "a block says that it is 2500x2500 pixels, in an image of blocks of 32x32",
    ),
    "jpeg_cut.tif": (DAMAGED, "a JPEG block ends early"),
    "beyond.tif": (DAMAGED, "pixels are missing at its end"),
    "stack.tif": (
        "{} holds a stack of pictures (5 along Z), and one image is read at a time; save the one "
        "that you want to scan."
    ),
    "bare.zarr": NO_ZARR,
    "group.zarr": (
        "{} is a zarr group without OME-Zarr image metadata (multiscales); name one of the arrays "
        "in it."
    ),
    "missing_array.zarr": (DAMAGED, "its array '0' is missing"),
    "outside.zarr": (DAMAGED, "its array '../whole.zarr' is missing"),
    "empty_level.zarr": (
        "level 1 of {} is 56x0 pixels (width x height), so there is nothing to read; save the "
        "image again."
    ),
    "bad_chunk.zarr": (DAMAGED, "<any>"),
    "bad_json.zarr": (DAMAGED, "<any>"),
    "huge_chunk.zarr": (BLOCKS, "1000000x1000000", "3000.0"),
    "text.zarr": (NUMBERS, "complex64"),
    "nothing.zarr": (NO_PIXELS, "5x0"),
}

NEEDS = {
    "noise.vrt": "rasterio",
    **dict.fromkeys(["noise.ndpi", "noise.mrxs", "high.bif", "huge_tile.scn"], "openslide"),
}

READ_ALL = """
import json, resource, sys, time
from pathlib import Path
import fullconv.errors, fullconv.sources

for module in ("picture", "tiff", "zarr_folder"):
    __import__(f"fullconv.sources.{module}")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {}
for path in [*sorted(Path(".").iterdir()), Path("missing.png")]:
    start = time.perf_counter()
    try:
        with fullconv.sources.open_source(path) as source:
            height, width = source.size
            source.read((0, height), (0, width))
        line = None
    except fullconv.errors.FullconvError as error:
        line = [str(error), error.exit_code, isinstance(error, fullconv.errors.InputError)]
    found[str(path)] = [line, time.perf_counter() - start]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"found": found, "grown_bytes": 1024 * (after - before)}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_all(folder)
    return folder


@pytest.fixture(scope="module")
def outcome(folder):
    """Read the whole corpus in a process of its own, so that its memory and stderr are seen."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ_ALL],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr, json.loads(result.stdout)


def test_nothing_is_written_to_stderr(outcome):
    assert outcome[0] == ""


def test_no_bad_file_takes_much_memory_or_time(outcome):
    assert outcome[1]["grown_bytes"] < 300e6
    slow = {name: s for name, (_, s) in outcome[1]["found"].items() if s > 10}
    assert slow == {}


def test_every_file_of_the_corpus_is_known_to_be_good_or_bad(outcome):
    good = {name for name, (line, _) in outcome[1]["found"].items() if line is None}
    assert good == {
        *(f"{n}.tif" for n in ("deflate", "jpeg", "webp", "plain", "libtiff", "loop", "nan")),
        *(f"whole.{e}" for e in ("png", "jpg", "webp", "bmp", "gif", "jp2", "zarr", *CODED)),
        "progressive.jpg",
    }
    assert set(outcome[1]["found"]) - good == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_one_line_says_what_is_wrong(outcome, name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    text, *values = (EXPECTED[name],) if isinstance(EXPECTED[name], str) else EXPECTED[name]
    line, exit_code, is_input = outcome[1]["found"][name][0]
    assert says(line, text.format(name, *values)), line
    assert "\n" not in line
    assert (exit_code, is_input) == (2, True)


def test_pages_that_lead_back_to_themselves_are_read_once(folder):
    with open_source(folder / "loop.tif") as loop, open_source(folder / "deflate.tif") as source:
        whole = (0, 96), (0, 112)
        assert np.array_equal(loop.read(*whole), source.read(*whole))


def test_pixels_that_are_no_numbers_are_read_as_they_are(folder):
    with open_source(folder / "nan.tif") as source:
        assert np.isnan(source.read((0, 96), (0, 112))).all()


def test_what_lies_outside_the_damage_is_read(folder):
    with (
        open_source(folder / "cut90_deflate.tif") as cut,
        open_source(folder / "deflate.tif") as source,
    ):
        first = (0, 32), (0, 112)
        assert np.array_equal(cut.read(*first), source.read(*first))
        with pytest.raises(ImageError):
            cut.read((64, 96), (0, 112))


def test_a_file_that_may_not_be_read_is_said_to_be_so(folder, tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes((folder / "whole.png").read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ImageError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{path} cannot be opened: permission denied; choose a file that you may read."
    )


def test_a_list_that_names_missing_files_keeps_those_that_are_there(folder):
    found = find_images([folder / "list.txt"])
    assert [path.name for path in found] == ["whole.png", "missing.png"]
    with pytest.raises(FullconvError):
        open_source(found[1])


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are not listed here")
def test_a_damaged_file_is_not_left_open(folder):
    before = len(os.listdir("/proc/self/fd"))
    for name in ["cmyk.tif", "cut50_jpeg.tif", "bad_json.zarr", "cut50_whole.png"] * 3:
        with pytest.raises(ImageError), open_source(folder / name) as source:
            source.read((0, 96), (0, 112))
    assert len(os.listdir("/proc/self/fd")) == before
