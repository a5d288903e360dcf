"""State dicts: read as tensors and nothing else, and filled into a module name by name."""

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
from fullconv.frameworks.torch.checkpoint import Found, State, alone, find, state_dicts
from fullconv.frameworks.torch.filled import is_empty
from fullconv.frameworks.torch.inert import load, refused
from fullconv.wording import few

ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl", ".pickle")
"""Endings of what ``torch.save`` writes."""


def read_checkpoint(weights: Path, told: str) -> Mapping[Any, Any]:
    """Return a state dict, or what holds one, without running code from the file.

    Parameters
    ----------
    told : str
        What a message calls the file, as in ``--weights file.pt``.

    Raises
    ------
    InputError
        If the ending is of no such file.
    UnsafeModelError
        If it holds more than tensors and settings.
    ModelError
        If it holds something else, or is damaged.
    """
    suffix = weights.suffix.lower()
    if suffix == ".safetensors":
        checkpoint = _read_safetensors(weights, told)
    elif suffix in ENDINGS:
        checkpoint = _read_pickle(weights, told)
    else:
        raise InputError(
            f"{told}: the kind of file is told by its ending; give a state dict or checkpoint as "
            f".safetensors, .pt, .pth or .ckpt."
        )
    if not isinstance(checkpoint, Mapping):
        raise ModelError(
            f"{told}: expected a state dict, names with tensors; it holds {_kind(checkpoint)}. "
            f"Save it with torch.save(model.state_dict(), ...)."
        )
    if not any(True for _ in state_dicts(checkpoint)):
        raise ModelError(
            f"{told}: expected a state dict, names with tensors; it holds "
            f"{few([repr(str(key)) for key in checkpoint]) or 'nothing'}. Save the state dict "
            f"alone, with torch.save(model.state_dict(), ...)."
        )
    return checkpoint


def read_state(weights: Path, told: str) -> State:
    """Return a state dict, out of what holds it: the trained weights, not the averaged ones.

    Raises
    ------
    InputError, UnsafeModelError, ModelError
        As `read_checkpoint`.
    """
    return alone(read_checkpoint(weights, told))


def fill(model: nn.Module, checkpoint: Mapping[Any, Any], named: str, told: str) -> None:
    """Load what fits a module name by name and size by size; what was unwrapped is warned of.

    Parameters
    ----------
    named, told : str
        What a message calls the model and the file.

    Raises
    ------
    ModelError
        If nothing fits, or two parts of the file fit equally well.
    """
    own = model.state_dict()
    best, *others = find(checkpoint, own)
    if not best.fits:
        raise ModelError(f"{told} does not fit {named}: {_faults(best)}.")
    alike = [one for one in others if one.rank == best.rank]
    if alike:
        places = few([repr(".".join((*one.keys, one.prefix))) for one in (best, *alike)])
        raise ModelError(
            f"{told}: several of its state dicts fit {named} ({places}); save the one that is "
            f"meant alone, with torch.save(model.state_dict(), ...)."
        )
    if line := best.told():
        warnings.warn(f"{told}: {line}", ModelWarning, stacklevel=2)
    # What is on the meta device cannot be copied to.
    model.load_state_dict(own | dict(best.state), assign=is_empty(own.values()))


def _faults(found: Found) -> str:
    """Return what does not fit, and what to do."""
    faults = []
    if found.missing:
        faults.append(f"it lacks {few(list(map(repr, found.missing)))}")
    if found.unknown:
        faults.append(f"the model has no {few(list(map(repr, found.unknown)))}")
    faults += [
        f"{name} is {_size(found.state[name])} and the model's is {_size(found.own[name])}"
        for name in found.resized
    ][:3]
    unwrapped = f" ({line})" if (line := found.told()) else ""
    return f"{'; '.join(faults)}{unwrapped}. Give the weights that were trained with this code"


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
        return load(weights)
    except Exception as error:
        # PyTorch's message advises to load the file unsafely; ours must not repeat that.
        name = refused(error)
        if not name:
            raise ModelError(
                f"{told}: not a PyTorch state dict, or cut short; save it again with "
                f"torch.save(model.state_dict(), ...), or as .safetensors."
            ) from None
        raise UnsafeModelError(
            f"{told}: it holds more than tensors ({name}), and loading that would run code "
            f"from the file; fullconv does not. Save the state dict alone, with "
            f"torch.save(model.state_dict(), ...), or as .safetensors."
        ) from None


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _size(tensor: torch.Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "a single number"
