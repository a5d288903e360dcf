"""What draws padded window classifiers in whose windows a middle survives.

`strategies` draws small windows, which padding soon reaches all over. Here windows are larger and
borders grow slowly, so that a map keeps cells of its own border beside cells that all windows
share, through several layers, branches and merges, up to the head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider

from networks.borders import Own, nothing, own_after, shared
from networks.specs import (
    AdaptivePool,
    AvgPool,
    ChannelPad,
    Concat,
    Conv,
    ConvTranspose,
    DoesNotFitError,
    Flatten,
    Gate,
    GlobalPool,
    Gram,
    GroupNorm,
    Map,
    MaxPool,
    Merge,
    Network,
    Pad,
    Pair,
    Pointwise,
    PoolOneAxis,
    Shuffle,
    Slice,
    Spec,
    Split,
    Squeeze,
    Twice,
    Unshared,
    Upsample,
    after_all,
)
from networks.strategies import (
    CLAMP,
    ONNX,
    ORDERS,
    TORCH,
    Dialect,
    fitting,
    has_bins,
    one_in,
    pairs,
    pointwise,
    simple,
    wholes,
)

WIDE = Pointwise("wide")
PADDED_TORCH = replace(TORCH, clamps=(Pointwise("widest"), WIDE, CLAMP))
PADDED_ONNX = replace(ONNX, clamps=(Pointwise("widest"), WIDE, CLAMP))
"""Clamps that leave more of the numbers than the sign: larger maps must be told apart by more."""

Case = tuple[Network, int | tuple[int, int] | None, tuple[int, int], int]


class Plainly(HypothesisProvider):
    """Draws every number from the seed alone.

    As it is, hypothesis also draws numbers that it reads in the source of whatever is imported,
    and draws again what it has drawn, a little changed: other networks after every edit, and
    half of them alike.
    """

    def _maybe_draw_constant(self, *args: Any, **options: Any) -> None:
        return None


AVAILABLE_PROVIDERS["plainly"] = f"{__name__}.{Plainly.__name__}"


def padded_cases_drawn(dialect: Dialect, count: int, number: int) -> list[Case]:
    """Return so many cases: the same for the same number, in every run."""
    made: list[Case] = []

    @seed(number)
    @settings(
        backend="plainly",
        phases=[Phase.generate],
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(padded_cases(dialect))
    def keep(case: Case) -> None:
        made.append(case)

    keep()
    return made


@st.composite
def padded_cases(draw: Any, dialect: Dialect) -> Case:
    """Draw (network, step, image size, number of images)."""
    network = draw(padded_networks(dialect))
    step = draw(padded_steps(network))
    return network, step, draw(padded_sizes(network, step)), draw(st.sampled_from([1, 1, 2]))


@st.composite
def padded_networks(draw: Any, dialect: Dialect) -> Network:
    """Draw a classifier with windows of 16 to 40 pixels a side, most with a middle to the end."""
    if dialect.onnx:
        dialect = replace(dialect, opset=draw(st.sampled_from([*range(9, 22), 19, 20, 21])))
    side = st.one_of(st.integers(20, 40), st.integers(20, 40), st.integers(16, 24))
    first = Map(draw(st.integers(1, 3)), draw(side), draw(side))
    keeps = not draw(one_in(6))
    trunk: tuple[Spec, ...] = draw(padded_trunks(first, dialect, keeps))
    if not any(isinstance(layer, Conv) for layer in trunk):
        # A PyTorch module without one may take images of any number of channels.
        trunk += fitting((Conv(2, (1, 1)),), after_all(trunk, first), dialect)
    end, head = draw(padded_heads(after_all(trunk, first), dialect))
    trunk += end
    for more in ((), (Pointwise("sign"),)):
        try:
            return draw(wholes(dialect, first, trunk + more, head))
        except DoesNotFitError:  # the averages before have made the numbers too fine for the head
            continue
    reject()


@st.composite
def padded_trunks(draw: Any, first: Map, dialect: Dialect, keeps: bool) -> tuple[Spec, ...]:
    """Draw two to six layers; `keeps` leaves out those that would leave no middle."""
    kinds = [convolutions, convolutions, convolutions, pads, pads, pools, pools]
    kinds += [residuals, residuals, concatenations, shares, others]
    layers: tuple[Spec, ...] = ()
    at, borders, stands, tries = first, nothing(first), 0, 0
    wanted = draw(st.integers(2, 6))
    while stands < wanted and tries < 12:
        tries += 1
        try:
            more = draw(draw(st.sampled_from(kinds))(at, dialect))
            more = fitting(more, at, dialect)
        except DoesNotFitError:
            continue
        made, own = after_all(more, at), own_after(more, at, borders)
        if min(made.extent) < 4 or made.channels > 6 or (keeps and not _has_middle(own)):
            continue
        layers, at, borders, stands = layers + more, made, own, stands + 1
    if draw(one_in(5)):
        layers += draw(endings(at, dialect))
    return layers


def _has_middle(own: Own) -> bool:
    return min(shared(axis) for axis in own) > 1


# ---------------------------------------------------------------------------------------------
# Padding

FOUR = st.tuples(*[st.integers(0, 2)] * 4)


def modes(dialect: Dialect) -> st.SearchStrategy[str]:
    """Return a strategy for the ways to fill a border, which every convolution has."""
    known = ["reflect", "replicate"]
    if not dialect.onnx or dialect.opset >= 19:
        known += ["circular"]
    return st.one_of(st.just("zeros"), st.just("zeros"), st.sampled_from(known))


@st.composite
def paddings(draw: Any, reach: Pair) -> tuple[int, int, int, int]:
    """Draw (top, left, bottom, right) for a kernel that reaches so far beyond its first cell."""
    y, x = (max(1, n // 2) for n in reach)
    match draw(st.sampled_from(["keeps", "keeps", "keeps", "rows", "columns", "any", "wide"])):
        case "keeps":
            return (reach[0] // 2, reach[1] // 2, reach[0] // 2, reach[1] // 2)
        case "rows":
            return (y, 0, y, 0) if draw(st.booleans()) else (*(draw(FOUR)[:1]), 0, y, 0)
        case "columns":
            return (0, x, 0, x) if draw(st.booleans()) else (0, x, 0, *(draw(FOUR)[:1]))
        case "wide":
            return (y + 1, x + 1, y + 1, x + 1)
    return draw(FOUR)


@st.composite
def convolutions(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw a convolution, most of them padded."""
    depthwise = draw(one_in(5))
    groups = here.channels if depthwise else draw(st.sampled_from([1, 1, 1, 2]))
    out = here.channels * draw(st.sampled_from([1, 2])) if depthwise else draw(st.integers(1, 4))
    kernel = draw(pairs(3, 3, 3, 1, 2, 4, 5))
    stride = draw(pairs(1, 1, 1, 1, 2, 2, 3))
    dilation = draw(pairs(1, 1, 1, 1, 2))
    reach = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
    padding: Any = (0, 0, 0, 0)
    mode = draw(modes(dialect))
    match draw(st.sampled_from(["numbers"] * 6 + ["same", "none"])):
        case "numbers":
            padding = draw(paddings(reach))
        case "same":
            padding = draw(st.sampled_from(dialect.same))
            if dialect.onnx:  # ONNX Runtime: no dilation there
                dilation, mode = (1, 1), "zeros"
            else:
                stride = (1, 1)
    styles = ["module", "module", "functional", "pad first"]
    return (
        Conv(
            out,
            kernel,
            stride,
            dilation,
            groups,
            padding,
            mode,
            draw(st.booleans()),
            draw(st.sampled_from(styles if isinstance(padding, tuple) else styles[:3])),
        ),
    )


@st.composite
def pads(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw padding as a layer of its own, and a layer behind it."""
    known = ["zeros", "value", "value", "reflect", "replicate"]
    if not dialect.onnx or dialect.opset >= 19:
        known += ["circular"]
    mode = draw(st.sampled_from(known))
    amounts = draw(paddings((draw(st.integers(1, 4)), draw(st.integers(1, 4)))))
    if mode in ("zeros", "value") and draw(one_in(5)):
        cut = [*amounts]
        cut[draw(st.integers(0, 3))] = -draw(st.integers(1, 2))
        amounts = (cut[0], cut[1], cut[2], cut[3])
    value = draw(st.sampled_from([-2, -1, 1, 2])) if mode == "value" else 0
    pad = Pad(amounts, mode, value, draw(st.sampled_from(["function", "module"])))
    match draw(st.sampled_from(["convolution", "convolution", "pointwise", "pool"])):
        case "convolution":
            kernel, stride = draw(pairs(3, 3, 1, 2, 5)), draw(pairs(1, 1, 1, 2))
            return (pad, Conv(draw(st.integers(1, 4)), kernel, stride))
        case "pool" if not dialect.onnx:  # Note [Padding ahead of a pool] in `strategies`
            return (pad, *draw(pools(replace(here, rows=99, columns=99), dialect)))
    return (pad, draw(pointwise()))


@st.composite
def pools(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw a pool: padded, rounded up, both or neither."""
    stride, ceil = draw(pairs(1, 1, 2, 2, 3)), draw(st.booleans())
    if draw(st.booleans()):
        kernel, dilation = draw(pairs(2, 3, 3, 4, 5)), draw(pairs(1, 1, 1, 2))
        padding = draw(_pool_padding(kernel, dialect))
        if isinstance(padding, str):
            ceil, dilation = False, (1, 1)
        return (MaxPool(kernel, stride, padding, dilation, ceil),)
    divisor = None if dialect.onnx else draw(st.sampled_from([None, 1, 2, 8]))
    kernel = draw(pairs(2, 3, 3) if divisor else pairs(2, 2, 2, 4, 1))
    padding = draw(_pool_padding(kernel, dialect))
    if isinstance(padding, str):
        ceil = False
    return (AvgPool(kernel, stride, padding, ceil, draw(st.booleans()), divisor),)


@st.composite
def _pool_padding(draw: Any, kernel: Pair, dialect: Dialect) -> Any:
    y, x = (k // 2 for k in kernel)
    ways = ["both", "both", "rows", "columns", "none", "four", "four", "same", "same"]
    match draw(st.sampled_from(ways)):
        case "none":
            return (0, 0)
        case "rows":
            return (y, 0)
        case "columns":
            return (0, x)
        case "four" if dialect.onnx:
            return draw(st.tuples(*(st.integers(0, k - 1) for k in (*kernel, *kernel))))
        case "same" if dialect.onnx:
            return draw(st.sampled_from(dialect.same))
    return (y, x)


# ---------------------------------------------------------------------------------------------
# Branches with borders of different widths

ODD = pairs(1, 3, 3, 5)


@st.composite
def branches(
    draw: Any, here: Map, dialect: Dialect, stride: Pair, out: int, plain: bool = False
) -> tuple[Spec, ...]:
    """Draw layers that take every `stride`-th cell to so many channels, whatever they look at.

    `plain` draws those that look at one cell alone, or nearly so.
    """
    kinds = ["one cell", "slice"] if plain else ["any", "any", "two", "flat", "pool", "pad first"]
    kinds += ["average"] if plain and 2 in stride else []
    match draw(st.sampled_from(kinds)):
        case "slice":
            cut = Slice((0, None, stride[0]), (0, None, stride[1]))
            layers: tuple[Spec, ...] = () if stride == (1, 1) else (cut,)
            if out < here.channels:
                return (*layers, Conv(out, (1, 1)))
            more = out - here.channels
            return (*layers, ChannelPad(more // 2, more - more // 2)) if more else layers
        case "one cell":
            return (Conv(out, (1, 1), stride, bias=draw(st.booleans())),)
        case "average":
            average = AvgPool(stride, stride, (0, 0), True, draw(st.booleans()))
            return (average, Conv(out, (1, 1)))
        case "two":
            between = draw(st.integers(1, 2))
            first, last = (
                draw(_keeping(dialect, channels, distance))
                for channels, distance in ((between, stride), (out, (1, 1)))
            )
            return (first, WIDE, last)
        case "flat":
            k, between = draw(st.sampled_from([3, 5])), draw(st.integers(1, 2))
            rows = Conv(between, (k, 1), (stride[0], 1), padding=(k // 2, 0, k // 2, 0))
            return (rows, Conv(out, (1, k), (1, stride[1]), padding=(0, k // 2, 0, k // 2)))
        case "pool":
            k = draw(st.sampled_from([3, 3, 5]))
            return (MaxPool((k, k), stride, (k // 2, k // 2)), Conv(out, (1, 1)))
        case "pad first":
            # As TensorFlow pads: the more of it at the end.
            y, x = (0 if t == 2 else 1 for t in stride)
            pad = Pad((y, x, 2 - y, 2 - x), style=draw(st.sampled_from(["function", "module"])))
            return (pad, Conv(out, (3, 3), stride))
    return (draw(_keeping(dialect, out, stride)),)


@st.composite
def _keeping(draw: Any, dialect: Dialect, out: int, stride: Pair) -> Conv:
    """Draw a convolution that gives one cell for each `stride` cells, begun ones too."""
    y, x = kernel = draw(ODD)
    padding = (y // 2, x // 2, y // 2, x // 2)
    return Conv(out, kernel, stride, padding=padding, mode=draw(modes(dialect)))


def _every(here: Map) -> st.SearchStrategy[Pair]:
    return pairs(1, 1, 2) if min(here.extent) > 10 else st.just((1, 1))


@st.composite
def residuals(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw a body beside the map itself, or beside a shortcut that strides along."""
    kind = draw(st.sampled_from(["add", "add", "multiply", "multiply", "subtract", "maximum"]))
    stride = draw(_every(here))
    identity = stride == (1, 1) and draw(st.booleans())
    out = here.channels if identity else draw(st.integers(here.channels, here.channels + 2))
    body = draw(branches(here, dialect, stride, out))
    plain = not draw(one_in(4))
    shortcut = () if identity else draw(branches(here, dialect, stride, out, plain))
    return (Merge(body, kind, shortcut), *draw(_activation()))


@st.composite
def concatenations(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw branches side by side."""
    stride = draw(_every(here))
    parts = [draw(branches(here, dialect, stride, draw(st.integers(1, 2))))]
    for _ in range(draw(st.integers(1, 2))):
        plain = draw(st.booleans())
        parts.append(draw(branches(here, dialect, stride, draw(st.integers(1, 2)), plain)))
    return (Concat(tuple(draw(st.permutations(parts)))), *draw(_activation()))


@st.composite
def shares(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw what deals the channels out: to one body and another, or in another order."""
    match draw(st.sampled_from(["split", "twice", "shuffle"])):
        case "split":
            size = -(-here.channels // 2)
            if size == here.channels:
                raise DoesNotFitError("one channel has no halves")
            half = replace(here, channels=size)
            first = draw(branches(half, dialect, (1, 1), draw(st.integers(1, 2))))
            return (Split(first, (), draw(st.sampled_from(["chunk", "split", "slice"]))),)
        case "twice":
            return (Twice(draw(_keeping(dialect, here.channels, (1, 1)))),)
    divisors = [g for g in range(1, here.channels + 1) if here.channels % g == 0]
    return (Shuffle(draw(st.sampled_from(divisors))),)


def _activation() -> st.SearchStrategy[tuple[Spec, ...]]:
    return st.sampled_from([(), (Pointwise("relu"),), (WIDE,)])


# ---------------------------------------------------------------------------------------------
# Other layers


@st.composite
def others(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw a slice, a layer that sees one cell at a time, or cells in the place of one."""
    match draw(st.sampled_from(["slice", "slice", "simple", "simple", "transposed"])):
        case "slice":
            return (Slice(draw(_cuts), draw(_cuts)),)
        case "transposed" if max(here.extent) < 24:
            size = draw(pairs(1, 2))
            if draw(st.booleans()):
                return (Upsample(size),)
            return (ConvTranspose(draw(st.integers(1, 2)), size, size),)
    return (draw(simple(here, dialect)),)


CUTS = (
    *((0, None, 1), (0, None, 1), (0, None, 2), (0, None, 3), (1, None, 2), (1, -1, 1)),
    *((2, None, 1), (0, -1, 1), (1, -2, 2), (-12, None, 1), (0, 11, 1)),
)
_cuts = st.sampled_from(CUTS)


@st.composite
def endings(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw what a window does on its own, late in a network, and perhaps a layer behind it."""
    kinds = ["gate", "norm", "no rule"] if dialect.opset >= 11 else ["gate"]
    match draw(st.sampled_from(kinds)):
        case "gate":
            ending: Spec = Gate()
        case "norm":
            divisors = [g for g in range(1, here.channels + 1) if here.channels % g == 0]
            ending = GroupNorm(draw(st.sampled_from(divisors)))
        case _:
            ending = Unshared(draw(st.sampled_from(dialect.unshared)))
    try:
        made = fitting((ending,), here, dialect)
        if draw(st.booleans()):
            behind = draw(convolutions(after_all(made, here), dialect))
            made += fitting(behind, after_all(made, here), dialect)
    except DoesNotFitError:
        return fitting((Gate(),), here, dialect)
    return made


# ---------------------------------------------------------------------------------------------
# Heads


@st.composite
def padded_heads(draw: Any, here: Map, dialect: Dialect) -> tuple[tuple[Spec, ...], Spec]:
    """Draw (layers that end the trunk, the layer that makes a vector)."""
    flat = Flatten(draw(st.sampled_from(ORDERS)), draw(st.sampled_from(dialect.flatten_styles)))
    style = draw(st.sampled_from(dialect.global_styles))
    kinds = ["flatten"] * 4 + ["mean", "mean", "sum", "max", "max", "convolution", "convolution"]
    match draw(st.sampled_from([*kinds, "bins", "adaptive", "adaptive", "one axis", "gram"])):
        case "mean":
            end = fitting(to_powers_of_two(here), here, dialect)
            return end, GlobalPool("mean", style)
        case "sum":
            return (), GlobalPool("sum", style)
        case "max":
            return (), GlobalPool("max", style)
        case "bins":
            end = fitting(to_powers_of_two(here), here, dialect)
            bins, kind = draw(pairs(2, 4, 1)), draw(st.sampled_from(["average", "max"]))
            return (*end, AdaptivePool(bins, kind)), flat
        case "adaptive":
            kind = draw(st.sampled_from(["average", "max"]))
            choices = [
                (y, x)
                for y in range(1, 10)
                for x in range(1, 10)
                if has_bins((y, x), kind, here, dialect)
            ]
            if choices:
                return (AdaptivePool(draw(st.sampled_from(choices)), kind),), flat
        case "convolution":
            styles = ["squeeze", "index"] if dialect.onnx else ["squeeze", "index", "both"]
            less = draw(st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 0), (1, 1)]))
            kernel = (here.rows - less[0], here.columns - less[1])
            end = fitting((Conv(draw(st.integers(1, 3)), kernel),), here, dialect)
            return end, flat if any(less) else draw(st.sampled_from([*map(Squeeze, styles), flat]))
        case "one axis":
            return (), PoolOneAxis(draw(st.sampled_from(["rows", "columns"])))
        case "gram":
            return (), Gram()
    return (), flat


def to_powers_of_two(here: Map) -> tuple[Spec, ...]:
    """Return layers that leave so many rows and columns, with the borders still on them.

    Only their mean is exact: see Note [Exact arithmetic] in `specs`.
    """
    less = [n - (1 << n.bit_length() - 1) for n in here.extent]
    more = [(1 << (n - 1).bit_length()) - n for n in here.extent]
    pads = [b if b < a else 0 for a, b in zip(less, more, strict=True)]
    kernel = [1 if b < a else a + 1 for a, b in zip(less, more, strict=True)]
    top, left = (n // 2 for n in pads)
    return (
        Conv(
            here.channels,
            (kernel[0], kernel[1]),
            groups=here.channels,
            padding=(top, left, pads[0] - top, pads[1] - left),
        ),
    )


# ---------------------------------------------------------------------------------------------
# Steps and images


@st.composite
def padded_steps(draw: Any, network: Network) -> int | tuple[int, int] | None:
    """Draw a step: none, one, divisors of the stride, multiples, odd ones, more than the window."""

    def one(stride: int, window: int) -> st.SearchStrategy[int]:
        divisors = [n for n in range(1, stride + 1) if stride % n == 0]
        return st.one_of(
            st.sampled_from(divisors),
            st.sampled_from([stride, 2 * stride, 3 * stride]),
            st.sampled_from([1, 3, 5, 7, 9]),
            st.integers(1, window),
            st.just(stride),
        )

    (y, x), (h, w) = network.stride, network.window
    match draw(st.integers(0, 7)):
        case 0:
            return None
        case 1:
            return 1
        case 2:
            return draw(one(y, h))
        case 3:
            return draw(st.sampled_from([(h + 1, w + 3), (h + 2, x), (y, w + 1), (h, w)]))
    return draw(st.tuples(one(y, h), one(x, w)))


@st.composite
def padded_sizes(
    draw: Any, network: Network, step: int | tuple[int, int] | None
) -> tuple[int, int]:
    """Draw an image size: one to seven windows a side, and pixels that belong to none."""
    sizes = []
    steps = network.stride if step is None else step if isinstance(step, tuple) else (step, step)
    for window, distance in zip(network.window, steps, strict=True):
        count = draw(st.sampled_from([1, 2, 3, 4, 5, 7]))
        more = (count - 1) * distance + draw(st.integers(0, min(distance - 1, 3)))
        sizes.append(window + (min(more, 12) if step is None else min(more, 90)))
    return sizes[0], sizes[1]
