"""Small drawn crops and photos for tests of training: discs to find, and squares that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 16


def ground(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """Return a dark ground with some grain."""
    grain = rng.integers(0, 30, (height, width, 3)) + rng.integers(0, 60)
    return Image.fromarray(grain.astype(np.uint8))


def draw(image: Image.Image, kind: str, place: tuple[int, int], rng: np.random.Generator) -> None:
    """Draw a disc or a square of 10 pixels whose top left corner is at ``place`` (x, y)."""
    colour = tuple(int(level) for level in rng.integers(140, 255, 3))
    x, y = place
    pen = ImageDraw.Draw(image)
    shape = pen.ellipse if kind == "disc" else pen.rectangle
    shape((x, y, x + 10, y + 10), fill=colour)


def crop(kind: str, rng: np.random.Generator, side: int = SIDE) -> Image.Image:
    """Return a crop with a disc or square in its middle, or with nothing on its ground."""
    image = ground(rng, side, side)
    if kind in ("disc", "square"):
        x, y = ((side - 10) // 2 + rng.integers(-1, 2, 2)).tolist()
        draw(image, kind, (x, y), rng)
    return image


def write_crops(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Write folders of crops, and return the folder that holds them.

    A folder shows what the first word of its name says.
    """
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            crop(name.split()[0], rng).save(folder / name / f"{number:03}.png")
    return folder


def write_photos(folder: Path, count: int, seed: int) -> Path:
    """Write photos that hold squares, and no disc."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        image = ground(rng, 96, 128)
        for y in range(8, 80, 24):
            for x in range(8, 112, 24):
                draw(image, "square", (x, y), rng)
        image.save(folder / f"{number}.png")
    return folder
