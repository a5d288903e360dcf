"""Every operation that has a rule: a case of its own against the crops, and a place in the docs."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import fullconv
from fullconv import operations as op
from fullconv.frameworks import find
from fullconv.graph.table import OperationTable
from fullconv.lift.registry import rule, rules
from networks.checks import assert_shared
from oracle import assert_same, scores_of_crops, torch_classifier

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402

ROOT = Path(__file__).parents[1]
WINDOW, STEP, SIZE = (8, 6), (2, 1), (13, 9)
Body = Callable[[Tensor], Tensor] | nn.Module


class Case(nn.Module):
    """A padded convolution, what the case is about, and a fully connected layer."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.first, self.body = nn.Conv2d(2, 4, 3, padding=1), body
        self.last = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(self.first(x)).flatten(1))


def above(x: Tensor) -> Tensor:
    """Return whole numbers of such as are none, far from all of which the border lies."""
    return (x > 0.3).float()


class Above(nn.Module):
    """`above` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return above(x)


def norm() -> nn.Module:
    """Return a normalization of whose numbers every one is a power of two."""
    layer = nn.BatchNorm2d(4, eps=0.0)
    layer.running_mean, layer.running_var = torch.tensor([1.0, 0, 2, 3]), torch.full((4,), 4.0)
    return layer


CASES: dict[type[op.Operation], Callable[[], Body]] = {
    op.AdaptivePool: lambda: nn.AdaptiveMaxPool2d((3, 2)),
    op.AlongAxis: lambda: lambda x: x + above(x.softmax(1)),
    op.Concat: lambda: lambda x: torch.cat([x, 2 * x], 1),
    op.Convolution: lambda: nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=2),
    op.GroupNormalization: lambda: nn.Sequential(
        nn.Conv2d(4, 4, WINDOW), nn.GroupNorm(2, 4), Above()
    ),
    op.Identity: lambda: nn.Dropout(),
    op.LayerNormalization: lambda: (
        lambda x: above(nn.functional.layer_norm(x.permute(0, 2, 3, 1), (4,)))
    ),
    op.Linear: lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)),
    op.Pad: lambda: nn.ReflectionPad2d((1, 2, 0, 1)),
    op.PerChannel: norm,
    op.Permute: lambda: lambda x: x.permute(0, 2, 3, 1),
    op.Pointwise: lambda: nn.ReLU(),
    op.Pool: lambda: nn.MaxPool2d(3, 2, padding=1),
    op.Reduce: lambda: lambda x: x.sum((2, 3)),
    op.Reshape: lambda: nn.Flatten(2),
    op.Slice: lambda: lambda x: x[:, 1:3, ::2, 1:],
    op.Take: lambda: lambda x: x.flip(1),
    op.TransposedConvolution: lambda: nn.Sequential(
        nn.Conv2d(4, 4, WINDOW), nn.ConvTranspose2d(4, 2, 2, stride=2)
    ),
    op.Upsample: lambda: nn.Upsample(scale_factor=2),
}
"""A network for every operation that has a rule, by which windows share it at `STEP`."""


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(rules())


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_a_rule_gives_the_scores_of_the_crops(kind: type[op.Operation]) -> None:
    model = Case(CASES[kind]()).eval()
    model(torch.zeros(1, 2, *WINDOW))
    for weight in model.parameters():
        weight.requires_grad_(False)
        weight.copy_(torch.randint(-1, 2, weight.shape))
    read = find(model).read(model, WINDOW).graph
    assert kind in {type(node.operation) for node in read.nodes}
    fcn = fullconv.convert(model, WINDOW, STEP)
    images = torch.randint(-3, 4, (1, 2, *SIZE)).float()
    assert_same(fcn(images), scores_of_crops(torch_classifier(model), images, WINDOW, STEP))
    assert_shared(fcn)
    assert fcn(images).std() > 0


@pytest.mark.parametrize("kind", sorted(rules(), key=lambda kind: kind.__name__))
def test_a_rule_says_when_it_is_exact(kind: type[op.Operation]) -> None:
    said = " ".join((inspect.getdoc(rules()[kind]) or "").split())
    assert "Exact always" in said or ("Exact w" in said and "nds sharing" in said), said


def test_a_second_function_for_an_operation_is_refused() -> None:
    pytest.importorskip("onnx_ir")
    for framework in ("onnx", "torch"):
        import_module(f"fullconv.frameworks.{framework}.write")  # the writers register
    from fullconv.frameworks.onnx.writing import writes as in_onnx
    from fullconv.frameworks.torch.onnx_layers import forms
    from fullconv.frameworks.torch.writing import writes as in_torch

    tables: tuple[OperationTable[Any, Any], ...] = (rule, in_torch, in_onnx, forms)
    for table in tables:
        first = table.find(op.Pool)
        assert first is not None
        with pytest.raises(RuntimeError, match=r"Pool already has a .*, in fullconv\."):
            table(op.Pool)(lambda state, node, operation: None)
        assert table.find(op.Pool) is first


def test_the_page_of_operations_is_current() -> None:
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    script = ROOT / "docs" / "figures" / "operations.py"
    result = subprocess.run([sys.executable, script, "--check"], env=environment, check=False)
    assert result.returncode == 0, "the tables have changed; run: make operations"
