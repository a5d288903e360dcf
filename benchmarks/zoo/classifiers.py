"""An architecture as a trial needs it, in PyTorch or Keras: scores of crops, and heatmaps.

Pixels are tensors ``(N, C, H, W)``, and scores ``(windows, numbers)``, in both. Keras computes by
PyTorch here, so that how a sum is taken in another order is the same for both, too.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import weights
from libraries import Architecture, build, in_double, prepared
from torch import Tensor
from torch.utils import _pytree as pytree

import fullconv


class Network(ABC):
    """A classifier with random weights.

    Attributes
    ----------
    name : str
        ``LIBRARY:NAME``.
    architecture : Architecture
        What the library built.
    """

    def __init__(self, name: str, architecture: Architecture) -> None:
        self.name, self.architecture = name, architecture

    @property
    def model(self) -> Any:
        """The module, or the Keras model."""
        return self.architecture.module

    def convert(self, step: Sequence[int], exact: bool = True) -> Any:
        """Return the converted network."""
        return fullconv.convert(self.model, self.architecture.window, step, exact)

    @abstractmethod
    def enliven(self, crops: Tensor, least: float = weights.FAINT) -> None:
        """Give it random weights that keep every layer alive; see Note [Alive]."""

    @abstractmethod
    def parameters(self) -> int:
        """Return how many numbers it learns."""

    @abstractmethod
    def scores(self, crops: Tensor, batch: int) -> Tensor:
        """Return the scores of crops that are forwarded so many at a time."""

    @abstractmethod
    def heatmap(self, converted: Any, image: Tensor) -> Tensor:
        """Return the scores of every window of an image, by the converted network."""

    @abstractmethod
    def double(self) -> Network:
        """Return the same network in double precision."""


class TorchNetwork(Network):
    """A module of timm or torchvision."""

    def enliven(self, crops: Tensor, least: float = weights.FAINT) -> None:
        """Draw its weights."""
        weights.enliven(self.model, crops, least)

    def parameters(self) -> int:
        """Return how many numbers it learns."""
        return sum(p.numel() for p in self.model.parameters())

    def scores(self, crops: Tensor, batch: int) -> Tensor:
        """Return the scores of crops, whatever the structure of the answers."""
        with torch.no_grad():
            answers = [self.model(part) for part in crops.split(batch)]
        return torch.cat([torch.cat([x.flatten(1) for x in _leaves(a)], 1) for a in answers])

    def heatmap(self, converted: Any, image: Tensor) -> Tensor:
        """Return the scores of heatmaps ``(1, ..., rows, columns)``."""
        maps = [
            leaf[0].flatten(0, -3) if leaf.dim() > 3 else leaf[0, None]
            for leaf in _leaves(converted(image))
        ]
        return torch.cat([held.flatten(1) for held in maps]).T

    def double(self) -> Network:
        """Return a copy in double precision."""
        held = self.architecture
        module = copy.deepcopy(self.model).double()
        return TorchNetwork(self.name, Architecture(module, held.window, held.native))


class KerasNetwork(Network):
    """A model of ``keras.applications``, with its channels last."""

    def enliven(self, crops: Tensor, least: float = weights.FAINT) -> None:
        """Draw its weights."""
        weights.enliven_keras(self.model, torch.from_numpy(self._images(crops)), least)

    def parameters(self) -> int:
        """Return how many numbers it has."""
        return int(self.model.count_params())

    def scores(self, crops: Tensor, batch: int) -> Tensor:
        """Return the scores of crops."""
        images = self._images(crops)
        answers = [
            self.model.predict_on_batch(images[at : at + batch])
            for at in range(0, len(images), batch)
        ]
        return torch.from_numpy(np.concatenate(answers))

    def heatmap(self, converted: Any, image: Tensor) -> Tensor:
        """Return the scores of a heatmap ``(1, rows, columns, K)``."""
        scores = converted(self._images(image))
        return scores.detach()[0].flatten(0, 1)

    def _images(self, crops: Tensor) -> Any:
        """Return images ``(N, H, W, C)`` as they come from pixels of 0 to 255.

        Many applications prepare pixels themselves, and would find almost none in other ranges.
        """
        pixels = (128 + 50 * crops).permute(0, 2, 3, 1).numpy().copy()  # is prepared in place
        return np.ascontiguousarray(prepared(self.name, pixels))

    def double(self) -> Network:
        """Build it again in double precision, with the same weights."""
        held = self.architecture
        with in_double():
            architecture = build(self.name, held.window[0])
        architecture.module.set_weights(self.model.get_weights())
        return DoubleKerasNetwork(self.name, architecture)


class DoubleKerasNetwork(KerasNetwork):
    """A model of ``keras.applications`` in double precision, and all that is done with it."""

    def convert(self, step: Sequence[int], exact: bool = True) -> Any:
        """Return the converted network."""
        with in_double():
            return super().convert(step, exact)

    def scores(self, crops: Tensor, batch: int) -> Tensor:
        """Return the scores of crops."""
        with in_double():
            return super().scores(crops, batch)

    def heatmap(self, converted: Any, image: Tensor) -> Tensor:
        """Return the scores of a heatmap."""
        with in_double():
            return super().heatmap(converted, image)


def network(name: str, window: int | None) -> Network:
    """Return an architecture of any library, as it is built."""
    kind = KerasNetwork if name.startswith("keras:") else TorchNetwork
    return kind(name, build(name, window))


def _leaves(answer: Any) -> Sequence[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]
