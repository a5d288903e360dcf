"""The networks of `networks.axes` as PyTorch modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.axes import Classifier, Layer

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def around(pads: Any) -> list[int]:
    """Return padding in the order of `F.pad`: the last axis first."""
    return [n for pair in reversed(pads) for n in pair]


class Drawn(nn.Module):
    """Runs the layers one after the other."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.layers = classifier.layers
        self.axes = len(classifier.window)
        for index, layer in enumerate(classifier.layers):
            for name, weight in zip("ab", layer.weights, strict=False):
                self.register_parameter(
                    f"{name}{index}", nn.Parameter(torch.from_numpy(np.array(weight)), False)
                )

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            weights = [getattr(self, f"{name}{index}") for name in "ab"[: len(layer.weights)]]
            x = self.run(layer, x, weights)
        return x

    def run(self, layer: Layer, x: Tensor, weights: list[Tensor]) -> Tensor:
        n, axes = layer.numbers, self.axes
        match layer.kind:
            case "conv" if "stride" in n:
                pads, moves = n["pads"], (n["stride"], n["dilation"], n["groups"])
                if all(a == b for a, b in pads):
                    same = [a for a, _ in pads]
                    return CONV[axes](x, *weights, moves[0], same, moves[1], moves[2])
                return CONV[axes](F.pad(x, around(pads)), *weights, moves[0], 0, *moves[1:])
            case "conv":
                return CONV[axes](x, *weights).flatten(1)
            case "transposed":
                return TRANSPOSED[axes](x, *weights, n["stride"])
            case "max":
                return MAX[axes](x, n["kernel"], n["stride"], [a for a, _ in n["pads"]])
            case "average":
                return AVERAGE[axes](x, n["kernel"], n["stride"])
            case "relu":
                return F.relu(x)
            case "norm":
                ones = (1,) * axes
                return x * weights[0].reshape(1, -1, *ones) + weights[1].reshape(1, -1, *ones)
            case "pad":
                return F.pad(x, around(n["pads"]), n["mode"])
            case "up":
                return F.interpolate(x, scale_factor=2.0, mode="nearest")
            case "skip":
                return x + CONV[axes](x, *weights, padding=[a for a, _ in n["pads"]])
            case "branches":
                pads = [k // 2 for k in n["kernel"]]
                return torch.cat([x, MAX[axes](x, n["kernel"], 1, pads)], 1)
            case "flatten":
                return F.linear(x.flatten(1), *weights)
            case "last":
                turned = x.permute(0, *range(2, 2 + axes), 1)
                return F.linear(turned.flatten(1), *weights)
            case "largest":
                return F.linear(x.amax(tuple(range(2, 2 + axes))), *weights)
            case "linear":
                return F.linear(x, *weights)
        raise NotImplementedError(layer.kind)


def torch_form(classifier: Classifier) -> nn.Module:
    """Return the classifier as a module."""
    return Drawn(classifier).eval()
