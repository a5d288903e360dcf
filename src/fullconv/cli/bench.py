"""``fullconv bench``: crops against the converted network, on the user's own model and image."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from fullconv.cli import options
from fullconv.cli.models import convert, open_model
from fullconv.cli.options import PreprocessingFlags, preprocessing_of
from fullconv.cli.output import note, only_json, print_json
from fullconv.cli.paths import LocalPath
from fullconv.errors import InputError
from fullconv.geometry.grid import Span
from fullconv.wording import shortly, sized, unit

LARGEST = 1024
"""The longest side in pixels that is measured; a larger image is cut to its middle."""


@click.command("bench", epilog=options.MODEL_HELP)
@options.model
@click.argument("image", metavar="IMAGE", type=LocalPath(reads=True))
@options.conversion
@options.preprocessing
@click.option(
    "--size",
    type=click.IntRange(min=1),
    default=LARGEST,
    show_default=True,
    help="Side in pixels of the square that is measured in the middle of a larger image; of a "
    "recording or volume, about as many samples or voxels.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How often each way is run.",
)
@options.bands
@options.as_json
def command(
    model: options.ModelFlags,
    image: Path,
    size: int,
    rounds: int,
    bands: tuple[int, ...] | None,
    conversion: options.Conversion,
    flags: PreprocessingFlags,
    as_json: bool,
) -> None:
    """Time crops of IMAGE against the converted MODEL, which is a classifier, side by side.

    Both run in the model's own framework on this machine, in turns; the middle of a large image
    stands for it. The ceiling says how many times fewer multiply-accumulates the network needs.
    """
    from fullconv.scanning.task import prepared_pixels
    from fullconv.sources import fit_channels, open_source
    from fullconv.verification.benchmark import run_benchmark

    with only_json(as_json):
        opened = open_model("bench", replace(model, approximate=False), conversion, flags.config)
        if opened.is_converted:
            raise InputError(
                f"bench {model.named}: the model is converted already; give the classifier that it "
                f"was converted from."
            )
        exact, classifier = opened.fcn, opened.classifier
        grid = exact.grid
        same = replace(model, window=grid.window, step=grid.step, approximate=True)
        near = convert(classifier, same, conversion)
        preprocessing = preprocessing_of(flags, exact.preprocessing)
        with open_source(image, bands=bands, dimensions=exact.grid.dimensions) as source:
            fitted = fit_channels(source, exact.shape.channels)
            exact.shape.check_size(fitted.size)
            side = round(size ** (2 / exact.grid.dimensions))
            spans = [
                _middle(n, max(side, w))
                for n, w in zip(fitted.size, exact.grid.window, strict=True)
            ]
            pixels, _ = prepared_pixels(fitted, preprocessing, *spans)
        result = run_benchmark(exact, near, classifier, pixels[None], rounds)
    measured = [stop - start for start, stop in spans]
    if as_json:
        print_json(
            {
                "model": model.named,
                "image": str(image),
                "size": measured,
                "framework": exact.framework.name,
                "window": list(exact.grid.window),
                "step": list(exact.grid.step),
                **asdict(result),
            }
        )
        return
    if model.approximate:
        note("both forms are measured; --approximate changes nothing here", as_json)
    often = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    part = f", extrapolated from {result.crops_run}" if result.crops_run < result.windows else ""
    click.echo(
        f"{sized(measured)} {unit(len(measured), many=True)} of {image}: {result.windows} windows "
        f"of {sized(exact.grid.window)}, step {shortly(exact.grid.step)}; {exact.framework.name}, "
        f"{often}"
    )
    names = {way.name: way.name for way in result.ways} | {
        "crops": f"crops, {result.batch} at a time{part}"
    }
    wide = 2 + max(map(len, names.values()))
    click.echo(f"{'':<{wide}}{'seconds':>10}{'windows/s':>12}{'times as fast':>15}{'ceiling':>10}")
    for way in result.ways:
        click.echo(
            f"{names[way.name]:<{wide}}{way.seconds:>10.3f}{result.windows / way.seconds:>12.1f}"
            f"{way.faster:>15.2f}{way.counted:>10.2f}"
        )


def _middle(length: int, wanted: int) -> Span:
    """Return the middle ``wanted`` pixels of a side, as (start, stop)."""
    first = max(0, (length - wanted) // 2)
    return first, min(length, first + wanted)
