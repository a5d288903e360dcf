"""``fullconv convert``: convert a classifier and save the result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

import fullconv
from fullconv.cli import options
from fullconv.cli.models import find_model
from fullconv.cli.output import megabytes, only_json, print_json
from fullconv.cli.sizes import Names, Numbers
from fullconv.errors import InputError
from fullconv.geometry import Pair
from fullconv.images import Preprocessing

ENDINGS = (".onnx", ".pt2")


@click.command("convert", epilog=options.MODEL_HELP)
@options.model
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write the converted model: .onnx, or .pt2 for PyTorch.",
)
@click.option("--classes", type=Names(), help="Class names, in the order of the scores.")
@click.option("--scale", type=float, help="Pixels are multiplied by this first, as in 0.00392157.")
@click.option("--mean", type=Numbers(), help="Then this is subtracted; one number, or per channel.")
@click.option("--std", type=Numbers(), help="Then they are divided by this.")
@options.as_json
def command(
    model: str,
    window: Pair | None,
    step: Pair | None,
    approximate: bool,
    weights: Path | None,
    output: Path,
    classes: tuple[str, ...] | None,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    as_json: bool,
) -> None:
    """Convert MODEL, a classifier of crops, and save it as OUT.

    The converted model takes images of any size from the window up, and gives one set of scores
    per window. Window, step, class names and what is done to pixels first travel inside the file.
    """
    _check_output(output, model)
    preprocessing = _preprocessing(scale, mean, std)
    with only_json(as_json):
        found = find_model(model, weights)
        fcn = fullconv.convert(
            found,
            window,
            step,
            exact=not approximate,
            classes=classes,
            preprocessing=preprocessing,
        )
        _check_channels(preprocessing, fcn.shape.channels)
        fcn.save(output)
    if as_json:
        print_json(
            {
                "model": model,
                "output": str(output),
                **fcn.report.as_dict(),
                "channels": fcn.shape.channels,
                "classes": list(fcn.classes),
                "preprocessing": asdict(fcn.preprocessing) if fcn.preprocessing else None,
            }
        )
        return
    click.echo(str(fcn.report))
    click.echo(f"wrote    {output} ({megabytes(output.stat().st_size)})")


def _check_output(output: Path, model: str) -> None:
    """Refuse what saving would refuse, before the work and not after it."""
    if output.suffix not in ENDINGS:
        raise InputError(
            f"convert -o {output}: the kind of file is told by its ending; use .onnx, or .pt2 for "
            f"PyTorch."
        )
    if output.exists() and Path(model).exists() and output.samefile(model):
        raise InputError(
            f"convert -o {output}: that is the classifier itself, which would be lost; choose "
            f"another name."
        )


def _preprocessing(
    scale: float | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Preprocessing | None:
    if scale is None and mean is None and std is None:
        return None
    return Preprocessing(
        1.0 if scale is None else scale,
        (0.0,) if mean is None else mean,
        (1.0,) if std is None else std,
    )


def _check_channels(preprocessing: Preprocessing | None, channels: int) -> None:
    if preprocessing is None:
        return
    for name, numbers in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(numbers) not in (1, channels):
            raise InputError(
                f"convert --{name}: expected one number, or {channels}, one per channel of the "
                f"model; got {len(numbers)}."
            )
