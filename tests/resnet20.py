"""The ResNet-20 of CIFAR-10 with parameter-free shortcuts, under the names its weights use.

He et al., Deep Residual Learning, 2015, section 4.2, shortcuts of kind A.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions beside a shortcut that takes every second cell and adds zero channels."""

    def __init__(self, channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.added = planes // 4 if planes != channels else 0

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.added:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """Map pictures ``(N, 3, 32, 32)`` to scores ``(N, 10)``; every convolution is padded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64), Block(64, 64))
        self.linear = nn.Linear(64, 10)

    def features(self, x: Tensor) -> Tensor:
        """Return the last map: ``(N, 64, 8, 8)`` of one window, more of a larger image."""
        return self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.avg_pool2d(x, x.size(3))
        return self.linear(x.view(x.size(0), -1))
