"""Bad input to scan and detect gets one clear line, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from bad_files import listing
from bad_images import write_all
from scans import picture
from test_bad_images import EXPECTED, NEEDS
from test_bad_input import says
from test_cli_scan import NOTE, call, write_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_folder(tmp_path)
    Image.new("RGB", (5, 5)).save(tmp_path / "tiny.png")
    Image.new("L", (5, 5)).save(tmp_path / "nothing.png")
    (tmp_path / "notes.txt").write_text("\n")
    (tmp_path / "words.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def range_of(command: str, flag: str, value: str, kind: str) -> str:
    return (
        f"{command}: Invalid value for '{flag}': {value} is not in the range {kind}. See 'fullconv "
        f"{command} --help'."
    )


def invalid(flag: str, what: str, command: str = "scan") -> str:
    return f"{command}: Invalid value for '{flag}': {what}. See 'fullconv {command} --help'."


BOX = (
    "expected X0,Y0,X1,Y1 in pixels, as in 0,0,2048,1024, with X0 left of X1 and Y0 above Y1; got "
    "{!r}"
)
TILE = (
    "expected windows, at least 1: one number for both directions as in 32, or WIDTHxHEIGHT as in "
    "64x32; got {!r}"
)
SCALES = "expected numbers above 0 and up to 64 between commas, as in 1,0.75,0.5; got {!r}"
SMALL = (
    "the image is 5x5 pixels (width x height), smaller than one window of 9x12; enlarge or pad the "
    "image to at least the window."
)
KIND = (
    "-o {}: the kind of result is told by its ending; use .zarr or .tif, or name a folder, without "
    "an ending."
)
SCAN = ("model.onnx", "image.png", "-o", "heat.zarr")

WRONG_SCANS: list[tuple[tuple[str, ...], int, str]] = [
    (("no.onnx", "image.png", "-o", "h.zarr"), 3,
     "no.onnx: no such file; check the path of the model."),
    (("model.onnx", "no.png", "-o", "new/h.zarr"), 2,
     "no.png: no such file; check the path of the image."),
    (("model.onnx", "x*.png", "-o", "h.zarr"), 2, "x*.png: no file matches; check the pattern."),
    (("model.onnx", "notes.txt", "-o", "h"), 2,
     "notes.txt: the list names no image; give one path a line."),
    (("model.onnx", "tiny.png", "-o", "new/below/h.zarr"), 2, SMALL),
    (("model.onnx", "image.png", "-o", "heat.png"), 2, KIND.format("heat.png")),
    (("model.onnx", "image.png", "tiny.png", "-o", "heat.zip"), 2, KIND.format("heat.zip")),
    (("model.onnx", "image.png", "tiny.png", "-o", "heat.zarr"), 2,
     "-o heat.zarr: that is the place of one result, and there are 2 images (image.png, "
     "tiny.png); name a folder, without an ending."),
    (("model.onnx", "image.png", "-o", "tiny.png/heat.zarr"), 3,
     "cannot make the folder tiny.png: File exists; choose another place."),
    (("model.onnx", "image.png", "-o", "tiny.png/new/heat.zarr"), 3,
     "cannot make the folder tiny.png/new: Not a directory; choose another place."),
    (("model.onnx", "image.png", "-o", "/proc/new/heat.zarr"), 3,
     "cannot make the folder /proc/new: No such file or directory; choose another place."),
    (("model.onnx", "image.png"), 2,
     "scan: Missing option '-o' / '--output'. See 'fullconv scan --help'."),
    (("model.onnx", "-o", "h.zarr"), 2,
     "scan: Missing argument 'IMAGE...'. See 'fullconv scan --help'."),
    ((*SCAN, "--overlay", "o.svg"), 2,
     "--overlay o.svg: the kind of result is told by its ending; use .png or .jpg, or name a "
     "folder, without an ending."),
    ((*SCAN, "--overlay", "image.png"), 2,
     "--overlay image.png: image.png is an image that is read; choose another name."),
    ((*SCAN, "--overlay", "."), 2,
     "--overlay .: image.png is an image that is read; choose another name."),
    ((*SCAN, "--roi", "1,2,3"), 2, invalid("--roi", BOX.format("1,2,3"))),
    ((*SCAN, "--roi", "9,0,9,9"), 2, invalid("--roi", BOX.format("9,0,9,9"))),
    ((*SCAN, "--roi", "0,0,inf,9"), 2, invalid("--roi", BOX.format("0,0,inf,9"))),
    ((*SCAN, "--roi", "nan,0,9,9"), 2, invalid("--roi", BOX.format("nan,0,9,9"))),
    ((*SCAN, "--roi", "500,500,600,600"), 2,
     "roi=(500.0, 500.0, 600.0, 600.0): no window of 9x12 pixels lies wholly inside; <any>"),
    ((*SCAN, "--mask", "nothing.png"), 2,
     "mask: it is 0 everywhere, so there is nothing to scan."),
    ((*SCAN, "--mask", "no.png"), 2, "mask: no.png: no such file; check the path of the image."),
    ((*SCAN, "--mask", "words.json"), 2,
     "mask: words.json is not an image, or of a kind that <any>"),
    ((*SCAN, "--tile", "0"), 2, invalid("--tile", TILE.format("0"))),
    ((*SCAN, "--tile", "3x0"), 2, invalid("--tile", TILE.format("3x0"))),
    ((*SCAN, "--memory", "much"), 2,
     invalid("--memory", "expected an amount of memory, as in 512MB or 2GB; got 'much'")),
    ((*SCAN, "--memory", "0MB"), 2,
     invalid("--memory", "expected an amount of memory, as in 512MB or 2GB; got '0MB'")),
    ((*SCAN, "--bands", "0"), 2,
     invalid("--bands", "expected band numbers from 1 between commas, as in 4,3,2; got '0'")),
    ((*SCAN, "--bands", "4"), 2,
     "image.png has 3 bands, counted from 1; got bands 4. Name bands between 1 and 3."),
    ((*SCAN, "--level", "-1"), 2, range_of("scan", "--level", "-1", "x>=0")),
    ((*SCAN, "--level", "3"), 2,
     "image.png has one level, 0; got level 3. Choose one of these."),
    ((*SCAN, "--resize", "0"), 2, range_of("scan", "--resize", "0.0", "0<x<=64")),
    ((*SCAN, "--resize", "65"), 2, range_of("scan", "--resize", "65.0", "0<x<=64")),
    ((*SCAN, "--resize", "nan"), 2, invalid("--resize", "nan is not a finite number")),
    ((*SCAN, "--resize", "0.1"), 2, SMALL.replace("5x5", "5x6")),
    ((*SCAN, "--image-um-per-pixel", "inf"), 2,
     invalid("--image-um-per-pixel", "inf is not a finite number")),
    ((*SCAN, "--image-um-per-pixel", "-1"), 2,
     range_of("scan", "--image-um-per-pixel", "-1.0", "x>0")),
    ((*SCAN, "--um-per-pixel", "0.5"), 2,
     "image.png does not say how large its pixels are, and 0.5 um per pixel are asked for; say it "
     "with --image-um-per-pixel (own_um_per_pixel in Python)."),
    ((*SCAN, "--um-per-pixel", "0"), 2,
     "Preprocessing(um_per_pixel=0.0): expected micrometres per pixel, more than 0, as in 0.5."),
    ((*SCAN, "--scale", "nan"), 2,
     "Preprocessing(scale=nan): expected a number, finite in single precision."),
    ((*SCAN, "--mean", "1,2"), 2,
     "scan --mean: expected one number, or 3, one per channel of the model; got 2."),
    ((*SCAN, "--std", "0"), 2,
     "Preprocessing(std=(0.0,)): a std of 0 divides by zero; give each channel's standard "
     "deviation, or 1."),
    ((*SCAN, "--preprocessing", "no.json"), 2,
     "no.json: No such file or directory; check the path."),
    ((*SCAN, "--preprocessing", "words.json"), 2, "words.json: <any>"),
    ((*SCAN, "--check", "-1"), 2, range_of("scan", "--check", "-1", "x>=0")),
    ((*SCAN, "--scores", "3"), 2,
     "scan(output=3): the model has 1 output(s), counted from 0."),
    ((*SCAN, "--dtype", "int8"), 2,
     invalid("--dtype", "'int8' is not one of 'float32', 'float16', 'uint8'")),
    ((*SCAN, "--runtime", "caffe"), 2, invalid(
        "--runtime",
        "'caffe' is not one of 'native', 'torch', 'onnxruntime', 'openvino', 'auto'")),
    ((*SCAN, "--device", "cuda"), 2,
     "device 'cuda': onnxruntime runs on the CPU here; leave the device out, or choose the "
     "runtime torch with a PyTorch model."),
    ((*SCAN, "--precision", "bf16"), 2,
     "precision 'bf16': onnxruntime computes in f32 or f16 on the CPU; choose f16, or for bf16 the "
     "runtime openvino, or torch with a PyTorch model."),
]  # fmt: skip

DETECT = ("model.onnx", "image.png", "-o", "b.csv")

WRONG_DETECTIONS: list[tuple[tuple[str, ...], int, str]] = [
    (("model.onnx", "image.png", "-o", "b.txt"), 2,
     "b.txt: the format of detections is told by the ending, and '.txt' is not known; use .csv "
     "(WSInfer's columns), .json (COCO results) or .geojson (QuPath, GIS)."),
    (("model.onnx", "image.png", "tiny.png", "-o", "b.geojson"), 2,
     "-o b.geojson: that is the place of one result, and there are 2 images (image.png, "
     "tiny.png); name a folder, without an ending."),
    (("model.onnx", "tiny.png", "-o", "new/b.csv"), 2,
     "tiny.png is 5x5 pixels, smaller than one window of 9x12 at every scale; enlarge it, or add a "
     "larger scale."),
    (("model.onnx", "image.png", "-o", "tiny.png/b.csv"), 3,
     "cannot make the folder tiny.png/b.csv.part: Not a directory; choose another place."),
    ((*DETECT, "--scales", "0"), 2, invalid("--scales", SCALES.format("0"), "detect")),
    ((*DETECT, "--scales", "1,-1"), 2, invalid("--scales", SCALES.format("1,-1"), "detect")),
    ((*DETECT, "--scales", "1,x"), 2, invalid("--scales", SCALES.format("1,x"), "detect")),
    ((*DETECT, "--scales", "65"), 2, invalid("--scales", SCALES.format("65"), "detect")),
    ((*DETECT, "--iou", "1.5"), 2, range_of("detect", "--iou", "1.5", "0<=x<=1")),
    ((*DETECT, "--iou", "nan"), 2, invalid("--iou", "nan is not a finite number", "detect")),
    ((*DETECT, "--threshold", "nan"), 2,
     invalid("--threshold", "nan is not a finite number", "detect")),
    ((*DETECT, "--activation", "relu"), 2, invalid(
        "--activation", "'relu' is not one of 'none', 'softmax', 'sigmoid'", "detect")),
    ((*DETECT, "--classes", "a,a"), 2, invalid(
        "--classes",
        "expected different names between commas, as in background,dress; got 'a,a'", "detect")),
    ((*DETECT, "--overlay", "image.png"), 2,
     "--overlay image.png: image.png is an image that is read; choose another name."),
]  # fmt: skip


def check_line(command: str, arguments: tuple[str, ...], code: int, expected: str) -> None:
    before = listing(Path())
    result = call(command, *arguments)
    assert result.stdout in ("", NOTE)
    (line,) = result.stderr.splitlines()
    assert says(line, f"fullconv: error: {expected}"), line
    assert result.exit_code == code
    assert listing(Path()) == before


@pytest.mark.parametrize(("arguments", "code", "expected"), WRONG_SCANS)
def test_a_wrong_scan_is_one_line_and_leaves_nothing(
    folder: Path, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    check_line("scan", arguments, code, expected)


@pytest.mark.parametrize(("arguments", "code", "expected"), WRONG_DETECTIONS)
def test_a_wrong_detection_is_one_line_and_leaves_nothing(
    folder: Path, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    check_line("detect", arguments, code, expected)


def test_a_class_number_that_is_too_large_shows_at_the_first_heatmap(folder: Path) -> None:
    result = call("detect", *DETECT, "--classes", "2")
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: detect(classes=[2]): there is no class 2; the model has 2 classes "
        "without names, from 0.\n"
    )
    assert not Path("b.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("no.zarr",), "verify no.zarr: no such heatmap; give what 'fullconv scan -o' named."),
        (("no.tif",), "verify no.tif: no such heatmap; give what 'fullconv scan -o' named."),
        (("bare.zarr",), "bare.zarr is not a heatmap that fullconv has finished (<any>); give "
         "what 'fullconv scan -o' named."),
        (("image.tif",), "image.tif is not a heatmap that fullconv has finished (<any>); give "
         "what 'fullconv scan -o' named."),
        (("heat.zarr", "tiny.png"), "tiny.png is 5x5 pixels, and the image that was scanned was "
         "50x60; give the same image, at the same level."),
        (("heat.zarr", "--step", "3", "--approximate"), "verify heat.zarr --step, --approximate: a "
         "heatmap has its own window, step and bands; leave --step, --approximate out."),
        (("heat.zarr", "--windows", "0"), "verify: Invalid value for '--windows': 0 is not in the "
         "range x>=1. See 'fullconv verify --help'."),
        (("heat.zarr", "--original", "no.onnx"), "no.onnx: no such file; check the path of the "
         "model."),
    ],
)  # fmt: skip
def test_what_cannot_be_verified_is_one_line(
    folder: Path, arguments: tuple[str, ...], line: str
) -> None:
    call("scan", *SCAN, "--check", "0")
    Path("bare.zarr").mkdir()
    Image.open("image.png").save("image.tif")
    result = call("verify", *arguments)
    assert result.exit_code == (3 if "no.onnx" in arguments else 2)
    assert result.stdout == ""
    assert says(result.stderr, f"fullconv: error: {line}\n"), result.stderr


def test_scores_of_another_image_are_not_the_models_fault(folder: Path) -> None:
    call("scan", *SCAN)
    Image.fromarray(picture(60, 50, seed=1)).save("other.png")
    result = call("verify", "heat.zarr", "other.png")
    assert result.exit_code == 4
    verdict = result.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"verdict                NOT equal: more than \S+ is no rounding, but this is not the file "
        r"that was scanned \(another one, or changed since\); give that, or scan again",
        verdict,
    )
    held = json.loads(call("verify", "heat.zarr", "other.png", "--json").stdout)
    assert held["verdict"] in verdict
    scores = zarr.open_array("heat.zarr", path="0", mode="r+")
    scores[:] = 0
    result = call("verify", "heat.zarr")
    assert result.exit_code == 4
    assert result.stdout.splitlines() == [
        "damage                 rows 0 to 24 and columns 0 to 41 of the windows (pixels 0,0 to "
        "50,60): not the scores that were scanned",
        "verdict                NOT whole: scores are lost, or are not those that were scanned; "
        "the 'fullconv scan' that made it computes them again with --repair",
    ]


def test_an_image_is_never_overwritten_by_its_heatmap(folder: Path) -> None:
    Image.open("image.png").save("image.tif")
    before = Path("image.tif").read_bytes()
    result = call("scan", "model.onnx", "image.tif", "-o", "./image.tif", "--overwrite")
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: -o image.tif: image.tif is an image that is read; choose another name.\n"
    )
    assert Path("image.tif").read_bytes() == before


def test_what_is_no_heatmap_is_not_written_over(folder: Path) -> None:
    Path("heat.zarr").mkdir()
    Path("heat.zarr/mine").write_text("mine")
    Image.open("image.png").save("image.tif")
    for out in ("heat.zarr", "image.tif"):
        result = call("scan", "model.onnx", "image.png", "-o", out)
        assert result.exit_code == 2
        assert result.stderr == (
            f"fullconv: error: cannot write {out}: it is there and is no heatmap of fullconv, or "
            f"one whose record is damaged; move it away, or choose another name.\n"
        )
    assert listing(folder / "heat.zarr") == {"mine"}


def test_pictures_among_the_images_are_refused(folder: Path) -> None:
    Path("photos").mkdir()
    for name in ("a.bmp", "b.bmp"):
        Image.open("image.png").save(f"photos/{name}")
    result = call("scan", "model.onnx", "photos", "-o", "heat", "--overlay", "photos")
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: --overlay photos: the pictures would lie among the images; name another "
        "folder.\n"
    )


def test_a_folder_that_may_not_be_written_to_is_one_line(folder: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    if os.access("locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    check_line(
        *("scan", ("model.onnx", "image.png", "-o", "locked/heat.zarr"), 3),
        "cannot write locked/heat.zarr: Permission denied; choose a folder that exists and that "
        "you may write to.",
    )


@pytest.mark.parametrize("command", ["scan", "detect"])
def test_every_bad_image_of_the_corpus_is_one_line(folder: Path, command: str) -> None:
    """One command for all: each bad image is named with its reason, and none stops the others."""
    corpus = folder / "corpus"
    corpus.mkdir()
    write_all(corpus)
    for name, extra in NEEDS.items():
        try:
            __import__(extra)
        except ImportError:
            (corpus / name).unlink(missing_ok=True)
    # Folders and lists stand for the images in them; missing.png is not there.
    others = {"bare", "list.txt", "bare.zarr"}
    there = {*os.listdir(corpus), "missing.png"}
    bad = [name for name in EXPECTED if name in there and name not in others]
    before = listing(folder)
    images = [f"corpus/{name}" for name in [*bad, "whole.png"]]
    out = "out" if command == "scan" else "out.csv"
    result = call(command, "model.onnx", *images, "-o", out, "--check", 0, "--tile", 16)
    *lines, last = result.stderr.splitlines()
    assert len(bad) > 60
    assert len(lines) == len(bad)
    for name, line in zip(bad, lines, strict=True):
        text, *values = (EXPECTED[name],) if isinstance(EXPECTED[name], str) else EXPECTED[name]
        expected = text.format(f"corpus/{name}", *values).replace(f"'{name}'", f"'corpus/{name}'")
        assert says(line, f"fullconv: error: {expected}"), line
    assert last.startswith(f"fullconv: error: {len(bad)} of {len(images)} images failed: corpus/")
    assert f" and {len(bad) - 5} more; the reason of each stands above." in last
    assert result.exit_code == 3
    left = {name for name in listing(folder) - before if "part/" not in name}
    tops = {name.split("/")[0] for name in left}
    assert tops == ({"out"} if command == "scan" else {"out.csv", "out.csv.part"})
    if command == "scan":
        # What was read of an image before its damage is kept as an unfinished heatmap.
        made = {name for name in os.listdir("out") if not name.endswith(".part")}
        assert made == {"whole.zarr"}


def test_nan_alone_is_scanned_and_nothing_is_found(folder: Path) -> None:
    import tifffile

    tifffile.imwrite("nan.tif", np.full((30, 20, 3), np.nan, np.float32), photometric="rgb")
    result = call("scan", "model.onnx", "nan.tif", "-o", "heat.zarr")
    assert result.exit_code == 0, result.stderr
    assert "120 windows hold NaN or infinite pixels" in result.stdout
    assert call("verify", "heat.zarr").stderr == (
        "fullconv: error: verify heat.zarr: no window of this heatmap was scanned.\n"
    )
    result = call("detect", "model.onnx", "nan.tif", "-o", "b.csv")
    assert "image    nan.tif: nothing\n" in result.stdout
