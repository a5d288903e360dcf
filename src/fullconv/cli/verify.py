"""``fullconv verify``: the converted network against crops of the user's own image."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import fullconv
from fullconv.cli import options
from fullconv.cli.images import prepare, read_image
from fullconv.cli.models import find_model
from fullconv.cli.output import note, only_json, print_json
from fullconv.converted import FullyConvolutional, from_metadata
from fullconv.errors import InputError
from fullconv.frameworks import find
from fullconv.geometry import Pair

DIFFERS = 4
"""Exit code of a conversion that claims to be exact and is not."""


@click.command("verify", epilog=options.MODEL_HELP)
@options.model
@click.argument("image", metavar="IMAGE", type=click.Path(path_type=Path))
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
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    image: Path,
    window: Pair | None,
    step: Pair | None,
    approximate: bool,
    weights: Path | None,
    windows: int,
    seed: int,
    original: str | None,
    as_json: bool,
) -> None:
    """Compare windows of IMAGE, scored all at once, with the same windows cut out and scored alone.

    MODEL may be a classifier, which is converted first, or a converted model that fullconv saved.
    Exit code 4 says that a conversion which claims to be exact is not.
    """
    with only_json(as_json):
        found = find_model(model, weights if original is None else None)
        fcn = _converted(found) if isinstance(found, Path) else None
        if fcn is None:
            if original is not None:
                raise InputError(
                    f"verify --original {original}: {model} is not converted yet, and is itself "
                    f"the original; leave --original out."
                )
            classifier, against = found, model
            fcn = fullconv.convert(found, window, step, exact=not approximate)
        else:
            _refuse_conversion(model, window, step, approximate)
            if original is None:
                classifier, against = fcn.model, None
            else:
                classifier, against = find_model(original, weights), original
        images = prepare(fcn, read_image(image, fcn.shape.channels))
        verification = fullconv.verify(fcn, classifier, images, windows, seed=seed)

    if fcn.preprocessing is None:
        note(
            "the model does not say how pixels are prepared for it, so they stay as they are, 0 "
            "to 255; 'fullconv convert --scale/--mean/--std' stores it",
            as_json,
        )
    if against is None:
        note(
            f"checked against itself, run on crops of its native size "
            f"({fcn.grid.window[1]}x{fcn.grid.window[0]}); --original MODEL checks it against the "
            f"classifier that it was converted from",
            as_json,
        )
    if as_json:
        print_json(_record(fcn, model, image, against) | verification.as_dict())
    else:
        click.echo(str(verification))
    if not verification.passed:
        ctx.exit(DIFFERS)


def _converted(path: Path) -> FullyConvolutional | None:
    """Return the converted model that a file holds; None where it holds a classifier."""
    framework = find(path)
    model, metadata = framework.open(path)
    if "fullconv.report" not in metadata:
        return None
    return from_metadata(framework, model, metadata, path)


def _refuse_conversion(model: str, window: Pair | None, step: Pair | None, approx: bool) -> None:
    given = {"--window": window is not None, "--step": step is not None, "--approximate": approx}
    if any(given.values()):
        named = ", ".join(name for name, is_given in given.items() if is_given)
        raise InputError(
            f"verify {model} {named}: the model is converted already, with its own window and "
            f"step; leave {named} out, or give the classifier."
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
    }
