"""How many times fewer multiply-accumulates exact windows need than crops, counted from a module.

Nothing here uses fullconv: a network is traced by `torch.fx`, and integers go through its layers.

Along one axis, `docs/figures/margins.py` says which cells of a map depend on where the window ends:
the first `lo` and the last `hi`. The cells between them do not, and windows that overlap share
them: a map has for each window `lo + hi` cells of its own, and neighbouring windows that lie `s`
cells apart share the others, so that one window more is `lo + s + hi` cells more, but never more
than all cells of its crop. The cells of a map are the product over both axes (the part that is `lo`
in rows and shared in columns is stored for each row of windows, and so on), and a convolution costs
its multiply-accumulates for one cell times its cells. From the first global pool or dense layer on,
everything is computed for every window.

The ceiling is the crops' number over this one: of one window among endlessly many, or of the
windows of one image, at whose ends there is nobody to share with. Only multiply-accumulates of
convolutions and dense layers are counted, and no time is: pools, cuts and joins come on top.
"""

from __future__ import annotations

import argparse
import operator
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parent.parent / "docs/figures"))
from margins import Axis

OWN = (Axis(1, lo=1), Axis(1, lo=1))
"""The axes of a vector: one cell, of which every window has its own."""


@dataclass(frozen=True)
class Map:
    """A map ``(channels, rows, columns)`` of one window."""

    channels: int
    axes: tuple[Axis, Axis]


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer: its multiply-accumulates for each cell of a map."""

    name: str
    per_cell: int
    axes: tuple[Axis, Axis]

    def cost(self, cells: Callable[[Axis], int]) -> int:
        """Return the multiply-accumulates for so many cells along each axis."""
        return self.per_cell * prod(map(cells, self.axes))


@dataclass(frozen=True)
class Ceiling:
    """The counted layers of a network, and what they cost with and without sharing."""

    window: tuple[int, int]
    step: int
    layers: tuple[Layer, ...]

    @property
    def crop(self) -> int:
        """Count the multiply-accumulates of one crop."""
        return sum(layer.cost(lambda axis: axis.cells) for layer in self.layers)

    @property
    def endless(self) -> float:
        """Return how many times fewer a window among endlessly many needs than its crop."""
        return self.crop / sum(
            layer.cost(lambda axis: axis.more(self.step)) for layer in self.layers
        )

    def of_image(self, size: tuple[int, int]) -> float:
        """Return how many times fewer the windows of an image need than their crops."""
        counts = self.windows(size)
        shared = 0
        for layer in self.layers:
            cells = (a.stored(self.step, n) for a, n in zip(layer.axes, counts, strict=True))
            shared += layer.per_cell * prod(cells)
        return prod(counts) * self.crop / shared

    def windows(self, size: tuple[int, int]) -> tuple[int, int]:
        """Count the windows of an image, as (rows, columns)."""
        rows, columns = ((n - w) // self.step + 1 for n, w in zip(size, self.window, strict=True))
        return rows, columns


class Counter(fx.Interpreter):
    """Run a traced network on `Map` records in place of tensors, and note what costs something."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(fx.symbolic_trace(model))
        self.layers: list[Layer] = []

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Map:
        """Take a map through a layer."""
        layer, (x,) = self.fetch_attr(target), args
        match layer:
            case nn.Conv2d():
                y = Map(layer.out_channels, slid(x, layer))
                self.layers.append(Layer(target, layer.weight.numel(), y.axes))
                return y
            case nn.MaxPool2d() | nn.AvgPool2d():
                return Map(x.channels, slid(x, layer))
            case nn.AdaptiveAvgPool2d():
                return globally_pooled(x, layer.output_size)
            case nn.Flatten():
                return flattened(x, layer.start_dim)
            case nn.Linear():
                if (x.channels, x.axes) != (layer.in_features, OWN):
                    raise TypeError(f"{target} takes {layer.in_features} features, not {x}")
                self.layers.append(Layer(target, layer.weight.numel(), OWN))
                return Map(layer.out_features, OWN)
            case nn.BatchNorm2d() | nn.ReLU() | nn.ReLU6() | nn.Dropout() | nn.Identity():
                return x
        raise TypeError(f"{target}: no rule for a {type(layer).__name__}")

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Map:
        """Take maps through a function."""
        x = args[0]
        if target is torch.relu or target is functional.relu:
            return x
        if target is operator.add or target is torch.add:
            return joined(x.channels, args)
        if target is torch.cat:
            if args[1:] != (1,) or kwargs:
                raise TypeError("cat: no rule for other axes than that of the channels")
            return joined(sum(part.channels for part in x), x)
        if target is functional.adaptive_avg_pool2d:
            return globally_pooled(*args, **kwargs)
        if target is torch.flatten:
            return flattened(*args, **kwargs)
        raise TypeError(f"no rule for {target}")

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Map:
        """Take a map through a method of a tensor."""
        if target == "flatten":
            return flattened(*args, **kwargs)
        raise TypeError(f"no rule for the method {target}")


def slid(x: Map, layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> tuple[Axis, Axis]:
    """Return the axes after a convolution or pool."""
    if getattr(layer, "ceil_mode", False) or isinstance(layer.padding, str):
        raise TypeError(f"no rule for {layer}")
    sizes = (layer.kernel_size, layer.stride, layer.padding, getattr(layer, "dilation", 1))
    pairs = [size if isinstance(size, tuple) else (size, size) for size in sizes]
    rows, columns = (axis.slid(*numbers) for axis, *numbers in zip(x.axes, *pairs, strict=True))
    return rows, columns


def joined(channels: int, parts: Iterable[Map]) -> Map:
    """Return the map that maps of the same size make together."""
    axes = reduce(
        lambda a, b: (a[0].joined(b[0]), a[1].joined(b[1])), (part.axes for part in parts)
    )
    return Map(channels, axes)


def globally_pooled(x: Map, output_size: Any) -> Map:
    """Return one vector per window of the channels' averages."""
    if output_size not in (1, (1, 1)):
        raise TypeError(f"no rule for an adaptive pool to {output_size}")
    return Map(x.channels, OWN)


def flattened(x: Map, start_dim: int = 0) -> Map:
    """Return one vector per window of all cells."""
    if start_dim != 1:
        raise TypeError(f"no rule for flattening from axis {start_dim}")
    return Map(x.channels * prod(axis.cells for axis in x.axes), OWN)


def ceiling(model: nn.Module, window: tuple[int, int], step: int, channels: int = 3) -> Ceiling:
    """Count the layers of a classifier of windows of so many pixels.

    Raises a TypeError for an operation that has no rule here: nothing is left out silently.
    """
    counter = Counter(model)
    rows, columns = map(Axis, window)
    counter.run(Map(channels, (rows, columns)))
    return Ceiling(window, step, tuple(counter.layers))


def main() -> None:
    """Print the ceilings of all architectures."""
    from networks import ARCHITECTURES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--step", type=int, default=32, help="pixels (default: 32)")
    parser.add_argument("--size", type=int, default=1024, help="of a square image, in pixels")
    options = parser.parse_args()
    size = options.size, options.size
    print(
        f"| network | window | GMAC per crop | endless image, step {options.step} "
        f"| {options.size}x{options.size} | its windows |"
    )
    print("|---|---|---|---|---|---|")
    for name, network in ARCHITECTURES.items():
        with torch.device("meta"):
            model = network().eval()
        for side in (224,) if name == "VGG16" else (224, 512):
            found = ceiling(model, (side, side), options.step)
            print(
                f"| {name} | {side} | {found.crop / 1e9:.2f} | {found.endless:.2f} "
                f"| {found.of_image(size):.2f} | {prod(found.windows(size))} |"
            )


if __name__ == "__main__":
    main()
