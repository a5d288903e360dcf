"""``fullconv convert``: convert a classifier and save the result."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from fullconv.choices import ACTIVATIONS, Activation
from fullconv.cli import options
from fullconv.cli.models import convert, find_model
from fullconv.cli.output import megabytes, only_json, print_json
from fullconv.cli.paths import LocalPath
from fullconv.cli.sizes import NamesType
from fullconv.conversion.precision import EPSILONS
from fullconv.errors import InputError

ENDINGS = (".onnx", ".pt2", ".keras")


@click.command("convert", epilog=options.MODEL_HELP)
@options.model
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    type=LocalPath(),
    help="Where to write the converted model: .onnx, .pt2 for PyTorch, or .keras for Keras.",
)
@click.option("--classes", type=NamesType(), help="Class names, in the order of the scores.")
@click.option(
    "--background",
    metavar="NAME",
    help="The class that is none of what is looked for. Default: the one called background, "
    "negative, negatives or other.",
)
@click.option(
    "--precision",
    type=click.Choice(tuple(EPSILONS)),
    help="Round weights and arithmetic to half precision, for .onnx: half the size. Scores then "
    "differ from the crops' by roundings of it, and the file says so. Images and scores stay "
    "float32.",
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATIONS),
    default="none",
    show_default=True,
    help="Put this function into the model, so that it gives probabilities; .onnx only.",
)
@click.option(
    "--embed-preprocessing",
    is_flag=True,
    help="Put the preprocessing into the model, so that it takes bytes as image libraries give "
    "them, (N, H, W, C), and gives (N, rows, columns, classes); .onnx only. Resizing stays "
    "outside.",
)
@options.conversion
@options.preprocessing
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    model: options.ModelFlags,
    output: Path,
    classes: tuple[str, ...] | None,
    background: str | None,
    precision: str | None,
    activation: Activation,
    embed_preprocessing: bool,
    conversion: options.Conversion,
    flags: options.PreprocessingFlags,
    as_json: bool,
) -> None:
    """Convert MODEL, a classifier of crops, and save it as OUT.

    The converted model takes images of any size from the window up, and gives one set of scores
    per window. Window, step, class names and what is done to pixels first travel inside the file.
    With --activation and --embed-preprocessing the model needs nothing else: a program feeds bytes
    to ONNX Runtime and reads probabilities, and 'scan' and 'detect' do neither twice.
    Exit code 4 says that scores which claim to be the crops' own are not; then nothing is written.
    """
    _check_output(output, model.named, precision, activation, embed_preprocessing)
    if flags.config is not None:
        model = replace(model, window=model.window or flags.config.window)
        classes = classes or flags.config.classes
    with only_json(as_json):
        classifier = find_model(model.named, model.weights)
        fcn = convert(
            classifier,
            model,
            conversion,
            classes=classes,
            background=background,
            precision=precision,
        )
        flags.check_channels("convert", fcn.shape.channels)
        fcn.preprocessing = options.preprocessing_of(flags, fcn.preprocessing)
        if fcn.preprocessing is not None:
            fcn.preprocessing.check_channels(fcn.shape.channels)
        if activation != "none" or embed_preprocessing:
            from fullconv.conversion.deploying import deployable

            against = classifier if conversion.check else None
            fcn = deployable(fcn, activation, embed_preprocessing, against)
        fcn = fcn.as_saved(output)
        fcn.save(output)
    if as_json:
        print_json(
            {
                "model": model.named,
                "output": str(output),
                **fcn.report.as_dict(),
                "channels": fcn.shape.channels,
                "classes": list(fcn.classes),
                "background": fcn.background,
                "preprocessing": asdict(fcn.preprocessing) if fcn.preprocessing else None,
                "embedded": fcn.embedded.as_dict(),
                "verification": fcn.probe.proof.as_dict() if fcn.probe else None,
            }
        )
        return
    click.echo(str(fcn.report))
    click.echo(f"wrote    {output} ({megabytes(output.stat().st_size)})")


def _check_output(
    output: Path,
    model: str,
    precision: str | None,
    activation: Activation,
    embed_preprocessing: bool,
) -> None:
    """Refuse what saving would refuse, before the work and not after it."""
    if output.suffix not in ENDINGS:
        raise InputError(
            f"convert -o {output}: the kind of file is told by its ending; use .onnx, .pt2 for "
            f"PyTorch, or .keras for Keras."
        )
    inside = [
        *([f"--precision {precision}"] if precision is not None else []),
        *([f"--activation {activation}"] if activation != "none" else []),
        *(["--embed-preprocessing"] if embed_preprocessing else []),
    ]
    if inside and output.suffix != ".onnx":
        raise InputError(
            f"convert {' '.join(inside)} -o {output}: only ONNX files hold these, for whichever "
            f"program runs them; name it {output.with_suffix('.onnx')}."
        )
    if output.exists() and Path(model).exists() and output.samefile(model):
        raise InputError(
            f"convert -o {output}: that is the classifier itself, which would be lost; choose "
            f"another name."
        )
