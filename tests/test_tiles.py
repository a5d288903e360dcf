"""The exact form runs in tiles of windows, and the scores do not depend on them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fullconv
from fullconv.conversion import converted
from fullconv.geometry.grid import Halo
from fullconv.geometry.tiling import Plan
from fullconv.lift.memory import Size, elements
from fullconv.verification.verifying import WHOLE
from networks.onnx_form import onnx_form
from networks.padded import PADDED_ONNX, padded_cases_drawn
from networks.specs import Conv, Flatten, Gate, Linear, Network
from networks.weights import pixels
from oracle import assert_same, onnx_classifier, scores_of_crops

CLASSICAL = padded_cases_drawn(PADDED_ONNX, 24, 0)
"""Padded networks in which the approximate form sees pixels beyond its windows."""

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
    return onnx_form(PADDED)


@pytest.mark.parametrize("windows", [1, 2, 3, 5, 7, 1000])
def test_scores_do_not_depend_on_the_tiles(windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = padded_model()
    fcn = fullconv.convert(model, step=(1, 2))
    images = pixels(PADDED, 2, (17, 23), seed=1)
    expected = scores_of_crops(onnx_classifier(model), images, (8, 10), (1, 2))
    budget = elements(fcn.footprint, (1, windows))
    monkeypatch.setattr(converted, "CALL_BUDGET_BYTES", 4 * budget)
    shapes: list[tuple[int, int]] = []
    run = fcn.framework.runner(fcn.model)
    fcn._run = lambda part: (shapes.append(fcn.grid.shape(part.shape[2:])), run(part))[1]
    assert_same(fcn(images), expected)
    assert all(elements(fcn.footprint, shape) <= budget for shape in shapes)
    if windows == 1000:
        assert shapes == [(10, 7)]
    else:
        assert sum(rows * columns for rows, columns in shapes) == 2 * 10 * 7


GATED = replace(
    PADDED, trunk=(Conv(out=3, padding=(1, 1, 1, 1)), Gate(), Conv(out=3, padding=(1, 1, 1, 1)))
)
"""Whose windows share nothing behind the gate."""


@pytest.mark.parametrize("count", [1, 40])
def test_windows_that_share_little_run_in_batches_that_fit_the_cache(
    count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = onnx_form(GATED)
    converted_now = fullconv.convert(model, step=(1, 2))
    converted_now.save(tmp_path / "gated.onnx")
    size = (17, 23) if count == 1 else (8, 10)
    images = pixels(GATED, count, size, seed=1)
    expected = scores_of_crops(onnx_classifier(model), images, (8, 10), (1, 2))
    monkeypatch.setattr(converted, "CACHE_BYTES", 1 << 14)
    for fcn in (converted_now, fullconv.load(tmp_path / "gated.onnx")):
        windows = windows_of_runs(fcn)
        assert_same(fcn(images), expected)
        assert len(windows) > 2
        assert sum(windows) == count * prod(fcn.grid.shape(size))


def test_windows_that_share_nothing_take_less_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullconv.lift.pace.PARTS_PAY", 0.0)
    fcn = fullconv.convert(padded_model(), step=1)
    images = pixels(PADDED, 1, (40, 41), seed=1)
    monkeypatch.setattr(converted, "CROPS_BYTES", 1 << 14)
    plan, limit = fcn._plan(images)
    assert fcn._run_bytes(images) < converted.CACHE_BYTES
    assert limit == max(1 << 14, 4 * elements(fcn.footprint, (1, 32)))
    assert len(plan) > 1


def windows_of_runs(fcn: Any) -> list[int]:
    """Note from now on how many windows each run of a network computes."""
    run, windows = fcn.framework.runner(fcn.model), []
    fcn._run = lambda part: (
        windows.append(len(part) * prod(fcn.grid.shape(part.shape[2:]))),
        run(part),
    )[1]
    return windows


def test_windows_that_share_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fcn = fullconv.convert(padded_model(), step=1)
    assert not fcn.report.one_pass
    images = pixels(PADDED, 1, (40, 41), seed=1)
    monkeypatch.setattr(converted, "CACHE_BYTES", 1 << 14)
    assert fcn._run_bytes(images) > converted.CACHE_BYTES
    assert fcn._plan(images) == (None, converted.CALL_BUDGET_BYTES)
    monkeypatch.setattr(converted, "AGAIN", 100.0)
    plan, _ = fcn._plan(images)
    assert len(plan) > 1


def test_a_network_that_trains_runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "CACHE_BYTES", 1)
    model = nn.Sequential(
        *(nn.GroupNorm(1, 1), nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(192, 2))
    )
    fcn = fullconv.convert(model.eval(), 8, 1, check=False)
    images = torch.zeros(1, 1, 40, 40)
    assert fcn._plan(images)[0] is not None
    fcn.model.train()
    assert fcn._plan(images)[0] is None
    fcn.model.eval()
    assert fcn._plan(images.requires_grad_())[0] is None


@st.composite
def tilings(draw: st.DrawFn) -> tuple[fullconv.Grid, tuple[int, ...], Halo, tuple[Size, ...], int]:
    """Draw a grid, an image, a halo, a footprint and a limit, over one to three axes."""
    axes = draw(st.integers(1, 3))
    window, longest = ((9, 7, 5)[:axes], (300, 120, 30)[axes - 1])
    step = draw(st.tuples(*[st.integers(1, 12)] * axes))
    image = tuple(draw(st.integers(size, longest)) for size in window)
    halo = draw(st.tuples(*[st.tuples(st.integers(0, 20), st.integers(0, 20))] * axes))
    size = st.tuples(*[st.integers(0, 9)] * 2**axes).map(Size)
    footprint = tuple(draw(st.lists(size, min_size=1, max_size=3)))
    return fullconv.Grid(window, step), image, halo, footprint, draw(st.integers(1, 3000))


@given(tilings(), st.integers(1, 40), st.sampled_from([1.0, 1.1]))
def test_tiles_that_fit_the_cache_multiply_hardly_more(
    tiling: Any, cost: int, again: float
) -> None:
    grid, image, _, footprint, limit = tiling
    each = Size(cost + n for n in footprint[0])
    plan = Plan.in_cache(image, grid, footprint, each, limit, again)
    whole = each.at(grid.shape(image))
    if plan is not None:
        windows = [[stop - start for start, stop in tile.windows] for tile in plan]
        assert sum(map(each.at, windows)) <= again * whole


@given(tilings())
def test_tiles_cover_every_window_once_and_stay_within_the_budget(
    tiling: tuple[fullconv.Grid, tuple[int, ...], Halo, tuple[Size, ...], int],
) -> None:
    grid, image, halo, footprint, limit = tiling
    plan = Plan.within(image, grid, halo, footprint, limit)
    seen = np.zeros(grid.shape(image), int)
    if any(map(any, halo)):
        # Where a window and its halo are too much, tiles take twice that.
        least = [
            count if min(sides) >= size else min(count, 1 + sum(-(n // -s) for n in sides))
            for count, sides, size, s in zip(seen.shape, halo, image, grid.step, strict=True)
        ]
        limit = max(limit, 2 * elements(footprint, least))
    for tile in plan:
        seen[tuple(slice(*span) for span in tile.windows)] += 1
        computed = grid.shape(tile.size)
        fits = elements(footprint, computed) <= limit
        assert fits or all(n in (1, count) for n, count in zip(plan.shape, seen.shape, strict=True))
        assert np.zeros(computed)[tile.own].size == tile.window_count
        for axis, ((first, last), (start, end)) in enumerate(
            zip(tile.windows, tile.pixels, strict=True)
        ):
            step, window = grid.step[axis], grid.window[axis]
            assert 0 <= start < end <= image[axis]
            # What a tile's windows cover holds the halo of its own ones, or ends with the image.
            covered = start + (computed[axis] - 1) * step + window
            own = (last - 1) * step + window
            assert covered - own >= halo[axis][1] or end == image[axis]
            assert start + tile.skipped[axis] * step == first * step
            assert first * step - start >= min(halo[axis][0], first * step)
    assert (seen == 1).all()
    assert plan.pixels == sum(tile.pixel_count for tile in plan)


@pytest.mark.parametrize("number", range(len(CLASSICAL)))
def test_tiles_of_the_approximate_form_are_read_with_all_that_their_scores_see(
    number: int,
) -> None:
    network, step, _, _ = CLASSICAL[number]
    fcn = fullconv.convert(onnx_form(network), network.window, step, exact=False)
    height, width = (w + 8 * s + 3 for w, s in zip(network.window, fcn.grid.step, strict=True))
    images = pixels(network, 1, (height, width), seed=3)
    expected = fcn(images)
    for shape in ((1, 1), (2, 3), (4, 7)):
        plan = Plan((height, width), fcn.grid, shape, fcn.halo)
        assert len(plan) > 1
        assert_same(fcn._run_tiles(images, plan), expected)


class Levels(nn.Module):
    """Layers for networks that work at several pitches; ``change`` puts them together."""

    def __init__(self, change: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.first, self.next = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.both = nn.Conv2d(4, 2, 3, padding=1)
        self.down = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2, 2, 2, stride=2)
        self.linear = nn.LazyLinear(2)
        self(torch.zeros(1, 1, 24, 24))
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.change(self, x).flatten(1))


def spread(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor))


def coarse(model: Any, x: Tensor, pitch: int) -> Tensor:
    return F.max_pool2d(model.first(x), pitch)


def upsampled(model: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(model.next(spread(coarse(model, x, 4), 2)), 2)


def upsampled_thrice(model: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(model.next(spread(coarse(model, x, 4), 3)), 3)


def upsampled_twice(model: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(model.next(spread(spread(coarse(model, x, 6), 2), 3)), 3)


def joined_levels(model: Any, x: Tensor) -> Tensor:
    levels = [spread(coarse(model, x, pitch), pitch) for pitch in (2, 4)]
    return F.max_pool2d(model.both(torch.cat(levels, 1)), 3)


def pyramid(model: Any, x: Tensor) -> Tensor:
    fine = model.next(coarse(model, x, 3))
    return F.max_pool2d(model.next(spread(F.max_pool2d(fine, 2), 2) + fine), 2)


def pool_beside_convolution(model: Any, x: Tensor) -> Tensor:
    y = model.first(x)
    both = torch.cat([F.max_pool2d(y, 2), model.down(y)], 1)
    return F.max_pool2d(model.both(both), 4)


def transposed_beside(model: Any, x: Tensor) -> Tensor:
    y = model.first(x)
    both = torch.cat([model.up(model.next(F.max_pool2d(y, 2))), y], 1)
    return F.max_pool2d(model.both(both), 4)


@pytest.mark.parametrize("step", [None, 12])
@pytest.mark.parametrize(
    "change",
    [
        upsampled,
        upsampled_thrice,
        upsampled_twice,
        joined_levels,
        pyramid,
        pool_beside_convolution,
        transposed_beside,
    ],
)
def test_scores_of_the_approximate_form_do_not_depend_on_the_tiles_at_several_pitches(
    change: Callable[[Any, Tensor], Tensor],
    step: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fcn = fullconv.convert(Levels(change).eval(), 24, step, exact=False)
    images = torch.randint(-3, 4, (1, 1, 72, 85), generator=torch.Generator().manual_seed(1))
    expected = fcn(images.float())
    assert fcn.report.reasons
    assert not fcn.report.per_window
    for shape in ((1, 1), (2, 3)):
        plan = Plan((72, 85), fcn.grid, shape, fcn.halo)
        assert len(plan) > 1
        assert_same(fcn._run_tiles(images.float(), plan), expected)
    monkeypatch.setattr(converted, "CALL_BUDGET_BYTES", 1)
    assert_same(fcn(images.float()), expected)


@pytest.mark.parametrize(
    ("window", "halo"), [((8, 7), ((0, 1), (0, 0))), ((7, 8), ((0, 0), (0, 1)))]
)
def test_a_halo_holds_what_a_pool_reads_beyond_its_map(window: tuple[int, int], halo: Halo) -> None:
    """With ``ceil_mode`` the last cell of a window overhangs it, and reads what lies there."""
    model = nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 1, *window))
    fcn = fullconv.convert(model.eval(), window, step=2, exact=False)
    image = torch.randn(1, 1, 18, 17)
    reach = [
        max(place + 1 for place in range(image.shape[axis]) if is_seen(fcn, image, axis, place))
        for axis in (2, 3)
    ]
    assert reach == [size + after for size, (_, after) in zip(window, halo, strict=True)]
    assert fcn.halo == halo


def is_seen(fcn: Any, image: Tensor, axis: int, place: int) -> bool:
    """Whether the first window's scores depend on a row or column of the image."""
    other = image.clone()
    other.select(axis, place).zero_()
    return not torch.equal(fcn(other)[..., 0, 0], fcn(image)[..., 0, 0])


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
        import sys
        sys.path.insert(0, "tests")
        import numpy as np
        import fullconv
        from networks.onnx_form import onnx_form
        from networks.specs import Conv, Flatten, Gate, Linear, Network
        from on_this_machine import peak_bytes
        network = Network(
            window=(8, 10), channels=2, trunk=(Conv(out=64, padding=(1, 1, 1, 1)), Gate()),
            head=Flatten(style="Flatten"), tail=(Linear(out=2, style="Gemm transB"),), opset=17,
        )
        from fullconv.conversion import converted
        fcn = fullconv.convert(onnx_form(network), step=1)
        converted.CALL_BUDGET_BYTES = 64 << 20
        small = np.zeros((1, 2, 40, 40), np.float32)
        fcn(small)
        before = peak_bytes()
        scores = fcn(np.zeros((1, 2, 256, 258), np.float32))
        print(scores.shape[2] * scores.shape[3], (peak_bytes() - before) >> 20)
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    windows, megabytes = map(int, result.stdout.split())
    assert windows == 62_001
    assert windows * 64 * 8 * 10 * 4 > 1 << 30, "at once it would be more than a gigabyte"
    assert megabytes < 256, f"{megabytes} MB more, where 64 MB are meant for it"
