"""What a file holds: the form that is faster with what runs the file.

Weights and pixels are small whole numbers, so that equal means equal (see `oracle`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import fullconv
from fullconv.cli.group import commands
from fullconv.conversion.report import GATHERED
from fullconv.frameworks.onnx.framework import OnnxFramework
from fullconv.lift import pace
from fullconv.lift.pace import Pace
from oracle import assert_same

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from models import with_integers  # noqa: E402

# PyTorch's exporters warn on their own behalf.
pytestmark = pytest.mark.filterwarnings("ignore")

WITHIN = 0.05
"""By how much the graphs may differ that the two ways to ONNX give."""
AROUND_MEANS = 2
"""More nodes that PyTorch's exporter writes: around a global mean over one axis."""

LENGTHS = [(400,), (1500,), (64, 48), (16, 16, 16)]

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGE = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
GLOBAL = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


class Residual(nn.Module):
    """Two padded convolutions with batch normalization, the first with a stride, around a third."""

    def __init__(self, axes: int, before: int, after: int) -> None:
        super().__init__()
        conv, norm = CONV[axes - 1], NORM[axes - 1]
        self.one, self.two = conv(before, after, 3, 2, 1), conv(after, after, 3, 1, 1)
        self.norm, self.other = norm(after), norm(after)
        self.short = conv(before, after, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.one(x)))
        return torch.relu(self.other(self.two(y)) + self.short(x))


def strided(axes: int) -> nn.Module:
    blocks = Residual(axes, 8, 8), Residual(axes, 8, 16)
    return nn.Sequential(CONV[axes - 1](2, 8, 7, 2, 3), nn.ReLU(), *blocks, *head(axes, 16))


def pooled(axes: int) -> nn.Module:
    stem = CONV[axes - 1](2, 8, 7, 2, 3), nn.ReLU(), MAX[axes - 1](3, 2, 1)
    return nn.Sequential(*stem, Residual(axes, 8, 8), *head(axes, 8))


def overhanging(axes: int) -> nn.Module:
    maximum, average = MAX[axes - 1], AVERAGE[axes - 1]
    first = CONV[axes - 1](2, 8, 5, 2, 2), nn.ReLU(), maximum(3, 2, ceil_mode=True)
    then = CONV[axes - 1](8, 8, 3, 1, 1), nn.ReLU(), average(3, 2, 1, ceil_mode=True)
    return nn.Sequential(*first, *then, *head(axes, 8))


def uneven(axes: int) -> nn.Module:
    first = CONV[axes - 1](2, 8, 4, padding="same"), nn.ReLU()
    then = AVERAGE[axes - 1](2, count_include_pad=False), nn.ReLU()
    return nn.Sequential(*first, *then, *head(axes, 8))


def head(axes: int, channels: int) -> tuple[nn.Module, ...]:
    return GLOBAL[axes - 1](1), nn.Flatten(), nn.Linear(channels, 3)


def nodes(path: Path) -> int:
    return len(onnx.load(path).graph.node)


@pytest.mark.parametrize("network", [strided, pooled, overhanging, uneven])
@pytest.mark.parametrize(
    "length", [(64,), (400,), (1500,), (40, 40), (64, 48), (16, 16, 16)], ids=str
)
def test_both_ways_to_onnx_give_the_same_graph(
    network: Callable[[int], nn.Module],
    length: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A classifier of PyTorch, converted and then saved; and exported first."""
    monkeypatch.setattr(pace, "PARTS_PAY", 1.0)
    model, path = network(len(length)).eval(), tmp_path / "fcn.onnx"
    fcn = fullconv.convert(model, window=length, check=False)
    fcn.save(path)
    own = nodes(path)
    crop = torch.zeros(1, 2, *length)
    exported = torch.onnx.export(model, (crop,), dynamo=True, opset_version=20, verbose=False)
    other = fullconv.convert(exported.model_proto, check=False)
    assert fcn.grid == other.grid
    other.save(path)
    most = nodes(path)
    extra = AROUND_MEANS if len(length) == 1 else 0
    assert (1 - WITHIN) * most - extra <= own <= (1 + WITHIN) * most


@pytest.fixture
def parts_in_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts of windows be free in PyTorch and Keras, and cost much in ONNX Runtime."""
    monkeypatch.setattr(pace, "PARTS_PAY", 1.0)
    monkeypatch.setattr("fullconv.frameworks.Framework.pace", Pace(0, 0, 0, 0))
    monkeypatch.setattr(OnnxFramework, "pace", Pace(block=10**9))


def is_gathered(fcn: fullconv.FullyConvolutional) -> bool:
    return any(change.after == GATHERED for change in fcn.report.changes)


def padded() -> nn.Module:
    layers = nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 4, 3, 2, 1)
    return with_integers(nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8, 3)))


def signal() -> Any:
    return torch.randint(-3, 4, (2, 2, 40), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.usefixtures("parts_in_torch_alone")
def test_a_file_has_the_form_that_onnx_runtime_is_faster_with(tmp_path: Path) -> None:
    path = tmp_path / "fcn.onnx"
    fcn = fullconv.convert(padded(), window=(16,), classes=["a", "b", "c"], background="b")
    fcn.classes = ("x", "y", "z")
    fcn.save(path)
    saved = fullconv.load(path)
    assert not is_gathered(fcn)
    assert is_gathered(saved)
    assert saved.report.as_dict() == fcn.as_saved(path).report.as_dict()
    assert saved.report.check == fcn.report.check
    assert saved.classes == ("x", "y", "z")
    assert saved.report.cost.exact > fcn.report.cost.exact
    assert saved.products is not None
    assert fcn.products is not None
    assert saved.products[0] > fcn.products[0]
    assert_same(saved(signal().numpy()), fcn(signal()).detach().numpy())
    assert fcn.as_saved(tmp_path / "fcn.pt2") is fcn


@pytest.mark.usefixtures("parts_in_torch_alone")
def test_a_deployed_model_has_the_form_that_onnx_runtime_is_faster_with(tmp_path: Path) -> None:
    halved = fullconv.Preprocessing(scale=0.5, mean=(1,))
    plain = fullconv.convert(padded(), window=(16,), preprocessing=halved)
    fcn = fullconv.convert(padded(), window=(16,), preprocessing=halved, embed_preprocessing=True)
    other = plain.as_saved(tmp_path / "fcn.onnx")
    assert not is_gathered(plain)
    assert is_gathered(fcn)
    assert fcn.report.cost.exact == other.report.cost.exact
    assert (fcn.footprint, fcn.products) == (other.footprint, other.products)
    pixels = np.random.default_rng(0).integers(0, 9, (2, 40, 2), np.uint8)
    prepared = halved.apply(np.moveaxis(pixels, -1, 1), dimensions=1)
    scores = plain(torch.from_numpy(prepared)).detach().numpy()
    assert_same(fcn(pixels), np.moveaxis(scores, 1, -1))


def trained(fcn: fullconv.FullyConvolutional) -> None:
    fcn.model = copy.deepcopy(fcn.model)
    with torch.no_grad():
        next(fcn.model.parameters()).add_(1)


def in_place(fcn: fullconv.FullyConvolutional) -> None:
    with torch.no_grad():
        next(fcn.model.parameters()).add_(1)


def replaced(fcn: fullconv.FullyConvolutional) -> None:
    names = [name for name, module in fcn.model.named_modules() if isinstance(module, nn.ReLU)]
    assert names
    for name in names:
        fcn.model.set_submodule(name, nn.ReLU6())


@pytest.mark.usefixtures("parts_in_torch_alone")
@pytest.mark.parametrize(
    ("change", "gathers"), [(in_place, True), (trained, False), (replaced, False)]
)
def test_a_file_has_what_became_of_the_network_since(
    change: Callable[[fullconv.FullyConvolutional], None], gathers: bool, tmp_path: Path
) -> None:
    fcn = fullconv.convert(padded(), window=(16,))
    before = fcn(signal())
    change(fcn)
    fcn.save(tmp_path / "fcn.onnx")
    saved = fullconv.load(tmp_path / "fcn.onnx")
    assert is_gathered(saved) is gathers
    scores = fcn.model(signal())
    assert not torch.equal(scores, before)
    assert_same(saved(signal().numpy()), scores.detach().numpy())


@pytest.mark.usefixtures("parts_in_torch_alone")
def test_the_command_tells_what_the_file_is(tmp_path: Path) -> None:
    program = torch.export.export(padded(), (torch.zeros(1, 2, 16),))
    torch.export.save(program, tmp_path / "model.pt2")
    for name, gathers in (("fcn.onnx", True), ("fcn.pt2", False)):
        given = ["convert", str(tmp_path / "model.pt2"), "-o", str(tmp_path / name)]
        said = CliRunner().invoke(commands, given, catch_exceptions=False)
        assert said.exit_code == 0
        assert (GATHERED in said.output) is gathers


@pytest.mark.usefixtures("parts_in_torch_alone")
def test_a_file_of_keras_has_the_form_that_onnx_runtime_is_faster_with(tmp_path: Path) -> None:
    from keras_models import keras, layers

    path = tmp_path / "fcn.onnx"
    model = keras.Sequential(
        [
            keras.Input((16, 2)),
            layers.Conv1D(4, 3, padding="same", activation="relu"),
            layers.Conv1D(4, 3, strides=2, padding="same"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    draw = np.random.default_rng(0)
    model.set_weights([draw.integers(-1, 2, w.shape).astype(w.dtype) for w in model.get_weights()])
    fcn, images = fullconv.convert(model), np.moveaxis(signal().numpy(), 1, 2)
    fcn.save(path)
    saved = fullconv.load(path)
    assert not is_gathered(fcn)
    assert is_gathered(saved)
    assert_same(saved(np.moveaxis(images, 1, 2)), np.moveaxis(np.asarray(fcn(images)), 2, 1))
    first = fcn.model.weights[0]
    first.assign(first + 1)
    fcn.save(path)
    saved = fullconv.load(path)
    assert not is_gathered(saved)
    assert_same(saved(np.moveaxis(images, 1, 2)), np.moveaxis(np.asarray(fcn(images)), 2, 1))
