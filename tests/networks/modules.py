"""Classifiers for PyTorch as people write them, by hand, with whole numbers for weights.

`with_integers` fills every parameter; the modules themselves are ordinary ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def with_integers(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return the module in eval mode with weights of -1, 0 and 1 and whole statistics."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=source))
        for layer in module.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer.eps = 0.0
                layer.running_mean.copy_(
                    torch.randint(-1, 2, (layer.num_features,), generator=source)
                )
                layer.running_var.copy_(
                    4.0 ** torch.randint(-1, 2, (layer.num_features,), generator=source)
                )
    return module.eval()


class LeNet(nn.Module):
    """The tutorial's: layers as attributes, everything else in forward, a view with -1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3)
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.fc1 = nn.Linear(4 * 2 * 3, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x)).clamp(max=5)
        x = F.max_pool2d(x, (2, 2))
        x = x.view(-1, self.features(x))
        x = F.relu(self.fc1(x))
        x = F.dropout(x, training=self.training)
        return self.fc2(x)

    @staticmethod
    def features(x: Tensor) -> int:
        count = 1
        for size in x.size()[1:]:
            count *= size
        return count


class Residual(nn.Module):
    """ResNet's block with a strided shortcut, without padding: the shortcut is cut to fit."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU())
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.downsample = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2, bias=False), nn.BatchNorm2d(4))
        self.relu = nn.Hardtanh(0, 4, inplace=True)
        self.fc = nn.Linear(4 * 4 * 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        identity = self.downsample(x[:, :, 1:-1, 1:-1])
        out += identity
        return self.fc(torch.flatten(self.relu(out), 1))


class Inception(nn.Module):
    """Branches with kernels of 1x1, 3x3 and a pool, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(2, 2, 1)
        self.wide = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 3))
        self.pool = nn.MaxPool2d(3, stride=1)
        self.fc = nn.Linear(7 * 9 * 10, 3)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.point(x[:, :, 1:-1, 1:-1]), self.wide(x), self.pool(x)]
        return self.fc(torch.cat(branches, 1).reshape(x.shape[0], -1))


class Dense(nn.Module):
    """DenseNet: each layer sees all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + 2 * k, 2, 1) for k in range(3))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(torch.relu(layer(torch.cat(features, 1))).clamp(max=4))
        return self.fc(torch.cat(features, 1).amax(dim=(2, 3)))


class ShuffleUnit(nn.Module):
    """ShuffleNet v2: half of the channels pass, the others are worked on, then all are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2)
        self.branch = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1, groups=2))
        self.fc = nn.Linear(4 * 5 * 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).chunk(2, dim=1)
        x = torch.cat((a, self.branch(b)), dim=1)
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w)
        x = torch.transpose(x, 1, 2).contiguous()
        x = x.view(n, -1, h, w)
        return self.fc(x.flatten(1))


class FromSeveralMaps(nn.Module):
    """A head that flattens maps of two depths and concatenates them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, 3, stride=2)
        self.conv2 = nn.Conv2d(2, 3, 3)
        self.fc = nn.Linear(2 * 5 * 5 + 3 * 3 * 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        early = self.conv1(x)
        late = self.conv2(torch.relu(early))
        return self.fc(torch.cat([torch.flatten(early, 1), late.flatten(1)], dim=-1))


class TwoHeads(nn.Module):
    """Two answers, in the structure that is asked for."""

    def __init__(self, structure: str) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(2, 3, 3, stride=2)
        self.scores = nn.Linear(3 * 5 * 5, 4)
        self.box = nn.Linear(3 * 5 * 5, 2)
        self.structure = structure

    def forward(self, x: Tensor) -> Any:
        x = torch.flatten(self.trunk(x), 1)
        scores, box = self.scores(x), self.box(x)
        match self.structure:
            case "tuple":
                return scores, box
            case "list":
                return [scores, box]
            case "dict":
                return {"scores": scores, "box": box}
        return {"scores": scores, "more": (box, [scores * 2])}


class SharedLayers(nn.Module):
    """One convolution and one linear layer, each used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)
        self.reduce = nn.Linear(2 * 8 * 9, 5)
        self.again = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.clamp(self.conv(x), -4, 4))
        x = torch.clamp(self.reduce(x.flatten(1)), -9, 9)
        return self.again(torch.relu(self.again(x)))


class SqueezeAndExcite(nn.Module):
    """A gate over the window: channels are weighed by what the whole window holds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.down = nn.Conv2d(4, 2, 1)
        self.up = nn.Conv2d(2, 4, 1)
        self.fc = nn.Linear(4 * 10 * 11, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = self.up(F.relu(self.down(F.adaptive_max_pool2d(x, 1)))).clamp(0, 2)
        return self.fc((x * gate).flatten(1))


class Attention(nn.Module):
    """Every cell of the window attends to all its others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.conv(x).flatten(2).transpose(1, 2)
        seen, _ = self.attend(cells, cells, cells, need_weights=False)
        return self.fc(seen.mean(1))


class ChannelsLastBlock(nn.Module):
    """ConvNeXt's block: permute, LayerNorm over channels, two linear layers, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 2, stride=2)
        self.norm = nn.LayerNorm(4)
        self.wide = nn.Linear(4, 8)
        self.narrow = nn.Linear(8, 4)
        self.head = nn.Linear(4 * 6 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = x.permute(0, 2, 3, 1)
        y = self.narrow(F.gelu(self.wide(self.norm(y))))
        x = x + y.permute(0, 3, 1, 2)
        return self.head(torch.flatten(x, 1))
