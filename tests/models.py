"""Published window classifiers as plain modules, each from its paper, and small ones of our own.

A `width` below 1 thins every layer and keeps the geometry: kernels, strides, padding, map sizes.
Nothing here imports another file of the tests; the benchmarks use the same networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

VGG16_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Filters of each 3x3 convolution; 0 is a 2x2 pool (Simonyan and Zisserman 2015, column D)."""


class VGG16(nn.Module):
    """VGG16: 224x224 pixels, thirteen padded 3x3 convolutions, five pools, three dense layers."""

    window = (224, 224)
    last_map = (7, 7)

    def __init__(self, width: float = 1, classes: int = 1000, device: str | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for filters in VGG16_LAYERS:
            if filters:
                thin = round(filters * width)
                layers += [nn.Conv2d(channels, thin, 3, padding=1, device=device), nn.ReLU()]
                channels = thin
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = dense_head(channels * 49, round(4096 * width), classes, device)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class AlexNet(nn.Module):
    """AlexNet: 224x224 pixels, a last map of 6x6x256 (Krizhevsky 2014, one column)."""

    window = (224, 224)
    last_map = (6, 6)

    def __init__(self, width: float = 1, classes: int = 1000, device: str | None = None) -> None:
        super().__init__()
        a, b, c, d = (round(n * width) for n in (64, 192, 384, 256))
        self.features = nn.Sequential(
            nn.Conv2d(3, a, 11, stride=4, padding=2, device=device),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2, device=device),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1, device=device),
            nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1, device=device),
            nn.ReLU(),
            nn.Conv2d(d, d, 3, padding=1, device=device),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = dense_head(d * 36, round(4096 * width), classes, device)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def dense_head(inputs: int, hidden: int, classes: int, device: str | None = None) -> nn.Sequential:
    """Return the three dense layers that AlexNet and VGG share."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, device=device),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, hidden, device=device),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, classes, device=device),
    )


class DressDetector(nn.Module):
    """A window of 64 wide and 128 high, reduced 32 times to 2x4 units; no padding anywhere."""

    window = (128, 64)
    last_map = (4, 2)

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 4, 2, 2),
            nn.ReLU(),
            nn.Conv2d(4, 6, 2, 2),
            nn.ReLU(),
            nn.Conv2d(6, 8, 2, 2),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 8, 2, 2),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(8 * 4 * 2, 16), nn.ReLU(), nn.Linear(16, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


class Valid(nn.Module):
    """A small unpadded network of stride 4, with strided and overlapping layers.

    Takes windows of (20, 24): last map 2 rows by 3 columns.
    """

    window = (20, 24)
    last_map = (2, 3)

    def __init__(self, channels: int = 1, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 4, 3),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(4, 5, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(5, 6, 3),
        )
        self.classifier = nn.Sequential(nn.Linear(6 * 2 * 3, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class Padded(nn.Module):
    """A small padded network of stride 4. Takes windows of (16, 12): last map 4 by 3."""

    window = (16, 12)
    last_map = (4, 3)

    def __init__(self, channels: int = 1, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(4, 5, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(nn.Linear(5 * 4 * 3, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class Tied(nn.Module):
    """One convolution used twice, and one dense layer used twice; stride 4, windows of (22, 22)."""

    window = (22, 22)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=2)
        self.again = nn.Conv2d(4, 4, 3)
        self.pool = nn.MaxPool2d(2)
        self.dense = nn.Linear(4 * 2 * 2, 6)
        self.both = nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.again(torch.relu(self.again(x))))
        x = torch.relu(self.dense(torch.flatten(self.pool(x)[:, :, :2, :2], 1)))
        return self.last(torch.relu(self.both(torch.relu(self.both(x)))))


class Normed(nn.Module):
    """BatchNorm in two and in one dimension, PReLU; stride 2, windows of (9, 11)."""

    window = (9, 11)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.slope = nn.PReLU(4, init=0.5)
        self.dense = nn.Linear(4 * 4 * 5, 6)
        self.norm1 = nn.BatchNorm1d(6)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.slope(self.norm(self.conv(x)))
        return self.last(self.norm1(self.dense(x.view(x.size(0), -1))))


class Several(nn.Module):
    """A trunk with two heads, whose scores come back in some structure."""

    window = (20, 24)

    def __init__(self, structure: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        trunk = Valid()
        self.features, self.structure = trunk.features, structure
        self.kind, self.place = nn.Linear(36, 3), nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Any:
        x = torch.flatten(self.features(x), 1)
        return self.structure(self.kind(x), self.place(x))


def with_integers(model: nn.Module, seed: int = 0, taps: int = 3) -> nn.Module:
    """Give a model small whole weights; returns it, in eval mode.

    Every filter has `taps` weights of +1 or -1, more of them +1, and a bias of 0 or 1, so that
    numbers grow slowly through deep networks and sums stay exact in float32.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
                flat = module.weight.new_zeros(len(module.weight), module.weight[0].numel())
                for row in flat:
                    places = torch.randperm(len(row), generator=draw)[:taps]
                    signs = torch.randint(0, 3, places.shape, generator=draw)
                    row[places] = torch.where(signs == 0, -1.0, 1.0).to(row.dtype)
                module.weight.copy_(flat.reshape(module.weight.shape))
                if module.bias is not None:
                    bias = torch.randint(0, 2, module.bias.shape, generator=draw)
                    module.bias.copy_(bias)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                # (x - mean) / sqrt(0.25) * 0.5 + bias: whole numbers stay whole.
                module.eps = 0.0
                module.running_mean.copy_(torch.randint(0, 2, module.bias.shape, generator=draw))
                module.running_var.fill_(0.25)
                module.weight.fill_(0.5)
                module.num_batches_tracked.fill_(5)
                module.bias.copy_(torch.randint(0, 2, module.bias.shape, generator=draw))
    return model.eval()


def integer_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return images ``(N, C, H, W)`` of pixels from 0 to 3."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, shape, generator=draw).to(dtype)
