"""What a random window classifier is made of: frozen records that print as they are written.

A record knows what it does to the *shape* of a map, to the *size of the numbers* in it and to
the possibility of *sharing* it between windows; `torch_form` and `onnx_form` turn the same
records into real networks.

Note [Exact arithmetic]: weights, biases and pixels are small integers, and everything else that
numbers meet is a power of two. So every number in such a network is a whole multiple of
`Map.unit` (a power of two) and at most `Map.bound` in size. While ``bound / unit`` stays under
2**22, every partial sum, taken in any order, is exact in float32, and a converted network must
give its crops' scores to the last bit: an error is off by a whole unit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import reduce
from math import gcd, isqrt, lcm, prod
from typing import Any, ClassVar

Pair = tuple[int, int]
Four = tuple[int, int, int, int]

EXACT = float(2**22)


class DoesNotFitError(Exception):
    """The layer cannot stand here: the map is too small, or its numbers would grow too large."""


@dataclass(frozen=True)
class Map:
    """What one window's tensor ``(N, channels, rows, columns)`` is, without its values.

    Attributes
    ----------
    bound, unit
        Every number is a multiple of `unit`, and at most `bound` in size.
    pitch
        Input pixels between neighbouring rows and columns.
    shared
        Whether a cell depends on the pixels under it alone and not on the window around it,
        through operations that all have a rule.
    every
        Only windows whose distances are multiples of this can share: a kernel that is laid on
        every second cell lies elsewhere for a window that starts one cell further.
    vector
        Whether rows and columns are gone: the tensor is ``(N, channels)``.
    """

    channels: int
    rows: int
    columns: int
    bound: float = 3.0
    unit: float = 1.0
    pitch: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))
    shared: bool = True
    every: Pair = (1, 1)
    vector: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise DoesNotFitError(f"{self.rows}x{self.columns} cells would be left")
        if self.bound / self.unit > EXACT:
            raise DoesNotFitError("the numbers grow beyond exact arithmetic")

    @property
    def extent(self) -> Pair:
        return (self.rows, self.columns)

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    def sized(self, rows: int, columns: int) -> Map:
        return replace(self, rows=rows, columns=columns)

    def summed(self, terms: int, bias: bool = True) -> Map:
        """Return the map whose numbers are sums of so many times -1, 0 or 1 of these."""
        return replace(self, bound=self.bound * terms + bias, unit=min(self.unit, 1.0))

    def flat(self, channels: int) -> Map:
        return replace(self, channels=channels, rows=1, columns=1, vector=True)

    def spread(self, y: int | Fraction, x: int | Fraction) -> Map:
        return replace(self, pitch=(self.pitch[0] * y, self.pitch[1] * x))

    def sharing(self, possible: bool) -> Map:
        return replace(self, shared=self.shared and possible)


class Spec:
    """One layer; prints as the call that makes it, without what is the default anyway."""

    def __repr__(self) -> str:
        said = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the same way where hypothesis shows a failing example."""
        printer.text(repr(self))

    def after(self, here: Map) -> Map:
        """Return the map behind this layer, or raise `DoesNotFitError`."""
        raise NotImplementedError


def after_all(layers: tuple[Spec, ...], here: Map) -> Map:
    return reduce(lambda at, layer: layer.after(at), layers, here)


def same_pads(extent: Pair, kernel: Pair, stride: Pair, dilation: Pair, lower: bool) -> Four:
    """Return the (top, left, bottom, right) padding that keeps ``ceil(extent / stride)`` cells.

    Source: ONNX Conv, `auto_pad`; PyTorch ``padding="same"`` is SAME_UPPER at stride 1.
    """
    total = [
        max((-(-n // t) - 1) * t + (k - 1) * d + 1 - n, 0)
        for n, k, t, d in zip(extent, kernel, stride, dilation, strict=True)
    ]
    first = [(n + lower) // 2 for n in total]
    return (first[0], first[1], total[0] - first[0], total[1] - first[1])


def _windows(extent: int, kernel: int, stride: int, dilation: int, pads: Pair, ceil: bool) -> int:
    """Return how many positions a kernel has over so many cells; source: PyTorch MaxPool2d."""
    room = extent + sum(pads) - dilation * (kernel - 1) - 1
    if room < 0:
        raise DoesNotFitError("the kernel is larger than the map")
    count = room // stride + 1
    if ceil and room % stride and count * stride < extent + pads[0]:
        count += 1
    return count


def _overhangs(extent: int, kernel: int, stride: int, dilation: int, count: int) -> bool:
    return (count - 1) * stride + dilation * (kernel - 1) + 1 > extent


def _check_pads(pads: Four, extent: Pair, mode: str) -> None:
    for n, before, after in zip(extent, pads[:2], pads[2:], strict=True):
        if mode == "reflect" and max(before, after) >= n:
            raise DoesNotFitError("a reflection reaches beyond the map")
        if mode == "circular" and max(before, after) > n:
            raise DoesNotFitError("a wrapped border reaches beyond the map")


# ---------------------------------------------------------------------------------------------
# From map to map


@dataclass(frozen=True, repr=False)
class Conv(Spec):
    """`padding` is (top, left, bottom, right), or a rule by its name in the framework."""

    out: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: int = 1
    padding: Four | str = (0, 0, 0, 0)
    mode: str = "zeros"
    bias: bool = True
    style: str = "module"

    def pads(self, extent: Pair) -> Four:
        if self.padding == "VALID":
            return (0, 0, 0, 0)
        if isinstance(self.padding, str):
            lower = self.padding == "SAME_LOWER"
            return same_pads(extent, self.kernel, self.stride, self.dilation, lower)
        return self.padding

    def after(self, here: Map) -> Map:
        if here.channels % self.groups or self.out % self.groups:
            raise DoesNotFitError("the channels do not divide into the groups")
        pads = self.pads(here.extent)
        _check_pads(pads, here.extent, self.mode)
        size = [
            _windows(n, k, t, d, pad, ceil=False)
            for n, k, t, d, pad in zip(
                here.extent,
                self.kernel,
                self.stride,
                self.dilation,
                ((pads[0], pads[2]), (pads[1], pads[3])),
                strict=True,
            )
        ]
        terms = here.channels // self.groups * prod(self.kernel)
        made = here.sized(*size).summed(terms, self.bias).spread(*self.stride)
        return replace(made, channels=self.out).sharing(not any(pads))


@dataclass(frozen=True, repr=False)
class ConvTranspose(Spec):
    """`padding` and `more` (output padding) are (rows, columns).

    A cell near the border receives fewer terms than one inside, so only kernels that tile the
    output are the same for all windows, and only where they start on whole cells of the input.
    """

    out: int
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Pair = (0, 0)
    more: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = True

    def after(self, here: Map) -> Map:
        if here.channels % self.groups or self.out % self.groups:
            raise DoesNotFitError("the channels do not divide into the groups")
        if any(m >= t for m, t in zip(self.more, self.stride, strict=True)):
            raise DoesNotFitError("output padding must be smaller than the stride")
        size = [
            (n - 1) * t - 2 * p + d * (k - 1) + m + 1
            for n, t, p, d, k, m in zip(
                here.extent,
                self.stride,
                self.padding,
                self.dilation,
                self.kernel,
                self.more,
                strict=True,
            )
        ]
        terms = here.channels // self.groups * prod(self.kernel)
        made = here.sized(*size).summed(terms, self.bias)
        made = made.spread(Fraction(1, self.stride[0]), Fraction(1, self.stride[1]))
        every = (
            lcm(old, pitch.numerator) if stride > 1 else old
            for old, pitch, stride in zip(here.every, here.pitch, self.stride, strict=True)
        )
        made = replace(made, every=tuple(every))
        tiles = self.kernel == self.stride and not any((*self.padding, *self.more))
        tiles = tiles and min(size) > 1
        return replace(made, channels=self.out).sharing(tiles and self.dilation == (1, 1))


@dataclass(frozen=True, repr=False)
class Upsample(Spec):
    """Every cell `factor` times along rows and columns; `style` says how often, or to what size."""

    factor: Pair = (2, 2)
    style: str = "scale"

    def after(self, here: Map) -> Map:
        rows, columns = self.factor
        made = here.sized(here.rows * rows, here.columns * columns)
        every = (
            lcm(old, pitch.numerator) if factor > 1 else old
            for old, pitch, factor in zip(here.every, here.pitch, self.factor, strict=True)
        )
        made = replace(made, every=tuple(every))
        return made.spread(Fraction(1, rows), Fraction(1, columns))


@dataclass(frozen=True, repr=False)
class Pad(Spec):
    """`amounts` are (top, left, bottom, right), and cut where they are negative.

    `mode` is zeros, value, reflect, replicate or circular.
    """

    amounts: Four
    mode: str = "zeros"
    value: int = 0
    style: str = "function"

    def after(self, here: Map) -> Map:
        _check_pads(self.amounts, here.extent, self.mode)
        top, left, bottom, right = self.amounts
        made = here.sized(here.rows + top + bottom, here.columns + left + right)
        made = replace(made, bound=max(made.bound, abs(self.value)), unit=min(made.unit, 1.0))
        return made.sharing(not any(self.amounts))


@dataclass(frozen=True, repr=False)
class ChannelPad(Spec):
    """Channels of zeros ahead of the map's own and behind them: a shortcut without parameters."""

    before: int = 0
    behind: int = 0

    def after(self, here: Map) -> Map:
        return replace(here, channels=self.before + here.channels + self.behind)


class Pool(Spec):
    """What average and max pools have in common.

    `padding` is (rows, columns), or, in ONNX, (top, left, bottom, right) or a rule by its name.
    """

    kernel: Pair
    stride: Pair
    padding: Pair | Four | str
    ceil: bool

    @property
    def spacing(self) -> Pair:
        """The distance between the cells under one kernel."""
        return (1, 1)

    def pads(self, extent: Pair) -> Four:
        match self.padding:
            case (y, x):
                return (y, x, y, x)
            case (_, _, _, _):
                return self.padding
            case "VALID":
                return (0, 0, 0, 0)
        lower = self.padding == "SAME_LOWER"
        return same_pads(extent, self.kernel, self.stride, self.spacing, lower)

    def axes(self, here: Map) -> list[tuple[int, int, int, int, Pair]]:
        """Return (cells, kernel, stride, dilation, padding) of the rows and of the columns."""
        top, left, bottom, right = self.pads(here.extent)
        sizes = zip(here.extent, self.kernel, self.stride, self.spacing, strict=True)
        made = [
            (*size, pads) for size, pads in zip(sizes, ((top, bottom), (left, right)), strict=True)
        ]
        for _, k, t, d, pads in made:
            if isinstance(self.padding, str) and k < t:
                raise DoesNotFitError("ONNX Runtime would reckon with less than no padding")
            # PyTorch refuses the one, ONNX Runtime the other.
            most = k // 2 if isinstance(self.padding, tuple) and len(self.padding) == 2 else k - 1
            if max(pads) > (most if d == 1 else min(most, k // 2)):
                raise DoesNotFitError("too much padding for the kernel")
        return made

    def size(self, here: Map) -> list[int]:
        return [_windows(*axis, self.ceil) for axis in self.axes(here)]

    def whole(self, here: Map) -> bool:
        """Say whether every position of the kernel lies on cells alone."""
        inside = not any(
            _overhangs(*axis[:4], count)
            for axis, count in zip(self.axes(here), self.size(here), strict=True)
        )
        return inside and not any(self.pads(here.extent))

    def counted(self, here: Map) -> Pair:
        """Return the stride as it counts for the network's own: not where nothing can slide."""
        y, x = (
            1 if k == n else t
            for k, n, t in zip(self.kernel, here.extent, self.stride, strict=True)
        )
        return y, x


@dataclass(frozen=True, repr=False)
class MaxPool(Pool):
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Pair | Four | str = (0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False

    @property
    def spacing(self) -> Pair:
        return self.dilation

    def after(self, here: Map) -> Map:
        made = here.sized(*self.size(here)).spread(*self.counted(here))
        return made.sharing(self.whole(here))


@dataclass(frozen=True, repr=False)
class AvgPool(Pool):
    """Divides by a power of two everywhere, or `DoesNotFitError`: see Note [Exact arithmetic]."""

    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Pair | Four | str = (0, 0)
    ceil: bool = False
    count_pads: bool = True
    divisor: int | None = None

    def after(self, here: Map) -> Map:
        size = self.size(here)
        if self.divisor is None:
            counts = [
                self._counts(n, k, t, pads, count)
                for (n, k, t, _, pads), count in zip(self.axes(here), size, strict=True)
            ]
        else:
            counts = [{self.divisor}, {1}]
        if not all(power_of_two(count) for axis in counts for count in axis):
            raise DoesNotFitError("the average would not be a multiple of a power of two")
        made = replace(
            here.sized(*size).spread(*self.counted(here)),
            bound=here.bound * (1 if self.divisor is None else prod(self.kernel)),
            unit=here.unit / max(counts[0]) / max(counts[1]),
        )
        return made.sharing(self.whole(here))

    def _counts(self, extent: int, kernel: int, stride: int, pads: Pair, count: int) -> set[int]:
        """Return the divisors along one axis; both, where runtimes disagree about an overhang."""
        first, last = (-pads[0], extent + pads[1]) if self.count_pads else (0, extent)
        starts = [at * stride - pads[0] for at in range(count)]
        made = {min(start + kernel, last) - max(start, first) for start in starts}
        return made | {kernel} if self.count_pads else made


@dataclass(frozen=True, repr=False)
class AdaptivePool(Spec):
    """`bins` rows and columns; bins differ in size or overlap where they do not divide."""

    bins: Pair
    kind: str = "average"

    def after(self, here: Map) -> Map:
        counts = [
            [-(-(i + 1) * n // bins) - i * n // bins for i in range(bins)]
            for n, bins in zip(here.extent, self.bins, strict=True)
        ]
        made = here.sized(*self.bins)
        if self.kind == "average":
            if not all(power_of_two(count) for axis in counts for count in axis):
                raise DoesNotFitError("the average would not be a multiple of a power of two")
            made = replace(made, unit=here.unit / max(counts[0]) / max(counts[1]))
        even = all(n % bins == 0 for n, bins in zip(here.extent, self.bins, strict=True))
        if even:
            made = made.spread(*(c[0] if len(c) > 1 else 1 for c in counts))
        return made.sharing(even)


@dataclass(frozen=True, repr=False)
class BatchNorm(Spec):
    """Whole means, standard deviations of 1/2, 1 and 2; `epsilon` is taken out of the variance."""

    epsilon: float = 0.0
    affine: bool = True

    def after(self, here: Map) -> Map:
        return replace(here, bound=(here.bound + 1) * 4 + 1, unit=min(here.unit, 1.0) / 2)


# And "wide" and "widest", clamps that are drawn only where sums would grow too large.
POINTWISE = ("relu", "leaky", "hardtanh", "relu6", "abs", "sign", "double", "shift", "mirror")


@dataclass(frozen=True, repr=False)
class Pointwise(Spec):
    kind: str = "relu"
    style: str = "module"

    def after(self, here: Map) -> Map:
        match self.kind:
            case "leaky":
                return replace(here, unit=here.unit / 2)
            case "hardtanh":
                return replace(here, bound=min(here.bound, 3.0))
            case "wide":
                return replace(here, bound=min(here.bound, 31.0))
            case "widest":
                return replace(here, bound=min(here.bound, 1023.0))
            case "relu6":
                return replace(here, bound=min(here.bound, 6.0))
            case "sign":
                return replace(here, bound=1.0, unit=1.0)
            case "double":
                return replace(here, bound=here.bound * 2)
            case "shift" | "mirror":
                return replace(here, bound=here.bound + 1, unit=min(here.unit, 1.0))
            case "relu" | "abs":
                return here
        raise ValueError(self.kind)


@dataclass(frozen=True, repr=False)
class PRelu(Spec):
    """Slopes of -1, 0, 1/2 and 2, one per channel (or one for all)."""

    per_channel: bool = True

    def after(self, here: Map) -> Map:
        return replace(here, bound=here.bound * 2, unit=here.unit / 2)


@dataclass(frozen=True, repr=False)
class Scale(Spec):
    """Multiply and add numbers of shape ``(1, C, 1, 1)``."""

    def after(self, here: Map) -> Map:
        return replace(here, bound=here.bound * 2 + 1, unit=min(here.unit, 1.0))


@dataclass(frozen=True, repr=False)
class Dropout(Spec):
    style: str = "module"

    def after(self, here: Map) -> Map:
        return here


@dataclass(frozen=True, repr=False)
class Slice(Spec):
    """`x[:, :, a:b:s, c:d:t]`: `rows` is (a, b, s) and `columns` is (c, d, t)."""

    rows: tuple[int, int | None, int] = (0, None, 1)
    columns: tuple[int, int | None, int] = (0, None, 1)

    def after(self, here: Map) -> Map:
        left = (
            len(range(n)[slice(*cut)])
            for n, cut in zip(here.extent, (self.rows, self.columns), strict=True)
        )
        return here.sized(*left).spread(self.rows[2], self.columns[2])


@dataclass(frozen=True, repr=False)
class Shuffle(Spec):
    """Channel shuffle: view as (groups, C / groups), transpose, and back."""

    groups: int

    def after(self, here: Map) -> Map:
        if here.channels % self.groups:
            raise DoesNotFitError("the channels do not divide into the groups")
        return here


@dataclass(frozen=True, repr=False)
class ChannelsLastLinear(Spec):
    """A linear layer over the channels, between two permutes: a 1x1 convolution in disguise."""

    out: int

    def after(self, here: Map) -> Map:
        return replace(here.summed(here.channels), channels=self.out)


@dataclass(frozen=True, repr=False)
class Merge(Spec):
    """What the shortcut and the body make of a map, cut to the smaller one, in one operation.

    An empty shortcut hands the map on.
    """

    body: tuple[Spec, ...]
    kind: str = "add"
    shortcut: tuple[Spec, ...] = ()

    def after(self, here: Map) -> Map:
        kept, made = after_all(self.shortcut, here), after_all(self.body, here)
        if made.channels != kept.channels:
            raise DoesNotFitError("the body has other channels")
        bounds = {"add": kept.bound + made.bound, "subtract": kept.bound + made.bound}
        bounds |= {"multiply": kept.bound * made.bound, "maximum": max(kept.bound, made.bound)}
        unit = kept.unit * made.unit if self.kind == "multiply" else min(kept.unit, made.unit)
        meeting = _meeting((kept, made))
        return replace(meeting, bound=bounds[self.kind], unit=unit)


@dataclass(frozen=True, repr=False)
class Concat(Spec):
    """The map through several bodies (an empty one hands it on), side by side in the channels."""

    bodies: tuple[tuple[Spec, ...], ...]

    def after(self, here: Map) -> Map:
        made = [after_all(body, here) for body in self.bodies]
        return replace(_meeting(made), channels=sum(m.channels for m in made))


@dataclass(frozen=True, repr=False)
class Split(Spec):
    """The channels in two halves, each through its own body, and concatenated."""

    first: tuple[Spec, ...]
    second: tuple[Spec, ...]
    style: str = "chunk"

    def after(self, here: Map) -> Map:
        if here.channels < 2:
            raise DoesNotFitError("one channel has no halves")
        size = -(-here.channels // 2)
        made = [
            after_all(self.first, replace(here, channels=size)),
            after_all(self.second, replace(here, channels=here.channels - size)),
        ]
        return replace(_meeting(made), channels=sum(m.channels for m in made))


@dataclass(frozen=True, repr=False)
class Twice(Spec):
    """One layer with one set of parameters, applied two times."""

    layer: Spec

    def after(self, here: Map) -> Map:
        once = self.layer.after(here)
        if once.channels != here.channels:
            raise DoesNotFitError("the second time finds other channels")
        return self.layer.after(once)


@dataclass(frozen=True, repr=False)
class Gate(Spec):
    """Multiply every channel by its clamped maximum over the window (squeeze-and-excitation)."""

    def after(self, here: Map) -> Map:
        return replace(here, bound=here.bound * 2, unit=here.unit * min(here.unit, 1)).sharing(
            False
        )


@dataclass(frozen=True, repr=False)
class GroupNorm(Spec):
    """GroupNorm over the window, doubled and rounded to whole numbers.

    A statistic over a window is rounded; what is left of it is not, as long as no number comes
    to lie where rounding goes the other way. A quarter is added before the floor is taken, so
    that the many numbers that are zero, a half or one do not.
    """

    groups: int = 1
    epsilon: ClassVar[float] = 2.0**-4

    def after(self, here: Map) -> Map:
        if here.channels % self.groups:
            raise DoesNotFitError("the channels do not divide into the groups")
        count = here.channels // self.groups * here.cells
        bound = 2 * isqrt(count) + 4.0  # no number is further from its mean than that
        return replace(here, bound=bound, unit=1.0).sharing(False)


@dataclass(frozen=True, repr=False)
class Unshared(Spec):
    """An operation over the window that has no sharing rule; see `torch_form` and `onnx_form`."""

    kind: str = "cumsum"

    def after(self, here: Map) -> Map:
        here = here.sharing(False)
        match self.kind:
            case "cumsum":
                return replace(here, bound=here.bound * here.columns)
            case "sort" | "flip" | "roll":
                return here
            case "transpose":
                return replace(here.sized(here.columns, here.rows), pitch=here.pitch[::-1])
            case "bilinear":
                half = Fraction(1, 2)
                made = here.sized(here.rows * 2, here.columns * 2).spread(half, half)
                return replace(made, unit=here.unit / 16)
            case "space to depth":
                if here.rows % 2 or here.columns % 2:
                    raise DoesNotFitError("blocks of 2x2 do not tile the map")
                made = here.sized(here.rows // 2, here.columns // 2).spread(2, 2)
                return replace(made, channels=here.channels * 4)
        raise ValueError(self.kind)


# ---------------------------------------------------------------------------------------------
# From map to vector, and from vector to vector; a vector is a map of one cell


@dataclass(frozen=True, repr=False)
class Flatten(Spec):
    """All cells in one row; `order` names the axes from the slowest to the fastest."""

    order: str = "CHW"
    style: str = "flatten"

    def after(self, here: Map) -> Map:
        return here.flat(here.channels * here.cells)


@dataclass(frozen=True, repr=False)
class GlobalPool(Spec):
    """`kind` is mean, sum or max, over rows and columns."""

    kind: str = "max"
    style: str = "reduce"

    def after(self, here: Map) -> Map:
        if self.kind == "mean":
            if not power_of_two(here.cells):
                raise DoesNotFitError("the average would not be a multiple of a power of two")
            return replace(here.flat(here.channels), unit=here.unit / here.cells)
        terms = here.cells if self.kind == "sum" else 1
        return replace(here.flat(here.channels), bound=here.bound * terms)


@dataclass(frozen=True, repr=False)
class Squeeze(Spec):
    """Drop the axes of a map that is one cell already."""

    style: str = "squeeze"

    def after(self, here: Map) -> Map:
        if here.cells != 1:
            raise DoesNotFitError("more than one cell")
        return here.flat(here.channels)


@dataclass(frozen=True, repr=False)
class PoolOneAxis(Spec):
    """The maximum over `axis` (rows or columns), the rest flattened."""

    axis: str = "rows"

    def after(self, here: Map) -> Map:
        left = here.columns if self.axis == "rows" else here.rows
        return here.flat(here.channels * left).sharing(False)


@dataclass(frozen=True, repr=False)
class Gram(Spec):
    """Sums over the window of products of two channels (bilinear pooling)."""

    def after(self, here: Map) -> Map:
        made = here.flat(here.channels**2).sharing(False)
        return replace(made, bound=here.bound**2 * here.cells, unit=here.unit**2)


@dataclass(frozen=True, repr=False)
class Linear(Spec):
    out: int
    style: str = "module"
    bias: bool = True

    def after(self, here: Map) -> Map:
        return replace(here.summed(here.channels * 2, self.bias), channels=self.out)


# ---------------------------------------------------------------------------------------------
# The whole


@dataclass(frozen=True, repr=False)
class Network(Spec):
    """A window classifier: layers over maps, a head that makes a vector, layers over vectors.

    Attributes
    ----------
    taps
        Indices of trunk layers whose maps are flattened as well and appended to the vector.
    outputs
        "array", or "tuple", "list", "dict": then the vector before the last layer comes along.
    seed
        The weights are drawn from it, and from the place of the layer.
    style
        How the module is written: "sequential" or "functional" (PyTorch).
    double
        float64 (PyTorch).
    batch, opset, free_size
        A fixed batch of one, the operator set, and height and width left open (ONNX).
    """

    window: Pair
    channels: int
    trunk: tuple[Spec, ...]
    head: Spec
    tail: tuple[Spec, ...]
    taps: tuple[int, ...] = ()
    outputs: str = "array"
    seed: int = 0
    style: str = "sequential"
    double: bool = False
    batch: int | None = None
    opset: int = 17
    free_size: bool = False

    @property
    def input(self) -> Map:
        return Map(self.channels, *self.window)

    def maps(self) -> list[Map]:
        """Return the map behind each layer of the trunk, the input first."""
        made = [self.input]
        for layer in self.trunk:
            made.append(layer.after(made[-1]))
        return made

    def collected(self) -> Map:
        """Return the vector behind the head, with the taps appended."""
        maps = self.maps()
        parts = [self.head.after(maps[-1]), *(Flatten().after(maps[k + 1]) for k in self.taps)]
        return replace(_meeting(parts), channels=sum(part.channels for part in parts))

    @property
    def scores(self) -> Map:
        return after_all(self.tail, self.collected())

    @property
    def stride(self) -> Pair:
        """The distance between neighbouring cells of the last map, in whole pixels.

        The smallest one at which windows share everything, where cells lie closer than pixels.
        """
        last = self.collected()
        y, x = (lcm(n.numerator, e) for n, e in zip(last.pitch, last.every, strict=True))
        return y, x

    @property
    def shared(self) -> bool:
        """Whether every layer has a rule and nothing depends on the window's own border."""
        return self.scores.shared

    def shares_at(self, step: Pair) -> bool:
        """Say whether windows at this distance share everything."""
        whole = all(s % every == 0 for s, every in zip(step, self.scores.every, strict=True))
        return self.shared and whole


def power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


def _meeting(maps: list[Map] | tuple[Map, ...]) -> Map:
    """Return the map where several meet: the smallest extent, the coarsest pitch."""
    first = maps[0]
    pitch = tuple(
        Fraction(lcm(*(n.numerator for n in axis)), gcd(*(n.denominator for n in axis)))
        for axis in zip(*(m.pitch for m in maps), strict=True)
    )
    return replace(
        first,
        rows=min(m.rows for m in maps),
        columns=min(m.columns for m in maps),
        bound=max(m.bound for m in maps),
        unit=min(m.unit for m in maps),
        pitch=pitch,  # type: ignore[arg-type]
        shared=all(m.shared and m.pitch == first.pitch for m in maps),
        every=tuple(lcm(*axis) for axis in zip(*(m.every for m in maps), strict=True)),
    )
