"""The converted PyTorch model exports again: to .pt2 and ONNX, with free height and width.

Weights and pixels are small whole numbers, so that equal means equal (see `oracle`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fullconv
from oracle import assert_same, onnx_classifier, scores_of_crops, torch_classifier

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.export import Dim  # noqa: E402

from models import (  # noqa: E402
    Normed,
    Padded,
    Several,
    Tied,
    Valid,
    integer_images,
    with_integers,
)

# PyTorch's exporters warn on their own behalf.
pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = [(0, 0), (1, 3), (4, 0), (0, 9), (13, 22)]
"""Pixels beyond the window; the first is the window itself."""


def sizes(network: Any) -> list[tuple[int, int]]:
    height, width = network.window
    return [(height + y, width + x) for y, x in SIZES]


def converted(network: Any, model: nn.Module, **options: Any) -> Any:
    return fullconv.convert(model, window=network.window, **options)


def example(network: Any) -> torch.Tensor:
    """Return images to trace with: several windows either way."""
    return integer_images(2, 1, network.window[0] + 11, network.window[1] + 14)


def dynamic() -> tuple[dict[int, Any]]:
    return ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)


@pytest.mark.parametrize("network", [Tied, Normed])
def test_torch_export_takes_it_with_free_height_and_width(network: type[nn.Module]) -> None:
    model = with_integers(network())
    fcn = converted(network, model)
    program = torch.export.export(fcn.model, (example(network),), dynamic_shapes=dynamic())
    # PyTorch's guards take a map of one row or column for a special case, which it is not.
    again = program.module(check_guards=False)
    for size in sizes(network):
        images = integer_images(3, 1, *size)
        with torch.no_grad():
            assert_same(again(images), fcn(images))


@pytest.mark.parametrize(
    ("network", "step", "suffix"),
    [
        (Valid, None, ".onnx"),
        (Valid, None, ".pt2"),
        (Normed, 3, ".onnx"),
        (Normed, 3, ".pt2"),
        (Tied, (2, 8), ".pt2"),
    ],
)
def test_a_saved_model_answers_at_every_size(
    network: type[nn.Module], step: Any, suffix: str, tmp_path: Path
) -> None:
    model = with_integers(network())
    fcn = converted(network, model, step=step)
    fcn.save(tmp_path / f"model{suffix}")
    again = fullconv.load(tmp_path / f"model{suffix}")
    assert again.grid == fcn.grid
    for size in sizes(network):
        images = integer_images(2, 1, *size)
        expected = scores_of_crops(torch_classifier(model), images, network.window, fcn.grid.step)
        scores = again(images.numpy() if suffix == ".onnx" else images)
        assert_same(np.asarray(scores), expected.numpy())


def test_max_pools_over_one_axis_are_saved_with_a_free_length(tmp_path: Path) -> None:
    """A trace of ``torch.max_pool1d`` is for maps of one length (PyTorch 2.13)."""
    layers = nn.Conv1d(1, 4, 3, padding=1), nn.MaxPool1d(3, 2, 1, ceil_mode=True)
    model = with_integers(
        nn.Sequential(*layers, nn.ReLU(), nn.Conv1d(4, 4, 3), nn.MaxPool1d(2), nn.Flatten())
    )
    fcn, path = fullconv.convert(model, window=(18,)), tmp_path / "fcn.pt2"
    fcn.save(path)
    saved = fullconv.load(path)
    draw = torch.Generator().manual_seed(0)
    for length in (18, 22, 23, 61):
        images = torch.randint(-3, 4, (2, 1, length), generator=draw).float()
        assert_same(saved(images), fcn(images))
    assert any(isinstance(module, nn.MaxPool1d) for module in fcn.model.modules())


def test_pytorch_writes_it_as_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model, network = with_integers(Tied()), Tied
    path = tmp_path / "plain.onnx"
    torch.onnx.export(
        converted(network, model).model,
        (example(network),),
        path,
        dynamo=True,
        dynamic_shapes=dynamic(),
        verbose=False,
    )
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert [bool(d.dim_param) for d in dims] == [True, False, True, True]
    run = onnx_classifier(proto)
    for size in sizes(network):
        images = integer_images(2, 1, *size)
        expected = scores_of_crops(torch_classifier(model), images, network.window, (4, 4))
        assert_same(run(images.numpy()), expected.numpy())


@pytest.mark.parametrize(
    ("exact", "suffix"),
    [
        (True, ".onnx"),
        (True, ".pt2"),
        (False, ".onnx"),
        (False, ".pt2"),
    ],
)
def test_a_file_holds_what_one_must_know_to_use_it(
    exact: bool, suffix: str, tmp_path: Path
) -> None:
    fcn = fullconv.convert(
        with_integers(Padded()),
        window=Padded.window,
        step=(8, 4),
        exact=exact,
        classes=["dress", "tree", "sky"],
        preprocessing=fullconv.Preprocessing(1 / 255, (0.5,), (0.25,)),
    )
    fcn.save(tmp_path / f"model{suffix}")
    again = fullconv.load(tmp_path / f"model{suffix}")
    assert again.grid == fullconv.Grid((16, 12), (8, 4))
    assert again.report.exact is exact
    assert again.report == fcn.report
    assert again.classes == ("dress", "tree", "sky")
    assert again.preprocessing == fullconv.Preprocessing(1 / 255, (0.5,), (0.25,))
    for size in sizes(Padded):
        images = integer_images(2, 1, *size)
        scores = again(images.numpy() if suffix == ".onnx" else images)
        assert_same(np.asarray(scores), fcn(images).numpy())


def test_a_saved_module_trains(tmp_path: Path) -> None:
    fcn = converted(Valid, with_integers(Valid()))
    fcn.save(tmp_path / "model.pt2")
    again = fullconv.load(tmp_path / "model.pt2")
    images = integer_images(2, 1, 30, 35)
    assert not again(images).requires_grad  # scores alone keep nothing for training
    for model in (fcn.model, again.model):
        model(images).square().sum().backward()
    expected = {name: p.grad for name, p in fcn.model.named_parameters()}
    assert {name for name, _ in again.model.named_parameters()} == set(expected)
    for name, parameter in again.model.named_parameters():
        assert_same(parameter.grad, expected[name])


def test_several_outputs_are_saved_in_their_structure(tmp_path: Path) -> None:
    fcn = converted(Several, with_integers(Several(lambda a, b: {"kind": a, "place": b})))
    images = integer_images(2, 1, 30, 35)
    fcn.save(tmp_path / "model.pt2")
    assert_same(dict(fullconv.load(tmp_path / "model.pt2")(images)), fcn(images))
    fcn.save(tmp_path / "model.onnx")
    kind, place = fullconv.load(tmp_path / "model.onnx")(images.numpy())
    assert_same(kind, fcn(images)["kind"].numpy())
    assert_same(place, fcn(images)["place"].numpy())


def test_double_precision_is_saved(tmp_path: Path) -> None:
    fcn = converted(Valid, with_integers(Valid().double()))
    images = integer_images(1, 1, 30, 35, dtype=torch.float64)
    fcn.save(tmp_path / "model.pt2")
    assert_same(fullconv.load(tmp_path / "model.pt2")(images), fcn(images))
