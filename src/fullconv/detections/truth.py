"""The true boxes of images: from Python, COCO annotations, or Pascal VOC.

Truth from Python may also be intervals in recordings and cuboids in volumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import lt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullconv.detections.annotations import Annotations
from fullconv.detections.found import Detections, rows_of_boxes
from fullconv.detections.numbered import Numbered, composed
from fullconv.detections.pairing import Unpaired, pair, refuse_unpaired, some
from fullconv.detections.voc import read_voc
from fullconv.errors import InputError


class TrueBox(NamedTuple):
    """One true box.

    ``image`` is the place of its image among the names. ``label`` is a class name, or a class
    number where the truth names none. An ``ignored`` box (difficult in Pascal VOC, a crowd in COCO)
    need not be found, and finding it is no mistake.
    """

    image: int
    box: tuple[float, ...]
    label: str | int
    ignored: bool = False

    @property
    def solid(self) -> bool:
        """Whether it has an area."""
        axes = len(self.box) // 2
        return all(map(lt, self.box[:axes], self.box[axes:]))


Labelled = tuple[ArrayLike, Sequence[int | str]]
"""Boxes ``(n, 4)`` of an image (intervals ``(n, 2)`` of a recording, cuboids ``(n, 6)`` of a
volume), and the number or name of the class of each."""

TruthLike = Detections | Mapping[str, Labelled] | str | Path
"""What `fullconv.evaluate` takes for the truth."""


@dataclass(frozen=True, eq=False)
class Truth:
    """True boxes, in arrays.

    Attributes
    ----------
    names : tuple of str
        Names of all images, including those without a box.
    classes : tuple of str
        Names of the classes.
    boxes : numpy.ndarray
        ``(n, 4)``: x0, y0, x1, y1 in pixels, half-open; intervals ``(n, 2)`` and cuboids ``(n, 6)``
        as in `Detections`.
    labels, images : numpy.ndarray
        ``(n,)``: place in ``classes``, and in ``names``.
    ignored : numpy.ndarray
        ``(n,)`` bool: boxes that need not be found, and whose detections are not false.
    left_out : numpy.ndarray
        Number of boxes without an area in the truth, for each image.
    are_stems : bool
        Whether the names of images lack their endings, as in Pascal VOC.
    image_ids : mapping
        Place in ``names`` of each image, by its id in COCO annotations.
    categories : mapping
        Name of each class, by its id in COCO annotations.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    left_out: NDArray[np.int64]
    are_stems: bool = False
    image_ids: Mapping[int | str, int] = field(default_factory=dict)
    categories: Mapping[int | str, str] = field(default_factory=dict)

    @property
    def dimensions(self) -> int:
        """Number of axes of the boxes."""
        return int(self.boxes.shape[1]) // 2

    def paired(self, names: Sequence[str]) -> list[int | Unpaired]:
        """Return the place of each image in ``names``, or why it has none.

        Images that COCO results number are found by their ids, all others by their names: Note
        [How names meet].
        """
        if tuple(names) == ("",):  # a file that does not name its only image
            why = f"the detections do not name it, and it knows {some(self.names)}"
            return [0 if len(self.names) == 1 else Unpaired(why)]
        names = [name if isinstance(name, str) else str(name) for name in names]  # also paths
        numbered: dict[str, int] = {
            name: self.image_ids[name.id]
            for name in names
            if isinstance(name, Numbered) and name.id in self.image_ids
        }
        by_name = [name for name in names if name not in numbered]
        places = pair(by_name, self.names, are_stems=self.are_stems)
        places.update(numbered)
        for name in by_name:
            if isinstance(name, Numbered) and isinstance(name.id, int):
                places[name] = Unpaired("it has no image of that number")
        return [places[name] for name in names]

    def places(self, names: Sequence[str]) -> list[int]:
        """Return the place of each image in ``names``.

        Raises
        ------
        InputError
            If the truth says nothing about an image, or it is not clear which it is.
        """
        paired = self.paired(names)
        refuse_unpaired("evaluate", names, paired)
        return [place for place in paired if isinstance(place, int)]

    def of_places(self, chosen: Sequence[int]) -> Truth:
        """Return the truth about some images only, by their places."""
        mine = np.isin(self.images, chosen)
        now = {place: n for n, place in enumerate(chosen)}
        return replace(
            self,
            names=tuple(self.names[place] for place in chosen),
            boxes=self.boxes[mine],
            labels=self.labels[mine],
            images=np.array([now[place] for place in self.images[mine].tolist()], dtype=np.int64),
            ignored=self.ignored[mine],
            left_out=self.left_out[list(chosen)],
            image_ids={key: now[place] for key, place in self.image_ids.items() if place in now},
        )


def read_truth(truth: TruthLike, classes: Sequence[str]) -> Truth:
    """Return the truth in whatever form it is given; see `evaluate`.

    Parameters
    ----------
    truth
        Detections, a mapping, or the path of a COCO file or a folder of Pascal VOC files.
    classes : sequence of str
        Names of the detections' classes, which give class numbers in the truth their meaning.
    """
    if isinstance(truth, Detections):
        images = truth.images.tolist()
        true_boxes = [TrueBox(n, d.box, d.name) for n, d in zip(images, truth, strict=True)]
        return _truth(truth.names, true_boxes, classes)
    if isinstance(truth, Mapping):
        return _truth(list(map(str, truth)), list(_of_mapping(truth)), classes)
    if not isinstance(truth, str | Path):
        raise InputError(
            f"evaluate(truth): expected detections, a mapping from image names to (boxes, labels), "
            f"a COCO file or a folder of Pascal VOC files; got {type(truth).__name__}."
        )
    path = Path(truth)
    if path.is_dir():
        boxes: list[TrueBox] = []
        names = []
        for place, (name, objects) in enumerate(read_voc(path)):
            names.append(name)
            boxes.extend(TrueBox(place, *each) for each in objects)
        return replace(_truth(names, boxes, classes), are_stems=True)
    return _of_coco(path, classes)


def _of_mapping(truth: Mapping[str, Any]) -> Iterator[TrueBox]:
    for place, (name, entry) in enumerate(truth.items()):
        try:
            boxes, labels = entry
            corners = rows_of_boxes(np.asarray(boxes, dtype=np.float64)).tolist()
            pairs = list(zip(corners, list(labels), strict=True))
        except (TypeError, ValueError):
            raise InputError(
                f"evaluate(truth): expected (boxes, labels) for {name!r}, boxes (n, 4) as x0, y0, "
                f"x1, y1 (t0, t1 in a recording, x0, y0, z0, x1, y1, z1 in a volume) and a label "
                f"for each."
            ) from None
        for box, label in pairs:
            yield TrueBox(
                place,
                tuple(box),
                label if isinstance(label, str) else int(label),
            )


def _of_coco(path: Path, classes: Sequence[str]) -> Truth:
    """Return the truth of COCO annotations."""
    file = Annotations.read(path)
    places = {key: place for place, key in enumerate(file.images)}
    boxes = [
        TrueBox(places[one.image_id], one.box, file.categories[one.category_id], one.is_crowd)
        for one in file.boxes
    ]
    truth = _truth(list(file.images.values()), boxes, classes)
    return replace(truth, image_ids=places, categories=file.categories)


def _truth(names: Sequence[str], boxes: Sequence[TrueBox], classes: Sequence[str]) -> Truth:
    """Return true boxes in arrays; a number instead of a class name is one of ``classes``."""
    widths = sorted({len(each.box) for each in boxes}) or [4]
    if len(widths) > 1:
        raise InputError(
            f"evaluate(truth): expected boxes along the same axes in all images; got boxes of "
            f"{' and of '.join(map(str, widths))} numbers. Evaluate recordings, images and volumes "
            f"apart."
        )
    solid = [each for each in boxes if each.solid]
    labels = [composed(_class_name(each.label, classes)) for each in solid]
    known = {name: number for number, name in enumerate(dict.fromkeys(labels))}
    empty = np.array([each.image for each in boxes if not each.solid], dtype=np.int64)
    return Truth(
        names=tuple(names),
        classes=tuple(known),
        boxes=np.array([each.box for each in solid], dtype=np.float64).reshape(-1, widths[0]),
        labels=np.array([known[label] for label in labels], dtype=np.int64),
        images=np.array([each.image for each in solid], dtype=np.int64),
        ignored=np.array([each.ignored for each in solid], dtype=bool),
        left_out=np.bincount(empty, minlength=len(names)).astype(np.int64),
    )


def _class_name(label: str | int, classes: Sequence[str]) -> str:
    if isinstance(label, str):
        return label
    if not 0 <= label < len(classes):
        raise InputError(
            f"evaluate(truth): there is no class {label}; the detections have classes 0 to "
            f"{len(classes) - 1}. Give the name instead."
        )
    return classes[label]
