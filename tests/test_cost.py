"""What the cost line says, for images with one, two and three axes."""

import json
import warnings
from math import prod

import numpy as np
import pytest
from click.testing import CliRunner

import fullconv
from fullconv.cli.group import commands
from fullconv.conversion import forms, planning

torch = pytest.importorskip("torch")
import counted  # noqa: E402

WITHIN = 0.05
"""How far the cost line may be from what is counted, as a share of it."""

SIZES = [
    ("signal", "16", "16", (16,), None),
    ("signal", "16", "40", (40,), 2),
    ("picture", "9x8", "30x8", (8, 30), (3, 2)),
    ("volume", "6x5x4", "6x5x20", (20, 5, 6), (3, 2, 1)),
]
"""A network, its window and an image as they are written, and the image and a step as in Python."""


@pytest.fixture
def networks(monkeypatch, tmp_path):
    """Write the code of networks over one, two and three axes."""
    lines = ["from torch import nn"]
    for name, axes, numbers in (("signal", 1, 16), ("picture", 2, 72), ("volume", 3, 120)):
        layers = f"nn.Conv{axes}d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear({2 * numbers}, 3)"
        lines.append(f"def {name}(): return nn.Sequential({layers})")
    (tmp_path / "cost_networks.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(("name", "window", "image", "size", "step"), SIZES)
def test_explain_counts_the_cost_for_an_image_of_any_number_of_axes(
    networks, name, window, image, size, step
):
    named = f"cost_networks:{name}"
    written = [] if step is None else ["--step", "x".join(map(str, reversed(_each(step))))]
    result = CliRunner().invoke(
        commands, ["explain", named, "--window", window, "--image", image, *written, "--json"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    module = __import__("cost_networks")
    sizes = tuple(int(number) for number in reversed(window.split("x")))
    expected = fullconv.explain(getattr(module, name)(), sizes, step, image=size)
    assert told == {"model": named, **expected.as_dict()}
    assert tuple(told["image"]) == size
    assert fullconv.explain(getattr(module, name)(), sizes, step).as_dict() != expected.as_dict()


def _each(step):
    return (step,) if isinstance(step, int) else step


def test_one_number_is_a_step_along_all_axes(networks):
    arguments = ["explain", "cost_networks:volume", "--window", "6x5x4", "--step", "2", "--json"]
    result = CliRunner().invoke(commands, arguments)
    assert json.loads(result.stdout)["step"] == [2, 2, 2]


APPROXIMATE = ["signal, strided", "unfold", "strip of electrodes", "gate", "volume, padded"]


@pytest.mark.parametrize(
    ("name", "exact"),
    [*((name, True) for name in counted.CASES), *((name, False) for name in APPROXIMATE)],
)
def test_the_cost_line_is_what_is_counted(name, exact):
    case = counted.CASES[name]
    model = case.network().eval()
    fcn = fullconv.convert(model, case.window, case.step, exact, image=case.image, check=False)
    image = torch.randn(1, case.channels, *case.image)
    windows = prod(fcn.grid.shape(case.image))
    cost = fcn.report.cost
    told = cost.exact if exact else cost.approximate
    assert told == pytest.approx(counted.in_torch(fcn.model, image) / windows, rel=WITHIN)
    crop = image[(..., *(slice(size) for size in case.window))]
    assert cost.crops == counted.in_torch(model, crop)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_unfolded_windows_equal_their_crops(step):
    case, numbers = counted.CASES["unfold"], torch.Generator().manual_seed(step)
    model = case.network().eval()
    for parameter in model.parameters():
        parameter.data = torch.randint(-3, 4, parameter.shape, generator=numbers).float()
    image = torch.randint(-4, 5, (1, case.channels, *case.image), generator=numbers).float()
    fcn = fullconv.convert(model, case.window, step, check=False)
    assert fcn.report.exact
    scores, (rows, columns) = fcn(image), case.window
    for row in range(scores.shape[2]):
        for column in range(scores.shape[3]):
            top, left = row * step, column * step
            crop = image[..., top : top + rows, left : left + columns]
            assert torch.equal(scores[..., row, column], model(crop))


@pytest.mark.parametrize("name", ["attention by hand", "volume, padded"])
def test_the_cost_line_is_what_is_counted_in_onnx(name):
    case = counted.CASES[name]
    image = torch.randn(1, case.channels, *case.image)
    crop = image[(..., *(slice(size) for size in case.window))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(case.network().eval(), (crop,), dynamo=True, verbose=False)
    model = program.model_proto
    fcn = fullconv.convert(model, step=case.step, image=case.image, check=False)
    windows = prod(fcn.grid.shape(case.image))
    done = counted.in_onnx(fcn.model, image.numpy())
    assert fcn.report.cost.exact == pytest.approx(done / windows, rel=WITHIN)
    assert fcn.report.cost.crops == counted.in_onnx(model, crop.numpy())


ONNX_LAYERS = {
    "MatMul (x, t)": 5 * 5 * 6,
    "Gemm <transA = 1> (rows, rows)": 5 * 6 * 6,
    'Einsum <equation = "bij,bkj,bkl->bil"> (x, x, x)': 5 * 5 * 6 * 2,
    "LSTM <hidden_size = 3> (x, w, r)": 5 * 12 * (6 + 3),
    "Attention <q_num_heads = 2, kv_num_heads = 2> (x, x, x)": 5 * 5 * (6 + 6),
}
"""Nodes over a signal ``(1, 5, 6)`` that have no record, and their multiply-accumulates."""


@pytest.mark.parametrize("node", ONNX_LAYERS)
def test_layers_of_onnx_without_a_rule_are_counted(node):
    onnx = pytest.importorskip("onnx")
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 23]>
        net (float[N, 5, 6] image) => (float[N, K] scores)
        <float[1, 12, 6] w, float[1, 12, 3] r, int64[2] shape = {{5, 6}}, int64[2] flat = {{1, -1}}>
        {{
            x = Relu (image)
            t = Transpose <perm = [0, 2, 1]> (x)
            rows = Reshape (x, shape)
            y = {node}
            scores = Reshape (y, flat)
        }}
    """)
    for weight in (("w", (1, 12, 6)), ("r", (1, 12, 3))):
        name, shape = weight
        numbers = np.zeros(shape, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(numbers, name))
    assert fullconv.explain(model, (6,)).cost.crops == ONNX_LAYERS[node]


def test_a_model_is_lifted_once_for_what_is_asked(monkeypatch):
    lifted = []

    def counting(*arguments, exact, **others):
        lifted.append(exact)
        return lift(*arguments, exact=exact, **others)

    lift = planning.lift
    monkeypatch.setattr(planning, "lift", counting)
    monkeypatch.setattr(forms, "lift", counting)
    case = counted.CASES["gate"]
    model, image = case.network().eval(), torch.randn(1, case.channels, *case.image)
    fcn = fullconv.convert(model, case.window, case.step)
    fcn(image)
    assert fullconv.verify(fcn, model, image, windows=4).passed
    assert fcn.report.verdict
    assert fcn.report.cost.exact < fcn.report.cost.crops
    assert lifted == [True]
    assert "approximate" in str(fcn.report)  # which tells of both forms
    assert fcn.report.as_dict()["cost"]["approximate"] == fcn.report.cost.approximate
    assert lifted == [True, False]
