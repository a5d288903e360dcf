"""Real garments: pictures of 28 by 28 pixels, and a sheet of 900 of them (Fashion-MNIST).

The published overview of the data set, 840 by 840 pixels, is a real large image whose tiles are
known, 90 of them dresses. Its own pictures are left out of all crops.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = ("fashion_mnist_all.npz", "fashion-mnist-sprite.png", "sprite_ground_truth.json")
WINDOW = (28, 28)
TILES = 30
"""Tiles along either side of the sheet."""

DRESS = "Dress"
FOUND, FALSE, MISSED = (0, 200, 130), (255, 70, 40), (90, 170, 255)


@dataclass(frozen=True)
class Sheet:
    """The published overview.

    Attributes
    ----------
    pixels : numpy.ndarray
        ``(840, 840)`` uint8.
    labels : numpy.ndarray
        ``(30, 30)``: the class of each tile.
    classes : tuple of str
        Names of the classes, as folders can bear them.
    source_rows : numpy.ndarray
        Which pictures of the data set are on it.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source_rows: NDArray[np.int64]

    @property
    def is_dress(self) -> NDArray[np.bool_]:
        """Which tiles ``(30, 30)`` are dresses."""
        return self.labels == self.classes.index(DRESS)


def data_folder(given: str | None) -> Path:
    """Return the folder that holds fashion/, or leave with exit code 3 and one line.

    It is found by what is given, else by the environment variable FULLCONV_DATA, else it is
    shared/data beside the repository.
    """
    root = given or os.environ.get("FULLCONV_DATA") or REPOSITORY.parent / "shared/data"
    folder = Path(root) / "fashion"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        print(
            f"fashion: {', '.join(missing)} not found in {folder}; name the folder that holds "
            f"fashion/ by --data or the environment variable FULLCONV_DATA.",
            file=sys.stderr,
        )
        raise SystemExit(3)
    return folder


def read_sheet(folder: Path) -> Sheet:
    """Return the overview and what its tiles are."""
    truth = json.loads((folder / FILES[2]).read_text())
    with Image.open(folder / FILES[1]) as picture:
        pixels = np.asarray(picture.convert("L"))
    labels = np.array(truth["labels_row_major"]).reshape(TILES, TILES)
    classes = tuple(name.replace("/", "-") for name in truth["class_names"])
    return Sheet(pixels, labels, classes, np.array(truth["source_rows"]))


def cut_crops(folder: Path, sheet: Sheet, out: Path, most: int | None = None) -> None:
    """Write ``train`` and ``test`` with a folder of pictures for each class, as `train` reads them.

    The split is the data set's own; a crop is named by its row there. Of each class and part come
    all pictures that are not on the sheet, or the first ``most``.
    """
    with np.load(folder / FILES[0]) as held:
        pictures, labels, is_training = held["X"], held["y"], held["train"]
    is_free = np.ones(len(pictures), dtype=bool)
    is_free[sheet.source_rows] = False
    for part, chosen in (("train", is_free & is_training), ("test", is_free & ~is_training)):
        for label, name in enumerate(sheet.classes):
            place = out / part / name
            place.mkdir(parents=True, exist_ok=True)
            for row in np.flatnonzero(chosen & (labels == label))[:most]:
                Image.fromarray(pictures[row].reshape(WINDOW)).save(place / f"{row:05}.png")


def write_sheet(sheet: Sheet, picture: Path, truth: Path) -> None:
    """Write the sheet, and beside it the box and the class of each tile as COCO annotations."""
    Image.fromarray(sheet.pixels).save(picture)
    h, w = WINDOW
    boxes = [
        {
            "id": number,
            "image_id": 0,
            "category_id": int(label),
            "bbox": [number % TILES * w, number // TILES * h, w, h],
        }
        for number, label in enumerate(sheet.labels.ravel())
    ]
    held = {
        "images": [{"id": 0, "file_name": picture.name, "width": 840, "height": 840}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(sheet.classes)],
        "annotations": boxes,
    }
    truth.write_text(json.dumps(held) + "\n", encoding="utf-8")


def draw(sheet: Sheet, said: NDArray[np.bool_]) -> Image.Image:
    """Return the sheet, twice its size, with the dresses found, missed and falsely found."""
    picture = Image.fromarray(sheet.pixels).convert("RGB").resize((1680, 1680), Image.NEAREST)
    pen = ImageDraw.Draw(picture)
    for row, column in np.argwhere(said | sheet.is_dress):
        colour = MISSED if not said[row, column] else FALSE
        colour = FOUND if said[row, column] and sheet.is_dress[row, column] else colour
        x, y = 56 * int(column), 56 * int(row)
        pen.rectangle((x, y, x + 55, y + 55), outline=colour, width=4)
    return picture
