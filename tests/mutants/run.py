"""``python -m mutants.run``: plant each defect in a copy of the sources, and see a test fail.

The tests of all defects must pass on the sources as they are. A defect that none of its tests
notices is printed as *survives*, one that can no longer be planted as *gone*; the exit code is then
1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants.defect import Defect
from mutants.defects import DEFECTS

TESTS = Path(__file__).resolve().parents[1]
SOURCES = TESTS.parent / "src"


class GoneError(Exception):
    """A defect that can no longer be planted, or whose tests cannot be run."""


def place(defect: Defect, sources: Path = SOURCES) -> Path:
    """Return the file in which a defect is to be planted.

    Raises
    ------
    GoneError
        If its text does not stand there once.
    """
    room = sources / "fullconv" / defect.room
    files = sorted(room.rglob("*.py")) if room.is_dir() else [room]
    found = [
        (file, count)
        for file in files
        if file.exists() and (count := file.read_text("utf-8").count(defect.old))
    ]
    if [count for _, count in found] != [1]:
        told = ", ".join(f"{count} times in {file.name}" for file, count in found) or "nowhere"
        raise GoneError(
            f"{defect.name!r} cannot be planted: {defect.old!r} stands {told} in {defect.room}; "
            f"plant the same slip in what took its place."
        )
    return found[0][0]


def plant(defect: Defect, sources: Path) -> None:
    """Plant a defect in a copy of the sources."""
    file = place(defect, sources)
    file.write_text(file.read_text("utf-8").replace(defect.old, defect.new), "utf-8")


def outcome(tests: tuple[str, ...], sources: Path) -> int:
    """Run tests on some sources, up to the first that fails, and return pytest's exit code."""
    path = os.pathsep.join([str(sources), os.environ.get("PYTHONPATH", "")])
    call = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow"]
    result = subprocess.run(
        [*call, *(str(TESTS / test) for test in tests)],
        cwd=TESTS.parent,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if result.returncode not in (0, 1):
        raise GoneError(
            f"{' '.join(tests)}: pytest ended with {result.returncode}:\n"
            f"{result.stdout[-2000:]}{result.stderr[-2000:]}"
        )
    return result.returncode


def survives(defect: Defect) -> bool:
    """Whether none of its tests notices a defect."""
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "src")
        shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
        plant(defect, sources)
        return not any(outcome((test,), sources) for test in defect.tests)


def verdict(defect: Defect) -> str:
    """Return what became of a defect: ``noticed``, ``SURVIVES`` or ``GONE``, and why."""
    try:
        word = "SURVIVES" if survives(defect) else "noticed"
    except GoneError as why:
        return f"GONE     {why}"
    return f"{word:8} {defect.room}: {defect.name}"


def main() -> int:
    """Try all defects, or those whose name or room holds a word."""
    parser = argparse.ArgumentParser(prog="python -m mutants.run")
    parser.add_argument("word", nargs="?", default="", help="a part of their names or rooms")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    parser.add_argument("--skip-whole", action="store_true", help="not on the sources as they are")
    options = parser.parse_args()
    chosen = [d for d in DEFECTS if options.word in d.name or options.word in d.room]
    if not chosen:
        parser.error(f"no defect has {options.word!r} in its name or room")
    named = tuple(sorted({test for defect in chosen for test in defect.tests}))
    try:
        if not options.skip_whole and outcome(named, SOURCES):
            print(f"the tests fail on the sources as they are: {' '.join(named)}")
            return 1
    except GoneError as why:
        print(why)
        return 1
    noticed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for told in pool.map(verdict, chosen):
            noticed += told.startswith("noticed")
            print(told, flush=True)
    print(f"{noticed} of {len(chosen)} defects are noticed")
    return 0 if noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
