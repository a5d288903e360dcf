"""Detections as a table: CSV with the columns of WSInfer.

The columns are ``minx,miny,width,height`` in pixels, then ``prob_<class>`` for every class, as in
the files that WSInfer puts into ``model-outputs-csv``. If only one score of a box is known, it is
in the column of its class, and the others are empty. Then come ``label`` (class number) and
``score``. A column ``image`` comes first if there are several images, or if it is asked for, and
last if there is one. Intervals have ``t0,t1`` in the place of WSInfer's four columns, and cuboids
``x0,y0,z0,x1,y1,z1``, beginnings and ends. Names are written as Note [Names in files] says.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fullconv.detections.columns import Columns
from fullconv.detections.text import difference, end
from fullconv.errors import InputError
from fullconv.sources.names import as_text, from_text
from fullconv.wording import edges

if TYPE_CHECKING:
    from fullconv.detections.found import Detections

IMAGE = "image"
CORNERS = ("minx", "miny", "width", "height")
PREFIX = "prob_"

KINDS = (CORNERS, edges(1), edges(3))
"""The columns of rectangles, intervals and cuboids."""


def lines(detections: Detections, named: bool) -> Iterator[str]:
    """Yield the lines of the file."""
    named = named or len(detections.names) > 1
    first, last = ([IMAGE], []) if named else ([], [IMAGE])
    chances = [f"{PREFIX}{as_text(name)}" for name in detections.classes]
    corners = CORNERS if detections.dimensions == 2 else edges(detections.dimensions)
    yield _line([*first, *corners, *chances, "label", "score", *last])
    names = [as_text(name) for name in detections.names]
    for number, one in enumerate(detections):
        image = [names[detections.images[number]]]
        row = _corners(one.box)
        if detections.probabilities is not None:
            row.extend(_number(value) for value in detections.probabilities[number].tolist())
        else:
            known = [""] * len(detections.classes)
            known[one.label] = _number(one.score)
            row.extend(known)
        row.extend([str(one.label), _number(one.score)])
        yield _line([*image, *row] if named else [*row, *image])


def parse(text: str) -> Columns:
    """Return the detections in a table.

    Without the columns ``label`` and ``score``, as in WSInfer's tables, each box has its most
    likely class. A table lacks images without a box.
    """
    rows = list(csv.reader(io.StringIO(text)))
    header = rows[0] if rows else []
    columns = {name: place for place, name in enumerate(header)}
    classes = tuple(from_text(name[len(PREFIX) :]) for name in header if name.startswith(PREFIX))
    named = next((all_ for all_ in KINDS if all(name in columns for name in all_)), None)
    if named is None or not classes:
        raise InputError(
            f"expected the columns {', '.join(CORNERS)} and {PREFIX}<class>, as fullconv "
            f"and WSInfer write them; got {', '.join(header) or 'an empty file'}."
        )
    chances = [place for place, name in enumerate(header) if name.startswith(PREFIX)]
    corners = [columns[name] for name in named]
    boxes, scores, labels, images, every = [], [], [], [], []
    for number, row in enumerate(rows[1:], start=2):
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} columns instead of {len(header)}")
            box = _box(named, [row[place] for place in corners])
            chance = [float(row[place]) if row[place] else np.nan for place in chances]
            if "label" in columns and "score" in columns:
                label, score = int(row[columns["label"]]), float(row[columns["score"]])
            elif np.isnan(chance).all():
                raise ValueError("no probability")
            else:
                label = int(np.nanargmax(chance))
                score = chance[label]
        except ValueError as error:
            raise InputError(f"line {number} cannot be read ({error}).") from None
        boxes.append(box)
        scores.append(score)
        labels.append(label)
        images.append(row[columns[IMAGE]] if IMAGE in columns else "")
        every.append(chance)
    places = {image: place for place, image in enumerate(dict.fromkeys(images or [""]))}
    probabilities = np.array(every, dtype=np.float64).reshape(len(every), len(classes))
    return Columns(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, len(named)),
        scores=np.array(scores, dtype=np.float64),
        labels=np.array(labels, dtype=np.int64),
        images=np.array([places[image] for image in images], dtype=np.int64),
        classes=classes,
        names=tuple(from_text(image) for image in places),
        sizes=(None,) * len(places),
        probabilities=None if np.isnan(probabilities).any() or not len(every) else probabilities,
    )


def _corners(box: tuple[float, ...]) -> list[str]:
    """Return the cells of a box: WSInfer's columns, or its beginnings and ends."""
    if len(box) != len(CORNERS):
        return list(map(_number, box))
    x0, y0, x1, y1 = box
    return [_number(x0), _number(y0), difference(x0, x1), difference(y0, y1)]


def _box(named: tuple[str, ...], cells: list[str]) -> tuple[float, ...]:
    """Return the box in some cells.

    Raises
    ------
    ValueError
        If one of them is no number.
    """
    if named != CORNERS:
        return tuple(map(float, cells))
    x, y, width, height = cells
    return float(x), float(y), end(x, width), end(y, height)


def _line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _number(value: float) -> str:
    """Return a number that reads back as itself, whole pixels without a point."""
    return str(int(value)) if value.is_integer() else repr(value)
