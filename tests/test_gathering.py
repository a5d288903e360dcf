"""Where sharing would take longer than it saves, every window is given its own pixels at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fullconv
from fullconv.conversion.report import GATHERED
from fullconv.lift import pace
from networks.axes import Classifier, classifiers
from networks.onnx_form import onnx_form
from networks.specs import Conv, Flatten, Gate, Linear, Network
from networks.weights import pixels as pixels_of
from oracle import assert_same, onnx_classifier, scores_of_crops, torch_classifier
from test_random_axes import in_onnx
from test_random_networks import examples

GATED = Network(
    window=(8, 10),
    channels=2,
    trunk=(Conv(out=3, padding=(1, 1, 1, 1)), Gate(), Conv(out=3, padding=(1, 1, 1, 1))),
    head=Flatten(style="Flatten"),
    tail=(Linear(out=3, style="Gemm transB"),),
    opset=17,
)
"""Whose windows could share a cheap layer, of which each needs all numbers right behind it."""


def is_gathered(fcn: Any) -> bool:
    return any(change.after == GATHERED for change in fcn.report.changes)


@pytest.fixture(params=["torch", "onnx"])
def gated(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    if request.param == "onnx":
        model = onnx_form(GATED)
        return model, onnx_classifier(model)
    pytest.importorskip("torch")
    from networks.torch_form import torch_form

    model = torch_form(replace(GATED, head=Flatten(), tail=(Linear(out=3),)))
    return model, torch_classifier(model)


def test_windows_that_share_a_cheap_layer_alone_are_gathered(
    gated: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, classify = gated
    images: Any = pixels_of(GATED, 2, (25, 22), seed=1)
    if hasattr(model, "parameters"):
        images = pytest.importorskip("torch").from_numpy(images)
    shared = fullconv.convert(model, (8, 10), 3)
    monkeypatch.setattr(pace, "PARTS_PAY", 1.0)
    fcn = fullconv.convert(model, (8, 10), 3)
    assert is_gathered(fcn)
    assert not is_gathered(shared)
    assert fcn.report.reasons == shared.report.reasons != ()
    assert fcn.report.exact
    assert fcn.report.cost.exact == fcn.report.cost.crops > shared.report.cost.exact
    told = "computed window by window, for sharing would take longer than it saves"
    assert told in fcn.report.verdict
    assert told not in shared.report.verdict
    assert_same(fcn(images), scores_of_crops(classify, images, (8, 10), (3, 3)))
    assert_same(fcn(images), shared(images))


@pytest.mark.parametrize("step", [3, 4, 5, 7, 10, 20])
def test_onnx_copies_whole_groups_of_neighbouring_pixels(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows side by side are a reshape; else pixels are copied as many at once as can be."""
    monkeypatch.setattr(pace, "PARTS_PAY", 0.0)
    model, images = onnx_form(GATED), pixels_of(GATED, 2, (17, 53), seed=1)
    fcn = fullconv.convert(model, (8, 10), (3, step))
    assert is_gathered(fcn)
    nodes = [node for node in fcn.model.graph.node if node.op_type == "Gather"]
    assert len(nodes) == (1 if step == 10 else 2)
    assert_same(fcn(images), scores_of_crops(onnx_classifier(model), images, (8, 10), (3, step)))


def test_what_shares_in_one_pass_is_never_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Network(
        window=(8, 8),
        channels=1,
        trunk=(Conv(out=2),),
        head=Flatten(style="Flatten"),
        tail=(Linear(out=3, style="Gemm transB"),),
        opset=17,
    )
    monkeypatch.setattr(pace, "PARTS_PAY", 0.0)
    assert fullconv.explain(onnx_form(plain)).one_pass


def test_the_form_for_few_windows_counts_those(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a single window, nothing is shared whatever the network."""
    monkeypatch.setattr(pace, "PARTS_PAY", 1.0)
    torch = pytest.importorskip("torch")
    layers = torch.nn
    model = layers.Sequential(
        *(layers.Conv2d(3, 32, 3, padding=1), layers.Conv2d(32, 32, 3, padding=1)),
        *(layers.Flatten(), layers.Linear(32 * 32 * 32, 3)),
    )
    given = {"window": (32, 32), "step": 4, "check": False}
    assert not is_gathered(fullconv.convert(model, **given))
    assert not is_gathered(fullconv.convert(model, **given, image=(64, 64)))
    assert is_gathered(fullconv.convert(model, **given, image=(33, 33)))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("pays", [0.0, 1.0], ids=["gathered", "as it pays"])
def test_random_networks_give_the_scores_of_the_crops(
    axes: int, pays: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "PARTS_PAY", pays)

    @examples(12)
    @given(classifiers(axes))
    def check(case: Classifier) -> None:
        in_onnx(case)

    check()


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_time_of_many_windows_is_that_of_each_in_the_end(a: int, b: int) -> None:
    time = pace.Size((a, b))
    assert pace.per_window(time, ()) == a
    assert np.isclose(pace.per_window(time, (1000,)), a, atol=b / 999)
