"""Names and colours of the bands of a TIFF, from its tags and its makers' metadata."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.errors import ImageError
from fullconv.sources.colours import (
    ALPHA,
    GREY,
    RGB,
    Channel,
    Channels,
    by_name,
    of_gdal_xml,
    of_ome,
    of_pam_xml,
)
from fullconv.sources.sidecars import pam_of
from fullconv.sources.tiff_pixels import PALETTE, YCBCR, palette, photometric_of
from fullconv.sources.tiff_pixels import RGB as PHOTOMETRIC_RGB
from fullconv.sources.xml import read_xml

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

GDAL_METADATA = 42112

TRANSPARENT = (1, 2)
"""Values of the tag ExtraSamples for associated and unassociated alpha (TIFF 6.0, section 18)."""


def channels_of(tiff: TiffFile, path: Path, page: TiffPage, pages: int) -> Channels:
    """Return the channels, from the photometric tag and OME, ImageJ and GDAL metadata.

    Parameters
    ----------
    tiff, path
        The file.
    page : TiffPage
        First page of the image.
    pages : int
        Number of pages of the image; if there are several, each is a channel.
    """
    samples = _of_page(page)
    if pages > 1:
        channels = _named(tiff, pages, page) if len(samples) == 1 else (Channel(),) * pages
        return tuple(channel for channel in channels for _ in samples)
    metadata = page.tags.valueof(GDAL_METADATA)
    # Unreadable metadata is ignored: the pixels can be read without it.
    with suppress(ImageError, ValueError):
        if isinstance(metadata, str):
            samples = of_gdal_xml(read_xml(tiff.filename, metadata), samples)
    with suppress(ImageError, ValueError, OSError):
        beside = pam_of(path)
        if beside is not None:
            samples = of_pam_xml(read_xml(str(path), beside), samples)
    if len(samples) == 1 and tiff.is_ome:
        return (
            tuple(replace(samples[0], name=named.name) for named in _named(tiff, 1, page)) or GREY
        )
    return by_name(samples)


def _of_page(page: TiffPage) -> Channels:
    """Return the channels of the samples of one page."""
    if photometric_of(page) == PALETTE:
        return RGB if palette(page).shape[1] == 3 else GREY
    colours = RGB if page.photometric in (PHOTOMETRIC_RGB, YCBCR) else GREY
    more = page.samplesperpixel - len(colours)
    extra = [int(one) in TRANSPARENT for one in page.extrasamples[:more]]
    extra += [False] * (more - len(extra))
    return (*colours, *(ALPHA[0] if is_alpha else Channel() for is_alpha in extra))


def _named(tiff: TiffFile, count: int, page: TiffPage) -> Channels:
    """Return the channels of ``count`` pages, by their names in OME or ImageJ metadata."""
    if tiff.is_ome:
        root = read_xml(tiff.filename, tiff.ome_metadata or "")
        pixels = root.find("{*}Image/{*}Pixels")
        entries = [] if pixels is None else pixels.findall("{*}Channel")
        named = [(one.get("Name") or "", _colour(one.get("Color"))) for one in entries]
        if len(named) == count:
            return of_ome(named, page.bitspersample == 8)
    labels: Any = (tiff.imagej_metadata or {}).get("Labels")
    if isinstance(labels, list) and len(labels) == count:
        return by_name(tuple(Channel(" ".join(str(label).split())) for label in labels))
    return (Channel(),) * count if count > 1 else ()


def _colour(text: str | None) -> tuple[int, int, int] | None:
    """Return red, green and blue of OME's Color: four bytes as one signed number, alpha last."""
    if text is None:
        return None
    red, green, blue, _ = (int(text) & 0xFFFFFFFF).to_bytes(4, "big")
    return red, green, blue
