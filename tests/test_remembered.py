"""What was measured is remembered; a memory of nonsense, or none, does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fullconv.runtimes import open_runtime
from fullconv.scanning.measure import SHARES, choose_plan, recall, remember
from fullconv.scanning.scanner import scan
from scans import blank, converted, picture


def test_what_a_narrow_image_teaches_makes_no_narrow_tiles_of_the_next() -> None:
    fcn = converted((1, 1))
    with open_runtime(fcn) as runtime:
        alone = choose_plan(fcn, "one", (800, 800), 1 << 19, runtime, blank)
        assert recall()
        narrow = choose_plan(fcn, "other", (13, 20_000), 1 << 19, runtime, blank)
        after = choose_plan(fcn, "other", (800, 800), 1 << 19, runtime, blank)
    assert narrow.shape[0] == 2
    assert after.shape[0] > 4
    assert alone.shape[0] > 4


@pytest.mark.parametrize("nonsense", [[0, 5], ["a", 1], 0, 3, "4", None, {}])
def test_a_memory_of_nonsense_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, nonsense: Any
) -> None:
    monkeypatch.setattr("fullconv.scanning.measure._key", lambda *_: "key")
    remember("key", nonsense)
    fcn = converted((1, 1))
    with open_runtime(fcn) as runtime:
        choose_plan(fcn, "one", (800, 800), 1 << 19, runtime, blank)
    assert recall()["key"] in SHARES


def test_a_user_without_a_home_can_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    heatmap = scan(converted((1, 1)), picture(200, 200), memory_bytes=1 << 19, windows_to_check=9)
    assert heatmap.verification is not None
    assert heatmap.verification.max_error == 0
