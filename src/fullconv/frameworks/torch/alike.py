"""Whether two forms of a converted model are the same network."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from fullconv.frameworks.torch.exporting import blank, evaluating
from fullconv.geometry.images import ImageShape
from fullconv.verification.judging import Scores, nearly_same

COUNTER = "num_batches_tracked"
"""Name of the counter of a norm in training, on which no score depends."""


def alike(model: nn.Module, other: nn.Module, shape: ImageShape) -> bool:
    """Whether two forms of a model have the same weights, and the same scores up to rounding.

    Weights differ if the model was moved to another type, or trained after it was moved to another
    device. Scores differ if layers were changed.
    """
    if not _same_weights(model, other):
        return False
    image = shape.from_map(blank((1, shape.channels, *shape.two_windows), other))
    pixels = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    with evaluating(model), torch.no_grad():
        expected = scores_of(model(pixels.to(blank((), model))))
        actual = scores_of(other(pixels))
    return nearly_same(actual, expected, torch.finfo(image.dtype).eps)


def scores_of(result: object) -> Scores:
    """Return every output of a model as a NumPy array; bfloat16 as float32."""
    leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return [
        (leaf.float() if leaf.dtype is torch.bfloat16 else leaf).detach().cpu().numpy()
        for leaf in leaves
    ]


def _same_weights(model: nn.Module, other: nn.Module) -> bool:
    state = model.state_dict()
    needed = {name: x for name, x in other.state_dict().items() if not name.endswith(COUNTER)}
    if any(name not in needed for name, _ in model.named_parameters()):
        return False
    return all(name in state and _same(state[name], tensor) for name, tensor in needed.items())


def _same(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Whether two tensors have the same type and numbers; their shapes may differ."""
    if one.dtype != two.dtype or one.numel() != two.numel():
        return False
    return torch.equal(one.reshape(two.shape).to(two.device), two)
