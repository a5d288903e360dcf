"""An image at several resolutions, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from fullconv.choices import LARGEST_SCALE
from fullconv.errors import InputError
from fullconv.geometry import Pair
from fullconv.sources.source import Georeference, Resolution, Source

NEAR = 0.01
"""Resolutions that differ by less are the same: slides are labelled no better than that."""

UM = {"nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Micrometres in the units that formats name, after `um_of` has brought them to short names."""

# The micro sign and the Greek letter are two characters that look the same.
_SHORT = {"\u00b5m": "um", "\u03bcm": "um", "micron": "um"}


def um_of(unit: str) -> float | None:
    """Return the micrometres in a unit of length, by its name or sign; None if it is not one."""
    name = unit.strip().lower().replace("meter", "metre").removesuffix("s")
    for long, short in (("nano", "nm"), ("micro", "um"), ("milli", "mm"), ("centi", "cm")):
        if name == f"{long}metre":
            name = short
    name = "m" if name == "metre" else name
    return UM.get(_SHORT.get(name, name))


@dataclass(frozen=True)
class Pyramid:
    """What a file says before any pixel is read.

    Attributes
    ----------
    name : str
    sizes : tuple of (int, int)
        ``(H, W)`` of every level, the full resolution first.
    open_level : callable
        Takes a level and the facts that all levels share, and opens it.
    um_per_pixel : (float, float) or None
        (row, column) at full resolution.
    georeference : Georeference or None
    close : callable
        Lets go of the file, where no level is opened.
    """

    name: str
    sizes: tuple[Pair, ...]
    open_level: Callable[[int, dict[str, Any]], Source]
    um_per_pixel: Resolution | None = None
    georeference: Georeference | None = None
    close: Callable[[], None] = lambda: None

    def at(self, level: int, own: Resolution | None) -> Source:
        """Open a level of an image that has the resolution ``own`` at full size."""
        (height, width), (h, w) = self.sizes[0], self.sizes[level]
        um = own and (own[0] * (height / h), own[1] * (width / w))
        facts: dict[str, Any] = {
            "original_size": self.sizes[0],
            "um_per_pixel": um,
            "georeference": self.georeference,
        }
        return self.open_level(level, facts)


def open_chosen(
    pyramid: Pyramid,
    level: int | None = None,
    um_per_pixel: float | None = None,
    own_um_per_pixel: float | None = None,
) -> Source:
    """Return the level that was asked for, resized if its resolution is not near enough.

    Of several levels the coarsest is taken that is at least as fine as what is wanted. An image
    that is coarser than that is enlarged.

    Raises
    ------
    InputError
        If the level does not exist, the resolution is unknown, or both are asked for.
    """
    for name, um in (("um_per_pixel", um_per_pixel), ("own_um_per_pixel", own_um_per_pixel)):
        if um is not None and not _is_length(um):
            raise InputError(f"open_source({name}={um!r}): expected micrometres, more than 0.")
    if level is not None and um_per_pixel is not None:
        raise InputError(
            f"open_source(level={level}, um_per_pixel={um_per_pixel}): each of them chooses a "
            f"resolution; give one."
        )
    own = pyramid.um_per_pixel
    if own_um_per_pixel is not None:
        own = (own_um_per_pixel, own_um_per_pixel)
    if um_per_pixel is None:
        return pyramid.at(_existing(pyramid, level or 0), own)
    if own is None:
        raise InputError(
            f"{pyramid.name} does not say how large its pixels are, and {um_per_pixel:g} um per "
            f"pixel are asked for; say it with --image-um-per-pixel (own_um_per_pixel in Python)."
        )
    return _at_resolution(pyramid, own, um_per_pixel)


def _is_length(um: Any) -> bool:
    try:
        return isfinite(um) and um > 0
    except (TypeError, ValueError, OverflowError):
        return False


def _existing(pyramid: Pyramid, level: int) -> int:
    count = len(pyramid.sizes)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < count:
        there = "one level, 0" if count == 1 else f"{count} levels, 0 to {count - 1}"
        raise InputError(f"{pyramid.name} has {there}; got level {level!r}. Choose one of these.")
    return level


def _at_resolution(pyramid: Pyramid, own: Resolution, wanted: float) -> Source:
    from fullconv.sources.resized import resized

    height, width = pyramid.sizes[0]
    fine = [
        level
        for level, (h, w) in enumerate(pyramid.sizes)
        if max(own[0] * (height / h), own[1] * (width / w)) <= wanted * (1 + NEAR)
    ]
    source = pyramid.at(fine[-1] if fine else 0, own)
    um = source.um_per_pixel
    assert um is not None, "a resolution was given"
    if all(abs(n / wanted - 1) <= NEAR for n in um):
        return source
    if max(um) > wanted * LARGEST_SCALE:
        raise InputError(
            f"{pyramid.name} has pixels of {max(um):g} um, and {wanted:g} um per pixel are asked "
            f"for, which would enlarge it more than {LARGEST_SCALE} times; check both numbers."
        )
    h, w = (max(1, round(extent * n / wanted)) for extent, n in zip(source.size, um, strict=True))
    return resized(source, (h, w))
