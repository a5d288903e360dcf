"""The planted defects of `make mutants` can be planted, and whether they are noticed is told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mutants import run
from mutants.defect import Defect
from mutants.defects import DEFECTS


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


def test_all_is_told_and_only_that_every_defect_is_noticed_is_success(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it starts in half the time
    both = ("test_blind.py", "test_right.py::test_add")
    noticed = Defect("it subtracts", "__init__.py", "a + b", "a - b", both)
    survives = replace(noticed, name="nobody looks", tests=("test_blind.py",))
    moved = replace(noticed, name="it moved", old="b + a")
    lost = replace(noticed, name="its test is lost", tests=("test_gone.py",))
    monkeypatch.setattr(run, "DEFECTS", (noticed, survives, moved, lost))

    def told(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["run", *words])
        return run.main(), capsys.readouterr().out

    expected = "noticed  __init__.py: it subtracts\n1 of 1 defects are noticed\n"
    assert told("subtracts") == (0, expected)
    assert "a + b" in (sources / "src/fullconv/__init__.py").read_text("utf-8")
    code, lines = told("--skip-whole", "--jobs", "2")
    assert code == 1
    assert "noticed  __init__.py: it subtracts\nSURVIVES __init__.py: nobody looks\n" in lines
    assert "GONE     'it moved' cannot be planted: 'b + a' stands nowhere" in lines
    assert "GONE     test_gone.py: pytest ended with 4" in lines
    assert lines.endswith("1 of 4 defects are noticed\n")


def test_tests_that_fail_already_or_are_not_there_are_told(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    defect = Defect("it subtracts", "__init__.py", "a + b", "a - b", ("test_right.py",))
    (sources / "tests/test_right.py").write_text("def test_add():\n    assert False\n")
    monkeypatch.setattr("sys.argv", ["run"])
    for test, told in {
        "test_right.py": "the tests fail on the sources as they are: test_right.py",
        "test_gone.py": "test_gone.py: pytest ended with 4",
    }.items():
        monkeypatch.setattr(run, "DEFECTS", (replace(defect, tests=(test,)),))
        assert run.main() == 1
        assert told in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["run", "nothing of the kind"])
    with pytest.raises(SystemExit):
        run.main()
    assert "no defect has 'nothing of the kind' in its name or room" in capsys.readouterr().err
