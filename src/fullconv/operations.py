"""The vocabulary: one frozen record per operation, in the words of PyTorch and ONNX.

A framework reads its own graph into these records; rules reason about them; a framework writes
them back. The first group describes a window classifier at its native size. The second group is
what lifting adds: operations on stored maps ``(N, C, Y, X)`` whose height and width are free.

Spatial pairs are (rows, columns); padding is ((top, bottom), (left, right)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))
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
class Convolution(Operation):
    """Inputs: x, weight ``(out, in // groups, kh, kw)``, bias ``(out,)`` or None."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class TransposedConvolution(Operation):
    """Inputs: x, weight ``(in, out // groups, kh, kw)``, bias ``(out,)`` or None."""

    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int
    output_padding: Pair


@dataclass(frozen=True)
class Upsample(Operation):
    """Repeats every cell ``factor`` times along rows and columns: nearest-neighbour upsampling."""

    factor: Pair


@dataclass(frozen=True)
class Pool(Operation):
    """Maximum, average or sum over a moving rectangle.

    ``ceil_mode`` is already spelled out: ``overhang`` counts the cells past the padded input that
    the last outputs cover. An average divides by ``divisor`` where given, else by the cells it
    covers, padding included where ``count_include_pad`` says so, overhang never. ``channels`` is
    set by lifting, for those who must write a sum as a convolution.
    """

    kind: Literal["max", "average", "sum"]
    kernel: Pair
    stride: Pair
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    overhang: Pair = (0, 0)
    count_include_pad: bool = False
    divisor: int | None = None
    channels: int = 0

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return f"{self.kind.capitalize()}Pool"


@dataclass(frozen=True)
class AdaptivePool(Operation):
    """Bin ``i`` of ``size`` covers cells ``floor(i*a/size)`` to ``ceil((i+1)*a/size)``."""

    kind: Literal["max", "average"]
    size: Pair

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return f"Adaptive{self.kind.capitalize()}Pool"


@dataclass(frozen=True)
class Linear(Operation):
    """Inputs: x ``(..., in)``, weight ``(out, in)``, bias ``(out,)`` or None."""


@dataclass(frozen=True)
class Reduce(Operation):
    """Mean, sum, maximum or Euclidean norm ("l2") over whole axes."""

    kind: Literal["mean", "sum", "max", "l2"]
    axes: tuple[int, ...]
    keepdims: bool

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
    window alone: see Note [A batch of one] in `fullconv.lift.windows`.
    """

    name: str
    standing: Standing | None = None

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


# What lifting adds: on stored maps (N, C, Y, X) with free height and width.


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

    before: Pair
    after: Pair
    stride: Pair


@dataclass(frozen=True)
class Keep(Operation):
    """Keeps the cells that whole windows own; inputs: x, image.

    Per axis ``(stride, span)``: with ``r`` windows along the axis, the first
    ``stride * (r - 1) + span`` cells are kept; all where None.
    """

    rows: Pair | None
    columns: Pair | None


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
    """Puts a block together from parts of a field; inputs: the parts, row by row, then the image.

    Part ``(i, j)`` gives what ``rows[i]`` and ``columns[j]`` take of it. Where `Own` or `Gathered`
    cells stand along an axis its windows are entries of the batch, else the axis is shared (see
    Note [Nine parts] in `fullconv.lift.split`). A block gathered along both axes is one tensor per
    window.
    """

    channels: int
    rows: Segments
    columns: Segments


@dataclass(frozen=True)
class LayOut(Operation):
    """Lays windows out as cells; inputs: x, image.

    Along each axis that is true, x holds one cell of every window, and the windows in its batch;
    in the result they are the cells: ``(N * rows * columns, C, 1, 1)`` to ``(N, C, rows,
    columns)``. ``private`` says along which axes the windows are in the batch.
    """

    channels: int
    axes: tuple[bool, bool]
    private: tuple[bool, bool]


@dataclass(frozen=True)
class DivideCells(Operation):
    """Divides every cell by the product of its row's and its column's number.

    A single number stands for all rows, or all columns.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]


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
    """The scores' own shape back; inputs: x ``(N * rows * columns, *shape)``, image.

    Output ``(N, *shape, rows, columns)``.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class SplitChannels(Operation):
    """``(N, C, Y, X)`` to ``(N, *shape, Y, X)``; an empty shape drops the one channel."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Power(Operation):
    """The square or the square root of every element."""

    kind: Literal["square", "root"]


@dataclass(frozen=True)
class SlidingTotal(Operation):
    """Sum or maximum over every rectangle of ``kernel`` stored cells.

    ``(N, C, Y, X)`` loses ``dilation * (kernel - 1)`` cells along each axis. See Note [Totals of a
    sliding window] in `fullconv.doubling`.
    """

    kind: Literal["sum", "max"]
    kernel: Pair
    dilation: Pair


@dataclass(frozen=True)
class SlidingNormalization(Operation):
    """Group normalization whose window of ``kernel`` stored cells slides along with the cell.

    Beyond the border of the map stands the last window inside (`Stretch`). Inputs: x, scale or
    None, bias or None, one number per channel or one per group; as large as x.
    """

    groups: int
    kernel: Pair
    dilation: Pair
    epsilon: float


@dataclass(frozen=True)
class Stretch(Operation):
    """Repeats the border cells of a sliding statistic; ((top, bottom), (left, right)).

    Where every ``dilation``-th stored cell is one of the same windows, a cell beyond the border
    is the last one inside of those.
    """

    padding: Padding
    dilation: Pair = (1, 1)
