"""Crops of blood cells, cut from microscope fields: every class at the scale at which it fits.

One window of 32 by 32 pixels does for all three: a platelet of 40 pixels fills it when the field is
reduced to two thirds, a red cell of 100 at a third, and a white cell of 200 at a sixth. So what a
crop shows is also how large it is, and a cell of another size than the window is background.
`fullconv.detect` then looks at the three scales.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fullconv.detections.voc import read_voc

REPOSITORY = Path(__file__).resolve().parents[1]
WINDOW = 32
OFF_CENTRE = 0.1
"""Crops of an object are off its middle by up to this share of it; training moves them further."""

ANOTHER_PLACE = 0.35
"""From this share of an object on a window is beside it, and background."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Plan:
    """How a class is cut.

    Attributes
    ----------
    scale : float
        By which fields are resized first.
    of_each, beside : int
        Crops of each object, and at its edge.
    elsewhere : int
        Crops of each field from anywhere else.
    """

    scale: float
    of_each: int
    beside: int
    elsewhere: int


PLANS = {
    "Platelets": Plan(0.667, of_each=6, beside=2, elsewhere=3),
    "RBC": Plan(0.333, of_each=1, beside=1, elsewhere=2),
    "WBC": Plan(0.165, of_each=5, beside=2, elsewhere=2),
}
CLASSES = tuple(PLANS)
SCALES = tuple(plan.scale for plan in PLANS.values())


@dataclass(frozen=True)
class Field:
    """A microscope field: its picture, and its objects as (class, box in pixels)."""

    path: Path
    objects: tuple[tuple[str, Box], ...]


@dataclass(frozen=True)
class Cut:
    """A crop: its class, the plan's class, and where its window lies in the resized field."""

    label: str
    looked_for: str
    x: int
    y: int

    @property
    def centre(self) -> tuple[float, float]:
        """The centre (x, y) in pixels of the field."""
        scale = PLANS[self.looked_for].scale
        return (self.x + WINDOW / 2) / scale, (self.y + WINDOW / 2) / scale


def data_folder(given: str | None) -> Path:
    """Return the folder bccd/, or leave with exit code 3 and one line."""
    root = given or os.environ.get("FULLCONV_DATA") or REPOSITORY.parent / "shared/data"
    folder = Path(root) / "bccd"
    missing = [
        name
        for name in ("Annotations", "JPEGImages", "ImageSets/Main")
        if not (folder / name).is_dir()
    ]
    if missing:
        print(
            f"bccd: {', '.join(missing)} not found in {folder}; name the folder that holds bccd/ "
            f"by --data or the environment variable FULLCONV_DATA.",
            file=sys.stderr,
        )
        raise SystemExit(3)
    return folder


def read_fields(folder: Path) -> dict[str, list[Field]]:
    """Return the fields of the official split: "train", "val" and "test"."""
    objects = {
        name: tuple((each.label, each.box) for each in held if each.box[2] > each.box[0])
        for name, held in read_voc(folder / "Annotations")
    }
    return {
        split: [
            Field(folder / "JPEGImages" / f"{name}.jpg", objects[name])
            for name in (folder / "ImageSets/Main" / f"{split}.txt").read_text().split()
        ]
        for split in ("train", "val", "test")
    }


def write_crops(fields: Sequence[Field], out: Path, seed: int) -> dict[str, int]:
    """Write a folder of crops for each class; returns how many are in each.

    Every field is cut by the seed and its own name: fields do not change each other's crops.
    """
    counts = dict.fromkeys((*CLASSES, "background"), 0)
    for label in counts:
        (out / label).mkdir(parents=True, exist_ok=True)
    for field in fields:
        drawn = np.random.default_rng([seed, *field.path.stem.encode()])
        with Image.open(field.path) as picture:
            whole = picture.convert("RGB")
        for name, plan in PLANS.items():
            size = (round(whole.width * plan.scale), round(whole.height * plan.scale))
            resized = whole.resize(size, Image.Resampling.BILINEAR)
            for number, cut in enumerate(cuts(field, name, size, drawn)):
                crop = resized.crop((cut.x, cut.y, cut.x + WINDOW, cut.y + WINDOW))
                crop.save(out / cut.label / f"{field.path.stem}-{name}-{number:03}.png")
                counts[cut.label] += 1
    return counts


def cuts(
    field: Field, name: str, size: tuple[int, int], drawn: np.random.Generator
) -> Iterator[Cut]:
    """Yield the crops of one field for one class: objects, their edges, and anything else.

    Parameters
    ----------
    field : Field
        Whose objects are known.
    name : str
        Of the class.
    size : (int, int)
        Width and height of the field at the scale of the class.
    drawn : numpy.random.Generator
        Decides the places.
    """
    plan = PLANS[name]
    most = np.subtract(size, WINDOW)
    boxes = [np.multiply(box, plan.scale).reshape(2, 2) for label, box in field.objects]
    own = [box for box, (label, _) in zip(boxes, field.objects, strict=True) if label == name]

    def at(centre: np.ndarray) -> np.ndarray:
        """The window about a centre, or the nearest one inside of the field."""
        return np.clip(np.round(centre - WINDOW / 2), 0, most).astype(int)

    def holds(box: np.ndarray, corner: np.ndarray) -> bool:
        centre = corner + WINDOW / 2
        return bool((box[0] <= centre).all() and (centre < box[1]).all())

    def is_apart(corner: np.ndarray) -> bool:
        """Whether a window is off every object of the class, as far as the border lets it be on."""
        return all(
            (abs(corner - at(box.mean(axis=0))) > ANOTHER_PLACE * (box[1] - box[0])).any()
            for box in own
        )

    def cut(label: str, corner: np.ndarray) -> Cut:
        return Cut(label, name, int(corner[0]), int(corner[1]))

    for box in own:
        middle, extent = box.mean(axis=0), box[1] - box[0]
        for _ in range(plan.of_each):
            corner = at(middle + drawn.uniform(-OFF_CENTRE, OFF_CENTRE, 2) * extent)
            if holds(box, corner):
                yield cut(name, corner)
        for _ in range(plan.beside):
            angle, far = drawn.uniform(0, 2 * np.pi), drawn.uniform(ANOTHER_PLACE, 0.8)
            corner = at(middle + far * extent * (np.cos(angle), np.sin(angle)))
            if is_apart(corner):
                yield cut("background", corner)
    # Objects of the other classes, at this scale; of many as many as there are of the rest.
    others = [box for box, (label, _) in zip(boxes, field.objects, strict=True) if label != name]
    places = [drawn.uniform(*box) for box in others]
    drawn.shuffle(places)
    chosen = [at(place) for place in places[: plan.elsewhere]]
    chosen += [drawn.integers(0, most + 1) for _ in range(plan.elsewhere)]
    for corner in chosen:
        if is_apart(corner):
            yield cut("background", corner)
