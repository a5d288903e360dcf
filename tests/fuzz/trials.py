"""Running cases, and judging what came of them."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from fuzz.case import Case
from fuzz.forks import PRINTED, SECONDS, Forks, Outcome

OUTPUTS = ("-o", "--output", "--overlay")
"""Options whose values name what a command is to write."""

DEMO = "fullconv-demo"
"""Where the demo writes if it is not told."""

CANARY = "RAN"
"""The folder that code hidden in a file makes, if somebody runs it."""


@dataclass(frozen=True)
class Trial:
    """A case, and what came of it."""

    case: Case
    outcome: Outcome


def trials(
    cases: Iterable[Case], keep: Path | None = None, jobs: int = 1, seconds: int = SECONDS
) -> Iterator[Trial]:
    """Run every case in a folder of its own, and yield what came of it, in their order.

    The folders of bad outcomes are moved to ``keep``, with the command that was given there.
    """
    idle: SimpleQueue[Forks] = SimpleQueue()
    with ExitStack() as held:
        place = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        for _ in range(jobs):
            idle.put(held.enter_context(Forks(seconds=seconds)))

        def run(number: int, case: Case) -> Trial:
            forks = idle.get()
            try:
                return _try(case, place / f"{number}", forks, keep)
            finally:
                idle.put(forks)

        pool = held.enter_context(ThreadPoolExecutor(jobs))
        running: deque[Future[Trial]] = deque()
        for number, case in enumerate(cases):
            running.append(pool.submit(run, number, case))
            if len(running) > 2 * jobs:
                yield running.popleft().result()
        yield from (future.result() for future in running)


def _try(case: Case, folder: Path, forks: Forks, keep: Path | None) -> Trial:
    case.write(folder)
    outcome = forks.run(folder, case.call)
    if outcome.kind == "slow" and outcome.seconds < forks.seconds / 2:
        # It waited, which what is forked may do for locks that its parent's threads held.
        shutil.rmtree(folder)
        case.write(folder)
        forks.renew()
        outcome = forks.run(folder, case.call)
    outcome = judged(case, folder, outcome)
    if outcome.kind == "done" and case.judge:
        bad = forks.judge(folder, case.call, case.judge)
        outcome = outcome if bad is None else replace(outcome, kind="wrong", said=bad)
    if not outcome.good and keep is not None:
        _keep(case, folder, keep, outcome)
    shutil.rmtree(folder, ignore_errors=True)
    return Trial(case, outcome)


def judged(case: Case, folder: Path, outcome: Outcome) -> Outcome:
    """Return the outcome as it is once the files in the folder are looked at."""
    if not outcome.good:
        return outcome
    if any(folder.rglob(CANARY)):
        return replace(outcome, kind="wrong", said="code in a file was run")
    if changed := _changed(case, folder):
        return replace(outcome, kind="lost", said=f"{', '.join(changed)}: {outcome.said}")
    if left := _left(case, folder, outcome):
        return replace(outcome, kind="left", said=f"{', '.join(left)}: {outcome.said}")
    return outcome


def _changed(case: Case, folder: Path) -> list[str]:
    """Return what was changed or is gone, and is not fullconv's."""
    return [
        name
        for name, data in case.files.items()
        if not _is_below(name, (*case.ours, *_outputs(case)))
        and not ((folder / name).is_file() and (folder / name).read_bytes() == data)
    ]


def _left(case: Case, folder: Path, outcome: Outcome) -> list[str]:
    """Return what is new where nothing was asked for, or where the command was refused.

    A refused command may leave what it goes on with another time, which is in a folder ``.part``,
    and of several images some may be done.
    """
    asked = (*PRINTED, *case.ours)
    kept = "the same command" in outcome.said or "images failed" in outcome.said
    if outcome.kind != "refused" or kept:
        asked = (*asked, *_outputs(case))
    held = {path.as_posix() for name in case.files for path in [Path(name), *Path(name).parents]}
    found = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))]
    new = [path for path in found if path not in held and not _is_below(path, asked)]
    return [path for path in new if not path.partition("/")[0].endswith(".part")]


def _outputs(case: Case) -> list[str]:
    """Return what a command is asked to write."""
    pairs = zip(case.call, case.call[1:], strict=False)
    named = [value for option, value in pairs if option in OUTPUTS]
    return [*named, DEMO] if "demo" in case.call else named


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(place) for place in places)


def _keep(case: Case, folder: Path, keep: Path, outcome: Outcome) -> None:
    place = keep / re.sub(r"\W+", "-", case.name)[:100]
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, place)
    told = {"call": ["fullconv", *case.call], "kind": outcome.kind, "said": outcome.said}
    (place / "case.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
