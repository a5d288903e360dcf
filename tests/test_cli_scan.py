"""``fullconv scan``: what it prints and writes, and what it exits with."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import zarr
from click.testing import CliRunner, Result
from PIL import Image

import fullconv
from bad_files import listing
from fullconv.cli import progress
from fullconv.cli.group import commands
from fullconv.demo.scene import draw_scene
from fullconv.preprocessing import Preprocessing, unchanged
from fullconv.scanning import writing
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from fullconv.scanning.storing import encoded
from on_this_machine import need_openvino
from scans import converted, crops_scores, padded_model, picture

STEP = (2, 1)
"""The step of the integer network, by itself."""

DRESS = Path("src/fullconv/demo/dress.onnx").absolute()

NOTE = f"note     {unchanged(2)}\n"

STORY = """\
image    {0}, 50x60 pixels: 42x25 windows of 9x12, step 1x2, 2 scores each
run      onnxruntime on cpu, f32, in tiles of 42x25 windows
check    64 windows compared with crops: largest difference 0 (the model's own: 0), same best \
class in 100.0 %
         equal: the scores are the crops' own
pixels   0 to 3, mean 1.499, as the network sees them
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def write_folder(folder: Path) -> None:
    """Write a model of whole numbers, and an image for it."""
    onnx.save(padded_model(), folder / "model.onnx")
    Image.fromarray(picture(60, 50)).save(folder / "image.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(path: str) -> np.ndarray:
    return np.asarray(Heatmap.open(path))


def test_one_image_is_scored_checked_and_stored(folder: Path) -> None:
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{NOTE}{STORY.format('image.png')}wrote    heat.zarr\n"
    np.testing.assert_array_equal(scores("heat.zarr"), crops_scores(picture(60, 50), STEP))
    assert {"heat.zarr", "image.png", "model.onnx"} == set(os.listdir(folder))


def test_the_same_command_again_skips_what_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("scan", "model.onnx", "image.png", "-o", "heat.zarr")
    monkeypatch.setattr("fullconv.scanning.job.choose_plan", None)  # nothing can be scored
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr")
    assert result.exit_code == 0
    assert result.stdout == (
        f"{NOTE}{STORY.format('image.png')}"
        "done     heat.zarr was finished before; --overwrite scans again\n"
    )


def test_overwrite_replaces_what_another_model_or_image_has_made(folder: Path) -> None:
    call("scan", "model.onnx", "image.png", "-o", "heat.zarr")
    Image.fromarray(picture(60, 50, seed=1)).save("other.png")
    before = scores("heat.zarr")
    for arguments, reason in (
        (("other.png",), "another image"),
        (("image.png", "--step", "3"), "another --step (1x2)"),
        (("image.png", "--approximate"), "another model, or another conversion of it"),
    ):
        result = call("scan", "model.onnx", *arguments, "-o", "heat.zarr")
        assert result.exit_code == 2
        assert result.stderr == (
            f"fullconv: error: heat.zarr belongs to another run: {reason}; choose another name, or "
            f"replace it with overwrite=True (--overwrite).\n"
        )
    np.testing.assert_array_equal(scores("heat.zarr"), before)
    result = call("scan", "model.onnx", "other.png", "-o", "heat.zarr", "--overwrite")
    assert result.stdout.endswith("\nwrote    heat.zarr\n")
    np.testing.assert_array_equal(scores("heat.zarr"), crops_scores(picture(60, 50, 1), STEP))


def interrupt(out: str, **options: Any) -> None:
    """Leave an unfinished heatmap of image.png in tiles of 4 rows and 5 columns."""

    class PulledError(Exception):
        pass

    def pull(state: Progress) -> None:
        if state.fresh_pixels:
            raise PulledError

    with pytest.raises(PulledError):
        scan(converted(STEP), "image.png", out, tile=(4, 5), progress=pull, **options)


def test_an_unfinished_heatmap_is_gone_on_with_or_started_again(folder: Path) -> None:
    interrupt("heat.zarr")
    begun = listing(folder)
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr", "--tile", "6x4")
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: heat.zarr.part belongs to another run: other tiles; finish it as it was "
        "begun, or start again with resume=False (--no-resume).\n"
    )
    assert listing(folder) == begun, "what another run has begun is kept for it"
    result = call("verify", "heat.zarr")
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: verify heat.zarr: the scan that writes it has not come to its end; the "
        "same 'fullconv scan' command goes on with it.\n"
    )
    options = ("--tile", "6x4", "--no-resume")
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr", *options)
    assert result.exit_code == 0
    assert "in tiles of 6x4 windows" in result.stdout
    np.testing.assert_array_equal(scores("heat.zarr"), crops_scores(picture(60, 50), STEP))


def test_scores_that_are_not_the_crops_exit_with_4(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "encoded", lambda scores, dtype: encoded(scores + 1, dtype))
    more = ("--tile", "5x4", "--check", 2000)
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr", *more)
    assert result.exit_code == 4
    assert "check    1050 windows compared with crops: largest difference 1 (" in result.stdout
    assert re.search(r"NOT equal: more than \S+ is no rounding; if this is", result.stdout)
    assert json.loads(call("verify", "heat.zarr", "--windows", 2000, "--json").stdout)[
        "passed"
    ] is (False)
    result = call("verify", "heat.zarr", "--windows", 2000)
    assert result.exit_code == 4
    assert "verdict                NOT equal" in result.stdout


UNPROVED = "unproved the conversion was not compared with crops (--no-check)"


def test_every_command_says_that_a_conversion_is_unproved(folder: Path) -> None:
    """Also of a model that was converted so before."""
    again = ("--no-check", "--overwrite")
    told = call("convert", "model.onnx", "-o", "fcn.onnx", "--no-check").stdout
    assert UNPROVED in told.splitlines()
    for model, *options in (("model.onnx", *again), ("fcn.onnx", "--overwrite")):
        for arguments in (
            ("scan", model, "image.png", "-o", "heat.zarr"),
            ("detect", model, "image.png", "-o", "boxes.csv"),
            ("scan", model, "image.png", "--dry-run"),
        ):
            result = call(*arguments, *options)
            assert result.exit_code == 0
            assert result.stdout.splitlines()[0] == UNPROVED
        assert UNPROVED in call("verify", model, "image.png", *options[:-1]).stdout
    assert UNPROVED not in call("scan", "model.onnx", "image.png", "--dry-run").stdout


@pytest.mark.parametrize("verb", ["scan", "detect"])
def test_what_was_not_compared_has_neither_passed_nor_failed(folder: Path, verb: str) -> None:
    out, held = ("heat.zarr", "heatmaps") if verb == "scan" else ("boxes.csv", "images")
    for options, passed in ((("--check", 0, "--no-check"), None), (("--overwrite",), True)):
        result = call(verb, "model.onnx", "image.png", "-o", out, "--json", *options)
        assert result.exit_code == 0
        assert json.loads(result.stdout)[held][0]["passed"] is passed
        assert (UNPROVED in result.stderr.splitlines()) is (passed is None)


def test_without_a_check_nothing_is_said_of_it(folder: Path) -> None:
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr", "--check", 0)
    assert result.exit_code == 0
    assert "check" not in result.stdout
    assert Heatmap.open("heat.zarr").verification is None


def write_many(folder: Path) -> None:
    """Write images whose names clash, one in a folder below, and a bad one."""
    (folder / "photos/more").mkdir(parents=True)
    for name, seed in (("a.png", 0), ("a.bmp", 1), ("a.png.tif", 2), ("more/b.png", 3)):
        Image.fromarray(picture(60, 50, seed)).save(folder / "photos" / name)
    (folder / "photos/bad.png").write_bytes(b"")


MADE = {"a.png.zarr": 0, "a.bmp.zarr": 1, "a.png.tif.zarr": 2, "more/b.zarr": 3}


def test_a_folder_of_images_goes_into_a_folder_and_a_bad_one_does_not_stop_it(folder: Path) -> None:
    write_many(folder)
    result = call("scan", "model.onnx", "photos", "-o", "heat")
    assert result.exit_code == 3
    assert result.stdout.count(NOTE) == 1
    assert result.stderr == (
        "fullconv: error: photos/bad.png is empty; copy or save the image again.\n"
        "fullconv: error: 1 of 5 images failed: photos/bad.png; the reason of each stands above. "
        "The same command tries them again, and skips what is finished.\n"
    )
    for name, seed in MADE.items():
        made = scores(f"heat/{name}")
        np.testing.assert_array_equal(made, crops_scores(picture(60, 50, seed), STEP))
    assert {name for name in listing(folder / "heat") if name.endswith(".zarr")} == set(MADE)
    assert not [name for name in listing(folder) if ".part" in name]
    Image.fromarray(picture(60, 50, 4)).save("photos/bad.png")
    result = call("scan", "model.onnx", "photos", "-o", "heat")
    assert result.exit_code == 0
    assert re.findall("^(done|wrote) +(\\S+)", result.stdout, re.MULTILINE) == [
        *(("done", f"heat/{name}") for name in ("a.bmp.zarr", "a.png.zarr", "a.png.tif.zarr")),
        ("wrote", "heat/bad.zarr"),
        ("done", "heat/more/b.zarr"),
    ]


@pytest.mark.parametrize("named", ["photos/**/b*.png", "list.txt"])
def test_patterns_and_lists_name_images(folder: Path, named: str) -> None:
    write_many(folder)
    Image.fromarray(picture(60, 50, 4)).save("photos/b.png")
    Path("list.txt").write_text("photos/b.png\nphotos/bad.png\n\nphotos/more/b.png\n")
    result = call("scan", "model.onnx", named, "-o", "heat", "--json")
    assert result.exit_code == 3
    held = json.loads(result.stdout)
    assert [one["heatmap"] for one in held["heatmaps"]] == ["heat/b.zarr", "heat/more/b.zarr"]
    assert held["failed"] == [
        {
            "image": "photos/bad.png",
            "error": "photos/bad.png is empty; copy or save the image again.",
        }
    ]


def test_a_list_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    Path("list.txt").write_text("image.png\r\n", encoding="utf-8-sig")
    result = call("scan", "model.onnx", "list.txt", "-o", "heat.zarr")
    assert result.exit_code == 0, result.stderr


def test_an_image_that_does_not_fit_is_named_among_many(folder: Path) -> None:
    Image.new("RGB", (5, 5)).save("tiny.png")
    result = call("scan", "model.onnx", "tiny.png", "image.png", "-o", "heat")
    assert result.stderr.splitlines()[0] == (
        "fullconv: error: tiny.png: the image is 5x5 pixels (width x height), smaller than one "
        "window of 9x12; enlarge or pad the image to at least the window."
    )


def test_results_among_the_images_are_not_taken_for_images(folder: Path) -> None:
    Path("photos").mkdir()
    shutil.copy("image.png", "photos/a.png")
    shutil.copy("image.png", "photos/b.png")
    interrupt("photos/c.zarr")
    for wrote in ("wrote", "done"):
        result = call(
            *("scan", "model.onnx", "photos", "-o", "photos", "--overlay", "photos/drawn")
        )
        assert result.exit_code == 0, result.stderr
        told = re.findall("^(done|wrote) +photos/(.)[.]zarr", result.stdout, re.MULTILINE)
        assert told == [(wrote, "a"), (wrote, "b")]


def test_json_is_one_object_and_nothing_else(folder: Path) -> None:
    out = ("-o", "heat.zarr", "--overlay", "o.png", "--json")
    result = call("scan", "model.onnx", "image.png", *out)
    (held,) = json.loads(result.stdout)["heatmaps"]
    assert result.stderr == NOTE
    proof = held.pop("verification")
    assert held == {
        "image": "image.png",
        "heatmap": "heat.zarr",
        "shape": [2, 25, 42],
        "window": [12, 9],
        "step": [2, 1],
        "exact": True,
        "overlay": "o.png",
        "passed": True,
    }
    assert (proof["windows"], proof["max_error"], proof["passed"]) == (64, 0.0, True)


def test_a_bright_window_glows_at_its_centre(folder: Path) -> None:
    scene = draw_scene(0)
    Image.fromarray(scene.image).save("street.png")
    asked = ("street.png", "-o", "heat.zarr", "--overlay", "new/o.png", "--step", "32")
    result = call("scan", DRESS, *asked)
    assert result.exit_code == 0
    assert result.stdout.endswith("wrote    heat.zarr\nwrote    new/o.png\n")
    with Image.open("new/o.png") as drawn:
        assert drawn.size == (1024, 512)
        red, _, blue = np.asarray(drawn.convert("RGB"), int).transpose(2, 0, 1)
    heatmap = Heatmap.open("heat.zarr")
    chances = np.asarray(heatmap)[1]
    bright = [warmth(red - blue, heatmap, *place) for place in np.argwhere(chances > 0.99)]
    dark = [warmth(red - blue, heatmap, *place) for place in np.argwhere(chances < 0.01)]
    assert len(bright) >= 5
    assert min(bright) > 90
    assert np.median(dark) < 30


def warmth(colours: np.ndarray, heatmap: Heatmap, row: int, column: int) -> float:
    """Return how red a picture is at the centre of a window."""
    x0, y0, x1, y1 = (int(edge) for edge in heatmap.box(row, column))
    y, x = (y0 + y1) // 2, (x0 + x1) // 2
    return float(colours[y - 4 : y + 4, x - 4 : x + 4].mean())


def test_a_picture_that_is_there_is_not_written_over(folder: Path) -> None:
    Path("o.png").write_text("mine")
    arguments = ("scan", "model.onnx", "image.png", "-o", "heat.zarr", "--overlay", "o.png")
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: --overlay o.png: it is there already; choose another name, or replace it "
        "with --overwrite.\n"
    )
    assert Path("o.png").read_text() == "mine"
    assert not Path("heat.zarr").exists()
    assert call(*arguments, "--overwrite").exit_code == 0


def test_resize_scans_the_resized_image_and_is_not_the_scale_of_pixels(folder: Path) -> None:
    call("scan", "model.onnx", "image.png", "-o", "half.zarr", "--resize", "0.5")
    call("scan", "model.onnx", "image.png", "-o", "darker.zarr", "--scale", "0.5")
    half = np.asarray(Image.fromarray(picture(60, 50)).resize((25, 30), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(scores("half.zarr"), crops_scores(half, STEP))
    darker = crops_scores(picture(60, 50) * np.float32(0.5), STEP)
    np.testing.assert_array_equal(scores("darker.zarr"), darker)


def test_what_the_model_stores_of_preprocessing_is_used_and_not_remarked_on(folder: Path) -> None:
    call("convert", "model.onnx", "-o", "fcn.onnx", "--scale", "2", "--channel-order", "BGR")
    result = call("scan", "fcn.onnx", "image.png", "-o", "heat.zarr")
    assert result.stdout.startswith("image    image.png, 50x60 pixels")
    turned = crops_scores(picture(60, 50)[..., ::-1] * np.float32(2), STEP)
    np.testing.assert_array_equal(scores("heat.zarr"), turned)
    call("scan", "fcn.onnx", "image.png", "-o", "flag.zarr", "--scale", "0.5")
    halved = crops_scores(picture(60, 50)[..., ::-1] * np.float32(0.5), STEP)
    np.testing.assert_array_equal(scores("flag.zarr"), halved)


CONFIG = {
    "spec_version": "1.0",
    "architecture": "resnet34",
    "num_classes": 2,
    "class_names": ["other", "cell"],
    "patch_size_pixels": 16,
    "spacing_um_px": 0.5,
    "transform": [{"name": "ToTensor"}],
}


def test_a_wsinfer_config_names_classes_scale_and_resolution(folder: Path) -> None:
    window = Image.fromarray(picture(60, 50))
    window.save("image.png")
    Path("config.json").write_text(json.dumps(CONFIG))
    asked = ("scan", DRESS, "image.png", "-o", "heat.zarr", "--preprocessing", "config.json")
    result = call(*asked)
    assert result.exit_code == 2, "the window is the model's own, and the file names another"
    model = ("scan", "model.onnx", "image.png", "-o", "heat.zarr", "--window", "9x12")
    asked = (*model, "--preprocessing", "config.json")
    result = call(*asked)
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: image.png does not say how large its pixels are, and 0.5 um per pixel "
        "are asked for; say it with --image-um-per-pixel (own_um_per_pixel in Python).\n"
    )
    result = call(*asked, "--image-um-per-pixel", "0.5")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("image    image.png, 50x60 pixels")
    heatmap = Heatmap.open("heat.zarr")
    assert heatmap.classes == ("other", "cell")
    assert Preprocessing.from_json(heatmap.metadata["preprocessing"]) == Preprocessing(
        1 / 255, um_per_pixel=0.5
    )
    assert heatmap.metadata["um_per_pixel"] == [0.5, 0.5]


@pytest.mark.parametrize("flags", [("--channel-order", "BGR"), ("--um-per-pixel", "0.5")])
def test_flags_that_change_no_numbers_leave_the_remark(folder: Path, flags: tuple[str]) -> None:
    own = ("--image-um-per-pixel", "0.5")
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr", *flags, *own)
    assert result.stdout.startswith(f"{NOTE}image    image.png, 50x60 pixels")
    for number, said in enumerate((("--scale", "1"), ("--mean", "0"), ("--std", "1"))):
        result = call(
            "scan", "model.onnx", "image.png", "-o", f"{number}.zarr", *flags, *own, *said
        )
        assert result.stdout.startswith("image    image.png, 50x60 pixels")


@pytest.mark.parametrize(("verb", "out"), [("scan", "heat.zarr"), ("detect", "boxes.csv")])
def test_a_level_and_a_resolution_are_not_both_taken(folder: Path, verb: str, out: str) -> None:
    flags = ("--image-um-per-pixel", "0.5", "--level", "0")
    result = call(verb, "model.onnx", "image.png", "-o", out, *flags, "--um-per-pixel", "0.5")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"fullconv: error: {verb} --level 0 --um-per-pixel 0.5: each of them chooses a "
        f"resolution; give one.\n"
    )
    call("convert", "model.onnx", "-o", "fcn.onnx", "--um-per-pixel", "0.5")
    assert call(verb, "fcn.onnx", "image.png", "-o", out, *flags).exit_code == 0


@pytest.mark.parametrize(("verb", "out"), [("scan", "heat.zarr"), ("detect", "boxes.csv")])
def test_pixels_of_16_bits_for_a_scale_of_8_are_remarked_on(
    folder: Path, verb: str, out: str
) -> None:
    tifffile.imwrite("deep.tif", picture(60, 50).astype(np.uint16) * 257, photometric="rgb")
    named = ("deep.tif", "-o", out, "--scale", 1 / 255)
    expected = (
        "note     the pixels of deep.tif are uint16, up to 65535, which the scale 0.00392157 makes "
        "257; if the model was trained on 8 bits, --scale 1.5259e-05 makes them alike\n"
    )
    assert call(verb, "model.onnx", *named).stdout.startswith(expected)
    assert call(verb, "model.onnx", *named, "--overwrite", "--json").stderr.startswith(expected)
    for quiet in (
        ("deep.tif", "--scale", 1 / 65535),
        ("deep.tif", "--mean", 0),
        ("image.png", "--scale", 1 / 255),
    ):
        result = call(verb, "model.onnx", *quiet, "-o", out, "--overwrite")
        assert result.exit_code == 0, result.stderr
        assert "the pixels of" not in result.stdout


def test_the_image_is_read_at_the_resolution_of_the_model(folder: Path) -> None:
    out = ("-o", "heat.zarr", "--um-per-pixel", "1", "--image-um-per-pixel", "0.5")
    result = call("scan", "model.onnx", "image.png", *out)
    assert result.stdout.startswith(f"{NOTE}image    image.png, 25x30 pixels: 17x10 windows")
    assert Heatmap.open("heat.zarr").box(0, 0) == (0, 0, 18, 24)


def test_levels_bands_region_mask_and_dtype_are_as_asked_for(folder: Path) -> None:
    image = picture(120, 100)
    with tifffile.TiffWriter("pyramid.tif") as tiff:
        tiff.write(image, tile=(32, 32), photometric="rgb", subifds=1)
        tiff.write(image[::2, ::2], tile=(32, 32), photometric="rgb", subfiletype=1)
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = 255
    Image.fromarray(mask).save("mask.png")
    options = ("--level", 1, "--bands", "3,2,1", "--roi", "0,0,100,60", "--mask", "mask.png")
    result = call(
        *("scan", "model.onnx", "pyramid.tif", "-o", "heat.tif", *options, "--dtype", "float16")
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{NOTE}image    pyramid.tif, 50x60 pixels")
    expected = crops_scores(image[::2, ::2, ::-1], STEP)
    expected[:, 10:] = np.nan  # windows that reach below row 30 of the level
    expected[:, :, 21:] = np.nan  # centres right of column 25
    np.testing.assert_array_equal(scores("heat.tif"), expected.astype(np.float16))


def test_every_runtime_gives_the_scores_and_tiles_and_memory_do_not_change_them(
    folder: Path,
) -> None:
    expected = crops_scores(picture(60, 50), STEP)
    options = [("--runtime", name) for name in ("native", "onnxruntime", "auto")]
    options += [("--tile", "7"), ("--tile", "6x4"), ("--memory", "100KB")]
    for number, option in enumerate(options):
        result = call("scan", "model.onnx", "image.png", "-o", f"{number}.zarr", *option)
        assert result.exit_code == 0, result.stderr
        np.testing.assert_array_equal(scores(f"{number}.zarr"), expected)
    result = call("scan", "model.onnx", "image.png", "-o", "t.zarr", "--runtime", "torch")
    assert (result.exit_code, result.stderr) == (
        2,
        "fullconv: error: runtime 'torch': the model is ONNX, which PyTorch does not run; choose "
        "onnxruntime or openvino, or convert the PyTorch model itself.\n",
    )


def test_a_lower_precision_reports_its_agreement(folder: Path) -> None:
    need_openvino("bf16")
    options = ("--runtime", "openvino", "--precision", "bf16")
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr", *options)
    assert result.exit_code == 0
    assert "run      openvino on cpu, bf16, in tiles of 42x25 windows\n" in result.stdout
    assert re.search(r"check    64 windows .* same best class in [\d.]+ %\n", result.stdout)
    assert re.fullmatch(
        r"         within the roundings of bf16 \(up to \S+ where they differ most\), and not the "
        r"crops' own scores; those are had in f32",
        result.stdout.splitlines()[4],
    )


def test_an_approximate_scan_reports_its_differences_and_does_not_fail(folder: Path) -> None:
    result = call("scan", "model.onnx", "image.png", "-o", "heat.zarr", "--approximate")
    assert result.exit_code == 0
    assert "         approximate: the differences above" in result.stdout
    assert "largest difference 0 (" not in result.stdout


def test_windows_with_nan_pixels_are_counted(folder: Path) -> None:
    image = picture(60, 50).astype(np.float32)
    image[0, 0] = np.nan
    tifffile.imwrite("nan.tif", image, photometric="rgb")
    result = call("scan", "model.onnx", "nan.tif", "-o", "heat.zarr")
    assert (
        "note     1 windows hold NaN or infinite pixels, and are left as not scanned\n"
        in result.stdout
    )


def test_verify_finds_the_image_and_the_model_again_or_says_what_is_missing(folder: Path) -> None:
    call("scan", "model.onnx", "image.png", "-o", "heat.zarr")
    result = call("verify", "heat.zarr")
    assert result.exit_code == 0
    assert result.stdout.startswith("windows compared       64\nlargest difference     0\n")
    Path("image.png").rename("moved.png")
    result = call("verify", "heat.zarr")
    assert result.exit_code == 2
    assert result.stderr == (
        f"fullconv: error: verify heat.zarr: its image {folder}/image.png is no longer there; name "
        f"the place where it is now, as a second argument.\n"
    )
    assert call("verify", "heat.zarr", "moved.png").exit_code == 0
    Path("model.onnx").write_bytes(b"")
    result = call("verify", "heat.zarr", "moved.png")
    assert result.exit_code == 2
    assert result.stderr == (
        f"fullconv: error: verify heat.zarr: {folder}/model.onnx has changed or moved since the "
        f"heatmap was made; name the classifier as it was then, --original MODEL.\n"
    )
    onnx.save(padded_model(), folder / "kept.onnx")
    result = call("verify", "heat.zarr", "moved.png", "--original", "kept.onnx", "--json")
    assert result.exit_code == 0
    held = json.loads(result.stdout)
    assert (held["heatmap"], held["image"], held["windows"]) == ("heat.zarr", "moved.png", 64)


def test_verify_notices_another_image_of_the_same_size(folder: Path) -> None:
    call("scan", "model.onnx", "image.png", "-o", "heat.tif")
    assert call("verify", "heat.tif").exit_code == 0
    Image.fromarray(picture(60, 50, seed=1)).save("other.png")
    assert call("verify", "heat.tif", "other.png").exit_code == 4


def test_a_finished_heatmap_gets_its_overlay_where_the_image_has_moved(folder: Path) -> None:
    arguments = ("-o", folder / "heat.zarr", "--overlay", folder / "o.png")
    call("scan", "model.onnx", "image.png", *arguments[:2])
    Path("new").mkdir()
    shutil.copy2("image.png", "new/image.png")
    Path("image.png").unlink()
    result = call("scan", "model.onnx", "new/image.png", *arguments)
    assert result.exit_code == 0, result.stderr
    assert "was finished before" in result.stdout
    assert Path("o.png").exists()


LINE = re.compile(r"image\.png: \d+ %, (starting|[\d.e+-]+ megapixels/s, \d+ s left)")


def test_progress_is_plain_lines_where_there_is_no_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    arguments = ("-o", "heat.zarr", "--tile", "6x4", "--json")
    result = call("scan", "model.onnx", "image.png", *arguments)
    lines = result.stderr.replace(NOTE, "").splitlines()
    assert len(lines) == 49, "one for each of the 7x7 tiles but the last, and one at the start"
    assert all(LINE.fullmatch(line) for line in lines), lines[0]
    assert lines[0] == "image.png: 0 %, starting"
    assert json.loads(result.stdout)["failed"] == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.4, "59 s"), (61, "1 min 1 s"), (3599.6, "1 h 0 min"), (90061, "25 h 1 min")],
)
def test_durations_are_told_as_people_read_them(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_terminal_gets_a_bar_that_leaves_no_trace(folder: Path) -> None:
    shutil.copy("image.png", "a[bold]b[.png")
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    arguments = ("a[bold]b[.png", "-o", "heat.zarr", "--tile", "3x2")
    process = subprocess.Popen(
        [sys.executable, "-m", "fullconv", "scan", "model.onnx", *arguments],
        stdout=subprocess.PIPE,
        stderr=other,
        env=environment,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert b"Traceback" not in shown
    assert b"a[bold]b[.png" in shown
    assert b"%" in shown
    assert b"megapixels/s" in shown
    assert shown.endswith(b"\x1b[2K"), "the bar is wiped away"
    assert told.decode().endswith("wrote    heat.zarr\n")


def test_a_pytorch_model_is_scanned_by_its_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is made anew at every call is another model: the check later says so."""
    pytest.importorskip("torch")
    Path("scannednets.py").write_text(
        "from torch import nn\n\ndef tiny():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), "
        "nn.ReLU(), nn.Flatten(), nn.Linear(14 * 14 * 4, 2))\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "scannednets", raising=False)
    named = ("scannednets:tiny", "image.png", "-o", "heat.zarr", "--window", "16x16")
    result = call("scan", *named, "--step", "4", "--runtime", "torch")
    assert result.exit_code == 0, result.output
    assert "run      torch on cpu, f32" in result.stdout
    assert call("verify", "heat.zarr").exit_code == 4


def test_uint8_is_for_probabilities(folder: Path) -> None:
    Image.fromarray(draw_scene(0).image[128:384, :256]).save("street.png")
    result = call("scan", DRESS, "street.png", "-o", "heat.zarr", "--dtype", "uint8")
    assert result.exit_code == 0
    assert zarr.open_array("heat.zarr", path="0", mode="r").dtype == np.uint8
    assert fullconv.Heatmap.open("heat.zarr").verification.passed
    result = call("scan", "model.onnx", "image.png", "-o", "h.zarr", "--dtype", "uint8")
    assert result.exit_code == 2
    assert re.fullmatch(
        r"fullconv: error: dtype='uint8' stores scores between 0 and 1, and the model gives \S+ to "
        r"\S+; use float16\.\n",
        result.stderr,
    )
    assert not [name for name in listing(folder) if name.startswith("h.zarr")]
