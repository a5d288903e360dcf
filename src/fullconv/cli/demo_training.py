"""``fullconv demo --train``: train the classifier of the demonstration in front of the user."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fullconv.cli.progress import duration
from fullconv.cli.training_lines import shown

if TYPE_CHECKING:
    from fullconv.demo.crops import Drawn
    from fullconv.training.trained import Trained

TITLE = "0. Where a classifier comes from"


def train_in_front(folder: Path, as_json: bool) -> Trained:
    """Draw crops below a folder, train a classifier on them, and narrate; beside JSON, on stderr.

    Raises
    ------
    MissingExtraError
        If PyTorch is not installed; then nothing is drawn.
    OutputError
        If the folder cannot be written to.
    """
    from fullconv.demo.making import MODEL, command_line, make_classifier, require_training
    from fullconv.demo.run import make_folder

    def say(*lines: str) -> None:
        for line in lines:
            click.echo(f"   {line}" if line else "", err=as_json)

    require_training()
    make_folder(folder)
    click.secho(f"\n{TITLE}", bold=True, err=as_json)
    start = time.monotonic()
    drawn = _draw(folder)
    say(
        "Streets are drawn, so it is known where their dresses are. Crops of them are what a",
        "classifier learns from: some show a dress, a few pixels off the middle at most; others",
        "half a dress or none. And some streets have no dress: nothing is to be found in these.",
        "",
        f"{drawn.dresses} crops of dresses, {drawn.backgrounds} of other things, "
        f"{drawn.streets} streets without dresses ({duration(time.monotonic() - start)})",
        "",
        "What follows now is this command, which takes folders of any crops:",
        f"  {command_line(drawn, folder / MODEL)}",
        "",
    )
    start = time.monotonic()
    with shown(as_json) as listener:
        trained = make_classifier(drawn, folder / MODEL, progress=listener)
    say(
        "",
        f"That took {duration(time.monotonic() - start)}. It is right in "
        f"{100 * trained.confusion.accuracy:.1f} % of {trained.confusion.counts.sum()} crops of "
        f"streets that it had never seen.",
    )
    return trained


def _draw(folder: Path) -> Drawn:
    """Draw crops, with a progress bar on a terminal."""
    from fullconv.demo import crops

    if not sys.stderr.isatty():
        return crops.draw_crops(folder, crops.STREETS)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing streets", total=None)
        return crops.draw_crops(
            folder,
            crops.STREETS,
            lambda done, count: bar.update(task, completed=done, total=count),
        )
