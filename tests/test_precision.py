"""Networks in half precision: what they are, what they claim, and who runs them."""

import copy
import json
import re

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto
from PIL import Image

import fullconv
import oracle
from fullconv.choices import RUNTIMES
from fullconv.cli.group import commands
from fullconv.conversion.precision import EPSILONS
from fullconv.frameworks.onnx.narrowing import narrowed
from fullconv.frameworks.onnx.retyping import PIXELS
from fullconv.runtimes import open_runtime
from onnx_text import channels_last, onnx_of_text

KINDS = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
WINDOW = (16, 16)


GRAPH = """
net (float[n, 3, 16, 16] x) => (float[n, 3] scores) {
  stem = Conv<pads=[1, 1, 1, 1]>(x, w1, b1)
  normed = BatchNormalization(stem, gamma, beta, mean, var)
  low = Relu(normed)
  block = Conv<pads=[1, 1, 1, 1]>(low, w2)
  sum = Add(block, low)
  gained = Mul(sum, gain)
  small = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(gained)
  large = Resize<mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric">
    (small, , scales)
  faint = Less(large, tenth)
  masked = Where(faint, lowest, large)
  bounded = Clip(masked, zero)
  pooled = GlobalAveragePool(bounded)
  flat = Flatten(pooled)
  lost = Div(flat, gain)
  scores = Gemm(lost, w3, b3)
}
"""
"""Padding, normalization, a residual, upsampling and a mask: what a classifier may hold."""


def classifier(gain=1.0):
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "w3": (8, 3), "b3": (3,)}
    shapes |= dict.fromkeys(("gamma", "beta", "mean", "var"), (8,))
    weights = {name: rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
    weights["var"] = np.abs(weights["var"]) + 0.5
    lowest = float(np.finfo(np.float32).min) / 2
    weights |= {"gain": [gain], "tenth": [0.1], "lowest": [lowest], "scales": [1, 1, 2, 2]}
    weights["zero"] = 0
    graph = onnx.parser.parse_graph(GRAPH)
    for name, numbers in weights.items():
        array = np.array(numbers, np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    opset = onnx.helper.make_opsetid("", 18)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module", params=list(KINDS))
def narrow(request, model):
    prepared = fullconv.Preprocessing(scale=1 / 255)
    return request.param, fullconv.convert(
        model, WINDOW, 4, precision=request.param, preprocessing=prepared, classes=["a", "b", "c"]
    )


def pixels(*size):
    return np.random.default_rng(0).random((1, 3, *size), np.float32)


def test_weights_and_arithmetic_are_narrow_and_images_and_scores_are_not(narrow):
    precision, fcn = narrow
    graph = fcn.model.graph
    onnx.checker.check_model(fcn.model, full_check=True)
    kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    assert kinds == {TensorProto.FLOAT}
    large = {tensor.data_type for tensor in graph.initializer if np.prod(tensor.dims) > 20}
    assert large <= {KINDS[precision], TensorProto.INT64}
    typed = onnx.shape_inference.infer_shapes(fcn.model).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in typed}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert {types[node.output[0]] for node in convolutions} == {KINDS[precision]}


def test_scores_differ_from_the_crops_by_roundings_and_say_so(narrow, model, tmp_path):
    precision, fcn = narrow
    assert (fcn.report.exact, fcn.report.rounded, fcn.report.precision) == (False, True, precision)
    assert fcn.report.verdict.startswith(f"{precision}: weights and arithmetic are rounded")
    assert re.search(rf"^checked  \d+ windows of random pixels in {precision}: ", fcn.report.check)
    images = pixels(30, 30)
    crop = oracle.onnx_classifier(model)(images[..., 4:20, 8:24])
    difference = np.abs(fcn(images)[0, :, 1, 2] - crop).max()
    assert 0 < difference < 32 * EPSILONS[precision] * np.abs(crop).max()
    fcn.save(tmp_path / "net.onnx")
    loaded = fullconv.load(tmp_path / "net.onnx")
    assert loaded.report == fcn.report
    assert np.array_equal(loaded(images), fcn(images))


def test_verify_compares_with_roundings_of_that_precision(narrow, model):
    precision, fcn = narrow
    found = fullconv.verify(fcn, model, pixels(30, 30))
    assert (found.passed, found.exact, found.of) == (True, False, precision)
    assert found.verdict.startswith(f"within the roundings of {precision} (up to ")
    # A weight that is off by so much is no rounding.
    wrong = copy.copy(fcn)
    wrong.model = onnx.ModelProto()
    wrong.model.CopyFrom(fcn.model)
    for tensor in wrong.model.graph.initializer:
        if len(tensor.dims) == 4:
            numbers = onnx.numpy_helper.to_array(tensor)
            changed = (numbers.astype(np.float32) * 1.75).astype(numbers.dtype)
            tensor.raw_data = onnx.numpy_helper.from_array(changed).raw_data
    wrong.idle()
    found = fullconv.verify(wrong, model, pixels(30, 30))
    assert not found.passed
    assert found.verdict.startswith(f"NOT within the roundings of {precision}: more than ")


def test_numbers_beyond_the_range_of_f16_are_refused():
    model = classifier(gain=1e6)
    with pytest.raises(fullconv.DifferenceError) as caught:
        fullconv.convert(model, WINDOW, 4, precision="f16")
    assert re.fullmatch(
        r"convert\(precision='f16'\): scores of random pixels differ from the crops' by up to \S+, "
        r"and more than \S+ is no rounding of f16: the classifier passes numbers beyond 65504, or "
        r"magnifies roundings; take bf16, which has the range of f32, or f32\. check=False "
        r"\(--no-check\) writes it all the same\.",
        str(caught.value),
    )
    assert fullconv.convert(model, WINDOW, 4, precision="bf16").report.rounded
    unproved = fullconv.convert(model, WINDOW, 4, precision="f16", check=False)
    assert unproved.report.check.startswith("unproved")


def test_windows_that_run_alone_are_narrow_inside():
    text = """
    net (float[n, 1, 4, 4] x) => (float[n, 2] scores) {
      flat = Flatten(x)
      least = ReduceMin(flat)
      apart = Sub(flat, least)
      scores = MatMul(apart, w)
    }
    """
    graph = onnx.parser.parse_graph(text)
    weights = np.random.default_rng(0).random((16, 2), np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    opset = onnx.helper.make_opsetid("", 18)
    made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    fcn = fullconv.convert(made, precision="f16")
    (scan,) = [node for node in fcn.model.graph.node if node.op_type == "Scan"]
    (inner,) = [one.g for one in scan.attribute if one.type == onnx.AttributeProto.GRAPH]
    assert {node.op_type for node in inner.node} >= {"Cast", "ReduceMin"}
    assert fcn.report.rounded
    assert fcn(pixels(8, 8)[:, :1]).shape == (1, 2, 5, 5)


def test_an_approximate_network_claims_no_roundings(model):
    fcn = fullconv.convert(model, WINDOW, 4, exact=False, precision="f16")
    assert (fcn.report.exact, fcn.report.rounded) == (False, False)
    assert fcn.report.verdict.startswith("approximate, in f16: ")


def test_a_precision_that_is_none_is_refused(model):
    with pytest.raises(fullconv.InputError) as caught:
        fullconv.convert(model, WINDOW, precision="f8")
    assert str(caught.value) == (
        "convert(precision='f8'): expected 'f16' or 'bf16'; left out, the network computes as its "
        "classifier does."
    )


NAMED = re.compile(r"(?<=choose )onnxruntime|(?<=choose )openvino|(?<=the runtime )\w+")


def attempt(fcn, name, precision):
    """Return what runs it, or the runtime that the refusal names."""
    try:
        return open_runtime(fcn, name, precision=precision)
    except fullconv.InputError as refusal:
        if "on this processor; leave the precision out" in str(refusal):
            pytest.skip("the processor has no bf16")
        return next(found for found in NAMED.findall(str(refusal)) if found != "torch")


@pytest.mark.parametrize("precision", ["f16", "bf16"])
@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_advice_about_runtimes_leads_to_one_that_runs(precision, name, model):
    pytest.importorskip("openvino")
    fcn = fullconv.convert(model, WINDOW, 4)
    asked = [name]
    while (runtime := attempt(fcn, asked[-1], precision)) in RUNTIMES:
        assert runtime not in asked
        asked.append(runtime)
    with runtime:
        scores = runtime.run(pixels(30, 30))[0]
        assert runtime.precision == precision
    single = fcn(pixels(30, 30))
    assert 0 < np.abs(scores - single).max() < 32 * EPSILONS[precision] * np.abs(single).max()


def test_every_runtime_runs_a_file_in_half_precision(narrow):
    pytest.importorskip("openvino")
    precision, fcn = narrow
    expected = fcn(pixels(30, 30))
    for name in ("native", "openvino"):
        with open_runtime(fcn, name) as runtime:
            found = runtime.run(pixels(30, 30))[0]
        assert np.abs(found - expected).max() < 32 * EPSILONS[precision] * np.abs(expected).max()
    other = next(iter(set(EPSILONS) - {precision}))
    with pytest.raises(fullconv.InputError) as caught:
        open_runtime(fcn, "onnxruntime", precision=other)
    assert str(caught.value) == (
        f"precision {other!r}: the model itself is in {precision}; leave the precision out, or "
        f"convert the classifier again."
    )


def test_the_commands_convert_scan_and_verify_in_half_precision(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(model, "net.onnx")
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(noise).save("photo.png")

    def run(*arguments):
        return CliRunner().invoke(commands, list(arguments))

    asked = ("convert", "net.onnx", "--step", "4", "--scale", "0.00392", "--precision", "f16")
    refused = run(*asked, "-o", "half.pt2")
    assert (refused.exit_code, refused.stderr) == (
        2,
        "fullconv: error: convert --precision f16 -o half.pt2: only ONNX files hold these, for "
        "whichever program runs them; name it half.onnx.\n",
    )
    made = run(*asked, "-o", "half.onnx")
    assert made.exit_code == 0, made.stderr
    assert "\nresult   f16: weights and arithmetic are rounded" in made.stdout
    scanned = run("scan", "half.onnx", "photo.png", "-o", "half.zarr", "--json")
    assert scanned.exit_code == 0, scanned.stderr
    assert json.loads(scanned.stdout)["heatmaps"][0]["verification"]["of"] == "f16"
    verified = run("verify", "half.onnx", "photo.png", "--original", "net.onnx")
    assert "verdict                within the roundings of f16" in verified.stdout
    again = run("verify", "half.zarr", "--original", "net.onnx")
    assert "verdict                within the roundings of f16" in again.stdout
    Image.fromarray(255 - noise).save("photo.png")
    changed = run("verify", "half.zarr", "--original", "net.onnx")
    assert changed.exit_code == 4
    assert "verdict                NOT proven: this is not the file that was" in changed.stdout
    fast = run(
        *("scan", "net.onnx", "photo.png", "--precision", "f16", "-o", "x.zarr"),
        *("--scale", "0.00392", "--step", "4"),
    )
    assert "within the roundings of f16" in fast.stdout


def test_a_network_in_half_precision_holds_its_preprocessing_and_activation(model, tmp_path):
    prepared = fullconv.Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,))
    fcn = fullconv.convert(
        *(model, WINDOW, 4),
        precision="f16",
        preprocessing=prepared,
        activation="softmax",
        embed_preprocessing=True,
    )
    assert (fcn.report.exact, fcn.report.rounded, fcn.report.precision) == (False, True, "f16")
    assert len(fcn.report.inside) == 2
    assert "in f16: largest difference from their crops" in fcn.report.check
    assert "from crops prepared and activated outside" in fcn.report.check
    fcn.save(tmp_path / "net.onnx")
    loaded = fullconv.load(tmp_path / "net.onnx")
    photo = np.random.default_rng(0).integers(0, 256, (1, 30, 30, 3), np.uint8)
    np.testing.assert_allclose(loaded(photo).sum(axis=-1), 1, atol=1e-2)
    found = fullconv.verify(loaded, model, photo)
    assert (found.passed, found.of) == (True, "f16")
    assert found.max_error > 0


def test_pixels_are_prepared_in_single_precision_where_a_scan_asks_for_f16(model):
    prepared = fullconv.Preprocessing(
        scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.2, 0.2)
    )
    fcn = fullconv.convert(model, WINDOW, 4, preprocessing=prepared, embed_preprocessing=True)
    graph = onnx.shape_inference.infer_shapes(narrowed(fcn.model, "f16")).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    inside = [node.output[0] for node in graph.node if node.name.startswith(PIXELS)]
    assert {kinds[name] for name in inside} == {TensorProto.UINT8, TensorProto.FLOAT}


def test_a_network_in_half_precision_is_verified_against_the_pytorch_module():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 64, 2),
    ).eval()
    fcn = fullconv.convert(module, (8, 8), precision="f16")
    assert fcn.framework.name == "onnx"
    assert "windows of random pixels in f16: largest difference" in fcn.report.check
    found = fullconv.verify(fcn, module, pixels(12, 12))
    assert found.passed
    assert found.max_error > 0
    with torch.no_grad():
        module[3].weight *= 1.5
    assert not fullconv.verify(fcn, module, pixels(12, 12)).passed


@pytest.mark.parametrize("precision", list(KINDS))
def test_channels_that_come_last_do_so_in_every_runtime(precision):
    text = channels_last(8)
    rng = np.random.default_rng(0)
    made = onnx_of_text(
        text, {"w": (4, 3, 3, 3), "head": (256, 2)}, lambda shape: rng.normal(0, 0.1, size=shape)
    )
    fcn = fullconv.convert(made, precision=precision)
    images = pixels(12, 12)
    expected = np.moveaxis(fcn(np.moveaxis(images, 1, -1)), -1, 1)
    assert expected.shape == (1, 2, 5, 5)
    with open_runtime(fcn) as runtime:
        assert np.array_equal(runtime.run(images)[0], expected)
