"""Opening TIFF, BigTIFF, OME-TIFF and SVS: the pages of the image, its levels, and its bands."""

from __future__ import annotations

import logging
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tifffile

from fullconv.errors import ImageError, first_line
from fullconv.geometry.grid import HeightWidth
from fullconv.sources.encoded_blocks import JPEG_XR
from fullconv.sources.ground import find_place
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.sidecars import Place
from fullconv.sources.source import Facts, Source
from fullconv.sources.tiff_blocks import Layer, LevelStorage, find_layers
from fullconv.sources.tiff_channels import channels_of
from fullconv.sources.tiff_pixels import (
    check_colours,
    nodata_of,
)
from fullconv.sources.tiff_resolution import space_of
from fullconv.sources.tiff_series import Level, main_series
from fullconv.sources.tiff_slides import background_of, openers_of, placements_of
from fullconv.sources.trouble import (
    UnreadableKindError,
    check_block,
    check_pixels,
    damaged,
    reading,
)

if TYPE_CHECKING:
    from tifffile import TiffPage

# tifffile's warnings about unusual files go to a user's own log, and never to stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

GEOTIFF = (33550, 33922, 34264, 34735)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, and GeoKeyDirectory (OGC 19-008r4)."""

RPC = 50844
"""RPCCoefficient (GDAL's RFC 22)."""


def open_tiff(path: Path) -> Pyramid:
    """Return the levels of the first image in a TIFF file as a pyramid.

    Raises
    ------
    ImageError
        If the file is damaged, or its pages cannot be read as one image of several bands.
    """
    name = str(path)
    with reading(name), tifffile.TiffFile(path, _multifile=False) as tiff:
        background = background_of(tiff)
        levels = [Level(name, one, background) for one in main_series(name, tiff).levels]
        sizes = tuple(level.size for level in levels)
        check_pixels(name, list(sizes))
        plain = [level.opener(path, layout_of) for level in levels]
        openers = openers_of(tiff, path, levels, plain)
        placements = placements_of(tiff, levels)
        page: Any = levels[0].series.keyframe
        space, said = space_of(name, tiff, page)
        channels = channels_of(tiff, path, page, levels[0].bands)
        place = _place_of(path, tiff, levels[0])
        nodata = nodata_of(page)

    def open_level(level: int, facts: Facts) -> Source:
        return openers[level](facts)

    return Pyramid(
        name,
        sizes,
        open_level,
        space,
        place.georeference,
        placements,
        channels=channels,
        remarks=(*place.remarks, *said),
        nodata=nodata,
    )


def check_claims(path: Path) -> None:
    """Refuse a TIFF that claims more tiles than its bytes can list, or too large tiles.

    OpenSlide allocates memory by these claims, and ends the whole process if there is not enough.

    Raises
    ------
    ImageError
        If the file is refused.
    """
    name = str(path)
    with reading(name), tifffile.TiffFile(path, _multifile=False) as tiff:
        for page in tiff.pages:
            count, file_bytes = prod(page.chunked), tiff.filehandle.size
            if count > file_bytes // 4:  # a position takes at least four bytes
                raise damaged(name, f"it claims {count} blocks in {file_bytes} bytes")
            key: Any = page.keyframe
            if key.is_tiled:
                check_block(name, (key.tilelength, key.tilewidth), key.samplesperpixel)


def layout_of(name: str, page: Any, pages: list[Any]) -> LevelStorage:
    """Return the layout of pages that are stored alike, after checking that they can be read.

    Parameters
    ----------
    name : str
        Name of the file.
    page : tifffile.TiffPage
        Page whose tags hold for all.
    pages : list of tifffile.TiffPage or TiffFrame
        Pages of the bands; each gives as many bands as it has samples.

    Raises
    ------
    ImageError
        If they cannot be read.
    """
    check_colours(name, page)
    if any(one is None for one in pages):
        raise ImageError(
            f"{name} keeps some of its bands in other files; save them together in one file."
        )
    if page.dtype is None or page.dtype.kind not in "buif":
        raise ImageError(
            f"{name} holds {page.dtype or 'numbers of an unknown kind'}, which cannot be read as "
            f"pixels; save it with whole or floating-point numbers."
        )
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    # The size of a decoded block decides how much memory a read needs.
    stored = (page.tilelength, page.tilewidth) if page.is_tiled else _strip(page)
    if min(stored) < 1:
        raise damaged(name, f"its blocks are {stored[1]}x{stored[0]} pixels")
    layout = LevelStorage(
        page=page,
        stored=stored,
        samples=samples,
        layers=tuple(layer for one in pages for layer in _page_layers(name, one, page, stored)),
    )
    check_block(name, layout.block, samples * page.dtype.itemsize)
    if page.compression in JPEG_XR:
        raise UnreadableKindError(
            f"{name} is compressed as JPEG XR, whose decoder ends the whole process on damaged "
            f"files; save it again, with Deflate or JPEG compression."
        )
    try:
        page.decode(None, 0)
    except ValueError as error:
        raise UnreadableKindError(
            f"{name} is compressed or coded in a way that cannot be read ({first_line(error)}); "
            f"save it again, with Deflate or JPEG compression."
        ) from None
    return layout


def _page_layers(name: str, one: Any, page: TiffPage, stored: HeightWidth) -> list[Layer]:
    return find_layers(name, one, _planes(page), (page.imagelength, page.imagewidth), stored)


def _planes(page: TiffPage) -> int:
    return 1 if page.planarconfig == 1 else page.samplesperpixel


def _strip(page: TiffPage) -> HeightWidth:
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _place_of(path: Path, tiff: Any, level: Level) -> Place:
    """Return the place of the page that is read, which need not be the first of the file."""
    read: Any = next(iter(level.pages), None) or level.series.keyframe
    page, first = read.aspage(), tiff.pages.first
    if page.offset == first.offset:
        return find_place(path, _ground_tags(page))
    place = find_place(path, _ground_tags(page), page.offset)
    if place.georeference is None and not place.remarks and _ground_tags(first):
        line = f"{path} lies on the ground by {_ground_tags(first)} of its first page alone"
        return Place(None, (f"{line}, not used here: page {page.index + 1} is read.",))
    return place


def _ground_tags(page: Any) -> str:
    """Return the name of the tags that place a page on the ground; empty without any."""
    if any(tag in page.tags for tag in GEOTIFF):
        return "GeoTIFF tags"
    return "RPC tag" if RPC in page.tags else ""
