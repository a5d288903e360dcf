"""What every test starts from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_memory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is measured on this machine apart from what its user has measured."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def parts_of_small_maps() -> Iterator[None]:
    """Let windows share what they can, however small: that is what the rules are tested for.

    On maps as small as those of tests it takes longer than it saves, and every window would be
    given its own pixels; `test_gathering` tests that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fullconv.lift.pace.PARTS_PAY", float("inf"))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the same weights whatever test ran before, so that what fails fails again."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
