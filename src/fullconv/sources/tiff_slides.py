"""Whole slides that are TIFFs: what Philips and Aperio leave out, and how their levels lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from fullconv.errors import MissingExtraError
from fullconv.geometry import Pair
from fullconv.placement import Placement
from fullconv.sources.source import Facts, Source
from fullconv.sources.trouble import reading

if TYPE_CHECKING:
    from tifffile import TiffFile

    from fullconv.sources.tiff_series import Level

WHITE = 255

SPACING = "Attribute[@Name='DICOM_PIXEL_SPACING']"
REPRESENTATION = ".//DataObject[@ObjectType='PixelDataRepresentation']"


def background_of(tiff: TiffFile) -> int | None:
    """Return what tiles show that were never written: the glass, which both makers leave out."""
    return WHITE if tiff.is_philips or tiff.is_svs else None


def philips_spacings(tiff: TiffFile) -> list[tuple[float, float]]:
    """Return millimetres between the pixels of every level, (row, column), of a Philips slide."""
    xml = tiff.philips_metadata
    if xml is None:
        return []
    root = ElementTree.fromstring(xml)
    held = root.findall(f"{REPRESENTATION}/{SPACING}") or root.findall(f".//{SPACING}")
    numbers = [[float(n) for n in (one.text or "").replace('"', "").split()] for one in held]
    return [(pair[0], pair[1]) for pair in numbers if len(pair) == 2 and min(pair) > 0]


def placements_of(tiff: TiffFile, sizes: Sequence[Pair]) -> tuple[Placement, ...]:
    """Return where the levels of a Philips slide lie by their spacing; none for other files.

    Their sizes do not tell: levels are filled up to whole tiles.
    """
    spacings = philips_spacings(tiff)
    if len(spacings) != len(sizes):
        return ()
    first = spacings[0]
    return tuple(
        Placement((spacing[0] / first[0], spacing[1] / first[1]), (0.0, 0.0))
        for spacing in spacings
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
