"""ONNX models that take their channels last, as TensorFlow and Keras write them.

Weights and pixels are small whole numbers, so that right means equal (see `oracle`). The crops are
cut from images ``(N, C, H, W)`` and turned for the classifier.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from PIL import Image

import fullconv
from fullconv.cli.group import commands
from fullconv.errors import ImageError, ModelError, WindowError
from fullconv.frameworks.onnx.channels import channels_first
from fullconv.runtimes import open_runtime
from fullconv.scanning.heatmap import Heatmap
from networks.checks import assert_shared, compare_closely
from networks.onnx_form import Graph
from oracle import (
    assert_close,
    assert_same,
    onnx_classifier,
    scores_of_crops,
    self_difference,
)

TO_MAP, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
WINDOW = (10, 12)
SIZE = (17, 22)


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    """Return weights of -1, 0 and 1."""
    return np.random.default_rng([seed, *shape]).integers(-1, 2, shape).astype(np.float32)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 4, shape).astype(np.float32)


class Drawing(Graph):
    """A graph that knows its layers by the order of the image's axes."""

    def __init__(self, channels: int, last: bool, opset: int = 17) -> None:
        super().__init__(opset)
        self.channels, self.last = channels, last

    def conv(self, x: str, outputs: int, inputs: int, size: int = 3, **more: Any) -> str:
        groups = more.get("group", 1)
        weight = whole(outputs, inputs // groups, size, size)
        return self.add("Conv", x, self.number(weight), self.number(whole(outputs)), **more)

    def linear(self, x: str, inputs: int, outputs: int = 3) -> str:
        product = self.add("MatMul", x, self.number(whole(inputs, outputs)))
        return self.add("Add", product, self.number(whole(outputs)))

    def turned(self, x: str, order: Sequence[int] = TO_MAP) -> str:
        """Turn a map where the image's channels come last."""
        return self.add("Transpose", x, perm=list(order)) if self.last else x

    def per_channel(self, *numbers: float) -> str:
        """Return numbers that broadcast over the channels of the image."""
        return self.number(np.array(numbers).reshape((-1,) if self.last else (-1, 1, 1)))

    def flat(self, x: str, count: int) -> str:
        return self.add("Reshape", x, self.integers(-1, count))


Body = Callable[[Drawing], Any]


def model_of(
    body: Body,
    *,
    last: bool = True,
    channels: int = 3,
    batch: int | str = "N",
    size: Sequence[int | str] = WINDOW,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    rank: int = 2,
    checked: bool = True,
) -> onnx.ModelProto:
    """Return a checked classifier; what the body returns, one name or several, are its outputs."""
    drawing = Drawing(channels, last, opset)
    results = body(drawing)
    names = [results] if isinstance(results, str) else list(results)
    outputs = [drawing.add("Identity", x, to=f"scores_{k}") for k, x in enumerate(names)]
    shape = [batch, *size, channels] if last else [batch, channels, *size]
    graph = helper.make_graph(
        drawing.nodes,
        "classifier",
        [helper.make_tensor_value_info("image", kind, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *[None] * (rank - 1)])
            for name in outputs
        ],
        drawing.initializers,
    )
    imports = [helper.make_opsetid("", opset)]
    version = min(10, helper.find_min_ir_version_for(imports))
    model = helper.make_model(graph, opset_imports=imports, ir_version=version)
    if checked:
        onnx.checker.check_model(model)
    return model


def to_last(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(images, 1, -1))


def scores_to_last(scores: Any) -> Any:
    if isinstance(scores, tuple):
        return tuple(map(scores_to_last, scores))
    return np.moveaxis(scores, (-2, -1), (1, 2))


def crops(model: onnx.ModelProto, images: np.ndarray, fcn: Any, batch: int = 64) -> Any:
    """Return the crops' scores ``(N, rows, columns, K)`` of a model that takes channels last."""
    run = onnx_classifier(model)
    kind = model.graph.input[0].type.tensor_type.elem_type
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    window, step = fcn.grid.window, fcn.grid.step

    def classify(some: np.ndarray) -> Any:
        return run(to_last(some).astype(dtype))

    return scores_to_last(scores_of_crops(classify, images, window, step, batch))


def contents(scores: Any) -> Any:
    """Return scores as arrays of their own, whatever they are views of."""
    return tuple(map(contents, scores)) if isinstance(scores, tuple) else np.array(scores)


# The families. Each is drawn with the channels last, and first.


def plain(g: Drawing) -> str:
    x = g.add("Relu", g.conv(g.turned("image"), 4, g.channels))
    x = g.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    return g.linear(g.flat(x, 4 * 4 * 5), 80)


def there_and_back(g: Drawing) -> str:
    """Reshape and MatMul behind a Transpose back: features are flattened last."""
    x = g.turned(g.conv(g.turned("image"), 4, g.channels), TO_LAST)
    return g.linear(g.flat(x, 8 * 10 * 4), 320)


def normalized(g: Drawing) -> str:
    numbers = [g.per_channel(*range(1 + k, 1 + k + g.channels)) for k in (0, 1)]
    x = g.add("Mul", g.add("Sub", "image", numbers[0]), numbers[1])
    return g.linear(g.flat(g.conv(g.turned(x), 4, g.channels, size=5), 6 * 8 * 4), 192)


def gemm(g: Drawing) -> str:
    x = g.turned(g.conv(g.turned("image"), 4, g.channels, strides=[2, 2]), TO_LAST)
    x = g.add("Flatten", x)
    return g.add("Gemm", x, g.number(whole(5, 80)), g.number(whole(5)), transB=1)


def global_max(g: Drawing) -> str:
    x = g.add("GlobalMaxPool", g.conv(g.turned("image"), 4, g.channels))
    return g.linear(g.add("Flatten", g.turned(x, TO_LAST)), 4)


def reduced(g: Drawing) -> str:
    """The global pool of Keras: a reduction of rows and columns, wherever they stand."""
    x = g.turned(g.conv(g.turned("image"), 4, g.channels), TO_LAST)
    axes = g.integers(*((1, 2) if g.last else (2, 3)))
    return g.linear(g.add("ReduceSum", x, axes, keepdims=0), 4)


def depthwise(g: Drawing) -> str:
    x = g.conv(g.turned("image"), g.channels, g.channels, group=g.channels)
    x = g.turned(g.turned(g.conv(x, 4, g.channels, size=1), TO_LAST))
    return g.linear(g.flat(x, 8 * 10 * 4), 320)


def padded(g: Drawing) -> str:
    x = g.add("Relu", g.conv(g.turned("image"), 4, g.channels, pads=[1, 1, 1, 1]))
    x = g.conv(x, 4, 4, strides=[2, 2], auto_pad="SAME_UPPER")
    return g.linear(g.flat(g.turned(x, TO_LAST), 5 * 6 * 4), 120)


def padded_last(g: Drawing) -> str:
    """A Pad of rows and columns while the channels stand last."""
    sides = [0, 1, 2, 0, 0, 1, 1, 0] if g.last else [0, 0, 1, 2, 0, 0, 1, 1]
    x = g.turned(g.conv(g.turned("image"), 4, g.channels), TO_LAST)
    x = g.turned(g.add("Pad", x, g.integers(*sides)))
    return g.linear(g.flat(g.conv(x, 3, 4), 8 * 11 * 3), 264)


def two_outputs(g: Drawing) -> tuple[str, str]:
    x = g.turned(g.conv(g.turned("image"), 4, g.channels), TO_LAST)
    joined = g.add("Concat", x, g.add("Relu", x), axis=3 if g.last else 1)
    return g.linear(g.flat(joined, 640), 640), g.linear(g.flat(x, 320), 320, 2)


def one_cell(g: Drawing) -> str:
    """A convolution as the head: scores ``(N, 1, 1, 5)``."""
    return g.turned(g.conv(g.turned("image"), 5, g.channels, size=10, strides=[1, 3]), TO_LAST)


EITHER: dict[str, Body] = {
    "plain": plain,
    "normalized": normalized,
    "global max": global_max,
    "reduced": reduced,
}
"""What is the same network with its channels first and last: nothing is flattened last."""
FAMILIES: dict[str, Body] = {
    **EITHER,
    "there and back": there_and_back,
    "gemm": gemm,
    "depthwise": depthwise,
    "padded": padded,
    "a pad while channels stand last": padded_last,
    "two outputs": two_outputs,
}


@pytest.mark.parametrize("step", [None, (1, 3)], ids=["own step", "step 1x3"])
@pytest.mark.parametrize("name", FAMILIES)
def test_windows_share_and_equal_their_crops(name: str, step: Any) -> None:
    model = model_of(FAMILIES[name])
    fcn = fullconv.convert(model, step=step)
    images = pixels(2, 3, *SIZE)
    assert_same(contents(fcn(to_last(images))), contents(crops(model, images, fcn)))
    assert_shared(fcn)
    assert fcn.report.exact


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["plain", "there and back", "normalized", "padded"])
def test_gray_images_and_four_bands_equal_their_crops(name: str, channels: int) -> None:
    model = model_of(FAMILIES[name], channels=channels)
    fcn = fullconv.convert(model)
    images = pixels(1, channels, *SIZE)
    assert_same(contents(fcn(to_last(images))), contents(crops(model, images, fcn)))
    assert_shared(fcn)


def test_a_gray_image_may_be_reshaped_where_others_are_turned() -> None:
    """The Transpose of one channel moves nothing, and exporters write a Reshape for it."""

    def body(g: Drawing) -> str:
        x = g.add("Reshape", "image", g.integers(-1, 1, *WINDOW))
        x = g.conv(x, 4, 1)
        return g.linear(g.flat(g.turned(x, TO_LAST), 320), 320)

    model = model_of(body, channels=1)
    fcn = fullconv.convert(model)
    images = pixels(1, 1, *SIZE)
    assert_same(contents(fcn(to_last(images))), contents(crops(model, images, fcn)))
    assert_shared(fcn)


@pytest.mark.parametrize("batch", [1, 5, "N"])
def test_a_batch_may_be_fixed_or_free(batch: int | str) -> None:
    model = model_of(there_and_back, batch=batch)
    fcn = fullconv.convert(model)
    images = pixels(5, 3, *SIZE)
    held = 5 if batch == 5 else 1
    expected = crops(model, images, fcn, held)
    assert_same(contents(fcn(to_last(images))), contents(expected))
    assert fullconv.verify(fcn, model, to_last(images)).max_error == 0


def test_images_of_bytes_are_cast_by_the_model_itself() -> None:
    def body(g: Drawing) -> str:
        g.nodes.append(helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT))
        return g.linear(g.flat(g.conv(g.turned("pixels"), 4, 3, pads=[1, 1, 1, 1]), 480), 480)

    model = model_of(body, kind=TensorProto.UINT8)
    fcn = fullconv.convert(model)
    images = pixels(1, 3, *SIZE)
    expected = contents(crops(model, images, fcn))
    assert_same(contents(fcn(to_last(images))), expected)
    assert_same(contents(fcn(to_last(images).astype(np.uint8))), expected)
    assert_shared(fcn)


@pytest.mark.parametrize("operator", ["Slice", "Gather"])
@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
def test_channels_may_be_reversed_first(operator: str, last: bool) -> None:
    """As networks that were trained on BGR do it for RGB."""

    def body(g: Drawing) -> str:
        axis = 3 if last else 1
        if operator == "Gather":
            x = g.add("Gather", "image", g.number([2, 1, 0], np.int64), axis=axis)
        else:
            x = g.add("Slice", "image", *(g.integers(n) for n in (-1, -(2**62), axis, -1)))
        return g.linear(g.flat(g.conv(g.turned(x), 4, 3), 320), 320)

    model = model_of(body, last=last)
    fcn = fullconv.convert(model)
    images = pixels(2, 3, *SIZE)
    if last:
        assert_same(contents(fcn(to_last(images))), contents(crops(model, images, fcn)))
    else:
        classify = onnx_classifier(model)
        assert_same(fcn(images), scores_of_crops(classify, images, fcn.grid.window, fcn.grid.step))
    assert_shared(fcn)


def test_scores_of_one_cell_are_a_vector_per_window() -> None:
    model = model_of(one_cell, rank=4)
    fcn = fullconv.convert(model)
    images = pixels(1, 3, *SIZE)
    scores = fcn(to_last(images))
    assert scores.shape == (1, *fcn.grid.shape(SIZE), 5)
    expected = crops(model, images, fcn)
    assert_same(contents(scores), contents(expected.reshape(scores.shape)))


def test_what_has_no_rule_runs_per_window_and_equals_its_crops() -> None:
    """Also where it takes the image itself."""

    def body(g: Drawing) -> str:
        upside_down = g.add("Transpose", "image", perm=[0, 2, 1, 3])
        x = g.add("Gather", upside_down, g.number([3, 0, 5, 9, 1], np.int64), axis=1)
        return g.linear(g.add("Flatten", x), 150)

    model = model_of(body)
    fcn = fullconv.convert(model)
    images = pixels(2, 3, *SIZE)
    assert_same(contents(fcn(to_last(images))), contents(crops(model, images, fcn)))
    assert [reason.operation for reason in fcn.report.reasons] == ["Gather"]


@pytest.mark.parametrize("name", ["padded", "a pad while channels stand last"])
def test_the_approximate_form_is_the_classifier_at_its_own_size(name: str) -> None:
    model = model_of(FAMILIES[name])
    fcn = fullconv.convert(model, exact=False)
    crop = to_last(pixels(2, 3, *WINDOW))
    expected = onnx_classifier(model)(crop)[:, None, None]
    assert_same(contents(fcn(crop)), expected)
    assert fcn(to_last(pixels(1, 3, *SIZE))).shape == (1, *fcn.grid.shape(SIZE), 3)


def test_tiles_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    fcn = fullconv.convert(model_of(two_outputs))
    images = to_last(pixels(2, 3, 40, 50))
    at_once = contents(fcn(images))
    monkeypatch.setattr("fullconv.conversion.converted.CALL_BUDGET_BYTES", 1 << 18)
    assert_same(contents(fcn(images)), at_once)


@pytest.mark.parametrize("name", EITHER)
def test_the_same_network_with_its_channels_first_gives_equal_heatmaps(name: str) -> None:
    last, first = (fullconv.convert(model_of(FAMILIES[name], last=side)) for side in (True, False))
    images = pixels(2, 3, *SIZE)
    assert_same(contents(fullconv_scores(last, images)), first(images))
    assert last.grid == first.grid
    assert last.report.cost == first.report.cost


def fullconv_scores(fcn: Any, images: np.ndarray) -> np.ndarray:
    """Return scores ``(N, K, rows, columns)`` of a network that takes its channels last."""
    return np.moveaxis(fcn(to_last(images)), (1, 2), (-2, -1))


# How the order is found.


def flattened_at_once(g: Drawing) -> str:
    return g.linear(g.add("Flatten", "image"), 3 * WINDOW[0] * WINDOW[1])


@pytest.mark.parametrize(
    ("size", "channels", "window"),
    [
        (WINDOW, 3, None),
        (WINDOW, 3, WINDOW),
        (("H", "W"), 3, WINDOW),
        ((10, "W"), 3, WINDOW),
        (WINDOW, "C", WINDOW),
    ],
    ids=["few at the end", "the window", "what is free", "one free", "the window alone"],
)
def test_where_no_operator_tells_the_sizes_do(size: Any, channels: Any, window: Any) -> None:
    model = model_of(flattened_at_once, size=size, channels=3)
    if channels == "C":
        model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "C"
        with pytest.raises(ModelError) as raised:
            fullconv.convert(model, window)
        assert str(raised.value) == (
            "convert: the model does not say how many channels its image has; fix the last "
            "dimension of its input when exporting it."
        )
        return
    fcn = fullconv.convert(model, window)
    images = pixels(1, 3, *SIZE)
    assert_same(contents(fcn(to_last(images))), contents(crops(model, images, fcn)))


def test_where_nothing_tells_the_channels_come_first() -> None:
    """A window of 3x3 pixels and 3 channels is the same either way."""

    def body(g: Drawing) -> str:
        return g.linear(g.add("Flatten", "image"), 27)

    fcn = fullconv.convert(model_of(body, size=(3, 3)))
    assert fcn(pixels(1, 3, 8, 7)).shape == (1, 3, 6, 5)
    assert fcn.report.images == ""


def test_operators_outweigh_sizes() -> None:
    """Eight channels of 10x3 pixels could be taken for 8x10 pixels of three channels."""

    def body(g: Drawing) -> str:
        return g.linear(g.flat(g.conv("image", 4, 8, size=3), 4 * 8), 32)

    fcn = fullconv.convert(model_of(body, last=False, channels=8, size=(10, 3)))
    assert fcn(pixels(1, 8, 12, 4)).shape == (1, 3, 3, 2)


def test_a_model_that_turns_its_maps_to_last_takes_them_first() -> None:
    """So does a network of ConvNeXt's kind, which begins with a layer over the channels."""

    def body(g: Drawing) -> str:
        x = g.add("Transpose", "image", perm=TO_LAST)
        return g.linear(g.add("Flatten", x), 120)

    fcn = fullconv.convert(model_of(body, last=False, channels=12, size=(10, 1)))
    assert fcn(pixels(1, 12, 12, 4)).shape == (1, 3, 3, 4)


def test_free_channels_are_those_of_the_first_convolution_behind_the_transpose() -> None:
    model = model_of(normalized, size=("H", "W"))
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "C"
    fcn = fullconv.convert(model, WINDOW)
    assert fcn.shape.channels == 3
    images = pixels(1, 3, *SIZE)
    assert_same(contents(fcn(to_last(images))), contents(crops(model, images, fcn)))


def test_another_window_than_the_models_is_refused() -> None:
    with pytest.raises(WindowError) as raised:
        fullconv.convert(model_of(plain), (12, 10))
    assert str(raised.value) == (
        "convert(window=(12, 10)): the model takes images of 12x10 pixels (width x height) and no "
        "other; leave the window out, or give (10, 12)."
    )


# What is said, saved and refused.


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            np.zeros((1, 3, 20, 20), np.float32),
            "fcn(images): the model takes its channels last, (N, H, W, 3); got shape "
            "(1, 3, 20, 20). For one image add the first axis: images[None].",
        ),
        (
            np.zeros((20, 20, 3), np.float32),
            "fcn(images): the model takes its channels last, (N, H, W, 3); got shape "
            "(20, 20, 3). For one image add the first axis: images[None].",
        ),
        ([1, 2], "fcn(images): expected a numpy array (N, H, W, 3); got list."),
    ],
    ids=["channels first", "one image", "a list"],
)
def test_images_of_another_kind_are_refused(images: Any, words: str) -> None:
    fcn = fullconv.convert(model_of(plain))
    with pytest.raises(ImageError) as raised:
        fcn(images)
    assert str(raised.value) == words


def test_a_saved_model_takes_and_gives_the_same_anywhere(tmp_path: Path) -> None:
    """Also in ONNX Runtime alone, and when it is loaded again."""
    fcn = fullconv.convert(model_of(two_outputs))
    fcn.save(tmp_path / "fcn.onnx")
    images = to_last(pixels(2, 3, *SIZE))
    expected = contents(fcn(images))
    again = fullconv.load(tmp_path / "fcn.onnx")
    assert_same(contents(again(images)), expected)
    assert again.report == fcn.report
    session = onnxruntime.InferenceSession(tmp_path / "fcn.onnx")
    assert [entry.name for entry in session.get_inputs()] == ["image"]
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    assert [entry.name for entry in session.get_outputs()] == ["scores_0", "scores_1"]
    assert_same(tuple(session.run(None, {"image": images})), expected)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["plain", "two outputs", "padded"])
def test_every_runtime_takes_maps_and_gives_maps(name: str, runtime: str) -> None:
    pytest.importorskip(runtime)
    fcn = fullconv.convert(model_of(FAMILIES[name]))
    images = pixels(1, 3, *SIZE)
    expected = fcn(to_last(images))
    several = expected if isinstance(expected, tuple) else (expected,)
    with open_runtime(fcn, runtime) as opened:
        found = tuple(opened.run(images))
    assert_same(
        tuple(np.moveaxis(scores, (-2, -1), (1, 2)).copy() for scores in found), contents(several)
    )


def test_nothing_is_transposed_at_the_ends_of_what_runtimes_run() -> None:
    converted = fullconv.convert(model_of(plain)).model
    kinds = [
        [node.op_type for node in model.graph.node].count("Transpose")
        for model in (converted, channels_first(converted))
    ]
    assert kinds == [2, 0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(model_of(plain), tmp_path / "last.onnx")
    onnx.save(model_of(plain, last=False), tmp_path / "first.onnx")
    held = np.moveaxis(pixels(3, 60, 50), 0, -1).astype(np.uint8)
    Image.fromarray(held).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> str:
    result = CliRunner().invoke(commands, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_order_is_said_in_one_line_where_it_is_not_the_usual(folder: Path) -> None:
    line = "images   (N, H, W, C), as the classifier takes them"
    assert call("explain", "last.onnx").splitlines().count(line) == 1
    assert call("convert", "last.onnx", "-o", "fcn.onnx").splitlines().count(line) == 1
    assert "images " not in call("explain", "first.onnx")
    told = json.loads(call("explain", "last.onnx", "--json"))
    assert told["images"] == "(N, H, W, C)"


def test_scan_and_verify_work_unchanged(folder: Path) -> None:
    for model in ("last", "first"):
        story = call("scan", f"{model}.onnx", "image.png", "-o", f"{model}.zarr")
        assert "equal: the scores are the crops' own" in story
        assert "largest difference 0 " in story
        assert "equal: the scores are the crops' own" in call("verify", f"{model}.zarr")
        proof = json.loads(call("verify", f"{model}.onnx", "image.png", "--json"))
        assert (proof["passed"], proof["max_error"]) == (True, 0)
    last, first = (np.asarray(Heatmap.open(f"{name}.zarr")) for name in ("last", "first"))
    assert_same(last, first)


def test_a_converted_file_scans_and_detects(folder: Path) -> None:
    call("convert", "last.onnx", "-o", "fcn.onnx", "--step", "4", "--classes", "a,b,c")
    call("scan", "fcn.onnx", "image.png", "-o", "heat.zarr")
    call("detect", "fcn.onnx", "image.png", "-o", "boxes.json", "--threshold", "1")
    assert json.loads(Path("boxes.json").read_text())


# What Keras itself writes.


def test_what_keras_exports_is_shared_and_equals_its_crops(tmp_path: Path) -> None:
    from keras_models import keras

    if keras.backend.backend() != "torch":
        pytest.skip("Keras exports on another backend need packages that are not here")
    layers = keras.layers
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((20, 16, 3)),
            layers.Rescaling(1 / 255, offset=-0.5),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.ZeroPadding2D(1),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.MaxPooling2D(2),
            layers.Conv2D(5, 3, strides=2, padding="same"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model(np.zeros((2, 20, 16, 3), np.float32))
    path = tmp_path / "keras.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's older exporter warns of itself
        model.export(path, format="onnx", verbose=False)
    fcn = fullconv.convert(path)
    images = np.random.default_rng(0).integers(0, 256, (1, 33, 30, 3)).astype(np.float32)
    assert fullconv.verify(fcn, path, images).passed
    assert_shared(fcn)
    assert fcn(images).shape == (1, *fcn.grid.shape((33, 30)), 3)


# GroupNormalization, whose parameters changed their meaning.


@pytest.mark.parametrize(("opset", "parameters"), [(18, 2), (20, 2), (21, 16), (22, 16)])
@pytest.mark.parametrize("size", [3, WINDOW], ids=["a map", "one cell"])
def test_group_normalization_is_read_as_its_version_says(
    opset: int, parameters: int, size: Any
) -> None:
    """One scale and bias per group before 21, which ONNX calls deprecated; then one per channel."""

    def body(g: Drawing) -> str:
        rows, columns = (size, size) if isinstance(size, int) else size
        x = g.add("Conv", "image", g.number(whole(16, 3, rows, columns)))
        count = np.arange(parameters)
        scale, bias = g.number(count + 1), g.number(count * 0.5)
        x = g.add("GroupNormalization", x, scale, bias, num_groups=2)
        return g.linear(g.add("Flatten", x), 16 * (11 - rows) * (13 - columns))

    model = model_of(body, last=False, opset=opset, checked=opset >= 21)
    classify = onnx_classifier(model)
    images = np.random.default_rng(0).random((1, 3, *SIZE), dtype=np.float32)
    fcn = fullconv.convert(model)
    compare_closely(fcn, classify, images, 8)
    around = fullconv.convert(model, exact=False)
    crop = images[:, :, : WINDOW[0], : WINDOW[1]]
    unit = self_difference(classify, np.concatenate([crop, crop]))
    assert_close(around(crop), classify(crop)[..., None, None], unit, 16)
    per_window = [] if size == WINDOW else ["GroupNormalization"]
    assert [reason.operation for reason in fcn.report.reasons] == per_window


def test_a_deprecated_operator_is_named() -> None:
    def body(g: Drawing) -> str:
        x = g.add("Upsample", "image", g.number([1, 1, 2, 2]))
        return g.linear(g.add("Flatten", x), 1440)

    with pytest.raises(ModelError) as raised:
        fullconv.convert(model_of(body, last=False, checked=False))
    assert str(raised.value) == (
        "convert: the model is not valid ONNX (Op registered for Upsample is deprecated in "
        "domain_version of 17 ==> Context: Bad node spec for node. Name: Upsample_0 OpType: "
        "Upsample); export it again, and check it with onnx.checker.check_model."
    )
