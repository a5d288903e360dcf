"""State dicts and checkpoints as repositories ship them fill the model whose names they have."""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fullconv.cli.group import commands
from fullconv.errors import ModelError, ModelWarning, UnsafeModelError

torch = pytest.importorskip("torch")
nn = torch.nn

from safetensors.torch import save_file  # noqa: E402

from fullconv.frameworks.torch.state import fill, read_checkpoint, read_state  # noqa: E402

CODE = """from torch import nn
def net():
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)
    return nn.Sequential(*layers)
"""


def net() -> Any:
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)
    return nn.Sequential(*layers)


def trained() -> dict[str, Any]:
    torch.manual_seed(3)
    # A variance is positive.
    return {name: torch.rand_like(t.float()).to(t) for name, t in net().state_dict().items()}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


def filled(checkpoint: Any, path: Path, model: Any = None) -> Any:
    """Return a model that a checkpoint has filled, by way of a file."""
    model = net() if model is None else model
    if path.suffix == ".safetensors":
        save_file(checkpoint, path)
    else:
        torch.save(checkpoint, path)
    fill(model, read_checkpoint(path, str(path)), "m:net", str(path))
    return model


def assert_filled(model: Any, state: Any) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def before(prefix: str, state: Any) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in state.items()}


OTHER = {"0.weight": torch.zeros(2, 1, 3, 3)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2, 1, 3, 3)}}, "param_groups": [{"lr": 0.1}]}

WRAPPED = {
    "a state dict": ("w.pt", lambda s: s, ""),
    "of DataParallel": (
        *("w.pth", lambda s: before("module.", s)),
        "its tensors are taken, without the prefix 'module.'",
    ),
    "compiled": (
        *("w.pt", lambda s: before("_orig_mod.", s)),
        "its tensors are taken, without '_orig_mod.' in the names",
    ),
    "compiled in parts": (
        *("w.pt", lambda s: {n.replace(".", "._orig_mod."): t for n, t in s.items()}),
        "its tensors are taken, without '_orig_mod.' in the names",
    ),
    "with an epoch": (
        *("w.pt", lambda s: {"state_dict": s, "epoch": 3}),
        "its 'state_dict' is taken, 'epoch' left out",
    ),
    "with an optimizer": (
        *("w.pth.tar", lambda s: {"model": before("module.", s), "optimizer": OPTIMIZER}),
        "its 'model' is taken, without the prefix 'module.', 'optimizer' left out",
    ),
    "model_state_dict": (
        *("w.pt", lambda s: {"model_state_dict": OrderedDict(s)}),
        "its 'model_state_dict' is taken",
    ),
    "net": ("w.pt", lambda s: {"net": s, "acc": 0.9}, "its 'net' is taken, 'acc' left out"),
    "under a name of its own": ("w.pt", lambda s: {"weird": s}, "its 'weird' is taken"),
    "deeper": (
        *("w.pt", lambda s: {"ema": {"module": before("net.", s)}}),
        "its 'ema.module' is taken, without the prefix 'net.'",
    ),
    "averaged beside trained": (
        *("w.pt", lambda s: {"model_ema": {n: t + 1 for n, t in s.items()}, "model": s}),
        "its 'model' is taken, 'model_ema' left out",
    ),
    "AveragedModel": (
        *("w.pt", lambda s: {"n_averaged": torch.tensor(7), **before("module.", s)}),
        "its tensors are taken, without the prefix 'module.', 'n_averaged' left out",
    ),
    "of Lightning": (
        *(
            "w.ckpt",
            lambda s: {
                "state_dict": {**before("model.", s), "loss.weight": torch.ones(2)},
                "pytorch-lightning_version": "2.4",
                "hyper_parameters": {"lr": 0.1},
            },
        ),
        "its 'state_dict' is taken, without the prefix 'model.', 'loss.weight', "
        "'pytorch-lightning_version', 'hyper_parameters' left out",
    ),
    "compiled and wrapped": (
        *("w.pt", lambda s: {"model": before("module._orig_mod.", s)}),
        "its 'model' is taken, without the prefix 'module.', without '_orig_mod.' in the names",
    ),
    "in safetensors": (
        *("w.safetensors", lambda s: before("model.", s)),
        "its tensors are taken, without the prefix 'model.'",
    ),
    "before counters": (
        *("w.pt", lambda s: {n: t for n, t in s.items() if "num_batches" not in n}),
        "",
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_repositories_ship_fills_the_model(kind: str, tmp_path: Path) -> None:
    name, wrap, line = WRAPPED[kind]
    state, path = trained(), tmp_path / name
    if line:
        with pytest.warns(ModelWarning) as caught:
            model = filled(wrap(state), path)
        assert [str(warning.message) for warning in caught] == [f"{path}: {line}"]
    else:
        model = filled(wrap(state), path)
    if kind == "before counters":
        state["1.num_batches_tracked"] = torch.tensor(0)
    assert_filled(model, state)


def test_a_model_that_wraps_what_was_saved_alone_is_filled(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = net()

    state = trained()
    with pytest.warns(ModelWarning, match="are taken, with the prefix 'backbone.'"):
        model = filled(state, tmp_path / "w.pt", Wrapper())
    assert_filled(model.backbone, state)


def test_a_compiled_model_is_filled_by_what_was_saved_of_it(tmp_path: Path) -> None:
    class Compiled(nn.Module):
        """Its names are those of what torch.compile returns."""

        def __init__(self) -> None:
            super().__init__()
            self._orig_mod = net()

    state = trained()
    model = filled(before("_orig_mod.", state), tmp_path / "w.pt", Compiled())
    assert_filled(model._orig_mod, state)


SETTINGS = {
    "namespace": argparse.Namespace(lr=0.1, out=pathlib.Path("runs"), when=datetime.date.min),
    "numpy": {"best": np.float64(0.5), "curve": np.arange(3), "kind": np.dtype("f4")},
    "defaultdict": defaultdict(list, {"loss": [1.0]}),
    "scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD(net().parameters()), 3),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_beside_the_weights_are_left_unmade(kind: str, tmp_path: Path) -> None:
    state = trained()
    with pytest.warns(ModelWarning, match="its 'model' is taken, 'args' left out"):
        model = filled({"model": state, "args": SETTINGS[kind]}, tmp_path / "w.pt")
    assert_filled(model, state)


class Settings:
    pass


class Evil:
    def __reduce__(self) -> Any:
        return pathlib.Path.mkdir, (pathlib.Path("RAN"),)


@pytest.mark.parametrize("held", [Settings(), Evil()])
def test_what_is_no_setting_is_refused_and_not_made(
    held: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    torch.save({"model": trained(), "args": held}, path)
    with pytest.raises(UnsafeModelError, match="it holds more than tensors") as caught:
        read_checkpoint(path, "--weights w.pt")
    assert str(caught.value).endswith(
        "and loading that would run code from the file; fullconv does not. Save the state dict "
        "alone, with torch.save(model.state_dict(), ...), or as .safetensors."
    )
    assert not (tmp_path / "RAN").exists()


def test_what_is_missing_and_left_over_is_listed_by_name(tmp_path: Path) -> None:
    state = before("module.", trained())
    for name in ("0.bias", "3.bias"):
        del state[f"module.{name}"]
    state |= {f"module.extra{n}.weight": torch.zeros(1) for n in range(12)}
    listed = ", ".join(f"'module.extra{n}.weight'" for n in range(10))
    with pytest.raises(ModelError) as caught:
        filled({"state_dict": state}, tmp_path / "w.pt")
    assert str(caught.value) == (
        f"{tmp_path / 'w.pt'} does not fit m:net: it lacks '0.bias', '3.bias'; the model has no "
        f"{listed} and 2 more (its 'state_dict' is taken, without the prefix 'module.'). Give the "
        f"weights that were trained with this code."
    )


def test_two_state_dicts_that_fit_alike_are_refused(tmp_path: Path) -> None:
    state = trained()
    for wrapped, places in (
        ({**before("student.", state), **before("pupil.", state)}, "'pupil.', 'student.'"),
        ({"first": state, "second": state}, "'first.', 'second.'"),
    ):
        with pytest.raises(ModelError) as caught:
            filled(wrapped, tmp_path / "w.pt")
        assert str(caught.value) == (
            f"{tmp_path / 'w.pt'}: several of its state dicts fit m:net ({places}); save the one "
            f"that is meant alone, with torch.save(model.state_dict(), ...)."
        )


@pytest.mark.parametrize("held", [{}, {"epoch": 3}, {"model": {"epoch": 3}}])
def test_a_checkpoint_without_tensors_is_one_line(held: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(held, path)
    with pytest.raises(ModelError, match="expected a state dict, names with tensors; it holds"):
        read_checkpoint(path, "--weights w.pt")


def test_without_a_model_the_largest_state_dict_is_taken(tmp_path: Path) -> None:
    state, path = trained(), tmp_path / "w.bin"
    torch.save({"head": OTHER, "state_dict": before("module.", state), "epoch": 1}, path)
    found = read_state(path, "w.bin")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_from_a_bare_checkpoint_to_a_heatmap_in_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Path("checkpointed.py").write_text(CODE)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12), np.uint8)).save("photo.png")
    torch.save({"state_dict": before("module.", trained()), "epoch": 3}, "best.pth.tar")
    line = ("scan", "checkpointed:net", "photo.png", "--weights", "best.pth.tar")
    done = run(*line, "--window", "4x4", "-o", "heat.zarr")
    assert done.exit_code == 0, done.output
    told = "--weights best.pth.tar: its 'state_dict' is taken, without the prefix 'module.', "
    assert f"note     {told}'epoch' left out\n" in done.output
    assert "equal: the scores are the crops' own" in done.output
    done = run(*line, "--window", "4x4", "-o", "other.zarr", "--json")
    assert told in done.stderr
    assert json.loads(done.stdout)["heatmaps"]
