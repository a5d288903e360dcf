"""The ids of images and classes in COCO results: those of the annotations, or counted from 1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fullconv.detections.annotations import Annotations
from fullconv.detections.numbered import Numbered, composed, only_number
from fullconv.detections.pairing import pair, refuse_unpaired, some
from fullconv.errors import InputError
from fullconv.sources.finding import without_ending

OWN = re.compile(r"(?:COCO_\w+_)?([0-9]{12})")
"""Names of COCO's own pictures, which contain their ids."""


@dataclass(frozen=True)
class Ids:
    """The ids of images and classes in COCO results; a `Numbered` name keeps its own id.

    Attributes
    ----------
    images : mapping
        Ids by the names of images.
    categories : mapping or None
        Ids by the names of classes; None for the model's classes, counted from 1.
    """

    images: Mapping[str, int | str]
    categories: Mapping[str, int | str] | None = None

    @classmethod
    def counted(cls, names: Sequence[str]) -> Ids:
        """Count images and classes from 1; COCO's own pictures keep the ids in their names."""
        own = [OWN.fullmatch(without_ending(_last(name))) for name in names]
        numbers = [int(one[1]) for one in own if one is not None]
        if len(set(numbers)) < len(names):
            numbers = list(range(1, len(names) + 1))
        return cls(dict(zip(names, numbers, strict=True)))

    @classmethod
    def of_truth(cls, call: str, path: Path, names: Sequence[str], classes: Sequence[str]) -> Ids:
        """Return the ids of images and classes in a file of annotations, found by name.

        Parameters
        ----------
        call : str
            The caller's call, for errors.
        path : Path
            Path of the annotations.
        names, classes : sequence of str
            The images and classes whose ids are needed.

        Raises
        ------
        InputError
            If the file holds no annotations, does not know one of the names, or has two ids for it.
        """
        annotations = Annotations.read(path, with_boxes=False)
        names = [name for name in names if not isinstance(name, Numbered)]
        classes = [name for name in classes if not isinstance(name, Numbered)]
        keys = list(annotations.images)
        paired = pair(names, list(annotations.images.values()))
        refuse_unpaired(call, names, [paired[name] for name in names])
        images = {name: keys[place] for name, place in paired.items() if isinstance(place, int)}
        return cls(images, {name: _category(call, annotations, name) for name in classes})

    def image(self, name: str) -> int | str:
        """Return the id of an image."""
        return name.id if isinstance(name, Numbered) else self.images[name]

    def category(self, label: int, name: str) -> int | str:
        """Return the id of a class."""
        if isinstance(name, Numbered):
            return name.id
        return label + 1 if self.categories is None else self.categories[name]


def _category(call: str, annotations: Annotations, name: str) -> int | str:
    """Return the id of the class with a name."""
    categories = annotations.categories
    keys = [key for key, other in categories.items() if composed(other) == composed(name)]
    if not keys and only_number([name]):
        raise InputError(
            f"{call}: the model does not name its classes, and ids are found by name; convert it "
            f"with their names: fullconv convert --classes."
        )
    if len(keys) != 1:
        what = f"{len(keys)} categories are" if keys else "no category is"
        known = some(list(categories.values()))
        raise InputError(
            f"{call}: {what} called {name!r}; the file has {known}. Call them alike, or choose "
            f"classes that it knows (--classes)."
        )
    return keys[0]


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
