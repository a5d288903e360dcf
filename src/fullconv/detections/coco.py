"""Detections as COCO results (cocodataset.org, "Results Format", 1. Object Detection).

A list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``. The ids are those
of the annotations with which the results are to be compared, where these are given. Otherwise
images and classes are counted from 1, in the order of the detections. Every result also has the
names of its image and class (``file_name``, ``category_name``) and the number of the class in the
model (``label``), and where rounding would move the second corner of a box, both corners
(``corners``). Other programs ignore these entries; with them, results read back as they were. COCO
has no intervals and cuboids: they are written as ``box``, as in ``[t0, t1]``, without a ``bbox``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullconv.detections.columns import Columns
from fullconv.detections.ids import Ids
from fullconv.detections.numbered import Numbered, unnamed_classes
from fullconv.detections.text import dump_json, load_json
from fullconv.errors import InputError
from fullconv.sources.names import as_text, from_text

if TYPE_CHECKING:
    from fullconv.detections.found import Detections

MOST_CLASSES = 1_000_000
"""Bound of class numbers: the names of all classes before a larger one would fill the memory."""


def lines(detections: Detections, ids: Ids) -> Iterator[str]:
    """Yield the lines of the file, one for each box."""
    yield "["
    for number, one in enumerate(detections):
        result: dict[str, Any] = {
            "image_id": ids.image(one.image),
            "category_id": ids.category(one.label, one.name),
            **_corners(one.box, one.score),
        }
        if not isinstance(one.image, Numbered):
            result["file_name"] = as_text(one.image)
        if not isinstance(one.name, Numbered):
            result |= {"category_name": as_text(one.name), "label": one.label}
        yield (",\n" if number else "\n") + dump_json(result)
    yield "\n]\n"


def _corners(box: tuple[float, ...], score: float) -> dict[str, Any]:
    """Return a result's entries for the place of a box, and its score."""
    if len(box) != 4:
        return {"box": list(box), "score": score}
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    entries: dict[str, Any] = {"bbox": [x0, y0, width, height], "score": score}
    if (x0 + width, y0 + height) != (x1, y1):
        entries["corners"] = list(box)
    return entries


@dataclass(frozen=True)
class _Result:
    """One result; its class has a number where the file is one of ours."""

    box: tuple[float, ...]
    score: float
    image: str
    category: str
    label: int | None

    @classmethod
    def parse(cls, entries: Mapping[str, Any]) -> _Result:
        image, category = _id(entries["image_id"]), _id(entries["category_id"])
        label = entries.get("label")
        if label is not None and not 0 <= int(label) < MOST_CLASSES:
            raise ValueError
        return cls(
            _box(entries),
            float(entries["score"]),
            _name(entries.get("file_name"), f"{image}", image),
            _name(entries.get("category_name"), f"category {category}", category),
            None if label is None else int(label),
        )


def _box(entries: Mapping[str, Any]) -> tuple[float, ...]:
    """Return a box, by its corners if they agree with ``bbox``; another program's may differ."""
    if "bbox" not in entries and len(entries["box"]) in (2, 6):
        return tuple(map(float, entries["box"]))
    x, y, width, height = (float(value) for value in entries["bbox"])
    box = (x, y, x + width, y + height)
    if "corners" in entries:
        x0, y0, x1, y1 = (float(value) for value in entries["corners"])
        if np.allclose((x0, y0, x1, y1), box, rtol=1e-12, atol=0):
            return x0, y0, x1, y1
    return box


def _id(value: Any) -> int | str:
    """Return an id; some programs write whole numbers as 7.0."""
    if isinstance(value, str) or type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError


def _name(name: Any, instead: str, key: int | str) -> str:
    return Numbered(instead, key) if name is None else from_text(str(name))


def parse(text: str) -> Columns:
    """Return the detections in COCO results.

    Images and classes that the file does not name are `Numbered` by their ids.
    """
    entries = load_json(text)
    if not isinstance(entries, list):
        raise InputError(
            f"expected COCO results, a list of boxes; got "
            f"{'an object' if isinstance(entries, dict) else 'something else'}."
        )
    results = []
    for number, one in enumerate(entries):
        try:
            results.append(_Result.parse(one))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"result {number} is not a COCO detection; expected image_id, category_id, bbox "
                f"as [x, y, width, height], and score."
            ) from None
    places = {name: place for place, name in enumerate(dict.fromkeys(r.image for r in results))}
    classes, labels = _classes(results)
    sides = {len(one.box) for one in results} or {4}
    if len(sides) > 1:
        raise InputError(
            "some boxes are of images, and others of recordings or volumes; part them."
        )
    return Columns(
        boxes=np.array([one.box for one in results], dtype=np.float64).reshape(-1, *sides),
        scores=np.array([one.score for one in results], dtype=np.float64),
        labels=np.array(labels, dtype=np.int64),
        images=np.array([places[one.image] for one in results], dtype=np.int64),
        classes=classes,
        names=tuple(places),
        sizes=(None,) * len(places),
        probabilities=None,
    )


def _classes(results: Sequence[_Result]) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of the classes, and the class number of each result.

    In files of ours the numbers are the model's, and a class without detections has no name.
    """
    names = {one.label: one.category for one in results if one.label is not None}
    is_ours = all(one.label is not None and names[one.label] == one.category for one in results)
    if is_ours:
        classes = list(unnamed_classes(max(names, default=-1) + 1))
        for label, name in names.items():
            classes[label] = name
        return tuple(classes), [one.label or 0 for one in results]
    places = {name: n for n, name in enumerate(dict.fromkeys(one.category for one in results))}
    return tuple(places), [places[one.category] for one in results]
