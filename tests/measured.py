"""Running code in a process of its own, to see what it takes and what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPEN = """
import json, sys, time
from pathlib import Path
import fullconv.sources.picture, fullconv.sources.tiff, fullconv.sources.zarr_files
from fullconv.errors import FullconvError
from fullconv.sources import open_source

def peak():
    status = Path("/proc/self/status").read_text() if sys.platform == "linux" else "VmHWM: 0 kB"
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

for name in json.loads(sys.argv[1]):
    before, start = peak(), time.perf_counter()
    try:
        with open_source(name) as source:
            source.read(*((0, min(64, n)) for n in source.size))
        line = None
    except FullconvError as error:
        line = str(error)
    print(json.dumps([name, line, peak() - before, time.perf_counter() - start]), flush=True)
"""


@dataclass(frozen=True)
class Opened:
    """What became of reading the first pixels of an image.

    Attributes
    ----------
    line : str or None
        The error; None where pixels were read.
    grown_bytes : int
        By how much the process's largest memory so far grew. (That of a parent does not count, as
        it would in `resource.getrusage`.)
    took_s : float
    """

    line: str | None
    grown_bytes: int
    took_s: float


def opened(names: list[str], folder: Path) -> tuple[dict[str, Opened], str]:
    """Open images in a folder by a process of its own; return what came of each, and its stderr."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN, json.dumps(names)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines: list[list[Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stderr
    return {name: Opened(*held) for name, *held in lines}, result.stderr
