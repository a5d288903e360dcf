"""``fullconv demo``: the story of one conversion, for a reader who is new to it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.cli import options
from fullconv.cli.exit_codes import DIFFERS, INTERRUPTED
from fullconv.cli.output import print_json
from fullconv.cli.paths import LocalPath

if TYPE_CHECKING:
    from fullconv.demo.result import Result


@click.command("demo")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=LocalPath(),
    default="fullconv-demo",
    show_default=True,
    help="Folder for the pictures and the converted model.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws another street."
)
@click.option(
    "--train",
    is_flag=True,
    help="Train the classifier first, on crops that are drawn before your eyes, and go on with it: "
    "a few minutes, with PyTorch (the extra [train]). DIR keeps the crops and the classifier.",
)
@options.as_json
@click.pass_context
def command(ctx: click.Context, output: Path, seed: int, train: bool, as_json: bool) -> None:
    """Find the dresses in a drawn street, crop by crop and in one pass, and compare.

    Takes a few seconds, needs no PyTorch and no download. With --train it begins where people with
    crops and no model begin.
    """
    if not as_json:
        click.echo(_INTRODUCTION.format("minutes" if train else "seconds"))
    model = _trained(ctx, output, as_json) if train else None
    from fullconv.cli.demo_story import story
    from fullconv.demo.run import run

    result = run(output, seed, model)
    if as_json:
        print_json(_record(result))
    else:
        for title, lines in story(result, train):
            click.echo()
            click.secho(title, bold=True)
            for line in lines:
                click.echo(f"   {line}" if line else "")
    if not result.verification.passed:
        ctx.exit(DIFFERS)


_INTRODUCTION = """\
fullconv demo: one street, 403 questions, asked one by one and all at once
(working, a few {})"""


def _trained(ctx: click.Context, output: Path, as_json: bool) -> Path:
    """Train the classifier and return its path; exit here if training is interrupted."""
    from fullconv.cli.demo_training import train_in_front

    trained = train_in_front(output, as_json)
    if trained.is_interrupted:
        click.echo(
            f"fullconv: interrupted: the best classifier so far is in {trained.path}", err=True
        )
        ctx.exit(INTERRUPTED)
    return trained.path


def _record(result: Result) -> dict[str, Any]:
    return {
        "seed": result.seed,
        "size": list(result.size),
        "dresses": [list(box) for box in result.dresses],
        "report": result.report.as_dict(),
        "grid": list(result.heatmap.shape),
        "verification": result.verification.as_dict(),
        "one_pass_s": result.one_pass_s,
        "crops_s": result.crops_s,
        "ratio": result.crops_s / result.one_pass_s,
        "found": [asdict(find) for find in result.found],
        "average_precision": result.average_precision,
        "missed": [list(box) for box in result.missed],
        "false_alarms": result.false_alarms,
        "folder": str(result.folder),
        "files": list(result.files),
    }
