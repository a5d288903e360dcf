"""What counts as equal: crops alone, but for roundings; never a difference that is more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import fullconv
from fullconv.verification.judging import Crops, judge
from fullconv.verification.verified import Verification
from keras_models import QUIETLY, keras, layers

ULP = float(np.finfo(np.float32).eps)


def judged(
    lifted: Any,
    alone: Any,
    *,
    together: Any = None,
    double: Callable[[int], Any] | None = None,
    converted: Callable[[int], Any] | None = None,
    exact: bool = True,
) -> Verification:
    """Judge arrays ``(windows, numbers)``."""
    lifted, alone = np.asarray(lifted, np.float32), np.asarray(alone, np.float32)
    company = alone if together is None else np.asarray(together, np.float32)
    fine = [
        None if scored is None else lambda k, scored=scored: [np.asarray(scored(k), np.float64)]
        for scored in (double, converted)
    ]
    crops = Crops(lambda k: [alone[k : k + 1]], lambda n: [company[:n]], *fine)
    return judge([lifted], crops, exact)


def scores(windows: int = 20, numbers: int = 3) -> Any:
    return np.random.default_rng(0).normal(size=(windows, numbers)).astype(np.float32)


def test_roundings_are_equal_and_more_is_not() -> None:
    alone = scores()
    unit = ULP * np.abs(alone).max()
    assert judged(alone + 30 * unit, alone).passed
    proof = judged(alone + 40 * unit, alone)
    assert not proof.passed
    assert proof.verdict.startswith("NOT equal")
    assert proof.undecided == "the classifier's own numbers are all there is"
    assert judged(alone + 1, alone, exact=False).passed


def test_crops_alone_are_the_definition_and_their_company_buys_no_more_than_roundings() -> None:
    alone, mixed = scores(), scores() + np.float32(0.2)
    proof = judged(mixed, alone, together=mixed)
    assert not proof.passed
    assert proof.self_error == pytest.approx(0.2, abs=1e-6)
    assert proof.max_error == pytest.approx(0.2, abs=1e-6)
    assert judged(alone, alone, together=mixed).passed


def test_a_difference_of_a_few_roundings_from_itself_buys_a_few_more() -> None:
    alone = scores()
    unit = ULP * np.abs(alone).max()
    assert not judged(alone + 100 * unit, alone).passed
    assert judged(alone + 100 * unit, alone, together=alone + 8 * unit).passed
    assert not judged(alone + 1000 * unit, alone, together=alone + 1).passed


def test_what_is_neither_is_decided_in_double_precision() -> None:
    alone = scores()
    off = np.float32(1e-4)
    rounded: Any = lambda k: alone[k] + 1e-5  # noqa: E731
    assert judged(alone + off / 4, alone, double=rounded).passed
    assert not judged(alone + off, alone, double=rounded).passed
    # That of the converted network tells roundings from a mistake that is as small.
    assert judged(alone + off, alone, double=rounded, converted=rounded).passed
    assert not judged(alone + off, alone, double=rounded, converted=lambda k: alone[k]).passed
    assert not judged(alone + 4 * off, alone, double=rounded, converted=rounded).passed
    proof = judged(alone + off, alone, double=lambda k: alone[k].astype(np.float64))
    assert not proof.passed
    assert proof.rounding == 0
    # A classifier that has no digits at all proves nothing.
    assert not judged(alone + 1, alone, double=lambda k: alone[k] + 1).passed


def test_large_neighbours_hide_nothing() -> None:
    alone = scores() * np.float32([1e6, 1, 1e-3])
    assert judged(alone, alone).passed
    for column, size in ((1, 0.05), (2, 5e-5)):
        wrong = alone.copy()
        wrong[:, column] += size
        assert not judged(wrong, alone).passed
        assert not judged(wrong, alone, double=lambda k: alone[k].astype(np.float64)).passed


def test_nothing_is_nothing_and_nan_is_nan() -> None:
    alone = scores()
    alone[3, 1] = np.nan
    alone[4, 2] = -np.inf
    assert judged(alone, alone).passed
    wrong = alone.copy()
    wrong[3, 1] = 0
    assert judged(wrong, alone).max_error == np.inf
    assert not judged(wrong, alone).passed
    assert judged(np.zeros((4, 3)), np.zeros((4, 3))).passed
    assert not judged(np.full((4, 3), 1e-20), np.zeros((4, 3))).passed


def test_every_output_is_judged_by_its_own_size() -> None:
    large, small = scores() * 1e6, scores()
    crops = Crops(lambda k: [large[k], small[k]], lambda n: [large[:n], small[:n]])
    assert judge([large, small], crops, exact=True).passed
    assert not judge([large, small + np.float32(0.01)], crops, exact=True).passed


class Saturating(nn.Module):
    """Logits of some hundreds, and a softmax."""

    def __init__(self, size: float = 1.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(784, 3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw) * 0.3
        self.fc.weight.data *= 0.1 * size

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.conv(x).relu().flatten(1))
        return logits.softmax(1)


def picture() -> Tensor:
    return 255 * torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [1.0, 4.0])
def test_a_softmax_over_large_logits_is_equal_and_another_function_is_not(size: float) -> None:
    model = Saturating(size).eval()
    fcn = fullconv.convert(model, (16, 16))
    proof = fullconv.verify(fcn, model, picture(), windows=256)
    assert proof.passed
    assert proof.max_error < 1e-3
    other = Saturating(size * 1.001).eval()
    assert not fullconv.verify(fcn, other, picture(), windows=256).passed
    bias = Saturating(size).eval()
    bias.conv.bias.data[0] += 1e-3
    assert not fullconv.verify(fcn, bias, picture(), windows=256).passed


def onnx_form(model: Saturating) -> onnx.ModelProto:
    numbers = {
        "w": model.conv.weight,
        "b": model.conv.bias,
        "v": model.fc.weight.T,
        "c": model.fc.bias,
    }
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Flatten", ["z"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "c"], ["l"]),
        helper.make_node("Softmax", ["l"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "saturating",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [onnx.numpy_helper.from_array(t.detach().numpy(), name) for name, t in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_onnx_decides_in_double_precision_too() -> None:
    model = onnx_form(Saturating().eval())
    fcn = fullconv.convert(model)
    proof = fullconv.verify(fcn, model, picture().numpy(), windows=256)
    assert proof.passed
    other = onnx_form(Saturating(1.001).eval())
    wrong = fullconv.verify(fcn, other, picture().numpy(), windows=256)
    assert not wrong.passed
    assert wrong.rounding is not None
    assert "model's own rounding" in str(wrong)


@QUIETLY
def test_keras_decides_in_double_precision_too() -> None:
    def built(size: float) -> Any:
        keras.utils.set_random_seed(0)
        image = keras.Input((16, 16, 3))
        x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image))
        model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
        kernel = model.layers[-1].kernel
        kernel.assign(kernel * size)
        return model

    model = built(1)
    fcn = fullconv.convert(model)
    images = picture().permute(0, 2, 3, 1).numpy()
    assert fullconv.verify(fcn, model, images, windows=64).passed
    wrong = fullconv.verify(fcn, built(1.001), images, windows=64)
    assert not wrong.passed
    assert (wrong.undecided, keras.config.floatx()) == ("", "float32")


def test_where_double_precision_cannot_be_had_it_is_said() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.fc(x.float().flatten(1))
            return scores

    model, other = Single().eval(), Single().eval()
    fcn = fullconv.convert(model, (4, 4))
    proof = fullconv.verify(fcn, other, torch.rand(1, 1, 6, 6))
    assert not proof.passed
    assert proof.undecided
    assert "in double precision    not to be had: " in str(proof)


@pytest.mark.parametrize("parts", [[0, 1], [0], [1]])
def test_a_classifier_of_one_image_is_verified(parts: list[int]) -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.fc(x.view(1, -1))
            return scores.squeeze()[parts].squeeze()

    model = One().eval()
    fcn = fullconv.convert(model, (4, 4))
    proof = fullconv.verify(fcn, model, torch.rand(2, 1, 6, 7))
    assert (proof.passed, proof.self_error, proof.windows) == (True, 0.0, 24)
