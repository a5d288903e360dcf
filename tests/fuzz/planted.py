"""A command in which everything goes wrong, to show that it would be seen.

Imported by a child, it takes the place of ``fullconv explain``, whose MODEL says what is to happen.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click
import numpy as np

import fullconv.cli.explain
from fullconv.errors import ModelError


@click.command("explain")
@click.argument("what")
def planted(what: str) -> None:
    """Do what is asked for."""
    if what == "refused":
        raise ModelError("it cannot be read; copy it again.")
    if what == "left":
        Path("half.onnx").touch()
        raise ModelError("it cannot be written; make room.")
    if what == "raw":
        raise KeyError("w")
    if what == "lines":
        click.echo("a library warns\nof something", err=True)
        raise ModelError("it cannot be read; copy it again.")
    if what == "differs":
        raise SystemExit(4)
    if what == "wrong":
        Path("wrong").touch()
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "slow":
        time.sleep(600)
    while what == "busy":
        pass
    if what == "large":
        bytearray(1600 << 20)
    if what == "huge":
        np.ones(1 << 40)


def wrong(folder: Path, call: list[str]) -> str | None:
    """Judge what it has left."""
    return "it is wrong" if (folder / "wrong").exists() else None


fullconv.cli.explain.command = planted
