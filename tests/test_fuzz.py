"""A short run of `make fuzz`: nothing damaged is called right, or a bug in fullconv."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fuzz import run
from fuzz.forks import Forks

SHORT = {"pictures": 26, "calls": 40}
"""So many cases of a class as take some seconds."""


@pytest.mark.parametrize("module", SHORT)
def test_what_is_damaged_or_means_nothing_is_read_or_refused_in_one_line(module: str) -> None:
    trials = list(run.trials(module, 1, SHORT[module]))
    bad = [f"{t.name}: {t.outcome.kind}: {t.outcome.said}" for t in trials if not t.outcome.good]
    assert not bad, "\n".join(bad)
    kinds = Counter(trial.outcome.kind for trial in trials)
    assert kinds["done"] > 0 < kinds["refused"], kinds


def test_every_class_of_cases_can_be_repeated_and_has_a_judge_that_is_there() -> None:
    for module in run.CLASSES:
        made = run.module_of(module)
        first, again = (list(made.cases(7, 5)) for _ in range(2))
        assert first == again, module
        assert len({name for name, _, _ in first}) == 5, module
    for judge in run.JUDGES.values():
        assert callable(run.module_of(judge).wrong)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("nothing", "done"),
        ("refused", "refused"),
        ("differs", "differs"),
        ("raw", "raw"),
        ("lines", "raw"),
        ("crash", "crash"),
        ("slow", "slow"),
        ("busy", "slow"),
        ("large", "large"),
        ("huge", "raw"),
    ],
)
def test_what_goes_wrong_is_seen(tmp_path: Path, what: str, kind: str) -> None:
    with Forks(["fuzz.planted"], seconds=1 if kind == "slow" else 20) as forks:
        outcome = forks.run(tmp_path, ["explain", what])
        assert outcome.kind == kind, outcome
        assert forks.run(tmp_path, ["explain", "nothing"]).kind == "done"


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    with Forks(["fuzz.planted"]) as forks:
        call = ["explain", "wrong"]
        assert forks.judge(tmp_path, call, "fuzz.planted") is None
        forks.run(tmp_path, call)
        assert forks.judge(tmp_path, call, "fuzz.planted") == "it is wrong"


def test_what_a_refused_command_leaves_behind_is_seen(tmp_path: Path) -> None:
    with Forks(["fuzz.planted"]) as forks:
        before = set(run.paths_below(tmp_path))
        assert forks.run(tmp_path, ["explain", "refused"]).kind == "refused"
        assert run.left_in(tmp_path, before) == []
        assert forks.run(tmp_path, ["explain", "left"]).kind == "refused"
        assert run.left_in(tmp_path, before) == ["half.onnx"]


def test_counts_go_into_their_place_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A\n\n{run.BEGIN}\n\nold\n\n{run.END}\n\nZ\n", encoding="utf-8")
    counts = {"calls": Counter(done=3, refused=2, raw=1)}
    run.put(page, run.table(counts, {"calls": 1.25}))
    assert page.read_text(encoding="utf-8") == (
        f"# A\n\n{run.BEGIN}\n\n"
        "| class | cases | done | noticed | one line | wrong | left | raw | crash | slow | large | "
        "slowest |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        "| command lines of every command | 6 | 3 | 0 | 2 | 0 | 0 | 1 | 0 | 0 | 0 | 1.2 s |\n\n"
        f"{run.END}\n\nZ\n"
    )
    page.write_text("no place", encoding="utf-8")
    with pytest.raises(ValueError, match="the place of the counts is not there"):
        run.put(page, "")
