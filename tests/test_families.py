"""Every family of networks by name: equal to the crops, and shared where a rule says so.

The families are those of the issue that this library answers. Each has a small network written
by hand, in whole numbers (Note [Exact arithmetic] in `networks.specs`), and is converted at its
own step, at step 1, at twice its stride, and at different steps for rows and columns.

- `SHARED`: a rule does it. No operation may run once per window, and there is no reason to list.
- `PER_WINDOW`: what windows cannot share; `report.reasons` must name the operation.
- `CLOSE`: what is not exact in whole numbers (an exponential, a root): held against the crops
  within a small multiple of the classifier's difference from itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fullconv
from networks.checks import (
    Form,
    Step,
    assert_shared,
    compare,
    compare_closely,
    convert,
    images_for,
    in_onnx,
    in_torch,
    traced,
)
from networks.specs import (
    POINTWISE,
    AdaptivePool,
    AvgPool,
    BatchNorm,
    ChannelsLastLinear,
    Concat,
    Conv,
    ConvTranspose,
    Dropout,
    Flatten,
    Gate,
    GlobalPool,
    Gram,
    Linear,
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
)
from networks.strategies import ONNX, TORCH, Dialect
from oracle import onnx_classifier, torch_classifier

# PyTorch's own remark about the speed of such a layer, once per process.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths:UserWarning"
)

RELU = Pointwise("relu")
CLAMP = Pointwise("hardtanh")
ONES = (1, 1, 1, 1)

# Every sum of a head's products may be taken in another order; their differences add up to a few
# times what another batch size makes of them.
CLOSE_MULTIPLE = 8


def network(
    *trunk: Spec,
    head: Spec | None = None,
    tail: tuple[Spec, ...] | None = None,
    window: tuple[int, int] = (9, 12),
    **more: Any,
) -> Network:
    """Return a classifier of 2 channels with this trunk; flatten and one linear layer behind."""
    return Network(window, 2, trunk, head or Flatten(), tail or (Linear(3),), seed=7, **more)


def steps_of(net: Network) -> list[Step]:
    """Return the network's own step, the densest, a multiple, and one that differs by axis."""
    y, x = net.stride
    if net.scores.every != (1, 1):  # nearer windows would meet a kernel on other cells
        return [None, (2 * y, 2 * x), (2 * y, x)]
    return [None, 1, (2 * y, 2 * x), (y, 3)]


def in_the_words_of(net: Network, form: Form) -> Network:
    """Return a network whose head and linear layers are styled as the framework can."""
    dialect = TORCH if form is in_torch else ONNX

    def said(layer: Spec) -> Spec:
        styles = {
            Linear: dialect.linear_styles,
            GlobalPool: dialect.global_styles,
            Flatten: dialect.flatten_styles,
        }.get(type(layer))
        if isinstance(layer, Twice):
            return Twice(said(layer.layer))
        return layer if not styles or layer.style in styles else replace(layer, style=styles[0])

    return replace(net, head=said(net.head), tail=tuple(said(layer) for layer in net.tail))


def cases(both: dict[str, Any], in_one: dict[str, Any], in_other: dict[str, Any]) -> list[Any]:
    """Return one case for each family and framework: those of both, of PyTorch, of ONNX."""
    made = []
    for word, form, table in (
        ("torch", in_torch, both | in_one),
        ("onnx", in_onnx, both | in_other),
    ):
        for name, entry in table.items():
            net, *rest = entry if isinstance(entry, tuple) else (entry,)
            stated = in_the_words_of(net, form)
            made.append(pytest.param(form, stated, *rest, id=f"{word}: {name}"))
    return made


# ---------------------------------------------------------------------------------------------
# Shared by all windows

SHARED: dict[str, Network] = {
    "one linear layer": network(),
    "convolution": network(Conv(3), RELU),
    "convolution with a flat kernel": network(Conv(3, kernel=(1, 4)), RELU),
    "strided convolution": network(Conv(3, stride=(2, 3)), RELU),
    "dilated convolution": network(Conv(3, dilation=(2, 1)), RELU),
    "strided and dilated convolution": network(Conv(3, stride=(2, 2), dilation=(2, 3)), RELU),
    "grouped convolution": network(Conv(4, groups=2), RELU),
    "depthwise convolution": network(Conv(2, groups=2), Conv(4, kernel=(1, 1))),
    "two strides": network(Conv(3, stride=(2, 2)), Conv(2, kernel=(2, 2), stride=(2, 1))),
    "transposed convolution that tiles": network(Conv(3, stride=(2, 2)), ConvTranspose(2)),
    "upsampling": network(Conv(3, stride=(2, 2)), Upsample(), Conv(2)),
    "upsampling by other factors": network(Conv(3, stride=(1, 2)), Upsample((3, 1)), Conv(2)),
    "upsampling to a size": network(Conv(3, stride=(2, 2)), Upsample((2, 2), "size"), Conv(2)),
    "upsampling by the nearest middle": network(Conv(3), Upsample((2, 3), "exact"), Conv(2)),
    "transposed convolution of one cell": network(ConvTranspose(2, (1, 1), (1, 1)), RELU),
    "explicit padding of nothing": network(Conv(3), Pad((0, 0, 0, 0))),
    "max pool": network(Conv(3), MaxPool()),
    "overlapping max pool": network(Conv(3), MaxPool((3, 3), (2, 2))),
    "dilated max pool": network(Conv(3), MaxPool((2, 3), (1, 2), dilation=(3, 2))),
    "max pool with ceil_mode where nothing is cut": network(
        Conv(3, kernel=(2, 3)), MaxPool(ceil=True)
    ),
    "max pool that leaves pixels unread": network(Conv(3), MaxPool((2, 2), (4, 4))),
    "average pool": network(Conv(3), AvgPool()),
    "average pool that does not count padding": network(Conv(3), AvgPool(count_pads=False)),
    "batch norm": network(Conv(3, bias=False), BatchNorm(), CLAMP),
    "batch norm with epsilon": network(Conv(3), BatchNorm(0.125, affine=False), CLAMP),
    "dropout": network(Conv(3), Dropout("channels"), CLAMP, Dropout()),
    "prelu": network(Conv(3), PRelu()),
    "prelu with one slope": network(Conv(3), PRelu(per_channel=False)),
    "scale and shift by channel": network(Conv(3), Scale()),
    "residual": network(Conv(3), Merge((Conv(3), RELU, Conv(3, kernel=(1, 1))))),
    "difference": network(Conv(3), Merge((Conv(3),), "subtract")),
    "product of two maps": network(Conv(3), CLAMP, Merge((Conv(3), CLAMP), "multiply")),
    "maximum of two maps": network(Conv(3), Merge((Conv(3),), "maximum")),
    "dense concatenation": network(Conv(2), CLAMP, Concat(((), (Conv(2),)))),
    "inception branches": network(
        Concat(((Conv(2, kernel=(1, 1)),), (Conv(3),), (MaxPool((3, 3), (1, 1)),)))
    ),
    "channel shuffle": network(Conv(6), Shuffle(3)),
    "channel chunk": network(Conv(4), Split((), (Conv(2),))),
    "channel split": network(Conv(3), Split((Conv(2),), (), "split")),
    "channel slice": network(Conv(3), Split((Conv(1),), (RELU,), "slice")),
    "spatial slice": network(Conv(3), Slice((1, -1, 1), (0, None, 2))),
    "spatial slice from the end": network(Conv(3), Slice((-4, None, 1), (-6, -1, 2))),
    "linear layer over the channels": network(Conv(3), ChannelsLastLinear(2)),
    "a convolution used twice": network(Conv(3), CLAMP, Twice(Conv(3, kernel=(2, 2)))),
    "even adaptive average": network(Conv(3, kernel=(2, 5)), AdaptivePool((4, 4))),
    "even adaptive maximum": network(Conv(3, kernel=(1, 1)), AdaptivePool((3, 2), "max")),
    "two linear layers": network(Conv(3), tail=(Linear(5), RELU, Linear(2))),
    "three linear layers": network(Conv(2), tail=(Linear(4), CLAMP, Linear(4), CLAMP, Linear(2))),
    "a linear layer used twice": network(
        Conv(3), tail=(Linear(4), CLAMP, Twice(Linear(4)), Linear(2))
    ),
    "batch norm in one dimension": network(Conv(3), tail=(Linear(4), BatchNorm(), Linear(3))),
    "dropout in the head": network(Conv(3), tail=(Linear(4), Dropout(), RELU, Linear(3))),
    "prelu in the head": network(Conv(3), tail=(Linear(4), PRelu(), Linear(3))),
    "several maps of one pitch": network(Conv(2), Conv(2), taps=(0,)),
    "several maps of two pitches": network(Conv(2), Conv(3, stride=(2, 2)), taps=(0,)),
    "the image itself beside the last map": network(RELU, Conv(3, stride=(2, 2)), taps=(0,)),
    "squeeze": network(Conv(3), Conv(4, kernel=(7, 10)), head=Squeeze()),
    "the only cell by its index": network(Conv(3), Conv(4, kernel=(7, 10)), head=Squeeze("index")),
    "tuple": network(Conv(3), tail=(Linear(4), RELU, Linear(3)), outputs="tuple"),
    "list": network(Conv(3), tail=(Linear(4), RELU, Linear(3)), outputs="list"),
    "dict": network(Conv(3), tail=(Linear(4), RELU, Linear(3)), outputs="dict"),
}
SHARED |= {kind: network(Conv(3), Pointwise(kind)) for kind in POINTWISE}

SHARED_IN_TORCH: dict[str, Network] = {
    "functional convolution": network(Conv(3, style="functional"), style="functional"),
    "padding rule that adds nothing": network(Conv(3, kernel=(1, 1), padding="same")),
    "average pool with a divisor": network(Conv(3), AvgPool((3, 3), (2, 2), divisor=8)),
    "float64": network(Conv(3, stride=(2, 2)), RELU, double=True),
    "uneven adaptive average": network(Conv(3, kernel=(3, 6)), AdaptivePool((6, 6))),
    "uneven adaptive maximum": network(Conv(3), AdaptivePool((3, 4), "max")),
    "squeeze of both axes": network(Conv(3), Conv(4, kernel=(7, 10)), head=Squeeze("both")),
}
SHARED_IN_TORCH |= {
    f"{kind} as a function": network(Conv(3), Pointwise(kind, "function")) for kind in POINTWISE
}

SHARED_IN_ONNX: dict[str, Network] = {
    "auto_pad VALID": network(Conv(3, stride=(2, 2), padding="VALID")),
    "linear layer without bias": network(Conv(3), tail=(Linear(3, "MatMul", bias=False),)),
    "fixed batch": network(Conv(3, stride=(2, 2)), batch=1),
    "fixed batch in the shape": network(Conv(3), head=Flatten(style="Reshape [1, M]"), batch=1),
    "height and width left open": network(Conv(3), head=GlobalPool("max"), free_size=True),
}
SHARED_IN_ONNX |= {
    f"operator set {opset}": network(
        Conv(4, kernel=(2, 5)),
        RELU,
        Split((), (Conv(2, kernel=(1, 1)),), "split"),
        Slice((0, 8, 1), (0, None, 1)),
        Dropout(),
        CLAMP,
        head=GlobalPool("mean", "keepdim"),
        opset=opset,
    )
    for opset in range(9, 22)
}


def heads(dialect: Dialect) -> dict[str, Network]:
    """Return a network for each way that a framework has to write a head."""
    made = {
        f"{order} by {style}": network(Conv(3, stride=(2, 2)), head=Flatten(order, style))
        for order in ("CHW", "HWC", "WHC", "CWH")
        for style in dialect.flatten_styles
    }
    made |= {
        f"global {kind} by {style}": network(Conv(3, kernel=(2, 5)), head=GlobalPool(kind, style))
        for kind in ("mean", "sum", "max")
        for style in dialect.global_styles
    }
    return made | {
        f"linear by {style}": network(Conv(3), tail=(Linear(4, style, style != "MatMul"),))
        for style in dialect.linear_styles
    }


SHARED_IN_TORCH |= heads(TORCH)
SHARED_IN_ONNX |= heads(ONNX)


@pytest.mark.parametrize(("form", "net"), cases(SHARED, SHARED_IN_TORCH, SHARED_IN_ONNX))
def test_windows_share_all_of_it_and_equal_their_crops(form: Form, net: Network) -> None:
    model, classify = form(net)
    size = (net.window[0] + 6, net.window[1] + 5)
    images = images_for(net, 2, size, form)
    for step in steps_of(net):
        fcn = convert(net, model, step)
        model = traced(model, images[..., : net.window[0], : net.window[1]])
        compare(fcn, classify, images, net.batch or 64)
        assert_shared(fcn)


# ---------------------------------------------------------------------------------------------
# Shared, but for the cells that see the window's own border

BORDERS: dict[str, Network] = {
    "padded convolution": network(Conv(3, padding=ONES)),
    "padded and strided convolution": network(Conv(3, stride=(2, 2), padding=ONES)),
    "padded twice": network(Conv(2, padding=ONES), CLAMP, Conv(2, padding=ONES)),
    "padding on one side": network(Conv(3, padding=(0, 1, 0, 0))),
    "padding in rows alone": network(Conv(3, padding=(1, 0, 1, 0))),
    "padding of zeros ahead": network(Conv(2), Pad((1, 0, 0, 2)), Conv(2)),
    "padding of another value": network(Conv(2), Pad(ONES, "value", 2), Conv(2)),
    "padding by reflection": network(Conv(2), Pad((2, 1, 1, 0), "reflect"), Conv(2)),
    "reflection on one side": network(Conv(2), Pad((0, 0, 0, 2), "reflect"), Conv(2)),
    "repetition on one side": network(Conv(2), Pad((1, 0, 0, 0), "replicate"), Conv(2)),
    "padding by repetition": network(Conv(2), Pad(ONES, "replicate"), Conv(2)),
    "reflecting convolution": network(Conv(3, padding=ONES, mode="reflect")),
    "repeating convolution": network(Conv(3, padding=ONES, mode="replicate")),
    "upsampling of what is padded": network(
        Conv(3, stride=(2, 2), padding=ONES), Upsample((2, 3)), CLAMP, Conv(2, padding=ONES)
    ),
    "upsampling beside what was before": network(
        Merge((Conv(2, stride=(2, 2), padding=ONES), Upsample())), Conv(2), window=(10, 12)
    ),
    "padded max pool": network(Conv(2), MaxPool(padding=(1, 1))),
    "max pool with ceil_mode": network(Conv(2), MaxPool((3, 3), ceil=True)),
    "padded average pool": network(Conv(2), AvgPool(padding=(1, 0))),
    "padded average pool that counts the cells alone": network(
        Conv(2), AvgPool(padding=(1, 1), count_pads=False)
    ),
    "average pool with ceil_mode": network(Conv(2), AvgPool(ceil=True)),
}
BORDERS_IN_TORCH: dict[str, Network] = {
    "circular padding": network(Conv(3, padding=ONES, mode="circular")),
    "padding=same": network(Conv(3, padding="same", dilation=(2, 1))),
    "padding=same with an even kernel": network(Conv(3, (2, 4), padding="same")),
}
BORDERS_IN_ONNX: dict[str, Network] = {
    f"auto_pad {rule} at stride {stride}": network(
        Conv(3, kernel=(3, 4), stride=(stride, stride), padding=rule)
    )
    for rule in ("SAME_UPPER", "SAME_LOWER")
    for stride in (1, 2)
}

BORDERED = cases(BORDERS, BORDERS_IN_TORCH, BORDERS_IN_ONNX)


@pytest.mark.parametrize(("form", "net"), BORDERED)
def test_windows_share_all_but_their_borders_and_equal_their_crops(
    form: Form, net: Network
) -> None:
    model, classify = form(net)
    images = images_for(net, 2, (net.window[0] + 6, net.window[1] + 5), form)
    for step in steps_of(net):
        fcn = convert(net, model, step)
        model = traced(model, images[..., : net.window[0], : net.window[1]])
        compare(fcn, classify, images, net.batch or 64)
        assert_shared(fcn)


# ---------------------------------------------------------------------------------------------
# Once per window, from the operation that is named

PER_WINDOW: dict[str, tuple[Network, str]] = {
    "overlapping transposed convolution": (
        network(Conv(2, stride=(2, 2)), ConvTranspose(2, (3, 3), (2, 2))),
        "conv_?transpose",
    ),
    "transposed convolution of stride 1": (
        network(Conv(2), ConvTranspose(2, (3, 2), (1, 1), padding=(1, 0))),
        "conv_?transpose",
    ),
    "squeeze and excitation": (network(Conv(2), Gate(), Conv(2)), "mul"),
    "cumulative sum": (network(Conv(2), Unshared("cumsum"), Conv(2)), "cumsum"),
    "flip": (network(Conv(2), Unshared("flip")), "flip|slice"),
    "bilinear": (network(Conv(2), Unshared("bilinear")), "bilinear|resize|interpolate"),
    "bilinear pooling": (network(Conv(2), CLAMP, head=Gram()), "bmm|matmul"),
}
PER_WINDOW_IN_TORCH: dict[str, tuple[Network, str]] = {
    "sort": (network(Conv(2), Unshared("sort")), "sort"),
    "roll": (network(Conv(2), Unshared("roll")), "roll"),
}

PER_WINDOW_IN_ONNX: dict[str, tuple[Network, str]] = {
    "space to depth": (
        network(Conv(2, (2, 3)), Unshared("space to depth")),
        "spacetodepth",
    ),
}

UNSHARED = cases(PER_WINDOW, PER_WINDOW_IN_TORCH, PER_WINDOW_IN_ONNX)


def only_networks(named: dict[str, tuple[Network, str]]) -> dict[str, Network]:
    return {name: net for name, (net, _) in named.items()}


@pytest.mark.parametrize(("form", "net", "operation"), UNSHARED)
def test_windows_stop_sharing_where_the_report_says_and_equal_their_crops(
    form: Form, net: Network, operation: str
) -> None:
    model, classify = form(net)
    images = images_for(net, 2, (net.window[0] + 6, net.window[1] + 5), form)
    for step in steps_of(net):
        fcn = convert(net, model, step)
        model = traced(model, images[..., : net.window[0], : net.window[1]])
        compare(fcn, classify, images, net.batch or 64)
        assert fcn.report.per_window
        named = [reason.operation for reason in fcn.report.reasons]
        assert any(re.search(operation, name, re.IGNORECASE) for name in named), named


@pytest.mark.parametrize(
    ("form", "net"),
    [*BORDERED, *cases(only_networks(PER_WINDOW), only_networks(PER_WINDOW_IN_TORCH), {})],
)
def test_the_approximate_form_is_the_classifier_at_its_own_size(form: Form, net: Network) -> None:
    model, classify = form(net)
    fcn = fullconv.convert(model, window=net.window, exact=False)
    images = images_for(net, 2, net.window, form)
    scores = fcn(images)
    assert np.array_equal(np.asarray(scores)[..., 0, 0], np.asarray(classify(images)))


@pytest.mark.parametrize("exact", [True, False])
def test_a_maximum_over_padding_of_zeros_sees_the_zeros(exact: bool) -> None:
    """ONNX Runtime 1.31 joins a Pad with a MaxPool behind it, and then pads with -infinity.

    So a Pad and a ReduceMax must not become a Pad and a MaxPool.
    """
    from networks.onnx_form import around

    def body(graph: Any, x: str) -> str:
        negative = graph.add("Sub", graph.add("Neg", graph.add("Abs", x)), graph.number(1))
        return graph.reduce("max", graph.pad(negative, ONES, "constant"), (2, 3), 1)

    model = around(body, (9, 12))
    images = np.random.default_rng(0).integers(0, 4, (2, 2, 9, 12)).astype(np.float32)
    fcn = fullconv.convert(model, window=(9, 12), exact=exact)
    assert np.array_equal(fcn(images)[..., 0, 0], onnx_classifier(model)(images))


# These may be shared or not; they are right either way.
EITHER: dict[str, Network] = {
    "rows and columns exchanged": network(Conv(3, (2, 4)), Unshared("transpose"), Conv(2, (1, 3))),
    "maximum over the rows alone": network(Conv(3), head=PoolOneAxis("rows")),
    "maximum over the columns alone": network(Conv(3), head=PoolOneAxis("columns")),
    "maps of two pitches added": network(
        Conv(2, kernel=(1, 1)), Merge((Conv(2, kernel=(1, 1), stride=(2, 2)),))
    ),
    "padding that is cut away again": network(
        Conv(2, padding=ONES), Slice((1, -1, 1), (1, -1, 1)), Conv(2)
    ),
    "transposed convolution whose border is cut away": network(
        Conv(2), ConvTranspose(2, (3, 3), (1, 1), padding=(2, 2))
    ),
}


@pytest.mark.parametrize(("form", "net"), cases(EITHER, {}, {}))
def test_windows_equal_their_crops_and_a_fallback_has_its_reason(form: Form, net: Network) -> None:
    model, classify = form(net)
    images = images_for(net, 2, (net.window[0] + 6, net.window[1] + 5), form)
    for step in (None, 1, (2, 3)):
        fcn = fullconv.convert(model, window=net.window, step=step)
        compare(fcn, classify, images)
        assert fcn.report.per_window or not fcn.report.reasons


# ---------------------------------------------------------------------------------------------
# PyTorch modules as people write them


# Window, and whether all windows share it.
BY_HAND: dict[str, tuple[tuple[int, int], bool]] = {
    "LeNet": ((14, 18), True),
    "Residual": ((12, 14), True),
    "Inception": ((11, 12), True),
    "Dense": ((8, 9), True),
    "ShuffleUnit": ((12, 12), True),
    "FromSeveralMaps": ((11, 11), True),
    "SharedLayers": ((12, 13), True),
    "TwoHeads tuple": ((11, 11), True),
    "TwoHeads list": ((11, 11), True),
    "TwoHeads dict": ((11, 11), True),
    "TwoHeads nested": ((11, 11), True),
    "SqueezeAndExcite": ((12, 13), False),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_module_written_by_hand_equals_its_crops(name: str) -> None:
    torch = pytest.importorskip("torch")
    from networks import modules

    kind, *arguments = name.split()
    module = modules.with_integers(getattr(modules, kind)(*arguments))
    window, shared = BY_HAND[name]
    size = (window[0] + 5, window[1] + 7)
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 4, (2, 2, *size))).float()
    model = module
    for step in (None, 1, (4, 3)):
        fcn = fullconv.convert(model, window=window, step=step)
        model = traced(model, images[..., : window[0], : window[1]])
        compare(fcn, torch_classifier(module), images)
        if shared:
            assert_shared(fcn)
        else:
            assert fcn.report.per_window
            assert fcn.report.reasons


# ---------------------------------------------------------------------------------------------
# Functions that are not exact in whole numbers

WINDOW = (10, 11)


def fine_images() -> np.ndarray:
    """Return pixels in eighths: the convolution ahead is exact, the function sees one number."""
    whole = np.random.default_rng(5).integers(-4, 5, size=(2, 2, 15, 17))
    return (whole / 8).astype(np.float32)


TORCH_POINTWISE = (
    "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 "
    "rrelu selu sigmoid silu softplus softshrink softsign tanh tanhshrink"
).split()


@pytest.mark.parametrize("name", TORCH_POINTWISE)
def test_any_activation_of_torch_is_shared_and_as_close_as_the_classifier_is_to_itself(
    name: str,
) -> None:
    torch = pytest.importorskip("torch")
    from networks.torch_form import around

    function = getattr(torch.nn.functional, name)
    model = around(function, WINDOW)
    fcn = fullconv.convert(model, window=WINDOW, step=(2, 1))
    compare_closely(fcn, torch_classifier(model), torch.from_numpy(fine_images()), CLOSE_MULTIPLE)
    assert_shared(fcn)


# Each with the operator set that it is written for.
ONNX_POINTWISE = dict.fromkeys(
    (
        "Abs Celu Ceil Cos Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Neg Relu Round Selu "
        "Sigmoid Sign Sin Softplus Softsign Tanh ThresholdedRelu"
    ).split(),
    17,
)
ONNX_POINTWISE |= {"Gelu": 20, "Mish": 18}


@pytest.mark.parametrize("name", ONNX_POINTWISE)
def test_any_activation_of_onnx_is_shared_and_as_close_as_the_classifier_is_to_itself(
    name: str,
) -> None:
    from networks.onnx_form import around

    model = around(lambda graph, x: graph.add(name, x), WINDOW, ONNX_POINTWISE[name])
    fcn = fullconv.convert(model, window=WINDOW, step=(2, 1))
    compare_closely(fcn, onnx_classifier(model), fine_images(), CLOSE_MULTIPLE)
    assert_shared(fcn)


def channel_norm(x: Any) -> Any:
    import torch

    last = x.permute(0, 2, 3, 1)
    return torch.nn.functional.layer_norm(last, (4,)).permute(0, 3, 1, 2)


CLOSE_TORCH: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "local response norm": (lambda x: _functional().local_response_norm(x, 3), None),
    "softmax over the channels": (lambda x: x.softmax(1), None),
    "log softmax over the channels": (lambda x: x.log_softmax(1), None),
    "layer norm over the channels": (channel_norm, None),
    "length over the channels": (lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1), None),
    "uneven mean": (lambda x: _functional().adaptive_avg_pool2d(x, (3, 4)), None),
    "mean of 72 cells": (lambda x: x.mean((2, 3)), None),
    "average of 3x3": (lambda x: _functional().avg_pool2d(x, 3), None),
    "swish gate of its own": (lambda x: x * x.sigmoid(), None),
    "group norm": (lambda x: _functional().group_norm(x, 2), "group_norm"),
    "instance norm": (lambda x: _functional().instance_norm(x), "instance_norm|batch_norm"),
    "layer norm over the window": (
        lambda x: _functional().layer_norm(x, (4, 8, 9)),
        "layer_norm",
    ),
    "softmax over the cells": (lambda x: x.flatten(2).softmax(2), "softmax"),
    "gate by the mean": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), "mul"),
    "resize": (
        lambda x: _functional().interpolate(x, (5, 6), mode="bilinear"),
        "bilinear|interpolate",
    ),
    "fourier transform": (lambda x: _fft(x), "fft"),
}


def _functional() -> Any:
    import torch

    return torch.nn.functional


def _fft(x: Any) -> Any:
    import torch

    return torch.fft.rfft(x, dim=3).real


@pytest.mark.parametrize("name", CLOSE_TORCH)
def test_real_numbers_in_torch_are_as_close_as_the_classifier_is_to_itself(name: str) -> None:
    torch = pytest.importorskip("torch")
    from networks.torch_form import around

    function, operation = CLOSE_TORCH[name]
    model = around(function, WINDOW)
    classify, images = torch_classifier(model), torch.from_numpy(fine_images())
    for step in (None, (2, 3)):
        fcn = fullconv.convert(model, window=WINDOW, step=step)
        compare_closely(fcn, classify, images, CLOSE_MULTIPLE)
        if operation is None:
            assert_shared(fcn)
        else:
            named = [reason.operation for reason in fcn.report.reasons]
            assert any(re.search(operation, each) for each in named), named


CLOSE_ONNX: dict[str, tuple[Callable[[Any, str], str], int, str | None]] = {
    "local response norm": (lambda g, x: g.add("LRN", x, size=3), 17, None),
    "softmax over the channels": (lambda g, x: g.add("Softmax", x, axis=1), 17, None),
    "average of 3x3": (lambda g, x: g.add("AveragePool", x, kernel_shape=[3, 3]), 17, None),
    "mean of 72 cells": (lambda g, x: g.add("GlobalAveragePool", x), 17, None),
    "length over the channels": (
        lambda g, x: g.add("ReduceL2", x, axes=[1], keepdims=1),
        17,
        None,
    ),
    "instance norm": (
        lambda g, x: g.add("InstanceNormalization", x, g.number([1] * 4), g.number([0] * 4)),
        17,
        "InstanceNormalization",
    ),
    "group norm": (
        lambda g, x: g.add(
            "GroupNormalization", x, g.number([1] * 4), g.number([0] * 4), num_groups=2
        ),
        21,
        "GroupNormalization",
    ),
    "softmax over the columns": (lambda g, x: g.add("Softmax", x, axis=3), 17, "Softmax"),
    "softmax of old, over all that follows": (
        lambda g, x: g.add("Softmax", x, axis=1),
        11,
        "Softmax",
    ),
    "gate by the mean": (
        lambda g, x: g.add("Mul", x, g.add("Sigmoid", g.add("GlobalAveragePool", x))),
        17,
        "Mul",
    ),
    "cubic resize": (
        lambda g, x: g.add("Resize", x, "", g.number([1, 1, 0.5, 0.5]), mode="cubic"),
        17,
        "Resize",
    ),
}


@pytest.mark.parametrize("name", CLOSE_ONNX)
def test_real_numbers_in_onnx_are_as_close_as_the_classifier_is_to_itself(name: str) -> None:
    from networks.onnx_form import around

    body, opset, operation = CLOSE_ONNX[name]
    model = around(body, WINDOW, opset)
    classify, images = onnx_classifier(model), fine_images()
    for step in (None, (2, 3)):
        fcn = fullconv.convert(model, window=WINDOW, step=step)
        compare_closely(fcn, classify, images, CLOSE_MULTIPLE)
        if operation is None:
            assert_shared(fcn)
        else:
            named = [reason.operation for reason in fcn.report.reasons]
            assert operation in named


@pytest.mark.parametrize("name", ["Attention", "ChannelsLastBlock"])
def test_a_transformer_or_convnext_block_is_as_close_as_the_classifier_is_to_itself(
    name: str,
) -> None:
    torch = pytest.importorskip("torch")
    from networks import modules

    torch.manual_seed(0)
    module = getattr(modules, name)().eval()
    window = {"Attention": (9, 9), "ChannelsLastBlock": (12, 12)}[name]
    images = torch.from_numpy(fine_images())[:, :, : window[0] + 3, : window[1] + 4]
    fcn = fullconv.convert(module, window=window, step=(1, 2))
    compare_closely(fcn, torch_classifier(module), images, CLOSE_MULTIPLE)
    if name == "ChannelsLastBlock":
        assert_shared(fcn)
    else:
        assert fcn.report.reasons


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "sigmoid"])
def test_probabilities_inside_the_model_are_probabilities_of_each_window(function: str) -> None:
    torch = pytest.importorskip("torch")
    from networks.torch_form import torch_form

    head = {
        "softmax": torch.nn.Softmax(dim=-1),
        "log_softmax": torch.nn.LogSoftmax(dim=1),
        "sigmoid": torch.nn.Sigmoid(),
    }
    net = network(Conv(3, stride=(2, 2)), Pointwise("relu6"))
    model = torch.nn.Sequential(*torch_form(net), head[function])
    fcn = fullconv.convert(model, window=net.window)
    images = images_for(net, 2, (14, 15), in_torch)
    compare_closely(fcn, torch_classifier(model), images, CLOSE_MULTIPLE)
    assert_shared(fcn)
    if function == "softmax":
        sums = fcn(images).sum(1)
        eight_units = CLOSE_MULTIPLE * np.spacing(np.float32(1))
        assert (sums - 1).abs().max() <= eight_units
