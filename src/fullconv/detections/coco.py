"""Detections as COCO results (cocodataset.org, "Results Format", 1. Object Detection).

A list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``. The ids are those
of the annotations with which the results are to be compared, where these are given; else images and
classes are counted from 1, in the order of the detections. Every result also holds the names that
are meant (``file_name``, ``category_name``) and the number of the class in the model (``label``),
and where rounding would move the second corner of a box, both corners (``corners``). Other programs
pass over these; by them results read back as they were. COCO knows no intervals and cuboids: of
these all places stand under ``box``, as in ``[t0, t1]``, and there is no ``bbox``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullconv.detections.found import Detections
from fullconv.detections.ids import Ids
from fullconv.detections.numbered import Numbered, unnamed_classes
from fullconv.detections.text import dump_json, load_json
from fullconv.errors import InputError
from fullconv.names import as_text, from_text

MOST_CLASSES = 1_000_000
"""A class has no larger number: the names of all classes before it would fill the memory."""


def lines(found: Detections, ids: Ids) -> Iterator[str]:
    """Yield the lines of the file, one for each box."""
    yield "["
    for number, one in enumerate(found):
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
    """Return what results say of the place of a box, and its score."""
    if len(box) != 4:
        return {"box": list(box), "score": score}
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    told: dict[str, Any] = {"bbox": [x0, y0, width, height], "score": score}
    if (x0 + width, y0 + height) != (x1, y1):
        told["corners"] = list(box)
    return told


@dataclass(frozen=True)
class _Result:
    """One result; its class has a number where the file is one of ours."""

    box: tuple[float, ...]
    score: float
    image: str
    category: str
    label: int | None

    @classmethod
    def parse(cls, held: Mapping[str, Any]) -> _Result:
        image, category = _id(held["image_id"]), _id(held["category_id"])
        label = held.get("label")
        if label is not None and not 0 <= int(label) < MOST_CLASSES:
            raise ValueError
        return cls(
            _box(held),
            float(held["score"]),
            _name(held.get("file_name"), f"{image}", image),
            _name(held.get("category_name"), f"category {category}", category),
            None if label is None else int(label),
        )


def _box(held: Mapping[str, Any]) -> tuple[float, ...]:
    """Return a box; of another program's corners nothing is known, if they are others."""
    if "bbox" not in held and len(held["box"]) in (2, 6):
        return tuple(map(float, held["box"]))
    x, y, width, height = (float(value) for value in held["bbox"])
    box = (x, y, x + width, y + height)
    if "corners" in held:
        x0, y0, x1, y1 = (float(value) for value in held["corners"])
        if np.allclose((x0, y0, x1, y1), box, rtol=1e-12, atol=0):
            return x0, y0, x1, y1
    return box


def _id(held: Any) -> int | str:
    """Return an id; some programs write whole numbers as 7.0."""
    if isinstance(held, str) or type(held) is int:
        return held
    if isinstance(held, float) and held.is_integer():
        return int(held)
    raise ValueError


def _name(told: Any, instead: str, key: int | str) -> str:
    return Numbered(instead, key) if told is None else from_text(str(told))


def parse(text: str) -> Detections:
    """Return the detections in COCO results.

    Where a file does not name images or classes, they are called by their ids, and `Numbered`.
    """
    held = load_json(text)
    if not isinstance(held, list):
        raise InputError(
            f"expected COCO results, a list of boxes; got "
            f"{'an object' if isinstance(held, dict) else 'something else'}."
        )
    results = []
    for number, one in enumerate(held):
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
    return Detections(
        np.array([one.box for one in results], dtype=np.float64).reshape(-1, *sides),
        np.array([one.score for one in results], dtype=np.float64),
        np.array(labels, dtype=np.int64),
        np.array([places[one.image] for one in results], dtype=np.int64),
        classes,
        tuple(places),
        (None,) * len(places),
    )


def _classes(results: Sequence[_Result]) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of the classes, and the class number of each result.

    In files of ours these are the model's, and a class that was not found has no name.
    """
    told = {one.label: one.category for one in results if one.label is not None}
    is_ours = all(one.label is not None and told[one.label] == one.category for one in results)
    if is_ours:
        classes = list(unnamed_classes(max(told, default=-1) + 1))
        for label, name in told.items():
            classes[label] = name
        return tuple(classes), [one.label or 0 for one in results]
    places = {name: n for n, name in enumerate(dict.fromkeys(one.category for one in results))}
    return tuple(places), [places[one.category] for one in results]
