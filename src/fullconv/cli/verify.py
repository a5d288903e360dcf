"""``fullconv verify``: the converted network against crops of the user's own image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.cli import DIFFERS, options
from fullconv.cli.models import file_hash, find_model, open_model
from fullconv.cli.output import note, only_json, print_json
from fullconv.cli.paths import Local
from fullconv.converted import FullyConvolutional
from fullconv.errors import ImageError, InputError
from fullconv.geometry import Sizes
from fullconv.judging import ANOTHER_IMAGE
from fullconv.names import from_text
from fullconv.placement import Space
from fullconv.preprocessing import UNCHANGED
from fullconv.verification import verify_prepared
from fullconv.wording import sized, unit

if TYPE_CHECKING:
    from fullconv.scanning.damage import Damage
    from fullconv.scanning.heatmap import Heatmap
    from fullconv.sources import Source

HEATMAPS = (".zarr", ".tif", ".tiff")
"""Endings of heatmaps, none of which is one of models."""

LARGEST = 1 << 27
"""Pixels of an image that is taken whole."""


@click.command("verify", epilog=options.MODEL_HELP)
@options.model
@click.argument("image", metavar="[IMAGE]", required=False, type=Local(reads=True))
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
    model: str,
    image: Path | None,
    window: Sizes | None,
    step: int | Sizes | None,
    approximate: bool,
    weights: Path | None,
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
    if Path(model).suffix.lower() in HEATMAPS:
        given: dict[str, Any] = {"--window": window, "--step": step, "--bands": bands}
        given["--approximate"] = approximate or None
        _refuse(model, [name for name, value in given.items() if value is not None])
        passed = _of_heatmap(Path(model), image, original, weights, windows, seed, as_json)
        ctx.exit(0 if passed else DIFFERS)
    if image is None:
        raise click.UsageError("Missing argument 'IMAGE'.", ctx)
    with only_json(as_json):
        opened = open_model(
            "verify",
            model,
            weights if original is None else None,
            window,
            step,
            approximate,
            conversion,
        )
        fcn, classifier = opened.fcn, opened.classifier
        against: str | None = model
        if opened.is_converted:
            against = original
            classifier = fcn.model if original is None else find_model(original, weights)
        elif original is not None:
            raise InputError(
                f"verify --original {original}: {model} is not converted yet, and is itself "
                f"the original; leave --original out."
            )
        images = _prepared(fcn, image, bands)
        verification = verify_prepared(fcn, classifier, images, windows, seed=seed)

    if fcn.preprocessing is None:
        note(UNCHANGED, as_json)
    if against is None:
        note(
            f"checked against itself, run on crops of its native size "
            f"({sized(fcn.grid.window)}); --original MODEL checks it against the "
            f"classifier that it was converted from",
            as_json,
        )
    if as_json:
        print_json(_record(fcn, model, image, against) | verification.as_dict())
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
        pixels, _ = prepared_pixels(image, fcn.preprocessing, *((0, n) for n in size))
    return fcn.framework.images(fcn.model, pixels[None])


def _of_heatmap(
    path: Path,
    image: Path | None,
    original: str | None,
    weights: Path | None,
    windows: int,
    seed: int,
    as_json: bool,
) -> bool:
    """Compare a finished heatmap with its checksums and with crops, and print the comparison.

    Returns whether it is what it claims to be.
    """
    from fullconv.scanning.check import verify_heatmap
    from fullconv.scanning.heatmap import Heatmap
    from fullconv.sources import reopen

    _check_finished(path)
    heatmap = Heatmap.open(path)
    damage = heatmap.damage()
    if damage:
        _print_damage(path, damage, as_json)
        return False
    if heatmap.checksums is None:
        note(
            f"{path} was made before heatmaps had checksums: of scores that were lost or changed "
            f"since, only those show that are missing or cannot be read",
            as_json,
        )
    described = dict(heatmap.metadata["image"])
    if described.get("path"):
        described["path"] = from_text(described["path"])
    if image is not None:
        described["path"] = str(image)
    elif described.get("path") and not os.path.exists(described["path"]):
        raise InputError(
            f"verify {path}: its image {described['path']} is no longer there; name the place "
            f"where it is now, as a second argument."
        )
    with only_json(as_json):
        if original is None:
            classifier = _origin(path, heatmap.metadata["origin"])
        else:
            classifier = find_model(original, weights)
        with reopen(described) as source:
            proof = verify_heatmap(heatmap, classifier, source, windows, seed=seed)
            asked = heatmap.metadata.get("asked") or {}
            is_same = source.fingerprint() == asked.get("pixels")
            has_moved = _has_moved(heatmap, source)
    if proof is None:
        raise InputError(f"verify {path}: no window of this heatmap was scanned.")
    if not is_same and (heatmap.checksums is not None or not proof.passed):
        note(f"{described['path']} is not what was scanned: another image, or changed", as_json)
        # A picture that the user names may be the same in another file.
        proof = replace(proof, of=ANOTHER_IMAGE, passed=proof.passed and image is not None)
    elif has_moved:
        note(
            f"{described['path']} does not lie where it lay when it was scanned, and where the "
            f"heatmap lies; scan it again with --overwrite to place it anew",
            as_json,
        )
    if as_json:
        print_json({"heatmap": str(path), "image": described["path"]} | proof.as_dict())
    else:
        click.echo(str(proof))
    return proof.passed


def _has_moved(heatmap: Heatmap, image: Source) -> bool:
    """Whether an image lies elsewhere than its heatmap says: in the world, or a level in it."""
    held = heatmap.metadata.get("space")
    space = None if held is None else Space.parse(held)
    if "space" not in heatmap.metadata:  # of an earlier version
        space = image.facts.space
    return (heatmap.georeference, heatmap.placement, space) != (
        image.georeference,
        image.placement,
        image.facts.space,
    )


def _print_damage(path: Path, damage: Sequence[Damage], as_json: bool) -> None:
    """Print where a heatmap is damaged, and how it is repaired."""
    verdict = (
        "NOT whole: scores are lost, or are not those that were scanned; the 'fullconv scan' that "
        "made it computes them again with --repair"
    )
    if not any(one.is_lost for one in damage):
        verdict = (
            "NOT whole: all scores are there, and viewers show them in another way or place; the "
            "'fullconv scan' that made it describes them anew with --repair"
        )
    if as_json:
        held = [one.as_dict() for one in damage]
        print_json({"heatmap": str(path), "damage": held, "passed": False, "verdict": verdict})
        return
    for one in damage:
        click.echo(f"damage                 {one}")
    click.echo(f"verdict                {verdict}")


def _check_finished(path: Path) -> None:
    """Check that a heatmap is there, before anything is said of what it holds."""
    if path.exists():
        return
    if path.with_name(path.name + ".part").exists():
        raise InputError(
            f"verify {path}: the scan that writes it has not come to its end; the same 'fullconv "
            f"scan' command goes on with it."
        )
    raise InputError(f"verify {path}: no such heatmap; give what 'fullconv scan -o' named.")


def _origin(path: Path, origin: Mapping[str, str] | None) -> Any:
    """Return the model that a heatmap was made with."""
    if origin is None:
        raise InputError(
            f"verify {path}: the heatmap does not say where its model is; name the classifier, "
            f"--original MODEL."
        )
    origin = {name: from_text(told) for name, told in origin.items()}
    weights = origin.get("weights")
    if file_hash(Path(weights or origin["model"])) != origin.get("sha256"):
        raise InputError(
            f"verify {path}: {weights or origin['model']} has changed or moved since the heatmap "
            f"was made; name the classifier as it was then, --original MODEL."
        )
    return find_model(origin["model"], Path(weights) if weights else None)


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
    }
