"""State dicts: read as tensors and nothing else, and filled into a module name by name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fullconv.errors import InputError, MissingExtraError, ModelError, UnsafeModelError, first_line
from fullconv.frameworks.archives import check_archive
from fullconv.frameworks.torch.filled import UNKNOWN, is_empty


def read_state(weights: Path, told: str) -> Mapping[str, torch.Tensor]:
    """Return a state dict, without running code from the file.

    Parameters
    ----------
    told : str
        What a message calls the file, as in ``--weights file.pt``.

    Raises
    ------
    InputError
        If the ending is of no such file.
    UnsafeModelError
        If it holds more than tensors.
    ModelError
        If it holds something else, or is damaged.
    """
    suffix = weights.suffix.lower()
    if suffix == ".safetensors":
        state = _read_safetensors(weights, told)
    elif suffix in (".pt", ".pth", ".bin"):
        state = _read_pickle(weights, told)
    else:
        raise InputError(
            f"{told}: the kind of file is told by its ending; give a state dict as .safetensors, "
            f".pt or .pth."
        )
    if not isinstance(state, Mapping):
        raise ModelError(
            f"{told}: expected a state dict, names with tensors; it holds {_kind(state)}. Save it "
            f"with torch.save(model.state_dict(), ...)."
        )
    others = [str(key) for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ModelError(
            f"{told}: expected a state dict, names with tensors; it also holds {_few(others)}. "
            f"Save the state dict alone, with torch.save(model.state_dict(), ...)."
        )
    return state


def fill(model: nn.Module, state: Mapping[str, torch.Tensor], named: str, told: str) -> None:
    """Load a state dict that fits a module name by name and size by size.

    Parameters
    ----------
    named, told : str
        What a message calls the model and the file.

    Raises
    ------
    ModelError
        If it does not fit.
    """
    own = model.state_dict()
    faults = []
    if missing := [name for name in own if name not in state]:
        faults.append(f"it lacks {_few(missing)}")
    if unknown := [name for name in state if name not in own]:
        faults.append(f"the model has no {_few(unknown)}")
    faults += [
        f"{name} is {_size(state[name])} and the model's is {_size(own[name])}"
        for name in own
        if name in state
        and not isinstance(own[name], UNKNOWN)
        and state[name].shape != own[name].shape
    ][:3]
    if faults:
        raise ModelError(
            f"{told} does not fit {named}: {'; '.join(faults)}. Give the weights that were trained "
            f"with this code."
        )
    # What is on the meta device cannot be copied to.
    model.load_state_dict(state, assign=is_empty(own.values()))


def _read_safetensors(weights: Path, told: str) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtraError(f"Reading {weights}", "torch") from None
    try:
        return load_file(weights)
    except Exception as error:
        raise ModelError(
            f"{told}: not a .safetensors file, or cut short ({first_line(error)}); save or copy it "
            f"again."
        ) from None


def _read_pickle(weights: Path, told: str) -> Any:
    if zipfile.is_zipfile(weights):
        again = "save it again with torch.save(model.state_dict(), ...)"
        check_archive(weights, f"{told}: it", again, packed=1)
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch's message advises to load the file unsafely; ours must not repeat that.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named is None:
            raise ModelError(
                f"{told}: not a PyTorch state dict, or cut short; save it again with "
                f"torch.save(model.state_dict(), ...), or as .safetensors."
            ) from None
        raise UnsafeModelError(
            f"{told}: it holds more than tensors ({named[1]}), and loading that would run code "
            f"from the file; fullconv does not. Save the state dict alone, with "
            f"torch.save(model.state_dict(), ...), or as .safetensors."
        ) from None


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more


def _size(tensor: torch.Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "a single number"
