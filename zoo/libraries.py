"""The two libraries whose architectures are tried, and how one of them is built.

torchvision's wheel is compiled for one build of PyTorch, and beside another its compiled operators
are missing: it then cannot be imported, because it describes two of them to the tracer. No
classifier uses these; naming them is enough.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

MISSING = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_libraries() -> tuple[Any, Any]:
    """Return the modules torchvision and timm, whatever PyTorch's build."""
    held = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            held.define(f"{name}{MISSING}")
    _kept.append(held)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its extension for pictures, which is not used
        import torchvision
    import timm

    return torchvision, timm


_kept: list[Any] = []
"""What is defined is forgotten with its library."""


@dataclass(frozen=True)
class Architecture:
    """A classifier of a library, with random weights.

    Attributes
    ----------
    window : (int, int)
        The size of the crops that it is built for, in pixels.
    native : (int, int)
        The size of the crops that the library's own weights are for.
    """

    module: nn.Module
    window: tuple[int, int]
    native: tuple[int, int]


def build(name: str, window: int | None = None) -> Architecture:
    """Return an architecture by its name, ``timm:NAME`` or ``torchvision:NAME``.

    A `window` is taken instead of the native one; an architecture that takes one size only is
    built for it.
    """
    library, _, model = name.partition(":")
    torchvision, timm = import_libraries()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a library says of its own initial values
        if library == "timm":
            return _of_timm(timm, model, window)
        return _of_torchvision(torchvision.models, model, window)


def _of_timm(timm: Any, name: str, window: int | None) -> Architecture:
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    _, *native = config.input_size
    given = {"img_size": window} if window and config.fixed_input_size else {}
    module = timm.create_model(name, pretrained=False, **given)
    size = (window, window) if window else tuple(native)
    return Architecture(module, size, tuple(native))


def _of_torchvision(models: Any, name: str, window: int | None) -> Architecture:
    trained = [held.transforms() for held in models.get_model_weights(name)]
    native = min((held.crop_size[0] for held in trained), default=224)
    # A vision transformer is built for its size; an inception without its side heads.
    given = {"image_size": window or native} if name.startswith("vit_") else {}
    module = models.get_model(name, weights=None, **given)
    size = window or native
    return Architecture(module, (size, size), (native, native))
