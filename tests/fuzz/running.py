"""Giving cases to the command line, in child processes with limits, and judging what comes back.

A child takes case after case; one that dies, hangs or takes too much is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fuzz.case import Case

LIMIT_S = 30.0
"""Seconds for one case; the machine may be busy."""

ADDRESSES_BYTES = 12 << 30
"""What a child may address, much of which is never touched; so a runaway ends soon."""

PEAK_BYTES = 1 << 30
"""What a child may touch more than it had before the case."""

FINE, REFUSED, DIFFERS = "fine", "one line", "differs"
BUG, LINES, LEFT, SLOW, LARGE, DIED = "a bug", "more lines", "left files", "slow", "large", "died"
GOOD = (FINE, REFUSED, DIFFERS)
"""Outcomes that are promised; all others are faults."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case: one of the words above, and what was printed on stderr."""

    case: Case
    word: str
    told: str


def run(cases: Iterable[Case], environment: dict[str, str] | None = None) -> Iterator[Outcome]:
    """Yield the outcome of case after case."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, contextlib.ExitStack() as stack:
        child = None
        for case in cases:
            if child is None or child.poll() is not None:
                child = stack.enter_context(_child(environment))
            place = Path(folder, "case")
            place.mkdir()
            try:
                case.write(place)
                yield _judge(case, place, child, _files(place))
            finally:
                shutil.rmtree(place, ignore_errors=True)


def count(outcomes: Iterable[Outcome]) -> dict[str, Counter[str]]:
    """Return how often each word came up, by the cases' kinds."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.case.kind, Counter())[outcome.word] += 1
    return counts


@contextlib.contextmanager
def _child(environment: dict[str, str] | None) -> Iterator[subprocess.Popen[str]]:
    here = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.getenv("PYTHONPATH")]))
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "from fuzz.running import serve; serve()"],
        env=os.environ | one | {"PYTHONPATH": here} | (environment or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _judge(case: Case, place: Path, child: subprocess.Popen[str], before: set[str]) -> Outcome:
    assert child.stdin is not None
    assert child.stdout is not None
    errors = place.parent / "stderr"
    try:
        child.stdin.write(json.dumps([str(place), str(errors), case.argv]) + "\n")
        child.stdin.flush()
        answer = _line(child, LIMIT_S)
    except (BrokenPipeError, TimeoutError) as error:
        child.kill()
        child.wait()
        return Outcome(case, SLOW if isinstance(error, TimeoutError) else DIED, "")
    told = errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
    if not answer:
        child.wait()
        return Outcome(case, DIED, f"{child.returncode}: {told}")
    code, peak_bytes = json.loads(answer)
    lines = told.splitlines()
    if "This is a bug" in told or "Traceback" in told:
        word = BUG
    elif peak_bytes > PEAK_BYTES:
        word = LARGE
        child.kill()  # what it holds would hide the next peak
        child.wait()
    elif any(not line.startswith("fullconv: ") for line in lines):
        word = LINES
    elif code == 0:
        word = FINE
    elif code == 4:
        word = DIFFERS
    elif code not in (2, 3) or not lines:
        word = LINES
    else:
        # Of several images some are done, and wait for the others.
        word = REFUSED if _files(place) == before or "images failed" in told else LEFT
    return Outcome(case, word, told)


def _line(child: subprocess.Popen[str], limit_s: float) -> str:
    """Return the next line of a child, or an empty text if it has died."""
    import select

    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], limit_s)
    if not ready:
        raise TimeoutError
    return child.stdout.readline()


def _files(place: Path) -> set[str]:
    return {
        str(Path(parent, name).relative_to(place))
        for parent, folders, names in os.walk(place)
        for name in [*folders, *names]
    }


def serve() -> None:
    """Run the calls that come as lines on stdin, and answer each with its exit code and peak."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_BYTES, ADDRESSES_BYTES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from fullconv.cli import main as command_line

    sys.warnoptions.clear()
    for line in sys.stdin:
        place, errors, argv = json.loads(line)
        os.chdir(place)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        before = _peak(reset=True)
        code: int | str | None = 1
        try:
            sys.argv = ["fullconv", *argv]
            command_line()
        except SystemExit as leaving:
            code = leaving.code
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stderr.flush()
        os.chdir("/")
        answers.write(json.dumps([code or 0, _peak() - before]) + "\n")
        answers.flush()


def _peak(reset: bool = False) -> int:
    """Return the largest memory so far, in bytes; from now on, with ``reset``, where Linux can."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main(modules: str, seed: int, limit_s: float) -> None:
    """Run cases of the named modules for a time, print faults, and count."""
    from importlib import import_module

    for module in modules.split(","):
        start = time.monotonic()
        found = []
        source = import_module(f"fuzz.{module}").cases(seed)
        for outcome in run(source):
            found.append(outcome)
            if outcome.word not in GOOD:
                argv = " ".join(word[:40] for word in outcome.case.argv)
                print(outcome.word, outcome.case.name, argv, repr(outcome.told[-600:]))
            if time.monotonic() - start > limit_s:
                break
        for kind, words in sorted(count(found).items()):
            print(f"{module:10} {kind:20} {dict(words)}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
