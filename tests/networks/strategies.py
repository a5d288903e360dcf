"""What draws random window classifiers, steps and image sizes (hypothesis).

Layers are drawn one after the other, each among those that fit behind the map that stands; where
a sum could leave exact arithmetic, a clamp comes first (Note [Exact arithmetic] in `specs`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from networks.specs import (
    POINTWISE,
    AdaptivePool,
    AvgPool,
    BatchNorm,
    ChannelsLastLinear,
    Concat,
    Conv,
    ConvTranspose,
    DoesNotFitError,
    Dropout,
    Flatten,
    Gate,
    GlobalPool,
    Gram,
    Linear,
    Map,
    MaxPool,
    Merge,
    Network,
    Pad,
    Pointwise,
    PoolOneAxis,
    PRelu,
    Scale,
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

CLAMP = Pointwise("hardtanh")
ORDERS = ("CHW", "CHW", "HWC", "HWC", "WHC", "HCW", "CWH", "WCH")


@dataclass(frozen=True)
class Dialect:
    """What one framework has, and the ways it can be written.

    Attributes
    ----------
    shareable
        Draw only layers whose maps all windows can share, whatever lies around a window.
    opset
        The operator set; the oldest lack some attributes (ONNX).
    clamps
        What may come ahead of a layer whose sums would leave exact arithmetic; the first that
        does is taken.
    """

    flatten_styles: tuple[str, ...]
    global_styles: tuple[str, ...]
    linear_styles: tuple[str, ...]
    same: tuple[str, ...]
    unshared: tuple[str, ...]
    onnx: bool
    opset: int = 17
    shareable: bool = False
    clamps: tuple[Spec, ...] = (CLAMP,)


TORCH = Dialect(
    flatten_styles=(
        "flatten",
        "nn.Flatten",
        "view(-1, M)",
        "view(N, -1)",
        "reshape(N, -1)",
        "reshape(N, M)",
        "flatten cells first",
    ),
    global_styles=("reduce", "adaptive", "keepdim", "one axis, then the other", "flat", "pool"),
    linear_styles=("module", "functional", "matmul", "addmm"),
    same=("same",),
    unshared=("cumsum", "sort", "flip", "roll", "transpose", "bilinear", "space to depth"),
    onnx=False,
)

ONNX = Dialect(
    flatten_styles=(
        "Flatten",
        "Reshape [0, -1]",
        "Reshape [-1, M]",
        "Reshape [0, M]",
        "Reshape by shape",
    ),
    global_styles=("reduce", "adaptive", "keepdim", "one axis, then the other", "pool"),
    linear_styles=("Gemm transB", "Gemm", "Gemm scaled", "MatMul and Add", "MatMul"),
    same=("SAME_UPPER", "SAME_LOWER", "VALID"),
    unshared=("cumsum", "flip", "transpose", "bilinear", "space to depth"),
    onnx=True,
)


def pairs(*values: int) -> st.SearchStrategy[tuple[int, int]]:
    """Return a strategy for (rows, columns), equal more often than not."""
    one = st.sampled_from(values)
    return st.one_of(one.map(lambda n: (n, n)), st.tuples(one, one))


def one_in(n: int) -> st.SearchStrategy[bool]:
    """Return a strategy that says yes about once in `n` times."""
    return st.integers(0, n - 1).map(lambda k: k == n - 1)


# ---------------------------------------------------------------------------------------------
# Layers


@st.composite
def convolutions(draw: Any, here: Map, dialect: Dialect, keeps: bool = False) -> Spec:
    """Draw a convolution; `keeps` keeps the channels."""
    depthwise = draw(one_in(5))
    groups = here.channels if depthwise else draw(st.sampled_from([1, 1, 1, 2]))
    out = here.channels if keeps else draw(st.sampled_from([1, 2, 3, 4]))
    if depthwise and not keeps:
        out = here.channels * draw(st.sampled_from([1, 2]))
    stride = draw(pairs(1, 1, 1, 2, 3))
    padding: Any = (0, 0, 0, 0)
    mode = "zeros"
    if not dialect.shareable:
        match draw(st.integers(0, 5)):
            case 0:
                y, x = draw(pairs(1, 2))
                padding = (y, x, y, x)
                modes = ["zeros", "zeros", "reflect", "replicate"]
                mode = draw(st.sampled_from(modes if dialect.onnx else [*modes, "circular"]))
            case 1:
                padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
            case 2:
                padding = draw(st.sampled_from(dialect.same))
                stride = stride if dialect.onnx else (1, 1)
    untold = dialect.onnx and isinstance(padding, str)  # ONNX Runtime: no dilation there
    styles = ["module", "module", "functional"]
    return Conv(
        out,
        kernel=draw(pairs(3, 3, 1, 2, 4)),
        stride=stride,
        dilation=(1, 1) if untold else draw(pairs(1, 1, 1, 2)),
        groups=groups,
        padding=padding,
        mode=mode,
        bias=draw(st.booleans()),
        style=draw(st.sampled_from(styles if padding == (0, 0, 0, 0) else [*styles, "pad first"])),
    )


@st.composite
def pools(draw: Any, here: Map, dialect: Dialect) -> Spec:
    plain = dialect.shareable
    padding = (0, 0) if plain else draw(st.sampled_from([(0, 0), (0, 0), (1, 1), (0, 1), (1, 0)]))
    ceil = not plain and draw(st.booleans())
    stride = draw(pairs(1, 2, 2, 3))
    if draw(st.booleans()):
        return MaxPool(draw(pairs(2, 3)), stride, padding, draw(pairs(1, 1, 1, 2)), ceil)
    divisor = None if dialect.onnx else draw(st.sampled_from([None, None, 1, 2, 8]))
    sizes = (2, 3) if divisor else (1, 2, 2, 4)
    return AvgPool(draw(pairs(*sizes)), stride, padding, ceil, draw(st.booleans()), divisor)


@st.composite
def pads(draw: Any, here: Map, dialect: Dialect) -> Spec:
    modes = ["zeros", "value", "reflect", "replicate"]
    mode = draw(st.sampled_from(modes))
    amounts = draw(st.tuples(*[st.integers(0, 2)] * 4))
    value = draw(st.integers(-2, 2)) if mode == "value" else 0
    return Pad(amounts, mode, value, draw(st.sampled_from(["function", "module"])))


@st.composite
def slices(draw: Any, here: Map, dialect: Dialect) -> Spec:
    cuts = [(0, None, 1), (1, None, 1), (0, -1, 1), (1, -1, 1), (0, None, 2), (1, None, 2)]
    cuts += [(2, -1, 1), (0, 4, 1), (-5, None, 1), (-5, -1, 2)]
    return Slice(draw(st.sampled_from(cuts)), draw(st.sampled_from(cuts)))


@st.composite
def transposed(draw: Any, here: Map, dialect: Dialect) -> Spec:
    if draw(st.booleans()):
        style = draw(st.sampled_from(["scale", "size", "exact"]))
        return Upsample(draw(pairs(1, 2, 3)), style)
    out = draw(st.sampled_from([1, 2, 3]))
    if dialect.shareable:
        size = draw(pairs(1, 2, 3))
        return ConvTranspose(out, size, size)
    return ConvTranspose(
        out,
        kernel=draw(pairs(1, 2, 3, 4)),
        stride=draw(pairs(1, 2, 2, 3)),
        padding=draw(pairs(0, 0, 1)),
        more=draw(pairs(0, 0, 0, 1)),
        dilation=draw(pairs(1, 1, 1, 2)),
        groups=draw(st.sampled_from([1, 1, here.channels])),
        bias=draw(st.booleans()),
    )


@st.composite
def bodies(draw: Any, here: Map, dialect: Dialect, keeps: bool = False) -> tuple[Spec, ...]:
    """Draw one to three layers for a branch, which may keep the channels."""
    layers: tuple[Spec, ...] = ()
    for last in draw(st.sampled_from([(True,), (False, True)])):
        conv = draw(convolutions(here, dialect, keeps=keeps and last))
        layers += fitting((conv,), after_all(layers, here), dialect)
        if draw(st.booleans()):
            layers += fitting((draw(pointwise()),), after_all(layers, here), dialect)
    return layers


def pointwise() -> st.SearchStrategy[Spec]:
    styles = st.sampled_from(["module", "function"])
    return st.builds(Pointwise, st.sampled_from(POINTWISE), styles)


@st.composite
def blocks(draw: Any, here: Map, dialect: Dialect) -> Spec:
    match draw(st.sampled_from(["merge", "concat", "split", "twice", "shuffle", "dense"])):
        case "merge":
            kinds = ["add", "add", "subtract", "multiply", "maximum"]
            body = draw(bodies(here, dialect, keeps=True))
            return Merge(body, draw(st.sampled_from(kinds)))
        case "concat":
            count = draw(st.integers(2, 3))
            return Concat(tuple(draw(bodies(here, dialect)) for _ in range(count)))
        case "dense":
            return Concat(((), draw(bodies(here, dialect))))
        case "split":
            size = -(-here.channels // 2)
            first, second = (
                draw(bodies(replace(here, channels=n), dialect))
                if n and draw(st.booleans())
                else ()
                for n in (size, here.channels - size)
            )
            return Split(first, second, draw(st.sampled_from(["chunk", "split", "slice"])))
        case "twice":
            return Twice(draw(convolutions(here, dialect, keeps=True)))
    divisors = [g for g in range(1, here.channels + 1) if here.channels % g == 0]
    return Shuffle(draw(st.sampled_from(divisors)))


@st.composite
def simple(draw: Any, here: Map, dialect: Dialect) -> Spec:
    match draw(
        st.sampled_from(["norm", "pointwise", "pointwise", "prelu", "scale", "drop", "last"])
    ):
        case "norm":
            return BatchNorm(draw(st.sampled_from([0.0, 0.125])), draw(st.booleans()))
        case "pointwise":
            return draw(pointwise())
        case "prelu":
            return PRelu(draw(st.booleans()))
        case "scale":
            return Scale()
        case "drop":
            return Dropout(draw(st.sampled_from(["module", "channels", "function"])))
    return ChannelsLastLinear(draw(st.integers(1, 3)))


@st.composite
def endings(draw: Any, here: Map, dialect: Dialect) -> Spec:
    """Draw what ends the sharing in any case."""
    if draw(one_in(3)):
        return Gate()
    return Unshared(draw(st.sampled_from(dialect.unshared)))


@st.composite
def trunks(draw: Any, here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    kinds = [convolutions, convolutions, convolutions, pools, simple, simple, blocks, slices]
    kinds += [transposed] if dialect.shareable else [pads, transposed, endings]
    layers: tuple[Spec, ...] = ()
    at = here
    for index in range(draw(st.integers(1, 5))):
        kind = convolutions if index == 0 else draw(st.sampled_from(kinds))
        if kind is pools and dialect.onnx and ends_in_padding(layers):
            continue  # Note [Padding ahead of a pool]
        try:
            more = fitting((draw(kind(at, dialect)),), at, dialect)
        except DoesNotFitError:
            continue
        layers, at = layers + more, after_all(more, at)
    return layers


def ends_in_padding(layers: tuple[Spec, ...]) -> bool:
    """Say whether padding is the last layer that ONNX Runtime's optimizer may leave standing.

    Note [Padding ahead of a pool]: ONNX Runtime 1.31 joins a Pad of zeros with the MaxPool behind
    it, which then takes the maximum with minus infinity instead of zero, or fails where the
    padding is not smaller than the kernel. What it makes of such a model is no oracle.
    """
    for layer in reversed(layers):
        if not isinstance(layer, (Dropout, Slice)):
            return isinstance(layer, Pad)
    return False


def fitting(layers: tuple[Spec, ...], here: Map, dialect: Dialect) -> tuple[Spec, ...]:
    """Return the layers, behind a clamp if their numbers need it; or say that they do not fit."""
    if dialect.onnx and _since_all(layers, here) > dialect.opset:
        raise DoesNotFitError("this operator set does not have it")
    for clamp in ((), *((each,) for each in dialect.clamps)):
        if stand((*clamp, *layers), here):
            layers = (*clamp, *layers)
            break
    made = after_all(layers, here)
    if dialect.shareable and not made.shared:
        raise DoesNotFitError("windows could not share it")
    return layers


def _since_all(layers: tuple[Spec, ...], here: Map) -> int:
    """Return the ONNX operator set that first can say all of these layers."""
    first = 9
    for layer in layers:
        first = max(first, _since(layer, here))
        here = replace(layer.after(replace(here, bound=1.0, unit=1.0)), bound=1.0, unit=1.0)
    return first


def _since(layer: Spec, here: Map) -> int:
    """Return the ONNX operator set that first can say this layer."""
    match layer:
        case Merge(body=body, shortcut=shortcut):
            return max(_since_all(body, here), _since_all(shortcut, here))
        case Concat(bodies=bodies):
            return max(_since_all(body, here) for body in bodies)
        case Pad(mode="circular") | Conv(mode="circular"):
            return 19
        case MaxPool(ceil=True) | AvgPool(ceil=True) if _starts_outside(layer, here):
            return 99  # ONNX and ONNX Runtime count such a position differently
        case MaxPool(ceil=True) | AvgPool(ceil=True):
            return 10
        case MaxPool(dilation=dilation) if dilation != (1, 1):
            return 10
        case Slice(rows=(_, _, y), columns=(_, _, x)) if (y, x) != (1, 1):
            return 10
        case Unshared(kind="flip"):
            return 10
        case Unshared(kind="cumsum"):
            return 11
    return 9


def _starts_outside(layer: MaxPool | AvgPool, here: Map) -> bool:
    """Say whether rounding up would add a position that starts behind the last cell."""
    return any(
        (-(-(n + sum(pads) - d * (k - 1) - 1) // t)) * t >= n + pads[0]
        for n, k, t, d, pads in layer.axes(here)
    )


# ---------------------------------------------------------------------------------------------
# Heads


@st.composite
def heads(draw: Any, here: Map, dialect: Dialect) -> tuple[tuple[Spec, ...], Spec]:
    """Draw (layers that end the trunk, the layer that makes a vector)."""
    flat = Flatten(draw(st.sampled_from(ORDERS)), draw(st.sampled_from(dialect.flatten_styles)))
    style = draw(st.sampled_from(dialect.global_styles))
    kinds = ["flatten", "flatten", "flatten", "mean", "sum", "max", "adaptive", "convolution"]
    kinds += [] if dialect.shareable else ["one axis", "gram"]
    match draw(st.sampled_from(kinds)):
        case "mean":
            rows, columns = ((0, 1 << (n.bit_length() - 1), 1) for n in here.extent)
            whole = here.extent == (rows[1], columns[1])
            return () if whole else (Slice(rows, columns),), GlobalPool("mean", style)
        case "sum":
            return (), GlobalPool("sum", style)
        case "max":
            return (), GlobalPool("max", style)
        case "adaptive":
            kind = draw(st.sampled_from(["average", "max"]))
            choices = [
                (y, x)
                for y in range(1, 6)
                for x in range(1, 6)
                if has_bins((y, x), kind, here, dialect)
            ]
            if choices:
                return (AdaptivePool(draw(st.sampled_from(choices)), kind),), flat
        case "convolution":
            styles = ["squeeze", "index"] if dialect.onnx else ["squeeze", "index", "both"]
            conv = Conv(draw(st.integers(1, 3)), kernel=here.extent)
            return (conv,), draw(st.sampled_from([*map(Squeeze, styles), flat]))
        case "one axis":
            return (), PoolOneAxis(draw(st.sampled_from(["rows", "columns"])))
        case "gram":
            return (), Gram()
    return (), flat


def has_bins(bins: tuple[int, int], kind: str, here: Map, dialect: Dialect) -> bool:
    try:
        made = AdaptivePool(bins, kind).after(here)
    except DoesNotFitError:
        return False
    even = all(n % b == 0 for n, b in zip(here.extent, bins, strict=True))
    return even or not (dialect.onnx or (dialect.shareable and not made.shared))


@st.composite
def tails(draw: Any, dialect: Dialect) -> tuple[Spec, ...]:
    """Draw the layers over vectors: one linear layer, or two with something between."""

    def linear(low: int, high: int) -> Linear:
        style = draw(st.sampled_from(dialect.linear_styles))
        return Linear(draw(st.integers(low, high)), style, bias=style != "MatMul")

    last = linear(1, 3)
    if not draw(one_in(3)):
        return (last,)
    between: list[Spec] = [linear(2, 4)]
    if draw(st.booleans()):
        between.append(BatchNorm(draw(st.sampled_from([0.0, 0.125]))))
    between.append(draw(st.sampled_from([CLAMP, Pointwise("relu"), Pointwise("leaky"), PRelu()])))
    if draw(one_in(4)):
        width = next(layer.out for layer in between if isinstance(layer, Linear))
        between += [Twice(linear(width, width))]
    if draw(st.booleans()):
        between.append(Dropout())
    return (*between, last)


# ---------------------------------------------------------------------------------------------
# Networks, steps, images


@st.composite
def networks(draw: Any, dialect: Dialect) -> Network:
    """Draw a window classifier of this dialect."""
    if dialect.onnx:
        dialect = replace(dialect, opset=draw(st.integers(9, 21)))
    first = Map(draw(st.integers(1, 3)), draw(st.integers(6, 20)), draw(st.integers(6, 20)))
    trunk = draw(trunks(first, dialect))
    last = after_all(trunk, first)
    end, head = draw(heads(last, dialect))
    if dialect.onnx and ends_in_padding(trunk):
        trunk += (Pointwise("relu"),)  # Note [Padding ahead of a pool]
    trunk += fitting(end, last, dialect) if end else ()
    return draw(wholes(dialect, first, trunk, head))


@st.composite
def wholes(draw: Any, dialect: Dialect, first: Map, trunk: tuple[Spec, ...], head: Spec) -> Network:
    """Draw what else there is to a network of this trunk and this head."""
    for clamp in dialect.clamps:
        if not stand((head,), after_all(trunk, first)):
            trunk += (clamp,)
    network = Network(
        window=first.extent,
        channels=first.channels,
        trunk=trunk,
        head=head,
        tail=(),
        taps=(draw(st.sampled_from(range(len(trunk)))),) if trunk and draw(one_in(6)) else (),
        outputs=draw(st.sampled_from(["array"] * 4 + ["tuple", "dict", "list"])),
        seed=draw(st.integers(0, 999)),
        style=draw(st.sampled_from(["sequential", "functional"])),
        double=not dialect.onnx and draw(one_in(10)),
        batch=draw(st.sampled_from([None, None, 1])) if dialect.onnx else None,
        opset=dialect.opset,
    )
    vector = network.collected()
    if dialect.shareable and not vector.shared:
        network = replace(network, taps=())
        vector = network.collected()
    tail: tuple[Spec, ...] = ()
    for layer in draw(tails(dialect)):
        more = fitting((layer,), vector, dialect)
        tail, vector = tail + more, after_all(more, vector)
    network = replace(network, tail=tail)
    if (
        dialect.shareable
        and len(tail) == 1
        and network.collected().channels > head_channels(network)
    ):
        return replace(network, outputs="array")  # whole windows, flattened: nothing to share
    return network


def head_channels(network: Network) -> int:
    """Return the channels of the last map: a vector that is longer holds cells of the window."""
    return network.maps()[-1].channels


def stand(layers: tuple[Spec, ...], here: Map) -> bool:
    """Say whether these layers can stand behind this map."""
    try:
        after_all(layers, here)
    except DoesNotFitError:
        return False
    return True


@st.composite
def steps(draw: Any, network: Network) -> int | tuple[int, int] | None:
    """Draw a step: none, divisors of the network's stride, multiples, others; also unequal."""

    def one(stride: int) -> st.SearchStrategy[int]:
        divisors = [n for n in range(1, stride + 1) if stride % n == 0]
        return st.one_of(
            st.sampled_from(divisors), st.sampled_from([stride, 2 * stride]), st.integers(1, 7)
        )

    y, x = network.stride
    match draw(st.integers(0, 3)):
        case 0:
            return None
        case 1:
            return draw(one(y))
    return draw(st.tuples(one(y), one(x)))


def sizes(network: Network) -> st.SearchStrategy[tuple[int, int]]:
    """Draw an image size: the window itself, or up to 17 pixels more each way."""
    more = st.one_of(st.just(0), st.integers(1, 17), st.integers(1, 17))
    h, w = network.window
    return st.tuples(more.map(lambda n: h + n), more.map(lambda n: w + n))
