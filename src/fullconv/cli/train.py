"""``fullconv train``: from folders of crops to a classifier that converts exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.choices import DEVICES, FLIPS
from fullconv.cli import options
from fullconv.cli.exit_codes import INTERRUPTED
from fullconv.cli.output import megabytes, only_json, print_json
from fullconv.cli.paths import LocalPath, NamedType
from fullconv.cli.sizes import FiniteType, ScalesType, WindowType, between_commas
from fullconv.cli.training_lines import shown
from fullconv.errors import InputError
from fullconv.training.settings import TrainSettings

if TYPE_CHECKING:
    from fullconv.training.trained import Trained


@click.command("train")
@click.argument("crops", metavar="CROPS", type=LocalPath(reads=True))
@click.option(
    "-o",
    "--output",
    metavar="MODEL",
    required=True,
    type=LocalPath(),
    help="Where to write the classifier: .onnx, or .pt2 for PyTorch.",
)
@click.option(
    "--window",
    type=WindowType([2]),
    metavar="WIDTHxHEIGHT",
    help="Size of the window, as in 64x128, or 64 of a square. Default: that of the crops. "
    "Crops of another size are resized to cover it, and cut at the centre.",
)
@click.option(
    "--background",
    metavar="NAME",
    help="The class that is none of what is looked for. Default: the one called background, "
    "negative, negatives or other.",
)
@click.option(
    "--negatives",
    metavar="DIR",
    type=NamedType(),
    multiple=True,
    help="Photos: a folder, file or pattern; may be given several times. They are scanned between "
    "rounds, and the worst false alarms are learnt as background. Without --truth they hold none "
    "of the objects.",
)
@click.option(
    "--truth",
    metavar="DIR|FILE",
    type=LocalPath(reads=True),
    help="What the photos of --negatives hold: a folder of Pascal VOC annotations, or a COCO file. "
    "A window is no false alarm where its centre lies in a true box of its class and size.",
)
@click.option(
    "--scales",
    type=ScalesType(),
    default=between_commas(TrainSettings.scales),
    show_default=True,
    help="Resize the photos of --negatives by each, as detect does.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=0),
    default=TrainSettings.rounds,
    show_default=True,
    help="How often --negatives are scanned and learnt from.",
)
@click.option(
    "--arch",
    default=TrainSettings.arch,
    show_default=True,
    metavar="auto|package.module:callable",
    help="The network: one that fits the window, or your own, from crops to scores before the "
    "softmax; the callable may take classes, channels and window by name.",
)
@click.option(
    "--from-scratch-fcn",
    is_flag=True,
    help="Train the same network with a convolutional head instead of a fully connected one.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=TrainSettings.epochs,
    show_default=True,
    help="The most epochs.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    help="Stop after this many epochs without a better one. Default: a third of them, at least 5.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=TrainSettings.seed,
    show_default=True,
    help="The same seed trains the same network again.",
)
@click.option(
    "--flips",
    type=click.Choice(FLIPS),
    default=TrainSettings.flips,
    show_default=True,
    help="Mirror images that show the same class: left and right, and also upside down.",
)
@click.option(
    "--holdout",
    type=FiniteType(0, 1, min_open=True, max_open=True),
    default=TrainSettings.holdout,
    show_default=True,
    help="Share of each class to judge by, where there is no test/.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=2),
    help="Crops in a step. Default: 64; of few crops a twentieth, at least 16.",
)
@click.option(
    "--learning-rate",
    type=FiniteType(min=0, min_open=True),
    default=TrainSettings.learning_rate,
    show_default=True,
    help="The highest one.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    help="Where PyTorch computes. Default: on CUDA where there is one.",
)
@click.option("--resume", is_flag=True, help="Go on with an unfinished training of the same.")
@click.option(
    "--overwrite", is_flag=True, help="Replace a model, or start an unfinished one again."
)
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    crops: Path,
    output: Path,
    negatives: tuple[str, ...],
    arch: str,
    as_json: bool,
    **asked: Any,
) -> None:
    """Train a classifier on CROPS, and write it as MODEL, ready for every other command.

    CROPS holds one folder of pictures for each class, or train/ and test/ with one folder for each
    class. The network pads nothing, so that its converted form is exact in one pass. Ctrl-C keeps
    the best so far, and --resume goes on. A confusion matrix, curves, and a report are written
    beside MODEL.
    """
    from fullconv.training.trainer import train

    with only_json(as_json), shown(as_json) as listener:
        trained = train(
            crops,
            output,
            negatives=negatives or None,
            arch=None if arch == TrainSettings.arch else _own(arch),
            progress=listener,
            **asked,
        )
    if as_json:
        from fullconv.training.outcome import beside

        print_json(json.loads(beside(output)[2].read_text(encoding="utf-8")))
    else:
        _tell(trained, output)
    if trained.is_interrupted:
        click.echo(
            f"fullconv: interrupted: the best so far, of epoch {trained.best.number}, is in "
            f"{output}; --resume goes on",
            err=True,
        )
        ctx.exit(INTERRUPTED)


def _own(arch: str) -> Callable[..., Any]:
    """Return the callable that --arch names."""
    from fullconv.cli.models import CODE, attribute

    if not CODE.fullmatch(arch):
        raise InputError(f"train --arch {arch}: expected auto, or code as package.module:callable.")
    own: Callable[..., Any] = attribute(arch)
    if not callable(own):
        raise InputError(f"train --arch {arch}: that is no callable; name a function or class.")
    return own


def _tell(trained: Trained, output: Path) -> None:
    from fullconv.training.outcome import beside

    confusion = trained.confusion
    recalls = ", ".join(
        f"{name} {recall:.3f}"
        for name, recall in zip(trained.classes, confusion.recall, strict=True)
        if recall is not None
    )
    click.echo(
        f"held out accuracy {confusion.accuracy:.4f} on {confusion.counts.sum()} crops, by epoch "
        f"{trained.best.number}; found of each class: {recalls}"
    )
    click.echo(f"wrote    {output} ({megabytes(output.stat().st_size)})")
    for path in beside(output):
        click.echo(f"wrote    {path}")
