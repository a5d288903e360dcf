"""``fullconv explain``: what conversion would do."""

from __future__ import annotations

import click

import fullconv
from fullconv.cli import options
from fullconv.cli.models import find_model
from fullconv.cli.output import only_json, print_json
from fullconv.cli.sizes import WindowType
from fullconv.geometry.grid import Sizes


@click.command("explain", epilog=options.MODEL_HELP)
@options.model
@click.option(
    "--image",
    type=WindowType(),
    metavar="N|WIDTHxHEIGHT",
    help="Count the cost for an image of this size, written as --window is. Along an axis on which "
    "it is as long as the window there is one window, and nothing is shared.",
)
@options.allow_random
@options.as_json
def command(
    model: options.ModelFlags,
    image: int | Sizes | None,
    allow_random: bool,
    as_json: bool,
) -> None:
    """Say what conversion would do to MODEL, layer by layer, and whether it is exact.

    Nothing is written. A report says what a window costs from its crop, exactly and approximately,
    and names the layers that change, and where windows stop sharing their work, or (--approximate)
    where scores would differ from those of the crops.
    """
    with only_json(as_json):
        classifier = find_model(model.named, model.weights)
        report = fullconv.explain(
            classifier,
            model.window,
            model.step,
            exact=not model.approximate,
            image=image,
            allow_random=allow_random,
        )
    if as_json:
        print_json({"model": model.named, **report.as_dict()})
    else:
        click.echo(str(report))
