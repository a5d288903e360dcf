"""Conversion of the stored numbers of a TIFF to pixels: bits, palettes, inverted grey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.sources.palettes import Table, look_up, reduced
from fullconv.sources.trouble import UnreadableKindError, damaged

if TYPE_CHECKING:
    from tifffile import TiffPage

GREY_INVERTED, GREY, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
"""Values of the tag PhotometricInterpretation (TIFF 6.0, section 8) that are read."""


GDAL_NODATA = 42113

JPEG = (6, 7)
"""Compressions, old-style and new."""


def photometric_of(page: TiffPage) -> int:
    """Return the photometric interpretation of a page: "palette" also for a grey page with one.

    GDAL reads such pages so. When it writes a palette after the pixels, it leaves the tag at grey.
    """
    tag = int(page.photometric)
    is_palette = (
        tag in (GREY, GREY_INVERTED)
        and page.samplesperpixel == 1
        and page.colormap is not None
        and np.dtype(page.dtype).kind in "bu"
    )
    return PALETTE if is_palette else tag


def check_colours(name: str, page: TiffPage) -> None:
    """Refuse colour spaces that are not read.

    Raises
    ------
    UnreadableKindError
        If the colours are neither grey, RGB, a palette, nor YCbCr in JPEG.
    ImageError
        If a palette is missing.
    """
    colours = getattr(page.photometric, "name", str(page.photometric))
    is_luma = page.photometric == YCBCR
    is_bare_luma = is_luma and (page.compression not in JPEG or page.planarconfig == 2)
    if page.photometric not in (GREY_INVERTED, GREY, RGB, PALETTE, YCBCR) or is_bare_luma:
        raise UnreadableKindError(
            f"{name} is in the colour space {colours}"
            f"{' without JPEG compression' if is_bare_luma else ''}, which fullconv does not "
            f"read; save it in RGB or grey."
        )
    if page.photometric == PALETTE and (page.samplesperpixel > 1 or page.colormap is None):
        raise damaged(name, "its palette is missing or does not fit")


def has_colours(page: TiffPage) -> bool:
    """Whether a page has a palette of colours, other than a ramp of grey."""
    return photometric_of(page) == PALETTE and palette(page).shape[1] == 3


def as_stored(number: float, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return a number as an array of ``dtype``; None if it cannot represent the number."""
    with np.errstate(all="ignore"):
        stored = np.array(number).astype(dtype)
    return stored if dtype.kind == "f" or float(stored) == number else None


def nodata_of(page: TiffPage) -> float | None:
    """Return the number that marks pixels without data, from GDAL's tag 42113; None without one.

    It is converted as pixels are, except that a palette of colours keeps the number itself.
    """
    try:
        number = as_stored(float(page.tags.valueof(GDAL_NODATA)), np.dtype(page.dtype))
    except (TypeError, ValueError):
        return None
    if number is None:
        return None
    return float(number if has_colours(page) else finish(page, number[None, None, None])[0, 0, 0])


def pixels_dtype(page: TiffPage) -> np.dtype[Any]:
    """Return the dtype of pixels as they are read: bits and palettes become 8-bit numbers."""
    if photometric_of(page) == PALETTE or page.bitspersample < 8:
        return np.dtype(np.uint8)
    return np.dtype(page.dtype).newbyteorder("=")


def bands_of(page: TiffPage, samples: int) -> int:
    """Return the number of bands that samples stored together become."""
    return palette(page).shape[1] if photometric_of(page) == PALETTE else samples


def finish(page: TiffPage, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return decoded numbers ``(h, w, samples)`` as pixels.

    Grey of 1, 2 or 4 bits is spread over 0 to 255. Grey is inverted where 0 means white. Indices
    of a palette become its colours, in 8 bits, or grey if it is a ramp of grey.
    """
    if photometric_of(page) == PALETTE:
        return look_up(palette(page), pixels[:, :, 0])
    bits = page.bitspersample
    if bits < 8:
        pixels = pixels.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
        bits = 8
    if page.photometric == GREY_INVERTED and pixels.dtype.kind == "u":
        pixels = np.subtract(2**bits - 1, pixels, dtype=pixels.dtype)
    return pixels


def is_plain_jpeg(page: TiffPage) -> bool:
    """Whether JPEG blocks hold one or three bands that are not colours.

    The blocks themselves do not say so, and decoders mistake three bands for luma and chroma, or
    one plane of RGB for a colour picture.
    """
    is_jpeg = page.compression in JPEG
    return is_jpeg and (
        page.planarconfig == 2
        or (page.photometric in (GREY, GREY_INVERTED) and page.samplesperpixel == 3)
    )


def jpeg_samples(page: TiffPage, data: bytes, tables: bytes | None) -> NDArray[Any]:
    """Return the samples ``(h, w, n)`` of a block (`is_plain_jpeg`), without colour conversion."""
    import imagecodecs

    colours = 1 if page.planarconfig == 2 else RGB
    samples: NDArray[Any] = imagecodecs.jpeg_decode(
        data,
        bitspersample=page.bitspersample,
        tables=tables,
        colorspace=colours,
        outcolorspace=colours,
    )
    return samples if samples.ndim == 3 else samples[:, :, None]


def palette(page: TiffPage) -> Table:
    """Return the palette of a page, reduced to grey where it is a ramp of grey."""
    colours = np.asarray(page.colormap).T
    # The standard has 16 bits per colour, but some writers store 8.
    return reduced((colours >> 8 if colours.max() > 255 else colours).astype(np.uint8))
