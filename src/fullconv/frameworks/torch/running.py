"""Run a classifier of PyTorch on crops."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fullconv.frameworks.torch.exporting import (
    blank,
    evaluating,
)


def plain(model: nn.Module) -> Callable[[torch.Tensor], Any]:
    def classify(crops: torch.Tensor) -> Any:
        with evaluating(model), torch.no_grad():
            return model(crops)

    # An exported program has no eval mode, and refuses to be put into one.
    def run(crops: torch.Tensor) -> Any:
        with torch.no_grad():
            return model(crops)

    return run if isinstance(model, torch.fx.GraphModule) else classify


def scripted(model: torch.jit.ScriptModule) -> Callable[[torch.Tensor], Any]:
    """Run a TorchScript module on crops, one by one if it takes only one image at once."""
    from fullconv.frameworks.torch.torchscript import takes_any_number

    @functools.cache
    def run(shape: torch.Size) -> Callable[[torch.Tensor], Any]:
        with evaluating(model):
            free = takes_any_number(model, blank((1, *shape), model))
        return plain(model) if free else in_batches(model, 1)

    def classify(crops: torch.Tensor) -> Any:
        with evaluating(model):
            return run(crops.shape[1:])(crops)

    return classify


def in_batches(model: nn.Module, size: int) -> Callable[[torch.Tensor], Any]:
    """Run a model that takes a fixed number of images; the last batch is padded by repetition."""
    from torch.utils import _pytree as pytree

    def classify(crops: torch.Tensor) -> Any:
        if len(crops) == size:
            with torch.no_grad():
                return model(crops)
        results = []
        for start in range(0, len(crops), size):
            batch = crops[start : start + size]
            filled = torch.cat([batch, batch[-1:].expand(size - len(batch), *batch.shape[1:])])
            with torch.no_grad():
                result = model(filled)
            results.append(pytree.tree_map(operator.itemgetter(slice(len(batch))), result))
        return pytree.tree_map(lambda *parts: torch.cat(parts), *results)

    return classify
