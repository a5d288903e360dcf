"""Detections and truth brought together: images and classes matched by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fullconv.detections.found import Detections
from fullconv.detections.numbered import Numbered, composed, only_number
from fullconv.detections.pairing import Unpaired, refuse_unpaired, some
from fullconv.detections.truth import Truth
from fullconv.errors import InputError
from fullconv.wording import edges, kinds


def meet(
    detections: Detections, truth: Truth, images: Sequence[str] | None
) -> tuple[Detections, Truth]:
    """Return the detections in the truth's images and classes, and the truth about these images.

    Parameters
    ----------
    detections : Detections
    truth : Truth
    images : sequence of str or None
        The images to evaluate; None for all in the truth.

    Raises
    ------
    InputError
        If an image or class has no clear counterpart in the truth, or the two lie along other axes.
    """
    truth = _along_same_axes(detections, truth)
    return _of_images(replace(detections, classes=_classes(detections, truth)), truth, images)


def _along_same_axes(detections: Detections, truth: Truth) -> Truth:
    """Return the truth with boxes of as many numbers as the detections have; none fit any axes."""
    here, there = detections.dimensions, truth.dimensions
    if len(detections) and len(truth.boxes) and here != there:
        raise InputError(
            f"evaluate: the detections are boxes in {kinds(here)}, ({', '.join(edges(here))}), and "
            f"the true boxes lie in {kinds(there)}, ({', '.join(edges(there))}); give the truth of "
            f"the {kinds(here)}."
        )
    if len(truth.boxes):
        return truth
    return replace(truth, boxes=np.zeros((0, detections.boxes.shape[1])))


def _classes(detections: Detections, truth: Truth) -> tuple[str, ...]:
    """Return the names of the detections' classes in the truth."""
    classes = tuple(composed(_by_id(name, truth)) for name in detections.classes)
    known = truth.classes
    if not len(detections) or not known or set(classes) & set(known):
        return classes
    if only_number(classes) != only_number(known):
        raise InputError(
            f"evaluate: the detections have the classes {some(classes)}, and the truth has "
            f"{some(known)}; classes are matched by name, so call them alike, as in "
            f"dataclasses.replace(detections, classes=(...))."
        )
    return classes


def _by_id(name: str, truth: Truth) -> str:
    """Return the name of a class; a `Numbered` one has it from the truth's COCO annotations."""
    known = truth.categories
    if not isinstance(name, Numbered) or not known:
        return name
    if name.id not in known:
        first = ", ".join(f"{key} {other!r}" for key, other in list(known.items())[:10])
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        raise InputError(
            f"evaluate: the detections have the category_id {name.id!r}, and the truth has "
            f"{first}{more}; give them the ids of the truth, or the names of the classes "
            f"(category_name)."
        )
    return known[name.id]


def _of_images(
    detections: Detections, truth: Truth, images: Sequence[str] | None
) -> tuple[Detections, Truth]:
    """Return the detections in the images to evaluate, and the truth of these.

    Images without a detection need no counterpart in the truth: files do not name them.
    """
    chosen = list(
        range(len(truth.names)) if images is None else dict.fromkeys(truth.places(images))
    )
    now = {place: n for n, place in enumerate(chosen)}
    paired = truth.paired(detections.names)
    used = set(np.unique(detections.images).tolist())
    unclear = {
        detections.names[number]: one
        for number, one in enumerate(paired)
        if number in used
        and isinstance(one, Unpaired)
        and (images is None or one.candidates & now.keys())
    }
    refuse_unpaired("evaluate", list(unclear), list(unclear.values()))
    places = [now.get(one, -1) if isinstance(one, int) else -1 for one in paired]
    moved = np.array(places, dtype=np.int64)[detections.images]
    kept = moved >= 0
    wanted = Detections(
        boxes=detections.boxes[kept],
        scores=detections.scores[kept],
        labels=detections.labels[kept],
        images=moved[kept],
        classes=detections.classes,
        names=tuple(truth.names[place] for place in chosen),
        sizes=(None,) * len(chosen),
    )
    return wanted, truth if images is None else truth.of_places(chosen)
