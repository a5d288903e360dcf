"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fullconv.scanning.progress import Listener, Progress

EVERY_S = 10.0
"""Seconds between two lines, if there is no terminal for a bar."""


@contextlib.contextmanager
def shown() -> Iterator[Listener]:
    """Yield a listener that shows progress on stderr."""
    if sys.stderr.isatty():
        with _bar() as listener:
            yield listener
    else:
        yield _Lines()


@contextlib.contextmanager
def _bar() -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    # Names of files may hold brackets, which must not be read as markup.
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")

        def listener(progress: Progress) -> None:
            bar.update(
                task,
                description=progress.name,
                completed=progress.windows,
                total=progress.all_windows,
                rate=rate(progress),
            )

        yield listener


class _Lines:
    """Prints a line every `EVERY_S` seconds, the first after as long."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Print a line if the last one is old enough."""
        now = time.monotonic()
        if now - self.last >= EVERY_S and progress.windows < progress.all_windows:
            self.last = now
            share = 100 * progress.windows / progress.all_windows
            click.echo(f"{progress.name}: {share:.0f} %, {rate(progress)}", err=True)


def rate(progress: Progress) -> str:
    """Return speed and time left as people read them."""
    left = progress.seconds_left
    if left is None:
        return "starting"
    return f"{progress.megapixels_per_s:.3g} mega{progress.unit}/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """Return a duration as people read it."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
