"""Random networks over one, two and three axes against the loop over crops, to the last bit.

Windows share wherever the rules say that they can: no fallback may be what made a score right.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fullconv
from networks.axes import Classifier, classifiers, pixels
from test_random_networks import examples

SPREADING = ("repeats cells", "spreads cells")
"""What begins the reasons for which windows cannot share at every step: cells are made finer."""

ONNX, TORCH = 500, 50
"""Networks of each number of axes; one of PyTorch takes as long as five, most of it its export."""

Scores = NDArray[np.float32]


def of_crops(classify: Callable[[Any], Scores], images: Scores, grid: fullconv.Grid) -> Scores:
    """Return the scores of all crops, one crop at a time: the definition."""
    counts = grid.shape(images.shape[2:])
    each = [
        np.concatenate(
            [
                classify(image[None][(..., *grid.slices(*place))])
                for place in product(*map(range, counts))
            ]
        )
        for image in images
    ]
    return np.stack([scores.T.reshape(-1, *counts) for scores in each])


def compare(
    model: Any,
    classify: Callable[[Any], Scores],
    case: Classifier,
    like: Any,
    check: bool = False,
) -> None:
    fcn = fullconv.convert(model, case.window, case.step, check=check)
    images = pixels(case, 2)
    scores = np.asarray(fcn(like(images)))
    assert np.array_equal(scores, of_crops(classify, images, fcn.grid))
    assert fcn.report.exact
    unshared = [reason.why for reason in fcn.report.reasons]
    assert all(why.startswith(SPREADING) for why in unshared), unshared


def in_onnx(case: Classifier, check: bool = False) -> None:
    from fullconv.frameworks.onnx.session import session
    from networks.axes_onnx import onnx_form

    model = onnx_form(case)
    compare(model, session(model), case, lambda images: images, check)


def in_torch(case: Classifier) -> None:
    torch = pytest.importorskip("torch")
    from networks.axes_torch import torch_form

    torch.set_num_threads(1)
    model = torch_form(case)

    def classify(crop: Scores) -> Scores:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(np.ascontiguousarray(crop))))

    # A module of weights alone does not say how many channels it takes; its program does.
    crop = torch.zeros(2, case.channels, *case.window)
    free = ({0: torch.export.Dim.DYNAMIC},)
    compare(torch.export.export(model, (crop,), dynamic_shapes=free), classify, case, torch.tensor)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_any_onnx_network_equals_its_crops(axes: int) -> None:
    @given(classifiers(axes))
    @examples(ONNX)
    def each(case: Classifier) -> None:
        in_onnx(case)

    each()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_any_torch_network_equals_its_crops(axes: int) -> None:
    @given(classifiers(axes))
    @examples(TORCH)
    def each(case: Classifier) -> None:
        in_torch(case)

    each()


@given(st.integers(1, 3).flatmap(classifiers))
@examples(12)
def test_the_probe_agrees(case: Classifier) -> None:
    in_onnx(case, check=True)


@pytest.mark.slow
@given(st.integers(1, 3).flatmap(classifiers))
@examples(1500)
def test_many_onnx_networks_equal_their_crops(case: Classifier) -> None:
    in_onnx(case)


@pytest.mark.slow
@given(st.integers(1, 3).flatmap(classifiers))
@examples(1500)
def test_many_torch_networks_equal_their_crops(case: Classifier) -> None:
    in_torch(case)
