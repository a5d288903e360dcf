"""``fullconv verify`` of a heatmap: compare it with its checksums and with crops."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.cli.models import file_hash, find_model
from fullconv.cli.output import note, only_json, print_json
from fullconv.errors import InputError
from fullconv.geometry.placement import Space
from fullconv.sources.names import from_text
from fullconv.verification.verified import ANOTHER_IMAGE

if TYPE_CHECKING:
    from fullconv.scanning.damage import Damage
    from fullconv.scanning.heatmap import Heatmap
    from fullconv.sources import Source
    from fullconv.verification.verified import Verification


@dataclass(frozen=True)
class Asked:
    """The options of a verification.

    Attributes
    ----------
    image : Path or None
        Present path of the scanned image; None if it has not moved.
    original : str or None
        The classifier; None for the one that the heatmap's record names.
    weights : Path or None
        Weights of ``original``.
    windows, seed : int
        How many windows are compared, and the seed that chooses them.
    as_json : bool
    """

    image: Path | None
    original: str | None
    weights: Path | None
    windows: int
    seed: int
    as_json: bool


def of_heatmap(path: Path, asked: Asked) -> bool:
    """Compare a finished heatmap with its checksums and with crops, and print the comparison.

    Returns whether the heatmap is undamaged and its scores are as it claims.
    """
    from fullconv.scanning.heatmap import Heatmap

    _check_finished(path)
    heatmap = Heatmap.open(path)
    damage = heatmap.damage()
    if damage:
        _print_damage(path, damage, asked.as_json)
        return False
    if heatmap.checksums is None:
        note(
            f"{path} was made before heatmaps had checksums: of scores that were lost or changed "
            f"since, only those show that are missing or cannot be read",
            asked.as_json,
        )
    described = _described(path, heatmap, asked.image)
    proof = _compared(path, heatmap, described, asked)
    if asked.as_json:
        print_json({"heatmap": str(path), "image": described["path"]} | proof.as_dict())
    else:
        click.echo(str(proof))
    return proof.passed


def _described(path: Path, heatmap: Heatmap, image: Path | None) -> dict[str, Any]:
    """Return how the scanned image is opened, at its present path."""
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
    return described


def _compared(
    path: Path, heatmap: Heatmap, described: Mapping[str, Any], asked: Asked
) -> Verification:
    """Compare the scores with those of crops, and note if the image is another or has moved."""
    from fullconv.scanning.check import verify_heatmap
    from fullconv.sources import reopen

    with only_json(asked.as_json):
        if asked.original is None:
            classifier = _origin(path, heatmap.metadata["origin"])
        else:
            classifier = find_model(asked.original, asked.weights)
        with reopen(described) as source:
            proof = verify_heatmap(heatmap, classifier, source, asked.windows, seed=asked.seed)
            scanned = heatmap.metadata.get("asked") or {}
            is_same = source.fingerprint() == scanned.get("pixels")
            has_moved = _has_moved(heatmap, source)
    if proof is None:
        raise InputError(f"verify {path}: no window of this heatmap was scanned.")
    if not is_same and (heatmap.checksums is not None or not proof.passed):
        note(
            f"{described['path']} is not what was scanned: another image, or changed",
            asked.as_json,
        )
        # An image that the user names may be the same picture in another file.
        is_named = asked.image is not None
        proof = replace(proof, of=ANOTHER_IMAGE, passed=proof.passed and is_named)
    elif has_moved:
        note(
            f"{described['path']} does not lie where it lay when it was scanned, and where the "
            f"heatmap lies; scan it again with --overwrite to place it anew",
            asked.as_json,
        )
    return proof


def _has_moved(heatmap: Heatmap, image: Source) -> bool:
    """Whether an image's place in the world, or its pyramid level, differs from its heatmap's."""
    entry = heatmap.metadata.get("space")
    space = None if entry is None else Space.parse(entry)
    if "space" not in heatmap.metadata:  # of an earlier version
        space = image.facts.space
    return (heatmap.georeference, heatmap.placement, space) != (
        image.georeference,
        image.placement,
        image.facts.space,
    )


def _print_damage(path: Path, damage: Sequence[Damage], as_json: bool) -> None:
    """Print where a heatmap is damaged, and how to repair it."""
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
        records = [one.as_dict() for one in damage]
        print_json({"heatmap": str(path), "damage": records, "passed": False, "verdict": verdict})
        return
    for one in damage:
        click.echo(f"damage                 {one}")
    click.echo(f"verdict                {verdict}")


def _check_finished(path: Path) -> None:
    """Check that a heatmap exists and is finished."""
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
    origin = {name: from_text(text) for name, text in origin.items()}
    weights = origin.get("weights")
    if file_hash(Path(weights or origin["model"])) != origin.get("sha256"):
        raise InputError(
            f"verify {path}: {weights or origin['model']} has changed or moved since the heatmap "
            f"was made; name the classifier as it was then, --original MODEL."
        )
    return find_model(origin["model"], Path(weights) if weights else None)
