"""Converted PyTorch models as ONNX: the module's scores, from our own writer, without an export.

Weights and pixels are small whole numbers, so that equal means equal (see `oracle`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import fullconv
from fullconv.errors import ExportError
from fullconv.frameworks.onnx.session import session
from fullconv.frameworks.torch.onnx_functions import functions
from fullconv.frameworks.torch.to_onnx import to_onnx
from fullconv.verification.judging import nearly_same
from models import Normed, Padded, Several, Valid, integer_images, with_integers
from networks.axes import Classifier, classifiers, pixels
from networks.axes_onnx import onnx_form
from networks.axes_torch import torch_form
from oracle import assert_close, assert_same, onnx_classifier
from test_random_networks import examples

# PyTorch's exporters warn on their own behalf.
pytestmark = pytest.mark.filterwarnings("ignore")

WITHIN = 0.05
"""By how much the graph may be larger than one of a classifier that was ONNX before."""


@contextmanager
def no_export() -> Iterator[None]:
    """Let nothing go through PyTorch's exporters."""

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("PyTorch was asked to export")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", refuse)
        patch.setattr(torch.export, "export", refuse)
        yield


def converted(case: Classifier, exact: bool = True) -> fullconv.FullyConvolutional:
    """Return a random classifier converted: of its program, which says how many channels it has."""
    crop = torch.zeros(2, case.channels, *case.window)
    free = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(torch_form(case), (crop,), dynamic_shapes=free)
    return fullconv.convert(program, case.window, case.step, exact, check=False)


def written(fcn: fullconv.FullyConvolutional, images: Tensor, units: float = 0) -> onnx.ModelProto:
    """Check that the ONNX of a model scores images as the model does; return it.

    ``units`` is by how many units in the last place of the largest score they may differ.
    """
    with no_export():
        proto = to_onnx(fcn.model, fcn.shape, {})
    found = onnx_classifier(proto)(images.numpy())
    for own, scores in zip(tree_leaves(found), tree_leaves(fcn.model(images)), strict=True):
        wanted = scores.detach().numpy()
        if units:
            unit = float(np.finfo(wanted.dtype).eps * np.abs(wanted).max())
            assert_close(own, wanted, unit, units)
        else:
            assert_same(own, wanted)
    return proto


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("exact", [True, False])
def test_any_network_has_the_scores_of_its_module(axes: int, exact: bool) -> None:
    @given(classifiers(axes))
    @examples(6)
    def each(case: Classifier) -> None:
        written(converted(case, exact), torch.tensor(pixels(case, 2)))

    each()


@pytest.mark.slow
@given(st.integers(1, 3).flatmap(classifiers), st.booleans())
@examples(600)
def test_many_networks_have_the_scores_of_their_modules(case: Classifier, exact: bool) -> None:
    written(converted(case, exact), torch.tensor(pixels(case, 2)))


@given(st.integers(1, 3).flatmap(classifiers))
@examples(8)
def test_the_graph_is_that_of_a_classifier_that_was_onnx_before(case: Classifier) -> None:
    pads = [pair for layer in case.layers for pair in layer.numbers.get("pads", ())]
    assume(all(before == after for before, after in pads))  # others are layers of their own here
    fcn = converted(case)
    before = fullconv.convert(onnx_form(case), case.window, case.step, check=False).model
    nodes = len(to_onnx(fcn.model, fcn.shape, {}).graph.node)
    assert nodes <= (1 + WITHIN) * len(before.graph.node)


class Residual(nn.Module):
    """Three residual blocks with batch normalization, over any number of axes."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
        self.convs = nn.ModuleList(conv(1 if i == 0 else 4, 4, 3, 1, 1) for i in range(7))
        self.norms = nn.ModuleList(norm(4) for _ in range(7))
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norms[0](self.convs[0](x)))
        for i in (1, 3, 5):
            y = torch.relu(self.norms[i](self.convs[i](x)))
            x = torch.relu(x + self.norms[i + 1](self.convs[i + 1](y)))
        scores: Tensor = self.fc(x.flatten(2).amax(2))
        return scores


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_residual_blocks_are_written_without_an_export(axes: int) -> None:
    # PyTorch's exporter did not write those over two axes in half an hour.
    model, window = with_integers(Residual(axes)), (16,) * axes
    crop = torch.zeros(1, 1, *window)
    fcn = fullconv.convert(torch.export.export(model, (crop,)), step=8, check=False)
    proto = written(fcn, integer_images(2, 1, *(n + 17 for n in window)))
    kinds = {node.op_type for node in proto.graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds  # folded into the filters, as PyTorch folds it


def test_inputs_outputs_and_free_axes_have_plain_names() -> None:
    fcn = fullconv.convert(with_integers(Padded()), Padded.window)
    graph = to_onnx(fcn.model, fcn.shape, {}).graph
    (image,), (scores,) = graph.input, graph.output
    dims = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert (image.name, dims) == ("images", ["batch", 1, "height", "width"])
    assert scores.name == "scores"
    assert {"features.0.weight", "features.3.weight"} <= {w.name for w in graph.initializer}


@pytest.mark.parametrize(
    ("structure", "names"),
    [
        (lambda a, b: {"kind": a, "place": b}, ["kind", "place"]),
        (lambda a, b: (a, b), ["scores", "scores_1"]),
        (lambda a, b: {"images": a, "more": [b]}, ["images_0", "scores"]),
    ],
)
def test_outputs_are_called_as_the_model_names_them(
    structure: Callable[[Tensor, Tensor], Any], names: list[str]
) -> None:
    fcn = fullconv.convert(with_integers(Several(structure)), Several.window)
    proto = written(fcn, integer_images(2, 1, 30, 35))
    assert [value.name for value in proto.graph.output] == names


def test_what_was_trained_since_is_written() -> None:
    fcn = fullconv.convert(with_integers(Normed()), Normed.window)
    with torch.no_grad():
        for parameter in fcn.model.parameters():
            parameter.mul_(2)
    fcn.model.train()  # what is written is what it does in eval mode
    proto = to_onnx(fcn.model, fcn.shape, {})
    images = integer_images(2, 1, 20, 21)
    assert fcn.model.training
    assert_same(onnx_classifier(proto)(images.numpy()), fcn.model.eval()(images).detach().numpy())


def test_a_layer_that_was_put_in_the_place_of_another_is_written() -> None:
    fcn = fullconv.convert(with_integers(Valid()), Valid.window)
    fcn.model.classifier.add_module("1", nn.Hardtanh(-2.0, 3.0))
    written(fcn, integer_images(2, 1, 30, 35))


def test_images_without_channels_and_vectors_are_written() -> None:
    plain = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3, padding=1), nn.Flatten())
    model = with_integers(nn.Sequential(*plain, nn.ReLU(), nn.Linear(12, 3)))
    program = torch.export.export(model, (torch.zeros(1, 6),))
    fcn = fullconv.convert(program, window=(6,), step=2)
    assert fcn.shape.takes == "cells"
    written(fcn, integer_images(2, 21))
    vectors = with_integers(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)))
    written(fullconv.convert(vectors, window=(1, 1)), integer_images(2, 5, 6, 7))


def test_a_fixed_axis_stays_as_long_as_the_window() -> None:
    fcn = fullconv.convert(with_integers(Padded()), Padded.window, image=(16, 30))
    proto = written(fcn, integer_images(2, 1, 16, 30))
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 1, 16, "width"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_numbers_are_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    fcn = fullconv.convert(with_integers(Valid()).to(dtype), Valid.window, check=False)
    fcn.save(tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    name = {"float64": "DOUBLE"}.get(str(dtype)[6:], str(dtype)[6:].upper())
    kind = onnx.TensorProto.DataType.Value(name)
    floats = {w.data_type for w in graph.initializer if w.name.endswith(("weight", "bias"))}
    assert floats == {kind}
    assert {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)} == {kind}


@pytest.mark.parametrize("network", [Normed, Padded])
def test_files_in_half_precision_are_compared_with_the_module(network: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = network().eval().to(torch.float16)
    fcn = fullconv.convert(model, network.window, check=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", fullconv.ModelWarning)
        fcn.save(tmp_path / "model.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fullconv.frameworks.torch.to_onnx.session", slipped)
        with pytest.raises(ExportError, match="its scores are others"):
            fcn.save(tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


def slipped(proto: onnx.ModelProto) -> Callable[[Any], Any]:
    """Run an ONNX model of which one filter in eight is left out."""
    for weight in proto.graph.initializer:
        if weight.name.endswith("weight") and len(weight.dims) > 2:
            numbers = onnx.numpy_helper.to_array(weight).copy()
            numbers[::8] = 0
            weight.CopyFrom(onnx.numpy_helper.from_array(numbers, weight.name))
    return session(proto)


def test_what_a_model_rounds_itself_says_how_far_half_precision_may_be_off() -> None:
    wanted, found, epsilon = [np.float16([1, 2])], [np.float16([1, 2.2])], 2.0**-10
    assert nearly_same(found, wanted, epsilon, own=0.02)
    assert not nearly_same(found, wanted, epsilon, own=0.01)
    assert nearly_same([np.float16([1, 2.03])], wanted, epsilon, own=0.0)  # as a rounding of 2


def test_a_line_says_what_is_not_compared_with_the_module(tmp_path: Path) -> None:
    fcn = fullconv.convert(with_integers(Valid()).double(), Valid.window, check=False)
    said = "computes in float64, in which ONNX Runtime does not run it here, so it was not compared"
    with pytest.warns(fullconv.ModelWarning, match=said):
        fcn.save(tmp_path / "model.onnx")


class Applied(nn.Module):
    """A function of one tensor per window: the transposed product ends all sharing."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.amax((2, 3), keepdim=True) / 2
        return self.function(x).to(torch.float32).flatten(1)


HALF = torch.tensor([[[[0.5]]]])
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{
        name: getattr(torch, name)
        for name in "abs asinh atan ceil cos cosh erf exp floor neg reciprocal relu round "
        "sigmoid sign sin sinh square tan tanh logical_not".split()
    },
    **{
        name: getattr(F, name)
        for name in "gelu hardshrink hardsigmoid hardswish hardtanh logsigmoid mish relu6 selu "
        "silu softplus softshrink".split()
    },
    **{name: lambda x, n=name: getattr(torch, n)(x / 9) for name in ("acos", "asin", "atanh")},
    "acosh": lambda x: torch.acosh(x * x + 1),
    "sqrt": lambda x: torch.sqrt(x * x + 1),
    "rsqrt": lambda x: torch.rsqrt(x * x + 1),
    "log": lambda x: torch.log(x * x + 1),
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softplus, steep": lambda x: F.softplus(x, 2.0),
    "add": lambda x: x + 2,
    "add, scaled": lambda x: torch.add(x, x.flip(3), alpha=3),
    "sub": lambda x: x - x.flip(3),
    "sub, scaled": lambda x: torch.sub(x, x.flip(3), alpha=3),
    "rsub": lambda x: torch.rsub(x, 2.0, alpha=3),
    "mul": lambda x: x * x.flip(3),
    "div": lambda x: x / 3,
    "pow": lambda x: x**3,
    "pow of a number": lambda x: 2.0**x,
    "maximum": lambda x: torch.maximum(x, x.flip(3)),
    "minimum": lambda x: torch.minimum(x, x.flip(3)),
    "max": lambda x: torch.max(x, x.flip(3)),
    "min": lambda x: torch.min(x, x.flip(3)),
    **{
        name: lambda x, n=name: getattr(torch, n)(x, x.flip(3))
        for name in ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor")
    },
    "gt a number": lambda x: x > 0.5,
    "whole numbers above a half": lambda x: x.to(torch.int64) > 0.5,
    "where": lambda x: torch.where(x > 0, x, x * 2),
    "masked_fill": lambda x: x.masked_fill(x > 1, 7.0),
    "to": lambda x: x.to(torch.int32),
    "_to_copy": lambda x: torch.ops.aten._to_copy.default(x, dtype=torch.int64),
    "type_as": lambda x: x.to(torch.float64).type_as(x),
    "whole numbers and others": lambda x: x.to(torch.int32) * x,
    "elu": lambda x: F.elu(x, 0.5),
    "celu": lambda x: F.celu(x, 0.5),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.125),
    "threshold": lambda x: F.threshold(x, 0.5, -3.0),
    "clamp": lambda x: x.clamp(-1, 1.5),
    "clamp by tensors": lambda x: torch.clamp(x, x.flip(3), x.flip(3) + 1),
    "clip": lambda x: torch.clip(x, max=1),
    "clamp_min": lambda x: torch.clamp_min(x, -0.5),
    "clamp_max": lambda x: torch.clamp_max(x, 0.5),
    "addcmul": lambda x: torch.addcmul(x, x, x.flip(3), value=2),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.flip(3).abs() + 1),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "bmm": lambda x: torch.bmm(x[:, 0], x[:, 0].transpose(1, 2)),
    "mm": lambda x: torch.mm(x[0, 0], x[0, 0].t())[None],
    "amin": lambda x: x - x.amin((2, 3), keepdim=True),
    "amin of all": lambda x: x - torch.amin(x),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x.flip(3), x),
    "var": lambda x: x.var((1, 2)),
    "std": lambda x: x.std((2, 3), correction=0),
    "uneven bins": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "even bins": lambda x: F.adaptive_max_pool2d(x @ x.transpose(2, 3), 2),
    "an average with a divisor": lambda x: F.avg_pool2d(x, 2, 1, 1, divisor_override=3),
    "response normalization": lambda x: F.local_response_norm(x, 2, 0.5, 0.5, 2.0),
    "circular padding": lambda x: F.pad(x * x.amax(), (1, 2, 0, 1), mode="circular"),
}
"""Functions by their names in ATen; others beside them have settings of their own."""
ROUNDINGS = 16
"""Units in the last place by which a function of one number may differ between two libraries."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_its_own_values(name: str) -> None:
    fcn = fullconv.convert(Applied(FUNCTIONS[name]), window=(4, 5), step=2, check=False)
    written(fcn, integer_images(2, 3, 8, 10) + HALF, ROUNDINGS)


def test_every_function_that_is_written_has_a_case() -> None:
    named = {name.partition(",")[0] for name in FUNCTIONS} | {"log_sigmoid"}
    assert set(functions) <= named


def test_what_has_no_form_is_written_by_pytorchs_exporter() -> None:
    pytest.importorskip("onnxscript")
    model = Applied(lambda x: torch.cat([x.cumsum(3), x.sort(0).values.flip(0)], 1)).eval()
    fcn = fullconv.convert(model, window=(4, 5), step=2, check=False)
    images = integer_images(2, 3, 8, 10)
    found = onnx_classifier(to_onnx(fcn.model, fcn.shape, {}))(images.numpy())
    assert_same(found, fcn.model(images).numpy())


def test_what_nobody_can_write_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = Applied(lambda x: x - x.median()).eval()
    fcn = fullconv.convert(model, window=(4, 5), step=2, check=False)
    with pytest.raises(ExportError) as caught:
        fcn.save(tmp_path / "model.onnx")
    assert str(caught.value).startswith(
        "save: median 'median_default': no form in ONNX here, and PyTorch cannot write it ("
    )
    assert str(caught.value).endswith(
        "); save the model as .pt2, or convert the ONNX form of the classifier."
    )
    assert not (tmp_path / "model.onnx").exists()


def test_a_program_that_takes_minutes_says_which_form_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcn = fullconv.convert(with_integers(Padded()), Padded.window)
    monkeypatch.setattr("fullconv.frameworks.torch.exporting.MOST_GATHERED", 8)
    with no_export(), pytest.raises(ExportError) as caught:
        fcn.save(tmp_path / "model.pt2")
    assert re.fullmatch(
        r"save\('.*model.pt2'\): the exact form gathers windows in \d+ places, and torch.export, "
        r"which takes up to 8 in half a minute, simplifies the sizes of each; save it as .onnx, "
        r"or save the classifier itself and convert that when it is loaded.",
        str(caught.value),
    )
    assert not list(tmp_path.iterdir())


def test_a_loaded_program_without_sizes_of_its_own_is_written_as_a_module_is(
    tmp_path: Path,
) -> None:
    fullconv.convert(with_integers(Valid()), Valid.window).save(tmp_path / "model.pt2")
    written(fullconv.load(tmp_path / "model.pt2"), integer_images(2, 1, 30, 35))


def test_a_loaded_program_that_is_too_long_for_the_exporter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = fullconv.convert(Applied(FUNCTIONS["amin"]), window=(4, 5), check=False)
    gathered.save(tmp_path / "model.pt2")
    fcn = fullconv.load(tmp_path / "model.pt2")
    monkeypatch.setattr("fullconv.frameworks.torch.program_to_onnx.MOST_CALLS", 3)
    with pytest.raises(ExportError) as caught:
        fcn.save(tmp_path / "model.onnx")
    assert re.fullmatch(
        r"save: this network was loaded from a .pt2 of \d+ calls, and PyTorch's exporter takes "
        r"minutes for more than 3; convert the classifier that it was made of again, and save that "
        r"as .onnx.",
        str(caught.value),
    )


def test_a_file_whose_scores_are_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fcn = fullconv.convert(with_integers(Valid()), Valid.window)
    monkeypatch.setattr(
        "fullconv.frameworks.torch.to_onnx._array", lambda tensor: tensor.detach().numpy() * 2
    )
    with pytest.raises(ExportError) as caught:
        to_onnx(fcn.model, fcn.shape, {})
    assert str(caught.value) == (
        "save: the ONNX of this model is not right (its scores are others). Save it as .pt2, or "
        "run it in PyTorch."
    )
