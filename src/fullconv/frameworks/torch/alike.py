"""Whether two forms of a converted model are the same network."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from fullconv.frameworks.torch.exporting import blank, evaluating
from fullconv.images import ImageShape
from fullconv.judging import Scores, nearly_same

COUNTER = "num_batches_tracked"
"""How the name ends of what a norm counts while it trains, and no score depends on."""


def alike(model: nn.Module, other: nn.Module, shape: ImageShape) -> bool:
    """Whether a model has the weights of another form of it, and the scores but for roundings.

    Its weights are others if it was moved to another type, or trained after it was moved to another
    device; its scores are others if layers were changed.
    """
    if not _same_weights(model, other):
        return False
    image = shape.from_map(blank((1, shape.channels, *shape.two_windows), other))
    pixels = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    with evaluating(model), torch.no_grad():
        wanted = scores_of(model(pixels.to(blank((), model))))
        found = scores_of(other(pixels))
    return nearly_same(found, wanted, torch.finfo(image.dtype).eps)


def scores_of(result: object) -> Scores:
    """Return every output of a model as an array, of numbers that NumPy has."""
    leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return [
        (leaf.float() if leaf.dtype is torch.bfloat16 else leaf).detach().cpu().numpy()
        for leaf in leaves
    ]


def _same_weights(model: nn.Module, other: nn.Module) -> bool:
    held = model.state_dict()
    needed = {name: x for name, x in other.state_dict().items() if not name.endswith(COUNTER)}
    if any(name not in needed for name, _ in model.named_parameters()):
        return False
    return all(name in held and _same(held[name], tensor) for name, tensor in needed.items())


def _same(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Whether numbers and type are the same, in filters of another shape as well."""
    if one.dtype != two.dtype or one.numel() != two.numel():
        return False
    return torch.equal(one.reshape(two.shape).to(two.device), two)
