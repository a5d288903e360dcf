"""Over how many axes a module slides its windows, where a window is given as one number."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import nn

from fullconv.frameworks.torch.exporting import (
    LARGEST_TRIED,
    evaluating,
    likely_channels,
    quiet,
    takes,
)

LAYER = re.compile(r"(?:Conv|ConvTranspose|Pool|BatchNorm|InstanceNorm)([123])d$")
"""How the names of layers end that move over so many axes."""

USUAL = (2, 1, 3)
"""In this order numbers of axes are tried where layers do not say, or not all say the same."""


def axes_of(model: nn.Module, length: int) -> int | None:
    """Return the axes of the windows that a module takes; None where nothing tells.

    Its layers tell, where all say the same. Otherwise it is run on crops of this length, over two
    axes first, one and three.
    """
    said = {int(found[1]) for name in _names(model) if (found := LAYER.search(name))}
    if len(said) == 1:
        return said.pop()
    if any(isinstance(module, nn.modules.lazy.LazyModuleMixin) for module in model.modules()):
        return None  # a try would settle its sizes
    with evaluating(model), quiet(), torch.no_grad():
        for axes in USUAL:
            window = (length,) * axes
            if (axes in said or not said) and length**axes <= LARGEST_TRIED:
                crops = [(count, *window) for count in likely_channels(model, window)]
                if any(takes(model, crop) for crop in (*crops, window)):
                    return axes
    return None


def _names(model: nn.Module) -> Iterator[str]:
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield module.original_name
        else:
            yield from (base.__name__ for base in type(module).__mro__)
