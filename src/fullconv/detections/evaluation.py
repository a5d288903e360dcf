"""The evaluation of detections: average precision, and misses against false positives per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fullconv.detections.curves import ClassEvaluation
from fullconv.detections.found import Detections
from fullconv.detections.matching import Verdict, match_boxes
from fullconv.detections.meeting import meet
from fullconv.detections.numbered import composed
from fullconv.detections.pairing import some
from fullconv.detections.truth import Truth, TruthLike, read_truth
from fullconv.errors import InputError


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The evaluation of detections, by class and as a mean.

    Attributes
    ----------
    classes : tuple of ClassEvaluation
        In the order of the model's classes.
    images : int
        Number of images in the truth.
    matched : str
        The condition under which a true box counts as found, in words.
    left_out : int
        Number of true boxes without an area, which no detection can match.
    remark : str
        A warning about the names; empty where there is none.
    """

    classes: tuple[ClassEvaluation, ...]
    images: int
    matched: str
    left_out: int = 0
    remark: str = ""

    def __getitem__(self, name: str) -> ClassEvaluation:
        """Return the evaluation of one class; `KeyError` where there is no such class."""
        for each in self.classes:
            if each.name == composed(name):
                return each
        raise KeyError(name)

    @property
    def average_precision(self) -> float:
        """Mean over the classes that have true boxes."""
        return self.mean()["average_precision"]

    @property
    def recall(self) -> float:
        """Mean over the classes that have true boxes."""
        return self.mean()["recall"]

    @property
    def precision(self) -> float:
        """Mean over the classes that have detections."""
        return self.mean()["precision"]

    @property
    def log_average_miss_rate(self) -> float:
        """Mean over the classes that have true boxes."""
        return self.mean()["log_average_miss_rate"]

    def mean(self) -> dict[str, float]:
        """Return each figure's mean over the classes for which it is a number."""
        names = ("average_precision", "recall", "precision", "log_average_miss_rate")
        means = {}
        for name in names:
            known = [value for each in self.classes if not isnan(value := each.figures()[name])]
            means[name] = float(np.mean(known)) if known else nan
        return means

    def __str__(self) -> str:
        """Return a table that people can read."""
        rows = [["class", "truth", "found", "false", "AP", "recall", "precision", "miss rate"]]
        for each in self.classes:
            hits = int(each.hits.sum())
            counts = [str(each.truth), str(hits), str(len(each.hits) - hits)]
            rows.append([each.name, *counts, *map(_figure, each.figures().values())])
        if len(self.classes) > 1:
            rows.append(["mean", "", "", "", *map(_figure, self.mean().values())])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(
                [row[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            )
            for row in rows
        ]
        notes = [f"{self.images} images; found: {self.matched}"]
        if self.left_out:
            notes.append(f"{self.left_out} true boxes without an area are left out")
        notes.append("miss rate: its log-average from 0.01 to 1 false positives per image")
        if self.remark:
            notes.append(self.remark)
        return "\n".join([*table, *notes])

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON; None for NaN."""
        return {
            "images": self.images,
            "matched": self.matched,
            "left_out": self.left_out,
            **({"remark": self.remark} if self.remark else {}),
            "mean": _plain(self.mean()),
            "classes": [
                {
                    "name": each.name,
                    "truth": each.truth,
                    "detections": len(each.hits),
                    "found": int(each.hits.sum()),
                    **_plain(each.figures()),
                }
                for each in self.classes
            ],
        }


def evaluate(
    detections: Detections | str | Path,
    truth: TruthLike,
    *,
    iou: float = 0.5,
    match: Literal["iou", "center"] = "iou",
    classes: Sequence[str] | None = None,
    images: Sequence[str] | None = None,
) -> Evaluation:
    """Compare detections with the true boxes in the images.

    Detections are taken from the best score down. Each finds the true box of its class that it
    overlaps most, among those not found yet. A second detection of the same box is false.

    Parameters
    ----------
    detections : Detections, str or Path
        The detections, or the path of a file that `Detections.read` reads.
    truth : Detections, dict, str or Path
        True boxes; or ``{image name: (boxes (n, 4), labels)}`` with x0, y0, x1, y1 in pixels (t0,
        t1 of a recording, x0, y0, z0, x1, y1, z1 of a volume) and class names or numbers; or the
        path of COCO annotations (.json), or of a folder of Pascal VOC annotations (.xml), including
        those in folders below. Images are matched by relative path, then by a name that only one
        has: Note [How names meet]. Classes are matched by name. Only COCO results that give no
        names are matched by their ids, with COCO annotations.
    iou : float
        A box is found if its intersection over union with a detection is at least this.
    match : "iou" or "center"
        ``"center"``: a box is found if it holds the detection's centre, whatever its size.
    classes : sequence of str, optional
        Names of the classes to evaluate; by default all in the truth or the detections.
    images : sequence of str, optional
        Names of the images to evaluate. By default all in the truth, including those without a
        detection, which files of detections do not name.

    Raises
    ------
    InputError
        If the detections or the truth cannot be read; if an image with a detection has no
        counterpart in the truth, or more than one; if classes have names on one side only; or if
        one side are boxes of images, and the other of recordings or volumes.
    """
    if match not in ("iou", "center"):
        raise InputError(f"evaluate(match={match!r}): expected 'iou' or 'center'.")
    if not 0 < iou <= 1:
        raise InputError(
            f"evaluate(iou={iou}): expected an overlap above 0 and at most 1, as in 0.5."
        )
    given = _given(detections)
    detections, real = meet(given, read_truth(truth, given.classes), images)
    detected = [detections.classes[label] for label in np.unique(detections.labels)]
    named = list(dict.fromkeys([*detections.classes, *real.classes]))
    known = {*detected, *real.classes}
    asked = None if classes is None else [composed(name) for name in classes]
    for name in asked or ():
        if name not in named:
            raise InputError(
                f"evaluate(classes={list(classes or ())}): neither the detections nor the truth "
                f"know {name!r}; they have {', '.join(named)}."
            )
    wanted = asked if asked is not None else [name for name in named if name in known]
    each = tuple(_of_class(detections, real, name, iou, match == "center") for name in wanted)
    how = "the true box holds the centre" if match == "center" else f"IoU of at least {iou:g}"
    remark = ""
    if detected and real.classes and not set(detected) & set(real.classes):
        remark = (
            f"no class that was found is one of the truth's: {some(detected)} against "
            f"{some(real.classes)}"
        )
    return Evaluation(each, len(real.names), how, int(real.left_out.sum()), remark)


def _given(detections: Detections | str | Path) -> Detections:
    """Return detections that are given as themselves, or as a file."""
    if isinstance(detections, str | Path):
        return Detections.read(detections)
    if not isinstance(detections, Detections):
        raise InputError(
            f"evaluate(detections): expected what fullconv.detect returns, or the path of a .csv, "
            f".json or .geojson file of detections; got {type(detections).__name__}."
        )
    return detections


def _of_class(
    detections: Detections, truth: Truth, name: str, iou: float, by_center: bool
) -> ClassEvaluation:
    labels = [label for label, each in enumerate(detections.classes) if each == name]
    mine = np.flatnonzero(np.isin(detections.labels, labels))
    mine = mine[np.argsort(-detections.scores[mine], kind="stable")]
    images = detections.images[mine]
    true = truth.labels == (truth.classes.index(name) if name in truth.classes else -1)
    verdicts = np.zeros(len(mine), dtype=np.int8)
    for image in np.unique(images):
        here, there = images == image, true & (truth.images == image)
        verdicts[here] = match_boxes(
            detections.boxes[mine[here]],
            truth.boxes[there],
            truth.ignored[there],
            iou,
            by_center=by_center,
        )
    counted = verdicts != Verdict.IGNORED
    return ClassEvaluation(
        name,
        int((true & ~truth.ignored).sum()),
        detections.scores[mine[counted]],
        verdicts[counted] == Verdict.TRUE,
        len(truth.names),
    )


def _figure(value: float) -> str:
    return "-" if isnan(value) else f"{value:.3f}"


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if isnan(value) else value for name, value in figures.items()}
