"""Detections as COCO results (cocodataset.org, "Results Format", 1. Object Detection).

A list of ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}``.
``category_id`` is the class number. ``image_id`` is the name of the image's file without folder
and ending; as a number where it is one, as in COCO's own files (000000397133.jpg is 397133).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fullconv.detections.found import Detections, unnamed_classes
from fullconv.errors import InputError, first_line


def image_id(name: str) -> int | str:
    """Return what COCO files call an image of this name."""
    stem = Path(name).stem
    return int(stem) if stem.isascii() and stem.isdigit() else stem


def check_ids(names: Sequence[str]) -> list[int | str]:
    """Return what COCO files call images of these names.

    Raises
    ------
    InputError
        If two images would have the same ``image_id``.
    """
    ids = [image_id(name) for name in names]
    for place, each in enumerate(ids):
        if each in ids[:place]:
            raise InputError(
                f"{names[ids.index(each)]} and {names[place]} have the same image_id {each!r} in "
                f"COCO results; write them to files of their own, or use .csv."
            )
    return ids


def lines(found: Detections) -> Iterator[str]:
    """Return the lines of the file, one for each box.

    Raises
    ------
    InputError
        If two images would have the same ``image_id``.
    """
    return _lines(found, check_ids(found.names))


def _lines(found: Detections, ids: list[int | str]) -> Iterator[str]:
    yield "["
    for number, image in enumerate(found.images.tolist()):
        x0, y0, x1, y1 = found.boxes[number].tolist()
        result = {
            "image_id": ids[image],
            "category_id": int(found.labels[number]),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": float(found.scores[number]),
        }
        yield (",\n" if number else "\n") + json.dumps(result, ensure_ascii=False)
    yield "\n]\n"


def load_json(text: str) -> Any:
    """Return what a JSON file holds."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(
            f"not JSON, or cut short ({first_line(error)}); copy or save it again."
        ) from None
    except RecursionError:
        raise InputError("nested too deeply to be read.") from None


def parse(text: str) -> Detections:
    """Return the detections in COCO results; classes are numbered, images named by their id."""
    held = load_json(text)
    if not isinstance(held, list):
        raise InputError(
            f"expected COCO results, a list of boxes; got "
            f"{'an object' if isinstance(held, dict) else 'something else'}."
        )
    boxes, scores, labels, images = [], [], [], []
    for number, result in enumerate(held):
        try:
            x, y, width, height = (float(value) for value in result["bbox"])
            images.append(str(result["image_id"]))
            labels.append(int(result["category_id"]))
            scores.append(float(result["score"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"result {number} is not a COCO detection; expected image_id, category_id, bbox "
                f"as [x, y, width, height], and score."
            ) from None
        boxes.append((x, y, x + width, y + height))
    names = tuple(dict.fromkeys(images))
    places = {name: place for place, name in enumerate(names)}
    return Detections(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(scores, dtype=np.float64),
        np.array(labels, dtype=np.int64),
        np.array([places[image] for image in images], dtype=np.int64),
        unnamed_classes(max(labels, default=-1) + 1),
        names,
        (None,) * len(names),
    )
