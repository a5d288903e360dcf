"""Operations whose kernel or bins cover cells: convolutions, pools, upsampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from fullconv.geometry.grid import Sizes, Sliding
from fullconv.operations.base import OverCells, Padding


@dataclass(frozen=True)
class Windowed(OverCells):
    """A kernel that moves over cells.

    By default strides and dilations are 1, and there is no padding.
    """

    along: ClassVar[Mapping[str, Any]] = {
        "kernel": 1,
        "stride": 1,
        "padding": (0, 0),
        "dilation": 1,
    }

    kernel: Sizes
    stride: Sizes = ()
    padding: Padding = ()
    dilation: Sizes = ()

    def __post_init__(self) -> None:
        for name, neutral in self.along.items():
            if getattr(self, name) == ():
                object.__setattr__(self, name, (neutral,) * len(self.kernel))

    @property
    def slidings(self) -> tuple[Sliding, ...]:
        """How the kernel moves along every axis."""
        return tuple(
            Sliding(kernel, stride, dilation, before, after)
            for kernel, stride, dilation, (before, after) in zip(
                self.kernel, self.stride, self.dilation, self.padding, strict=True
            )
        )

    def moving(self, slidings: Sequence[Sliding]) -> Self:
        """Return the same operation, moving in another way."""
        return replace(
            self,
            kernel=tuple(s.kernel for s in slidings),
            stride=tuple(s.stride for s in slidings),
            dilation=tuple(s.dilation for s in slidings),
            padding=tuple(s.padding for s in slidings),
        )


@dataclass(frozen=True)
class Convolution(Windowed):
    """Inputs: x, weight ``(out, in // groups, *kernel)``, bias ``(out,)`` or None.

    One that ``copies`` takes the cells under its kernel as they are: each filter holds a single 1.
    """

    groups: int = 1
    copies: bool = False


@dataclass(frozen=True)
class TransposedConvolution(OverCells):
    """Inputs: x, weight ``(in, out // groups, *kernel)``, bias ``(out,)`` or None."""

    along: ClassVar[Mapping[str, Any]] = {**Windowed.along, "output_padding": 0}

    kernel: Sizes
    stride: Sizes
    padding: Padding
    dilation: Sizes
    groups: int
    output_padding: Sizes


@dataclass(frozen=True)
class Upsample(OverCells):
    """Repeats every cell ``factor`` times along its axis: nearest-neighbour upsampling."""

    along: ClassVar[Mapping[str, Any]] = {"factor": 1}

    factor: Sizes


@dataclass(frozen=True)
class Pool(Windowed):
    """Maximum, average or sum over a moving box.

    ``ceil_mode`` is already spelled out: ``overhang`` counts the cells past the padded input that
    the last outputs cover. An average divides by ``divisor`` where given, else by the cells it
    covers, padding included where ``count_include_pad`` says so, overhang never. ``channels`` is
    set by lifting, for frameworks that write a sum as a convolution.
    """

    along: ClassVar[Mapping[str, Any]] = {**Windowed.along, "overhang": 0}

    kind: Literal["max", "average", "sum"] = "max"
    overhang: Sizes = ()
    count_include_pad: bool = False
    divisor: int | None = None
    channels: int = 0

    @property
    def slidings(self) -> tuple[Sliding, ...]:
        """How the box moves along every axis; overhang counts as padding."""
        return tuple(
            sliding._replace(after=sliding.after + overhang)
            for sliding, overhang in zip(super().slidings, self.overhang, strict=True)
        )

    def plain(self, slidings: Sequence[Sliding], channels: int) -> Pool:
        """Return the same pool moving in another way, over cells alone: no padding, no overhang."""
        bare = [s._replace(before=0, after=0) for s in slidings]
        return replace(self.moving(bare), overhang=(0,) * len(bare), channels=channels)

    def covered(self, axis: int, extent: int, first: int, sliding: Sliding, outputs: int) -> Sizes:
        """Count the cells that each output covers along one axis, for an average.

        ``first`` is the cell of the window that the first output begins at. Padding counts where
        `count_include_pad` says so, overhang never (PyTorch, AvgPool2d).
        """
        before, after = self.padding[axis] if self.count_include_pad else (0, 0)
        counted = range(-before, extent + after)
        return tuple(
            sum(
                first + output * sliding.stride + tap * sliding.dilation in counted
                for tap in range(self.kernel[axis])
            )
            for output in range(outputs)
        )

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return pool_title(self.kind)


def pool_title(kind: str) -> str:
    """Return the name of a pool in reports."""
    return f"{kind.capitalize()}Pool"


@dataclass(frozen=True)
class AdaptivePool(OverCells):
    """Bin ``i`` of ``size`` covers cells ``floor(i*a/size)`` to ``ceil((i+1)*a/size)``."""

    along: ClassVar[Mapping[str, Any]] = {"size": 1}

    kind: Literal["max", "average"]
    size: Sizes

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return f"Adaptive{pool_title(self.kind)}"
