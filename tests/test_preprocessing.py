"""Preprocessing is part of the function: once per pixel, with the same result as per crop."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fullconv
from fullconv.cli.convert import command
from fullconv.cli.options import PreprocessingFlags, preprocessing_of
from fullconv.conversion.backgrounds import usual_background
from fullconv.errors import FullconvError, ImageError, InputError
from fullconv.preprocessing import KNOWN, Preprocessing, known_preprocessing

PHOTO = Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "BGR", 0.5)
DTYPES = ("uint8", "uint16", "int16", "float32", "float64", "float16")


def pixels_of(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random(shape) * 255).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_crop_is_prepared_to_the_last_bit_as_its_image_is(dtype: str) -> None:
    image = pixels_of(dtype, (2, 3, 61, 83))
    whole = PHOTO.apply(image)
    rng = np.random.default_rng(1)
    for _ in range(50):
        y, x = rng.integers(0, 60), rng.integers(0, 82)
        h, w = rng.integers(1, 62 - y), rng.integers(1, 84 - x)
        crop = PHOTO.apply(image[..., y : y + h, x : x + w])
        assert crop.tobytes() == whole[..., y : y + h, x : x + w].tobytes()


def test_pixels_are_scaled_less_the_mean_by_the_std_in_the_models_own_order() -> None:
    image = pixels_of("uint8", (3, 5, 7))
    numbers = [np.float32(n) for n in (*PHOTO.mean, *PHOTO.std)]
    expected = np.empty((3, 5, 7), np.float32)
    for channel in range(3):
        plane = image[2 - channel].astype(np.float32)
        expected[channel] = (plane * np.float32(1 / 255) - numbers[channel]) / numbers[channel + 3]
    assert PHOTO.apply(image).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_pixels_come_out_as_one_new_contiguous_float32_array(dtype: str) -> None:
    image = pixels_of(dtype, (9, 11, 3))
    before = image.copy()
    prepared = PHOTO.apply(image.transpose(2, 0, 1))
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    assert not np.shares_memory(prepared, image)
    np.testing.assert_array_equal(image, before)


def test_doing_nothing_leaves_the_numbers_as_they_are() -> None:
    image = np.array([[[-0.0, 1.5, np.inf, 3e38]]], np.float32)
    assert Preprocessing().apply(image).tobytes() == image.tobytes()


def test_what_a_model_file_stores_comes_back() -> None:
    assert Preprocessing.from_json(PHOTO.to_json()) == PHOTO


def test_files_of_before_order_and_resolution_still_read() -> None:
    old = '{"scale": 0.5, "mean": [1.0, 2.0, 3.0], "std": [4.0]}'
    assert Preprocessing.from_json(old) == Preprocessing(0.5, (1.0, 2.0, 3.0), (4.0,))


REFUSED = [
    (
        lambda: Preprocessing(channel_order="GBR"),
        "Preprocessing(channel_order='GBR'): expected 'RGB' or 'BGR', the order in which the model "
        "takes colours.",
    ),
    (
        lambda: Preprocessing(um_per_pixel=0.0),
        "Preprocessing(um_per_pixel=0.0): expected micrometres per pixel, more than 0, as in 0.5.",
    ),
    (
        lambda: Preprocessing(um_per_pixel=float("nan")),
        "Preprocessing(um_per_pixel=nan): expected micrometres per pixel, more than 0, as in 0.5.",
    ),
    (
        lambda: Preprocessing(mean=(1.0, 2.0)).apply(np.zeros((3, 4, 4))),
        "Preprocessing(mean=(1.0, 2.0)): expected one number, or 3, one per channel of the model; "
        "got 2.",
    ),
    (
        lambda: Preprocessing(std=(1.0, 2.0, 3.0)).apply(np.zeros((1, 4, 4))),
        "Preprocessing(std=(1.0, 2.0, 3.0)): expected one number, or 1, one per channel of the "
        "model; got 3.",
    ),
    (
        lambda: Preprocessing(channel_order="BGR").apply(np.zeros((1, 4, 4))),
        "Preprocessing(channel_order='BGR'): only three channels can be turned round; the model "
        "takes 1. Leave the channel order out.",
    ),
    (
        lambda: Preprocessing().apply(np.zeros((4, 4))),
        "Preprocessing.apply(pixels): expected (..., C, H, W), at least three axes; got shape "
        "(4, 4). For a grey image add the first axis: pixels[None].",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_right_is_refused_in_one_line(call, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        call()


def test_too_few_axes_are_the_images_fault() -> None:
    with pytest.raises(ImageError):
        Preprocessing().apply(np.zeros(3))


# ---------------------------------------------------------------------------------------------
# Flags, file, model: who wins


def test_a_flag_changes_its_own_field_and_keeps_the_others() -> None:
    merged = preprocessing_of(PreprocessingFlags(mean=(0.5,), um_per_pixel=1.0), PHOTO)
    assert merged == Preprocessing(1 / 255, (0.5,), PHOTO.std, "BGR", 1.0)


def test_without_flags_the_model_says() -> None:
    assert preprocessing_of(PreprocessingFlags(), PHOTO) == PHOTO
    assert preprocessing_of(PreprocessingFlags(), None) is None


def test_flags_win_over_the_file_and_the_file_over_the_model(tmp_path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(WSINFER))
    said = Preprocessing(1 / 255, (0.5, 0.25, 0.125), (0.25, 0.5, 1.0), "RGB", 0.78125)
    assert preprocessing_of(PreprocessingFlags(file=file), PHOTO) == said
    merged = preprocessing_of(PreprocessingFlags(channel_order="BGR", file=file), PHOTO)
    assert merged == Preprocessing(said.scale, said.mean, said.std, "BGR", 0.78125)


WSINFER = {
    "spec_version": "1.0",
    "architecture": "tiny",
    "num_classes": 2,
    "class_names": ["Other", "Tumor"],
    "patch_size_pixels": 25,
    "spacing_um_px": 0.5,
    "transform": [
        {"name": "Resize", "arguments": {"size": 16}},
        {"name": "ToTensor"},
        {
            "name": "Normalize",
            "arguments": {"mean": [0.5, 0.25, 0.125], "std": [0.25, 0.5, 1.0]},
        },
    ],
}


# ---------------------------------------------------------------------------------------------
# Stored with the model


@pytest.fixture
def classifier():
    """An ONNX classifier of 16x16 RGB crops in two classes, whose window is free."""
    import onnx
    from onnx import helper, numpy_helper

    weights = np.ones((2, 3, 16, 16), np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["map"], kernel_shape=[16, 16]),
        helper.make_node("Flatten", ["map"], ["scores"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [info("image", onnx.TensorProto.FLOAT, ["n", 3, 16, 16])],
        [info("scores", onnx.TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_background_and_preprocessing_travel_with_the_model(classifier, tmp_path) -> None:
    names = ("no dress", "dress")
    fcn = fullconv.convert(classifier, classes=names, background="no dress", preprocessing=PHOTO)
    fcn.save(tmp_path / "x.onnx")
    again = fullconv.load(tmp_path / "x.onnx")
    assert (again.background, again.classes, again.preprocessing) == ("no dress", names, PHOTO)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("Background", "dress"), "Background"),
        (("dress", "OTHER"), "OTHER"),
        (("negatives", "dress"), "negatives"),
        (("negative", "other", "dress"), None),
        (("dress", "shoe"), None),
        ((), None),
    ],
)
def test_one_class_with_a_usual_name_is_the_background(classes, expected) -> None:
    assert usual_background(classes) == expected


def test_the_usual_background_is_found_when_nothing_names_it(classifier, tmp_path) -> None:
    fcn = fullconv.convert(classifier, classes=("dress", "Other"))
    assert fcn.background == "Other"
    fcn.save(tmp_path / "x.onnx")
    assert fullconv.load(tmp_path / "x.onnx").background == "Other"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"classes": ("a", "b"), "background": "c"},
            "convert(background='c'): expected one of the classes 'a', 'b'.",
        ),
        (
            {"background": "c"},
            "convert(background='c'): the model has no class names; give them too: classes=..., "
            "or --classes.",
        ),
        (
            {"preprocessing": Preprocessing(mean=(1.0, 2.0))},
            "Preprocessing(mean=(1.0, 2.0)): expected one number, or 3, one per channel of the "
            "model; got 2.",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused(classifier, given, message: str) -> None:
    with pytest.raises(FullconvError, match=f"^{re.escape(message)}$"):
        fullconv.convert(classifier, **given)


@pytest.fixture
def folder(classifier, tmp_path, monkeypatch):
    """A working folder with the classifier and a WSInfer configuration of it."""
    (tmp_path / "tiny.onnx").write_bytes(classifier.SerializeToString())
    (tmp_path / "config.json").write_text(json.dumps(WSINFER))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_convert(*arguments: str):
    return CliRunner().invoke(command, ["tiny.onnx", "-o", "x.onnx", *arguments])


def test_convert_stores_what_its_flags_say(folder) -> None:
    arguments = ("--classes", "no,yes", "--background", "no", "--scale", "0.5")
    result = run_convert(*arguments, "--channel-order", "BGR", "--um-per-pixel", "0.25", "--json")
    assert result.exit_code == 0, result.output
    fcn = fullconv.load("x.onnx")
    assert fcn.preprocessing == Preprocessing(0.5, channel_order="BGR", um_per_pixel=0.25)
    assert fcn.background == "no"
    assert json.loads(result.stdout)["background"] == "no"


def test_convert_stores_what_a_wsinfer_configuration_says(folder) -> None:
    result = run_convert("--preprocessing", "config.json", "--um-per-pixel", "1")
    assert result.exit_code == 0, result.output
    fcn = fullconv.load("x.onnx")
    assert (fcn.classes, fcn.background, fcn.grid.window) == (("Other", "Tumor"), "Other", (16, 16))
    assert fcn.preprocessing == Preprocessing(
        1 / 255, (0.5, 0.25, 0.125), (0.25, 0.5, 1.0), "RGB", 1.0
    )


@pytest.mark.parametrize(
    ("name", "constant"),
    [
        ("imagenet", "IMAGENET_DEFAULT"),
        ("IMAGENET_DEFAULT", "IMAGENET_DEFAULT"),
        ("inception", "IMAGENET_INCEPTION"),
        ("imagenet_dpn", "IMAGENET_DPN"),
        ("clip", "OPENAI_CLIP"),
        ("openai", "OPENAI_CLIP"),
    ],
)
def test_known_names_mean_what_timm_means(name: str, constant: str) -> None:
    timm = importlib.util.find_spec("timm")
    if timm is None or timm.origin is None:
        pytest.skip("timm is not installed")
    constants = runpy.run_path(str(Path(timm.origin).parent / "data/constants.py"))
    mean, std = (constants[f"{constant}_{end}"] for end in ("MEAN", "STD"))
    pixels = np.arange(0, 255, 5, np.uint8).reshape(3, 1, 17)
    expected = Preprocessing(1 / 255, mean, std).apply(pixels)
    np.testing.assert_array_equal(known_preprocessing(name).apply(pixels), expected)


def test_caffe_is_what_keras_does_for_its_resnet() -> None:
    pytest.importorskip("keras_models")
    from keras import applications

    from fullconv.cli.zoos.keras import preprocessing_of as asked

    assert known_preprocessing("caffe") == asked(applications.resnet.preprocess_input)
    assert known_preprocessing("imagenet") == asked(applications.densenet.preprocess_input)


def test_preprocessing_is_named_beside_a_file(folder) -> None:
    result = run_convert("--preprocessing", "imagenet", "--um-per-pixel", "0.5")
    assert result.exit_code == 0, result.output
    fcn = fullconv.load("x.onnx")
    assert fcn.preprocessing == dataclasses.replace(KNOWN["imagenet"], um_per_pixel=0.5)
    Path("imagenet").write_text((folder / "config.json").read_text())
    result = run_convert("--preprocessing", "imagenet")
    assert fullconv.load("x.onnx").preprocessing.mean == (0.5, 0.25, 0.125), "a file wins"


def test_a_known_name_keeps_the_resolution_that_the_model_stores() -> None:
    merged = preprocessing_of(PreprocessingFlags(known=KNOWN["clip"], std=(1.0,)), PHOTO)
    assert merged == dataclasses.replace(KNOWN["clip"], std=(1.0,), um_per_pixel=PHOTO.um_per_pixel)


def test_a_name_that_is_none_lists_those_that_are(folder) -> None:
    result = run_convert("--preprocessing", "imagnet")
    assert result.exit_code == 2
    assert (
        "'imagnet' is no file, and no name of imagenet, inception, dpn, clip, caffe"
        in result.output
    )


def test_convert_refuses_means_for_another_number_of_channels_and_writes_nothing(folder) -> None:
    result = run_convert("--mean", "1,2")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == (
        "convert --mean: expected one number, or 3, one per channel of the model; got 2."
    )
    assert not (folder / "x.onnx").exists()
