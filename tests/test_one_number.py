"""One number for a window: the length along every axis that the model has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import fullconv
from fullconv.cli.group import commands

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

# PyTorch's exporters warn on their own behalf.
pytestmark = pytest.mark.filterwarnings("ignore")

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def convolution(axes: int) -> nn.Module:
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[axes - 1]
    return nn.Sequential(CONV[axes - 1](2, 3, 3), pool(1), nn.Flatten(), nn.Linear(3, 2)).eval()


class Attention(nn.Module):
    """A network over two axes with a convolution over channels, as ECA networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 4, 3), nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = self.gate(x.mean((2, 3)).unsqueeze(1)).squeeze(1).sigmoid()
        return (x * gate[:, :, None, None]).mean((2, 3))


class Dense(nn.Module):
    """One layer over the samples of a recording without channels, or the pixels of an image."""

    def __init__(self, axes: int, channels: int = 1) -> None:
        super().__init__()
        self.fc = nn.Linear(channels * 8**axes, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_layers_of_a_module_say_how_many_axes_there_are(axes: int) -> None:
    model = convolution(axes)
    assert fullconv.explain(model, window=8).grid.window == (8,) * axes
    traced = torch.jit.trace(model, torch.zeros(1, 2, *(8,) * axes))
    assert fullconv.explain(traced, window=8).grid.window == (8,) * axes


@pytest.mark.parametrize(
    ("model", "axes"),
    [(Attention(), 2), (Dense(1), 1), (Dense(2), 2), (Dense(2, channels=3), 2)],
)
def test_where_layers_do_not_say_it_is_what_the_module_takes(model: nn.Module, axes: int) -> None:
    assert fullconv.explain(model.eval(), window=8).grid.window == (8,) * axes


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_program_says_it_by_its_input(axes: int) -> None:
    crop = torch.zeros(2, 2, *(8,) * axes)
    program = torch.export.export(convolution(axes), (crop,))
    assert fullconv.explain(program, window=8).grid.window == (8,) * axes


def classifier(*shape: Any) -> onnx.ModelProto:
    """Return an ONNX classifier of images ``(N, *shape)``, of 8 numbers along every axis."""
    free = [8 if isinstance(n, str) else n for n in shape]
    weight = numpy_helper.from_array(np.ones((int(np.prod(free)), 2), np.float32), "w")
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "classifier", [image], [scores], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        (("L",), (8,)),
        ((3, "L"), (8,)),
        ((3, "H", "W"), (8, 8)),
        ((1, "D", "H", "W"), (8, 8, 8)),
    ],
)
def test_an_onnx_model_says_it_by_its_input(
    shape: tuple[Any, ...], window: tuple[int, ...], tmp_path: Path
) -> None:
    onnx.save(classifier(*shape), tmp_path / "model.onnx")
    report = fullconv.explain(tmp_path / "model.onnx", window=8)
    assert report.grid.window == window
    result = CliRunner().invoke(commands, ["explain", str(tmp_path / "model.onnx"), "--window=8"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{report}".partition("\n")[0])  # which window was taken


def test_a_vector_of_features_is_a_window_of_one_pixel() -> None:
    assert fullconv.explain(classifier(5), window=1).grid.window == (1, 1)


def test_one_pixel_of_any_number_of_axes_holds_a_vector_of_features() -> None:
    model = nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(4, eps=0.0), nn.ReLU(), nn.Linear(4, 2)
    ).eval()
    numbers = torch.Generator().manual_seed(0)
    for name, values in model.state_dict().items():
        if name.endswith(("weight", "bias")):
            values.copy_(torch.randint(-3, 4, values.shape, generator=numbers))
    images = torch.randint(-3, 4, (2, 5, 6), generator=numbers).float()
    crops = model(images.transpose(1, 2).reshape(-1, 5)).reshape(2, 6, 2).transpose(1, 2)
    assert fullconv.convert(model, window=1).grid.window == (1, 1)
    for window in ((1,), (1, 1), (1, 1, 1)):
        fcn = fullconv.convert(model, window)
        axes = len(window)
        assert fcn.report.exact
        scores = fcn(images.reshape(2, 5, 6, *(1,) * (axes - 1)))
        np.testing.assert_array_equal(scores.detach().flatten(2), crops.detach())
    assert fullconv.convert(classifier(5), (1,))(np.ones((1, 5, 3), np.float32)).shape == (1, 2, 3)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_keras_model_says_it_by_its_input(axes: int) -> None:
    from keras_models import keras, layers

    conv = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[axes - 1](3, 3)
    pool = (
        layers.GlobalMaxPooling1D,
        layers.GlobalMaxPooling2D,
        layers.GlobalMaxPooling3D,
    )[axes - 1]()
    model = keras.Sequential([keras.Input((*(None,) * axes, 2)), conv, pool])
    assert fullconv.explain(model, window=8).grid.window == (8,) * axes


def test_one_number_is_the_size_of_an_image_too() -> None:
    report = fullconv.explain(convolution(2), window=8, step=2, image=20)
    assert report.image == (20, 20)
