"""Statistics over the window in the approximate form: what they cost, and how far scores move.

Run it with ``python benchmarks/sliding.py``. Three tables, each from one run:

- ``network``: a ResNet-18 with GroupNorm over one image. Its approximate form takes all statistics
  around every cell; window by window they are taken in the exact form, as the approximate one had
  to before. The same network with BatchNorm, which has no statistics to take, is there for scale.
- ``growth``: one statistic over one map, for windows of 32, 64 and 128 cells, against a pool.
- ``difference``: how far the scores of networks with random weights are from those of the crops,
  in standard deviations of the crops' scores, and how often the best class is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fullconv
from fullconv.frameworks.torch import functional
from images import picture
from measuring import Figure, arguments, interleaved, print_machine, ratio, write_json
from networks import ResNet18, with_random_weights

WINDOW = (224, 224)
STEP = 32
CELLS = (32, 64, 128)
MAP = (1, 64, 256, 256)
POOLED = 32
"""Cells of the widest window that a pool is measured with: it takes their square."""


class SqueezeExcite(nn.Module):
    """Channels scaled by a function of their means (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = (
            nn.Linear(channels, channels // 16),
            nn.Linear(channels // 16, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(torch.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


class ResponseNorm(nn.Module):
    """Global response normalization, channels last (Woo et al. 2023, section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        response = x.norm(p=2, dim=(1, 2), keepdim=True)
        relative = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        return x + torch.addcmul(self.bias, self.weight, x * relative)


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of every cell of ``(N, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A block of ConvNeXt, with response normalization as in its second version."""

    def __init__(self, channels: int, response: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(channels, 4 * channels)
        self.response = ResponseNorm(4 * channels) if response else nn.Identity()
        self.narrow = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(self.response(F.gelu(self.wide(y))))
        return x + y.permute(0, 3, 1, 2)


def convnext(response: bool) -> nn.Sequential:
    """Return the smallest published ConvNeXt V2 (atto), or it without response normalization."""
    layers: list[nn.Module] = []
    before = 3
    for index, (channels, blocks) in enumerate(((40, 2), (80, 2), (160, 6), (320, 2))):
        size = 2 if index else 4
        layers += [ChannelNorm(before)] if index else []
        layers += [nn.Conv2d(before, channels, size, size)]
        layers += [] if index else [ChannelNorm(channels)]
        layers += [Block(channels, response) for _ in range(blocks)]
        before = channels
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(before), nn.Linear(before, 1000)]
    return nn.Sequential(*layers, *head)


def resnet(kind: str) -> nn.Module:
    """Return a ResNet-18 with ``batch``, ``group`` or ``instance`` norm, or ``squeeze`` gates."""
    model = ResNet18()
    for block in (m for m in model.modules() if hasattr(m, "bn1")):
        for name in ("bn1", "bn2"):
            norm = getattr(block, name, None)
            if norm is not None and kind in ("group", "instance"):
                groups = 32 if kind == "group" else norm.num_features
                setattr(block, name, nn.GroupNorm(groups, norm.num_features))
        if kind == "squeeze" and hasattr(block, "bn2"):
            block.bn2 = nn.Sequential(block.bn2, SqueezeExcite(block.bn2.num_features))
    if kind in ("group", "instance"):
        for shortcut in (m for m in model.modules() if getattr(m, "downsample", None)):
            channels = shortcut.downsample[1].num_features
            groups = 32 if kind == "group" else channels
            shortcut.downsample[1] = nn.GroupNorm(groups, channels)
    return model


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "ResNet-18": (partial(resnet, "batch"), "padding"),
    "ResNet-18 with squeeze and excitation": (partial(resnet, "squeeze"), "padding, 8 gates"),
    "ResNet-18 with GroupNorm": (partial(resnet, "group"), "padding, 20 norms"),
    "ResNet-18 with instance norm": (partial(resnet, "instance"), "padding, 20 norms"),
    "ConvNeXt, norms of channels only": (partial(convnext, False), "padding"),
    "ConvNeXt V2, response norm": (partial(convnext, True), "padding, 12 response norms"),
}


def image(side: int, seed: int = 0) -> Tensor:
    """Return a picture (1, 3, side, side), as classifiers take it."""
    pixels = torch.from_numpy(picture((side, side), seed)).float() / 255
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels - mean) / spread).permute(2, 0, 1)[None]


def crops_of(images: Tensor, step: int) -> Tensor:
    """Return every window as one batch."""
    windows = images.unfold(2, WINDOW[0], step).unfold(3, WINDOW[1], step)
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def ready(network: Callable[[], nn.Module]) -> nn.Module:
    """Return a network with random weights whose scores on crops have a deviation of one."""
    torch.manual_seed(0)
    return with_random_weights(network(), crops_of(image(448, seed=1), 112))


def network_table(repeats: int, quick: bool) -> list[Figure]:
    """Measure a whole network, and print its table."""
    images = image(320 if quick else 768)
    rows, columns = ((n - w) // STEP + 1 for n, w in zip(images.shape[2:], WINDOW, strict=True))
    group, batch = (ready(partial(resnet, kind)) for kind in ("group", "batch"))
    runs: dict[str, Any] = {
        "GroupNorm, sliding": fullconv.convert(group, WINDOW, STEP, exact=False),
        "GroupNorm, window by window": fullconv.convert(group, WINDOW, STEP),
        "BatchNorm": fullconv.convert(batch, WINDOW, STEP, exact=False),
    }
    times = interleaved({name: partial(run, images) for name, run in runs.items()}, repeats)
    workload = (
        f"ResNet-18, window 224, {images.shape[3]}x{images.shape[2]}, {rows * columns} windows"
    )
    print(f"\n**{workload}**\n")
    print("| contender | median s | fastest to slowest | times as fast as window by window |")
    print("|---|---|---|---|")
    figures = []
    for name, held in times.items():
        faster = ratio(times["GroupNorm, window by window"], held)
        figure = Figure.of(workload, name, held, f"{faster:.2f} times as fast")
        print(
            f"| {name} | {figure.median:.3f} | {figure.fastest:.3f} to {figure.slowest:.3f} "
            f"| {faster:.2f} |"
        )
        figures.append(figure)
    return figures


def growth_table(repeats: int, quick: bool) -> list[Figure]:
    """Measure one statistic for wider and wider windows, and print the table."""
    x = torch.randn(MAP if not quick else (1, 8, 160, 160))
    size = "x".join(map(str, x.shape))
    runs: dict[str, Callable[[], Any]] = {}
    for cells in CELLS:
        square = (cells, cells), (1, 1)
        runs[f"sum, {cells}"] = partial(functional.sliding_total, x, "sum", *square)
        runs[f"maximum, {cells}"] = partial(functional.sliding_total, x, "max", *square)
        norm = partial(functional.sliding_norm, x, None, None, x.shape[1] // 2, *square, 1e-5)
        runs[f"group norm, {cells}"] = norm
        if cells <= POOLED:
            runs[f"average by a pool, {cells}"] = partial(F.avg_pool2d, x, cells, 1)
    times = interleaved(runs, repeats)
    print(f"\n**One statistic around every cell of a map {size}, seconds**\n")
    print(f"| statistic | {' | '.join(f'{cells}x{cells} cells' for cells in CELLS)} |")
    print("|---|" + "---|" * len(CELLS))
    figures = [Figure.of(size, name, held) for name, held in times.items()]
    medians = {figure.contender: f"{figure.median:.3f}" for figure in figures}
    for statistic in dict.fromkeys(name.split(",")[0] for name in runs):
        line = (medians.get(f"{statistic}, {cells}", "") for cells in CELLS)
        print(f"| {statistic} | {' | '.join(line)} |")
    return figures


def difference_table(repeats: int, quick: bool) -> list[Figure]:
    """Compare with the crops, and print the table."""
    images = image(320 if quick else 512)
    print(
        f"\n**Approximate scores of a picture {images.shape[3]}x{images.shape[2]}, step {STEP}**\n"
    )
    print("| network | what differs | mean difference | largest | same best class |")
    print("|---|---|---|---|---|")
    for name, (network, why) in NETWORKS.items():
        model = ready(network)
        with torch.no_grad():
            wanted = torch.cat([model(part) for part in crops_of(images, STEP).split(8)])
        scores = fullconv.convert(model, WINDOW, STEP, exact=False)(images)
        found = scores[0].flatten(1).T
        off = (found - wanted).abs() / wanted.std()
        same = (found.argmax(1) == wanted.argmax(1)).float().mean()
        print(f"| {name} | {why} | {off.mean():.2f} | {off.max():.1f} | {same:.0%} |", flush=True)
    return []


TABLES = {"network": network_table, "growth": growth_table, "difference": difference_table}


def main() -> None:
    """Print every table."""
    options = arguments("Statistics over the window in the approximate form.", [*TABLES])
    print_machine()
    figures: list[Figure] = []
    for name, table in TABLES.items():
        if options.only in (None, name):
            figures += table(options.repeats, options.quick)
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
