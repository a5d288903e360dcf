"""What came of a run, as pictures: one field with boxes, and misses against false boxes."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fullconv
from bccd_crops import CLASSES, Field
from fullconv.detections.curves import ClassEvaluation
from fullconv.detections.drawing import draw_boxes, outline
from fullconv.detections.palette import colour_of

PAPER, INK, FAINT, TRUE = (255, 255, 255), (30, 30, 36), (214, 214, 220), (255, 255, 255)
SIZE, LEFT, TOP, BOTTOM = (860, 560), 70, 46, 500
FALSE_BOXES, MISSES = (0.01, 30.0), (0.01, 1.0)
"""Ranges of the two axes, which are logarithmic."""


def draw_field(field: Field, found: fullconv.Detections) -> Image.Image:
    """Return a field, twice its size: true boxes are thin and white, found ones have colours."""
    with Image.open(field.path) as picture:
        twice = picture.convert("RGB").resize((2 * picture.width, 2 * picture.height))
    pen = ImageDraw.Draw(twice)
    for _, box in field.objects:
        x0, y0, x1, y1 = (round(2 * edge) for edge in box)
        outline(pen, (x0, y0, x1, y1), TRUE, 1)
    mine = found.of_image(str(field.path)) if str(field.path) in found.names else found
    return draw_boxes(twice, mine.boxes, mine.labels, mine.scores, mine.classes, scale=2.0)


def draw_misses(runs: Mapping[str, Mapping[str, ClassEvaluation]]) -> Image.Image:
    """Return miss rate against false boxes per image, for each run and class.

    The last run's curves are thick, those of the runs before it thin.
    """
    picture = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(picture)
    right = SIZE[0] - 24
    pen.text((LEFT, 12), "miss rate over false boxes per image", fill=INK, font_size=17)
    for value in (0.01, 0.1, 1.0, 10.0):
        x = _along(value, FALSE_BOXES, LEFT, right)
        pen.line((x, TOP, x, BOTTOM), fill=FAINT)
        pen.text((x, BOTTOM + 8), f"{value:g}", fill=INK, font_size=13, anchor="mt")
    for value in (0.01, 0.03, 0.1, 0.3, 1.0):
        y = _along(value, MISSES, BOTTOM, TOP)
        pen.line((LEFT, y, right, y), fill=FAINT)
        pen.text((LEFT - 8, y), f"{value:g}", fill=INK, font_size=13, anchor="rm")
    for place, (run, classes) in enumerate(runs.items()):
        width = 4 if place == len(runs) - 1 else 1
        for number, name in enumerate(CLASSES):
            curve = classes[name]
            points = [
                (_along(far, FALSE_BOXES, LEFT, right), _along(missed, MISSES, BOTTOM, TOP))
                for far, missed in zip(
                    curve.false_per_image.tolist(), curve.miss_rates.tolist(), strict=True
                )
            ]
            pen.line(points, fill=colour_of(number), width=width)
        words = f"{('thin', 'thick')[width > 1]}: {run}"
        pen.text((LEFT + 260 * place, BOTTOM + 34), words, fill=INK, font_size=14)
    for number, name in enumerate(CLASSES):
        pen.text((right - 90, TOP + 8 + 20 * number), name, fill=colour_of(number), font_size=15)
    return picture


def _along(value: float, extent: tuple[float, float], start: float, end: float) -> float:
    """Return where a value lies on a logarithmic axis; beyond its ends, at the end."""
    low, high = extent
    share = (log10(np.clip(value, low, high)) - log10(low)) / (log10(high) - log10(low))
    return start + share * (end - start)


def write_pictures(
    output: Path,
    field: Field,
    found: fullconv.Detections,
    runs: Mapping[str, Mapping[str, ClassEvaluation]],
) -> None:
    """Write field.png and misses.png."""
    draw_field(field, found).save(output / "field.png")
    draw_misses(runs).save(output / "misses.png")
