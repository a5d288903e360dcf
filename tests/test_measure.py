"""Tiles and runtimes are chosen by a short measurement, which is remembered."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fullconv
from fullconv.geometry.grid import Halo
from fullconv.geometry.tiling import Plan
from fullconv.runtimes import Runtime
from fullconv.scanning import measure
from fullconv.scanning.measure import choose_lanes, choose_plan, choose_runtime, recall, remember
from fullconv.scanning.options import Options
from fullconv.scanning.scanner import scan
from fullconv.system.processor import cores
from scans import blank, converted, crops_scores, picture

IMAGE = (600, 500)


@pytest.fixture(autouse=True)
def told_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure by the time that the clocks below say, so that a busy machine changes nothing."""
    Clock.now = 0.0
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: Clock.now))


class Clock(Runtime):
    """Takes a time that the test says, and scores nothing; notes what it was asked to run."""

    name = "clock"
    now = 0.0

    def __init__(self, seconds: Any) -> None:
        super().__init__("f32")
        self.seconds = seconds
        self.sizes: list[tuple[int, ...]] = []

    def _outputs(self, images: NDArray[np.float32]) -> list[NDArray[Any]]:
        self.sizes.append(images.shape[2:])
        Clock.now += self.seconds(images.shape[2] * images.shape[3])
        return []

    def close(self) -> None:
        """Do nothing."""


def choose(runtime: Runtime, memory_bytes: int = 1 << 21) -> Any:
    return choose_plan(converted((1, 1)), "digest", IMAGE, memory_bytes, runtime, blank)


def test_the_tile_with_the_most_windows_per_second_is_chosen() -> None:
    # A fixed cost for every run favours large tiles; a cost that grows faster, small ones.
    large = Clock(lambda pixels: 0.01 + 1e-9 * pixels)
    small = Clock(lambda pixels: 4e-7 * pixels**1.5)
    assert choose(large, 1 << 21).shape > choose(small, (1 << 21) + 1).shape
    assert len(set(large.sizes)) > 1


def test_what_was_measured_is_remembered_for_the_next_image() -> None:
    first = Clock(lambda pixels: 0.002)
    plan = choose(first, 1 << 20)
    again = Clock(lambda pixels: 0.002)
    assert choose(again, 1 << 20).shape == plan.shape
    assert first.sizes
    assert again.sizes == []


def test_another_budget_is_measured_anew() -> None:
    choose(Clock(lambda pixels: 0.002), 1 << 19)
    other = Clock(lambda pixels: 0.002)
    choose(other, 1 << 18)
    assert other.sizes


def test_an_image_of_few_tiles_is_not_measured() -> None:
    runtime = Clock(lambda pixels: 0.0)
    plan = choose(runtime, 1 << 34)
    assert runtime.sizes == []
    assert len(plan) == 1


@pytest.mark.parametrize(("cores", "lanes"), [(1, 1), (2, 2), (64, 4)])
def test_tiles_are_computed_side_by_side_where_there_are_many(
    monkeypatch: pytest.MonkeyPatch, cores: int, lanes: int
) -> None:
    monkeypatch.setattr(measure, "cores", lambda: cores)
    grid = fullconv.Grid((12, 9), (1, 1))
    assert choose_lanes(lambda _: Plan((60, 50), grid, (10, 10))) == lanes
    assert choose_lanes(lambda _: Plan((60, 50), grid, (49, 42))) == 1


def test_tiles_with_a_wide_halo_are_computed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "cores", lambda: 4)
    grid = fullconv.Grid((12, 9), (1, 1))

    def plan_for(lanes: int, halo: Halo) -> Plan:
        return Plan((600, 500), grid, (160 // lanes, 160), halo)

    assert choose_lanes(lambda lanes: plan_for(lanes, ((2, 2), (2, 2)))) == 2
    assert choose_lanes(lambda lanes: plan_for(lanes, ((40, 40), (40, 40)))) == 1
    assert choose_lanes(lambda lanes: plan_for(lanes, ((40, 40), (40, 40))), "torch") == 3


def test_tiles_side_by_side_share_the_memory() -> None:
    plans = []
    for lanes in (1, 4):
        runtime = Clock(lambda pixels: 0.01)
        runtime.lanes = lanes
        plans.append(choose(runtime, 1 << 21))
    alone, shared = (plan.shape[0] * plan.shape[1] for plan in plans)
    assert shared < alone / 3


def test_a_scan_of_many_tiles_says_how_many_it_computed_at_a_time() -> None:
    chosen = scan(converted((1, 1)), picture(40, 30), tile=(4, 5)).metadata["chosen"]
    assert chosen["lanes"] == min(measure.MOST_LANES, cores())


def test_what_would_take_too_long_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PATIENCE_S", 0.02)
    runtime = Clock(lambda pixels: 2e-6 * pixels)
    choose(runtime, (1 << 22) + 1)
    assert max(h * w for h, w in runtime.sizes) * 2e-6 < 0.2


def test_what_is_not_measured_is_told_from_the_tile_before(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, runs = [], []
    for patience_s in (100.0, 0.02):
        monkeypatch.setattr(measure, "PATIENCE_S", patience_s)
        runtime = Clock(lambda pixels: 2e-6 * pixels)
        fcn = converted((1, 1), exact=False)  # with a halo, so that large tiles repeat less of it
        chosen.append(choose_plan(fcn, f"{patience_s}", IMAGE, 1 << 21, runtime, blank).shape)
        runs.append(len(runtime.sizes))
    assert chosen[0] == chosen[1]
    assert runs[0] > runs[1] > 0


@pytest.mark.parametrize("text", ["", "[1]", "{nonsense", "{}"])
def test_a_broken_memory_counts_for_nothing(own_memory: Path, text: str) -> None:
    path = own_memory / "fullconv" / "measured.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert recall() == {}
    remember("key", [1, 2])
    assert json.loads(path.read_text()) == {"key": [1, 2]}


def test_a_memory_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember("key", 1)
    assert recall() == {}


def test_the_fastest_runtime_is_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fcn = converted((2, 1))
    first = choose_runtime(fcn, "digest", "auto", IMAGE, "f32", None, 1)
    monkeypatch.setattr(measure, "fastest", None)
    again = choose_runtime(fcn, "digest", "auto", IMAGE, "f32", None, 1)
    assert first.name == again.name
    first.close()
    again.close()


def test_a_scan_by_the_fastest_runtime_gives_the_scores_of_the_crops() -> None:
    image = picture(60, 50)
    heatmap = scan(converted((2, 1)), image, runtime="auto")
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(image, (2, 1)))
    assert heatmap.metadata["chosen"]["runtime"] in ("onnxruntime", "openvino")


def test_tiles_with_a_halo_may_take_more_and_most_where_operations_are_merged() -> None:
    alone, padded = converted((1, 1)), converted((1, 1), exact=False)
    assert padded.halo != alone.halo
    for runtime, more in (("onnxruntime", 1_500_000_000), ("torch", 1_000_000_000)):
        assert Options().memory(alone, runtime) == 512_000_000
        assert Options().memory(padded, runtime) == more
        assert Options(memory_bytes=7).memory(padded, runtime) == 7
