"""What is really in the images: given in Python, COCO annotations, or Pascal VOC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullconv.detections.coco import image_id, load_json
from fullconv.detections.formats import read_text
from fullconv.detections.found import Detections, unnamed_classes
from fullconv.detections.voc import read_voc
from fullconv.errors import InputError


class TrueBox(NamedTuple):
    """One true box.

    ``label`` is a class name, or a class number where the truth names none. An ``ignored`` box
    (difficult in Pascal VOC, a crowd in COCO) need not be found, and finding it is no mistake.
    """

    image: str
    box: tuple[float, float, float, float]
    label: str | int
    ignored: bool = False

    @property
    def solid(self) -> bool:
        """Whether it has an area."""
        return self.box[2] > self.box[0] and self.box[3] > self.box[1]


@dataclass(frozen=True, eq=False)
class Truth:
    """True boxes, in arrays.

    Attributes
    ----------
    names : tuple of str
        Of all images, also of those without a box.
    classes : tuple of str
        Names of the classes.
    boxes : numpy.ndarray
        ``(n, 4)``: x0, y0, x1, y1 in pixels, half-open.
    labels, images : numpy.ndarray
        ``(n,)``: place in ``classes``, and in ``names``.
    ignored : numpy.ndarray
        ``(n,)`` bool: boxes that neither need to be found nor count as false.
    left_out : numpy.ndarray
        How many boxes without an area the truth held, for each image.
    aliases : dict
        What else files may call an image, with its place in ``names``.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    left_out: NDArray[np.int64]
    aliases: Mapping[int | str, int]

    def places(self, names: Sequence[str]) -> list[int]:
        """Return where images are in ``names``: found without folder and ending.

        Raises
        ------
        InputError
            If the truth says nothing about an image.
        """
        if tuple(names) == ("",) and len(self.names) == 1:
            return [0]  # A file that does not name its only image.
        found = []
        for name in names:
            key = image_id(name)
            if key not in self.aliases:
                raise InputError(
                    f"evaluate: the truth says nothing about the image {name!r}; it knows "
                    f"{_some(self.names)}. Names are compared without folder and ending."
                )
            found.append(self.aliases[key])
        return found

    def of_images(self, names: Sequence[str]) -> Truth:
        """Return the truth about some of the images alone."""
        chosen = list(dict.fromkeys(self.places(names)))
        mine = np.isin(self.images, chosen)
        now = {place: n for n, place in enumerate(chosen)}
        return replace(
            self,
            names=tuple(self.names[place] for place in chosen),
            boxes=self.boxes[mine],
            labels=self.labels[mine],
            images=np.array([now[place] for place in self.images[mine].tolist()], dtype=np.int64),
            ignored=self.ignored[mine],
            left_out=self.left_out[chosen],
            aliases={key: now[place] for key, place in self.aliases.items() if place in now},
        )


def read_truth(truth: Any, classes: Sequence[str]) -> Truth:
    """Return the truth in whatever form it is given; see `evaluate`.

    Parameters
    ----------
    truth
        Detections, a mapping, or the path of a COCO file or a folder of Pascal VOC files.
    classes : sequence of str
        Names of the detections' classes: what a class number in the truth means.
    """
    if isinstance(truth, Detections):
        return _truth(truth.names, [TrueBox(d.image, d.box, d.name) for d in truth], classes)
    if isinstance(truth, Mapping):
        return _truth(list(truth), list(_of_mapping(truth)), classes)
    if not isinstance(truth, str | Path):
        raise InputError(
            f"evaluate(truth): expected detections, a mapping from image names to (boxes, labels), "
            f"a COCO file or a folder of Pascal VOC files; got {type(truth).__name__}."
        )
    path = Path(truth)
    if path.is_dir():
        boxes: list[TrueBox] = []
        names = []
        for name, held in read_voc(path):
            names.append(name)
            boxes.extend(TrueBox(name, *each) for each in held)
        return _truth(names, boxes, classes)
    return _of_coco(path, classes)


def _of_mapping(truth: Mapping[str, Any]) -> Iterable[TrueBox]:
    for name, held in truth.items():
        try:
            boxes, labels = held
            corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).tolist()
            pairs = list(zip(corners, list(labels), strict=True))
        except (TypeError, ValueError):
            raise InputError(
                f"evaluate(truth): expected (boxes, labels) for {name!r}, boxes (n, 4) as x0, y0, "
                f"x1, y1 and a label for each."
            ) from None
        for box, label in pairs:
            yield TrueBox(
                name,
                (box[0], box[1], box[2], box[3]),
                label if isinstance(label, str) else int(label),
            )


def _of_coco(path: Path, classes: Sequence[str]) -> Truth:
    """Return the truth of COCO annotations (cocodataset.org, "Data Format", 1.).

    Where the detections' classes have no names, as in COCO results, they are category numbers.
    """
    text = read_text(path)
    try:
        held = load_json(text)
        files = {image["id"]: str(image["file_name"]) for image in held["images"]}
        labels: dict[int, str] = {one["id"]: str(one["name"]) for one in held["categories"]}
        if tuple(classes) == unnamed_classes(len(classes)):
            labels = {n: classes[n] if 0 <= n < len(classes) else labels[n] for n in labels}
        boxes = []
        for one in held["annotations"]:
            x, y, width, height = (float(value) for value in one["bbox"])
            corners = (x, y, x + width, y + height)
            crowd = bool(one.get("iscrowd", 0))
            boxes.append(
                TrueBox(files[one["image_id"]], corners, labels[one["category_id"]], crowd)
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: expected COCO annotations: images with id and file_name, categories with id "
            f"and name, and annotations with image_id, category_id and bbox as [x, y, width, "
            f"height]; something is missing or broken."
        ) from None
    return _truth(list(files.values()), boxes, classes, {key: n for n, key in enumerate(files)})


def _truth(
    names: Sequence[str],
    boxes: Sequence[TrueBox],
    classes: Sequence[str],
    more: Mapping[int | str, int] | None = None,
) -> Truth:
    """Return true boxes in arrays; a number instead of a class name is one of ``classes``."""
    aliases: dict[int | str, int] = {}
    for place, name in enumerate(names):
        if aliases.setdefault(image_id(name), place) != place:
            raise InputError(
                f"evaluate: the truth has two images {image_id(name)!r}; names are compared "
                f"without folder and ending."
            )
    solid = [each for each in boxes if each.solid]
    labels = [_class_name(each.label, classes) for each in solid]
    known = tuple(dict.fromkeys(labels))
    where = {name: place for place, name in enumerate(names)}
    empty = np.array([where[each.image] for each in boxes if not each.solid], dtype=np.int64)
    return Truth(
        tuple(names),
        known,
        np.array([each.box for each in solid], dtype=np.float64).reshape(-1, 4),
        np.array([known.index(label) for label in labels], dtype=np.int64),
        np.array([where[each.image] for each in solid], dtype=np.int64),
        np.array([each.ignored for each in solid], dtype=bool),
        np.bincount(empty, minlength=len(names)).astype(np.int64),
        {**(more or {}), **aliases},
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


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) or "no image"
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
