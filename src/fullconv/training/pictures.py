"""The course of a training, and what it confuses, as pictures drawn by Pillow alone."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from fullconv.detections.palette import colour_of
from fullconv.training.judging import Confusion
from fullconv.training.telling import Epoch

PAPER, INK, FAINT = (255, 255, 255), (30, 30, 36), (214, 214, 220)
FULL = (24, 92, 150)
"""The ground of a cell in which all crops of a class are."""

TEXT = 15
CELL = 76
MOST_CLASSES = 40
"""Of more classes the numbers in the cells could not be read; cells are then small and bare."""

CHART = (760, 240)
"""Width and height of each of the two curves."""


def draw_confusion(confusion: Confusion) -> Image.Image:
    """Return the confusion matrix: rows are what crops are, columns what they were taken for.

    Every cell has its count, and is the darker the larger its share of the row.
    """
    classes, counts = confusion.classes, confusion.counts.tolist()
    cell = CELL if len(classes) <= MOST_CLASSES else 12
    names = [_readable(name, number) for number, name in enumerate(classes)]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    longest = math.ceil(max(measure.textlength(name, font_size=TEXT) for name in names))
    left, top = longest + 30, longest + 76
    size = cell * len(classes)
    picture = Image.new("RGB", (max(left + size + 24, 420), top + size + 24), PAPER)
    pen = ImageDraw.Draw(picture)
    title = f"{confusion.counts.sum()} crops held out, {100 * confusion.accuracy:.2f} % right"
    pen.text((12, 10), title, fill=INK, font_size=TEXT + 2)
    pen.text((12, 34), "rows: what they are; columns: taken for", fill=INK, font_size=TEXT - 2)
    for row, name in enumerate(names):
        if cell >= TEXT:
            y = top + cell * row + cell / 2
            pen.text((left - 10, y), name, fill=INK, font_size=TEXT, anchor="rm")
            _upward(picture, name, (left + cell * row + cell // 2, top - 8))
        total = sum(counts[row])
        for column, count in enumerate(counts[row]):
            share = count / total if total else 0.0
            x, y = left + cell * column, top + cell * row
            pen.rectangle((x, y, x + cell - 2, y + cell - 2), fill=_between(PAPER, FULL, share))
            pen.rectangle((x, y, x + cell - 2, y + cell - 2), outline=FAINT)
            if cell >= TEXT:
                colour = PAPER if share > 0.6 else INK
                middle = (x + cell / 2, y + cell / 2)
                pen.text(middle, str(count), fill=colour, font_size=TEXT, anchor="mm")
    return picture


def draw_curves(history: Sequence[Epoch], best: int) -> Image.Image:
    """Return loss and hold-out accuracy over the epochs, with the best one marked.

    Where hard negatives were added a line goes down through both.
    """
    width, height = CHART
    picture = Image.new("RGB", (width, 2 * height), PAPER)
    pen = ImageDraw.Draw(picture)
    numbers = [epoch.number for epoch in history]
    phases = [
        after.number - 0.5 for before, after in pairwise(history) if before.phase != after.phase
    ]
    charts: tuple[tuple[str, dict[str, list[float]], int], ...] = (
        (
            "loss",
            {
                "learning": [epoch.loss for epoch in history],
                "held out": [epoch.held_out_loss for epoch in history],
            },
            0,
        ),
        ("accuracy, held out", {"": [epoch.accuracy for epoch in history]}, height),
    )
    for title, curves, top in charts:
        _chart(pen, title, numbers, curves, phases, best, top)
    return picture


def _chart(
    pen: ImageDraw.ImageDraw,
    title: str,
    numbers: Sequence[int],
    curves: dict[str, list[float]],
    phases: Sequence[float],
    best: int,
    top: int,
) -> None:
    width, height = CHART
    left, right, high, low = 64, width - 20, top + 40, top + height - 34
    values = [value for curve in curves.values() for value in curve]
    least, most = min(values), max(values)
    if title == "loss":
        least = 0.0
    most = most if most > least else least + 1
    first, last = numbers[0], max(numbers[-1], numbers[0] + 1)

    def at(number: float, value: float) -> tuple[float, float]:
        x = left + (number - first) / (last - first) * (right - left)
        return x, low - (value - least) / (most - least) * (low - high)

    pen.text((12, top + 10), title, fill=INK, font_size=TEXT)
    for value in (least, (least + most) / 2, most):
        y = at(first, value)[1]
        pen.line((left, y, right, y), fill=FAINT)
        pen.text((left - 8, y), f"{value:.3g}", fill=INK, font_size=TEXT - 3, anchor="rm")
    for number in (first, last):
        x = at(number, least)[0]
        pen.text((x, low + 8), f"{number}", fill=INK, font_size=TEXT - 3, anchor="mt")
    pen.text(((left + right) / 2, low + 8), "epoch", fill=INK, font_size=TEXT - 3, anchor="mt")
    for between in phases:
        x = at(between, least)[0]
        pen.line((x, high, x, low), fill=INK)
    for place, (name, curve) in enumerate(curves.items()):
        colour = colour_of(place)
        points = [at(number, value) for number, value in zip(numbers, curve, strict=True)]
        pen.line(points, fill=colour, width=3, joint="curve")
        x, y = points[list(numbers).index(best)]
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour, outline=INK)
        pen.text((220 + 110 * place, top + 10), name, fill=colour, font_size=TEXT)


def _upward(picture: Image.Image, text: str, foot: tuple[int, int]) -> None:
    """Write a text from a point upwards."""
    pen = ImageDraw.Draw(picture)
    length = math.ceil(pen.textlength(text, font_size=TEXT))
    strip = Image.new("RGB", (length + 2, TEXT + 8), PAPER)
    ImageDraw.Draw(strip).text((0, 2), text, fill=INK, font_size=TEXT)
    turned = strip.rotate(90, expand=True)
    picture.paste(turned, (foot[0] - turned.width // 2, foot[1] - turned.height))


def _readable(name: str, number: int) -> str:
    """Return a class name in the letters that Pillow's own font has: those of ASCII.

    Accents are left out; a name in another script becomes its number. The report has the names.
    """
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    if not plain.isascii():
        plain = f"class {number}"
    return plain if len(plain) <= 24 else f"{plain[:22]}.."


def _between(
    first: tuple[int, int, int], second: tuple[int, int, int], share: float
) -> tuple[int, int, int]:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
