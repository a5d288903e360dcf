"""What is printed while a network is trained: lines, and on a terminal a bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from fullconv.cli.progress import duration
from fullconv.training.telling import Batch, Ended, Note, Round, Started, Told

if TYPE_CHECKING:
    from fullconv.training.telling import Listener

Say = Callable[[str], None]


@contextlib.contextmanager
def shown(as_json: bool) -> Iterator[Listener]:
    """Give a listener that prints what a training tells; beside JSON, on stderr.

    On a terminal a bar below the lines shows how far the epoch is.
    """

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    def warn(line: str) -> None:
        click.echo(line, err=True)

    if not sys.stderr.isatty():
        yield lambda told: _tell(told, say, warn)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None, left="")

        def above(line: str) -> None:
            # The bar is redrawn below each line.
            bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

        def listener(told: Told) -> None:
            if isinstance(told, Batch):
                left = "" if told.seconds_left is None else f"{duration(told.seconds_left)} left"
                bar.update(
                    task,
                    description=f"epoch {told.epoch}/{told.epochs}",
                    completed=told.done,
                    total=told.batches,
                    left=left,
                )
            else:
                # Lines that somebody keeps, by a pipe or in a file, go there.
                _tell(told, above if sys.stdout.isatty() else say, above)

        yield listener


def _tell(told: Told, say: Say, warn: Say) -> None:
    match told:
        case Note(line, is_warning):
            if is_warning:
                warn(f"fullconv: warning: {line}")
            else:
                say(f"note     {line}")
        case Started():
            for line in _start(told):
                say(line)
        case Ended():
            say(_epoch(told))
        case Round():
            say(_round(told))
        case Batch():
            pass


def _start(told: Started) -> Iterator[str]:
    h, w = told.window
    sy, sx = told.report.stride
    each = ", ".join(
        f"{name} {count}" for name, count in zip(told.classes, told.training, strict=True)
    )
    yield f"crops    {sum(told.training)} to learn ({each}), {sum(told.held_out)} held out"
    yield f"network  window {w}x{h}, stride {sx}x{sy} (width x height), " + (
        f"{told.parameters:,} numbers to learn, on {told.device}"
    )
    yield f"result   {told.report.verdict}"
    yield f"cost     {told.report.cost} (multiply-accumulates per window)"
    for reason in told.report.reasons:
        yield f"reason   {reason}"
    if told.background is None:
        yield "note     no class is the background; --background names it, so that it is not found"


def _epoch(told: Ended) -> str:
    epoch = told.epoch
    return (
        f"epoch {epoch.number:3d}/{told.epochs}  loss {epoch.loss:.4f}  held out: loss "
        f"{epoch.held_out_loss:.4f}, accuracy {epoch.accuracy:.4f}{' (best)' * told.is_best}  "
        f"at most {duration(told.seconds_left)} left"
    )


def _round(told: Round) -> str:
    return (
        f"negatives {told.windows} windows of {told.photos} photos scored in {told.seconds:.1f} s: "
        f"{told.alarms} false alarms; {told.added} crops added"
    )
