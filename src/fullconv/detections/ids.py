"""What COCO results call images and classes: by the annotations, or counted from 1."""

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
"""How COCO calls its own pictures: by their ids."""


@dataclass(frozen=True)
class Ids:
    """What COCO results call images and classes; those that results have numbered keep theirs.

    Attributes
    ----------
    images : mapping
        By their names.
    categories : mapping or None
        By their names; None where they are the model's classes, counted from 1.
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
        """Return the ids that a file of annotations gives, all of them found by name.

        Parameters
        ----------
        call : str
            What was called, for errors.
        path : Path
            Of the annotations.
        names, classes : sequence of str
            The images and classes whose ids are needed.

        Raises
        ------
        InputError
            If the file is none of annotations, does not know one of them, or has two for one.
        """
        held = Annotations.read(path, with_boxes=False)
        names = [name for name in names if not isinstance(name, Numbered)]
        classes = [name for name in classes if not isinstance(name, Numbered)]
        keys = list(held.images)
        paired = pair(names, list(held.images.values()))
        refuse_unpaired(call, names, [paired[name] for name in names])
        images = {name: keys[place] for name, place in paired.items() if isinstance(place, int)}
        return cls(images, {name: _category(call, held, name) for name in classes})

    def image(self, name: str) -> int | str:
        """Return what an image is called."""
        return name.id if isinstance(name, Numbered) else self.images[name]

    def category(self, label: int, name: str) -> int | str:
        """Return what a class is called."""
        if isinstance(name, Numbered):
            return name.id
        return label + 1 if self.categories is None else self.categories[name]


def _category(call: str, held: Annotations, name: str) -> int | str:
    """Return the id of the class of a name."""
    found = [key for key, other in held.categories.items() if composed(other) == composed(name)]
    if not found and only_number([name]):
        raise InputError(
            f"{call}: the model does not name its classes, and ids are found by name; convert it "
            f"with their names: fullconv convert --classes."
        )
    if len(found) != 1:
        what = f"{len(found)} categories are" if found else "no category is"
        known = some(list(held.categories.values()))
        raise InputError(
            f"{call}: {what} called {name!r}; the file has {known}. Call them alike, or choose "
            f"classes that it knows (--classes)."
        )
    return found[0]


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
