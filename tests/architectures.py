"""The classifiers that people take from a model zoo, in full size, each written from its paper.

Layers bear the names that published weights use (``layer1.0.conv1``, ``features.0``). Each maps
``(N, 3, 224, 224)`` to ``(N, 1000)`` with a stride of 32, and each pads. VGG16 is in `models`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from models import VGG16

WINDOW = (224, 224)


# ---------------------------------------------------------------------------------------------
# Residual networks (He et al. 2016, table 1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (figure 5, left)."""

    expansion = 1

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = shortcut(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 beside a shortcut (figure 5, right).

    The stride is on the 3x3, as in the weights that everyone uses ("version 1.5": Goyal et al.
    2017, section 5), and not on the first 1x1, as in the paper.
    """

    expansion = 4

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(channels, 4 * filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def shortcut(channels: int, filters: int, stride: int) -> nn.Sequential | None:
    """Return the projection of a shortcut that changes size or channels (option B), or None."""
    if stride == 1 and channels == filters:
        return None
    return nn.Sequential(
        nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
    )


class ResNet(nn.Module):
    """A 7x7 stem, four layers of blocks, a global average, one dense layer.

    A `width` below 1 thins every layer and keeps the geometry.
    """

    window = WINDOW
    block: ClassVar[type[BasicBlock] | type[Bottleneck]]
    blocks: ClassVar[tuple[int, int, int, int]]

    def __init__(self, width: float = 1, classes: int = 1000) -> None:
        super().__init__()
        channels = round(64 * width)
        self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for index, count in enumerate(self.blocks):
            filters = round(64 * width) * 2**index
            layer = nn.Sequential()
            for number in range(count):
                stride = 2 if index and not number else 1
                layer.append(self.block(channels, filters, stride))
                channels = filters * self.block.expansion
            self.add_module(f"layer{index + 1}", layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class ResNet18(ResNet):
    """ResNet-18."""

    block = BasicBlock
    blocks = (2, 2, 2, 2)


class ResNet50(ResNet):
    """ResNet-50, version 1.5."""

    block = Bottleneck
    blocks = (3, 4, 6, 3)


# ---------------------------------------------------------------------------------------------
# Dense networks (Huang et al. 2017, table 1)


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1, norm, ReLU, 3x3 (DenseNet-B): adds its filters to what it was given."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(y)))], 1)


class Transition(nn.Sequential):
    """Half of the channels and half of the size (DenseNet-C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2, 2)


class DenseNet121(nn.Module):
    """DenseNet-121; with fewer or shorter `blocks`, a shorter one."""

    window = WINDOW

    def __init__(
        self, blocks: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32, classes: int = 1000
    ) -> None:
        super().__init__()
        channels = 2 * growth
        self.features = nn.Sequential()
        self.features.conv0 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.features.norm0 = nn.BatchNorm2d(channels)
        self.features.relu0 = nn.ReLU(inplace=True)
        self.features.pool0 = nn.MaxPool2d(3, 2, 1)
        for index, count in enumerate(blocks, 1):
            if index > 1:
                self.features.add_module(f"transition{index - 1}", Transition(channels))
                channels //= 2
            block = nn.Sequential()
            for number in range(1, count + 1):
                block.add_module(f"denselayer{number}", DenseLayer(channels, growth))
                channels += growth
            self.features.add_module(f"denseblock{index}", block)
        self.features.norm5 = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.features(x))
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


# ---------------------------------------------------------------------------------------------
# MobileNetV2 (Sandler et al. 2018, table 2)

INVERTED_RESIDUALS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repeats, and the stride of the first of them."""


def conv_norm_relu6(
    channels: int, filters: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution that keeps the size but for its stride, BatchNorm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1x1 to more channels, 3x3 on each of them alone, 1x1 back; added to its input if alike."""

    def __init__(self, channels: int, filters: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.adds = stride == 1 and channels == filters
        self.conv = nn.Sequential()
        if expansion != 1:
            self.conv.append(conv_norm_relu6(channels, hidden, 1))
        self.conv.append(conv_norm_relu6(hidden, hidden, 3, stride, groups=hidden))
        self.conv.append(nn.Conv2d(hidden, filters, 1, bias=False))
        self.conv.append(nn.BatchNorm2d(filters))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1."""

    window = WINDOW

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        channels, last = 32, 1280
        self.features = nn.Sequential(conv_norm_relu6(3, channels, 3, 2))
        for expansion, filters, repeats, first in INVERTED_RESIDUALS:
            for number in range(repeats):
                stride = 1 if number else first
                self.features.append(InvertedResidual(channels, filters, stride, expansion))
                channels = filters
        self.features.append(conv_norm_relu6(channels, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


ARCHITECTURES: dict[str, type[nn.Module]] = {
    network.__name__: network for network in (VGG16, ResNet18, ResNet50, DenseNet121, MobileNetV2)
}


# ---------------------------------------------------------------------------------------------
# Weights


def with_random_weights(model: nn.Module, crops: Tensor, seed: int = 0) -> nn.Module:
    """Give a model random weights that behave like trained ones; returns it, in eval mode.

    Filters are drawn as He et al. 2015 (section 2.2) do. Every BatchNorm gets a random scale and
    shift, and statistics that lie about those of the crops, as those of a training set would.
    The last layer is scaled so that the crops' scores have a standard deviation of 1.

    Parameters
    ----------
    crops
        Some windows ``(N, 3, h, w)`` of the images that will be scored.
    """
    draw = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=draw)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1, generator=draw)
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=draw)
            norm.bias.normal_(0, 0.2, generator=draw)
        if norms:
            _measure_statistics(model, norms, crops)
        for norm in norms:
            spread = norm.running_var.sqrt()
            norm.running_mean += 0.2 * spread * torch.randn(spread.shape, generator=draw)
            norm.running_var *= 2 ** torch.empty_like(spread).uniform_(-1, 1, generator=draw)
        model.eval()
        *_, head = (module for module in model.modules() if isinstance(module, nn.Linear))
        head.weight /= (model(crops) - head.bias).std()
    return model


def _measure_statistics(model: nn.Module, norms: list[nn.Module], crops: Tensor) -> None:
    """Set what every BatchNorm remembers to the mean and variance of what the crops give it."""
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # average over all batches seen, of which there is one
    model.train()
    model(crops)
    for norm in norms:
        norm.momentum = 0.1


__all__ = [
    "ARCHITECTURES",
    "VGG16",
    "WINDOW",
    "DenseNet121",
    "MobileNetV2",
    "ResNet18",
    "ResNet50",
    "with_random_weights",
]
