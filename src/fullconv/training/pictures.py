"""The confusion matrix as a picture, drawn by Pillow alone."""

from __future__ import annotations

import math
import unicodedata

from PIL import Image, ImageDraw

from fullconv.training.curves import FAINT, INK, PAPER, TEXT
from fullconv.training.judging import Confusion

FULL = (24, 92, 150)
"""Background colour of a cell that holds all crops of a class."""

CELL = 76
MOST_CLASSES = 40
"""The most classes whose cells show numbers. With more, cells are small and show colour only."""


def draw_confusion(confusion: Confusion) -> Image.Image:
    """Return the confusion matrix as a picture: a row per true class, a column per predicted one.

    Every cell shows its count, and is darker the larger its fraction of the row.
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


def _upward(picture: Image.Image, text: str, foot: tuple[int, int]) -> None:
    """Write a text upwards, starting at ``foot``."""
    pen = ImageDraw.Draw(picture)
    length = math.ceil(pen.textlength(text, font_size=TEXT))
    strip = Image.new("RGB", (length + 2, TEXT + 8), PAPER)
    ImageDraw.Draw(strip).text((0, 2), text, fill=INK, font_size=TEXT)
    turned = strip.rotate(90, expand=True)
    picture.paste(turned, (foot[0] - turned.width // 2, foot[1] - turned.height))


def _readable(name: str, number: int) -> str:
    """Return a class name in ASCII, the letters that Pillow's own font has.

    Accents are left out, and a name in another script becomes the class number. The report keeps
    the names.
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
