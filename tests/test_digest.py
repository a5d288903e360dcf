"""What tells one network from another: its settings and weights, window and step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fullconv
from fullconv.errors import InputError
from fullconv.scanning.engine import Engine
from fullconv.scanning.scanner import scan
from scans import converted, picture

TESTS = Path(__file__).parent


def classifier(activation: nn.Module, pool: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), activation, pool)
    return nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


def digest(model: nn.Module, window: tuple[int, int] = (16, 20), step: int = 4) -> str:
    return Engine(fullconv.convert(model, window, step)).digest


NETWORKS = {
    "ReLU": (nn.ReLU(), nn.MaxPool2d(2)),
    "GELU": (nn.GELU(), nn.MaxPool2d(2)),
    "tanh GELU": (nn.GELU("tanh"), nn.MaxPool2d(2)),
    "LeakyReLU": (nn.LeakyReLU(0.1), nn.MaxPool2d(2)),
    "steeper LeakyReLU": (nn.LeakyReLU(0.2), nn.MaxPool2d(2)),
    "AvgPool": (nn.ReLU(), nn.AvgPool2d(2)),
    "wider pool": (nn.ReLU(), nn.MaxPool2d(3, 2)),
}


def test_networks_of_the_same_weights_are_told_apart() -> None:
    held = [digest(classifier(*parts)) for parts in NETWORKS.values()]
    assert len(set(held)) == len(NETWORKS)


def test_windows_and_steps_are_told_apart() -> None:
    model = classifier(*NETWORKS["ReLU"])
    assert len({digest(model), digest(model, window=(15, 19)), digest(model, step=3)}) == 3


def test_another_process_finds_the_same() -> None:
    program = (
        "from test_digest import NETWORKS, classifier, digest\n"
        "print(digest(classifier(*NETWORKS['LeakyReLU'])))"
    )
    command = [sys.executable, "-c", program]
    held = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TESTS)
    assert held.stdout.strip() == digest(classifier(*NETWORKS["LeakyReLU"]))


def test_a_scan_of_another_network_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((40, 44, 3), dtype=np.float32)
    for number, name in enumerate(("ReLU", "GELU")):
        fcn = fullconv.convert(classifier(*NETWORKS[name]), (16, 20), 4)
        if number:
            with pytest.raises(InputError, match="belongs to another run: another model"):
                scan(fcn, image, tmp_path / "heat.zarr")
        else:
            scan(fcn, image, tmp_path / "heat.zarr")


def test_the_engine_of_another_network_is_refused() -> None:
    with Engine(converted((1, 1))) as engine, pytest.raises(InputError) as caught:
        scan(converted((2, 2)), picture(40, 30), engine=engine)
    assert str(caught.value) == (
        "scan(engine=...): it is another network's; make it by Engine(fcn)."
    )
