"""Keras models as people have them: files, nested models, custom layers, training, the verbs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fullconv
from fullconv.errors import ExportError, ImageError, ModelError, WindowError
from keras_models import QUIETLY, keras, keras_classifier, ops

pytestmark = QUIETLY

layers = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Mirror(keras.layers.Layer):
    """Turns a map upside down: no rule can know that."""

    def call(self, inputs: Any) -> Any:
        return keras.ops.flip(inputs, axis=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def small(*more: Any, window: tuple[int, int] = (12, 10), name: str = "small") -> Any:
    """Return a classifier of three classes: a convolution, what is given, Flatten and Dense."""
    keras.utils.set_random_seed(1)
    body = [layers.Conv2D(4, 3, activation="relu", name="first"), *more]
    head = [layers.Flatten(name="flat"), layers.Dense(3, name="scores")]
    return keras.Sequential([keras.Input((*window, 2), name="image"), *body, *head], name=name)


def pixels(height: int = 20, width: int = 17, count: int = 1) -> Any:
    return np.random.default_rng(0).random((count, height, width, 2), dtype=np.float32)


def windows(model: Any, images: Any, fcn: Any) -> Any:
    """Return the scores of all windows of the first image, cut out one by one."""
    rows, columns = fcn.grid.shape(images.shape[1:3])
    boxes = [fcn.grid.box(i, j) for i in range(rows) for j in range(columns)]
    crops = np.stack([images[0, y0:y1, x0:x1] for x0, y0, x1, y1 in boxes])
    scores = keras_classifier(model)(crops)
    return scores.reshape(1, rows, columns, *scores.shape[1:])


def assert_verified(fcn: Any, model: Any, images: Any) -> None:
    """Require that every window equals its crop, within what the classifier differs from itself."""
    proof = fullconv.verify(fcn, model, images, windows=1000)
    assert proof.passed, str(proof)
    assert proof.exact
    expected = windows(model, images, fcn)
    actual = keras.ops.convert_to_numpy(fcn(images))
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= proof.allowed


def names_of(model: Any) -> list[str]:
    return [layer.name for layer in model.layers]


# ---------------------------------------------------------------------------------------------
# What comes out


def test_an_unpadded_network_consists_of_keras_own_layers_under_the_original_names() -> None:
    model = small(layers.MaxPooling2D(name="pool"), layers.Dense(5, name="mix"))
    converted = fullconv.convert(model).model
    assert names_of(converted) == ["image", "first", "pool", "mix", "scores"]
    assert all(type(layer).__module__.startswith("keras.") for layer in converted.layers)
    kinds = [type(layer) for layer in converted.layers[1:]]
    assert kinds == [layers.Conv2D, layers.MaxPooling2D, layers.Conv2D, layers.Conv2D]


def test_flatten_and_dense_become_a_convolution_with_the_dense_weights() -> None:
    model = small(layers.MaxPooling2D())
    dense = model.get_layer("scores")
    conv = fullconv.convert(model).model.get_layer("scores")
    kernel = keras.ops.convert_to_numpy(dense.kernel.value)
    assert tuple(conv.kernel.shape) == (5, 4, 4, 3)
    held = keras.ops.convert_to_numpy(conv.kernel.value)
    assert np.array_equal(held, kernel.reshape(5, 4, 4, 3))
    assert np.array_equal(held, fullconv.dense_to_conv(kernel, (5, 4, 4), order="HWC"))


def test_activations_stay_arguments_of_their_layers() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(3, 3, activation="gelu"),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    converted = fullconv.convert(model)
    told = [getattr(layer, "activation", None) for layer in converted.model.layers[1:]]
    assert told == [keras.activations.gelu, keras.activations.softmax]
    assert_verified(converted, model, pixels(11, 12))


def test_nested_models_are_inlined_and_reported_by_path() -> None:
    keras.utils.set_random_seed(2)
    inner = keras.Sequential(
        [keras.Input((12, 10, 2)), layers.Conv2D(3, 3, padding="same", name="conv")],
        name="backbone",
    )
    image = keras.Input((12, 10, 2))
    x = layers.Conv2D(3, 1, name="conv")(inner(image))
    x = layers.Dense(2, name="head")(layers.Flatten()(x))
    model = keras.Model(image, x)
    fcn = fullconv.convert(model, exact=False)
    assert [reason.layer for reason in fcn.report.reasons] == ["backbone/conv"]
    assert names_of(fcn.model)[1:] == ["backbone_conv", "conv", "head"]
    assert_verified(fullconv.convert(model), model, pixels())


def test_a_custom_layer_runs_per_window_and_is_named() -> None:
    model = small(Mirror(name="mirror"))
    fcn = fullconv.convert(model)
    (reason,) = fcn.report.reasons
    assert (reason.operation, reason.layer) == ("Mirror", "mirror")
    assert fcn.report.per_window
    assert "mirror" in names_of(fcn.model)
    assert_verified(fcn, model, pixels())


def test_a_subclassed_model_runs_per_window_as_a_whole() -> None:
    class Whole(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="whole")
            self.conv = layers.Conv2D(3, 3)
            self.pool = layers.GlobalMaxPooling2D()

        def call(self, inputs: Any) -> Any:
            return self.pool(self.conv(inputs))

        def get_config(self) -> dict[str, Any]:
            return {}

        @classmethod
        def from_config(cls, config: Any, custom_objects: Any = None) -> Any:
            return cls()

    image = keras.Input((8, 8, 2))
    model = keras.Model(image, Whole()(image))
    fcn = fullconv.convert(model)
    assert [reason.operation for reason in fcn.report.reasons] == ["Whole"]
    assert_verified(fcn, model, pixels(11, 10))


def test_the_converted_model_trains_and_leaves_the_classifier_as_it_was() -> None:
    model = small()
    model.get_layer("first").trainable = False
    before = [keras.ops.convert_to_numpy(v.value).copy() for v in model.variables]
    converted = fullconv.convert(model).model
    assert not converted.get_layer("first").trainable
    assert converted.get_layer("scores").trainable
    images = pixels(14, 14, count=4)
    target = np.zeros((4, 3, 5, 3), np.float32)
    converted.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    losses = converted.fit(images, target, epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[0]
    after = [keras.ops.convert_to_numpy(v.value) for v in model.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_layer_of_an_exact_padded_network_holds_its_weights_once() -> None:
    model = small(layers.Conv2D(4, 3, padding="same", name="second"))
    converted = fullconv.convert(model).model
    assert converted.count_params() == model.count_params()
    assert names_of(converted).count("second") == 1


@pytest.mark.parametrize(
    "made",
    [
        layers.Rescaling([2.0, 0.5, 1.0, 3.0], [0.0, 1.0, 0.5, 2.0]),
        layers.Rescaling(1 / 255, 0.5),
        layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0]),
        layers.Normalization(axis=None, mean=0.3, variance=2.0),
        layers.LayerNormalization(),
        layers.SeparableConv2D(5, 3, activation="silu"),
        layers.Softmax(),
        layers.RandomFlip(),
        layers.AveragePooling2D(3, 1, padding="same"),
        layers.MaxPooling2D(2, 2, padding="same"),
        layers.Activation("hard_silu"),
        layers.ELU(0.5),
        layers.ReLU(4.0, 0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_share_and_equal_their_crops_and_go_to_onnx(made: Any, tmp_path: Path) -> None:
    model = small(made)
    fcn = fullconv.convert(model)
    assert list(fcn.report.reasons) == []
    images = pixels()
    assert_verified(fcn, model, images)
    fcn.save(tmp_path / "model.onnx")
    scores = fullconv.load(tmp_path / "model.onnx")(images.transpose(0, 3, 1, 2))
    wanted = keras.ops.convert_to_numpy(fcn(images)).transpose(0, 3, 1, 2)
    assert np.abs(scores - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "function",
    [
        *("celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh"),
        *("leaky_relu", "log_sigmoid", "log_softmax", "mish", "relu6", "selu", "sigmoid"),
        *("silu", "softmax", "softplus", "softsign", "tanh"),
    ],
)
def test_every_activation_is_the_same_function_in_onnx(function: str, tmp_path: Path) -> None:
    model = small(layers.Conv2D(3, 1, activation=function))
    fcn = fullconv.convert(model)
    assert list(fcn.report.reasons) == []
    fcn.save(tmp_path / "model.onnx")
    images = 4 * pixels(14, 13) - 2
    scores = fullconv.load(tmp_path / "model.onnx")(images.transpose(0, 3, 1, 2))
    wanted = windows(model, images, fcn).transpose(0, 3, 1, 2)
    assert np.abs(scores - wanted).max() <= 2e-6 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize(
    "made",
    [layers.AveragePooling2D(2, 1, padding="same"), layers.GroupNormalization(2)],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_windows_cannot_share_equal_their_crops(made: Any) -> None:
    model = small(made)
    fcn = fullconv.convert(model)
    assert [reason.operation for reason in fcn.report.reasons] == [type(made).__name__]
    assert_verified(fcn, model, pixels(15, 12))


@pytest.mark.parametrize(
    "made", [layers.GroupNormalization(2), layers.GroupNormalization(-1)], ids=["groups", "each"]
)
def test_sliding_statistics_are_the_classifiers_own_at_its_size(made: Any) -> None:
    model = small(made)
    fcn = fullconv.convert(model, exact=False)
    assert not fcn.report.per_window
    images = pixels(12, 10)
    expected = windows(model, images, fcn)
    actual = keras.ops.convert_to_numpy(fcn(images))
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_gate_below_the_stride_is_that_of_each_window_at_its_size(
    data_format: str, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(3)
    place = {"data_format": data_format}
    image = keras.Input((12, 10, 2) if data_format == "channels_last" else (2, 12, 10))
    x = layers.Conv2D(4, 3, strides=2, **place)(image)
    gate = layers.GlobalAveragePooling2D(keepdims=True, **place)(x)
    x = layers.Multiply()([x, layers.Conv2D(4, 1, activation="sigmoid", **place)(gate)])
    model = keras.Model(image, layers.Dense(3)(layers.Flatten(**place)(x)))
    fcn = fullconv.convert(model, step=1, exact=False)
    images = np.random.default_rng(0).random((2, 2, 17, 16), np.float32)
    crop = images[:, :, :12, :10]
    taken = crop.transpose(0, 2, 3, 1) if data_format == "channels_last" else crop
    alone = keras.ops.convert_to_numpy(fcn.scores(crop))[:, :, 0, 0]
    assert np.abs(alone - model.predict(taken, verbose=0)).max() <= 2e-6
    # Beyond, it is what the ONNX form gives, which repeats border cells by code of its own.
    fcn.save(tmp_path / "gated.onnx")
    there = fullconv.load(tmp_path / "gated.onnx")(images)
    assert np.abs(keras.ops.convert_to_numpy(fcn.scores(images)) - there).max() <= 4e-6


@pytest.fixture
def in_double() -> Iterator[None]:
    """Let JAX compute in double precision, which it does only where it is told to."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def test_a_model_in_double_precision_stays_in_it(in_double: None) -> None:
    keras.utils.set_random_seed(5)
    image = keras.Input((9, 8, 2), dtype="float64")
    x = layers.Conv2D(3, 3, padding="same", activation="relu", dtype="float64")(image)
    # A convolution as its head: on PyTorch, a Dense of Keras 3.15 does not compute in double.
    x = layers.Conv2D(2, (4, 3), dtype="float64")(layers.MaxPooling2D(dtype="float64")(x))
    x = layers.Flatten(dtype="float64")(x)
    model = keras.Model(image, x)
    fcn = fullconv.convert(model)
    images = np.random.default_rng(1).random((1, 13, 12, 2))
    actual = keras.ops.convert_to_numpy(fcn(images))
    expected = windows(model, images, fcn)
    assert actual.dtype == np.float64
    assert np.abs(actual - expected).max() <= 1e-14


def test_a_layer_that_is_called_by_name_or_told_to_train_is_read_all_the_same() -> None:
    image = keras.Input((8, 8, 2))
    x = layers.Conv2D(3, 3)(inputs=image)
    model = keras.Model(image, layers.GlobalMaxPooling2D()(x))
    fcn = fullconv.convert(model)
    assert list(fcn.report.reasons) == []
    assert_verified(fcn, model, pixels(11, 10))
    normal = layers.BatchNormalization(name="norm")
    normal.build((None, 6, 6, 3))
    normal.moving_mean.assign([1.0, 2.0, 3.0])
    told = keras.Model(image, layers.GlobalMaxPooling2D()(normal(x, training=True)))
    assert list(fullconv.convert(told).report.reasons) == []
    assert_verified(fullconv.convert(told), told, pixels(11, 10))


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="it does not stride and dilate at once"
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dilation", [(1, 2), (2, 2), (3, 4)])
@pytest.mark.parametrize("strides", [(2, 1), (2, 2), (6, 4), (3, 2)])
def test_a_convolution_that_strides_and_dilates_in_turn_is_the_same(
    strides: tuple[int, int], dilation: tuple[int, int], data_format: str
) -> None:
    from fullconv.frameworks.keras.part_layers import convolved, in_turn

    draw = np.random.default_rng(0)
    shape = (2, 23, 26, 3) if data_format == "channels_last" else (2, 3, 23, 26)
    x = draw.integers(-3, 4, shape).astype(np.float32)
    kernel = draw.integers(-2, 3, (3, 2, 3, 4)).astype(np.float32)
    actual, expected = (
        keras.ops.convert_to_numpy(form(x, kernel, strides, dilation, data_format))
        for form in (in_turn, convolved)
    )
    assert np.array_equal(actual, expected)


def test_parts_of_a_map_leave_the_statistics_of_a_batch_normalization_alone() -> None:
    pad = layers.Conv2D(4, 3, padding="same")
    model = small(pad, layers.BatchNormalization(name="norm"))
    for exact, moved in ((True, False), (False, True)):
        converted = fullconv.convert(model, exact=exact).model
        converted.compile(optimizer="sgd", loss="mse")
        converted.train_on_batch(pixels(14, 12), np.zeros((1, 3, 3, 3), np.float32))
        mean = keras.ops.convert_to_numpy(converted.get_layer("norm").moving_mean.value)
        assert mean.any() == moved


# ---------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_model_file_converts_like_the_model(ending: str, tmp_path: Path) -> None:
    model = small(layers.BatchNormalization())
    path = tmp_path / f"model{ending}"
    model.save(path)
    images = pixels()
    scores = keras.ops.convert_to_numpy(fullconv.convert(path)(images))
    assert np.array_equal(scores, keras.ops.convert_to_numpy(fullconv.convert(model)(images)))


@pytest.mark.parametrize("made", [[], [layers.Conv2D(3, 3, padding="same")], [Mirror()]])
def test_a_saved_conversion_is_loaded_by_fullconv_and_by_keras(made: Any, tmp_path: Path) -> None:
    fcn = fullconv.convert(small(*made), classes=["cat", "dog", "other"])
    path = tmp_path / "fcn.keras"
    fcn.save(path)
    loaded = fullconv.load(path)
    images = pixels()
    scores = keras.ops.convert_to_numpy(fcn(images))
    assert np.array_equal(keras.ops.convert_to_numpy(loaded(images)), scores)
    assert (loaded.grid, loaded.classes, loaded.background) == (fcn.grid, fcn.classes, "other")
    plain = keras.saving.load_model(path)
    assert np.array_equal(plain.predict_on_batch(images), scores)
    assert [p.name for p in tmp_path.iterdir()] == ["fcn.keras"]


def test_weights_that_were_trained_after_the_conversion_are_what_is_saved(tmp_path: Path) -> None:
    fcn = fullconv.convert(small())
    digest = fcn.framework.digest(fcn.model)
    fcn.model.get_layer("scores").bias.assign([1.0, 2.0, 3.0])
    assert fcn.framework.digest(fcn.model) != digest
    for ending in (".keras", ".onnx"):
        fcn.save(tmp_path / f"fcn{ending}")
    images = pixels()
    scores = keras.ops.convert_to_numpy(fcn(images))
    again = fullconv.load(tmp_path / "fcn.keras")(images)
    assert np.array_equal(keras.ops.convert_to_numpy(again), scores)
    onnx = fullconv.load(tmp_path / "fcn.onnx")(images.transpose(0, 3, 1, 2))
    assert np.abs(onnx.transpose(0, 2, 3, 1) - scores).max() <= 1e-6


def test_a_layer_without_a_form_in_onnx_is_named(tmp_path: Path) -> None:
    fcn = fullconv.convert(small(Mirror(name="mirror")))
    with pytest.raises(ExportError) as caught:
        fcn.save(tmp_path / "fcn.onnx")
    assert str(caught.value) == (
        "save: Mirror 'mirror' has no form in ONNX here; save the model as .keras, or write that "
        "layer with Keras' own."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_lambda_in_memory_converts_and_is_not_saved(tmp_path: Path) -> None:
    model = small(layers.Lambda(lambda x: x * 2, name="twice"))
    fcn = fullconv.convert(model)
    assert_verified(fcn, model, pixels())
    path = tmp_path / "fcn.keras"
    with pytest.raises(ExportError) as caught:
        fcn.save(path)
    assert str(caught.value) == (
        f"save({str(path)!r}): the Lambda 'twice' would be stored as Python code, which nobody "
        f"should load; make it a registered class of its own."
    )


# ---------------------------------------------------------------------------------------------
# What is refused


def refusal(action: Any, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def test_a_window_that_contradicts_the_model_is_refused() -> None:
    assert refusal(lambda: fullconv.convert(small(), window=(10, 12)), WindowError) == (
        "convert(window=(10, 12)): the model takes images of 10x12 pixels (width x height) and no "
        "other; leave the window out, or give (12, 10)."
    )


def test_a_model_of_any_size_needs_a_window() -> None:
    image = keras.Input((None, None, 2))
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3, name="conv")(image))
    model = keras.Model(image, x)
    assert refusal(lambda: fullconv.convert(model), WindowError) == (
        "convert: the model leaves height and width free, so the window it was trained on must be "
        "given: window=(height, width), or --window WIDTHxHEIGHT."
    )
    assert_verified(fullconv.convert(model, window=(8, 9)), model, pixels(12, 12))


def test_a_model_that_was_never_built_is_refused() -> None:
    model = keras.Sequential([layers.Conv2D(3, 3)], name="raw")
    assert refusal(lambda: fullconv.convert(model, window=(8, 8)), ModelError) == (
        "convert: the Keras model 'raw' was never built, so its image's channels are not known; "
        "begin it with keras.Input((height, width, channels)), or call it once."
    )


def test_a_model_with_two_inputs_is_refused() -> None:
    a, b = keras.Input((8, 8, 1), name="a"), keras.Input((8, 8, 1), name="b")
    model = keras.Model([a, b], layers.Flatten()(layers.Add()([a, b])))
    assert refusal(lambda: fullconv.convert(model), ModelError) == (
        "convert: expected a model with one image input (N, H, W, C); the model's inputs are "
        "a (None, 8, 8, 1), b (None, 8, 8, 1). Wrap the classifier in a model that takes the image "
        "alone."
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            np.zeros((1, 2, 20, 20), np.float32),
            "fcn(images): the model takes its channels last, (N, H, W, 2); got shape "
            "(1, 2, 20, 20). For one image add the first axis: images[None].",
        ),
        (
            [1, 2],
            "fcn(images): expected a numpy array, or a tensor of Keras' backend "
            f"({keras.backend.backend()}), (N, H, W, C); got list.",
        ),
    ],
)
def test_images_of_another_kind_are_refused(images: Any, words: str) -> None:
    fcn = fullconv.convert(small())
    assert refusal(lambda: fcn(images), ImageError) == words


def test_a_layer_that_cannot_be_made_again_is_named() -> None:
    class Secret(keras.layers.Layer):
        def __init__(self, thing: Any, **settings: Any) -> None:
            super().__init__(**settings)
            self.thing = thing

        def call(self, inputs: Any) -> Any:
            return inputs * 2

        def get_config(self) -> dict[str, Any]:
            return super().get_config()

    message = refusal(lambda: fullconv.convert(small(Secret(1, name="secret"))), ModelError)
    assert message.startswith("convert: Secret 'secret' cannot be made again from its own settings")
    assert message.endswith("give it a get_config that returns what its __init__ takes.")


# ---------------------------------------------------------------------------------------------
# The verbs


def picture(folder: Path) -> Path:
    from PIL import Image

    path = folder / "picture.png"
    array = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    Image.fromarray(array).save(path)
    return path


def classifier_of_pictures() -> Any:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.mark.parametrize("runtime", ["native", "onnxruntime"])
def test_a_keras_model_scans_and_detects(runtime: str, tmp_path: Path) -> None:
    model, image = classifier_of_pictures(), picture(tmp_path)
    fcn = fullconv.convert(model, classes=["thing", "other"])
    heatmap = fullconv.scan(fcn, image, tmp_path / "heat.zarr", runtime=runtime)
    from PIL import Image

    pixels_ = np.asarray(Image.open(image), np.float32)[None]
    expected = keras.ops.convert_to_numpy(fcn(pixels_))[0].transpose(2, 0, 1)
    assert np.abs(heatmap[:] - expected).max() <= 1e-5
    boxes = fullconv.detect(fcn, image, threshold=0.0, runtime=runtime)
    assert len(boxes) > 0


def test_the_command_line_takes_keras_files(tmp_path: Path) -> None:
    model, image = classifier_of_pictures(), picture(tmp_path)
    model.save(tmp_path / "model.keras")

    def run(*words: Any) -> str:
        command = [sys.executable, "-m", "fullconv", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("convert", "model.keras", "-o", "fcn.keras")
    told = json.loads(run("verify", "fcn.keras", image, "--original", "model.keras", "--json"))
    assert (told["passed"], told["exact"]) == (True, True)


def test_without_keras_the_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"")
    code = (
        "import sys, importlib.abc\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'keras': raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import fullconv, fullconv.errors\n"
        "try: fullconv.convert('model.keras')\n"
        "except fullconv.errors.MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == (
        "A Keras model needs the optional packages of the 'keras' extra, which are not installed. "
        'Install them with: pip install "fullconv[keras]"'
    ), done.stderr


COUNTED = {
    "attention": (lambda x: layers.MultiHeadAttention(2, 4)(x, x), 5 * 6 * 8 * 4 + 2 * 5 * 5 * 8),
    "recurrent": (lambda x: layers.Bidirectional(layers.GRU(3))(x), 2 * 5 * 9 * (6 + 3)),
    "matrices": (lambda x: ops.matmul(ops.transpose(x, (0, 2, 1)), x), 5 * 6 * 6),
    "equation": (lambda x: ops.einsum("bij,bkj->bik", x, x), 5 * 5 * 6),
    "layer": (lambda x: layers.EinsumDense("bij,jk->bik", (5, 2))(x), 5 * 6 * 2),
}
"""Layers over ``(5, 6)`` that have no record, and their multiply-accumulates."""


@pytest.mark.parametrize("name", COUNTED)
def test_layers_without_a_rule_are_counted(name):
    layer, expected = COUNTED[name]
    image = keras.Input((5, 6))
    model = keras.Model(image, layers.Flatten()(layer(layers.ReLU()(image))))
    assert fullconv.explain(model, (5,)).cost.crops == expected
