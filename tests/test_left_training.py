"""Layers that train in a model that is in use, and what keeps state between calls.

The classifier is what the user calls: a model in eval mode with a layer that was left training is
another function than the same model with all its layers in eval mode.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fullconv
from fullconv.errors import ModelError
from keras_models import QUIETLY, keras, layers
from oracle import assert_close, scores_of_crops, torch_classifier

WINDOW = (6, 6)
ROUNDINGS = 64


def around(layer: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), layer, nn.Flatten(), nn.Linear(48, 4)).eval()


def left_training(layer: nn.Module) -> nn.Sequential:
    model = around(layer)
    model[1].train()
    return model


def images() -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(2, 2, 9, 11, generator=draw) * torch.linspace(0.1, 3, 11)


def said(model: Any) -> str:
    with pytest.raises(ModelError) as caught:
        fullconv.convert(model, WINDOW)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NORMS = {
    "batch norm": lambda: nn.BatchNorm2d(3),
    "batch norm without weights": lambda: nn.BatchNorm2d(3, affine=False),
    "instance norm": lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    "inside": lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
    "nothing that trains": nn.ReLU,
}


@pytest.mark.parametrize("kind", NORMS)
def test_a_layer_left_training_has_the_scores_that_the_model_gives(kind: str) -> None:
    model = left_training(NORMS[kind]())
    kept = copy.deepcopy(model.state_dict())
    fcn = fullconv.convert(model, WINDOW)
    assert fullconv.verify(fcn, model, images()).passed
    assert model[1].training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, kept[name])
    scores = fcn(images())
    expected = scores_of_crops(torch_classifier(model), images(), WINDOW, (1, 1))
    unit = float(np.spacing(np.float32(expected.abs().max())))
    assert_close(scores, expected, unit, ROUNDINGS)


def test_a_model_in_training_mode_is_converted_as_it_is_in_use() -> None:
    model = around(nn.BatchNorm2d(3)).train()
    scores = fullconv.convert(model, WINDOW)(images())
    assert model.training
    expected = scores_of_crops(torch_classifier(model.eval()), images(), WINDOW, (1, 1))
    unit = float(np.spacing(np.float32(expected.abs().max())))
    assert_close(scores, expected, unit, ROUNDINGS)


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.RReLU()])
def test_a_dropout_left_training_is_refused_by_name(layer: nn.Module) -> None:
    model = left_training(layer)
    assert said(model).startswith(
        f"convert: {type(layer).__name__} '1' draws random numbers when the model is in use, so a "
        f"window has no score of its own; switch it off (model.eval() in PyTorch; "
    )
    fcn = fullconv.convert(model, WINDOW, allow_random=True)
    assert not fcn.report.exact
    assert not torch.equal(fcn(images()), fcn(images()))


def test_memory_that_is_read_before_it_is_written_is_refused_by_name() -> None:
    class Read(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :4] + (torch.empty_like(x) * 0).flatten(1)[:, :4]

    class Written(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            held = torch.empty(1, 4).fill_(3.0)
            parts = torch.empty(1, 2)
            parts[:, 0] = 1.0
            parts[:, 1] = 2.0
            return x.flatten(1)[:, :4] + held + parts.sum()

    assert said(Read().eval()).startswith("convert: empty_like 'empty_like' draws random numbers")
    model, pixels = nn.Sequential(nn.Conv2d(2, 2, 1), Written()).eval(), images().round()
    model[0].weight.data, model[0].bias.data = torch.ones(2, 2, 1, 1), torch.ones(2)
    scores = fullconv.convert(model, WINDOW)(pixels)
    expected = scores_of_crops(torch_classifier(model), pixels, WINDOW, (1, 1))
    assert torch.equal(scores, expected)


def test_a_function_that_is_mapped_over_images_is_refused() -> None:
    class Mapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = torch.vmap(lambda y: y - y.mean())(x.flatten(1)[:, :4])
            return scores

    assert said(Mapped().eval()) == (
        "convert: the model maps a function over the images (torch.vmap), which cannot be "
        "followed. Write the function for a batch of images, without vmap."
    )


class Counting(nn.Module):
    def __init__(self, *, buffer: bool) -> None:
        super().__init__()
        if buffer:
            self.register_buffer("seen", torch.zeros(()))
        else:
            self.seen: Any = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x.flatten(1)[:, :4] * self.seen


STATE = (
    "convert: the model gives other scores for a crop each time that it is scored: it keeps state "
)


def test_what_keeps_state_between_calls_is_refused_for_that_reason() -> None:
    assert said(Counting(buffer=True).eval()).startswith(f"{STATE}between calls, in 'seen'; ")
    assert said(Counting(buffer=False).eval()).startswith(
        f"{STATE}between calls or draws random numbers; "
    )


@QUIETLY
def test_a_layer_of_keras_that_keeps_state_is_refused_for_that_reason() -> None:
    class Seen(layers.Layer):
        def build(self, shape: Any) -> None:
            self.seen = self.add_weight(name="seen", shape=(), trainable=False)

        def call(self, x: Any) -> Any:
            self.seen.assign_add(1.0)
            return x * self.seen

    image = keras.Input((*WINDOW, 2))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(Seen(name="counter")(image))))
    assert said(model).startswith(f"{STATE}between calls, in 'counter/seen'; ")
