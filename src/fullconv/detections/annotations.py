"""COCO annotations (cocodataset.org, "Data Format"): images, categories and true boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fullconv.detections.text import load_json, read_text
from fullconv.errors import InputError

NAMES = "images with id and file_name, categories with id and name"
BOXES = "annotations with image_id, category_id and bbox as [x, y, width, height]"


class AnnotatedBox(NamedTuple):
    """One annotation: x0, y0, x1, y1 in pixels, half-open."""

    image_id: int | str
    category_id: int | str
    box: tuple[float, float, float, float]
    is_crowd: bool


@dataclass(frozen=True)
class Annotations:
    """The contents of a file of annotations.

    Attributes
    ----------
    images : mapping
        Names of the images' files, by their ids in the annotations.
    categories : mapping
        Names of the classes, by their ids in the annotations.
    boxes : tuple of AnnotatedBox
    """

    images: Mapping[int | str, str]
    categories: Mapping[int | str, str]
    boxes: tuple[AnnotatedBox, ...] = ()

    @classmethod
    def read(cls, path: Path, *, with_boxes: bool = True) -> Annotations:
        """Read a file of annotations; one without boxes only if ``with_boxes`` is False.

        Raises
        ------
        InputError
            If it is missing, or does not hold annotations.
        """
        text = read_text(path)
        try:
            entries = load_json(text)
            images = _by_id(entries["images"], "file_name", "images")
            categories = _by_id(entries["categories"], "name", "categories")
            known = cls(images, categories)
            boxes = [known.box(one) for one in entries["annotations"]] if with_boxes else []
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError):
            parts = f"{NAMES}, and {BOXES}" if with_boxes else NAMES
            raise InputError(
                f"{path}: expected COCO annotations: {parts}; something is missing or broken."
            ) from None
        return cls(images, categories, tuple(boxes))

    def box(self, one: Mapping[str, Any]) -> AnnotatedBox:
        """Return one annotation; its image and its class must be among these."""
        x, y, width, height = (float(value) for value in one["bbox"])
        image, category = one["image_id"], one["category_id"]
        _ = self.images[image], self.categories[category]
        return AnnotatedBox(
            image, category, (x, y, x + width, y + height), bool(one.get("iscrowd", 0))
        )


def _by_id(entries: Sequence[Mapping[str, Any]], key: str, what: str) -> dict[int | str, str]:
    """Return names by their ids; each id must have one name."""
    names: dict[int | str, str] = {}
    for one in entries:
        name = str(one[key])
        if names.setdefault(one["id"], name) != name:
            raise InputError(f"two {what} have the id {one['id']!r}; give each its own.")
    return names
