"""A short run of `make fuzz`: nothing damaged is called right, or a bug in fullconv."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from fuzz import page, trials
from fuzz.case import Case
from fuzz.forks import Forks, Outcome
from fuzz.run import CLASSES, cases_of

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by /proc"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what writes models
]

SHORT = {
    "images": 52,
    "image_metadata": 36,
    "onnx_bytes": 60,
    "onnx_structure": 60,
    "hostile_models": 60,
    "model_metadata": 36,
    "archives": 24,
    "hostile_archives": 60,
    "heatmaps": 50,
    "ledgers": 36,
    "calls": 50,
}
"""So many cases of a class as take some seconds."""

FIXED = ("hostile_models", "hostile_archives")
"""Classes whose cases are the same for every seed, and each of which must be refused."""

MENDED = ("ledgers",)
"""Classes in which nothing need be refused: what is damaged is computed again."""


@pytest.mark.parametrize("module", CLASSES)
def test_what_is_damaged_or_means_nothing_is_read_or_refused_in_one_line(module: str) -> None:
    found = list(trials.trials(cases_of(module, 1, SHORT[module])))
    bad = [
        f"{t.case.name}: {t.outcome.kind}: {t.outcome.said}" for t in found if not t.outcome.good
    ]
    assert not bad, "\n".join(bad)
    kinds = Counter(trial.outcome.kind for trial in found)
    assert kinds["refused"] > 0 or module in MENDED, kinds
    assert (kinds["done"] == 0) is (module in FIXED), kinds


@pytest.mark.parametrize("module", CLASSES)
def test_cases_are_the_same_for_the_same_seed_and_have_names_of_their_own(module: str) -> None:
    first, again, other = (list(cases_of(module, seed, 5)) for seed in (7, 7, 8))
    assert first == again
    assert (first == other) is (module in FIXED)
    assert len({case.name for case in first}) == 5
    for judge in {case.judge for case in first} - {""}:
        assert callable(import_module(judge).wrong)


@pytest.fixture(scope="module")
def planted() -> Iterator[Forks]:
    """Children in which ``fullconv explain`` does what its MODEL says (`fuzz.planted`)."""
    with Forks(["fuzz.planted"]) as forks:
        yield forks


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("nothing", "done"),
        ("refused", "refused"),
        ("differs", "differs"),
        ("quiet", "done"),
        ("raw", "raw"),
        ("lines", "raw"),
        ("warned", "raw"),
        ("silent", "raw"),
        ("crash", "crash"),
        ("slow", "slow"),
        ("busy", "slow"),
        ("large", "large"),
        ("huge", "raw"),
    ],
)
def test_what_goes_wrong_is_seen(
    planted: Forks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, kind: str
) -> None:
    monkeypatch.setattr(planted, "seconds", 1 if kind == "slow" else 20)
    outcome = planted.run(tmp_path, ["explain", what])
    assert outcome.kind == kind, outcome
    assert planted.run(tmp_path, ["explain", "nothing"]).kind == "done"


def test_what_is_wrong_is_seen_whatever_libraries_print(planted: Forks, tmp_path: Path) -> None:
    assert planted.judge(tmp_path, ["explain", "right"], "fuzz.planted") is None
    said = planted.judge(tmp_path, ["explain", "wrong"], "fuzz.planted")
    assert said == "a library warns of something\nit is wrong"


@pytest.mark.parametrize(
    ("call", "ours", "kind", "said"),
    [
        ("refused", (), "refused", ""),
        ("nothing -o made", (), "done", ""),
        ("refused -o half.onnx", (), "left", "half.onnx: "),
        ("refused -o half.part", (), "refused", ""),
        ("nothing -o mine", (), "done", ""),
        ("run", (), "wrong", "code in a file was run"),
        ("remove", (), "lost", "mine: "),
        ("change", (), "lost", "mine: "),
        ("remove", ("mine",), "done", ""),
    ],
)
def test_what_a_command_does_to_files_is_seen(
    planted: Forks, tmp_path: Path, call: str, ours: tuple[str, ...], kind: str, said: str
) -> None:
    case = Case("planted", ("explain", *call.split()), {"mine": b"mine"}, ours)
    case.write(tmp_path)
    judged = trials.judged(case, tmp_path, planted.run(tmp_path, case.call))
    assert judged.kind == kind, judged
    assert judged.said.startswith(said)


def test_a_bad_case_is_kept_with_its_command(tmp_path: Path) -> None:
    bad = Case("a name/of it", ("scan", "none.onnx", "x.png", "-o", "x"), {"a/b": b"1"})
    outcome = Outcome("raw", "what it said", 0.0, 0)
    bad.write(tmp_path / "case")
    trials._keep(bad, tmp_path / "case", tmp_path / "kept", outcome)
    place = tmp_path / "kept" / "a-name-of-it"
    assert (place / "a/b").read_bytes() == b"1"
    assert '"kind": "raw"' in (place / "case.json").read_text()


def test_trials_come_in_the_order_of_their_cases_however_many_run_at_a_time() -> None:
    cases = [Case(f"{n}", ("explain", f"none{n}.onnx"), {}) for n in range(9)]
    found = list(trials.trials(cases, jobs=3))
    assert [trial.case for trial in found] == cases
    for number, trial in enumerate(found):
        assert f"none{number}.onnx" in trial.outcome.said


def test_counts_go_into_their_place_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"# A\n\n{page.BEGIN}\n\nold\n\n{page.END}\n\nZ\n", encoding="utf-8")
    counts = page.Counts("command lines")
    for kind in ("done", "done", "refused", "raw"):
        counts.add(trials.Trial(Case("", (), {}), Outcome(kind, "", 1.25, 3 << 20)))
    assert counts.bad == 1
    page.put(path, page.table([counts]))
    assert path.read_text(encoding="utf-8") == (
        f"# A\n\n{page.BEGIN}\n\n"
        "| class | cases | done | noticed | one line | wrong | lost | left | raw | crash | slow | "
        "large | slowest | largest |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        "| command lines | 4 | 2 | 0 | 1 | 0 | 0 | 0 | 1 | 0 | 0 | 0 | 1.2 s | 3 MB |\n\n"
        f"{page.END}\n\nZ\n"
    )
    path.write_text("no place", encoding="utf-8")
    with pytest.raises(ValueError, match="the place of the counts is not there"):
        page.put(path, "")
