"""Networks in 8-bit integers: calibrated on photos, measured on those kept back, never exact."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto
from PIL import Image

import fullconv
from fullconv.cli.group import commands
from fullconv.conversion.precision import least_agreement
from fullconv.demo.scene import draw_scene
from fullconv.quantizing.agreement import measure
from fullconv.quantizing.integers import by_error, fused, layers, quantized
from fullconv.quantizing.photos import draw
from fullconv.runtimes import open_runtime
from onnx_text import channels_last, onnx_of_text

MODEL = str(resources.files("fullconv.demo") / "dress.onnx")


@pytest.fixture(scope="module")
def fcn():
    return fullconv.convert(MODEL, step=32, check=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        scene = draw_scene(seed, (320, 512))
        Image.fromarray(scene.image).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def made(fcn, photos):
    found = sorted(photos.glob("*.png"))
    return fullconv.quantize(fcn, found, classifier=MODEL, windows=40)


def test_weights_are_integers_and_the_report_never_says_exact(made, fcn):
    report = made.fcn.report
    assert (report.exact, report.rounded, report.precision) == (False, False, "int8")
    assert report.verdict.startswith("int8: weights and what lies between layers have 8 bits")
    assert report.check.startswith(f"measured {made.agreement}; 98 % was asked for")
    graph = made.fcn.model.graph
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    kinds = [tensor.data_type for tensor in weights]
    assert kinds.count(TensorProto.INT8) == made.layers
    assert kinds.count(TensorProto.FLOAT) == len(kinds) - made.layers  # what gives the scores
    scales = {t.name: t.dims for t in graph.initializer if t.name.endswith("weight_scale")}
    assert all(np.prod(dims) > 1 for dims in scales.values())  # per channel
    # Of 8 bits, weights take 7: see fullconv.quantizing.integers.
    assert all(
        np.abs(onnx.numpy_helper.to_array(tensor)).max() <= 64
        for tensor in weights
        if tensor.data_type == TensorProto.INT8
    )
    assert made.bytes_after < 0.4 * made.bytes_before
    assert made.seconds_after > 0
    assert fcn.report.exact  # and stays as it was


def test_agreement_is_that_with_crops_of_photos_kept_back(made, fcn, photos):
    found = sorted(photos.glob("*.png"))
    drawn = draw(fcn, found, 40, 0)
    assert drawn.photos == made.photos == 1
    assert made.agreement.windows == sum(len(part.places) for part in drawn.kept)
    kept = {part.pixels.tobytes() for part in drawn.kept}
    assert kept.isdisjoint(part.pixels.tobytes() for part in drawn.calibration)
    crops = [crop for part in drawn.kept for crop in part.crops(fcn)]
    own = np.concatenate([fcn(crop)[..., 0, 0] for crop in crops])
    given = np.concatenate(
        [
            made.fcn(part.pixels)[0][(slice(None), *place)][None]
            for part in drawn.kept
            for place in part.places
        ]
    )
    assert made.agreement.max_difference == pytest.approx(np.abs(own - given).max(), rel=1e-3)
    assert made.agreement.same_class == np.mean(own.argmax(1) == given.argmax(1))
    assert made.agreement.max_difference > 0


def test_windows_of_a_single_photo_are_kept_back(fcn, photos):
    only = photos / "0.png"
    drawn = draw(fcn, [only], 40, 0)
    assert drawn.photos == 0
    places = [{*part.places} for part in (*drawn.calibration, *drawn.kept)]
    assert all(places)
    assert places[0].isdisjoint(places[1])


def test_layers_that_add_most_error_stay_in_single_precision(fcn, photos, monkeypatch):
    from fullconv.quantizing import quantized as quantizing

    tried = []

    def agreeing(made, parts, of_crops):
        tried.append(made)
        found = measure(made, parts, of_crops)
        share = 0.5 if len(tried) <= 2 else 1.0
        return type(found)(found.windows, share, found.mean_difference, found.max_difference, 1.0)

    monkeypatch.setattr(quantizing, "measure", agreeing)
    made = fullconv.quantize(fcn, sorted(photos.glob("*.png")), windows=40)
    assert len(made.left_out) == 2
    model = fused(fcn.model)
    names = layers(model)
    assert set(made.left_out) < set(names)
    for node in tried[2].model.graph.node:
        if node.name in made.left_out:
            (weight,) = [t for t in model.graph.initializer if t.name == node.input[1]]
            assert weight.data_type == TensorProto.FLOAT
    assert f"; 2 of {len(names)} layers stay in f32" in made.fcn.report.check


def test_error_is_that_which_a_layer_adds(fcn, photos):
    drawn = draw(fcn, sorted(photos.glob("*.png")), 40, 0)
    batches = [np.concatenate(part.crops(fcn)) for part in drawn.calibration]
    model = fused(fcn.model)
    names = layers(model)
    integers = quantized(model, batches, names)
    bad = names[2]
    (node,) = [node for node in model.graph.node if node.name == bad]
    for tensor in integers.graph.initializer:
        if tensor.name == f"{node.input[1]}_quantized":
            smaller = onnx.numpy_helper.to_array(tensor) // 2
            tensor.CopyFrom(onnx.numpy_helper.from_array(smaller, tensor.name))
    assert by_error(model, integers, batches, names)[0] == bad


def test_what_can_agree_nowhere_is_refused(fcn, photos, monkeypatch):
    from fullconv.quantizing import quantized as quantizing

    monkeypatch.setattr(quantizing, "measure", lambda *_: type("Found", (), {"same_class": 0.4})())
    with pytest.raises(fullconv.ModelError) as caught:
        fullconv.quantize(fcn, photos / "0.png", windows=8)
    assert str(caught.value) == (
        "quantize: with even one of 6 layers in int8, fewer than 98 % of the windows have the same "
        "best class; ask for less (agreement=, --agreement), give more photos, or take half "
        "precision: 'fullconv convert --precision f16'."
    )


def test_a_check_passes_by_agreement_and_fails_without_it(made, photos):
    pixels = np.asarray(Image.open(photos / "1.png"))
    images = made.fcn.preprocessing.apply(np.moveaxis(pixels, -1, 0)[None])
    found = fullconv.verify(made.fcn, MODEL, images)
    assert (found.passed, found.exact, found.of, found.asked) == (True, False, "int8", 0.98)
    wrong = onnx.ModelProto()
    wrong.CopyFrom(made.fcn.model)
    last = next(t for t in wrong.graph.initializer if t.dims == [2])
    flipped = onnx.numpy_helper.to_array(last)[::-1] * 100
    last.CopyFrom(onnx.numpy_helper.from_array(flipped.copy(), last.name))
    changed = type(made.fcn)(
        wrong,
        made.fcn.shape,
        made.fcn.report,
        made.fcn.framework,
        footprint=made.fcn.footprint,
    )
    found = fullconv.verify(changed, MODEL, images)
    assert not found.passed
    assert found.verdict.startswith("int8, and NOT in agreement: 98 % of the windows was asked for")
    assert least_agreement(0.98, 64) == pytest.approx(0.9275)


def run(*arguments):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def test_the_command_writes_a_file_that_scans_and_says_what_it_is(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("quantize", MODEL, photos, "--windows", 40, "--step", 32)
    result = run(*asked, "-o", "small.onnx")
    assert result.exit_code == 0, result.stderr
    lines = [line.split()[0] for line in result.stdout.splitlines()]
    assert lines == ["result", "agrees", "with", "layers", "size", "speed", "wrote"]
    assert "exact" not in result.stdout
    loaded = fullconv.load("small.onnx")
    assert loaded.report.precision == "int8"
    scanned = run("scan", "small.onnx", photos / "1.png", "-o", "heat.zarr")
    assert scanned.exit_code == 0, scanned.stderr
    assert "run      onnxruntime on cpu, int8, in tiles of" in scanned.stdout
    assert "\n         int8: not the crops' own scores; they agree as when it" in scanned.stdout
    assert scanned.stdout.startswith(
        "note     the model is in int8, and its crops are scored by itself; 'fullconv verify' with "
        "--original MODEL compares with the classifier's\n"
    )
    verified = run("verify", "heat.zarr", "--original", MODEL, "--json")
    assert verified.exit_code == 0
    assert json.loads(verified.stdout)["of"] == "int8"
    again = run("quantize", "small.onnx", photos, "-o", "smaller.onnx")
    assert (again.exit_code, again.stderr) == (
        3,
        "fullconv: error: quantize: the network is in int8 already; give the one in single "
        "precision, or the classifier.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ("-o", "x.pt2"),
            2,
            "quantize -o x.pt2: a model in integers is written as .onnx; choose that ending.",
        ),
        (
            ("--original", "y.onnx", "-o", "x.onnx", "--no-check"),
            2,
            f"quantize --original y.onnx: {MODEL} is not converted yet, and is itself the "
            f"original; leave --original out.",
        ),
    ],
)
def test_a_wrong_call_is_one_line(photos, tmp_path, monkeypatch, arguments, code, line):
    monkeypatch.chdir(tmp_path)
    result = run("quantize", MODEL, photos, *arguments)
    assert result.stderr.splitlines()[-1] == f"fullconv: error: {line}"
    assert result.exit_code == code
    assert not list(tmp_path.iterdir())


def test_what_holds_its_preprocessing_or_is_narrow_already_is_refused(photos):
    refused = {
        "holds its preprocessing or activation already": {"embed_preprocessing": True},
        "is in f16 already": {"precision": "f16"},
    }
    for said, asked in refused.items():
        fcn = fullconv.convert(MODEL, step=32, check=False, **asked)
        with pytest.raises(fullconv.ModelError, match=f"^quantize: the network {said}"):
            fullconv.quantize(fcn, sorted(photos.glob("*.png")))


def test_an_interrupted_run_leaves_nothing(fcn, photos, tmp_path, monkeypatch):
    from fullconv.quantizing import quantized as quantizing

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(quantizing, "measure", interrupted)
    out = tmp_path / "out"
    out.mkdir()
    result = run("quantize", MODEL, photos, "-o", out / "x.onnx", "--windows", 8, "--no-check")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "fullconv: interrupted")
    assert [path for path in Path(tmp_path).rglob("*") if path != out] == []


def test_values_that_stand_for_infinity_are_left_as_they_are(tmp_path):
    """A padded maximum, whose exact form takes it of parts with -infinity around them."""
    text = """
    net (float[n, 3, 16, 16] x) => (float[n, 2] scores) {
      first = Conv<pads=[1, 1, 1, 1]>(x, w1)
      most = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(first)
      second = Conv<pads=[1, 1, 1, 1]>(most, w2)
      pooled = GlobalAveragePool(second)
      flat = Flatten(pooled)
      scores = MatMul(flat, w3)
    }
    """
    rng = np.random.default_rng(0)
    model = onnx_of_text(
        text,
        {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 2)},
        lambda shape: rng.normal(size=shape),
    )
    fcn = fullconv.convert(model, step=2)
    photo = rng.integers(0, 256, (40, 40, 3), np.uint8)
    made = fullconv.quantize(fcn, [photo], agreement=0.5)
    for tensor in made.fcn.model.graph.initializer:
        if tensor.name.endswith("scale"):
            assert np.isfinite(onnx.numpy_helper.to_array(tensor)).all()
    assert made.agreement.max_difference < 0.1 * made.agreement.largest


def test_channels_that_come_last_do_so_in_integers():
    text = channels_last(16)
    rng = np.random.default_rng(0)
    model = onnx_of_text(
        text, {"w": (4, 3, 3, 3), "head": (1024, 2)}, lambda shape: rng.normal(0, 0.1, size=shape)
    )
    fcn = fullconv.convert(model, step=4)
    photo = rng.integers(0, 256, (40, 40, 3), np.uint8)
    made = fullconv.quantize(fcn, [photo], agreement=0.5)
    images = np.moveaxis(photo, -1, 0)[None].astype(np.float32)
    expected = np.moveaxis(made.fcn(photo[None].astype(np.float32)), -1, 1)
    with open_runtime(made.fcn) as runtime:
        assert np.array_equal(runtime.run(images)[0], expected)
    assert made.agreement.max_difference < 0.1 * made.agreement.largest
