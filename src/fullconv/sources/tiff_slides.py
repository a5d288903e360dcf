"""Whole slides that are TIFFs: what Philips and Aperio leave out, and how their levels lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.errors import MissingExtraError
from fullconv.geometry import Pair
from fullconv.placement import Placement
from fullconv.sources.pyramid import placement_by_size
from fullconv.sources.source import Facts, Source
from fullconv.sources.tiff_resolution import of_aperio, philips_spacings, spacing_of_tags
from fullconv.sources.trouble import reading

if TYPE_CHECKING:
    from tifffile import TiffFile

    from fullconv.sources.tiff_series import Level

WHITE = 255


def background_of(tiff: TiffFile) -> int | None:
    """Return what tiles show that were never written: the glass, which both makers leave out."""
    return WHITE if tiff.is_philips or tiff.is_svs else None


def placements_of(tiff: TiffFile, levels: Sequence[Level]) -> tuple[Placement, ...]:
    """Return where levels lie by the resolution that each declares; none where they do not.

    Philips' sizes do not tell it, for levels are filled up to whole tiles. Others are believed
    where their sizes fit: many programs write the resolution of the first level into all.
    """
    spacings = philips_spacings(tiff)
    is_philips = len(spacings) == len(levels)
    declared = spacings if is_philips else [_spacing(tiff, level) for level in levels]
    first = declared[0]
    if first is None:
        return ()
    found = []
    for level, spacing in zip(levels, declared, strict=True):
        factor = spacing and (spacing[0] / first[0], spacing[1] / first[1])
        if factor and (is_philips or _fits(levels[0].size, level, factor)):
            found.append(Placement(factor, (0.0, 0.0)))
        else:
            found.append(placement_by_size(levels[0].size, level.size))
    return tuple(found)


def _spacing(tiff: TiffFile, level: Level) -> tuple[float, float] | None:
    """Return the length of a level's pixels, in whatever unit, where its page says so."""
    page: Any = level.series.keyframe
    return of_aperio(page.description) if tiff.is_svs else spacing_of_tags(page)


def _fits(size: Pair, level: Level, factor: tuple[float, float]) -> bool:
    """Whether a level is as large as its resolution says: rounded, or filled up to whole tiles."""
    page: Any = level.series.keyframe
    fill = (page.tilelength, page.tilewidth) if page.is_tiled else (1, 1)
    return all(
        n / f - 1 < m < n / f + max(1, tile)
        for n, m, f, tile in zip(size, level.size, factor, fill, strict=True)
    )


def openers_of(
    tiff: TiffFile, path: Path, levels: Sequence[Level], plain: Sequence[Callable[[Facts], Source]]
) -> list[Callable[[Facts], Source]]:
    """Return what opens the levels of a slide; OpenSlide where Aperio's are not to be trusted.

    Where tiles of the full resolution are missing, Aperio's smaller levels hold rubbish there, and
    OpenSlide makes them anew.
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
