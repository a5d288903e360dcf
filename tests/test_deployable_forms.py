"""What a deployable model is made of: Keras, channels last, recordings; and what else runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import fullconv
from data import data_file, mosaic
from fullconv import Preprocessing
from fullconv.conversion.activations import softmax
from fullconv.errors import ExportError
from fullconv.runtimes import open_runtime
from resnet20 import ResNet20

WHOLE = Preprocessing(2, (3, 1, 7), channel_order="BGR")
WINDOW = (6, 8)


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(-1, 2, shape).astype(np.float32)


def bytes_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def run_alone(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path.read_bytes())
    (scores,) = session.run(None, {session.get_inputs()[0].name: images})
    return scores


def of_crops(classify: object, images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Return the scores of every window, a step of one apart, of bytes ``(N, H, W, C)``."""
    prepared = np.moveaxis(preprocessing.apply(np.moveaxis(images, -1, 1)), 1, -1)
    (height, width), (_, rows, columns, _) = WINDOW, images.shape
    return np.stack(
        [
            np.stack(
                [
                    classify(prepared[:, y : y + height, x : x + width])
                    for x in range(columns - width + 1)
                ],
                axis=1,
            )
            for y in range(rows - height + 1)
        ],
        axis=1,
    )


def channels_last_model(dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Return a padded classifier of images ``(N, H, W, C)``, of whole weights."""
    height, width = WINDOW
    weights = {
        "conv": whole(4, 3, 3, 3),
        "dense": whole(4 * height * width, 3),
        "flat": np.array([-1, 4 * height * width]),
    }
    nodes = [
        helper.make_node("Transpose", ["images"], ["map"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["map", "conv"], ["sums"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sums"], ["cells"]),
        helper.make_node("Reshape", ["cells", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "dense"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "last",
        [helper.make_tensor_value_info("images", dtype, ["n", height, width, 3])],
        [helper.make_tensor_value_info("scores", dtype, ["n", 3])],
        [
            numpy_helper.from_array(
                a if name == "flat" else a.astype(helper.tensor_dtype_to_np_dtype(dtype)), name
            )
            for name, a in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_model_with_its_channels_last_is_put_between_the_same_ends(tmp_path: Path) -> None:
    model = channels_last_model()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = bytes_of(2, 9, 12, 3)
    expected = of_crops(lambda crops: session.run(None, {"images": crops})[0], images, WHOLE)
    fcn = fullconv.convert(model, step=1, preprocessing=WHOLE, embed_preprocessing=True)
    fcn.save(tmp_path / "last.onnx")
    np.testing.assert_array_equal(run_alone(tmp_path / "last.onnx", images), expected)
    assert fullconv.verify(fcn, model, images).max_error == 0
    fcn = fullconv.convert(model, step=1, preprocessing=WHOLE, activation="softmax")
    prepared = np.moveaxis(WHOLE.apply(np.moveaxis(images, -1, 1)), 1, -1)
    # Of scores that are equal, by roundings of probabilities.
    rounding = 8 * np.finfo(np.float32).eps
    np.testing.assert_allclose(fcn(prepared), softmax(expected, -1), rtol=0, atol=rounding)


def test_half_precision_begins_behind_the_preprocessing(tmp_path: Path) -> None:
    model = channels_last_model(TensorProto.FLOAT16)
    preprocessing = Preprocessing(1 / 64, (1,))
    plain = fullconv.convert(model, step=1, preprocessing=preprocessing)
    fcn = fullconv.convert(model, step=1, preprocessing=preprocessing, embed_preprocessing=True)
    images = bytes_of(1, 9, 12, 3)
    prepared = np.moveaxis(preprocessing.apply(np.moveaxis(images, -1, 1)), 1, -1)
    np.testing.assert_array_equal(fcn(images), plain(prepared))


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
def test_keras_models_become_onnx_that_takes_bytes(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras_models").keras
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((*WINDOW, 3)),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    model.set_weights([whole(*weight.shape) for weight in model.get_weights()])
    images = bytes_of(2, 9, 12, 3)
    fcn = fullconv.convert(model, step=1, preprocessing=WHOLE, embed_preprocessing=True)
    fcn.save(tmp_path / "keras.onnx")
    expected = of_crops(model.predict_on_batch, images, WHOLE)
    assert fullconv.verify(fcn, model, images).max_error == 0
    np.testing.assert_array_equal(run_alone(tmp_path / "keras.onnx", images), expected)
    with pytest.raises(ExportError, match=r"saved as \.onnx; choose that ending"):
        fcn.save(tmp_path / "deployed.keras")


def test_recordings_and_volumes_are_bytes_as_well(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for axes, layer in ((1, torch.nn.Conv1d), (3, torch.nn.Conv3d)):
        model = torch.nn.Sequential(layer(2, 3, 3, padding=1), torch.nn.Flatten())
        model.append(torch.nn.Linear(3 * 4**axes, 2))
        for weight in model.parameters():
            weight.data = torch.from_numpy(whole(*weight.shape))
        fcn = fullconv.convert(
            model.eval(), (4,) * axes, 1, preprocessing=Preprocessing(2), embed_preprocessing=True
        )
        image = bytes_of(*(5 for _ in range(axes)), 2)
        fcn.save(tmp_path / "axes.onnx")
        found = run_alone(tmp_path / "axes.onnx", image[None])
        first = torch.from_numpy(np.moveaxis(2 * image[(slice(4),) * axes].astype("f4"), -1, 0))
        np.testing.assert_array_equal(
            found[(0, *[0] * axes)], model(first[None]).detach().numpy()[0]
        )
        heatmap = fullconv.scan(fcn, image, classifier=model)
        np.testing.assert_array_equal(np.moveaxis(heatmap[:], 0, -1), found[0])


def test_openvino_runs_what_is_inside() -> None:
    pytest.importorskip("openvino")
    fcn = fullconv.convert(
        channels_last_model(),
        step=1,
        preprocessing=Preprocessing(1 / 255, (0.5,), (0.25,)),
        embed_preprocessing=True,
    )
    images = bytes_of(1, 3, 9, 12)
    with open_runtime(fcn, "openvino") as runtime:
        (found,) = runtime.run(images.astype(np.float32))
    expected = np.moveaxis(fcn(np.moveaxis(images, 1, -1)), -1, 1)
    # It divides by multiplying with the reciprocal: a rounding of each pixel, of 72 and some.
    unit = np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=32 * unit)


def test_a_trained_padded_resnet_sees_in_bytes_what_it_sees_in_crops(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    model = ResNet20()
    model.load_state_dict(load_file(data_file("resnet20_cifar10/resnet20.safetensors")))
    preprocessing = Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with np.load(data_file("resnet20_cifar10/cifar10_test_2000.npz")) as held:
        pictures, labels = held["images"][:9], held["labels"][:9]
    fcn = fullconv.convert(
        model.eval(),
        (32, 32),
        16,
        preprocessing=preprocessing,
        activation="softmax",
        embed_preprocessing=True,
    )
    assert fcn.report.exact
    fcn.save(tmp_path / "resnet.onnx")
    image = mosaic(pictures.transpose(0, 3, 1, 2), 3, 3).transpose(0, 2, 3, 1)
    chances = run_alone(tmp_path / "resnet.onnx", np.ascontiguousarray(image))
    assert chances.shape == (1, 5, 5, 10)
    np.testing.assert_allclose(chances.sum(axis=-1), 1, rtol=1e-6)
    with torch.inference_mode():
        crops = model(torch.from_numpy(preprocessing.apply(pictures.transpose(0, 3, 1, 2))))
    np.testing.assert_array_equal(chances[0, ::2, ::2].argmax(-1).ravel(), crops.argmax(1))
    assert (crops.argmax(1).numpy() == labels).mean() > 0.6, "it is the trained one"
    assert fullconv.verify(fcn, model, image, windows=9).passed
