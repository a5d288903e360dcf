"""Commands in child processes, with limits of time and memory, on Linux.

``python -m fuzz.forks MODULE...`` imports fullconv and the modules, and forks for every line of
standard input: a list in JSON of the folder, the seconds, the arguments, and the module that is to
judge, or nothing for the command itself. It answers each with what came of it. What a child had to
import, it imports for those to come, so that a case takes milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

GIGABYTE = 1 << 30

SECONDS = 20
"""Of the processor, that a command may take."""

BUSY = 3
"""So many times these seconds may pass, while others have the processor."""

LARGEST = 6 * GIGABYTE
"""Bytes of private memory at which the system stops a child, whatever is asked of it here."""

PRINTED = (".stdout", ".stderr")
"""Where what a command prints goes, in its own folder."""

OURS = ("note ", "fullconv: warning:", "fullconv: error:")
"""How lines on standard error begin that are for the user, and not a library's."""


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes
    ----------
    kind : str
        ``done``; ``differs`` (exit code 4: the scores are not the crops'); ``refused`` (one line,
        exit code 2 or 3); ``raw`` (an unexpected exception, or lines of a library); ``crash``
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

    def __init__(self, modules: Sequence[str] = (), seconds: int = SECONDS) -> None:
        self.seconds, self._modules = seconds, modules
        self._process = self._begun()

    def _begun(self) -> subprocess.Popen[str]:
        here = Path(__file__).parent.parent
        path = os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        return subprocess.Popen(
            [sys.executable, "-m", "fuzz.forks", *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": path, "KERAS_BACKEND": "torch"},
        )

    def renew(self) -> None:
        """Begin anew, with a process that has imported no more than at its start."""
        self._process.communicate("")
        self._process = self._begun()

    def run(self, folder: Path, call: Sequence[str]) -> Outcome:
        """Run ``fullconv`` with some arguments in a folder."""
        return self._ask(folder, call, "")

    def judge(self, folder: Path, call: Sequence[str], judge: str) -> str | None:
        """Return what a module's ``wrong`` says of what a command has left there."""
        outcome = self._ask(folder, call, judge)
        return None if outcome.kind == "done" else outcome.said or outcome.kind

    def _ask(self, folder: Path, call: Sequence[str], judge: str) -> Outcome:
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        print(
            json.dumps([str(folder), self.seconds, list(call), judge]),
            file=asked,
            flush=True,
        )
        return Outcome(**json.loads(answered.readline()))

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")


def _child(folder: str, seconds: int, call: list[str], judge: str, told: IO[str]) -> None:
    """Become the command, or the judge of what it has left."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_DATA, (LARGEST, LARGEST))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    for number, name in enumerate(PRINTED, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    known = set(sys.modules)
    code: Any = 0
    try:
        if judge:
            code = importlib.import_module(judge).wrong(Path(), call)
        else:
            from fullconv.cli import main

            sys.argv = ["fullconv", *call]
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
    told.write("\n".join(name for name in sys.modules if name not in known))
    told.flush()
    os._exit(code if isinstance(code, int) else 0)


def _trial(folder: str, seconds: int, call: list[str], judge: str) -> dict[str, Any]:
    before, late = _resident(), False
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        child = os.fork()
        if not child:
            os.setsid()  # so that what it starts ends with it
            _child(folder, seconds, call, judge, told)

        def end(*_: object) -> None:
            nonlocal late
            late = True
            os.kill(child, signal.SIGKILL)

        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, BUSY * seconds)
        _, status, used = os.wait4(child, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        told.seek(0)
        _import(told.read().splitlines())
    took = used.ru_utime + used.ru_stime
    errors = Path(folder, PRINTED[1])
    said = errors.read_bytes().decode(errors="replace").strip() if errors.exists() else ""
    grown = max(0, used.ru_maxrss * 1024 - before)
    # The system's own count of the seconds may run ahead of what it tells at the end.
    ended = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    if late or ended or took >= seconds:
        kind = "slow"
    elif judge:
        kind = "raw" if status else "done"
    else:
        kind = _kind(status, said, grown)
    return {"kind": kind, "said": said[-2000:], "seconds": took, "bytes": grown}


def _resident() -> int:
    """Return the bytes of memory that this process has now, of which a child starts with as many.

    The most that it ever had would count what started it.
    """
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _import(names: list[str]) -> None:
    for name in names:
        with suppress(Exception):  # some names in `sys.modules` are no modules
            importlib.import_module(name)


def _kind(status: int, said: str, grown: int) -> str:
    if os.WIFSIGNALED(status):
        return "crash"
    if grown > GIGABYTE:
        return "large"
    code, lines = os.WEXITSTATUS(status), said.splitlines()
    if "a bug in fullconv" in said or not all(line.startswith(OURS) for line in lines):
        return "raw"
    refused = any(line.startswith(OURS[-1]) for line in lines)
    if code in (0, 4) and not refused:
        return "differs" if code else "done"
    # One line; or of many images one line each, and their number.
    return "refused" if code in (2, 3, 4) and refused else "raw"


def _serve(asked: IO[str]) -> None:
    for line in asked:
        print(json.dumps(_trial(*json.loads(line))), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for module in ("fullconv.cli.group", *sys.argv[1:]):
        importlib.import_module(module)
    from fullconv.cli.group import SUMMARIES

    for command in SUMMARIES:
        importlib.import_module(f"fullconv.cli.{command}")
    _serve(sys.stdin)
