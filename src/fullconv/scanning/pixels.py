"""The range of pixels as the network sees them, and a warning where they fit no training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from math import inf, log, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes, Span
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.region import Region
from fullconv.sources import Source
from fullconv.wording import unit

WHOLE = 1 << 20
"""An image of at most this many pixels is read whole."""

PARTS = 64
"""A larger image is divided into about this many parts, as many along each axis; one window of each
is read."""

LOOKED_AT = 8
"""About this many rows of windows in a part are searched for a window to be scored."""

FULL = (1, 255, 1023, 4095, 16383, 65535)
"""Largest numbers that cameras, scanners and programs write."""

FAR = 8
"""The preprocessing was made for other pixels if these reach this many times further than its own
range. 10 bits reach 4 times as far as 8, but a brighter image may do so, too."""

FAR_BEYOND = 100
"""Preprocessing brings pixels to about 1; where it may bring them further than this, it was made
for other pixels. If only 10 or 12 of 16 bits are used, it brings the largest number to 64 or 16."""

DIM = 50
"""Real numbers that reach this many times less far than the range run from 0 to 1, and are not
dark."""

DEEP = 4095
"""Preprocessing whose range reaches at least this far was not made for 8-bit pixels."""


@dataclass(frozen=True)
class PixelRange:
    """The range of some windows' pixels, in the file and as the network sees them.

    Attributes
    ----------
    low, mean, high : float
        Lowest, mean and highest, as the network sees them.
    least, most : float
        Lowest and highest, in the file.
    windows : int or None
        Number of windows that were read; None if the whole image or rectangle was.
    """

    low: float
    mean: float
    high: float
    least: float
    most: float
    windows: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        where = "" if self.windows is None else f", in {self.windows} windows of it"
        return (
            f"{self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}, as the network sees "
            f"them{where}"
        )


def look(image: Source, region: Region, preprocessing: Preprocessing | None) -> PixelRange | None:
    """Return the range of an image's pixels; None where no pixel is finite and in the file."""
    whole = tuple(
        (axis.position(first), axis.position(last - 1) + axis.window)
        for axis, (first, last) in zip(region.windows.axes, region.spans, strict=True)
    )
    places = [whole]
    count = None
    if prod(stop - start for start, stop in whole) > WHOLE:
        places = list(_windows(region))
        count = len(places)
    total, number = 0.0, 0
    low, high, least, most = inf, -inf, inf, -inf
    for place in places:
        pixels, known = _known(image, place)
        if not known.any():
            continue
        values = pixels[:, known]
        if preprocessing is None:
            seen = values.astype(np.float32)
        else:
            seen = preprocessing.apply(values[:, None, :])
        total, number = total + float(seen.sum(dtype=np.float64)), number + seen.size
        low, high = min(low, float(seen.min())), max(high, float(seen.max()))
        least, most = min(least, float(values.min())), max(most, float(values.max()))
    return PixelRange(low, total / number, high, least, most, count) if number else None


def _known(image: Source, place: Sequence[Span]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return pixels ``(C, *size)``, and which of them are finite and in the file."""
    pixels = np.moveaxis(image.read(*place), -1, 0)
    known = np.ones(pixels.shape[1:], np.bool_)
    if pixels.dtype.kind == "f":
        known &= (np.abs(pixels) <= np.finfo(np.float32).max).all(axis=0)
    missing = image.missing(*place)
    return pixels, known if missing is None else known & ~missing


def _windows(region: Region) -> Iterator[tuple[Span, ...]]:
    """Yield the pixels of one window to be scored for every part of a region."""
    side = round(PARTS ** (1 / len(region.spans)))
    edges = [
        np.linspace(first, last, min(side, last - first) + 1).astype(int).tolist()
        for first, last in region.spans
    ]
    for part in product(*map(pairwise, edges)):
        place = _one(region, part)
        if place is not None:
            yield tuple(
                (axis.position(n), axis.position(n) + axis.window)
                for axis, n in zip(region.windows.axes, place, strict=True)
            )


def _one(region: Region, part: Sequence[Span]) -> Sizes | None:
    """Return a window to be scored near the middle of a part; None if no searched row has one."""
    rows, *others = part
    middle = sum(rows) // 2
    step = max(1, (rows[1] - rows[0]) // LOOKED_AT)
    for row in sorted(range(rows[0], rows[1], step), key=lambda row: abs(row - middle)):
        wanted = np.argwhere(region.wanted((row, row + 1), *others)[0])
        if len(wanted):
            behind = wanted[len(wanted) // 2].tolist()
            return row, *(first + n for (first, _), n in zip(others, behind, strict=True))
    return None


def made_for(preprocessing: Preprocessing | None) -> int | None:
    """Return the full range of the pixels that preprocessing brings to about 1, one of `FULL`.

    It is derived from the scale, or where there is none, from mean and deviation. None where
    neither is set.
    """
    if preprocessing is None:
        return None
    mean, std = max(map(abs, preprocessing.mean)), max(map(abs, preprocessing.std))
    if preprocessing.scale not in (0, 1):
        reach = 1 / abs(preprocessing.scale)
    elif mean:
        reach = max(2 * mean, mean + (4 * std if std != 1 else 0))
    elif std != 1:
        reach = std
    else:
        return None
    return min(FULL, key=lambda full: abs(log(full / reach)))


def remark(
    seen: PixelRange | None, image: Source, preprocessing: Preprocessing | None
) -> str | None:
    """Return the warning that pixels cannot be like the model's training data; None if they can."""
    one = unit(len(image.size))
    if seen is None:
        return (
            f"no {one} of {image.name} that was looked at is a number for the network: they are "
            f"NaN, infinite, or not in the file."
        )
    name, reach, full = image.name, max(-seen.least, seen.most), made_for(preprocessing)
    if seen.least == seen.most == 0 or seen.low == seen.high == 0:
        return f"all {one}s of {name} are 0 as the network sees them{_where(seen)}."
    is_real = image.dtype.kind == "f"
    if full is None:
        # An array was prepared by the caller.
        is_file = image.description.get("path") is not None
        of_bytes = is_file and len(image.size) == 2  # what is no image is seldom made of bytes
        if of_bytes and is_real and seen.least >= 0 and reach <= 1:
            return (
                f"the pixels of {name} reach from {seen.least:.3g} to {seen.most:.3g}; if the "
                f"model was trained on 0 to 255, --scale 255 makes them alike."
            )
        return None
    deep = _deeper(seen, image, preprocessing)
    if deep is not None:
        return deep
    is_far = reach > FAR * full
    is_dim = reach * DIM <= full if is_real else reach <= 255 and full >= DEEP
    # Whole numbers up to 1 are single bits or labels; a dark photo has more of them.
    is_dim = is_dim or (reach <= 1 and full >= 255)
    if not is_far and not is_dim:
        return None
    assert preprocessing is not None, "made for something"
    alike = preprocessing.scale * full / next((n for n in FULL if reach <= n), reach)
    return (
        f"the {one}s of {name} reach from {seen.least:.6g} to {seen.most:.6g}, and the model's "
        f"preprocessing is made for 0 to {full}, so that the network sees {seen.low:.3g} to "
        f"{seen.high:.3g}{_where(seen)}; --scale {alike:.6g} makes them alike, if they show the "
        f"same."
    )


def _deeper(seen: PixelRange, image: Source, preprocessing: Preprocessing | None) -> str | None:
    """Return the warning that whole numbers may reach far beyond the range of the scale.

    Only 10 or 12 of 16 bits may be used, so the largest number of the type decides, if any pixel
    has more than 8 bits.
    """
    if preprocessing is None or preprocessing.scale == 1 or image.dtype.kind not in "iu":
        return None
    most, scale = int(np.iinfo(image.dtype).max), preprocessing.scale
    things = unit(len(image.size), many=True)
    if seen.most <= 255 or abs(scale) * most <= FAR_BEYOND:
        return None
    return (
        f"the {things} of {image.name} are {image.dtype}, up to {most}, which the scale "
        f"{scale:.6g} makes {scale * most:.3g}; if the model was trained on 8 bits, --scale "
        f"{scale * 255 / most:.6g} makes them alike."
    )


def _where(seen: PixelRange) -> str:
    return "" if seen.windows is None else f" (in {seen.windows} windows)"
