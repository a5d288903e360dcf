"""Commands in child processes, with limits of time and memory.

``python -m fuzz.children MODULE...`` imports fullconv and the modules once, and forks for every
line of standard input: a list of the folder, the seconds and the arguments, in JSON. It answers
each with what came of it.
"""

from __future__ import annotations

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
LARGEST = 6 * GIGABYTE
"""Bytes of private memory at which the system stops a child, whatever is asked of it here."""


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes
    ----------
    kind : str
        ``done``, ``refused`` (one line, exit code 2, 3 or 4), ``raw`` (an unexpected exception, or
        more than one line), ``crash`` (ended by a signal), ``slow``, or ``large``.
    said : str
        The end of what it wrote to standard error.
    seconds : float
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
        return self.kind in ("done", "refused")


class Children:
    """A process that has imported all that is needed, and forks for every command."""

    def __init__(self, modules: Sequence[str] = (), seconds: float = 20) -> None:
        self.seconds = seconds
        here = Path(__file__).parent.parent
        path = os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.children", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def run(self, folder: Path, arguments: Sequence[str]) -> Outcome:
        """Run ``fullconv`` with some arguments in a folder."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        print(json.dumps([str(folder), self.seconds, list(arguments)]), file=asked, flush=True)
        return Outcome(**json.loads(answered.readline()))

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")


def _child(folder: str, arguments: list[str]) -> None:
    """Become the command."""
    resource.setrlimit(resource.RLIMIT_DATA, (LARGEST, LARGEST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    for number, name in ((1, ".stdout"), (2, ".stderr")):
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from fullconv.cli.group import commands

    try:
        commands.main(arguments)
    except SystemExit as left:
        code = left.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _trial(folder: str, seconds: float, arguments: list[str]) -> dict[str, Any]:
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if not child:
        _child(folder, arguments)
    slow, pause = False, 0.002
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > seconds and not slow:
            slow = True
            os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    took = time.monotonic() - began
    said = Path(folder, ".stderr").read_bytes().decode(errors="replace").strip()
    grown = max(0, used.ru_maxrss - before) * 1024
    return {
        "kind": "slow" if slow else _kind(status, said, grown),
        "said": said[-2000:],
        "seconds": took,
        "bytes": grown,
    }


def _kind(status: int, said: str, grown: int) -> str:
    if os.WIFSIGNALED(status):
        return "crash"
    if grown > GIGABYTE:
        return "large"
    code = os.WEXITSTATUS(status)
    if code == 0:
        return "done"
    one = said.startswith("fullconv: error:") and len(said.splitlines()) == 1
    return "refused" if one and code in (2, 3, 4) and "a bug in fullconv" not in said else "raw"


def _serve(asked: IO[str]) -> None:
    for line in asked:
        print(json.dumps(_trial(*json.loads(line))), flush=True)


if __name__ == "__main__":
    import importlib

    for module in ("fullconv.cli.group", "fullconv.cli.convert", "fullconv.cli.explain"):
        importlib.import_module(module)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    _serve(sys.stdin)
