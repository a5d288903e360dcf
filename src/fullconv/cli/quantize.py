"""``fullconv quantize``: a converted model in 8-bit integers, and how far it agrees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from fullconv.cli import options
from fullconv.cli.many import find_inputs
from fullconv.cli.models import find_model, open_model
from fullconv.cli.output import megabytes, only_json, print_json
from fullconv.cli.paths import LocalPath, NamedType
from fullconv.cli.reading import prepared
from fullconv.cli.sizes import FiniteType
from fullconv.errors import InputError


@click.command("quantize", epilog=options.MODEL_HELP)
@options.model
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True, type=NamedType())
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    type=LocalPath(),
    help="Where to write the model in integers: .onnx.",
)
@click.option(
    "--agreement",
    type=FiniteType(0, 1),
    default=0.98,
    show_default=True,
    help="The least share of windows with the same best class as their crops; layers stay in f32 "
    "until it is reached.",
)
@click.option(
    "--windows",
    type=click.IntRange(min=2),
    default=256,
    show_default=True,
    help="So many to calibrate on, and so many to compare, at most.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the windows."
)
@click.option(
    "--original",
    metavar="MODEL",
    help="The classifier that MODEL was converted from, where MODEL is already converted; it "
    "scores the crops.",
)
@options.conversion
@options.preprocessing
@options.as_json
def command(
    model: options.ModelFlags,
    photos: tuple[str, ...],
    output: Path,
    agreement: float,
    windows: int,
    seed: int,
    original: str | None,
    conversion: options.Conversion,
    flags: options.PreprocessingFlags,
    as_json: bool,
) -> None:
    """Write MODEL in 8-bit integers, calibrated on windows of PHOTOs, and say what that costs.

    MODEL is a classifier, which is converted first, or a converted model. A quarter of the photos
    (of one photo, of its windows) is kept back, and its windows are compared with their crops.
    While they agree less than is asked for, layers stay in float32, those that add most error
    first. No score is its crop's own then, and the file says so; 'fullconv verify' compares
    agreement. Size and speed are those of ONNX Runtime here, before and after, in one run.
    """
    if output.suffix != ".onnx":
        raise InputError(
            f"quantize -o {output}: a model in integers is written as .onnx; choose that ending."
        )
    if output.exists() and Path(model.named).exists() and output.samefile(model.named):
        raise InputError(
            f"quantize -o {output}: that is the model itself, which would be lost; choose another "
            f"name."
        )
    found = find_inputs(photos)
    from fullconv.quantizing import quantize

    with only_json(as_json):
        named = model if original is None else replace(model, weights=None)
        opened = open_model("quantize", named, conversion, flags.config)
        fcn, classifier = opened.fcn, None if opened.is_converted else opened.classifier
        if original is not None:
            if not opened.is_converted:
                raise InputError(
                    f"quantize --original {original}: {model.named} is not converted yet, and is "
                    f"itself the original; leave --original out."
                )
            classifier = find_model(original, model.weights)
        fcn.preprocessing = prepared("quantize", opened, flags, None, as_json)
        made = quantize(
            fcn,
            found,
            classifier=classifier,
            agreement=agreement,
            windows=windows,
            seed=seed,
        )
        made.fcn.save(output)
    if as_json:
        print_json(
            {
                "model": model.named,
                "output": str(output),
                **made.fcn.report.as_dict(),
                **made.as_dict(),
            }
        )
        return
    click.echo(f"result   {made.fcn.report.verdict}")
    click.echo(str(made))
    click.echo(f"wrote    {output} ({megabytes(output.stat().st_size)})")
