"""Find parameters without the numbers that they claim: uninitialized, or on the meta device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fullconv.errors import ModelError
from fullconv.frameworks.bounds import FEW

UNKNOWN = (UninitializedParameter, UninitializedBuffer)


def check_filled(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse a model with a parameter or buffer that does not have its numbers.

    Raises
    ------
    ModelError
        If a lazy layer has not seen an image yet, a tensor is on the meta device, or a few numbers
        are expanded to many more.
    """
    lazy = [name for name, tensor in tensors.items() if isinstance(tensor, UNKNOWN)]
    if lazy:
        raise ModelError(
            f"convert: {_few(lazy)} has no size yet, as its layer is lazy and has seen no image; "
            f"load the trained weights, or run the model on a crop first."
        )
    empty = [
        name
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_meta
    ]
    if empty:
        raise ModelError(
            f"convert: {_few(empty)} is on the meta device and holds no numbers; load the trained "
            f"weights with load_state_dict(..., assign=True)."
        )
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor) and not isinstance(tensor, UNKNOWN):
            _check_claim(name, tensor)


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of a module by their names."""
    return dict([*model.named_parameters(), *model.named_buffers()])


def finish_lazy(model: nn.Module, image: torch.Tensor) -> None:
    """Run a model with lazy layers once, which turns them into ordinary layers."""
    if any(isinstance(m, nn.modules.lazy.LazyModuleMixin) for m in model.modules()):
        with torch.no_grad():
            model(image)


def is_empty(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether a tensor among these is on the meta device."""
    return any(not isinstance(t, UNKNOWN) and t.is_meta for t in tensors)


def _few(names: list[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def _check_claim(name: str, tensor: torch.Tensor) -> None:
    if tensor.layout != torch.strided or tensor.numel() <= FEW:
        return
    stored = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
    if tensor.numel() > stored:
        raise ModelError(
            f"convert: {name!r} claims {tensor.numel()} numbers and holds {stored}, repeated; save "
            f"the model with the numbers alone, and let it expand them."
        )
