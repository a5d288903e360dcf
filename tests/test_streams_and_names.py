"""Standard streams that are closed or full, and names of any bytes and length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import fullconv
from bad_files import write_onnx
from fullconv.cli.group import commands
from fullconv.errors import ImageError, InputError
from fullconv.sources import open_source

FULL = (
    "fullconv: error: standard output cannot be written: No space left on device; send it where "
    "there is room.\n"
)
SCAN = "scan fixed.onnx image.png -o heat.zarr"
BYTES = "$(printf '\\351')"
"""A letter of Latin 1, for the shell."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams and bytes of POSIX")


@pytest.fixture
def folder(tmp_path):
    write_onnx(tmp_path)
    return tmp_path


def shell(folder, arguments, streams="", **environment):
    """Run the command line with its streams redirected by a shell."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -m fullconv {arguments} {streams}'],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    "arguments", ["--help", "scan --help", "--version", "explain fixed.onnx --json", SCAN]
)
def test_a_full_device_as_standard_output_is_one_line(folder, arguments):
    result = shell(folder, arguments, "> /dev/full")
    assert (result.returncode, result.stderr.decode()) == (3, FULL)
    assert (folder / "heat.zarr").exists() == (arguments == SCAN)  # the work itself is done


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_device_for_remarks_stops_nothing(folder):
    assert shell(folder, SCAN, "2> /dev/full").returncode == 0
    assert shell(folder, f"{SCAN}/none.zarr --nonsense", "2> /dev/full").returncode == 2


@pytest.mark.parametrize("streams", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-", "<&- 2>&-"])
def test_closed_streams_stop_nothing(folder, streams):
    result = shell(folder, SCAN, streams)
    assert (result.returncode, result.stderr) == (0, b"")
    # Had a file got the number of a closed stream, what is printed would lie in it.
    assert json.loads((folder / "heat.zarr/zarr.json").read_bytes())
    assert shell(folder, "verify heat.zarr", streams).returncode == 0


def test_a_closed_pipe_ends_the_command_without_a_word(folder):
    result = shell(folder, "scan --help", "| head -n 1")
    assert result.stderr == b""
    assert result.stdout.startswith(b"Usage: fullconv scan")


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_names_that_are_not_utf8_are_names(folder, locale):
    locale = {**locale, "PYTHONCOERCECLOCALE": "0"}
    image, model, heatmap = (os.fsdecode(b"\xe9" + name) for name in (b".png", b".onnx", b".zarr"))
    (folder / "image.png").rename(folder / image)
    (folder / "fixed.onnx").rename(folder / model)
    scan = f"scan {BYTES}.onnx {BYTES}.png -o {BYTES}.zarr"
    result = shell(folder, scan, **locale)
    assert result.returncode == 0, result.stderr
    assert b"wrote    %E9.zarr\n" in result.stdout
    assert (folder / heatmap).is_dir()
    result = shell(folder, f"verify {BYTES}.zarr", **locale)
    assert result.returncode == 0, result.stderr
    result = shell(folder, scan + " --overwrite --json", **locale)
    assert json.loads(result.stdout)["heatmaps"][0]["image"] == "%E9.png"
    result = shell(folder, f"scan {BYTES}.onnx {BYTES}{BYTES}.png -o x.zarr", **locale)
    assert result.returncode == 2
    assert result.stderr == (
        b"fullconv: error: \xe9\xe9.png: no such file; check the path of the image.\n"
    )


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        f"explain {LONG}.onnx",
        f"explain {LONG}",
        f"convert fixed.onnx -o {LONG}.onnx",
        f"scan fixed.onnx {LONG}.png -o heat.zarr",
        f"scan fixed.onnx image.png -o {LONG}.zarr",
        f"scan fixed.onnx image.png -o heat.zarr --overlay {LONG}.png",
        f"detect fixed.onnx image.png -o {LONG}.json",
        f"verify {LONG}.zarr",
        f"train {LONG} -o out.onnx",
    ],
)
def test_a_name_of_300_letters_is_one_line(folder, monkeypatch, arguments):
    said = refused(folder, monkeypatch, arguments)
    assert f"the path '{'x' * 60}'... cannot be used: File name too long. See 'fullconv " in said


@pytest.mark.parametrize(
    "address", ["s3://bucket/a", "file:///a", "simplecache::s3://b/a", "zip::a::gs://b/a"]
)
@pytest.mark.parametrize(
    ("arguments", "todo"),
    [
        ("scan fixed.onnx image.png -o {}.zarr", "writes to this machine"),
        ("scan fixed.onnx image.png -o heat.zarr --overlay {}.png", "writes to this machine"),
        ("detect fixed.onnx image.png -o {}.json", "writes to this machine"),
        ("convert fixed.onnx -o {}.onnx", "writes to this machine"),
        ("train crops -o {}.onnx", "writes to this machine"),
        ("demo -o {}", "writes to this machine"),
        ("scan fixed.onnx {}.png -o heat.zarr", "reads files of this machine"),
        ("explain {}.onnx", "reads files of this machine"),
        ("verify fixed.onnx {}.png", "reads files of this machine"),
    ],
)
def test_addresses_are_refused_before_the_work(folder, monkeypatch, address, arguments, todo):
    said = refused(folder, monkeypatch, arguments.format(address))
    assert f"is an address, and fullconv {todo}" in said


@pytest.mark.parametrize(
    "words",
    [
        ["scan", "fixed.onnx", "image.png", "-o", ""],
        ["scan", "fixed.onnx", "", "-o", "heat.zarr"],
        ["scan", "", "image.png", "-o", "heat.zarr"],
        ["detect", "fixed.onnx", "image.png", "", "-o", "boxes.json"],
        ["convert", "fixed.onnx", "-o", ""],
        ["verify", "fixed.onnx", ""],
        ["bench", "fixed.onnx", ""],
        ["train", "", "-o", "out.onnx"],
    ],
)
def test_an_empty_name_is_refused(folder, monkeypatch, words):
    assert "expected a path; got an empty name. See" in refused(folder, monkeypatch, words)
    spaces = [word or "  " for word in words]
    assert "expected a path; got a name of spaces. See" in refused(folder, monkeypatch, spaces)


def refused(folder, monkeypatch, arguments):
    """Give a wrong call, and return the line that says so."""
    monkeypatch.chdir(folder)
    before = set(os.listdir())
    words = arguments.split() if isinstance(arguments, str) else arguments
    result = CliRunner().invoke(commands, words)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert set(os.listdir()) == before
    return line


@pytest.mark.parametrize(
    "name",
    ["", " ", "s3://a/b", Path("s3://a/b"), "simplecache::s3://a/b", " s3://a", "a\0b", LONG],
)
def test_python_refuses_such_names_as_well(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    fcn, before = fullconv.convert("fixed.onnx"), set(os.listdir())
    image = fullconv.scan(fcn, "image.png", windows_to_check=0)
    assert image.path is None
    for call in (
        lambda: fullconv.scan(fcn, "image.png", name),
        lambda: fullconv.scan(fcn, name),
        lambda: fullconv.detect(fcn, name),
        lambda: fullconv.detect(fcn, "image.png", folder=name),
        lambda: fullconv.detect(fcn, "image.png").save(name),
        lambda: fullconv.Detections.read(name),
        lambda: fcn.save(name),
        lambda: fullconv.load(name),
        lambda: fullconv.train("crops", name),
        lambda: fullconv.train(name, "out.onnx"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert set(os.listdir()) == before


def test_a_model_without_a_name_is_not_the_current_folder():
    for call in (fullconv.convert, fullconv.explain):
        with pytest.raises(InputError, match="got an empty name"):
            call("")


def test_a_masked_array_is_refused_where_its_mask_would_be_ignored(folder):
    fcn = fullconv.convert(folder / "fixed.onnx")
    pixels = np.asarray(Image.open(folder / "image.png"))
    unmasked = np.ma.masked_array(pixels, False)
    assert fullconv.scan(fcn, unmasked, windows_to_check=0).shape[0]
    masked = np.ma.masked_array(pixels, pixels == pixels.max())
    for call in (fullconv.scan, fullconv.detect):
        with pytest.raises(ImageError, match="would be read without its mask; fill them"):
            call(fcn, masked)


@pytest.mark.parametrize("windows", [0, float("nan"), 2.5, "3", None])
def test_a_count_of_windows_that_is_none_is_named(folder, windows):
    fcn = fullconv.convert(folder / "fixed.onnx")
    images = np.zeros((1, fcn.shape.channels, *fcn.grid.window), np.float32)
    with pytest.raises(InputError, match=r"^verify\(windows="):
        fullconv.verify(fcn, folder / "fixed.onnx", images, windows)
    with pytest.raises(InputError, match="there is no image in them; give at least one"):
        fullconv.verify(fcn, folder / "fixed.onnx", images[:0])


def test_a_listener_that_cannot_be_called_is_named(folder):
    fcn = fullconv.convert(folder / "fixed.onnx")
    with pytest.raises(InputError, match=r"^scan\(progress=3\): expected a function"):
        fullconv.scan(fcn, folder / "image.png", folder / "heat.zarr", progress=3)


def test_a_name_that_nearly_fills_what_names_may_be_is_written(folder):
    fcn = fullconv.convert(folder / "fixed.onnx")
    path = folder / f"{'x' * 250}.onnx"
    fcn.save(path)
    assert path.exists()


def test_a_folder_called_like_an_address_is_read(folder, monkeypatch):
    monkeypatch.chdir(folder)
    os.mkdir("odd:")
    os.rename("image.png", "odd:/image.png")
    with open_source("odd:/image.png") as source:
        assert source.size == (40, 50)
