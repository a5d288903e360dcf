"""Real architectures of torchvision and timm: a small sample of what `make zoo` tries.

One of every outcome is tried as the sweep tries it; and the command line takes their names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import fullconv
from data import REPOSITORY
from oracle import assert_close, scores_of_crops, self_difference, torch_classifier

pytest.importorskip("torch")
ZOO = REPOSITORY / "benchmarks/zoo"
sys.path.insert(0, str(ZOO))
libraries = pytest.importorskip("libraries", reason="benchmarks/zoo/ is not beside the tests")
try:
    libraries.import_libraries()
except ModuleNotFoundError as missing:
    pytest.skip(
        f"no {missing.name}; pip install --no-deps -r benchmarks/zoo/requirements.txt",
        allow_module_level=True,
    )

import table  # noqa: E402
import torch  # noqa: E402
from sweep import timm_names  # noqa: E402
from torch import nn  # noqa: E402
from trial import Record, attempt  # noqa: E402

from fullconv.cli.group import commands  # noqa: E402

SAMPLE = {
    "timm:test_resnet": ("shared", []),
    "timm:test_nfnet": ("until", ["mul"]),
    "timm:lcnet_035": ("shared", []),
    "timm:test_vit": ("until", ["cat"]),
    "torchvision:squeezenet1_1": ("shared", []),
}
"""What each shares, and which operations end that."""

WINDOW = 96
LEFT_OUT = {"deepseek_vit", "gemma4_vit", "naflexvit", "qwen3_vit"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def tried(name: str) -> Record:
    return attempt(name, None if name == "timm:test_vit" else WINDOW)


@pytest.mark.parametrize("name", SAMPLE)
def test_every_window_of_an_architecture_equals_its_crop(name: str) -> None:
    record = tried(name)
    assert record.outcome == "equal", record.error
    assert record.error_double is None, "the comparison in single precision decides"
    ends = [operation for operation, _, _ in record.reasons]
    assert (table.kind(record.as_dict()), ends) == SAMPLE[name]


def test_an_architecture_that_pads_is_far_from_its_crops_in_the_approximate_form() -> None:
    record = tried("timm:test_resnet")
    assert record.approximate_reasons == {"padding": 11}
    assert record.error_approximate > 1000 * 16 * record.unit


def test_what_cannot_be_built_is_a_record_that_says_why() -> None:
    record = attempt("timm:no_such_network")
    assert record.outcome == "fails"
    assert record.error == (
        "RuntimeError: Model architecture (no_such_network) has no pretrained cfg registered."
    )


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no address be reached, and no weights be found that were fetched before."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def saved_weights(name: str, path: Path) -> nn.Module:
    model = libraries.build(name).module
    torch.save(model.state_dict(), path)
    return model


def test_a_model_of_timm_knows_its_window_classes_and_preprocessing(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    model = saved_weights("timm:test_resnet", weights)
    out = tmp_path / "out.pt2"
    options = ("--weights", weights, "--approximate", "-o", out)
    done = run("convert", "timm:test_resnet", *options)
    assert done.exit_code == 0, done.stderr
    fcn = fullconv.load(out)
    assert fcn.grid.window == (160, 160)
    assert fcn.preprocessing == fullconv.Preprocessing(1 / 255, (0.5,) * 3, (0.5,) * 3)
    assert (fcn.classes[0], fcn.classes[-1]) == ("tench", "toilet tissue")
    crops = torch.rand(2, 3, 160, 160)  # where the approximate form is the classifier, too
    classify = torch_classifier(model.eval())
    unit = self_difference(classify, crops)
    assert_close(fcn(crops), scores_of_crops(classify, crops, (160, 160), fcn.grid.step), unit, 16)


def test_a_model_of_torchvision_knows_its_window_and_classes(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    saved_weights("torchvision:squeezenet1_1", weights)
    done = run("explain", "torchvision:squeezenet1_1", "--weights", weights, "--json")
    assert json.loads(done.stdout)["window"] == [224, 224]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(1)}, weights)
    done = run("explain", "timm:test_resnet", "--weights", weights)
    assert done.exit_code == 3
    assert done.stderr.startswith(
        f"fullconv: error: --weights {weights} does not fit timm:test_resnet: it lacks "
    )


def test_weights_that_cannot_be_fetched_are_told_with_their_address(unreachable: None) -> None:
    done = run("explain", "torchvision:squeezenet1_1")
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1] == (
        "fullconv: error: torchvision:squeezenet1_1: its weights could not be fetched from "
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth (URLError: <urlopen error "
        "[Errno 111] Connection refused>). Try again where that address can be reached, or give a "
        "state dict with --weights."
    )


def test_weights_of_timm_that_cannot_be_fetched_are_told_with_their_address(
    unreachable: None,
) -> None:
    done = run("scan", "timm:test_resnet", "a.tif", "-o", "heat.zarr")
    assert done.exit_code == 3
    *_, line = done.stderr.splitlines()
    assert line.startswith(
        "fullconv: error: timm:test_resnet: its weights could not be fetched from "
        "https://huggingface.co/timm/test_resnet.r160_in1k ("
    )
    assert line.endswith(
        "). Try again where that address can be reached, or give a state dict with --weights."
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "timm:resnet19",
            "timm has no classifier 'resnet19'; did you mean resnet18 or resnet61q or resnet51q?",
        ),
        (
            "torchvision:resnet",
            "torchvision has no classifier 'resnet'; did you mean resnet50 or resnet34 or "
            "resnet18?",
        ),
        (
            "timm:test_resnet.a1",
            "timm has no classifier 'test_resnet.a1'; did you mean test_resnet.r160_in1k?",
        ),
        ("timm:hopelessly_unknown", "timm has no classifier 'hopelessly_unknown'; check its name."),
    ],
)
def test_a_name_that_a_library_does_not_know_is_told_with_names_like_it(
    name: str, said: str
) -> None:
    done = run("explain", name)
    assert (done.exit_code, done.stderr) == (2, f"fullconv: error: {name}: {said}\n")


def test_a_model_that_was_never_trained_needs_weights() -> None:
    done = run("explain", "timm:cs3darknet_s")
    assert (done.exit_code, done.stderr) == (
        3,
        "fullconv: error: timm:cs3darknet_s: timm has no trained weights of this model; give a "
        "state dict with --weights.\n",
    )


def test_every_family_of_timm_is_tried_and_300_convolutional_networks() -> None:
    _, timm = libraries.import_libraries()
    names = [name.partition(":")[2] for family in timm_names() for name in family]
    assert sorted(set(names) - set(timm.list_models())) == []
    assert len(set(names)) == len(names)
    lines = (ZOO / "architectures.txt").read_text().splitlines()
    families = {line.partition(":")[0] for line in lines if not line.startswith("#")}
    assert set(timm.list_modules()) - families == LEFT_OUT
    assert len(names) >= 300
