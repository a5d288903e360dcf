"""Whole slides that are TIFFs: missing tiles of Philips and Aperio, and placements of levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.errors import MissingExtraError
from fullconv.geometry.grid import HeightWidth
from fullconv.geometry.placement import Placement
from fullconv.sources.pyramid import placement_by_size
from fullconv.sources.source import Facts, Source
from fullconv.sources.tiff_resolution import (
    Spacing,
    aperio_spacing,
    philips_spacings,
    spacing_of_tags,
)
from fullconv.sources.trouble import reading

if TYPE_CHECKING:
    from tifffile import TiffFile

    from fullconv.sources.tiff_series import Level

WHITE = 255

MOST_BELOW = 10
"""The largest denominator of a factor between levels, as in 4, 3/2, 9/4."""

MOST_TRIED = 1000
"""The most numerators that are tried for one denominator."""


def background_of(tiff: TiffFile) -> int | None:
    """Return the value of tiles that were never written; None if the maker defines none.

    Philips and Aperio leave out tiles of empty glass, which is white.
    """
    return WHITE if tiff.is_philips or tiff.is_svs else None


def placements_of(tiff: TiffFile, levels: Sequence[Level]) -> tuple[Placement, ...]:
    """Return the placements of levels, from the resolution that each declares; else none.

    The declared resolution of a level must fit its size, as many programs write that of the first
    level into all. Philips fills levels up to whole tiles, so there the sizes are not compared.
    Declared numbers are rounded, and pyramids are made by simple factors. So the factor is the
    simplest that rounds to the declared one and gives the sizes.
    """
    spacings = philips_spacings(tiff)
    is_philips = len(spacings) == len(levels)
    declared = spacings if is_philips else [_spacing(tiff, level) for level in levels]
    first = declared[0]
    if first is None:
        return ()
    placements = []
    for level, spacing in zip(levels, declared, strict=True):
        fill = _fill(level)
        factor = spacing and _declared(first, spacing, levels[0].size, level.size, fill)
        if factor and (is_philips or _fits(levels[0].size, level.size, factor, fill)):
            placements.append(Placement(factor, (0.0, 0.0)))
        else:
            placements.append(placement_by_size(levels[0].size, level.size))
    return tuple(placements)


def _spacing(tiff: TiffFile, level: Level) -> Spacing | None:
    """Return the pixel spacing of a level, in any unit; None where its page declares none."""
    page: Any = level.series.keyframe
    return aperio_spacing(page.description) if tiff.is_svs else spacing_of_tags(page)


def _declared(
    first: Spacing, own: Spacing, size: HeightWidth, level: HeightWidth, fill: HeightWidth
) -> tuple[float, float]:
    """Return the factor of a level, (row, column), from the declared spacings of pixels."""
    declared = own.y / first.y, own.x / first.x
    apart = (1 + first.rounding) * (1 + own.rounding)
    least, most = max(declared) / apart, min(declared) * apart
    if least > most:
        return declared  # it differs between the axes
    for fills in ((1, 1), fill):
        for below in range(1, MOST_BELOW + 1 if fills == (1, 1) else 2):
            above = range(max(1, ceil(least * below)), floor(most * below) + 1)[:MOST_TRIED]
            middle = (declared[0] + declared[1]) / 2 * below
            for n in sorted(above, key=lambda n: (n & (n - 1) != 0, abs(n - middle))):
                if _fits(size, level, (n / below, n / below), fills):
                    return n / below, n / below
    return declared


def _fill(level: Level) -> HeightWidth:
    page: Any = level.series.keyframe
    return (page.tilelength, page.tilewidth) if page.is_tiled else (1, 1)


def _fits(
    size: HeightWidth, level: HeightWidth, factor: tuple[float, float], fill: HeightWidth
) -> bool:
    """Whether a level's size is that of its factor, rounded or filled up to whole tiles."""
    return all(
        n / f - 1 < m < n / f + max(1, tile)
        for n, m, f, tile in zip(size, level, factor, fill, strict=True)
    )


def openers_of(
    tiff: TiffFile, path: Path, levels: Sequence[Level], plain: Sequence[Callable[[Facts], Source]]
) -> list[Callable[[Facts], Source]]:
    """Return functions that open the levels of a slide, by OpenSlide where Aperio's are unusable.

    Where tiles of the full resolution are missing, Aperio's smaller levels hold arbitrary pixels,
    and OpenSlide computes them from the full resolution.
    """
    lacks = tiff.is_svs and any(
        0 in page.databytecounts for level in levels for page in level.pages if page is not None
    )
    if not lacks:
        return list(plain)
    return [plain[0], *(_by_openslide(path, level, levels) for level in range(1, len(plain)))]


def _by_openslide(path: Path, number: int, levels: Sequence[Level]) -> Callable[[Facts], Source]:
    size = levels[number].size

    def opened(facts: Facts) -> Source:
        try:
            import openslide
        except ImportError:
            what = f"Reading level {number} of {path}, which lacks tiles,"
            raise MissingExtraError(what, "wsi") from None
        from fullconv.sources.slide import SlideSource

        with reading(str(path)):
            slide: Any = openslide.OpenSlide(str(path))
            level = slide.level_dimensions.index(size[::-1])
        return SlideSource(path, slide, level, size, facts)

    return opened
