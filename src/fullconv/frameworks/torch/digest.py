"""A hash that distinguishes PyTorch networks."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def digest(model: Any) -> str:
    """Hash the traced code, the types and settings of the modules, and the weights.

    The code alone is not enough: it says ``self.act(x)`` for every activation.
    """
    hash_ = hashlib.sha256(str(getattr(model, "code", "")).encode())
    for path, module in model.named_modules():
        hash_.update(f"{path} {type(module).__qualname__} {_settings(module)}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        hash_.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hash_.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return hash_.hexdigest()


def _settings(module: torch.nn.Module) -> dict[str, str]:
    """Return a module's settings whose repr is the same in every process: kernel, slope, ..."""
    return {
        name: repr(value)
        for name, value in sorted(vars(module).items())
        if _is_plain(value) and name != "training" and not name.startswith("_")
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str | torch.dtype)
