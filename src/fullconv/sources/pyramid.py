"""Images at several resolutions, and the choice of a level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, isfinite, log2
from typing import Any

from fullconv.choices import LARGEST_SCALE
from fullconv.errors import InputError
from fullconv.geometry.grid import Sizes
from fullconv.geometry.placement import Georeference, Placement, Space
from fullconv.sources.colours import Channels
from fullconv.sources.source import Facts, Resolution, Source
from fullconv.wording import kind, names

NEAR = 0.01
"""Resolutions that differ by less count as equal: slides state theirs no more precisely."""


@dataclass(frozen=True)
class Pyramid:
    """The levels and the metadata of a file, known before any pixel is read.

    Attributes
    ----------
    name : str
    sizes : tuple of tuple of int
        ``(H, W)`` of every level, the full resolution first.
    open_level : callable
        Takes a level and its facts, and returns its source.
    space : Space or None
        Coordinates of the full resolution.
    georeference : Georeference or None
        Place of the full resolution on the ground.
    placements : tuple of Placement
        Placement of every level in the first, as the file declares it, or from their sizes
        (`placement_by_size`).
    channels : tuple of Channel
        Name and colour of each band, as far as the file gives them.
    remarks : tuple of str
        Remarks on the file for the user, of one line each.
    close : callable
        Closes the file, if no level is opened.
    nodata : float or None
        As in `Facts`.
    """

    name: str
    sizes: tuple[Sizes, ...]
    open_level: Callable[[int, Facts], Source]
    space: Space | None = None
    georeference: Georeference | None = None
    placements: tuple[Placement, ...] = ()
    channels: Channels = ()
    remarks: tuple[str, ...] = ()
    close: Callable[[], None] = lambda: None
    nodata: float | None = None

    def __post_init__(self) -> None:
        if not self.placements and all(min(size) > 0 for size in self.sizes):
            by_size = tuple(placement_by_size(self.sizes[0], size) for size in self.sizes)
            object.__setattr__(self, "placements", by_size)

    def with_resolution(self, own: tuple[float, ...]) -> Pyramid:
        """Return the same pyramid with the resolution ``own`` in place of the file's."""
        translation = (0.0,) * len(own)
        stored = self.space
        if stored is not None and stored.unit_um is not None:
            translation = tuple(n * stored.unit_um for n in stored.translation)
        space = Space(own, translation, "micrometer", 1.0)
        return replace(self, space=space)

    def um_per_pixel(self, level: int) -> tuple[float, ...] | None:
        """Return the micrometres per pixel of a level; None where they are unknown."""
        own = self.space.um_per_pixel if self.space else None
        scale = self.placements[level].scale
        return own and tuple(um * n for um, n in zip(own, scale, strict=True))

    def at(self, level: int, own: Resolution | None = None) -> Source:
        """Open a level; ``own`` replaces the resolution of the file, if it is given."""
        if own is not None:
            return self.with_resolution(own).at(level)
        facts = Facts(
            original_size=self.sizes[0],
            placement=self.placements[level],
            space=self.space,
            georeference=self.georeference,
            channels=self.channels,
            remarks=self.remarks,
            level=(level, len(self.sizes)),
            nodata=self.nodata,
        )
        return self.open_level(level, facts)


def placement_by_size(size: Sizes, level: Sizes) -> Placement:
    """Return the placement of a level in its image, derived from their sizes alone.

    Pyramids are made by whole factors, mostly powers of 2, and the remainder at the end is cut off
    or filled up. So the factor is a whole number that gives the size along every axis, or the
    ratio of the sizes where there is no such number.
    """
    ratio = [n / m for n, m in zip(size, level, strict=True)]
    near = {2 ** max(0, round(log2(max(ratio)))), *(round(n) for n in ratio)}
    for factor in sorted(near, key=lambda n: (n & (n - 1) != 0, n)):
        if factor and all(
            n // factor <= m <= ceil(n / factor) for n, m in zip(size, level, strict=True)
        ):
            return Placement((float(factor),) * len(size), (0.0,) * len(size))
    return Placement.between(level, size)


def open_chosen(
    pyramid: Pyramid,
    level: int | None = None,
    um_per_pixel: float | None = None,
    own_um_per_pixel: float | None = None,
) -> Source:
    """Open the chosen level, or the image at the chosen resolution, resized where needed.

    For a resolution the coarsest level is read that is at least as fine, within `NEAR`. If all are
    coarser, the finest is enlarged.

    Raises
    ------
    InputError
        If the level does not exist, the resolution is unknown, or both are given.
    """
    for name, um in (("um_per_pixel", um_per_pixel), ("own_um_per_pixel", own_um_per_pixel)):
        if um is not None and not _is_length(um):
            raise InputError(f"open_source({name}={um!r}): expected micrometres, more than 0.")
    if level is not None and um_per_pixel is not None:
        raise InputError(
            f"open_source(level={level}, um_per_pixel={um_per_pixel}): each of them chooses a "
            f"resolution; give one."
        )
    if own_um_per_pixel is not None:
        pyramid = pyramid.with_resolution((own_um_per_pixel,) * len(pyramid.sizes[0]))
    if um_per_pixel is None:
        return pyramid.at(_existing(pyramid, level or 0))
    dimensions = len(pyramid.sizes[0])
    if pyramid.um_per_pixel(0) is None and dimensions != 2:
        raise InputError(
            f"{pyramid.name}: {um_per_pixel:g} um per pixel are asked for, and only images, "
            f"{names(2)}, are resized to a resolution; this is a {kind(dimensions)}. Read it as it "
            f"is: leave --um-per-pixel (um_per_pixel in Python) out, or give --level 0."
        )
    if pyramid.um_per_pixel(0) is None:
        raise InputError(
            f"{pyramid.name} does not say how large its pixels are, and {um_per_pixel:g} um per "
            f"pixel are asked for; say it with --image-um-per-pixel (own_um_per_pixel in Python)."
        )
    return _at_resolution(pyramid, um_per_pixel)


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


def _at_resolution(pyramid: Pyramid, wanted: float) -> Source:
    from fullconv.sources.resized import resized

    levels = [pyramid.um_per_pixel(level) for level in range(len(pyramid.sizes))]
    fine = [n for n, um in enumerate(levels) if um and max(um) <= wanted * (1 + NEAR)]
    source = pyramid.at(fine[-1] if fine else 0)
    um = source.um_per_pixel
    assert um is not None, "a resolution was given"
    if all(abs(n / wanted - 1) <= NEAR for n in um):
        return source
    if max(um) > wanted * LARGEST_SCALE:
        raise InputError(
            f"{pyramid.name} has pixels of {max(um):g} um, and {wanted:g} um per pixel are asked "
            f"for, which would enlarge it more than {LARGEST_SCALE} times; check both numbers."
        )
    size = [max(1, round(n * um_ / wanted)) for n, um_ in zip(source.size, um, strict=True)]
    return resized(source, size)
