"""Keras over one, two and three axes: equal to the loop over crops, and shared.

Weights and pixels are small integers, and averages are over powers of two, so that scores are
compared to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fullconv
from fullconv.errors import ImageError, ModelError, WindowError
from fullconv.operations import Convolution
from keras_models import FORMATS, QUIETLY, keras, layers, ops
from networks.axes import Classifier, classifiers, pixels
from networks.axes_keras import keras_form
from networks.checks import assert_shared
from test_random_axes import SPREADING
from test_random_networks import examples

pytestmark = [
    QUIETLY,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning"),
    # What Keras says of transposed convolutions where its backends do not agree.
    pytest.mark.filterwarnings("ignore:You might experience inconsistencies:UserWarning"),
]

WINDOWS = {1: (15,), 2: (8, 9), 3: (5, 6, 4)}
MORE = (4, 3, 2)
"""Pixels by which images are longer than the window, along every axis."""
Scores = NDArray[np.float32]


def integers(shape: tuple[int, ...], most: int = 3) -> Scores:
    return np.random.default_rng(1).integers(-most, most + 1, shape).astype(np.float32)


def with_integers(model: Any) -> Any:
    """Give a model weights of small integers; variances of 4."""
    draw = np.random.default_rng(0)
    for weight in model.variables:
        numbers = draw.integers(-2, 3, weight.shape).astype(np.float32)
        weight.assign(np.full_like(numbers, 4) if "variance" in weight.path else numbers)
    return model


def array(scores: Any) -> Scores:
    return np.asarray(keras.ops.convert_to_numpy(scores))


def of_crops(model: Any, images: Scores, grid: fullconv.Grid, cut: Callable[..., Any]) -> Scores:
    """Return the scores of all windows ``(N, *windows, ...)``, forwarding one crop at a time."""
    counts = grid.shape(size_of(images, grid, cut))
    each = [
        [
            array(model.predict_on_batch(cut(image[None], grid.slices(*place))))[0]
            for place in places
        ]
        for image in images
        for places in [list(product(*map(range, counts)))]
    ]
    scores = np.asarray(each)
    return scores.reshape(len(images), *counts, *scores.shape[2:])


def size_of(images: Scores, grid: fullconv.Grid, cut: Callable[..., Any]) -> tuple[int, ...]:
    first = 2 if cut is first_cut else 1
    return images.shape[first : first + grid.dimensions]


def last_cut(image: Scores, slices: tuple[slice, ...]) -> Scores:
    return np.ascontiguousarray(image[(slice(None), *slices)])


def first_cut(image: Scores, slices: tuple[slice, ...]) -> Scores:
    return np.ascontiguousarray(image[(slice(None), slice(None), *slices)])


def vector_cut(image: Scores, slices: tuple[slice, ...]) -> Scores:
    return last_cut(image, slices).reshape(1, -1)


def check(
    model: Any, images: Scores, cut: Callable[..., Any] = last_cut, **options: Any
) -> fullconv.FullyConvolutional:
    """Convert, and compare all windows with their crops; return the conversion."""
    fcn = fullconv.convert(model, **options)
    expected = of_crops(model, images, fcn.grid, cut)
    if cut is first_cut:
        axes = fcn.grid.dimensions
        expected = np.moveaxis(expected, range(1, 1 + axes), range(-axes, 0))
    actual = array(fcn(images))
    assert actual.shape == expected.shape
    assert np.array_equal(actual, expected)
    assert fcn.report.exact or options.get("exact") is False
    return fcn


# ---------------------------------------------------------------------------------------------
# Layers, one by one


class Over:
    """Layers over so many axes, in one order."""

    def __init__(self, axes: int, data_format: str) -> None:
        self.axes, self.format = axes, data_format
        self.last = data_format == "channels_last"
        self.channels = -1 if self.last else 1

    def of(self, name: str, *args: Any, **settings: Any) -> Any:
        """Return the layer of this name for so many axes; "{}" is their number."""
        kind = getattr(layers, name.format(self.axes))
        if "Dropout" not in name:
            settings["data_format"] = self.format
        return kind(*args, **settings)

    def conv(self, filters: int = 3, kernel: int = 3, **settings: Any) -> Any:
        return self.of("Conv{}D", filters, kernel, **settings)

    def pairs(self, before: int, after: int) -> Any:
        return ((before, after),) * self.axes if self.axes > 1 else (before, after)

    def one_axis_last(self, name: str, *args: Any) -> Any:
        """Return a layer that over one axis has no order but channels last."""
        if self.axes > 1:
            return self.of(name, *args)
        kind = getattr(layers, name.format(1))
        if self.last:
            return kind(*args)
        turn = layers.Permute((2, 1))
        return lambda x: turn(kind(*args)(turn(x)))

    def model(self, *body: Any) -> Any:
        """Return a classifier: what is given, Flatten and Dense."""
        size = WINDOWS[self.axes]
        x = image = keras.Input((*size, 2) if self.last else (2, *size))
        for layer in (*body, layers.Flatten(self.format), layers.Dense(3)):
            x = layer(x)
        return with_integers(keras.Model(image, x))

    def images(self, more: bool = True) -> Scores:
        size = [n + MORE[axis] * more for axis, n in enumerate(WINDOWS[self.axes])]
        return integers((1, *size, 2) if self.last else (1, 2, *size))

    def check(self, model: Any, **options: Any) -> fullconv.FullyConvolutional:
        images = self.images(options.get("exact", True))
        return check(model, images, last_cut if self.last else first_cut, **options)


ANYWHERE: dict[str, Callable[[Over], list[Any]]] = {
    "convolution": lambda o: [o.conv(activation="relu")],
    "same padding": lambda o: [o.conv(padding="same"), o.conv(padding="same", activation="relu")],
    "same padding at stride 2": lambda o: [o.conv(padding="same", strides=2)],
    "dilated convolution": lambda o: [o.conv(3, 2, dilation_rate=2)],
    "grouped convolution": lambda o: [o.conv(4, 2), o.conv(4, 2, groups=2)],
    "max pool": lambda o: [o.of("MaxPooling{}D", 3, 2, "same")],
    "average pool": lambda o: [o.conv(3, 2), o.of("AveragePooling{}D", 2)],
    "adaptive pool": lambda o: [o.conv(), o.of("AdaptiveMaxPooling{}D", 2)],
    "global pool": lambda o: [o.conv(padding="same"), o.of("GlobalMaxPooling{}D")],
    "padding and cropping": lambda o: [
        o.of("ZeroPadding{}D", o.pairs(1, 2)),
        o.one_axis_last("Cropping{}D", o.pairs(2, 1)),
        o.conv(3, 2),
    ],
    "batch normalization": lambda o: [
        o.conv(padding="same"),
        layers.BatchNormalization(o.channels, epsilon=0.0),
        o.of("SpatialDropout{}D", 0.5),
    ],
    "prelu": lambda o: [
        o.conv(),
        layers.PReLU(shared_axes=[1 + n + (not o.last) for n in range(o.axes)]),
    ],
    "turned": lambda o: [o.conv(), layers.Permute(tuple(range(1 + o.axes, 0, -1)))],
    "residual": lambda o: [lambda x: layers.Add()([x, o.conv(2, padding="same")(x)])],
    "flip of the channels": lambda o: [o.conv(), lambda x: ops.flip(x, axis=o.channels)],
    "roll of the channels": lambda o: [o.conv(), lambda x: ops.roll(x, 1, axis=o.channels)],
    "index of the channels": lambda o: [
        o.conv(),
        lambda x: ops.take(x, [2, 0, 1, 2], axis=o.channels),
    ],
}
BELOW_THREE: dict[str, Callable[[Over], list[Any]]] = {
    "depthwise convolution": lambda o: [
        o.of("DepthwiseConv{}D", 3, padding="same", depth_multiplier=2)
    ],
    "separable convolution": lambda o: [o.of("SeparableConv{}D", 3, 2, padding="same")],
}
CAUSAL: dict[str, Callable[[Over], list[Any]]] = {
    "causal convolution": lambda o: [
        o.conv(padding="causal", dilation_rate=2),
        o.conv(padding="causal", strides=2),
    ],
}
SPREAD: dict[str, Callable[[Over], list[Any]]] = {
    "upsampling": lambda o: [o.conv(strides=2), o.one_axis_last("UpSampling{}D", 2), o.conv(2, 2)],
    "transposed": lambda o: [o.conv(2, 2), o.of("Conv{}DTranspose", 3, 2, strides=2)],
    "transposed, kernel below the stride": lambda o: [
        o.conv(2, 2),
        o.of("Conv{}DTranspose", 3, 1, strides=2),
    ],
    "transposed, same": lambda o: [
        o.conv(2, 2, strides=2),
        o.of("Conv{}DTranspose", 2, 2, strides=2, padding="same"),
    ],
}
"""What makes cells finer: shared where windows are a multiple of the cells apart."""


def cases(*tables: tuple[dict[str, Any], tuple[int, ...]]) -> list[Any]:
    """Return a case for each network and number of axes, the two orders taking turns."""
    every = [
        (name, axes, made)
        for table, most in tables
        for axes in most
        for name, made in table.items()
    ]
    return [
        pytest.param(Over(axes, FORMATS[n % 2]), made, id=f"{name}, {axes}, {FORMATS[n % 2]}")
        for n, (name, axes, made) in enumerate(every)
    ]


SHARED = cases((ANYWHERE, (1, 2, 3)), (BELOW_THREE, (1, 2)), (CAUSAL, (1,)))


@pytest.mark.parametrize(("over", "body"), SHARED)
def test_windows_share_every_layer_and_equal_their_crops(over: Over, body: Any) -> None:
    model = over.model(*body(over))
    assert_shared(over.check(model))
    assert not list(over.check(model, step=(2, 1, 3)[: over.axes]).report.reasons)


@pytest.mark.parametrize(("over", "body"), cases((SPREAD, (1, 2, 3))))
def test_finer_cells_are_shared_at_the_networks_own_step(over: Over, body: Any) -> None:
    model = over.model(*body(over))
    assert_shared(over.check(model, step=(2,) * over.axes))
    why = [reason.why for reason in over.check(model, step=1).report.reasons]
    assert all(reason.startswith(SPREADING) for reason in why)


@pytest.mark.parametrize(("over", "body"), SHARED[::3])
def test_the_approximate_form_is_the_classifier_at_its_own_size(over: Over, body: Any) -> None:
    assert not over.check(over.model(*body(over)), exact=False).report.per_window


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_transposed_convolutions_give_what_keras_gives(
    kernel: int, stride: int, padding: str
) -> None:
    over = Over(1, FORMATS[kernel % 2])
    settings = {"strides": stride, "padding": padding}
    for more in [None, *range(stride)]:
        layer = over.of("Conv{}DTranspose", 2, kernel, output_padding=more, **settings)
        over.check(over.model(over.conv(2, 2, strides=2), layer), step=2)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_any_network_equals_its_crops(axes: int) -> None:
    @given(classifiers(axes), st.sampled_from(FORMATS))
    @examples(25)
    def each(case: Classifier, data_format: str) -> None:
        model = keras_form(case, data_format)
        last, images = data_format == "channels_last", pixels(case, 1)
        if last:
            images = np.moveaxis(images, 1, -1)
        fcn = check(model, images, last_cut if last else first_cut, step=case.step)
        why = [reason.why for reason in fcn.report.reasons]
        assert all(reason.startswith(SPREADING) for reason in why), why

    each()


# ---------------------------------------------------------------------------------------------
# What a classifier takes


def sequence(shape: tuple[int, ...], *body: Any) -> Any:
    x = image = keras.Input(shape, name="image")
    for layer in body:
        x = layer(x)
    return with_integers(keras.Model(image, x))


HEAD = [layers.Flatten, lambda: layers.Dense(2)]


def head() -> list[Any]:
    return [make() for make in HEAD]


def test_signals_without_an_axis_of_channels() -> None:
    body = [layers.Reshape((16, 1)), layers.Conv1D(3, 3, padding="same"), layers.MaxPooling1D()]
    fcn = check(sequence((16,), *body, *head()), integers((2, 23)), window=(16,))
    assert_shared(fcn)
    assert array(fcn(integers((2, 23)))).shape == (2, 4, 2)
    assert type(fcn.model.layers[1]).__name__ == "OneChannel"


def test_images_without_an_axis_of_channels() -> None:
    body = [layers.Reshape((9, 8, 1)), layers.Conv2D(3, 3, padding="same")]
    model = sequence((9, 8), *body, *head())
    assert_shared(check(model, integers((1, 12, 13)), window=(9, 8), step=(2, 3)))


def test_volumes_without_an_axis_of_channels(tmp_path: Path) -> None:
    body = [layers.Reshape((4, 5, 6, 1)), layers.Conv3D(2, 2, padding="same")]
    images = integers((1, 6, 7, 7))
    fcn = check(sequence((4, 5, 6), *body, *head()), images, window=(4, 5, 6))
    assert_shared(fcn)
    assert_stored(fcn, images, images, tmp_path)


def test_two_axes_without_a_window_are_one_axis_and_channels() -> None:
    model = sequence((9, 4), layers.Conv1D(3, 3, padding="same"), *head())
    fcn = check(model, integers((1, 13, 4)))
    assert fcn.grid.window == (9,)
    assert fcn.shape.channels == 4
    assert_shared(fcn)


@pytest.mark.parametrize("window", [None, (), (1, 1), (1, 1, 1)])
def test_a_classifier_of_vectors_answers_for_every_pixel(window: Any, tmp_path: Path) -> None:
    norm = layers.BatchNormalization(epsilon=0.0)
    model = sequence((7,), layers.Dense(5, activation="relu"), norm, layers.Dense(3))
    size = (4, 5, 2)[: len(window or (1, 1))]
    images = integers((1, *size, 7))
    fcn = check(model, images, vector_cut, window=window)
    assert_shared(fcn)
    kinds = {type(layer).__name__ for layer in fcn.model.layers[1:]}
    assert kinds == {f"Conv{len(size)}D", "BatchNormalization"}
    assert_stored(fcn, images, np.moveaxis(images, -1, 1), tmp_path)


def test_filters_along_a_spectrum_become_an_axis_of_their_own(tmp_path: Path) -> None:
    model = sequence((9,), layers.Reshape((9, 1)), layers.Conv1D(2, 3, padding="same"), *head())
    images = integers((1, 4, 5, 9))
    fcn = check(model, images, vector_cut)
    assert_shared(fcn)
    assert_stored(fcn, images, np.moveaxis(images, -1, 1), tmp_path)


@pytest.mark.parametrize("turned", [False, True])
def test_recordings_with_electrodes_as_features(turned: bool) -> None:
    """An EEG network: filters along time, then one over all electrodes."""
    body = [
        layers.Conv2D(2, (1, 5), padding="same"),
        layers.DepthwiseConv2D((6, 1), depth_multiplier=2),
        layers.AveragePooling2D((1, 4)),
        *head(),
    ]
    if turned:
        model = sequence((20, 6), layers.Permute((2, 1)), layers.Reshape((6, 20, 1)), *body)
        assert_shared(check(model, integers((1, 31, 6))))
    else:
        model = sequence((6, 20), layers.Reshape((6, 20, 1)), *body)
        assert_shared(check(model, integers((1, 6, 31)), window=(6, 20)))


def test_a_window_behind_channels_that_come_first_is_given_along_all_axes() -> None:
    body = [layers.Permute((2, 1)), layers.Conv1D(3, 3, padding="same"), *head()]
    model = sequence((4, 9), *body)
    with pytest.raises(WindowError) as caught:
        fullconv.convert(model, window=(9,))
    assert str(caught.value) == (
        "convert(window=(9,)): the model takes recordings of 4 samples and no other; leave the "
        "window out, or give (4,); where its channels come first, give (4, 9), a window along all "
        "axes."
    )
    assert_shared(check(model, integers((1, 4, 13)), window=(4, 9)))


def test_an_axis_as_long_as_its_window_is_fixed(tmp_path: Path) -> None:
    body = [layers.Reshape((6, 20, 1)), layers.Conv2D(2, 3, padding="same"), *head()]
    model = sequence((6, 20), *body)
    images = integers((1, 6, 31))
    fcn = check(model, images, window=(6, 20), image=(6, 31))
    assert fcn.shape.fixed == (0,)
    assert_stored(fcn, images, images, tmp_path)
    with pytest.raises(ImageError, match="converted for images of 6 pixels along axis 0"):
        fcn(integers((1, 7, 31)))


def test_a_mask_is_handed_on() -> None:
    body = [layers.Masking(2.0), layers.GlobalAveragePooling1D(), layers.Dense(2)]
    fcn = check(sequence((4, 1), *body), integers((1, 9, 1), most=2))
    assert [reason.operation for reason in fcn.report.reasons][:1] == ["Masking"]


def test_reflected_borders_belong_to_each_window() -> None:
    width = ((0, 0), (1, 2), (2, 1), (0, 0))
    padded = [layers.Conv2D(3, 3), lambda x: ops.pad(x, width, mode="reflect"), layers.Conv2D(2, 3)]
    model = sequence((9, 8, 2), *padded, *head())
    assert_shared(check(model, integers((1, 13, 12, 2))))
    assert_shared(check(model, integers((1, 13, 12, 2)), step=(2, 1)))


# ---------------------------------------------------------------------------------------------
# Files


def assert_stored(fcn: Any, images: Scores, as_onnx: Scores, folder: Path) -> None:
    """Require the same scores of a conversion that was saved in either form."""
    fcn.save(folder / "model.keras")
    scores = array(fcn(images))
    assert np.array_equal(array(fullconv.load(folder / "model.keras")(images)), scores)
    fcn.save(folder / "model.onnx")
    core = array(fcn.scores(fcn.shape.as_map(as_onnx)))
    assert np.array_equal(fullconv.load(folder / "model.onnx")(as_onnx), core)


@pytest.mark.parametrize(("over", "body"), [*SHARED[1::6], *cases((SPREAD, (3, 1)))[::3]])
def test_saved_and_as_onnx_it_gives_the_same_scores(over: Over, body: Any, tmp_path: Path) -> None:
    fcn = fullconv.convert(over.model(*body(over)), step=(2, 1, 3)[: over.axes])
    images = over.images()
    assert_stored(fcn, images, np.moveaxis(images, -1, 1) if over.last else images, tmp_path)


def classifier_of_before() -> Any:
    """Return the classifier that was converted to the file in `files`."""
    image = keras.Input((8, 7, 2), name="image")
    x = layers.Conv2D(2, 3, padding="same", name="conv")(image)
    x = layers.DepthwiseConv2D(2, padding="same", name="depthwise")(x)
    most = layers.Reshape((1, 2), name="two")(layers.GlobalMaxPooling2D(name="most")(x))
    x = layers.AveragePooling2D(3, 1, padding="same", name="pool")(x)
    flat = layers.Flatten(name="flat")
    turned = flat(ops.flip(x, axis=1))
    scores = layers.Dense(3, name="scores")(flat(x))
    model = keras.Model(image, [scores, most, layers.Dense(2, name="turned")(turned)])
    return with_integers(model)


def test_a_file_of_before_there_were_axes_opens_as_it_was(tmp_path: Path) -> None:
    path = Path(__file__).parent / "files" / "converted-before-axes.keras"
    stored, made = fullconv.load(path), fullconv.convert(classifier_of_before(), step=(2, 1))
    images = integers((1, 11, 9, 2))
    stored.save(tmp_path / "again.keras")
    again = fullconv.load(tmp_path / "again.keras")
    for held, wanted, saved in zip(stored(images), made(images), again(images), strict=True):
        assert np.array_equal(array(held), array(wanted))
        assert np.array_equal(array(saved), array(held))
    stored.save(tmp_path / "again.onnx")
    exported = fullconv.load(tmp_path / "again.onnx")(np.moveaxis(images, -1, 1))
    for held, wanted in zip(exported, stored.scores(np.moveaxis(images, -1, 1)), strict=True):
        assert np.abs(held - array(wanted)).max() <= 1e-6 * np.abs(held).max()


# ---------------------------------------------------------------------------------------------
# What is refused


def refusal(action: Callable[[], Any], kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def test_messages_speak_of_the_axes_that_there_are() -> None:
    signal = sequence((9, 4), layers.Conv1D(3, 3), *head())
    assert refusal(lambda: fullconv.convert(signal, window=(8,)), WindowError) == (
        "convert(window=(8,)): the model takes recordings of 9 samples and no other; leave the "
        "window out, or give (9,)."
    )
    assert refusal(lambda: fullconv.convert(signal, window=(8, 8, 8)), WindowError) == (
        "convert(window=(8, 8, 8)): expected one whole number, (samples), for the model takes "
        "(None, 9, 4), of 3 axes; or 2 where none of its axes is one of channels."
    )
    free = sequence((None, None, None, 2), layers.Conv3D(2, 2), layers.GlobalMaxPooling3D())
    assert refusal(lambda: fullconv.convert(free), WindowError) == (
        "convert: the model leaves depth and height and width free, so the window it was trained "
        "on must be given: window=(depth, height, width), or --window WIDTHxHEIGHTxDEPTH."
    )
    assert refusal(lambda: fullconv.convert(signal)(integers((1, 4, 12))), ImageError) == (
        "fcn(images): the model takes its channels last, (N, L, 4); got shape (1, 4, 12). For one "
        "image add the first axis: images[None]."
    )
    deep = sequence((2, 2, 2, 2, 2), layers.Flatten())
    assert refusal(lambda: fullconv.convert(deep), ModelError).startswith(
        "convert: expected a model with one image input (N, H, W, C); the model's inputs are "
    )


def test_a_second_writer_is_refused() -> None:
    from fullconv.frameworks.keras.writing import writes

    with pytest.raises(RuntimeError, match="Convolution already has a writer, in fullconv"):
        writes(Convolution)(lambda writing, node, operation: writing.held(node))
