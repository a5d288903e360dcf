"""The network that `fullconv train` makes, with a fully connected or a convolutional head."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from fullconv.training.fitting import Fit, Stage

HIDDEN = 64
"""Units of the hidden layer in the head."""

DROPOUT = 0.25


class WindowNetwork(nn.Module):
    """Map crops ``(N, C, h, w)`` to scores ``(N, K)``, before the softmax.

    The network has the unpadded convolutions that `fitting.fit` chooses, each with batch
    normalization and ReLU, and a head of two layers over the whole last map. The head is fully
    connected, or with ``convolutional`` two convolutions (of the last map's size, and 1x1) that
    hold the same parameters in another shape.

    Attributes
    ----------
    features : nn.Sequential
        From pixels to the last map.
    classifier : nn.Sequential
        The head.
    """

    def __init__(self, fit: Fit, channels: int, classes: int, *, convolutional: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in fit.stages:
            layers.extend(_layers(stage, channels))
            channels = stage.channels
        self.features = nn.Sequential(*layers)
        head = _convolutional_head if convolutional else _dense_head
        self.classifier = nn.Sequential(*head(fit, channels, classes))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the scores ``(N, K)`` of crops."""
        return self.maps(crops).flatten(1)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return the head's output: ``(N, K)``, or from a convolutional head ``(N, K, rows,
        columns)``, for images of any size from the window up."""
        scores: torch.Tensor = self.classifier(self.features(images))
        return scores


class Classifier(nn.Module):
    """A trained network with its softmax: crops ``(N, C, h, w)`` to probabilities ``(N, K)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def of(cls, network: nn.Module) -> Classifier:
        """Return a copy of a network with its softmax, on the CPU, in eval mode and the usual
        memory format."""
        copied = copy.deepcopy(network).to("cpu")
        copied = copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return cls(copied).eval()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the probabilities ``(N, K)``."""
        probabilities: torch.Tensor = self.network(crops).softmax(dim=1)
        return probabilities


def _layers(stage: Stage, channels: int) -> Iterator[nn.Module]:
    # A bias before batch normalization would be subtracted again.
    yield nn.Conv2d(channels, stage.channels, stage.kernel, stage.stride, bias=False)
    yield nn.BatchNorm2d(stage.channels)
    yield nn.ReLU()
    if stage.pool != (1, 1):
        yield nn.MaxPool2d(stage.pool, stage.pool_stride)


def _dense_head(fit: Fit, channels: int, classes: int) -> Iterator[nn.Module]:
    rows, columns = fit.last_map
    yield nn.Flatten()
    yield nn.Linear(channels * rows * columns, HIDDEN)
    yield nn.ReLU()
    yield nn.Dropout(DROPOUT)
    yield nn.Linear(HIDDEN, classes)


def _convolutional_head(fit: Fit, channels: int, classes: int) -> Iterator[nn.Module]:
    # The layers have the same places, so that names and initial weights are the same, too.
    yield nn.Identity()
    yield nn.Conv2d(channels, HIDDEN, fit.last_map)
    yield nn.ReLU()
    yield nn.Dropout(DROPOUT)
    yield nn.Conv2d(HIDDEN, classes, 1)
