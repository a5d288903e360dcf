"""The networks that are measured, as modules and in ONNX, and the surgery by hand beside them."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from architectures import ARCHITECTURES, ResNet18, ResNet50, with_random_weights
from models import VGG16, dense_head


class Small(nn.Module):
    """A small unpadded network: 128x128 pixels, stride 32, a last map of 2x2, 10 classes."""

    window = (128, 128)
    last_map = (2, 2)

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, 16, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for channels, filters in pairwise(sizes):
            layers += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = dense_head(128 * 2 * 2, 256, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def ready(network: type[nn.Module]) -> nn.Module:
    """Return the network with random weights, in eval mode."""
    torch.manual_seed(0)
    return network().eval()


def by_hand(model: nn.Module) -> nn.Sequential:
    """Return the fully convolutional network as one writes it for one architecture.

    The trunk is taken as it is; every `nn.Linear` becomes an `nn.Conv2d` with its weights.
    """
    layers = list(model.features)
    rows, columns = model.last_map
    for layer in model.classifier:
        if isinstance(layer, nn.Linear):
            channels = layer.in_features // (rows * columns)
            conv = nn.Conv2d(channels, layer.out_features, (rows, columns), device="meta")
            filters = layer.weight.detach().reshape(-1, channels, rows, columns)
            conv.weight = nn.Parameter(filters)
            conv.bias = nn.Parameter(layer.bias.detach())
            layers.append(conv)
            rows, columns = 1, 1
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


def as_onnx(model: nn.Module, window: tuple[int, ...], channels: int = 3) -> Any:
    """Return the classifier as PyTorch exports it, with a free batch."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, channels, *window),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )
    return program.model_proto


def session(proto: Any) -> Callable[[Any], Any]:
    """Return a function that runs the classifier in ONNX Runtime with its default settings."""
    import onnxruntime

    held = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = held.get_inputs()[0].name
    return lambda crops: held.run(None, {name: crops})[0]


__all__ = [
    "ARCHITECTURES",
    "VGG16",
    "ResNet18",
    "ResNet50",
    "Small",
    "as_onnx",
    "by_hand",
    "ready",
    "session",
    "with_random_weights",
]
