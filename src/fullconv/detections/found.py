"""Detections: boxes with scores and classes, in one image or many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullconv.detections.formats import check_place, reader, truth_ids, write
from fullconv.detections.text import read_text
from fullconv.errors import InputError
from fullconv.geometry.grid import Sizes
from fullconv.geometry.placement import Georeference
from fullconv.system.files import check_local

OWN: Final = "own"
"""The georeference of each image's own file."""


@dataclass(frozen=True)
class Detection:
    """One box.

    Attributes
    ----------
    box : tuple of float
        x0, y0, x1, y1 in pixels of the original image, half-open; of a recording t0, t1, of a
        volume x0, y0, z0, x1, y1, z1.
    score : float
        The model's score.
    label : int
        Class number.
    name : str
        Class name.
    image : str
        Name of the image.
    """

    box: tuple[float, ...]
    score: float
    label: int
    name: str
    image: str


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Boxes with scores and classes, sorted by image, and in an image from the best score down.

    Attributes
    ----------
    boxes : numpy.ndarray
        ``(n, 4)``: x0, y0, x1, y1 in pixels of the original image, half-open. Of recordings they
        are intervals ``(n, 2)``, t0, t1; of volumes cuboids ``(n, 6)``, x0, y0, z0, x1, y1, z1.
    scores : numpy.ndarray
        ``(n,)``.
    labels : numpy.ndarray
        ``(n,)``: class numbers.
    images : numpy.ndarray
        ``(n,)``: numbers of the images.
    classes : tuple of str
        Names of all classes of the model; "class 3" where it names none.
    names : tuple of str
        Names of the images; a single image that its file does not name is called "".
    sizes : tuple of tuple of int or None
        Height and width of the original images, or their size along every axis; None where
        unknown.
    probabilities : numpy.ndarray or None
        ``(n, K)``: the scores of all classes in each box, where they are known.
    places : tuple of Georeference or None
        Place of each image in the world; None where unknown. Boxes are in pixels all the same.

    Raises
    ------
    InputError
        If the arrays do not belong together, a box or score is not finite, or a number of a class
        or image is out of range.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    sizes: tuple[Sizes | None, ...]
    probabilities: NDArray[np.float64] | None = None
    places: tuple[Georeference | None, ...] = ()

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, dtype=np.float64)
        images = np.asarray(self.images, dtype=np.int64)
        arrays: dict[str, NDArray[Any]] = {
            "boxes": _rows(self.boxes),
            "scores": scores,
            "labels": np.asarray(self.labels, dtype=np.int64),
            "images": images,
        }
        if self.probabilities is not None:
            arrays["probabilities"] = np.asarray(self.probabilities, dtype=np.float64)
        if not self.places:
            object.__setattr__(self, "places", (None,) * len(self.names))
        self._check(arrays)
        order = np.lexsort((-scores, images))
        for name, array in arrays.items():
            object.__setattr__(self, name, array[order])

    @property
    def dimensions(self) -> int:
        """Number of axes of the boxes: 1 for intervals, 2 for rectangles, 3 for cuboids."""
        return int(self.boxes.shape[1]) // 2

    def _check(self, arrays: dict[str, NDArray[Any]]) -> None:
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"Detections: expected as many of each; got {counts}.")
        for word, entries in (("size", self.sizes), ("place", self.places)):
            if len(self.names) != len(entries):
                raise InputError(
                    f"Detections: expected a {word} for each image; got {len(self.names)} names "
                    f"and {len(entries)} {word}s."
                )
        if not (np.isfinite(arrays["boxes"]).all() and np.isfinite(arrays["scores"]).all()):
            raise InputError("Detections: expected finite boxes and scores.")
        for name, most in (("labels", len(self.classes)), ("images", len(self.names))):
            numbers = arrays[name]
            if len(numbers) and (numbers.min() < 0 or numbers.max() >= most):
                raise InputError(
                    f"Detections: expected {name} from 0 to {most - 1}; got {numbers.min()} to "
                    f"{numbers.max()}."
                )

    @classmethod
    def read(cls, path: str | Path) -> Detections:
        """Return the detections in a file that `save` wrote: .csv, .json or .geojson.

        Boxes, scores, classes and the names of images come back as they were. Files lack images
        without a detection, and .json also lacks classes without one. The CSV files of WSInfer are
        read as well: each patch with its most likely class. COCO results of other programs do not
        name their images and classes; these keep their ids, for `evaluate` with the annotations.

        Raises
        ------
        InputError
            If the file is missing, has another ending, or does not hold detections.
        """
        place = check_local("Detections.read(path)", path, reads=True)
        read, text = reader(place), read_text(place)
        try:
            return cls(**read(text))
        except InputError as error:
            raise InputError(f"{place}: {error}") from None

    def save(
        self,
        path: str | Path,
        georeference: Georeference | Literal["own"] | None = OWN,
        *,
        named: bool = False,
        truth: str | Path | None = None,
    ) -> None:
        """Write the detections in the format that the ending names.

        Parameters
        ----------
        path : str or Path
            ``.csv`` with the columns of WSInfer, ``.json`` with COCO results, or ``.geojson`` for
            QuPath: see `fullconv.detections.formats`. Intervals and cuboids have columns and
            entries of their own in the first two, and the third is for images alone.
        georeference : Georeference, "own" or None
            Coordinates of ``.geojson``: by default those of the image, where it has some, or those
            of another raster; None for pixels, as in QuPath.
        named : bool
            Whether ``.csv`` begins with the image of each box even if there is only one image. By
            default a single image comes after WSInfer's columns.
        truth : str or Path, optional
            COCO annotations whose ids of images and categories, by name, are written to ``.json``.
            Without it both are counted from 1.

        Raises
        ------
        InputError
            If the ending is not known, the format cannot hold these detections, or the truth does
            not know one of their images or classes.
        OutputError
            If the file cannot be written; nothing is left half-written.
        """
        place = check_local("save(path)", path)
        if georeference == OWN:
            georeference = self.places[0] if len(self.places) == 1 else None
        else:
            check_place(place, georeference)
        ids = None
        if truth is not None:
            ids = truth_ids(self, place, check_local("save(truth)", truth, reads=True))
        write(self, place, georeference, named, ids)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        """Yield the boxes one by one."""
        columns = (self.boxes, self.scores, self.labels, self.images)
        for box, score, label, image in zip(*(c.tolist() for c in columns), strict=True):
            yield Detection(tuple(box), score, label, self.classes[label], self.names[image])

    def __repr__(self) -> str:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        each = ", ".join(
            f"{count} {name}" for count, name in zip(counts, self.classes, strict=True) if count
        )
        return f"Detections({len(self)} in {_images(len(self.names))}{each and ': ' + each})"

    def of_image(self, name: str) -> Detections:
        """Return the detections in one image.

        Raises
        ------
        InputError
            If there is no image of that name.
        """
        if name not in self.names:
            raise InputError(
                f"of_image({name!r}): no such image; there are {', '.join(self.names) or 'none'}."
            )
        number = self.names.index(name)
        mine = self.images == number
        return replace(
            self,
            boxes=self.boxes[mine],
            scores=self.scores[mine],
            labels=self.labels[mine],
            images=np.zeros(int(mine.sum()), dtype=np.int64),
            names=(self.names[number],),
            sizes=(self.sizes[number],),
            places=(self.places[number],),
            probabilities=None if self.probabilities is None else self.probabilities[mine],
        )


def joined(parts: Sequence[Detections]) -> Detections:
    """Return the detections of several images as one record."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        raise InputError("detect(source=[]): expected at least one image.")
    known = [each.probabilities for each in parts]
    return Detections(
        boxes=np.concatenate([each.boxes for each in parts]),
        scores=np.concatenate([each.scores for each in parts]),
        labels=np.concatenate([each.labels for each in parts]),
        images=np.concatenate([np.full(len(each), number) for number, each in enumerate(parts)]),
        classes=parts[0].classes,
        names=tuple(name for each in parts for name in each.names),
        sizes=tuple(size for each in parts for size in each.sizes),
        probabilities=None if any(each is None for each in known) else np.concatenate(known),  # type: ignore[arg-type]
        places=tuple(place for each in parts for place in each.places),
    )


def rows_of_boxes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes one in a row; any other shape is taken for rectangles.

    Raises
    ------
    ValueError
        If the numbers are not four for each rectangle.
    """
    is_table = boxes.ndim == 2 and boxes.shape[1] in (2, 4, 6)
    return boxes if is_table else boxes.reshape(-1, 4)


def _rows(boxes: ArrayLike) -> NDArray[np.float64]:
    try:
        return rows_of_boxes(np.asarray(boxes, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError(
            f"Detections: expected boxes (n, 4) as x0, y0, x1, y1 (intervals (n, 2) of a "
            f"recording, cuboids (n, 6) of a volume); got shape {np.shape(boxes)}."
        ) from None


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
