"""Layers over turned axes or reordered channels, whose weights have the same shape turned.

Whole weights, so that scores are exactly the crops'. Nothing is checked on converting: a probe
would send windows through the layer one by one, and their scores would be right all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fullconv
from networks.checks import assert_shared
from oracle import assert_same

Run = Callable[[nn.ModuleList, Tensor], Tensor]


class Turning(nn.Module):
    """What ``run`` makes of an image by some layers, and a linear layer; weights are whole."""

    def __init__(self, window: tuple[int, ...], run: Run, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.run, self.window = nn.ModuleList(layers), run, window
        self.eval()
        with torch.no_grad():
            features = run(self.layers, torch.zeros(1, 1, *window)).flatten(1).shape[1]
        self.linear = nn.Linear(features, 2)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.run(self.layers, x).flatten(1))


def turned(layers: nn.ModuleList, x: Tensor) -> Tensor:
    return in_order(layers, x.transpose(2, 3))


def in_order(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def turned_each_time(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x).permute(0, 1, 3, 2)
    return x


def turned_and_not(layers: nn.ModuleList, x: Tensor) -> Tensor:
    return torch.cat([layers[0](x), layers[0](x.transpose(2, 3)).transpose(2, 3)], 1)


def cube(layers: nn.ModuleList, x: Tensor) -> Tensor:
    return layers[0](x.permute(0, 1, 4, 2, 3))


def shuffled(layers: nn.ModuleList, x: Tensor) -> Tensor:
    return layers[1](F.channel_shuffle(layers[0](x), 2))


W, conv = (8, 6), nn.Conv2d
MODELS = {
    "convolution": Turning(W, turned, conv(1, 2, 3)),
    "strided": Turning(W, turned, conv(1, 2, 2, stride=2)),
    "dilated": Turning(W, turned, conv(1, 2, 2, dilation=2, bias=False)),
    "depthwise": Turning(W, turned, conv(1, 2, 1), conv(2, 4, 3, groups=2)),
    "three in a row": Turning(W, turned_each_time, conv(1, 2, 2), conv(2, 2, 2), conv(2, 1, 2)),
    "padded": Turning(W, turned, conv(1, 2, 3, padding=1)),
    "transposed": Turning(W, turned, nn.ConvTranspose2d(1, 2, 3, padding=2)),
    "turned and not": Turning(W, turned_and_not, conv(1, 2, 3)),
    "cube": Turning((4, 5, 6), cube, nn.Conv3d(1, 2, 2)),
    "slopes of channels": Turning(W, shuffled, conv(1, 6, 3), nn.PReLU(6)),
    "moments of channels": Turning(W, shuffled, conv(1, 6, 3), nn.BatchNorm2d(6, eps=0)),
}


def image(sizes: tuple[int, ...]) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(-3, 4, (1, 1, *sizes), generator=draw).float()


def of_crops(model: nn.Module, x: Tensor, grid: fullconv.Grid) -> Tensor:
    """Return the scores of all windows, forwarding one crop at a time."""
    counts = grid.shape(tuple(x.shape[2:]))
    with torch.no_grad():
        places = product(*map(range, counts))
        scores = [model(x[(..., *grid.slices(*place))])[0] for place in places]
    return torch.stack(scores, 1).reshape(1, -1, *counts)


@pytest.mark.parametrize("name", MODELS)
def test_windows_equal_their_crops_to_the_bit(name: str) -> None:
    model = MODELS[name]
    fcn = fullconv.convert(model, window=model.window, check=False)
    x = image(tuple(n + 3 for n in model.window))
    assert_same(fcn(x).detach(), of_crops(model, x, fcn.grid))
    assert fcn.report.exact
    assert_shared(fcn)


@pytest.mark.parametrize("name", MODELS)
def test_the_approximate_form_is_the_classifier_at_its_own_size(name: str) -> None:
    model = MODELS[name]
    fcn = fullconv.convert(model, window=model.window, exact=False, check=False)
    x = image(model.window)
    assert_same(fcn(x).detach(), of_crops(model, x, fcn.grid))


@pytest.mark.parametrize("name", ["depthwise", "transposed", "slopes of channels"])
def test_saved_as_onnx_it_gives_the_same_scores(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    fcn = fullconv.convert(model, window=model.window, check=False)
    fcn.save(tmp_path / "turned.onnx")
    x = image(tuple(n + 3 for n in model.window))
    scores = fullconv.load(tmp_path / "turned.onnx")(x.numpy())
    assert_same(torch.from_numpy(scores), of_crops(model, x, fcn.grid))


PADDINGS = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1), (1, 0), (0, 1), (0,), (1,)]


@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_windows_apart_pad_some_of_their_axes(
    mode: str, padding: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a step as large as the window, each is padded at its native size."""
    monkeypatch.setattr("fullconv.lift.pace.PARTS_PAY", 1.0)  # windows are gathered, as for users
    axes = len(padding)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    kernel = tuple(3 if n else 1 for n in padding)
    layers = kind(1, 2, 2), kind(2, 1, kernel, padding=padding, padding_mode=mode)
    model = Turning((5,) * axes, in_order, *layers)
    fcn = fullconv.convert(model, window=model.window, step=5, check=False)
    x = image((10,) * axes)
    assert_same(fcn(x).detach(), of_crops(model, x, fcn.grid))
    assert fcn.report.exact
    assert not fcn.report.reasons
