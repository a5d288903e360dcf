"""A command in which everything goes wrong, to show that it would be seen.

Imported by a child, it takes the place of ``fullconv explain``, whose MODEL says what is to happen.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path

import click
import numpy as np

import fullconv.cli.explain
from fullconv.errors import ModelError


@click.command("explain")
@click.argument("what")
@click.option("-o", "--output", required=False)
def planted(what: str, output: str | None) -> None:
    """Do what is asked for."""
    if output is not None:
        Path(output).touch()
    if what == "refused":
        raise ModelError("it cannot be read; copy it again.")
    if what == "raw":
        raise KeyError("w")
    if what == "lines":
        click.echo("a library warns\nof something", err=True)
        raise ModelError("it cannot be read; copy it again.")
    if what == "warned":
        os.write(2, b"a library warns of something\n")
    if what == "quiet":
        warnings.warn("for developers", stacklevel=2)
    if what == "silent":
        raise SystemExit(3)
    if what == "differs":
        raise SystemExit(4)
    if what == "run":
        Path("RAN").mkdir()
    if what == "remove":
        Path("mine").unlink()
    if what == "change":
        Path("mine").write_bytes(b"other")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "slow":
        time.sleep(600)
    while what == "busy":
        pass
    if what == "large":
        bytearray(1100 << 20)
    if what == "huge":
        np.ones(1 << 40)


def wrong(folder: Path, call: list[str]) -> str | None:
    """Judge what it has left."""
    os.write(2, b"a library warns of something\n")
    return "it is wrong" if call[1] == "wrong" else None


fullconv.cli.explain.command = planted
