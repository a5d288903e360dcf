"""The exact form runs in tiles of windows, and the scores do not depend on them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fullconv
from fullconv import converted
from fullconv.lift.memory import Size, elements
from fullconv.tiling import tile_shape, tiles
from fullconv.verification import WHOLE
from networks.specs import Conv, Flatten, Linear, Network
from networks.weights import pixels
from oracle import assert_same, onnx_classifier, scores_of_crops

# Padded, so that windows have cells of their own.
PADDED = Network(
    window=(8, 10),
    channels=2,
    trunk=(Conv(out=3, padding=(1, 1, 1, 1)),),
    head=Flatten(style="Flatten"),
    tail=(Linear(out=2, style="Gemm transB"),),
    opset=17,
)


def padded_model() -> Any:
    from networks.onnx_form import onnx_form

    return onnx_form(PADDED)


@pytest.mark.parametrize("windows", [1, 2, 3, 5, 7, 1000])
def test_scores_do_not_depend_on_the_tiles(windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = padded_model()
    fcn = fullconv.convert(model, step=(1, 2))
    images = pixels(PADDED, 2, (17, 23), seed=1)
    expected = scores_of_crops(onnx_classifier(model), images, (8, 10), (1, 2))
    budget = elements(fcn.footprint, 1, windows)
    monkeypatch.setattr(converted, "MEMORY_BYTES", 4 * budget)
    shapes: list[tuple[int, int]] = []
    run = fcn.framework.runner(fcn.model)
    fcn._run = lambda part: (shapes.append(fcn.grid.shape(part.shape[2:])), run(part))[1]
    assert_same(fcn(images), expected)
    assert all(elements(fcn.footprint, *shape) <= budget for shape in shapes)
    if windows == 1000:
        assert shapes == [(10, 7)]
    else:
        assert sum(rows * columns for rows, columns in shapes) == 2 * 10 * 7


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.lists(st.builds(Size, *[st.integers(0, 9)] * 4), min_size=1, max_size=3),
    st.integers(1, 3000),
)
def test_tiles_cover_every_window_once_and_stay_within_the_budget(
    step: tuple[int, int], counts: tuple[int, int], footprint: list[Size], limit: int
) -> None:
    shape = tile_shape(fullconv.Grid((9, 7), step), counts, tuple(footprint), limit)
    seen = np.zeros(counts, int)
    for band in tiles(counts, shape):
        for (top, left), (bottom, right) in band:
            seen[top : bottom + 1, left : right + 1] += 1
            rows, columns = bottom - top + 1, right - left + 1
            assert elements(tuple(footprint), rows, columns) <= limit or shape == (1, 1)
    assert (seen == 1).all()


def test_a_large_image_is_verified_around_its_windows() -> None:
    model = padded_model()
    fcn = fullconv.convert(model, step=1)
    images = pixels(PADDED, 1, (90, 90), seed=2)
    assert np.prod(fcn.grid.shape((90, 90))) > WHOLE
    shapes: list[tuple[int, ...]] = []
    run = fcn.framework.runner(fcn.model)
    fcn._run = lambda part: (shapes.append(part.shape[2:]), run(part))[1]
    proof = fullconv.verify(fcn, model, images, windows=12)
    assert proof.passed
    assert proof.max_error == 0
    assert max(max(shape) for shape in shapes) <= 10 + 4


def test_many_windows_stay_within_the_memory_that_is_meant_for_them() -> None:
    """62,001 windows of this network, each with 20 kB, would need more than a gigabyte at once."""
    program = textwrap.dedent(
        """
        import resource, sys
        sys.path.insert(0, "tests")
        import numpy as np
        import fullconv
        from networks.onnx_form import onnx_form
        from networks.specs import Conv, Flatten, Gate, Linear, Network
        network = Network(
            window=(8, 10), channels=2, trunk=(Conv(out=64, padding=(1, 1, 1, 1)), Gate()),
            head=Flatten(style="Flatten"), tail=(Linear(out=2, style="Gemm transB"),), opset=17,
        )
        from fullconv import converted
        fcn = fullconv.convert(onnx_form(network), step=1)
        converted.MEMORY_BYTES = 64 << 20
        small = np.zeros((1, 2, 40, 40), np.float32)
        fcn(small)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        scores = fcn(np.zeros((1, 2, 256, 258), np.float32))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(scores.shape[2] * scores.shape[3], (after - before) // 1024)
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    windows, megabytes = map(int, result.stdout.split())
    assert windows == 62_001
    assert windows * 64 * 8 * 10 * 4 > 1 << 30, "at once it would be more than a gigabyte"
    assert megabytes < 256, f"{megabytes} MB more, where 64 MB are meant for it"
