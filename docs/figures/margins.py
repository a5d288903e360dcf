"""How far padding reaches into a window, layer by layer, along one axis.

A crop sees zeros beyond its border where the whole image has pixels. Of the cells that a map has
along one axis of a window, the first ``lo`` and the last ``hi`` depend on those zeros; the cells
between do not, and are the same in every window that covers them.

Run it for the tables of crops.md: ``python docs/figures/margins.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import gcd

WINDOW, STEP = 224, 32


@dataclass(frozen=True)
class Layer:
    """A convolution or a pool along one axis, in cells of its input."""

    name: str
    kernel: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Axis:
    """The cells of one window along one axis of a map.

    Attributes
    ----------
    cells : int
        Cells in the window.
    lo, hi : int
        How many of them padding has touched, from the start and from the end.
    pitch : int
        Pixels between neighbouring cells.
    """

    cells: int
    lo: int = 0
    hi: int = 0
    pitch: int = 1

    @property
    def mid(self) -> int:
        """Count the cells that padding has not touched."""
        return self.cells - self.lo - self.hi

    def slid(self, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Axis:
        """Return the axis after a convolution or pool.

        Output cell ``o`` reads the input cells ``o * stride - padding`` to
        ``o * stride - padding + reach - 1``, where the reach is ``dilation * (kernel - 1) + 1``. It
        is in `lo` where that range starts below the `lo` of the input, and in `hi` where it ends at
        or beyond the input's ``cells - hi``. A cell that is in both counts in `lo`.
        """
        reach = dilation * (kernel - 1) + 1
        cells = (self.cells + 2 * padding - reach) // stride + 1
        starts = [o * stride - padding for o in range(cells)]
        lo = sum(start < self.lo for start in starts)
        hi = sum(start + reach > self.cells - self.hi for start in starts[lo:])
        return Axis(cells, lo, hi, self.pitch * stride)

    def joined(self, other: Axis) -> Axis:
        """Return the axis of a sum of two maps, or of both side by side: the wider margins count.

        Raises
        ------
        ValueError
            If the maps do not lie on each other.
        """
        if (self.cells, self.pitch) != (other.cells, other.pitch):
            raise ValueError(f"{self} and {other} do not lie on each other")
        lo = max(self.lo, other.lo)
        return replace(self, lo=lo, hi=min(max(self.hi, other.hi), self.cells - lo))

    def more(self, step: int) -> int:
        """Return how many cells one window more adds, `step` pixels from the last one.

        Its own margins and what it adds to the shared middle; at most all of its cells, because
        then the window is gathered and computed alone.
        """
        return self.lo + min(step // gcd(step, self.pitch), self.mid) + self.hi

    def stored(self, step: int, windows: int) -> int:
        """Return how many cells the axis has for some neighbouring windows together.

        Raises
        ------
        ValueError
            If a step lies between cells.
        """
        if step % self.pitch:
            raise ValueError(f"a step of {step} lies between cells {self.pitch} pixels apart")
        return self.cells + (windows - 1) * self.more(step)


def through(layers: Sequence[Layer], window: int) -> list[Axis]:
    """Return the axis of the image, and of every layer's output."""
    return list(accumulate(layers, _after, initial=Axis(window)))


def _after(axis: Axis, layer: Layer) -> Axis:
    return axis.slid(layer.kernel, layer.stride, layer.padding)


def vgg16() -> Iterator[Layer]:
    """Yield the layers of VGG16 before its head (Simonyan and Zisserman 2015, table 1, D)."""
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, convolutions + 1):
            yield Layer(f"conv{block}_{number}", 3, padding=1)
        yield Layer(f"pool{block}", 2, stride=2)


def resnet(blocks: Sequence[int], *, bottleneck: bool = False) -> Iterator[Layer]:
    """Yield the layers of a ResNet before its global pool (He et al. 2016, table 1).

    A block's shortcut reads no farther than the block's convolutions, so it adds nothing to the
    margins. A bottleneck strides in its 3x3 convolution, as in the weights that are in use.
    """
    yield Layer("conv1", 7, stride=2, padding=3)
    yield Layer("maxpool", 3, stride=2, padding=1)
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            if bottleneck:
                yield Layer(f"{name}.conv1", 1)
                yield Layer(f"{name}.conv2", 3, stride, padding=1)
                yield Layer(f"{name}.conv3", 1)
            else:
                yield Layer(f"{name}.conv1", 3, stride, padding=1)
                yield Layer(f"{name}.conv2", 3, padding=1)


NETWORKS = {
    "VGG16": tuple(vgg16()),
    "ResNet-18": tuple(resnet((2, 2, 2, 2))),
    "ResNet-34": tuple(resnet((3, 4, 6, 3))),
    "ResNet-50": tuple(resnet((3, 4, 6, 3), bottleneck=True)),
}


def untouched_table() -> Iterator[str]:
    """Yield the lines of a Markdown table: what padding leaves of each network's last map."""
    yield f"| {WINDOW}x{WINDOW} window | last map | untouched cells | first map without any |"
    yield "|---|---|---|---|"
    for network, layers in NETWORKS.items():
        axes = through(layers, WINDOW)
        last = axes[-1]
        empty = (layer.name for layer, axis in zip(layers, axes[1:], strict=True) if axis.mid == 0)
        yield (
            f"| {network} | {last.cells}x{last.cells} | {last.mid**2} of {last.cells**2} | "
            f"{next(empty, 'none')} |"
        )


def cost_table() -> Iterator[str]:
    """Yield the lines of a Markdown table: what a window costs in VGG16, at the end of a block."""
    yield f"| VGG16, step {STEP} | lo, mid, hi | lo + s + hi of a | of the crop's cells |"
    yield "|---|---|---|---|"
    layers = NETWORKS["VGG16"]
    axes = through(layers, WINDOW)[1:]
    for layer, axis, following in zip(layers, axes, layers[1:], strict=False):
        if following.name.startswith("pool"):
            computed = axis.more(STEP)
            yield (
                f"| {layer.name} | {axis.lo}, {axis.mid}, {axis.hi} | {computed} of {axis.cells} | "
                f"{100 * (computed / axis.cells) ** 2:.1f} % |"
            )


if __name__ == "__main__":
    print("\n".join([*untouched_table(), "", *cost_table()]))
