"""What the cost line says, for images with one, two and three axes."""

import json

import pytest
from click.testing import CliRunner

import fullconv
from fullconv.cli.group import commands

pytest.importorskip("torch")

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
