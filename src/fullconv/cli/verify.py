"""``fullconv verify``: the converted network against crops of the user's own image."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.cli import options
from fullconv.cli.exit_codes import DIFFERS
from fullconv.cli.heatmap_checks import Asked, of_heatmap
from fullconv.cli.models import find_model, open_model
from fullconv.cli.output import note, only_json, print_json
from fullconv.cli.paths import LocalPath
from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import ImageError, InputError
from fullconv.preprocessing import unchanged
from fullconv.verification.verifying import verify_prepared
from fullconv.wording import sized, unit

if TYPE_CHECKING:
    pass

HEATMAPS = (".zarr", ".tif", ".tiff")
"""Endings of heatmaps, none of which is one of models."""

LARGEST = 1 << 27
"""The most pixels of an image that is read whole."""


@click.command("verify", epilog=options.MODEL_HELP)
@options.model
@click.argument("image", metavar="[IMAGE]", required=False, type=LocalPath(reads=True))
@click.option(
    "--windows",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="How many to check.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Chooses the windows."
)
@click.option(
    "--original",
    metavar="MODEL",
    help="The classifier that MODEL was converted from, where MODEL is already converted.",
)
@options.bands
@options.conversion
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    model: options.ModelFlags,
    image: Path | None,
    windows: int,
    seed: int,
    original: str | None,
    bands: tuple[int, ...] | None,
    conversion: options.Conversion,
    as_json: bool,
) -> None:
    """Compare windows of IMAGE, scored all at once, with the same windows cut out and scored alone.

    MODEL may be a classifier, which is converted first, or a converted model that fullconv saved.
    Or it is a heatmap that 'fullconv scan' has finished: then its own scores are compared, with
    crops of the image that it was made from (or of IMAGE, where that has moved). Exit code 4 says
    that scores which claim to be the crops' own are not.
    """
    weights, named = model.weights, model.named
    if Path(named).suffix.lower() in HEATMAPS:
        _refuse(named, model.given if bands is None else [*model.given, "--bands"])
        asked = Asked(image, original, weights, windows, seed, as_json)
        ctx.exit(0 if of_heatmap(Path(named), asked) else DIFFERS)
    if image is None:
        raise click.UsageError("Missing argument 'IMAGE'.", ctx)
    with only_json(as_json):
        own = model if original is None else replace(model, weights=None)
        opened = open_model("verify", own, conversion)
        fcn, classifier = opened.fcn, opened.classifier
        against: str | None = named
        if opened.is_converted:
            against = original
            classifier = fcn.model if original is None else find_model(original, weights)
        elif original is not None:
            raise InputError(
                f"verify --original {original}: {named} is not converted yet, and is itself "
                f"the original; leave --original out."
            )
        images = _prepared(fcn, image, bands)
        verification = verify_prepared(fcn, classifier, images, windows, seed=seed)

    if fcn.preprocessing is None and fcn.embedded.preprocessing is None:
        note(unchanged(fcn.grid.dimensions), as_json)
    if against is None:
        note(
            f"checked against itself, run on crops of its native size "
            f"({sized(fcn.grid.window)}); --original MODEL checks it against the "
            f"classifier that it was converted from",
            as_json,
        )
    if as_json:
        print_json(_record(fcn, named, image, against) | verification.as_dict())
    else:
        click.echo(str(verification))
    if not verification.passed:
        ctx.exit(DIFFERS)


def _prepared(fcn: FullyConvolutional, path: Path, bands: tuple[int, ...] | None) -> Any:
    """Return an image as the network takes it, ``(1, C, *size)``."""
    from fullconv.scanning.task import prepared_pixels
    from fullconv.sources import fit_channels, open_source

    with open_source(path, bands=bands, dimensions=fcn.grid.dimensions) as source:
        size = source.size
        if prod(size) > LARGEST:
            things = unit(len(size), many=True)
            raise ImageError(
                f"{path} has {sized(size)} {things}, too many to take at once; 'fullconv scan' "
                f"takes it in tiles, and compares them with crops at its end."
            )
        image = fit_channels(source, fcn.shape.channels)
        fcn.embedded.check_pixels(image.name, image.dtype)
        pixels, _ = prepared_pixels(image, fcn.preprocessing, *((0, n) for n in size))
    return fcn.framework.images(fcn.model, pixels[None])


def _refuse(model: str, given: list[str]) -> None:
    if given:
        named = ", ".join(given)
        raise InputError(
            f"verify {model} {named}: a heatmap has its own window, step and bands; leave {named} "
            f"out."
        )


def _record(
    fcn: FullyConvolutional, model: str, image: Path, against: str | None
) -> dict[str, Any]:
    return {
        "model": model,
        "image": str(image),
        "original": against,
        "window": list(fcn.grid.window),
        "step": list(fcn.grid.step),
        "preprocessing": asdict(fcn.preprocessing) if fcn.preprocessing else None,
        "embedded": fcn.embedded.as_dict(),
    }
