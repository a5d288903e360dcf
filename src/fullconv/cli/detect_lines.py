"""The output of ``fullconv detect``: lines for people, or the JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.cli.output import note, print_json
from fullconv.cli.reading import border, comparison
from fullconv.sources.names import as_text
from fullconv.wording import unit

if TYPE_CHECKING:
    from fullconv.cli.many import Failed
    from fullconv.detections.detecting import ImageDetections
    from fullconv.detections.found import Detections


def tell(found: ImageDetections, image: Path, threshold: float) -> None:
    """Print the detections in an image, and how its scores compare with those of crops."""
    detections = found.detections
    counts = dict.fromkeys(detections.classes, 0)
    for each_ in detections:
        counts[each_.name] += 1
    listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
    click.echo(f"image    {as_text(str(image))}: {listed}")
    first = found.heatmaps[0]
    for line in border(first):
        click.echo(line)
    for heatmap in found.heatmaps:
        proof = heatmap.verification
        if proof is not None:
            at = (
                f" at scale {1 / heatmap.placement.scale[0]:.3g}" if len(found.heatmaps) > 1 else ""
            )
            if proof.exact and proof.passed:
                click.echo(f"check    {proof.windows} windows{at}: {proof.verdict}")
            else:
                click.echo("\n".join(comparison(proof, at)))
    if first.seen is not None:
        click.echo(f"{unit(first.grid.dimensions, many=True):<8} {first.seen}")
    if found.beyond is not None:
        note(beyond(found.beyond, threshold), False)


def tell_place(detections: Detections, out: Path) -> None:
    """Print the coordinates of the boxes, if the image has others than pixels."""
    place = detections.places[0]
    if place is not None:
        is_kept = out.suffix.lower() == ".geojson"
        named = as_text(str(out))
        kept = "" if is_kept else f"; {named} is in pixels, and .geojson would be in these"
        click.echo(f"place    {place}{kept}")


def beyond(extremes: tuple[float, float], threshold: float) -> str:
    """Return the note on scores whose extremes show that they are no probabilities."""
    low, high = extremes
    return (
        f"scores reach from {low:.3g} to {high:.3g}, so they are no probabilities, and the "
        f"threshold {threshold:g} is one of raw scores; --activation softmax or sigmoid makes "
        f"probabilities of them"
    )


def print_found(output: Path, results: Sequence[ImageDetections], failed: Sequence[Failed]) -> None:
    """Print the JSON object."""
    print_json(
        {
            "output": str(output),
            "images": [_record(found) for found in results],
            "failed": [one.as_dict() for one in failed],
        }
    )


def _record(found: ImageDetections) -> dict[str, Any]:
    proofs = [heatmap.verification for heatmap in found.heatmaps]
    compared = [proof for proof in proofs if proof is not None]
    return {
        "image": as_text(found.detections.names[0]),
        "detections": [
            {"box": list(one.box), "score": one.score, "class": one.name}
            for one in found.detections
        ],
        "passed": all(proof.passed for proof in compared) if compared else None,
    }
