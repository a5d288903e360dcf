"""A converted model that holds its preprocessing and activation: bytes in, probabilities out."""

from __future__ import annotations

import io
import json
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import fullconv
from fullconv import Preprocessing
from fullconv.cli.group import commands
from fullconv.conversion.activations import sigmoid, softmax
from fullconv.conversion.embedded import KEY, Embedded
from fullconv.errors import (
    FullconvError,
    ImageError,
    ImageWarning,
    InputError,
    ModelError,
)

DRESS = files("fullconv") / "demo" / "dress.onnx"
WINDOW, STEP = (16, 24), (4, 4)
PHOTO = Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WHOLE = Preprocessing(2, (3, 1, 7))
"""With integer weights, whatever this gives is exact."""


def bytes_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def classifier(channels: int = 3, classes: int = 3, *, whole: bool = False) -> nn.Module:
    """Return a padded classifier; with ``whole`` weights, its scores of whole numbers are exact."""
    last = 8 * (WINDOW[0] // 4) * (WINDOW[1] // 4)
    model = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(last, classes),
    )
    if whole:
        generator = torch.Generator().manual_seed(1)
        for weight in model.parameters():
            weight.data = torch.randint(-1, 2, weight.shape, generator=generator).float()
    return model.eval()


def onnx_of(model: nn.Module, channels: int = 3) -> onnx.ModelProto:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(1, channels, *WINDOW),), file, dynamo=False)
    return onnx.load_from_string(file.getvalue())


def of_crops(model: Any, images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Return the raw scores of every window of bytes ``(N, H, W, C)``, crop by crop."""
    prepared = torch.from_numpy(preprocessing.apply(np.moveaxis(images, -1, 1)))
    (height, width), (rows, columns) = WINDOW, STEP
    found = [
        [
            model(prepared[:, :, y : y + height, x : x + width]).detach().numpy()
            for x in range(0, images.shape[2] - width + 1, columns)
        ]
        for y in range(0, images.shape[1] - height + 1, rows)
    ]
    return np.array(found).transpose(2, 0, 1, 3)


def run_alone(path: Path, images: np.ndarray) -> np.ndarray:
    """Run a file as any program does, that knows nothing of it but its name."""
    session = onnxruntime.InferenceSession(path.read_bytes())
    (scores,) = session.run(None, {session.get_inputs()[0].name: images})
    return scores


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_the_file_gives_a_padded_net_s_crops_exactly(kind: str, order: str, tmp_path: Path) -> None:
    model = classifier(whole=True)
    preprocessing = Preprocessing(WHOLE.scale, WHOLE.mean, channel_order=order)
    given = model if kind == "torch" else onnx_of(model)
    fcn = fullconv.convert(
        given, WINDOW, STEP, preprocessing=preprocessing, embed_preprocessing=True
    )
    fcn.save(tmp_path / "bytes.onnx")
    images = bytes_of(2, 29, 41, 3)
    expected = of_crops(model, images, preprocessing)
    np.testing.assert_array_equal(run_alone(tmp_path / "bytes.onnx", images), expected)
    np.testing.assert_array_equal(fcn(images), expected)
    np.testing.assert_array_equal(fullconv.load(tmp_path / "bytes.onnx")(images), expected)
    assert fcn.report.exact
    assert fullconv.verify(fcn, given, images).max_error == 0


@pytest.mark.parametrize(
    "preprocessing",
    [
        *(PHOTO, WHOLE, Preprocessing()),
        Preprocessing(mean=(127.5,), std=(31.7, 64.1, 0.3)),
        Preprocessing(1 / 127.5, (1,), channel_order="BGR"),
    ],
)
def test_every_byte_is_prepared_to_the_last_bit_as_outside(preprocessing: Preprocessing) -> None:
    """The classifier hands on its only pixel, so its scores are what the network sees."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Flatten()).eval()
    model[0].weight.data = torch.eye(3)[..., None, None]
    pixels = np.stack([bytes_of(1, 8, 32), np.arange(256).reshape(1, 8, 32), bytes_of(1, 8, 32)], 3)
    pixels = pixels.astype(np.uint8)
    fcn = fullconv.convert(model, (1, 1), preprocessing=preprocessing, embed_preprocessing=True)
    expected = preprocessing.apply(np.moveaxis(pixels, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(fcn(pixels), -1, 1), expected)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_activation_is_that_of_every_window_s_own_scores(
    activation: str, tmp_path: Path
) -> None:
    model = classifier()
    fcn = fullconv.convert(
        model,
        WINDOW,
        STEP,
        preprocessing=PHOTO,
        activation=activation,
        embed_preprocessing=True,
    )
    fcn.save(tmp_path / "deployed.onnx")
    images = bytes_of(1, 29, 41, 3)
    raw = of_crops(model, images, PHOTO)
    expected = softmax(raw, axis=-1) if activation == "softmax" else sigmoid(raw)
    found = run_alone(tmp_path / "deployed.onnx", images)
    # Of probabilities up to 1, by roundings of the scores, which here are below 1 as well.
    np.testing.assert_allclose(found, expected, rtol=0, atol=32 * np.finfo(np.float32).eps)
    proof = fullconv.verify(fcn, model, images)
    assert proof.passed
    assert proof.exact
    assert not fullconv.verify(fcn, classifier(), images).passed, "another classifier"


def test_an_activation_alone_leaves_images_as_the_classifier_takes_them() -> None:
    model = classifier()
    plain = fullconv.convert(model, WINDOW, STEP)
    fcn = fullconv.convert(model, WINDOW, STEP, activation="softmax")
    images = np.random.default_rng(0).random((1, 3, 29, 41), np.float32)
    expected = softmax(plain(torch.from_numpy(images)).detach().numpy(), axis=1)
    np.testing.assert_allclose(fcn(images), expected, rtol=0, atol=32 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("grey", ["one channel", "no channels"])
def test_grey_images_are_bytes_with_or_without_an_axis_of_channels(
    grey: str, tmp_path: Path
) -> None:
    model = classifier(1, whole=True)
    if grey == "no channels":
        model = nn.Sequential(nn.Unflatten(1, (1, WINDOW[0])), *model).eval()
    preprocessing = Preprocessing(2, 3)
    fcn = fullconv.convert(
        model, WINDOW, STEP, preprocessing=preprocessing, embed_preprocessing=True
    )
    fcn.save(tmp_path / "grey.onnx")
    images = bytes_of(2, 29, 41, 1)
    expected = of_crops(model if grey == "one channel" else model[1:], images, preprocessing)
    if grey == "no channels":
        images, expected = images[..., 0], np.moveaxis(expected, -1, 1)
    np.testing.assert_array_equal(run_alone(tmp_path / "grey.onnx", images), expected)


def test_a_scan_feeds_the_file_bytes_and_has_the_plain_model_s_scores(tmp_path: Path) -> None:
    model = classifier(whole=True)
    plain = fullconv.convert(onnx_of(model), WINDOW, STEP, preprocessing=WHOLE)
    fcn = fullconv.convert(
        onnx_of(model), WINDOW, STEP, preprocessing=WHOLE, embed_preprocessing=True
    )
    (image,) = bytes_of(1, 61, 83, 3)
    with pytest.warns(ImageWarning, match="is made for 0 to 1,"):
        expected = fullconv.scan(plain, image)
    found = fullconv.scan(fcn, image, classifier=model, tile=(5, 4))
    np.testing.assert_array_equal(found[:], expected[:])
    assert found.verification.passed
    assert found.metadata["pixels"] == expected.metadata["pixels"]


def test_boxes_are_those_of_the_plain_model_at_every_scale() -> None:
    model = classifier()
    given = {"preprocessing": PHOTO, "classes": ("background", "a", "b")}
    plain = fullconv.convert(onnx_of(model), WINDOW, STEP, **given)
    fcn = fullconv.convert(
        onnx_of(model), WINDOW, STEP, activation="softmax", embed_preprocessing=True, **given
    )
    (image,) = bytes_of(1, 61, 83, 3)
    asked = {"threshold": 0.3, "scales": (1, 0.6)}
    expected = fullconv.detect(plain, image, activation="softmax", **asked)
    for activation in ("none", "softmax"):
        found = fullconv.detect(fcn, image, activation=activation, **asked)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
    assert len(expected) > 3
    with pytest.raises(InputError, match="probabilities already, by a softmax inside the model"):
        fullconv.detect(fcn, image, activation="sigmoid")


def test_what_a_classifier_ends_with_is_told_and_not_done_twice() -> None:
    fcn = fullconv.convert(str(DRESS))
    assert fcn.report.activations == ("softmax",)
    assert "probabilities, for the classifier itself ends with softmax" in str(fcn.report)
    same = fullconv.convert(str(DRESS), activation="softmax", embed_preprocessing=True)
    assert same.embedded == Embedded("none", fcn.preprocessing)
    (image,) = bytes_of(1, 256, 128, 3)
    asked = {"threshold": 0.01, "activation": "softmax"}
    np.testing.assert_array_equal(
        fullconv.detect(fcn, image, **asked).scores,
        fullconv.detect(fcn, image, threshold=0.01).scores,
    )
    with pytest.raises(InputError, match="already, for the classifier ends with softmax"):
        fullconv.convert(str(DRESS), activation="sigmoid")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ([nn.Softmax(1)], "softmax"),
        ([nn.Sigmoid()], "sigmoid"),
        ([nn.Softmax(1), nn.Dropout()], "softmax"),
        ([nn.LogSoftmax(1)], "none"),
        ([nn.Unflatten(1, (3, 2)), nn.Softmax(1), nn.Flatten()], "none"),
    ],
)
def test_the_report_says_what_the_classifier_ends_with(end: list[nn.Module], expected: str) -> None:
    model = nn.Sequential(*classifier(classes=6), *end).eval()
    assert fullconv.explain(model, WINDOW).activations == (expected,)
    assert fullconv.explain(onnx_of(model)).activations == (expected,)


def two_outputs() -> nn.Module:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = classifier()

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.one(x), self.one(x) + 1

    return Two().eval()


def test_bytes_go_into_models_of_several_outputs_and_of_one_score() -> None:
    images = bytes_of(1, 29, 41, 3)
    given = {"preprocessing": PHOTO, "embed_preprocessing": True}
    first, second = fullconv.convert(two_outputs(), WINDOW, STEP, **given)(images)
    np.testing.assert_allclose(second, first + 1, rtol=1e-6)
    one = nn.Sequential(*classifier(classes=1), nn.Flatten(0)).eval()  # (N,)
    fcn = fullconv.convert(one, WINDOW, STEP, activation="sigmoid", **given)
    assert fcn(images).shape == (1, 4, 5)
    assert fullconv.verify(fcn, one, images).passed
    assert fullconv.scan(fcn, images[0], classifier=one).verification.passed


@pytest.mark.parametrize(
    ("model", "asked", "error", "message"),
    [
        (classifier, {"activation": "tanh"}, InputError, "expected one of none, softmax, sigmoid."),
        (
            classifier,
            {"embed_preprocessing": True},
            InputError,
            "nothing says how pixels are prepared for the model; give preprocessing= (--scale/"
            "--mean/--std, or --preprocessing imagenet), or Preprocessing() (--scale 1) where it "
            "takes them as they are, 0 to 255.",
        ),
        (
            lambda: classifier(classes=1),
            {"activation": "softmax"},
            InputError,
            "the softmax of one number is always 1; choose sigmoid.",
        ),
        (two_outputs, {"activation": "softmax"}, InputError, "the model returns 2 outputs, and"),
        (
            lambda: nn.Sequential(*classifier(classes=6), nn.Unflatten(1, (3, 2))).eval(),
            {"activation": "softmax"},
            InputError,
            "the model returns 2x3 scores for a window, which are no list of classes;",
        ),
    ],
)
def test_what_cannot_be_put_inside_is_refused(
    model: Any, asked: dict[str, Any], error: type[FullconvError], message: str
) -> None:
    with pytest.raises(error) as raised:
        fullconv.convert(model(), WINDOW, STEP, **asked)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deployed") / "dress.onnx"
    fullconv.convert(str(DRESS), embed_preprocessing=True).save(path)
    return path


def test_other_pixels_than_bytes_are_refused(deployed: Path) -> None:
    fcn = fullconv.load(deployed)
    for image in (np.zeros((256, 128, 3), np.uint16), np.zeros((256, 128, 3), np.float32)):
        with pytest.raises(ImageError, match=r"takes bytes \(uint8, 0 to 255\), for its prep"):
            fullconv.scan(fcn, image)
        with pytest.raises(ImageError, match=r"fcn\(images\): the model takes bytes"):
            fcn(image[None])
    with pytest.raises(InputError, match=r"holds its preprocessing, .* takes bytes; leave it out"):
        fullconv.scan(fcn, np.zeros((256, 128, 3), np.uint8), preprocessing=PHOTO)


def test_a_file_that_claims_bytes_and_takes_numbers_is_damaged(tmp_path: Path) -> None:
    fullconv.convert(str(DRESS)).save(tmp_path / "plain.onnx")
    model = onnx.load(tmp_path / "plain.onnx")
    for claim in (Embedded("none", PHOTO).to_json(), "{", '{"activation": "tanh"}'):
        held = {entry.key: entry.value for entry in model.metadata_props} | {KEY: claim}
        onnx.helper.set_model_props(model, held)
        onnx.save(model, tmp_path / "claims.onnx")
        with pytest.raises(ModelError, match="convert the original model again"):
            fullconv.load(tmp_path / "claims.onnx")


def command(*arguments: object) -> Any:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def test_the_commands_know_what_is_inside(deployed: Path, tmp_path: Path) -> None:
    from PIL import Image

    photo, boxes, plain = tmp_path / "photo.png", tmp_path / "boxes.json", tmp_path / "plain.json"
    Image.fromarray(bytes_of(300, 200, 3)).save(photo)
    converted = tmp_path / "again.onnx"
    made = command("convert", DRESS, "-o", converted, "--embed-preprocessing", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["embedded"]["preprocessing"]["scale"] == 1 / 255
    assert told["preprocessing"] is None
    assert told["inside"] == [
        "takes bytes (uint8) (N, H, W, 3), RGB, (x * 0.00392157 - (0.6578, 0.6188, 0.5996)) / "
        "(0.2282, 0.2052, 0.1792)"
    ]
    for model, out in ((converted, boxes), (DRESS, plain)):
        found = command("detect", model, photo, "-o", out, "--threshold", 0.001)
        assert found.exit_code == 0, found.output
        assert "does not say how pixels are prepared" not in found.output
    assert json.loads(boxes.read_text()) == json.loads(plain.read_text()) != []
    heat = tmp_path / "heat.zarr"
    assert command("scan", deployed, photo, "-o", heat).exit_code == 0
    for given in (["verify", deployed, photo, "--original", DRESS], ["verify", heat]):
        proof = command(*given)
        assert (proof.exit_code, "equal: the scores" in proof.output) == (0, True), proof.output
    assert command("verify", heat, "--original", DRESS).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["scan", "MODEL", "photo.png", "-o", "heat.zarr", "--scale", "1", "--std", "2"],
            "scan --scale --std: the model holds its preprocessing, (x * 0.00392157 - (0.6578, "
            "0.6188, 0.5996)) / (0.2282, 0.2052, 0.1792), and takes bytes; leave them out, or "
            "convert the classifier without --embed-preprocessing.",
        ),
        (
            ["detect", "MODEL", "photo.png", "-o", "b.json", "--preprocessing", "imagenet"],
            "detect --preprocessing: the model holds its preprocessing, (x * 0.00392157 - (0.6578, "
            "0.6188, 0.5996)) / (0.2282, 0.2052, 0.1792), and takes bytes; leave it out, or "
            "convert the classifier without --embed-preprocessing.",
        ),
        (
            ["scan", "MODEL", "deep.png", "-o", "heat.zarr"],
            "deep.png: the model takes bytes (uint8, 0 to 255), for its preprocessing is inside; "
            "got uint16. Convert the image to 8 bits, or the classifier without embedded "
            "preprocessing.",
        ),
        (
            ["convert", DRESS, "-o", "out.pt2", "--activation", "softmax", "--embed-preprocessing"],
            "convert --activation softmax --embed-preprocessing -o out.pt2: only ONNX files hold "
            "these, for whichever program runs them; name it out.onnx.",
        ),
    ],
)
def test_the_commands_refuse_in_one_line(
    arguments: list[Any],
    message: str,
    deployed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(bytes_of(300, 200, 3)).save("photo.png")
    Image.fromarray(np.full((300, 200), 40_000, np.uint16)).save("deep.png")
    refused = command(*(deployed if part == "MODEL" else part for part in arguments))
    assert refused.exit_code == 2
    assert refused.stderr.strip().splitlines() == [f"fullconv: error: {message}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep.png", "photo.png"]
