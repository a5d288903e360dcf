"""The output while a network is trained: lines, and on a terminal a bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from fullconv.cli.progress import duration
from fullconv.training.telling import Batch, Ended, Note, Round, Started, TrainingEvent

if TYPE_CHECKING:
    from fullconv.training.telling import Listener

Say = Callable[[str], None]


@contextlib.contextmanager
def shown(as_json: bool) -> Iterator[Listener]:
    """Yield a listener that prints the records of a training; beside JSON, on stderr.

    On a terminal a bar below the lines shows how far the epoch is.
    """

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    def warn(line: str) -> None:
        click.echo(line, err=True)

    if not sys.stderr.isatty():
        yield lambda record: _tell(record, say, warn)
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

        def listener(record: TrainingEvent) -> None:
            if isinstance(record, Batch):
                left = (
                    "" if record.seconds_left is None else f"{duration(record.seconds_left)} left"
                )
                bar.update(
                    task,
                    description=f"epoch {record.epoch}/{record.epochs}",
                    completed=record.done,
                    total=record.batches,
                    left=left,
                )
            else:
                # If stdout is a pipe or a file, lines go there and not above the bar.
                _tell(record, above if sys.stdout.isatty() else say, above)

        yield listener


def _tell(record: TrainingEvent, say: Say, warn: Say) -> None:
    match record:
        case Note(line, is_warning):
            if is_warning:
                warn(f"fullconv: warning: {line}")
            else:
                say(f"note     {line}")
        case Started():
            for line in _start(record):
                say(line)
        case Ended():
            say(_epoch(record))
        case Round():
            say(_round(record))
        case Batch():
            pass


def _start(record: Started) -> Iterator[str]:
    h, w = record.window
    sy, sx = record.report.stride
    each = ", ".join(
        f"{name} {count}" for name, count in zip(record.classes, record.training, strict=True)
    )
    yield f"crops    {sum(record.training)} to learn ({each}), {sum(record.held_out)} held out"
    yield f"network  window {w}x{h}, stride {sx}x{sy} (width x height), " + (
        f"{record.parameters:,} numbers to learn, on {record.device}"
    )
    yield f"result   {record.report.verdict}"
    yield f"cost     {record.report.cost} (multiply-accumulates per window)"
    for reason in record.report.reasons:
        yield f"reason   {reason}"
    if record.background is None:
        yield "note     no class is the background; --background names it, so that it is not found"


def _epoch(record: Ended) -> str:
    epoch = record.epoch
    return (
        f"epoch {epoch.number:3d}/{record.epochs}  loss {epoch.loss:.4f}  held out: loss "
        f"{epoch.held_out_loss:.4f}, accuracy {epoch.accuracy:.4f}{' (best)' * record.is_best}  "
        f"at most {duration(record.seconds_left)} left"
    )


def _round(record: Round) -> str:
    return (
        f"negatives {record.windows} windows of {record.photos} photos scored in "
        f"{record.seconds:.1f} s: {record.alarms} false alarms; {record.added} crops added"
    )
