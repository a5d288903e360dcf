"""Find the number of axes of a module's windows, where a window is given as one number."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import nn

from fullconv.frameworks.torch.exporting import (
    LARGEST_TRIED,
    evaluating,
    likely_channels,
    other_crops,
    quiet,
    takes,
)

LAYER = re.compile(r"(?:Conv|ConvTranspose|Pool|BatchNorm|InstanceNorm)([123])d$")
"""End of the names of layers that move over 1, 2 or 3 axes, with that number."""

USUAL = (2, 1, 3)
"""Numbers of axes in the order in which they are tried, where the layers do not agree on one."""


def axes_of(model: nn.Module, length: int) -> int | None:
    """Return the number of axes of a module's windows; None where it cannot be found.

    The layers decide, where all of them move over the same number of axes. Otherwise the module is
    run on crops of this length along each axis: over two axes first, then one, then three. For a
    window of one pixel, a module of feature vectors has two, whatever its layers make of them.
    """
    lazy = any(isinstance(m, nn.modules.lazy.LazyModuleMixin) for m in model.modules())
    if length == 1 and not lazy and _takes_vectors(model):
        return 2
    named = {int(match[1]) for name in _names(model) if (match := LAYER.search(name))}
    if len(named) == 1:
        return named.pop()
    if lazy:
        return None  # running it would fix the sizes of its lazy layers
    with evaluating(model), quiet(), torch.no_grad():
        for axes in USUAL:
            window = (length,) * axes
            if (axes in named or not named) and length**axes <= LARGEST_TRIED:
                crops = [(count, *window) for count in likely_channels(model, window)]
                if any(takes(model, crop) for crop in (*crops, window)):
                    return axes
    return None


def _takes_vectors(model: nn.Module) -> bool:
    """Whether a module scores vectors of features, and no maps of a single cell."""
    with evaluating(model):
        crops = other_crops(model, (1,))
        counts = likely_channels(model, (1,))
        return any(len(crop) == 1 and crop != (1,) for crop in crops) and not any(
            takes(model, (count, 1)) for count in counts
        )


def _names(model: nn.Module) -> Iterator[str]:
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            yield module.original_name
        else:
            yield from (base.__name__ for base in type(module).__mro__)
