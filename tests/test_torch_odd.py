"""PyTorch modules that are not finished, or decide by the pixels: read, or one line and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

import fullconv  # noqa: E402
from fullconv.errors import ModelError  # noqa: E402
from fullconv.frameworks.torch.state import fill  # noqa: E402
from oracle import assert_same, scores_of_crops, torch_classifier  # noqa: E402

WINDOW = (6, 6)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(36, 3)


class Chooses(Head):
    def forward(self, x: Tensor) -> Tensor:
        if x.max() > 1:
            x = x / 255
        return self.head(x.flatten(1))


class Counts(Head):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.sum())):
            x = x + 1
        return self.head(x.flatten(1))


class Waits(Head):
    def forward(self, x: Tensor) -> Tensor:
        while x.mean() > 1:
            x = x / 2
        return self.head(x.flatten(1))


class Asserts(Head):
    def forward(self, x: Tensor) -> Tensor:
        assert x.min() >= 0, "pixels below zero"
        return self.head(x.flatten(1))


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (Chooses, "if x.max() > 1:"),
        (Counts, "for _ in range(int(x.sum())):"),
        (Waits, "while x.mean() > 1:"),
        (Asserts, 'assert x.min() >= 0, "pixels below zero"'),
    ],
)
def test_what_decides_by_the_pixels_is_one_line_that_names_the_place(
    model: type[nn.Module], code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as raised:
        fullconv.convert(model().eval(), WINDOW)
    said = str(raised.value)
    assert "the model decides by the pixels" in said
    assert f"{__file__}:" in said
    assert code in said
    assert "\n" not in said
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_command_line_prints_one_line_for_it(tmp_path: Path) -> None:
    (tmp_path / "choosing.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.mean((2, 3)) if x.max() > 1 else x.amax((2, 3))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "fullconv", "explain", "choosing:Net", "--window", "6x6"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "choosing.py:4, in forward" in done.stderr


def lazy() -> nn.Sequential:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))


def trained() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape))
    return model.eval()


def compare(model: nn.Module) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (1, 3, 9, 8))).float()
    fcn = fullconv.convert(model.eval(), WINDOW)
    wanted = scores_of_crops(torch_classifier(trained()), images, WINDOW, fcn.grid.step)
    with torch.no_grad():
        assert_same(fcn(images), wanted)


def test_lazy_layers_that_have_seen_no_image_are_refused() -> None:
    with pytest.raises(ModelError) as raised:
        fullconv.convert(lazy(), WINDOW)
    assert str(raised.value) == (
        "convert: '0.weight' (and 3 more) has no size yet, as its layer is lazy and has seen no "
        "image; load the trained weights, or run the model on a crop first."
    )


def test_lazy_layers_take_the_sizes_of_trained_weights() -> None:
    model = lazy()
    fill(model, trained().state_dict(), "lazy", "weights")
    compare(model)


@pytest.mark.parametrize("where", ["a parameter", "a buffer"])
def test_modules_on_the_meta_device_are_refused(where: str) -> None:
    model = trained()
    if where == "a parameter":
        model[3] = nn.Linear(64, 2, device="meta")
        named = "'3.weight' (and 1 more)"
    else:
        model[1].register_buffer("held", torch.zeros(2, device="meta"))
        named = "'1.held'"
    with pytest.raises(ModelError) as raised:
        fullconv.convert(model, WINDOW)
    assert str(raised.value) == (
        f"convert: {named} is on the meta device and holds no numbers; load the trained weights "
        f"with load_state_dict(..., assign=True)."
    )


def test_modules_on_the_meta_device_take_trained_weights() -> None:
    with torch.device("meta"):
        model = trained_of_meta()
    fill(model, trained().state_dict(), "meta", "weights")
    compare(model)


def trained_of_meta() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
