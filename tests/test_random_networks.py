"""Random networks against the loop over crops: the backbone of everything else.

Every network has small integer weights and is given small integer pixels, so its arithmetic is
exact (Note [Exact arithmetic] in `networks.specs`) and a converted network must give its crops'
scores to the last bit. Drawn at random: the layers, the head and the way it is written, the
window, the step, the size and number of images.

A failing example prints the network as it is made; paste it behind
``from networks.specs import *`` and `check` it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import fullconv
from networks.checks import (
    Form,
    Step,
    as_one_sequence,
    assert_shared,
    check,
    images_for,
    in_onnx,
    in_torch,
)
from networks.specs import Flatten, Network
from networks.strategies import ONNX, TORCH, Dialect, networks, sizes, steps
from networks.weights import pixels
from oracle import (
    assert_same,
    numbers,
    scores_of_crops,
)

# PyTorch's own remark about the speed of such a layer, once per process.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths:UserWarning"
)


def examples(count: int) -> Any:
    """Return settings for so many networks: the same ones in every run, however slow.

    A failing network is shown as it was drawn: to shrink it takes minutes for networks that
    must be traced, and it can be read as it is.
    """
    return settings(
        phases=[Phase.explicit, Phase.generate],
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def cases(draw: Any, dialect: Dialect) -> tuple[Network, Step, tuple[int, int], int]:
    """Draw (network, step, image size, number of images)."""
    network = draw(networks(dialect))
    return network, draw(steps(network)), draw(sizes(network)), draw(st.integers(1, 2))


# ---------------------------------------------------------------------------------------------
# Equal to the crops


@given(cases(TORCH))
@examples(90)
def test_any_torch_network_equals_its_crops(case: tuple[Any, ...]) -> None:
    check(*case, in_torch)


@given(cases(TORCH))
@examples(90)
def test_any_other_torch_network_equals_its_crops(case: tuple[Any, ...]) -> None:
    check(*case, in_torch)


@given(cases(ONNX))
@examples(110)
def test_any_onnx_network_equals_its_crops(case: tuple[Any, ...]) -> None:
    check(*case, in_onnx)


@given(cases(ONNX))
@examples(110)
def test_any_other_onnx_network_equals_its_crops(case: tuple[Any, ...]) -> None:
    check(*case, in_onnx)


def check_shared(case: tuple[Any, ...], form: Form) -> None:
    """Compare with the crops, and require that rules did it and not the fallback."""
    fcn = check(*case, form)
    if case[0].shares_at(fcn.grid.step):
        assert_shared(fcn)


SHARED_TORCH = replace(TORCH, shareable=True)
SHARED_ONNX = replace(ONNX, shareable=True)


@given(cases(SHARED_TORCH))
@examples(60)
def test_torch_networks_without_borders_are_shared_by_all_windows(case: tuple[Any, ...]) -> None:
    check_shared(case, in_torch)


@given(cases(SHARED_TORCH))
@examples(60)
def test_other_torch_networks_without_borders_are_shared_by_all_windows(
    case: tuple[Any, ...],
) -> None:
    check_shared(case, in_torch)


@given(cases(SHARED_ONNX))
@examples(80)
def test_onnx_networks_without_borders_are_shared_by_all_windows(case: tuple[Any, ...]) -> None:
    check_shared(case, in_onnx)


# ---------------------------------------------------------------------------------------------
# The approximate form


def check_native(network: Network, count: int, form: Form) -> None:
    """Convert approximately and compare at the window's own size, where it must be equal."""
    model, classify = form(network)
    fcn = fullconv.convert(model, window=network.window, exact=False)
    images = images_for(network, count, network.window, form)
    expected = scores_of_crops(classify, images, network.window, (1, 1), network.batch or 1)
    assert_same(as_one_sequence(fcn(images)), expected)


@given(networks(TORCH), st.integers(1, 2))
@examples(60)
def test_approximate_torch_networks_are_the_classifier_at_its_own_size(
    network: Network, count: int
) -> None:
    check_native(network, count, in_torch)


@given(networks(ONNX), st.integers(1, 2))
@examples(60)
def test_approximate_onnx_networks_are_the_classifier_at_its_own_size(
    network: Network, count: int
) -> None:
    check_native(network, count, in_onnx)


# ---------------------------------------------------------------------------------------------
# The tests themselves


@given(networks(ONNX), st.integers(0, 99))
@examples(60)
def test_the_two_forms_of_one_network_are_one_classifier(network: Network, seed: int) -> None:
    pytest.importorskip("torch")
    styles = {"GlobalPool": "reduce", "Flatten": "flatten", "Squeeze": "squeeze"}
    head = network.head
    if type(head).__name__ in styles:
        head = replace(head, style=styles[type(head).__name__])
    other = replace(network, head=head, outputs="array")
    if "space to depth" in repr(network):
        return  # the two frameworks order the new channels differently
    images = pixels(network, 1, network.window, seed)
    _, mine = in_torch(other)
    _, wanted = in_onnx(replace(network, outputs="array"))
    import torch

    assert_same(numbers(mine(torch.from_numpy(images))), wanted(images))


def test_random_networks_tell_windows_apart() -> None:
    """A network that gives every window the same scores could not show an error."""
    apart = []

    @given(networks(ONNX))
    @examples(60)
    def draw(network: Network) -> None:
        _, classify = in_onnx(replace(network, batch=None, outputs="array"))
        scores = classify(pixels(network, 8, network.window, seed=0))
        apart.append(bool(np.ptp(scores, axis=0).any()))

    draw()
    assert np.mean(apart) > 0.8


def planted(dialect: Dialect, wrong: Any, right: Any) -> int:
    """Return how many of some networks show the difference between two ways to score images."""
    shown = []

    @given(networks(dialect), st.integers(3, 9))
    @examples(60)
    def compare(network: Network, more: int) -> None:
        size = (network.window[0] + more, network.window[1] + more)
        images = pixels(network, 1, size, seed=1)
        network = replace(network, outputs="array", batch=None)
        try:
            assert_same(wrong(network, images), right(network, images))
        except AssertionError:
            shown.append(network)

    compare()
    return len(shown)


def crops(network: Network, images: np.ndarray, step: int = 1) -> Any:
    return scores_of_crops(in_onnx(network)[1], images, network.window, (step, step))


def converted(network: Network, images: np.ndarray, exact: bool = True, step: int = 1) -> Any:
    model, _ = in_onnx(network)
    return fullconv.convert(model, window=network.window, step=step, exact=exact)(images)


def test_a_mistaken_flatten_order_would_show() -> None:
    def mistaken(network: Network, images: np.ndarray) -> Any:
        if isinstance(network.head, Flatten):
            order = "HWC" if network.head.order == "CHW" else "CHW"
            network = replace(network, head=replace(network.head, order=order))
        return converted(network, images)

    assert planted(SHARED_ONNX, mistaken, crops) > 5


def test_a_step_that_is_off_by_one_would_show() -> None:
    def off_by_one(network: Network, images: np.ndarray) -> Any:
        return converted(network, images, step=3)[:, :, :2, :2]

    def right(network: Network, images: np.ndarray) -> Any:
        return crops(network, images, step=2)[:, :, :2, :2]

    assert planted(SHARED_ONNX, off_by_one, right) > 5


def test_padding_the_image_and_not_the_windows_would_show() -> None:
    def approximate(network: Network, images: np.ndarray) -> Any:
        return converted(network, images, exact=False)

    assert planted(ONNX, approximate, crops) > 5
