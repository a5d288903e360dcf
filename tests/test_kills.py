"""Real processes, killed before any step that they take on the disk, go on and end as others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data import REPOSITORY

STORIES = ("begin", "overwrite", "two steps", "repair", "geotiff")

EVERY = 9
"""Of so many steps one is tried in each run of the suite; all of them in the slow one."""


def told(folder: Path, story: str, first: int, stride: int) -> dict[str, int]:
    if story == "geotiff":
        pytest.importorskip("rasterio")
    script = REPOSITORY / "tests" / "kills.py"
    result = subprocess.run(
        [sys.executable, str(script), str(folder), story, str(first), str(stride)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found: dict[str, int] = json.loads(result.stdout)
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("story", STORIES)
def test_a_scan_that_is_killed_before_a_step_on_the_disk_goes_on(
    tmp_path: Path, story: str
) -> None:
    found = told(tmp_path, story, STORIES.index(story), EVERY)
    assert found["kills"] >= found["steps"] // EVERY > 3


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("story", STORIES)
def test_a_scan_that_is_killed_before_any_step_on_the_disk_goes_on(
    tmp_path: Path, story: str
) -> None:
    found = told(tmp_path, story, 0, 1)
    assert found["kills"] >= found["steps"] > 15
