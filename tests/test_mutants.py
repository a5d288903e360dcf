"""The planted defects of `make mutants` can be planted, and whether they are noticed is told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mutants import run
from mutants.defects import DEFECTS, Defect


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_can_be_planted_and_names_tests_that_are_there(defect: Defect) -> None:
    run.place(defect)
    assert defect.old != defect.new
    for test in defect.tests:
        file, _, name = test.partition("::")
        text = (run.TESTS / file).read_text("utf-8")
        assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), test


@pytest.mark.parametrize(
    ("old", "stands"),
    [("no such text", "nowhere"), ("import", "times in")],
)
def test_a_defect_that_stands_nowhere_or_twice_is_an_error(old: str, stands: str) -> None:
    with pytest.raises(run.GoneError, match=rf"cannot be planted: '{old}' stands .*{stands}"):
        run.place(replace(DEFECTS[0], old=old))


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one function, and the folder of its two tests."""
    test = "from fullconv import add\ndef test_add():\n    assert {}\n"
    for name, text in {
        "src/fullconv/__init__.py": "def add(a, b):\n    return a + b\n",
        "tests/test_right.py": test.format("add(2, 3) == 5"),
        "tests/test_blind.py": test.format("add(0, 0) == 0"),
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    monkeypatch.setattr(run, "SOURCES", tmp_path / "src")
    monkeypatch.setattr(run, "TESTS", tmp_path / "tests")
    return tmp_path


@pytest.mark.parametrize(
    ("tests", "survives"),
    [
        (("test_right.py",), False),
        (("test_blind.py",), True),
        (("test_blind.py", "test_right.py::test_add"), False),
    ],
)
def test_a_defect_survives_where_no_test_fails(
    sources: Path, tests: tuple[str, ...], survives: bool
) -> None:
    defect = Defect("it subtracts", "__init__.py", "a + b", "a - b", tests)
    assert run.survives(defect) is survives
    assert "a + b" in (sources / "src/fullconv/__init__.py").read_text("utf-8")


def test_a_test_that_is_not_there_is_an_error(sources: Path) -> None:
    defect = Defect("it subtracts", "__init__.py", "a + b", "a - b", ("test_gone.py",))
    with pytest.raises(run.GoneError, match=r"test_gone\.py: pytest ended with 4"):
        run.survives(defect)
