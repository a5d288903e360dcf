"""Draw the figure of crops.md: how padding grows into a window, and what windows still share.

Run it with ``python docs/figures/draw_padding.py [OUT]``; it writes padding.png beside itself
unless told otherwise. The margins are computed (`margins`), and equal runs write equal pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path.append(str(Path(__file__).resolve().parent))
from margins import NETWORKS, STEP, WINDOW, Axis, through

OUTPUT = Path(__file__).resolve().with_name("padding.png")
SIZE = (900, 432)
"""Width and height in the units of this file; the picture has `SCALE` pixels to each."""
SCALE = 2

Colour = tuple[int, int, int]

# Blue, orange and greys differ in lightness, too: they survive printing in black and white and the
# common forms of colour blindness.
LO: Colour = (0, 92, 158)
HI: Colour = (240, 160, 40)
MID: Colour = (222, 227, 232)
OWN: Colour = (70, 78, 96)
STRIP: Colour = (160, 174, 192)
INK: Colour = (32, 36, 44)
PALE_INK: Colour = (96, 104, 116)
PAPER: Colour = (255, 255, 255)

TITLE, BODY, SMALL = 15, 13, 12
TOP = 74
"""Where both drawings begin, below their titles."""


class Sheet:
    """A white sheet; places and lengths are in units, `SCALE` pixels each."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill the half-open box."""
        edges = [round(edge * SCALE) for edge in (x0, y0, x1, y1)]
        self._draw.rectangle((edges[0], edges[1], edges[2] - 1, edges[3] - 1), fill=colour)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int = BODY,
        colour: Colour = INK,
        anchor: str = "lm",
    ) -> None:
        """Write; `anchor` as in Pillow, by default the middle of the left edge."""
        font = ImageFont.load_default(size * SCALE)
        place = (x * SCALE, y * SCALE)
        self._draw.text(place, words, fill=colour, font=font, anchor=anchor)


def draw_margins(sheet: Sheet, left: int) -> None:
    """Draw the axis of VGG16's maps, one bar per layer, as long as the window."""
    layers = NETWORKS["VGG16"]
    sheet.text(left, 20, f"Padding grows inwards: VGG16, one axis of a {WINDOW} window", TITLE)
    x0, length, height = left + 66, 336, 18
    columns = (x0 + length + 46, x0 + length + 126)
    legend = (("lo", LO), ("mid: untouched", MID), ("hi", HI))
    for at, (words, colour) in zip((0, 54, 180), legend, strict=True):
        sheet.box(x0 + at, 46, x0 + at + 12, 58, colour)
        sheet.text(x0 + at + 17, 52, words, SMALL)
    for x, words in zip(columns, ("lo + mid + hi", "per window"), strict=True):
        sheet.text(x, 52, words, SMALL, PALE_INK, "mm")
    names = ["image", *(layer.name for layer in layers)]
    for row, (name, axis) in enumerate(zip(names, through(layers, WINDOW), strict=True)):
        y = TOP + row * height
        draw_bar(sheet, axis, x0, y, length, height - 5)
        middle = y + (height - 5) / 2
        sheet.text(left, middle, name, SMALL)
        parts = f"{axis.lo} + {axis.mid} + {axis.hi}"
        sheet.text(columns[0], middle, parts, SMALL, anchor="mm")
        sheet.text(columns[1], middle, f"{axis.more(STEP)} of {axis.cells}", SMALL, anchor="mm")


def draw_bar(sheet: Sheet, axis: Axis, x0: float, y0: float, length: int, height: int) -> None:
    """Draw one map's cells along one axis, lo, mid and hi in their colours."""
    cell = length / axis.cells
    colours = [LO] * axis.lo + [MID] * axis.mid + [HI] * axis.hi
    gap = 0.5 if cell > 2 else 0
    for index, colour in enumerate(colours):
        x = x0 + index * cell
        sheet.box(x, y0, x + cell - gap, y0 + height, colour)


def draw_parts(sheet: Sheet, left: int) -> None:
    """Draw the nine parts of a map, and say who shares each."""
    sheet.text(left, 20, "Nine parts of a map, and who shares them", TITLE)
    widths, heights = (74, 110, 74), (66, 96, 66)
    ends = (("lo", LO), ("mid", MID), ("hi", HI))
    x0, y0 = left + 44, TOP + 22
    colours = {0: OWN, 1: STRIP, 2: MID}
    said = {
        (0, 0): ("per", "window"),
        (0, 1): ("per window row", ""),
        (1, 0): ("per", "window", "column"),
        (1, 1): ("shared by all", "windows"),
    }
    for row in range(3):
        for column in range(3):
            x, y = x0 + sum(widths[:column]), y0 + sum(heights[:row])
            middle = (row == 1, column == 1)
            colour = colours[sum(middle)]
            sheet.box(x, y, x + widths[column] - 2, y + heights[row] - 2, colour)
            lines = [line for line in said[int(middle[0]), int(middle[1])] if line]
            for index, line in enumerate(lines):
                centre = y + heights[row] / 2 - 1 + 16 * (index - (len(lines) - 1) / 2)
                ink = PAPER if colour == OWN else INK
                sheet.text(x + widths[column] / 2 - 1, centre, line, BODY, ink, "mm")
    for index, (name, colour) in enumerate(ends):
        x, y = x0 + sum(widths[:index]), y0 + sum(heights[:index])
        sheet.box(x, y0 - 8, x + widths[index] - 2, y0 - 3, colour)
        sheet.text(x + widths[index] / 2, y0 - 18, name, BODY, anchor="mm")
        sheet.box(x0 - 8, y, x0 - 3, y + heights[index] - 2, colour)
        sheet.text(x0 - 14, y + heights[index] / 2, name, BODY, anchor="rm")
    bottom = y0 + sum(heights) + 20
    notes = (
        "Each window adds lo + s + hi cells per axis, where",
        "a crop has a; s is the stored cells per window step.",
        f"On the left, 'per window' is that sum at step {STEP}.",
    )
    for index, line in enumerate(notes):
        sheet.text(left, bottom + 18 * index, line, SMALL, PALE_INK)


def draw() -> Image.Image:
    """Return the figure."""
    sheet = Sheet(*SIZE)
    draw_margins(sheet, 16)
    draw_parts(sheet, 592)
    return sheet.image


def main() -> None:
    """Write the figure."""
    parser = argparse.ArgumentParser(description="Draw the figure of docs/crops.md.")
    parser.add_argument("output", nargs="?", type=Path, default=OUTPUT, help="a .png file")
    draw().save(parser.parse_args().output, optimize=True)


if __name__ == "__main__":
    main()
