"""Read state dicts as tensors and nothing else, and load them into modules name by name."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fullconv.errors import (
    InputError,
    MissingExtraError,
    ModelError,
    ModelWarning,
    UnsafeModelError,
    first_line,
)
from fullconv.frameworks.archives import check_archive
from fullconv.frameworks.torch.checkpoint import MatchedTensors, State, alone, find, state_dicts
from fullconv.frameworks.torch.filled import is_empty
from fullconv.frameworks.torch.inert import load, refused
from fullconv.wording import few, type_name

ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl", ".pickle")
"""Endings of files that ``torch.save`` writes."""


def read_checkpoint(weights: Path, label: str) -> Mapping[Any, Any]:
    """Return a state dict, or a checkpoint that contains one, without running code from the file.

    Parameters
    ----------
    label : str
        The name of the file in messages, as in ``--weights file.pt``.

    Raises
    ------
    InputError
        If the file has another ending.
    UnsafeModelError
        If it holds more than tensors and settings.
    ModelError
        If it holds something else, or is damaged.
    """
    suffix = weights.suffix.lower()
    if suffix == ".safetensors":
        checkpoint = _read_safetensors(weights, label)
    elif suffix in ENDINGS:
        checkpoint = _read_pickle(weights, label)
    else:
        raise InputError(
            f"{label}: the kind of file is told by its ending; give a state dict or checkpoint as "
            f".safetensors, .pt, .pth or .ckpt."
        )
    if not isinstance(checkpoint, Mapping):
        raise ModelError(
            f"{label}: expected a state dict, names with tensors; it holds "
            f"{type_name(checkpoint)}. Save it with torch.save(model.state_dict(), ...)."
        )
    if not any(True for _ in state_dicts(checkpoint)):
        raise ModelError(
            f"{label}: expected a state dict, names with tensors; it holds "
            f"{few([repr(str(key)) for key in checkpoint]) or 'nothing'}. Save the state dict "
            f"alone, with torch.save(model.state_dict(), ...)."
        )
    return checkpoint


def read_state(weights: Path, label: str) -> State:
    """Return the state dict in a file: of a checkpoint, the trained weights, not the averaged ones.

    Raises
    ------
    InputError, UnsafeModelError, ModelError
        As `read_checkpoint`.
    """
    return alone(read_checkpoint(weights, label))


def fill(model: nn.Module, checkpoint: Mapping[Any, Any], named: str, label: str) -> None:
    """Load the state dict that fits a module in names and sizes; warn if it had to be unwrapped.

    Parameters
    ----------
    named, label : str
        The names of the model and of the file in messages.

    Raises
    ------
    ModelError
        If nothing fits, or two parts of the file fit equally well.
    """
    own = model.state_dict()
    best, *others = find(checkpoint, own)
    if not best.fits:
        raise ModelError(f"{label} does not fit {named}: {_faults(best)}.")
    alike = [one for one in others if one.rank == best.rank]
    if alike:
        places = few([repr(".".join((*one.keys, one.prefix))) for one in (best, *alike)])
        raise ModelError(
            f"{label}: several of its state dicts fit {named} ({places}); save the one that is "
            f"meant alone, with torch.save(model.state_dict(), ...)."
        )
    if line := best.unwrapping():
        warnings.warn(f"{label}: {line}", ModelWarning, stacklevel=2)
    # Nothing can be copied to a tensor on the meta device, so it is replaced.
    model.load_state_dict(own | dict(best.state), assign=is_empty(own.values()))


def _faults(match: MatchedTensors) -> str:
    """Return in words what does not fit, and what to do."""
    faults = []
    if match.missing:
        faults.append(f"it lacks {few(list(map(repr, match.missing)))}")
    if match.unknown:
        faults.append(f"the model has no {few(list(map(repr, match.unknown)))}")
    faults += [
        f"{name} is {_size(match.state[name])} and the model's is {_size(match.own[name])}"
        for name in match.resized
    ][:3]
    unwrapped = f" ({line})" if (line := match.unwrapping()) else ""
    return f"{'; '.join(faults)}{unwrapped}. Give the weights that were trained with this code"


def _read_safetensors(weights: Path, label: str) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtraError(f"Reading {weights}", "torch") from None
    try:
        return load_file(weights)
    except Exception as error:
        raise ModelError(
            f"{label}: not a .safetensors file, or cut short ({first_line(error)}); save or copy "
            f"it again."
        ) from None


def _read_pickle(weights: Path, label: str) -> Any:
    if zipfile.is_zipfile(weights):
        again = "save it again with torch.save(model.state_dict(), ...)"
        check_archive(weights, f"{label}: it", again, packed=1)
    try:
        return load(weights)
    except Exception as error:
        # PyTorch's message advises to load the file unsafely; ours must not repeat that.
        name = refused(error)
        if not name:
            raise ModelError(
                f"{label}: not a PyTorch state dict, or cut short; save it again with "
                f"torch.save(model.state_dict(), ...), or as .safetensors."
            ) from None
        raise UnsafeModelError(
            f"{label}: it holds more than tensors ({name}), and loading that would run code "
            f"from the file; fullconv does not. Save the state dict alone, with "
            f"torch.save(model.state_dict(), ...), or as .safetensors."
        ) from None


def _size(tensor: torch.Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "a single number"
