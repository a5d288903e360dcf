"""Classifiers that draw random numbers: a window has no score of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

import fullconv
from fullconv.cli.group import commands
from fullconv.errors import ExportError, ModelError
from keras_models import QUIETLY, keras, layers

SAID = (
    "convert: {} draws random numbers when the model is in use, so a window has no score of its "
    "own; switch it off (model.eval() in PyTorch; dropout is off without training=True), or "
    "convert it with "
    "allow_random=True (--allow-random), after which nothing is called exact."
)


class Drawing(nn.Module):
    """A fully connected layer, and what is drawn ahead of it."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change, self.fc = change, nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.change(x).flatten(1))
        return scores


IN_TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout 'dropout'": lambda x: F.dropout(x, 0.5, training=True),
    "alpha_dropout 'alpha_dropout'": lambda x: F.alpha_dropout(x, 0.5, training=True),
    "feature_dropout 'feature_dropout'": lambda x: F.dropout2d(x, 0.5, training=True),
    "rrelu 'rrelu'": lambda x: F.rrelu(x - 1, training=True),
    "randn_like 'randn_like'": lambda x: x + torch.randn_like(x),
    "rand 'rand'": lambda x: x * torch.rand(1, 1, 4, 4),
    "randn 'randn'": lambda x: x + torch.randn(x.shape),
    "bernoulli 'bernoulli'": lambda x: torch.bernoulli(x.clamp(0, 1)),
    "multinomial 'multinomial'": lambda x: x * torch.multinomial(x.flatten(1).abs() + 1, 1),
    "normal 'normal'": lambda x: torch.normal(x, 1.0),
    "randperm 'randperm'": lambda x: x.flatten(1)[:, torch.randperm(16)],
    "bernoulli_ 'bernoulli_'": lambda x: x * torch.empty(1, 1, 4, 4).bernoulli_(0.5),
    "normal_ 'normal_'": lambda x: x + torch.zeros_like(x).normal_(),
    "uniform_ 'uniform_'": lambda x: x + torch.empty_like(x).uniform_(),
    "scaled_dot_product_attention 'scaled_dot_product_attention'": lambda x: (
        F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)
    ),
}


def refused(model: Any, window: tuple[int, int] | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        fullconv.convert(model, window)
    return str(caught.value)


@pytest.mark.parametrize("kind", IN_TORCH)
def test_pytorch_that_draws_is_refused_by_name(kind: str) -> None:
    assert refused(Drawing(IN_TORCH[kind]).eval(), (4, 4)) == SAID.format(kind)


def test_a_module_that_draws_is_named_as_the_layer_that_it_is() -> None:
    class Always(nn.Dropout):
        def train(self, mode: bool = True) -> Any:
            return super().train(True)

    model = nn.Sequential(nn.Flatten(), Always(0.5), nn.Linear(16, 3)).eval()
    assert refused(model, (4, 4)) == SAID.format("dropout '1.dropout'")


@pytest.mark.parametrize(
    "change",
    [
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.dropout(x, 0.0, training=True),
        lambda x: F.rrelu(x, training=False),
        lambda x: x + 0 * torch.rand(1, 1, 4, 4).numel(),
    ],
)
def test_what_draws_nothing_is_exact(change: Any) -> None:
    assert fullconv.convert(Drawing(change).eval(), (4, 4)).report.exact


def test_what_is_drawn_and_not_used_is_no_matter() -> None:
    def change(x: Tensor) -> Tensor:
        torch.randn_like(x)
        return x

    assert fullconv.convert(Drawing(change).eval(), (4, 4)).report.exact


@pytest.mark.parametrize(
    "kind", ["dropout 'dropout'", "randn_like 'randn_like'", "rand 'rand'", "normal_ 'normal_'"]
)
def test_nothing_is_called_exact_where_random_numbers_are_allowed(kind: str) -> None:
    model = Drawing(IN_TORCH[kind]).eval()
    fcn = fullconv.convert(model, (4, 4), allow_random=True)
    images = torch.rand(1, 1, 6, 6)
    assert fcn(images).shape == (1, 3, 3, 3)
    assert not torch.equal(fcn(images), fcn(images))
    assert not fcn.report.exact
    assert fcn.report.verdict == (
        "random: scores differ from one run to the next, and none is its crop's own"
    )
    assert str(fcn.report.reasons[0]) == f"{kind} draws random numbers"
    verification = fullconv.verify(fcn, model, images)
    assert not verification.exact
    assert verification.verdict == fcn.report.verdict
    assert not fullconv.explain(model, (4, 4), allow_random=True).exact


@pytest.mark.parametrize(
    ("kind", "drawn"),
    [("dropout 'dropout'", "dropout"), ("rand 'rand'", "rand"), ("normal_ 'normal_'", "normal_")],
)
def test_torch_that_draws_is_saved_as_pt2_and_not_as_onnx(
    tmp_path: Path, kind: str, drawn: str
) -> None:
    """Two draws differ, so that a comparison of the two forms would say nothing."""
    fcn = fullconv.convert(Drawing(IN_TORCH[kind]).eval(), (4, 4), allow_random=True)
    with pytest.raises(ExportError) as caught:
        fcn.save(tmp_path / "random.onnx")
    assert str(caught.value) == (
        f"save: this model draws random numbers ({drawn}), so that nobody can tell whether the "
        f"ONNX of it is right. Save it as .pt2."
    )
    assert list(tmp_path.iterdir()) == []
    fcn.save(tmp_path / "random.pt2")
    images = torch.rand(1, 1, 6, 6)
    loaded = fullconv.load(tmp_path / "random.pt2")
    assert not torch.equal(loaded(images), loaded(images))


def onnx_model(*nodes: onnx.NodeProto, **numbers: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        [*nodes, helper.make_node("Flatten", ["y"], ["scores"])],
        "drawing",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 4, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 16])],
        [onnx.numpy_helper.from_array(np.array(v), name) for name, v in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def dropout(training: bool, ratio: float = 0.5) -> onnx.ModelProto:
    node = helper.make_node("Dropout", ["image", "ratio", "training"], ["y"], "drop")
    return onnx_model(node, ratio=np.float32(ratio), training=training)


def noise(kind: str, **attributes: Any) -> onnx.ModelProto:
    inputs = [] if kind in ("RandomNormal", "RandomUniform") else ["image"]
    drawn = helper.make_node(kind, inputs, ["drawn"], "drawn", **attributes)
    return onnx_model(drawn, helper.make_node("Add", ["image", "drawn"], ["y"], "add"))


IN_ONNX = {
    "Dropout 'drop'": dropout(True),
    "RandomNormalLike 'drawn'": noise("RandomNormalLike"),
    "RandomUniformLike 'drawn'": noise("RandomUniformLike"),
    "RandomNormal 'drawn'": noise("RandomNormal", shape=[1, 1, 4, 4]),
    "RandomUniform 'drawn'": noise("RandomUniform", shape=[1, 1, 4, 4]),
    "Bernoulli 'drawn'": noise("Bernoulli"),
}


@pytest.mark.parametrize("kind", IN_ONNX)
def test_onnx_that_draws_is_refused_by_name(kind: str) -> None:
    assert refused(IN_ONNX[kind]) == SAID.format(kind)
    if kind != "Bernoulli 'drawn'":  # which wants probabilities
        fcn = fullconv.convert(IN_ONNX[kind], allow_random=True)
        assert not fcn.report.exact
        assert fcn(np.ones((1, 1, 6, 6), np.float32)).shape == (1, 16, 3, 3)


@pytest.mark.parametrize("model", [dropout(False), dropout(True, 0.0)])
def test_onnx_that_draws_nothing_is_exact(model: onnx.ModelProto) -> None:
    fcn = fullconv.convert(model)
    assert fcn.report.exact
    assert list(fcn.report.reasons) == []


class Always(keras.layers.Dropout):
    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs, training=True)


class Noise(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(keras.ops.shape(inputs))


class Foreign(keras.layers.Layer):
    """Draws by PyTorch, which Keras knows nothing of."""

    def call(self, inputs: Any) -> Any:
        return inputs + torch.rand(1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class Unheard(keras.layers.Layer):
    """Draws by NumPy."""

    def call(self, inputs: Any) -> Any:
        return inputs + float(np.random.default_rng().random())

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def keras_model(layer: Any, **told: Any) -> Any:
    image = keras.Input((4, 4, 1))
    flat = layers.Flatten()(image)
    return keras.Model(image, layers.Dense(3)(layer(flat, **told)))


@QUIETLY
@pytest.mark.parametrize(
    ("layer", "told"),
    [(Always(0.5), {}), (Noise(), {}), (layers.Dropout(0.5), {"training": True})],
    ids=["Always", "Noise", "Dropout"],
)
def test_keras_that_draws_is_refused_by_name(layer: Any, told: dict[str, Any]) -> None:
    model = keras_model(layer, **told)
    named = f"{type(layer).__name__} {layer.name!r}"
    assert refused(model) == SAID.format(named)
    assert not fullconv.convert(model, allow_random=True).report.exact


@QUIETLY
@pytest.mark.parametrize("layer", [layers.Dropout(0.5), layers.GaussianNoise(1.0)])
def test_keras_that_draws_nothing_in_use_is_exact(layer: Any) -> None:
    assert fullconv.convert(keras_model(layer)).report.exact


@QUIETLY
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="it draws by PyTorch")
def test_what_no_reader_hears_draw_is_seen_by_the_probe() -> None:
    assert refused(keras_model(Foreign(name="foreign"))) == SAID.format("Foreign 'foreign'")
    model = keras_model(Unheard())
    assert refused(model).startswith(
        "convert: the model gives other scores for a crop each time that it is scored: it keeps "
        "state between calls or draws random numbers; switch it off"
    )
    assert not fullconv.convert(model, allow_random=True).report.exact


def test_the_command_line_refuses_and_allows(tmp_path: Any) -> None:
    path = tmp_path / "drop.onnx"
    onnx.save(dropout(True), path)
    result = CliRunner().invoke(commands, ["explain", str(path)])
    assert result.exit_code == 3
    assert result.stderr == f"fullconv: error: {SAID.format(repr('drop').join(['Dropout ', '']))}\n"
    allowed = CliRunner().invoke(commands, ["explain", str(path), "--allow-random"])
    assert allowed.exit_code == 0
    assert "random: scores differ" in allowed.stdout
