"""Models that Keras 1, Keras 2 and tf.keras saved have the scores that those gave them.

Where they are from is in ``old_keras/README.md``.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import fullconv
from data import data_file
from fullconv.cli.group import commands
from fullconv.errors import FullconvError, ModelError, ModelWarning, UnsafeModelError
from keras_models import QUIETLY, keras
from oracle import assert_close, scores_of_crops, self_difference, windows_of

h5py = pytest.importorskip("h5py")
open_archive: Callable[[Path], Any] = pytest.importorskip(
    "fullconv.frameworks.keras.archive"
).open_archive
layers = keras.layers

pytestmark = QUIETLY

ARCHIVE = Path(__file__).parent / "old_keras" / "files.zip"
with zipfile.ZipFile(ARCHIVE) as _held:
    HELD = {name: _held.read(name) for name in _held.namelist()}
FILES = [name for name in HELD if not name.endswith(".npz")]

Arrays = dict[str, list[tuple[str, Any]]]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


def file_of(name: str, folder: Path, ending: str = ".h5") -> Path:
    path = folder / f"model{ending}"
    path.write_bytes(HELD[f"{name}.h5"])
    return path


def given(name: str) -> tuple[Any, Any]:
    """Return images, and what the Keras that wrote a file gave for them."""
    arrays = np.load(io.BytesIO(HELD[f"{name}.npz"]))
    return arrays["x"], arrays["y"]


def scores(model: Any, x: Any) -> Any:
    return model.predict_on_batch(x)


def write(
    path: Path, config: Any, arrays: Arrays, version: str = "1.2.2", whole: bool = True
) -> Path:
    """Write a file as Keras 1 or 2 does."""
    with h5py.File(path, "w") as held:
        group = held.create_group("model_weights") if whole else held
        if whole:
            held.attrs["keras_version"] = version
            held.attrs["model_config"] = json.dumps(config)
        if not version.startswith("1"):
            group.attrs["keras_version"] = version
        group.attrs["layer_names"] = [name.encode() for name in arrays]
        for layer, entries in arrays.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name, _ in entries]
            for name, array in entries:
                inner[name] = array
    return path


def one(kind: str, **settings: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), **settings}}


def in_a_row(*entries: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": list(entries)}


def convolution(**settings: Any) -> dict[str, Any]:
    """One of Keras 1, on grey images of 6x6."""
    given = {"nb_filter": 2, "nb_row": 3, "nb_col": 3, "dim_ordering": "tf"}
    return one("Convolution2D", batch_input_shape=[None, 6, 6, 1], **given, **settings)


KERNEL = np.arange(18, dtype=np.float32).reshape(3, 3, 1, 2)
OF_ONE: Arrays = {
    "convolution2d": [("convolution2d_W:0", KERNEL), ("convolution2d_b:0", np.zeros(2))]
}


def refused(path: Path, kind: type[Exception] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        fullconv.convert(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------------------------------
# Scores


@pytest.mark.parametrize("file", FILES)
def test_a_file_has_the_scores_that_its_own_keras_gave(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_bytes(HELD[file])
    model, metadata = open_archive(path)
    x, y = given(Path(file).stem)
    actual = scores(model, x)
    # Both sum the same few hundred numbers in single precision, each in an order of its own.
    bound = 16 * np.spacing(np.float32(np.abs(y).max()))
    assert metadata == {}
    assert np.abs(actual - y).max() <= bound
    assert np.abs(actual[::-1] - y).max() > 100 * bound  # other scores are told apart


def test_the_archive_has_files_of_both() -> None:
    kinds = [(file.partition("_")[0], Path(file).suffix) for file in FILES]
    assert Counter(kinds) == {("keras1", ".h5"): 11, ("keras2", ".h5"): 11, ("keras2", ".keras"): 4}


def characters() -> Any:
    return keras.Sequential(
        [
            keras.Input((23, 23, 1)),
            layers.Conv2D(8, 3, activation="relu", name="convolution2d_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 6, activation="relu", name="convolution2d_2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu", name="dense_1"),
            layers.Dense(3, activation="softmax", name="dense_2"),
        ]
    )


def recordings() -> Any:
    first: Any = {"data_format": "channels_first", "use_bias": False}
    return keras.Sequential(
        [
            keras.Input((1, 60, 151)),
            layers.Conv2D(8, (1, 32), padding="same", **first, name="conv2d"),
            layers.BatchNormalization(axis=1, name="batch_normalization"),
            layers.DepthwiseConv2D((60, 1), depth_multiplier=2, **first, name="depthwise_conv2d"),
            layers.BatchNormalization(axis=1, name="batch_normalization_1"),
            layers.ELU(),
            layers.AveragePooling2D((1, 4), data_format="channels_first"),
            layers.SeparableConv2D(16, (1, 16), padding="same", **first, name="separable_conv2d"),
            layers.BatchNormalization(axis=1, name="batch_normalization_2"),
            layers.ELU(),
            layers.AveragePooling2D((1, 8), data_format="channels_first"),
            layers.Flatten(data_format="channels_first"),
            layers.Dense(4, activation="softmax", name="dense"),
        ]
    )


PUBLISHED = {"char_judgement1.h5": characters, "EEGNet-8-2-weights.h5": recordings}


def by_hand(path: Path, build: Callable[[], Any]) -> Any:
    """Return a network built again, with the arrays of a file as they are."""
    model = build()
    with h5py.File(path) as held:
        group = held["model_weights"]
        for layer in model.layers:
            if layer.weights:
                names = group[layer.name].attrs["weight_names"]
                layer.set_weights([group[layer.name][name] for name in names])
    return model


@pytest.mark.filterwarnings("ignore::fullconv.errors.ModelWarning")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_is_the_network_that_is_built_by_hand(name: str) -> None:
    path = data_file(f"old_keras/{name}")
    expected, (model, _) = by_hand(path, PUBLISHED[name]), open_archive(path)
    x = np.random.default_rng(0).normal(0, 1, (4, *expected.input_shape[1:])).astype(np.float32)
    assert np.ptp(scores(expected, x)) > 0.1
    np.testing.assert_array_equal(scores(model, x), scores(expected, x))


@pytest.mark.filterwarnings("ignore::fullconv.errors.ModelWarning")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_equals_its_crops(name: str) -> None:
    path = data_file(f"old_keras/{name}")
    fcn, model = fullconv.convert(path), by_hand(path, PUBLISHED[name])
    height, width = fcn.grid.window
    first = name.startswith("EEG")
    size = (height + 3, width + 40)
    x = np.random.default_rng(0).normal(0, 1, (1, 1, *size)).astype(np.float32)

    def classify(crops: Any) -> Any:
        return scores(model, crops if first else np.moveaxis(crops, 1, -1))

    actual = keras.ops.convert_to_numpy(fcn(x if first else np.moveaxis(x, 1, -1)))
    actual = actual if first else np.moveaxis(actual, -1, 1)
    expected = scores_of_crops(classify, x, fcn.grid.window, fcn.grid.step)
    unit = self_difference(classify, windows_of(x, fcn.grid.window, fcn.grid.step))
    assert fcn.report.exact
    assert_close(actual, expected, unit, 32)


def test_a_file_is_scanned_with_no_code(tmp_path: Path) -> None:
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(photo)
    path = file_of("keras2_prepared_caffe", tmp_path, ".hdf5")
    done = run("scan", path, photo, "-o", tmp_path / "heat.zarr")
    assert done.exit_code == 0, done.output
    assert "equal: the scores are the crops' own" in done.output


# ---------------------------------------------------------------------------------------------
# Architectures beside weights


def apart(name: str, folder: Path) -> tuple[Path, Path]:
    """Write the architecture of a file, and its weights alone."""
    whole, weights = file_of(name, folder), folder / "network_weights.hdf5"
    architecture = folder / "network.json"
    with h5py.File(whole) as held, h5py.File(weights, "w") as made:
        config = json.loads(held.attrs["model_config"])
        told = {"keras_version": held.attrs["keras_version"], "backend": "tensorflow"}
        architecture.write_text(json.dumps(config | told))
        group = held["model_weights"]
        made.attrs.update(group.attrs)
        for layer in group:
            held.copy(group[layer], made)
    whole.unlink()
    return architecture, weights


@pytest.mark.parametrize("name", ["keras1_nested", "keras2_activated"])
def test_an_architecture_takes_the_weights_beside_it(name: str, tmp_path: Path) -> None:
    architecture, weights = apart(name, tmp_path)
    x, y = given(name)
    for path in (architecture, weights):
        model, _ = open_archive(path)
        np.testing.assert_allclose(scores(model, x), y, atol=16 * np.spacing(np.abs(y).max()))


def test_an_architecture_takes_the_weights_that_are_named(tmp_path: Path) -> None:
    architecture, weights = apart("keras2_activated", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    weights = weights.rename(elsewhere / "best.h5")
    done = run("explain", architecture, "--weights", weights)
    assert done.exit_code == 0, done.output
    done = run("explain", architecture)
    assert done.exit_code == 3
    assert f"{architecture} is an architecture, and no weights lie beside it; name them with "
    assert "--weights, or call them network.h5" in done.stderr


def test_an_architecture_with_several_weights_says_so(tmp_path: Path) -> None:
    architecture, weights = apart("keras2_activated", tmp_path)
    weights.rename(tmp_path / "a.h5")
    (tmp_path / "b.hdf5").write_bytes(b"")
    assert refused(architecture) == (
        f"{architecture} is an architecture, and several weights (a.h5, b.hdf5) lie beside it; "
        f"name them with --weights, or call them network.h5."
    )


def test_an_architecture_of_keras_3_takes_its_weights(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(2)])
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(tmp_path / "model.weights.h5")
    x = np.random.default_rng(0).normal(0, 1, (3, 6, 6, 1)).astype(np.float32)
    for name in ("model.json", "model.weights.h5"):
        opened, _ = open_archive(tmp_path / name)
        np.testing.assert_array_equal(scores(opened, x), scores(model, x))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"class_name": "Model"}', "[" * 100_000])
def test_a_json_that_is_no_architecture_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    assert refused(path).startswith(
        f"{path} is not an architecture that Keras wrote with model.to_json(), or it is cut short ("
    )


def test_layers_with_other_names_meet_their_weights_in_order(tmp_path: Path) -> None:
    renamed = {"conv2d_7": [(f"conv2d_7_{n[-3]}:0", a) for n, a in OF_ONE["convolution2d"]]}
    path = write(tmp_path / "model.h5", in_a_row(convolution(), one("Flatten")), renamed)
    model, _ = open_archive(path)
    np.testing.assert_array_equal(model.layers[1].get_weights()[0], KERNEL)


# ---------------------------------------------------------------------------------------------
# Kernels that Theano turned round


def theano(path: Path, backend: str = "") -> Path:
    arrays = {k: [(n.partition(":")[0], a) for n, a in v] for k, v in OF_ONE.items()}
    write(path, in_a_row(convolution(), one("Flatten")), arrays)
    if backend:
        with h5py.File(path, "a") as held:
            held["model_weights"].attrs["backend"] = backend
    return path


def test_kernels_that_may_be_of_theano_are_told_and_left(tmp_path: Path) -> None:
    path = theano(tmp_path / "model.h5")
    with pytest.warns(ModelWarning) as caught:
        model, _ = open_archive(path)
    assert [str(warning.message) for warning in caught] == [
        f"{path}: by the names of its weights, Keras 1 saved it on Theano, which turns kernels "
        f"round; they are taken as they are, as Keras 2 does. Where the scores make no sense, set "
        f"the attribute 'backend' beside its 'layer_names' to 'theano' with h5py ('tensorflow' "
        f"says that they are right)."
    ]
    np.testing.assert_array_equal(model.layers[1].get_weights()[0], KERNEL)
    assert run("explain", path).output.count("note     ") == 1


def test_kernels_that_are_of_theano_are_turned_round(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        turned, _ = open_archive(theano(tmp_path / "theano.h5", "theano"))
        left, _ = open_archive(theano(tmp_path / "tensorflow.h5", "tensorflow"))
    np.testing.assert_array_equal(turned.layers[1].get_weights()[0], KERNEL[::-1, ::-1])
    np.testing.assert_array_equal(left.layers[1].get_weights()[0], KERNEL)


# ---------------------------------------------------------------------------------------------
# What is refused

AGAIN = "load the weights there, and convert that model in Python."
OF_TODAY = f"write the network with its own layers, {AGAIN}"
VERSION = keras.__version__


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (one("Highway"), "its 'Highway' is not one of Keras' own, and no such class is registered"),
        (
            one("BatchNormalization", mode=2),
            "its layer 'batchnormalization' (BatchNormalization) cannot be made with Keras "
            f"{VERSION} (it normalizes by the batch that it is given (mode 2), also in use); ",
        ),
        (
            one("Merge", mode="cos"),
            f"its layer 'merge' (Merge) cannot be made with Keras {VERSION} (no layer of today "
            f"merges by 'cos'); ",
        ),
        (
            one("MaxPooling2D", fractional=True),
            f"its layer 'maxpooling2d' (MaxPooling2D) cannot be made with Keras {VERSION} (it has "
            f"the setting 'fractional' (True)); {OF_TODAY}",
        ),
        (
            one("Activation", activation="mine"),
            f"its layer 'activation' (Activation) cannot be made with Keras {VERSION} (Keras has "
            f"no activation 'mine'); {OF_TODAY}",
        ),
        (
            one("UpSampling2D", interpolation="bilinear"),
            f"its layer 'upsampling2d' (UpSampling2D) cannot be made with Keras {VERSION} (how it "
            f"interpolates (bilinear) depends on the version of TensorFlow, which the file does "
            f"not say); {OF_TODAY}",
        ),
    ],
)
def test_a_layer_that_is_none_of_today_is_named(entry: Any, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.h5", in_a_row(convolution(), entry), OF_ONE)
    message = refused(path)
    assert message.startswith(f"{path}: {words}")
    assert message.endswith("convert that model in Python.") or "convert the model" in message


def test_a_row_that_begins_with_several_models_says_so(tmp_path: Path) -> None:
    merge = one("Merge", mode="sum", layers=[in_a_row(convolution())], batch_input_shape=[None, 4])
    path = write(tmp_path / "model.h5", in_a_row(merge), {})
    assert "it joins models that each take an image of their own" in refused(path)


def test_a_row_that_does_not_say_its_image_says_so(tmp_path: Path) -> None:
    entry = convolution()
    del entry["config"]["batch_input_shape"]
    path = write(tmp_path / "model.h5", in_a_row(entry), OF_ONE)
    assert refused(path) == (
        f"{path} does not say what image its first layer takes (no batch_input_shape, and no "
        f"build_input_shape); write the network with Keras 3, beginning with "
        f"keras.Input((height, width, channels)), {AGAIN}"
    )


def test_weights_of_another_size_say_so(tmp_path: Path) -> None:
    arrays = {"convolution2d": [("convolution2d_W:0", KERNEL[:2]), ("b:0", np.zeros(2))]}
    path = write(tmp_path / "model.h5", in_a_row(convolution()), arrays)
    assert refused(path) == (
        f"{path}: the weights of its layer 'convolution2d' do not fit it: expected kernel 3x3x1x2, "
        f"bias 2; got convolution2d_W:0 2x3x1x2, b:0 2. Give the weights that were saved from this "
        f"network."
    )


def test_weights_of_other_layers_say_so(tmp_path: Path) -> None:
    arrays = {"dense": [("dense_W:0", np.zeros((2, 2)))], **OF_ONE}
    path = write(tmp_path / "model.h5", in_a_row(convolution()), arrays)
    assert refused(path) == (
        f"{path}: its weights are of other layers than its network's: the network has no 'dense'. "
        f"Give the weights that were saved from this network."
    )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (one("Lambda", function=["4wAAAA==", None, None]), "'Lambda', and loading that would run"),
        (one("StringLookup"), "'StringLookup', which reads other files"),
        (
            one("Activation", activation={"class_name": "__lambda__", "config": {}}),
            "'__lambda__', and loading that would run",
        ),
    ],
)
def test_code_in_an_old_file_is_refused(entry: Any, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.hdf5", in_a_row(convolution(), entry), OF_ONE)
    assert refused(path, UnsafeModelError).startswith(f"{path}: it holds {words}")


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.hdf5", in_a_row(convolution()), OF_ONE)
    with h5py.File(path, "a") as held:
        del held["model_weights/convolution2d/convolution2d_W:0"]
        held["model_weights/convolution2d/convolution2d_W:0"] = h5py.ExternalLink("x.h5", "/y")
    assert "point to another place or file" in refused(path, UnsafeModelError)


def test_layers_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    entries = (convolution(), one("Flatten"), one("Dense", output_dim=1_000_000_000))
    path = write(tmp_path / "model.h5", in_a_row(*entries), OF_ONE)
    assert "its layers take 33000000020 numbers, and the file holds 20" in refused(path)


def test_code_in_an_old_keras_archive_is_refused(tmp_path: Path) -> None:
    path, good = tmp_path / "model.keras", io.BytesIO(HELD["keras2_nested.keras"])
    with zipfile.ZipFile(good) as held, zipfile.ZipFile(path, "w") as made:
        config = json.loads(held.read("config.json"))
        config["config"]["layers"][-1] = one("Lambda", function=["4wAAAA==", None, None])
        made.writestr("config.json", json.dumps(config))
        for name in ("metadata.json", "model.weights.h5"):
            made.writestr(name, held.read(name))
    assert "it holds 'Lambda', and loading that would run" in refused(path, UnsafeModelError)


def test_models_that_call_each_other_without_end_are_refused(tmp_path: Path) -> None:
    """Each of thirty models calls the next one twice: a billion layers."""
    model: dict[str, Any] = in_a_row(one("Activation", activation="relu"))
    for number in range(30):
        name = f"inner_{number}"
        source = {"class_name": "InputLayer", "name": "x", "inbound_nodes": []}
        source["config"] = {"batch_input_shape": [None, 6, 6, 1], "name": "x"}
        twice = [[["x", 0, 0]], [[name, 1, 0]]]
        layers = [source, {**model, "name": name, "inbound_nodes": twice}]
        ends = {"input_layers": [["x", 0, 0]], "output_layers": [[name, 2, 0]]}
        model = {"class_name": "Model", "config": {"name": name, "layers": layers, **ends}}
    path = write(tmp_path / "model.h5", model, {}, "2.2.4")
    assert refused(path) == (
        f"{path}: with the models inside it written out, it has more than 50000 layers; fullconv "
        f"reads no larger one."
    )


@pytest.mark.parametrize(
    "change",
    [
        {"layers": []},
        {"layers": 3},
        {"input_layers": [["nowhere", 0, 0]]},
        {"output_layers": [["x", 0, 7]]},
        {"output_layers": [["x", -1, 0]]},
    ],
)
def test_a_network_that_leads_nowhere_is_one_line(change: Any, tmp_path: Path) -> None:
    source = {"class_name": "InputLayer", "name": "x", "inbound_nodes": []}
    source["config"] = {"batch_input_shape": [None, 6, 6, 1], "name": "x"}
    config = {"layers": [source], "input_layers": [["x", 0, 0]], "output_layers": [["x", 0, 0]]}
    model = {"class_name": "Model", "config": config | change}
    with pytest.raises(FullconvError) as caught:
        fullconv.convert(write(tmp_path / "model.h5", model, {}, "2.2.4"))
    assert "\n" not in str(caught.value)
