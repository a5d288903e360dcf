"""The vocabulary: one frozen record per operation, in the words of PyTorch and ONNX.

A framework reads its own graph into these records; rules reason about them; a framework writes
them back. The first group describes a window classifier at its native size. The second group is
what lifting adds: operations on stored maps ``(N, C, *cells)`` whose sizes are free.

Sizes have an entry for every axis that an operation moves along, in the order in which its input
has them; padding has a pair for each, (before, after).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

from fullconv.geometry import Pair, Sizes, Sliding

Padding = tuple[Pair, ...]
PaddingMode = Literal["constant", "reflect", "replicate", "circular"]
PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


@dataclass(frozen=True)
class Operation:
    """Anything a network does between tensors."""

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return type(self).__name__


@dataclass(frozen=True)
class OverCells(Operation):
    """What treats the axes behind the first two as axes of cells.

    ``along`` names the fields that have an entry for every such axis, each with the entry of an
    axis that stays as it is.
    """

    along: ClassVar[Mapping[str, Any]] = {}

    @property
    def dimensions(self) -> int:
        """Axes of cells that it takes."""
        return len(getattr(self, next(iter(self.along))))

    def over(self, axes: Sequence[int], dimensions: int) -> Self:
        """Return the same operation where its ``i``-th axis is axis ``axes[i]`` of so many."""
        if tuple(axes) == tuple(range(dimensions)):
            return self
        turned: dict[str, Any] = {}
        for name, neutral in self.along.items():
            entries = [neutral] * dimensions
            for axis, entry in zip(axes, getattr(self, name), strict=True):
                entries[axis] = entry
            turned[name] = tuple(entries)
        return replace(self, **turned)


@dataclass(frozen=True)
class Windowed(OverCells):
    """A kernel that moves over cells.

    Left out, strides and dilations are 1, and there is no padding.
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
    """Inputs: x, weight ``(out, in // groups, *kernel)``, bias ``(out,)`` or None."""

    groups: int = 1


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
    set by lifting, for those who must write a sum as a convolution.
    """

    along: ClassVar[Mapping[str, Any]] = {**Windowed.along, "overhang": 0}

    kind: Literal["max", "average", "sum"] = "max"
    overhang: Sizes = ()
    count_include_pad: bool = False
    divisor: int | None = None
    channels: int = 0

    @property
    def slidings(self) -> tuple[Sliding, ...]:
        """How the box moves along every axis, over what it overhangs as over padding."""
        return tuple(
            sliding._replace(after=sliding.after + overhang)
            for sliding, overhang in zip(super().slidings, self.overhang, strict=True)
        )

    def plain(self, slidings: Sequence[Sliding], channels: int) -> Pool:
        """Return the same pool moving in another way, where what it covers is all there."""
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
    """Return what a pool of a kind is called in reports."""
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


@dataclass(frozen=True)
class Linear(Operation):
    """Inputs: x ``(..., in)``, weight ``(out, in)``, bias ``(out,)`` or None."""


@dataclass(frozen=True)
class Reduce(Operation):
    """Mean, sum, maximum, Euclidean norm ("l2"), variance or standard deviation over whole axes.

    A variance of ``n`` numbers is their squares' sum around the mean over ``n - correction``.
    """

    kind: Literal["mean", "sum", "max", "l2", "var", "std"]
    axes: tuple[int, ...]
    keepdims: bool
    correction: int = 0

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return f"Reduce{self.kind.capitalize()}"


@dataclass(frozen=True)
class Pointwise(Operation):
    """Any function of corresponding elements, with broadcasting; inputs: the tensors."""

    name: str

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class PerChannel(Operation):
    """Pointwise with parameters along axis 1: batch normalization in eval mode, PReLU.

    Inputs: x, then parameters of shape ``(C,)`` or ``(1,)``, or None.
    """

    name: str

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class AlongAxis(Operation):
    """Mixes along one axis and nothing else: softmax, log-softmax, LRN (axis 1)."""

    name: str
    axis: int
    ordered: bool = False

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class LayerNormalization(Operation):
    """Normalizes over the last ``axes`` axes; inputs: x, scale or None, bias or None."""

    axes: int
    epsilon: float


@dataclass(frozen=True)
class GroupNormalization(Operation):
    """Normalizes over each of ``groups`` runs of axis 1 and all axes behind it.

    With as many groups as channels it is instance normalization. Inputs: x, scale or None, bias or
    None, one number per channel or one per group.
    """

    groups: int
    epsilon: float


@dataclass(frozen=True)
class Concat(Operation):
    """Joins its inputs along one axis."""

    axis: int


@dataclass(frozen=True)
class Slice(Operation):
    """Keeps ``start:stop:step`` of one axis (all non-negative, in range)."""

    axis: int
    start: int
    stop: int
    step: int = 1


@dataclass(frozen=True)
class Take(Operation):
    """Keeps or reorders the entries of one axis: a flip, a roll, an index of constants."""

    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Pad(Operation):
    """Adds (or, where negative, removes) cells before and after each axis."""

    pads: tuple[Pair, ...]
    mode: PaddingMode = "constant"
    value: float = 0.0


@dataclass(frozen=True)
class Reshape(Operation):
    """Flatten, view, squeeze, unsqueeze: regroups elements into ``shape``, row-major.

    Of a classifier it is the native shape, for the images that the network was read with; on one
    tensor per window the axis with the windows is -1.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Permute(Operation):
    """Reorders axes."""

    order: tuple[int, ...]


@dataclass(frozen=True)
class Identity(Operation):
    """Changes nothing when the network is evaluated: dropout, contiguous, identity."""

    name: str


@dataclass(frozen=True)
class Standing:
    """The axes in which the windows of an image may stand, one behind the other.

    An operation that treats the entries of an axis alone does not care whether they are of one
    window or of many.

    Attributes
    ----------
    inputs : tuple of int or None
        An axis of each input; None for one that is the same for all windows (a weight).
    outputs : tuple of int
        The axis of each result in which they then stand.
    """

    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Opaque(Operation):
    """An operation without a rule; it runs as it is, on one tensor per window.

    Where nothing is known of how it treats its axes, ``standing`` is None, and it runs on each
    window alone: see Note [A batch of one] in `fullconv.lift.windows`. ``products`` counts its
    multiply-accumulates on native tensors, as far as they are known (`fullconv.lift.cost`).
    """

    name: str
    standing: Standing | None = None
    products: int = 0

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class Random(Operation):
    """Draws random numbers: its results are no function of its inputs."""

    name: str

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


# What lifting adds: on stored maps (N, C, *cells) with free sizes.


@dataclass(frozen=True)
class ChannelNormalization(Operation):
    """Layer normalization over the channels of every cell; inputs: x, scale, bias or None."""

    epsilon: float


@dataclass(frozen=True)
class Combine(Operation):
    """Adds two stored maps, or takes the larger of each two numbers: terms of a sum or maximum."""

    kind: Literal["sum", "max"]


@dataclass(frozen=True)
class TakeChannels(Operation):
    """Keeps or reorders channels."""

    indices: tuple[int, ...]


@dataclass(frozen=True)
class Cells(Operation):
    """Drops cells at both ends of each axis, then keeps every ``stride``-th."""

    before: Sizes
    after: Sizes
    stride: Sizes


@dataclass(frozen=True)
class Keep(Operation):
    """Keeps the cells that whole windows own; inputs: x, image.

    Per axis ``(stride, span)``: with ``r`` windows along the axis, the first
    ``stride * (r - 1) + span`` cells are kept; all where None.
    """

    axes: tuple[Pair | None, ...]


@dataclass(frozen=True)
class Own:
    """Some cells of a part that every window has for itself, which holds ``of`` cells."""

    cells: tuple[int, ...]
    of: int


@dataclass(frozen=True)
class Gathered:
    """Stored cells of a shared part for every window: those of the first, then ``stride`` on."""

    cells: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class Running:
    """A shared part that stays shared, without some stored cells at its start and end."""

    skip: Pair


Segments = tuple[Own | Gathered, ...] | tuple[Running]


@dataclass(frozen=True)
class Assemble(Operation):
    """Puts a block together from parts of a field; inputs: the parts, row-major, then the image.

    A part gives what one segment of every axis takes of it. Where `Own` or `Gathered` cells stand
    along an axis its windows are entries of the batch, else the axis is shared (see Note [Parts of
    a window] in `fullconv.lift.split`). A block gathered along all axes is one tensor per window.
    """

    channels: int
    segments: tuple[Segments, ...]


@dataclass(frozen=True)
class AddAxis(Operation):
    """``(N, channels * extent, *cells)`` to ``(N, channels, *cells, extent)``."""

    channels: int
    extent: int


@dataclass(frozen=True)
class FoldAxes(Operation):
    """Makes features of the axes behind the first ``dimensions`` axes of cells.

    ``(N, C, *cells, *more)`` to ``(N, C * prod(more), *cells)``, which has so many ``channels``.
    """

    dimensions: int
    channels: int


@dataclass(frozen=True)
class Interleave(Operation):
    """Puts the innermost ``factor`` features of every cell in its place along an axis of cells.

    ``(N, channels * factor, ..., a, ...)`` to ``(N, channels, ..., a * factor, ...)``: depth to
    space, along one axis (PyTorch, PixelShuffle).
    """

    axis: int
    factor: int
    channels: int


@dataclass(frozen=True)
class LayOut(Operation):
    """Lays windows out as cells; inputs: x, image.

    Along each axis that is true, x holds one cell of every window, and the windows in its batch;
    in the result they are the cells: ``(N * rows * columns, C, 1, 1)`` to ``(N, C, rows,
    columns)``. ``private`` says along which axes the windows are in the batch.
    """

    channels: int
    axes: tuple[bool, ...]
    private: tuple[bool, ...]


@dataclass(frozen=True)
class DivideCells(Operation):
    """Divides every cell by the product of its numbers along every axis.

    A single number stands for all cells along an axis.
    """

    axes: tuple[Sizes, ...]

    @classmethod
    def by(cls, number: int, axes: int) -> DivideCells:
        """Return the division of all cells along so many axes by one number."""
        return cls(((number,), *((1,),) * (axes - 1)))


@dataclass(frozen=True)
class Regroup(Operation):
    """Of one tensor per window: reshape to ``split``, permute, reshape to ``shape``.

    The first entry of ``split`` is the windows, -1; ``batch_axis`` of ``shape`` holds them.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    batch_axis: int


@dataclass(frozen=True)
class ForEachWindow(Operation):
    """Repeats a parameter for every window; inputs: x, image. Output ``(windows, *shape)``."""


@dataclass(frozen=True)
class FoldWindows(Operation):
    """The scores' own shape back; inputs: x ``(N * windows, *shape)``, image.

    Output ``(N, *shape, *windows)``: ``(N, K, rows, columns)`` of an image.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class SplitChannels(Operation):
    """``(N, C, *cells)`` to ``(N, *shape, *cells)``; an empty shape drops the one channel."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Power(Operation):
    """The square or the square root of every element."""

    kind: Literal["square", "root"]


@dataclass(frozen=True)
class SlidingTotal(Operation):
    """Sum or maximum over every box of ``kernel`` stored cells.

    ``(N, C, *cells)`` loses ``dilation * (kernel - 1)`` cells along each axis. See Note [Totals of
    a sliding window] in `fullconv.doubling`.
    """

    kind: Literal["sum", "max"]
    kernel: Sizes
    dilation: Sizes


@dataclass(frozen=True)
class SlidingSpread(Operation):
    """Variance, or standard deviation, over every box of ``kernel`` stored cells.

    Of each channel, or of all together; ``(N, C, *cells)`` becomes as small as by `SlidingTotal`,
    with 1 channel where ``together``.
    """

    kind: Literal["var", "std"]
    kernel: Sizes
    dilation: Sizes
    together: bool
    correction: int


@dataclass(frozen=True)
class SlidingNormalization(Operation):
    """Group normalization whose window of ``kernel`` stored cells slides along with the cell.

    Beyond the border of the map stands the last window inside (`Stretch`). Inputs: x, scale or
    None, bias or None, one number per channel or one per group; as large as x.
    """

    groups: int
    kernel: Sizes
    dilation: Sizes
    epsilon: float


@dataclass(frozen=True)
class Stretch(Operation):
    """Repeats the border cells of a sliding statistic, (before, after) along every axis.

    Where every ``dilation``-th stored cell is one of the same windows, a cell beyond the border
    is the last one inside of those.
    """

    padding: Padding
    dilation: Sizes
