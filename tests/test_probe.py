"""The probe at every conversion: what it finds, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper
from torch import Tensor, nn

import fullconv
from fullconv.cli.group import commands
from fullconv.errors import DifferenceError, ModelError
from fullconv.lift import registry
from fullconv.operations import Convolution, Identity
from fullconv.verification import probing
from keras_models import QUIETLY, keras, layers
from oracle import assert_close, scores_of_crops, torch_classifier

WINDOW = (6, 7)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(60, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv(x).flatten(1))
        return scores


def onnx_model() -> onnx.ModelProto:
    weights = np.random.default_rng(0).normal(size=(84, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, *WINDOW])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def keras_model() -> Any:
    image = keras.Input((*WINDOW, 2))
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(image)))


def wrong_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rule for convolutions hand on its map: a rule that is wrong."""

    def rule(lifting: Any, node: Any, operation: Any) -> Any:
        from fullconv.lift.convolution import convolution

        return lifting.each(node, Identity("wrong"), convolution(lifting, node, operation)).each(
            lambda _, value: lifting.out.helper((value, value), registry_sum())
        )

    monkeypatch.setitem(registry.rule._functions, Convolution, rule)


def registry_sum() -> Any:
    from fullconv.operations import Combine

    return Combine("sum")


@QUIETLY
@pytest.mark.parametrize("make", [Small, onnx_model, keras_model])
def test_every_conversion_compares_windows_of_random_pixels(make: Any) -> None:
    model = make()
    fcn = fullconv.convert(model.eval() if isinstance(model, nn.Module) else model, WINDOW)
    assert fcn.probe is not None
    assert (fcn.probe.proof.windows, fcn.probe.proof.passed) == (5, True)
    assert not fcn.probe.alike
    assert fcn.report.check.startswith(
        "checked  5 windows of random pixels: largest difference from their crops "
    )
    assert str(fcn.report).splitlines()[-1] == fcn.report.check
    left_out = fullconv.convert(model, WINDOW, check=False)
    assert left_out.probe is None
    assert str(left_out.report).splitlines()[-1] == (
        "unproved nothing was compared with crops (check=False)"
    )


def test_the_contrasts_are_a_tenth_one_and_ten_times_the_range_of_the_images() -> None:
    """And that of bytes, where nothing says which range it is."""
    fcn = fullconv.convert(Small().eval(), WINDOW, check=False)
    pixels = probing.random_pixels(fcn, (40, 40))
    assert pixels.shape == (4, 2, 40, 40)
    assert pixels.min(axis=(1, 2, 3)) == pytest.approx([0, 0, 0, 0], abs=0.2)
    assert pixels.max(axis=(1, 2, 3)) == pytest.approx([0.1, 1, 10, 255], rel=0.01)
    fcn.preprocessing = fullconv.Preprocessing(1 / 255, (0.5, 0.25), (0.5, 0.25))
    pixels = probing.random_pixels(fcn, (40, 40))
    assert pixels.shape == (3, 2, 40, 40)
    middle, ranges = np.array([0, 1]), np.array([2, 4])
    for contrast, image in zip((0.1, 1, 10), pixels, strict=True):
        low, high = middle - contrast * ranges / 2, middle + contrast * ranges / 2
        assert image.min(axis=(1, 2)) == pytest.approx(low, abs=0.02 * contrast * 4)
        assert image.max(axis=(1, 2)) == pytest.approx(high, abs=0.02 * contrast * 4)


class BehindBytes(nn.Module):
    """Another network for images with a pixel beyond a threshold, as a fault would have it."""

    def forward(self, x: Tensor) -> Tensor:
        scores = x.flatten(1)[:, :4]
        return torch.where((x > 60).any(), scores * 2, scores)


def test_pixels_reach_those_of_bytes_where_nothing_says_their_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = BehindBytes().eval()
    right = fullconv.FullyConvolutional.scores
    monkeypatch.setattr(
        fullconv.FullyConvolutional, "scores", lambda fcn, x: right(fcn, x.clamp(max=60))
    )
    with pytest.raises(DifferenceError):
        fullconv.convert(model, WINDOW)
    ranged = fullconv.Preprocessing(1 / 255)
    assert fullconv.convert(model, WINDOW, preprocessing=ranged).probe is not None


def test_a_wrong_rule_is_found_and_each_window_runs_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Small().eval()
    right = fullconv.convert(model, WINDOW)
    wrong_convolutions(monkeypatch)
    unproved = fullconv.convert(model, WINDOW, check=False)
    images = torch.rand(2, 2, 9, 10)
    assert not torch.allclose(unproved(images), right(images))
    fcn = fullconv.convert(model, WINDOW)
    (reason,) = fcn.report.reasons
    assert str(reason) == (
        "the classifier mixes windows that run together, as a probe has shown; it runs on each "
        "alone"
    )
    expected = scores_of_crops(torch_classifier(model), images, WINDOW, (1, 1))
    assert_close(fcn(images), expected, float(np.spacing(np.float32(expected.abs().max()))), 32)


@QUIETLY
@pytest.mark.parametrize("make", [onnx_model, keras_model])
def test_any_framework_runs_a_whole_classifier_on_each_window_alone(make: Any) -> None:
    from fullconv.conversion.planning import plan_conversion

    model = make()
    fcn = fullconv.convert(model, step=(2, 1))
    plan = plan_conversion(model, None, (2, 1), exact=True, image=None, allow_random=False)
    alone = plan.one_by_one()
    written = plan.framework.write(alone.lifted.graph, plan.source, alone.report.grid)
    run = plan.framework.runner(written)
    images = np.random.default_rng(0).random((2, 2, 9, 10), np.float32)
    assert np.allclose(run(images), fcn.framework.runner(fcn.model)(images), atol=1e-5)


def test_what_stays_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = fullconv.FullyConvolutional.scores
    monkeypatch.setattr(fullconv.FullyConvolutional, "scores", lambda *a: scores(*a) + 0.5)
    with pytest.raises(DifferenceError) as caught:
        fullconv.convert(Small().eval(), WINDOW)
    assert str(caught.value).startswith(
        "convert: the model gives other scores for crops of random pixels than the converted "
        "network (by up to 0.5; more than "
    )
    assert str(caught.value).endswith(
        "is no rounding), and no form of it has the crops' scores. Please report this model; "
        "check=False (--no-check) converts it all the same."
    )
    assert fullconv.convert(Small().eval(), WINDOW, check=False).report.exact


def test_a_runtime_that_fails_is_refused_at_the_conversion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("there is no such operator here")

    monkeypatch.setattr(fullconv.FullyConvolutional, "scores", fails)
    with pytest.raises(ModelError) as caught:
        fullconv.convert(onnx_model())
    assert str(caught.value) == (
        "convert: the converted network fails on 8x6 pixels (width x height): there is no such "
        "operator here. Please report this model."
    )


def test_a_classifier_that_takes_no_single_crop_is_refused() -> None:
    class Several(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.batch_norm(x.flatten(1), None, None, training=True)

    with pytest.raises(fullconv.FullconvError) as caught:
        fullconv.convert(Several().eval(), WINDOW)
    assert "\n" not in str(caught.value)


def test_a_saturated_classifier_proves_nothing_and_is_said_to() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1)).eval()
    nn.init.zeros_(model[1].weight)
    nn.init.constant_(model[1].bias, 0)
    fcn = fullconv.convert(model, (4, 4))
    assert fcn.report.warnings == (
        "all windows of random pixels have the same scores, so comparing them with crops proved "
        "nothing; compare windows of a picture: fullconv.verify, 'fullconv verify'",
    )


def test_the_approximate_form_is_compared_at_the_native_size() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(126, 4)).eval()
    fcn = fullconv.convert(model, WINDOW, exact=False)
    assert not fcn.report.exact
    assert fcn.report.check.startswith("checked  4 windows of random pixels: ")


def test_the_command_line_leaves_the_probe_out_where_it_is_told_to(tmp_path: Any) -> None:
    path, out = tmp_path / "small.onnx", tmp_path / "fcn.onnx"
    onnx.save(onnx_model(), path)
    result = CliRunner().invoke(commands, ["convert", str(path), "-o", str(out), "--no-check"])
    assert result.exit_code == 0
    assert "unproved the conversion was not compared with crops (--no-check)" in result.stdout
    arguments = ["convert", str(path), "-o", str(out), "--json"]
    record = json.loads(CliRunner().invoke(commands, arguments).stdout)
    assert record["check"].startswith("checked  5 windows")
    assert fullconv.load(out).report.check == record["check"]
    for verb in ("verify", "scan", "detect", "bench", "convert"):
        assert "--no-check" in CliRunner().invoke(commands, [verb, "--help"]).output
