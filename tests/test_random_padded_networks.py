"""Random padded networks against the loop over crops, with windows in which a middle survives.

Like `test_random_networks`: small integers everywhere, so that every sum is exact and a converted
network must give its crops' scores to the last bit. The windows are larger and the borders grow
slowly (`networks.padded`), so most maps keep all nine parts up to the head: corners, edges, and a
middle that windows share.

A failing test names the case; paste it behind ``from networks.specs import *`` and `check` it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import fullconv
from networks.borders import (
    Own,
    inside,
    is_split,
    margins,
    meeting,
    nothing,
    own_cells,
)
from networks.checks import Form, assert_shared, check, in_onnx, in_torch, pair
from networks.padded import PADDED_ONNX, PADDED_TORCH, Case, padded_cases_drawn
from networks.specs import (
    AdaptivePool,
    AvgPool,
    ChannelPad,
    Concat,
    Conv,
    ConvTranspose,
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
    Slice,
    Spec,
    Split,
    Squeeze,
    Unshared,
    Upsample,
)
from networks.weights import pixels
from oracle import assert_same, numbers, scores_of_crops

# PyTorch's own remark about the speed of such a layer, once per process.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths:UserWarning"
)

DIALECTS = {"torch": PADDED_TORCH, "onnx": PADDED_ONNX}
PARTS = {"torch": 4, "onnx": 4}
NETWORKS = {"torch": 57, "onnx": 87}
"""So many networks are in each part; the parts may run beside each other."""


@cache
def drawn(word: str, part: int) -> list[Case]:
    """Return the cases of one part: the same in every run."""
    return padded_cases_drawn(DIALECTS[word], NETWORKS[word], part)


def all_drawn(word: str) -> list[Case]:
    return [case for part in range(PARTS[word]) for case in drawn(word, part)]


# ---------------------------------------------------------------------------------------------
# Equal to the crops


def check_all(cases: list[Case], form: Form) -> None:
    for case in cases:
        try:
            fcn = check(*case, form)
            if not ends_sharing(case[0], fcn.grid.step):
                assert_shared(fcn)
        except Exception as error:
            error.add_note(f"check(*{case!r}, {form.__name__})")
            raise


def ends_sharing(network: Network, step: Pair) -> bool:
    """Say whether some layer needs all of a window at once, so that sharing ends with it.

    Upsampling repeats other cells for a window that starts between cells.
    """
    whole: tuple[type, ...] = (Gate, GroupNorm, Unshared, ConvTranspose)
    if any(s % every for s, every in zip(step, network.scores.every, strict=True)):
        whole += (Upsample,)
    layers = inside(network.trunk, network.input, nothing(network.input))
    return isinstance(network.head, Gram) or any(isinstance(layer, whole) for layer, _, _ in layers)


@pytest.mark.parametrize("part", range(PARTS["torch"]))
def test_any_padded_torch_network_equals_its_crops(part: int) -> None:
    check_all(drawn("torch", part), in_torch)


@pytest.mark.parametrize("part", range(PARTS["onnx"]))
def test_any_padded_onnx_network_equals_its_crops(part: int) -> None:
    check_all(drawn("onnx", part), in_onnx)


# ---------------------------------------------------------------------------------------------
# What these networks are


def features(case: Case) -> set[str]:
    """Return what a case has of all that padded networks should have among them."""
    network, step, size, _ = case
    layers = list(inside(network.trunk, network.input, nothing(network.input)))
    made = {word for layer in layers for word in _of_layer(*layer)}
    made |= set(_of_borders(network)) | set(_of_head(network)) | set(_of_step(network, step))
    extra = [n - w for n, w in zip(size, network.window, strict=True)]
    made.add("image of one window" if not any(extra) else "image of more than a window")
    return made


def _of_layer(layer: Spec, here: Map, borders: Own) -> Iterator[str]:
    match layer:
        case Conv() | MaxPool() | AvgPool():
            yield from _of_kernel(layer, here)
        case Pad():
            mode = layer.mode if any(n > 0 for n in layer.amounts) else "nothing"
            yield f"padding layer: {mode}"
            yield from (f"{way} padding layer" for way in _ways(layer.amounts))
            if min(layer.amounts) < 0:
                yield "padding layer that cuts"
        case Slice():
            yield "slice with a step" if layer.rows[2] * layer.columns[2] > 1 else "slice"
        case ChannelPad():
            yield "channels of zeros"
        case Gate() | GroupNorm():
            yield type(layer).__name__
        case Unshared():
            yield "operation without a rule"
        case Merge() | Concat() | Split():
            word = layer.kind if isinstance(layer, Merge) else type(layer).__name__.lower()
            rows, columns = zip(*meeting(layer, here, borders), strict=True)
            widths = {tuple(map(margins, axis)) for axis in (rows, columns)}
            met = [axis for axis in (*rows, *columns) if not all(axis)]
            if any(len(set(each)) > 1 for each in widths) and len(met) == 2 * len(rows):
                yield f"{word} of borders of different widths"


def _of_kernel(layer: Conv | MaxPool | AvgPool, here: Map) -> Iterator[str]:
    pads = layer.pads(here.extent)
    word = {Conv: "convolution", MaxPool: "max pool", AvgPool: "average pool"}[type(layer)]
    if any(pads):
        yield f"padded {word}"
        yield from (f"{way} {word}" for way in _ways(pads))
    if isinstance(layer.padding, str) and any(pads):
        yield f"{word} with padding by a rule"
    dilation = (1, 1) if isinstance(layer, AvgPool) else layer.dilation
    after = layer.after(here)
    sizes = zip(
        here.extent,
        layer.kernel,
        layer.stride,
        dilation,
        after.extent,
        (pads[:2], pads[2:])[0],
        strict=True,
    )
    ends = [(count - 1) * t - before + d * (k - 1) + 1 for _, k, t, d, count, before in sizes]
    unread = [n - end for n, end in zip(here.extent, ends, strict=True)]
    if max(unread) > 0:
        yield f"{word} that leaves cells unread"
    if max(layer.stride) > 1 and any(pads):
        yield f"padded {word} with a stride"
    if max(dilation) > 1 and any(pads):
        yield f"padded {word} with dilation"
    if isinstance(layer, Conv):
        if any(pads):
            yield f"padding of {layer.mode}"
            if layer.groups > 1:
                yield "padded convolution in groups"
        return
    if layer.ceil and any(u < -p for u, p in zip(unread, pads[2:], strict=True)):
        yield f"{word} with an overhang"
    if isinstance(layer, AvgPool) and any(pads):
        yield f"average pool that {'counts' if layer.count_pads else 'leaves out'} the padding"


def _ways(pads: tuple[int, ...]) -> Iterator[str]:
    top, left, bottom, right = pads
    if (top, left) != (bottom, right):
        yield "asymmetric"
    if (top or bottom) and not (left or right):
        yield "row-padded"
    if (left or right) and not (top or bottom):
        yield "column-padded"


def _of_borders(network: Network) -> Iterator[str]:
    """Yield how far the borders have grown, layer by layer and at the head."""
    maps = own_cells(network)
    nine = [own for own in maps if all(map(is_split, own))]
    if len(nine) >= 3:
        yield "nine parts behind three layers or more"
    last = next((own for own in reversed(maps) if not all(map(all, own))), maps[0])
    split = sum(map(is_split, maps[-1]))
    yield {0: "no axis split at the head", 1: "one axis split at the head"}.get(
        split, "nine parts at the head"
    )
    if len({margins(axis) for axis in last}) > 1:
        yield "rows and columns with different borders"
    if any(len(set(margins(axis))) > 1 for axis in last):
        yield "borders of different widths at the two ends"
    if any(all(axis) for own in maps for axis in own):
        yield "a map without a middle"


def _of_head(network: Network) -> Iterator[str]:
    last = network.trunk[-1]
    match network.head:
        case Flatten(order=order):
            yield "flatten to CHW" if order == "CHW" else "flatten to another order"
        case GlobalPool(kind=kind):
            yield f"global {kind}"
        case Squeeze():
            yield "convolution as large as the map"
        case other:
            yield type(other).__name__
    if isinstance(last, AdaptivePool):
        before = network.maps()[-2].extent
        even = all(n % bins == 0 for n, bins in zip(before, last.bins, strict=True))
        yield f"{'even' if even else 'uneven'} adaptive {last.kind}"
    if network.taps:
        yield "several maps flattened"
    if network.outputs != "array":
        yield "several outputs"


def _of_step(network: Network, step: Any) -> Iterator[str]:
    if step is None:
        yield "its own step"
        return
    y, x = pair(step)
    strides = list(zip((y, x), network.stride, strict=True))
    if y == x == 1:
        yield "step 1"
    if y != x:
        yield "unequal steps"
    if y > network.window[0] or x > network.window[1]:
        yield "step beyond the window"
    for word, holds in (
        ("a divisor of the stride", lambda n, t: t % n == 0 and n < t),
        ("a multiple of the stride", lambda n, t: n % t == 0 and n > t > 1),
        ("neither a divisor nor a multiple of the stride", lambda n, t: n % t and t % n),
    ):
        if any(holds(*each) for each in strides):
            yield f"step: {word}"


IN_BOTH = """
    padding of zeros; padding of reflect; padding of replicate; padding of circular
    padding layer: zeros; padding layer: value; padding layer: reflect; padding layer: replicate
    padding layer: circular; padding layer: nothing; padding layer that cuts
    asymmetric padding layer; row-padded padding layer; column-padded padding layer
    padded convolution; asymmetric convolution; row-padded convolution; column-padded convolution
    convolution with padding by a rule; padded convolution with a stride
    padded convolution with dilation; padded convolution in groups
    convolution that leaves cells unread
    padded max pool; row-padded max pool; column-padded max pool; padded max pool with a stride
    padded max pool with dilation; max pool with an overhang
    padded average pool; row-padded average pool; column-padded average pool
    padded average pool with a stride; average pool with an overhang
    average pool that counts the padding; average pool that leaves out the padding
    average pool that leaves cells unread
    add of borders of different widths; subtract of borders of different widths
    multiply of borders of different widths; maximum of borders of different widths
    concat of borders of different widths; split of borders of different widths
    slice; slice with a step; channels of zeros
    Gate; GroupNorm; operation without a rule
    nine parts at the head; one axis split at the head; no axis split at the head
    nine parts behind three layers or more; a map without a middle
    rows and columns with different borders; borders of different widths at the two ends
    flatten to CHW; flatten to another order; global max; global mean; global sum
    convolution as large as the map; even adaptive average; even adaptive max; PoolOneAxis; Gram
    several maps flattened; several outputs
    its own step; step 1; step: a divisor of the stride; step: a multiple of the stride
    step: neither a divisor nor a multiple of the stride; unequal steps; step beyond the window
    image of one window; image of more than a window
"""
IN_ONE = {
    "torch": "uneven adaptive average; uneven adaptive max",
    "onnx": """
        asymmetric max pool; asymmetric average pool
        max pool with padding by a rule; average pool with padding by a rule
    """,
}
MOST = ("nine parts at the head", "nine parts behind three layers or more", "padded convolution")


@pytest.mark.parametrize("word", DIALECTS)
def test_random_padded_networks_have_everything_among_them(word: str) -> None:
    cases = all_drawn(word)
    counts = Counter(feature for case in cases for feature in features(case))
    wanted = re.split(r"\s*[;\n]\s*", f"{IN_BOTH}\n{IN_ONE[word]}".strip())
    assert {feature: counts[feature] for feature in wanted if counts[feature] < 3} == {}
    assert all(counts[feature] > 0.45 * len(cases) for feature in MOST), counts


def test_there_are_more_than_560_random_padded_networks() -> None:
    assert sum(len({case[0] for case in all_drawn(word)}) for word in DIALECTS) > 560


def some(word: str, count: int) -> list[Network]:
    """Return some of the networks, in the plainest words and with one output."""
    networks = [case[0] for case in drawn(word, 0)[:count]]
    return [replace(net, batch=None, outputs="array", double=False) for net in networks]


def test_random_padded_networks_tell_windows_apart() -> None:
    """A network that gives every window the same scores could not show an error."""
    apart = []
    for network in some("onnx", 90):
        _, classify = in_onnx(network)
        scores = classify(pixels(network, 8, network.window, seed=0))
        apart.append(bool(np.ptp(scores, axis=0).any()))
    assert np.mean(apart) > 0.75


def test_padding_the_image_and_not_the_windows_would_show() -> None:
    shown = []
    for network in some("onnx", 40):
        model, classify = in_onnx(network)
        y, x = network.stride
        size = (network.window[0] + 2 * y, network.window[1] + 2 * x)
        images = pixels(network, 1, size, seed=1)
        fcn = fullconv.convert(model, window=network.window, step=(y, x), exact=False)
        expected = scores_of_crops(classify, images, network.window, (y, x))
        shown.append(not np.array_equal(fcn(images), expected))
    assert np.mean(shown) > 0.7


def test_another_way_to_pad_would_show() -> None:
    """Reflection, repetition and zeros must not be taken for each other."""
    others = {"reflect": "replicate", "replicate": "zeros", "circular": "replicate"}
    shown = []
    for network in some("onnx", 87):
        trunk = tuple(
            replace(layer, mode=others[layer.mode])
            if isinstance(layer, (Conv, Pad)) and layer.mode in others
            else layer
            for layer in network.trunk
        )
        if trunk != network.trunk:
            images = pixels(network, 4, network.window, seed=2)
            mine, other = (in_onnx(net)[1] for net in (network, replace(network, trunk=trunk)))
            shown.append(not np.array_equal(mine(images), other(images)))
    assert len(shown) > 20
    assert np.mean(shown) > 0.7


def test_cells_that_all_windows_share_are_the_same_in_each_of_them() -> None:
    """So what `networks.borders` calls shared is; and most of what it calls a window's own is."""
    differing = []
    for network in some("onnx", 30):
        h, w = network.window
        for depth, (rows, columns) in enumerate(own_cells(network)):
            here = network.maps()[depth]
            if any(pitch.denominator > 1 for pitch in here.pitch) or here.every != (1, 1):
                continue  # the next window's cells lie between those of this one
            y, x = map(int, here.pitch)
            flat = Flatten(style="Flatten")
            whole = replace(network, trunk=network.trunk[:depth], head=flat, tail=(), taps=())
            _, classify = in_onnx(whole)
            image = pixels(network, 1, (h + y, w + x), seed=3)
            one, other = (
                classify(crop).reshape(here.channels, *here.extent)
                for crop in (image[:, :, :h, :w], image[:, :, y:, x:])
            )
            same = (one[:, 1:, 1:] == other[:, :-1, :-1]).all(axis=0)
            own = np.array(rows)[:, None] | np.array(columns)
            either = own[1:, 1:] | own[:-1, :-1]
            assert same[~either].all(), (network, depth)
            differing.append(not either.any() or not same[either].all())
    assert np.mean(differing) > 0.8


def test_the_two_forms_of_one_padded_network_are_one_classifier() -> None:
    torch = pytest.importorskip("torch")
    styles = {"GlobalPool": "reduce", "Flatten": "flatten", "Squeeze": "squeeze"}
    compared = 0
    for network in some("onnx", 60):
        if "space to depth" in repr(network):
            continue  # the two frameworks order the new channels differently
        style = styles.get(type(network.head).__name__)
        head = replace(network.head, style=style) if style else network.head
        try:
            _, mine = in_torch(replace(network, head=head))
        except ValueError:
            continue  # PyTorch's pools have the same padding at both ends
        _, wanted = in_onnx(network)
        images = pixels(network, 1, network.window, seed=4)
        assert_same(numbers(mine(torch.from_numpy(images))), wanted(images))
        compared += 1
    assert compared > 40
