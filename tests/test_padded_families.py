"""Every way to pad, one at a time, in windows large enough to keep a middle.

Each network has a padded layer between two others, so that its borders are read as well as made,
and must give its crops' scores to the last bit (`test_families` says how). The windows keep cells
that all of them share up to the head, except where a layer is named that uses the whole window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fullconv
from networks.borders import is_split, own_cells
from networks.checks import (
    Form,
    Step,
    compare,
    compare_closely,
    convert,
    images_for,
    in_onnx,
    traced,
)
from networks.specs import (
    AdaptivePool,
    AvgPool,
    BatchNorm,
    ChannelPad,
    ChannelsLastLinear,
    Concat,
    Conv,
    ConvTranspose,
    Flatten,
    Gate,
    GlobalPool,
    GroupNorm,
    Linear,
    MaxPool,
    Merge,
    Network,
    Pad,
    Pointwise,
    PoolOneAxis,
    Shuffle,
    Slice,
    Spec,
    Split,
    Squeeze,
    Twice,
    Unshared,
)
from oracle import assert_same, onnx_classifier, scores_of_crops, torch_classifier
from test_families import cases

# PyTorch's own remark about the speed of such a layer, once per process.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths:UserWarning"
)

WINDOW = (20, 23)
RELU = Pointwise("relu")
CLAMP = Pointwise("wide")
ONES = (1, 1, 1, 1)
THREE = Conv(3, padding=ONES)
FIVE = Conv(3, kernel=(5, 5), padding=(2, 2, 2, 2))
ONE = Conv(3, kernel=(1, 1))


def padded(*trunk: Spec, head: Spec | None = None, **more: Any) -> Network:
    """Return a classifier of 2 channels: this trunk, a clamp, flatten and one linear layer."""
    return Network(WINDOW, 2, (*trunk, CLAMP), head or Flatten(), (Linear(3),), seed=11, **more)


def between(*layers: Spec) -> Network:
    """Return a classifier with these layers between two convolutions."""
    return padded(Conv(3), CLAMP, *layers, CLAMP, Conv(2, (3, 2)))


WAYS: dict[str, tuple[int, int, int, int]] = {
    "all around": ONES,
    "in rows alone": (1, 0, 1, 0),
    "in columns alone": (0, 2, 0, 2),
    "asymmetric": (0, 1, 2, 3),
    "on one side": (0, 0, 0, 2),
}
MODES = ("zeros", "value", "reflect", "replicate")
KERNELS: dict[str, dict[str, Any]] = {
    "": {},
    "strided": {"stride": (2, 3)},
    "dilated": {"dilation": (2, 1)},
    "grouped": {"groups": 3},
    "even": {"kernel": (2, 4)},
}

PADDED: dict[str, Network] = {}
for mode in MODES:
    for way, amounts in WAYS.items():
        value = -2 if mode == "value" else 0
        PADDED[f"{mode} {way}, as a layer"] = between(Pad(amounts, mode, value))
        if mode != "value":
            PADDED[f"{mode} {way}, in a convolution"] = between(Conv(3, padding=amounts, mode=mode))
PADDED |= {
    f"{mode} in a convolution that is {kind}": between(Conv(3, padding=ONES, mode=mode, **how))
    for mode in ("zeros", "reflect", "replicate")
    for kind, how in KERNELS.items()
    if kind
}
IN_TORCH: dict[str, Network] = {}
for padding in ((1, 1), (1, 0), (0, 1)):
    for ceil in (False, True):
        said = f"padded by {padding}{' and rounded up' if ceil else ''}"
        # ONNX and ONNX Runtime disagree about a position that starts behind the last cell.
        average = IN_TORCH if ceil and padding[1] else PADDED
        average |= {
            f"average pool {said}": between(AvgPool((2, 2), (2, 2), padding, ceil)),
            f"average pool of the cells alone {said}": between(
                AvgPool((2, 2), (2, 2), padding, ceil, count_pads=False)
            ),
        }
        PADDED |= {
            f"max pool {said}": between(MaxPool((3, 3), (2, 2), padding, ceil=ceil)),
            f"max pool that slides by one, {said}": between(
                MaxPool((3, 3), (1, 1), padding, ceil=ceil)
            ),
        }
PADDED |= {
    "max pool with an overhang alone": between(MaxPool((3, 3), (2, 3), ceil=True)),
    "average pool with an overhang alone": between(AvgPool((2, 2), (2, 2), ceil=True)),
    "average pool of the cells alone with an overhang": between(
        AvgPool((2, 2), (2, 2), ceil=True, count_pads=False)
    ),
    "dilated max pool": between(MaxPool((3, 2), (1, 2), (1, 1), (2, 3))),
    "average pool with the most padding": between(
        AvgPool((4, 2), (2, 2), (2, 1), count_pads=False)
    ),
    "average pool with padding and an overhang": between(
        AvgPool((4, 2), (2, 4), (2, 0), ceil=True)
    ),
    "padding that cuts": between(Pad((-1, 2, 1, -2))),
    "padding by a value that cuts": between(Pad((2, -1, -2, 1), "value", 2)),
    "padding of nothing but rows, ahead of everything": padded(Pad((2, 0, 1, 0)), Conv(3)),
    "a kernel that may lie on padding alone": between(Conv(3, (1, 1), padding=(2, 1, 0, 1))),
    "padded again and again": padded(THREE, CLAMP, THREE, CLAMP, THREE, CLAMP, THREE),
    "padded and strided again and again": padded(
        Conv(2, stride=(2, 2), padding=ONES),
        CLAMP,
        Conv(3, stride=(2, 1), padding=ONES),
        CLAMP,
        THREE,
    ),
    "rows padded, then columns": padded(
        Conv(2, (3, 1), padding=(1, 0, 1, 0)), CLAMP, Conv(3, (1, 5), padding=(0, 2, 0, 2))
    ),
    "batch norm behind padding": padded(THREE, CLAMP, BatchNorm(), CLAMP, THREE),
    "channel shuffle behind padding": padded(Conv(4, padding=ONES), Shuffle(2), CLAMP, THREE),
    "a linear layer over the channels": padded(THREE, CLAMP, ChannelsLastLinear(2), CLAMP, THREE),
    "one padded layer used twice": padded(ONE, CLAMP, Twice(THREE), CLAMP, THREE),
    "transposed convolution that tiles": padded(
        Conv(2, stride=(2, 2), padding=ONES), CLAMP, ConvTranspose(2), CLAMP, THREE
    ),
    "slice that cuts into the border": padded(THREE, CLAMP, THREE, Slice((1, None, 1), (0, -3, 1))),
    "slice that keeps a part of the border": padded(
        FIVE, CLAMP, FIVE, Slice((2, -3, 1), (1, -1, 1))
    ),
    "slice with a step": padded(FIVE, CLAMP, Slice((1, None, 2), (0, None, 3)), THREE),
    "slice down to the middle": padded(THREE, CLAMP, Slice((1, -1, 1), (1, -1, 1)), Conv(2)),
    "parameter-free shortcut": padded(
        THREE,
        CLAMP,
        Merge(
            (Conv(5, stride=(2, 2), padding=ONES),),
            shortcut=(Slice((0, None, 2), (0, None, 2)), ChannelPad(1, 1)),
        ),
    ),
    "shortcut with a stride": padded(
        THREE,
        CLAMP,
        Merge((Conv(4, stride=(2, 2), padding=ONES),), shortcut=(Conv(4, (1, 1), (2, 2)),)),
    ),
    "padding layer beside the map": padded(
        ONE, Merge((Pad((0, 1, 2, 1), "reflect"), Conv(3)), "multiply"), CLAMP, THREE
    ),
    "inception": padded(
        CLAMP,
        Concat(((ONE,), (THREE,), (FIVE,), (MaxPool((3, 3), (1, 1), (1, 1)), ONE))),
        CLAMP,
        THREE,
    ),
    "dense": padded(ONE, CLAMP, Concat(((), (THREE,))), CLAMP, Concat(((), (THREE,)))),
    "half of the channels padded": padded(Conv(4), CLAMP, Split((THREE,), ()), CLAMP, THREE),
    "gate": padded(THREE, CLAMP, THREE, CLAMP, Gate(), CLAMP, THREE),
    "group norm": padded(THREE, CLAMP, THREE, GroupNorm(3), CLAMP, THREE),
    "operation without a rule": padded(THREE, CLAMP, THREE, Unshared("cumsum"), CLAMP, THREE),
    "pixels at the end unread": padded(Conv(3, (3, 3), (4, 4), padding=(1, 1, 0, 0)), CLAMP, ONE),
    "several maps": padded(THREE, CLAMP, Conv(2, stride=(2, 2), padding=ONES), taps=(0,)),
    "several outputs": padded(THREE, CLAMP, THREE, outputs="tuple"),
    "flatten with the channels last": padded(THREE, CLAMP, THREE, head=Flatten("HWC")),
    "global average": padded(Conv(3, padding=(0, 0, 14, 11)), CLAMP, head=GlobalPool("mean")),
    "global sum": padded(THREE, CLAMP, THREE, head=GlobalPool("sum")),
    "global maximum": padded(THREE, THREE, head=GlobalPool("max")),
    "even adaptive average": padded(
        Conv(3, padding=(1, 0, 1, 0)), Conv(2, (1, 6)), AdaptivePool((5, 2))
    ),
    "even adaptive maximum": padded(THREE, THREE, AdaptivePool((4, 1), "max")),
    "maximum over the rows": padded(THREE, THREE, head=PoolOneAxis("rows")),
    "convolution as large as the map": padded(THREE, CLAMP, Conv(3, WINDOW), head=Squeeze()),
}
PADDED |= {
    f"{kind} of {word}": padded(ONE, CLAMP, Merge((body,), kind, shortcut), CLAMP, THREE)
    for kind in ("add", "subtract", "multiply", "maximum")
    for word, body, shortcut in (
        ("3x3 and the map itself", THREE, ()),
        ("5x5 and 1x1", FIVE, (ONE,)),
        ("a padded pool and 3x3", MaxPool((5, 5), (1, 1), (2, 2)), (THREE,)),
        (
            "rows padded and columns padded",
            Conv(3, (5, 1), padding=(2, 0, 2, 0)),
            (Conv(3, (1, 5), padding=(0, 2, 0, 2)),),
        ),
    )
}

IN_TORCH |= {
    "circular padding in one direction": between(Pad((2, 0, 1, 0), "circular")),
    "padding=same": between(Conv(3, (3, 5), padding="same")),
    "padding=same with an even kernel": between(Conv(3, (2, 4), padding="same")),
    "padding=same with dilation": between(Conv(3, (3, 3), padding="same", dilation=(2, 3))),
    "padding=same by reflection": between(Conv(3, padding="same", mode="reflect")),
    "average pool with a divisor": between(AvgPool((3, 3), (2, 2), (1, 1), divisor=8)),
    "average pool with a divisor and an overhang": between(
        AvgPool((3, 3), (2, 2), (1, 0), True, divisor=4)
    ),
    "uneven adaptive average": padded(Conv(3, (5, 1), padding=(0, 0, 0, 1)), AdaptivePool((4, 12))),
    "uneven adaptive maximum": padded(THREE, THREE, AdaptivePool((3, 5), "max")),
    "max pool behind a padding layer": between(Pad((0, 1, 2, 0)), MaxPool((3, 3), (2, 2))),
}
IN_ONNX: dict[str, Network] = {}
for rule in ("SAME_UPPER", "SAME_LOWER"):
    for stride in ((1, 1), (2, 2), (2, 1)):
        IN_ONNX |= {
            f"convolution by {rule} at {stride}": between(Conv(3, (3, 4), stride, padding=rule)),
            f"max pool by {rule} at {stride}": between(MaxPool((3, 2), stride, rule)),
            f"average pool by {rule} at {stride}": between(
                AvgPool((2, 2), stride, rule, count_pads=False)
            ),
        }
IN_ONNX |= {
    "max pool with asymmetric padding": between(MaxPool((3, 3), (2, 2), (0, 1, 1, 2))),
    "average pool with asymmetric padding": between(
        AvgPool((2, 2), (1, 2), (0, 0, 1, 1), count_pads=False)
    ),
    "average pool with asymmetric padding that counts": between(
        AvgPool((2, 4), (1, 2), (1, 0, 0, 3))
    ),
}
CIRCULAR: dict[str, Network] = {
    f"circular {way}, {where}": net
    for way, amounts in WAYS.items()
    for where, net in (
        ("as a layer", between(Pad(amounts, "circular"))),
        ("in a convolution", between(Conv(3, padding=amounts, mode="circular"))),
    )
}
IN_TORCH |= CIRCULAR
IN_ONNX |= {
    name: Network(WINDOW, 2, net.trunk, net.head, net.tail, seed=11, opset=19)
    for name, net in CIRCULAR.items()
}
BOTH_OR_ONE = cases(PADDED, IN_TORCH, IN_ONNX)


def steps_of(net: Network) -> list[Step]:
    """Return the network's own step, and one that differs by axis and fits no stride."""
    y, _ = net.stride
    return [None, (max(1, y // 2), 3)]


@pytest.mark.parametrize(("form", "net"), BOTH_OR_ONE)
def test_padded_windows_equal_their_crops(form: Form, net: Network) -> None:
    model, classify = form(net)
    images = images_for(net, 1, (net.window[0] + 5, net.window[1] + 6), form)
    for step in steps_of(net):
        fcn = convert(net, model, step)
        model = traced(model, images[..., : net.window[0], : net.window[1]])
        compare(fcn, classify, images)


@pytest.mark.parametrize("name", PADDED)
def test_these_windows_have_borders_and_a_middle(name: str) -> None:
    maps = own_cells(PADDED[name])
    assert any(is_split(axis) for own in maps for axis in own), name


# ---------------------------------------------------------------------------------------------
# What is not exact in whole numbers

MULTIPLE = 8
"""As in `test_families`: sums in another order differ by a few times what batch sizes do."""


def closely(model: Any, classify: Any, images: Any, window: tuple[int, int]) -> None:
    for step in (None, (2, 3)):
        compare_closely(
            fullconv.convert(model, window=window, step=step), classify, images, MULTIPLE
        )


def fine_images() -> np.ndarray:
    """Return pixels in eighths, in one image that is a little larger than the window."""
    whole = np.random.default_rng(5).integers(-4, 5, size=(1, 2, WINDOW[0] + 4, WINDOW[1] + 7))
    return (whole / 8).astype(np.float32)


POOLS = {
    f"{kernel}x{kernel} every {stride}, {'rounded up, ' if ceil else ''}"
    f"{'padding' if count else 'cells'} counted": (kernel, stride, ceil, count)
    for kernel, stride in ((3, 1), (3, 2), (5, 3))
    for ceil in (False, True)
    for count in (False, True)
}


@pytest.mark.parametrize("name", POOLS)
def test_a_padded_average_in_torch_is_as_close_as_the_classifier_is_to_itself(name: str) -> None:
    torch = pytest.importorskip("torch")
    from networks.torch_form import around

    kernel, stride, ceil, count = POOLS[name]
    pool = torch.nn.AvgPool2d(kernel, stride, kernel // 2, ceil, count)
    model = around(pool, WINDOW)
    closely(model, torch_classifier(model), torch.from_numpy(fine_images()), WINDOW)


@pytest.mark.parametrize("name", POOLS)
def test_a_padded_average_in_onnx_is_as_close_as_the_classifier_is_to_itself(name: str) -> None:
    from networks.onnx_form import around

    kernel, stride, ceil, count = POOLS[name]
    model = around(
        lambda graph, x: graph.add(
            "AveragePool",
            x,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            ceil_mode=int(ceil),
            count_include_pad=int(count),
        ),
        WINDOW,
    )
    closely(model, onnx_classifier(model), fine_images(), WINDOW)


def padded_convolution(x: Any) -> Any:
    import torch

    weight = torch.arange(4 * 4 * 9).reshape(4, 4, 3, 3).remainder(3).float() - 1
    return torch.nn.functional.conv2d(x, weight, padding=1)


def _gate(x: Any) -> Any:
    return x * x.mean((2, 3), keepdim=True).sigmoid()


def _group_norm(x: Any) -> Any:
    import torch

    return torch.nn.functional.group_norm(x, 2)


def _channel_softmax(x: Any) -> Any:
    return x.softmax(1)


def _mean(x: Any) -> Any:
    return x.mean((2, 3))


BEHIND: dict[str, Callable[[Any], Any]] = {
    "squeeze and excitation": _gate,
    "group norm": _group_norm,
    "softmax over the channels": _channel_softmax,
    "mean of all cells": _mean,
}


@pytest.mark.parametrize("name", BEHIND)
def test_real_numbers_behind_padding_are_as_close_as_the_classifier_is_to_itself(
    name: str,
) -> None:
    torch = pytest.importorskip("torch")
    from networks.torch_form import around

    model = around(lambda x: BEHIND[name](padded_convolution(x)), WINDOW)
    closely(model, torch_classifier(model), torch.from_numpy(fine_images()), WINDOW)


# ---------------------------------------------------------------------------------------------
# What a review found


@pytest.mark.parametrize("step", [2, 16])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("trunk", [(), (Conv(2, padding=(1, 1, 1, 1)),)])
def test_a_pad_of_zeros_before_a_max_pool_stays_one_of_zeros(
    trunk: tuple[Spec, ...], exact: bool, step: int
) -> None:
    """The converted model too must say so to an ONNX Runtime that has all its optimizations."""
    import onnxruntime

    net = Network(
        window=(16, 16),
        channels=2,
        trunk=(*trunk, Pad((1, 1, 1, 1)), MaxPool((3, 3), stride=(2, 2))),
        head=Flatten("CHW", "Flatten"),
        tail=(Linear(3, "MatMul", False),),
    )
    model, classify = in_onnx(net)
    images = -images_for(net, 2, (22, 20) if exact else net.window, in_onnx)
    fcn = fullconv.convert(model, step=step, exact=exact)
    wanted = scores_of_crops(classify, images, net.window, (step, step))
    assert_same(fcn(images), wanted)
    plain = onnxruntime.InferenceSession(
        fcn.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert_same(plain.run(None, {plain.get_inputs()[0].name: images})[0], wanted)


@pytest.mark.parametrize("pads", [(-12, 9, 1, 1), (-12, 4, 0, 0), (2, -3, -1, 4), (-9, 5, 0, 0)])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_that_cuts_on_one_side_and_repeats_on_another(
    mode: str, pads: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")

    class Padded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(2 * (16 + pads[0] + pads[1]) * (16 + pads[2] + pads[3]), 3)

        def forward(self, x: Any) -> Any:
            return self.fc(torch.nn.functional.pad(x, pads, mode=mode).flatten(1))

    model = Padded().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape))
    images = torch.randint(0, 4, (2, 2, 20, 22)).float()
    fcn = fullconv.convert(model, window=(16, 16), step=2, check=False)  # it would mend a slip
    compare(fcn, torch_classifier(model), images)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_the_approximate_form_equals_its_crop_at_the_native_size_at_any_step(
    mode: str, step: int, joined: bool
) -> None:
    """Below the network's stride, cells of neighbouring windows lie between a window's own."""
    torch = pytest.importorskip("torch")
    from models import integer_images, with_integers

    class Padded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(2, 2, 3, stride=2)
            self.second = torch.nn.Conv2d(2, 2, 3, padding=1, padding_mode=mode)
            self.beside = torch.nn.Conv2d(2, 2, 1)
            self.fc = torch.nn.Linear((4 if joined else 2) * 9 * 11, 3)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            x = torch.cat([self.second(x), self.beside(x)], 1) if joined else self.second(x)
            return self.fc(x.flatten(1))

    model = with_integers(Padded())
    fcn = fullconv.convert(model, window=(20, 24), step=step, exact=False)
    images = integer_images(2, 2, 20, 24)
    assert_same(fcn(images)[..., 0, 0], model(images).detach())
    larger = integer_images(1, 2, 33, 41)
    assert fcn(larger).shape[2:] == fcn.grid.shape((33, 41))
