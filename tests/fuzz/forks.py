"""Commands in child processes, with limits of time and memory.

``python -m fuzz.forks MODULE...`` imports fullconv and the modules once, and forks for every
line of standard input: a list in JSON of the folder, the seconds, the arguments, and the module
that is to judge, or nothing for the command itself. It answers each with what came of it. Forks
share what is imported, so that a case takes milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

GIGABYTE = 1 << 30
BUSY = 3
"""So many times the seconds of the processor may pass, while others have it."""

PRINTED = (".stdout", ".stderr")
"""Where what a command prints goes, in its own folder."""

LARGEST = 6 * GIGABYTE
"""Bytes of private memory at which the system stops a child, whatever is asked of it here."""


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes
    ----------
    kind : str
        ``done``; ``differs`` (exit code 4: the scores are not the crops'); ``refused`` (one line,
        exit code 2, 3 or 4); ``raw`` (an unexpected exception, or more than one line); ``crash``
        (ended by a signal), ``slow``, or ``large``.
    said : str
        The end of what it wrote to standard error.
    seconds : float
        Of the processor.
    bytes : int
        What its memory grew by at most.
    """

    kind: str
    said: str
    seconds: float
    bytes: int

    @property
    def good(self) -> bool:
        """Whether it is what a user may see."""
        return self.kind in ("done", "differs", "refused")


class Forks:
    """A process that has imported all that is needed, and forks for every command."""

    def __init__(self, modules: Sequence[str] = (), seconds: int = 20) -> None:
        self.seconds = seconds
        here = Path(__file__).parent.parent
        path = os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.forks", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def run(self, folder: Path, arguments: Sequence[str]) -> Outcome:
        """Run ``fullconv`` with some arguments in a folder."""
        return self._ask(folder, arguments, "")

    def judge(self, folder: Path, arguments: Sequence[str], judge: str) -> str | None:
        """Return what a module's ``wrong`` says of what a command has left there."""
        outcome = self._ask(folder, arguments, judge)
        return None if outcome.kind == "done" else outcome.said

    def _ask(self, folder: Path, arguments: Sequence[str], judge: str) -> Outcome:
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        line = [str(folder), self.seconds, list(arguments), judge]
        print(json.dumps(line), file=asked, flush=True)
        return Outcome(**json.loads(answered.readline()))

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")


def _child(folder: str, seconds: int, arguments: list[str], judge: str) -> None:
    """Become the command, or the judge of what it has left."""
    os.setsid()  # so that what it starts ends with it
    resource.setrlimit(resource.RLIMIT_DATA, (LARGEST, LARGEST))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    for number, name in enumerate(PRINTED, start=1):
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code: Any = 0
    try:
        if judge:
            code = importlib.import_module(judge).wrong(Path(), arguments)
        else:
            from fullconv.cli import main

            sys.argv = ["fullconv", *arguments]
            main()
    except SystemExit as left:
        code = left.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _trial(folder: str, seconds: int, arguments: list[str], judge: str) -> dict[str, Any]:
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if not child:
        _child(folder, seconds, arguments, judge)
    slow, pause = False, 0.002
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > BUSY * seconds and not slow:
            slow = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    slow = slow or used.ru_utime + used.ru_stime >= seconds
    errors = Path(folder, PRINTED[1])
    said = errors.read_bytes().decode(errors="replace").strip() if errors.exists() else ""
    grown = max(0, used.ru_maxrss - before) * 1024
    return {
        "kind": "slow" if slow else _kind(status, said, grown),
        "said": said[-2000:],
        "seconds": used.ru_utime + used.ru_stime,
        "bytes": grown,
    }


def _kind(status: int, said: str, grown: int) -> str:
    if os.WIFSIGNALED(status):
        return "crash"
    if grown > GIGABYTE:
        return "large"
    code = os.WEXITSTATUS(status)
    raw = "a bug in fullconv" in said or "Traceback (most recent call last)" in said
    if code == 0 and not raw:
        return "done"
    # Remarks may stand above: of single images of many, for one.
    lines = [line for line in said.splitlines() if not line.startswith(REMARKS)]
    if code == 4 and not lines and not raw:
        return "differs"
    one = bool(lines) and all(line.startswith("fullconv: error:") for line in lines)
    return "refused" if one and code in (2, 3, 4) and not raw else "raw"


REMARKS = ("note ", "fullconv: warning:")


def _serve(asked: IO[str]) -> None:
    for line in asked:
        print(json.dumps(_trial(*json.loads(line))), flush=True)


if __name__ == "__main__":
    for module in ("fullconv.cli.group", *sys.argv[1:]):
        importlib.import_module(module)
    from fullconv.cli.group import SUMMARIES

    for command in SUMMARIES:
        importlib.import_module(f"fullconv.cli.{command}")
    _serve(sys.stdin)
