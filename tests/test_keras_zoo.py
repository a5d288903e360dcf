"""``keras:NAME`` on the command line: the applications of Keras, with their own preprocessing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import fullconv
from data import REPOSITORY
from fullconv.cli.group import commands
from fullconv.cli.zoos import build
from fullconv.cli.zoos.keras import preprocessing_of
from fullconv.errors import ModelError
from keras_models import QUIETLY, keras, keras_classifier
from oracle import assert_close, scores_of_crops, self_difference, windows_of

pytestmark = QUIETLY

h5py = pytest.importorskip("h5py")
APPLICATIONS = keras.applications
SMALL = "keras:MobileNetV3Small"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


def refusal(*arguments: Any) -> tuple[int, str]:
    done = run(*arguments)
    assert done.stdout == ""
    return done.exit_code, done.stderr


def picture() -> Any:
    """Return an image ``(1, 96, 96, 3)`` whose windows do not look alike."""
    return np.random.default_rng(0).random((1, 12, 12, 3)).repeat(8, 1).repeat(8, 2) * 255


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Return a MobileNetV3Small whose layers all pass something on, and the file of its weights."""
    keras.utils.set_random_seed(0)
    model = APPLICATIONS.MobileNetV3Small(weights=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(picture().astype(np.float32), training=True)
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    model.save_weights(path)
    return model, path


# ---------------------------------------------------------------------------------------------
# What comes with a name


# The four ways in which Keras prepares pixels: as they are, between -1 and 1, normalized, BGR.
@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [
        (APPLICATIONS.efficientnet.preprocess_input, fullconv.Preprocessing()),
        (
            APPLICATIONS.mobilenet_v2.preprocess_input,
            fullconv.Preprocessing(2 / 255, (1.0,)),
        ),
        (
            APPLICATIONS.densenet.preprocess_input,
            fullconv.Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ),
        (
            APPLICATIONS.vgg16.preprocess_input,
            fullconv.Preprocessing(1, (103.939, 116.779, 123.68), channel_order="BGR"),
        ),
    ],
    ids=["efficientnet", "mobilenet_v2", "densenet", "vgg16"],
)
def test_preprocessing_is_found_by_asking_the_applications_own(
    preprocess: Callable[..., Any], expected: fullconv.Preprocessing
) -> None:
    found = preprocessing_of(preprocess)
    assert found is not None
    assert found.channel_order == expected.channel_order
    for mine, its in (
        ((found.scale,), (expected.scale,)),
        (found.mean, expected.mean),
        (found.std, expected.std),
    ):
        assert mine == pytest.approx(its, rel=1e-11)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 50, 40), np.uint8)
    wanted = preprocess(
        pixels.transpose(0, 2, 3, 1).astype(np.float32), data_format="channels_last"
    )
    # Both round in single precision, once per step, in another order; a std makes that larger.
    rounding = 8 * np.spacing(np.abs(wanted).max())
    assert np.abs(found.apply(pixels) - wanted.transpose(0, 3, 1, 2)).max() <= rounding


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda x, data_format: x**2,
        lambda x, data_format: x.mean(-1, keepdims=True) + np.zeros(3),
        lambda x, data_format: x[..., [1, 2, 0]],
        lambda x, data_format: x * 0,
        lambda x, data_format: np.where(x > 128, 255.0, x),
    ],
    ids=["squared", "gray", "turned otherwise", "nothing", "clipped"],
)
def test_preprocessing_that_is_no_scale_mean_and_std_is_not_taken_for_one(
    preprocess: Callable[..., Any],
) -> None:
    assert preprocessing_of(preprocess) is None


def test_every_application_has_a_window_and_preprocessing_that_ours_can_do() -> None:
    for name, application in vars(APPLICATIONS).items():
        if callable(application) and not isinstance(application, type):
            module = sys.modules[application.__module__]
            assert preprocessing_of(module.preprocess_input) is not None, name


def test_a_model_in_memory_carries_what_the_library_knows(small: tuple[Any, Path]) -> None:
    fcn = fullconv.convert(build(SMALL, trained=False), exact=False)
    assert fcn.grid.window == (224, 224)
    assert fcn.preprocessing == fullconv.Preprocessing()
    assert fcn.classes == ()


def test_an_application_converts_with_weights_from_a_file_and_equals_its_crops(
    small: tuple[Any, Path], tmp_path: Path
) -> None:
    model, weights = small
    out = tmp_path / "out.keras"
    done = run("convert", SMALL, "--weights", weights, "--window", "64x64", "-o", out)
    assert done.exit_code == 0, done.stderr
    fcn = fullconv.load(out)
    assert fcn.grid.window == (64, 64)
    assert fcn.preprocessing == fullconv.Preprocessing()
    images = np.moveaxis(picture(), -1, 1)
    classify = keras_classifier(model)

    def in_order(crops: Any) -> Any:
        return classify(np.moveaxis(crops, 1, -1))

    expected = scores_of_crops(in_order, images, (64, 64), fcn.grid.step)
    actual = np.moveaxis(keras.ops.convert_to_numpy(fcn(picture())), -1, 1)
    unit = self_difference(in_order, windows_of(images, (64, 64), fcn.grid.step))
    assert np.ptp(expected, axis=(2, 3)).max() > 1000 * unit
    assert_close(actual, expected, unit, 16)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_weights_are_taken_from_whole_models_as_well(
    ending: str, small: tuple[Any, Path], tmp_path: Path
) -> None:
    model, _ = small
    path = tmp_path / f"small{ending}"
    model.save(path)
    done = run("explain", SMALL, "--weights", path, "--json")
    assert json.loads(done.stdout)["window"] == [224, 224]


# ---------------------------------------------------------------------------------------------
# As `make zoo` tries them


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that tries an architecture, from the folder benchmarks/zoo/."""
    if keras.backend.backend() != "torch":
        pytest.skip("the zoos are tried on PyTorch")
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks/zoo"))
    return pytest.importorskip("trial", reason="benchmarks/zoo/ is not beside the tests")


def test_every_window_of_an_application_equals_its_crop(trial: ModuleType) -> None:
    record = trial.attempt("keras:MobileNetV2", 64)
    assert record.outcome == "equal", record.error
    assert record.error_double is None, "the comparison in single precision decides"
    assert record.reasons == []
    assert record.approximate_reasons == {"padding": 18}
    assert record.error_approximate > 1000 * 16 * record.unit


def test_an_application_is_tried_in_double_precision_where_single_does_not_decide(
    trial: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TIMES", -1)
    record = trial.attempt("keras:MobileNetV3Small", 64)
    assert record.outcome == "equal", record.error
    # Single precision is 2 ** 29 times as coarse.
    assert record.error_double < 1e-5 * record.unit
    assert keras.config.floatx() == "float32"


def test_every_application_that_pytorch_has_is_tried(trial: ModuleType) -> None:
    from libraries import NOT_ON_PYTORCH, keras_names

    names = {name.partition(":")[2] for name in keras_names()}
    listed = {name for name in dir(APPLICATIONS) if name[0].isupper()}
    assert names == listed - set(NOT_ON_PYTORCH)
    assert len(names) >= 38


# ---------------------------------------------------------------------------------------------
# What cannot be had


def test_weights_that_cannot_be_fetched_are_told_with_their_address(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    # In a process of its own: Keras looks once where it keeps what it has fetched.
    home = {"KERAS_HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-m", "fullconv", "explain", "keras:MobileNetV2", "--json"],
        env=os.environ | nowhere | home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    address = (
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    )
    assert done.stderr.splitlines()[-2:] == [
        f"Downloading data from {address}",
        f"fullconv: error: keras:MobileNetV2: its weights could not be fetched (Exception: URL "
        f"fetch failure on {address}: None -- [Errno 111] Connection refused). Try again where "
        f"that address can be reached, or give weights that Keras saved with --weights.",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "keras:mobilenetv2",
            "keras has no classifier 'mobilenetv2'; did you mean MobileNetV2 or MobileNet?",
        ),
        ("keras:Lambda", "keras has no classifier 'Lambda'; check its name."),
        (
            "keras:resnet50",
            "keras has no classifier 'resnet50'; did you mean ResNet50 or ResNet50V2?",
        ),
    ],
)
def test_a_name_that_keras_does_not_know_is_told_with_names_like_it(name: str, said: str) -> None:
    assert refusal("explain", name) == (2, f"fullconv: error: {name}: {said}\n")


def test_without_keras_the_missing_extra_is_named() -> None:
    code = (
        "import sys\n"
        "sys.modules['keras'] = None\n"
        "from fullconv.cli.zoos import build\n"
        "from fullconv.errors import MissingExtraError\n"
        "try: build('keras:VGG16', trained=False)\n"
        "except MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == (
        "A Keras model needs the optional packages of the 'keras' extra, which are not installed. "
        'Install them with: pip install "fullconv[keras]"\n'
    ), done.stderr


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="other backends build it")
@pytest.mark.parametrize("trained", [True, False])
def test_an_application_that_the_backend_cannot_build_says_so(trained: bool) -> None:
    with pytest.raises(ModelError) as caught:
        build("keras:NASNetMobile", trained)
    assert str(caught.value) == (
        f"keras:NASNetMobile: Keras {keras.__version__} cannot build it on torch (NASNetMobile is "
        f"not available with the torch backend at this time due to an outstanding bug. If "
        f"interested, please open a PR). Choose another of its backends with KERAS_BACKEND."
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    other.save_weights(path)
    code, line = refusal("explain", SMALL, "--weights", path)
    assert code == 3
    start = f"fullconv: error: --weights {path} does not fit {SMALL}: A total of "
    assert line.startswith(start), line
    assert line.endswith(". Give the weights that were saved from such a model.\n")
    assert line.count("\n") == 1


def test_weights_of_another_network_in_the_older_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]).save(path)
    assert refusal("explain", SMALL, "--weights", path) == (
        3,
        f"fullconv: error: --weights {path} does not fit {SMALL}: Layer count mismatch when "
        f"loading weights from file. Model expected 88 layers, found 1 saved layers. Give the "
        f"weights that were saved from such a model.\n",
    )


def test_weights_of_a_network_with_more_layers_are_refused(
    small: tuple[Any, Path], tmp_path: Path
) -> None:
    path = tmp_path / "more.weights.h5"
    path.write_bytes(small[1].read_bytes())
    with h5py.File(path, "a") as held:
        held["layers/conv2d_99/vars/0"] = np.zeros(3, np.float32)
    assert refusal("explain", SMALL, "--weights", path) == (
        3,
        f"fullconv: error: --weights {path} does not fit {SMALL}: it holds 211 arrays, and the "
        f"model takes 210. Give the weights that were saved from such a model.\n",
    )


def test_weights_that_lie_in_another_file_are_refused(
    small: tuple[Any, Path], tmp_path: Path
) -> None:
    path = tmp_path / "linked.weights.h5"
    path.write_bytes(small[1].read_bytes())
    with h5py.File(path, "a") as held:
        held["layers/conv2d_99"] = h5py.ExternalLink("elsewhere.h5", "/")
    assert refusal("explain", SMALL, "--weights", path) == (
        3,
        f"fullconv: error: {path}: its weights '/layers/conv2d_99' point to another place or file; "
        f"fullconv does not follow them. Save the model again, with model.save('model.keras').\n",
    )


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".keras"])
def test_weights_that_are_cut_short_are_refused(
    ending: str, small: tuple[Any, Path], tmp_path: Path
) -> None:
    path = tmp_path / f"cut{ending}"
    path.write_bytes(small[1].read_bytes()[:1000])
    code, line = refusal("explain", SMALL, "--weights", path)
    assert code == 3
    assert line.startswith(
        f"fullconv: error: {path} is not a file of Keras' weights, or it is cut short ("
    )
    assert line.endswith("); save or copy it again.\n")


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"")
    assert refusal("explain", SMALL, "--weights", path) == (
        2,
        f"fullconv: error: --weights {path}: the kind of file is told by its ending; give what "
        f"Keras saves as .weights.h5, .h5 or .keras.\n",
    )


def test_an_application_whose_preprocessing_is_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules[APPLICATIONS.VGG16.__module__]
    monkeypatch.setattr(module, "preprocess_input", lambda x, data_format: x**2)
    with pytest.raises(ModelError) as caught:
        build("keras:VGG16", trained=False)
    assert str(caught.value) == (
        "keras:VGG16: what its preprocess_input does to pixels is not a scale, mean and std per "
        "channel; build the model in Python, and prepare its images with that function."
    )
