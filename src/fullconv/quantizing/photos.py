"""Windows of a user's photos: some to calibrate on, others that are kept back to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import InputError
from fullconv.geometry.grid import Sizes, unraveled
from fullconv.scanning.opening import open_image
from fullconv.scanning.options import Options
from fullconv.scanning.task import prepared_pixels
from fullconv.verification.verifying import arrays

KEPT = 4
"""One of so many photos is kept back, or of one photo one of so many windows."""

STEPS = 15
"""A part of a photo that is read holds up to so many steps along every axis, beside a window."""


@dataclass
class PhotoPart:
    """A part of a photo, prepared, and some of its windows.

    Attributes
    ----------
    pixels : array
        ``(1, C, *size)``.
    places : list of tuple
        Indices of windows along every axis.
    """

    pixels: NDArray[np.float32]
    places: list[Sizes] = field(default_factory=list)

    def crops(self, fcn: FullyConvolutional) -> list[NDArray[np.float32]]:
        """Return its windows as crops, ``(1, C, *window)`` each."""
        both = (slice(None), slice(None))
        return [self.pixels[(*both, *fcn.grid.slices(*place))] for place in self.places]


@dataclass(frozen=True)
class PhotoWindows:
    """Windows of photos.

    Attributes
    ----------
    calibration, kept : list of PhotoPart
        Those to calibrate on, and those that are kept back.
    photos : int
        How many photos were kept back; 0 where windows of the only photo were.
    """

    calibration: list[PhotoPart]
    kept: list[PhotoPart]
    photos: int


def draw(fcn: FullyConvolutional, photos: Sequence[Any], many: int, seed: int) -> PhotoWindows:
    """Draw up to so many windows to calibrate on, and as many to be kept back.

    Half of the first are those of which the network is least sure, so that what is rare is among
    them; the others, and all that are kept back, are drawn with equal chance.

    Raises
    ------
    InputError
        If the photos hold fewer than two windows.
    ImageError
        If a photo cannot be read, or does not fit the network.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(photos)).tolist()
    count = max(1, len(photos) // KEPT) if len(photos) > 1 else 0
    kept_photos, others = order[:count], order[count:]
    each = ceil(many / max(1, len(others)))
    calibration = [_part(fcn, photos[k], rng) for k in sorted(others)]
    kept = [_part(fcn, photos[k], rng) for k in sorted(kept_photos)]
    if not kept:
        (part,) = calibration
        places = _all_places(fcn, part)
        rng.shuffle(places)
        first = max(1, len(places) // KEPT)
        kept = [PhotoPart(part.pixels, [tuple(place) for place in places[:first][:many]])]
        part.places = _chosen(fcn, part, places[first:], many, rng)
    else:
        for part in calibration:
            part.places = _chosen(fcn, part, _all_places(fcn, part), each, rng)
        for part in kept:
            places = _all_places(fcn, part)
            rng.shuffle(places)
            part.places = [tuple(place) for place in places[: ceil(many / len(kept))]]
    if not any(part.places for part in calibration):
        raise InputError(
            f"quantize: the photos hold {sum(len(part.places) for part in kept)} window, and some "
            f"are needed to calibrate on and others to compare; give more, or larger, photos."
        )
    return PhotoWindows(calibration, kept, count)


def _part(fcn: FullyConvolutional, photo: Any, rng: np.random.Generator) -> PhotoPart:
    """Read a part of a photo, at a place that is drawn."""
    with open_image(fcn, photo, Options(fcn.preprocessing)) as source:
        spans = []
        fcn.grid.shape(source.size)  # refuses what is smaller than a window
        for length, window, step in zip(source.size, fcn.grid.window, fcn.grid.step, strict=True):
            most = min(length, window + STEPS * max(step, window // 8))
            begin = int(rng.integers(0, length - most + 1))
            spans.append((begin, begin + most))
        pixels, _ = prepared_pixels(source, fcn.preprocessing, *spans)
    return PhotoPart(pixels[None])


def _all_places(fcn: FullyConvolutional, part: PhotoPart) -> list[list[int]]:
    counts = fcn.grid.shape(part.pixels.shape[2:])
    return [list(unraveled(k, counts)) for k in range(prod(counts))]


def _chosen(
    fcn: FullyConvolutional,
    part: PhotoPart,
    places: list[list[int]],
    many: int,
    rng: np.random.Generator,
) -> list[Sizes]:
    """Return some of the places: half by chance, half those of which the network is least sure."""
    if len(places) <= many:
        return [tuple(place) for place in places]
    images = fcn.framework.images(fcn.model, part.pixels)
    scores = arrays(fcn.framework, fcn.scores(images))[0][0]
    own = np.stack([scores[(slice(None), *place)].reshape(-1) for place in places])
    own = np.sort(np.where(np.isfinite(own), own, 0), axis=1)
    margin = own[:, -1] - own[:, -2] if own.shape[1] > 1 else np.abs(own[:, 0] - own.mean())
    if own.shape[1] == 1:
        margin = -margin  # of one score, those far from the usual are rare
    unsure = np.argsort(margin, kind="stable")[: many // 2]
    rest = np.setdiff1d(np.arange(len(places)), unsure)
    drawn = rng.permutation(rest)[: many - len(unsure)]
    return [tuple(places[int(k)]) for k in (*unsure, *drawn)]
