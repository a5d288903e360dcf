"""Reading the headers of encoded blocks, before and instead of decoding them.

A few hundred bytes can claim to be a picture of gigabytes, and decoders believe them. JPEG decoders
fill the missing part of a picture with grey, without an error.
"""

from __future__ import annotations

import io
import re
import struct
from typing import NamedTuple

from fullconv.errors import ImageError
from fullconv.geometry import Pair
from fullconv.sources.inflating import ZSTD_MAGIC, inflated, inflates_beyond
from fullconv.sources.trouble import DECODED_LIMIT_BYTES, damaged

MARKER = re.compile(rb"\xff([^\x00\xff])")
LS_FRAME, SCAN = 0xF7, 0xDA
"""The markers of a JPEG-LS frame (0xC0 to 0xCF in other JPEGs), and of a scan's header."""

ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a length after them (ITU-T T.81, table B.1)."""

JPEG = (6, 7, 34892, 33007)
JPEG_XR = (22610, 34934)
PICTURES = (50001, 50002, 52546, 34712, 33003, 33004, 33005, 34933)
"""Compressions of TIFF whose blocks are whole pictures: WebP, JPEG XL, JPEG 2000, PNG."""


LERC = 34887
LERC_BYTES, LERC_SPARE_BYTES = 64, 1 << 20
"""The limit of a LERC block that is compressed once more: bytes per pixel, and in addition."""

PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def check_encoded(name: str, data: bytes, compression: int, block: Pair) -> None:
    """Refuse a block that is cut short, or claims a larger size than the file does.

    Raises
    ------
    ImageError
        If the block is refused; it gives the reason.
    """
    if compression in JPEG:
        if not is_complete(data):
            raise damaged(name, "a JPEG block ends early")
        frame = jpeg_frame(data)
        size = frame.size if frame else None
    elif compression in PICTURES:
        size = _picture_size(data)
    elif compression == LERC:
        size = _lerc_size(name, data, LERC_BYTES * block[0] * block[1] + LERC_SPARE_BYTES)
    else:
        return  # decoders of other compressions stop at the size that they are given
    if size is not None and (size[0] > block[0] or size[1] > block[1]):
        raise _too_large(name, size, block)


def _too_large(name: str, size: Pair, block: Pair) -> ImageError:
    return damaged(
        name,
        f"a block says that it is {size[1]}x{size[0]} pixels, in an image of blocks of "
        f"{block[1]}x{block[0]}",
    )


def is_complete(jpeg: bytes) -> bool:
    """Whether an end-of-image marker follows the last scan of a JPEG.

    Inside a scan 0xFF is always followed by 0 or a restart marker (ITU-T T.81, B.1.1.5), so the
    marker cannot occur there by chance. A thumbnail before the scan has a marker of its own.
    """
    return jpeg.rfind(b"\xff\xd9") > jpeg.rfind(b"\xff\xda")


class Frame(NamedTuple):
    """The frame header of a JPEG (ITU-T T.81, B.2.2) or JPEG-LS (ITU-T T.87, C.2.2)."""

    is_ls: bool
    bits: int
    size: Pair
    bands: int


def jpeg_frame(jpeg: bytes) -> Frame | None:
    """Return the frame header of a JPEG; None without one.

    The search skips fill bytes and whatever else stands before a marker, as decoders do.
    """
    match = MARKER.search(jpeg, 2) if jpeg.startswith(b"\xff\xd8") else None
    while match:
        marker, at = match[1][0], match.end()
        if marker == LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            if at + 8 > len(jpeg):
                return None
            bits, height, width, bands = struct.unpack_from(">BHHB", jpeg, at + 2)
            return Frame(marker == LS_FRAME, bits, (height, width), bands)
        if marker == SCAN:
            return None
        if marker not in ALONE:
            at += int.from_bytes(jpeg[at : at + 2], "big")
        match = MARKER.search(jpeg, at)
    return None


def _lerc_size(name: str, data: bytes, limit_bytes: int) -> Pair | None:
    """Read the header of LERC 2 (Lerc2.h, HeaderInfo), which may be inside Deflate or Zstandard."""
    if not data.startswith(b"Lerc2 "):
        kind = "zstd" if data.startswith(ZSTD_MAGIC) else "zlib"
        if inflates_beyond(kind, data, limit_bytes):
            raise damaged(name, f"a block of it becomes more than {limit_bytes / 1e6:.0f} MB")
        data = inflated(kind, data)
        if not data.startswith(b"Lerc2 "):
            raise damaged(name, "a block of it is no LERC 2")
    if len(data) < 22:
        raise damaged(name, "a block of LERC ends early")
    (version,) = struct.unpack_from("<i", data, 6)
    at = 14 if version >= 3 else 10
    height, width, depth = (max(0, n) for n in struct.unpack_from("<iii", data.ljust(26), at))
    if version >= 4 and height * width * depth * 8 > DECODED_LIMIT_BYTES:
        raise damaged(name, f"a block of LERC says that it has {depth} numbers in a pixel")
    return height, width


def png_pixels(png: bytes) -> bytes:
    """Return a PNG without the chunks that do not affect its pixels (third edition, section 5.6).

    Decoders inflate colour profiles and texts, and print warnings about them.
    """
    parts, at = [png[:8]], 8
    while at + 8 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] in PIXEL_CHUNKS:
            parts.append(png[at:end])
        at = end
    return b"".join(parts)


def _picture_size(data: bytes) -> Pair | None:
    from fullconv.sources.coded import CODINGS, coding_of
    from fullconv.sources.picture import open_header, picture_format

    coding = coding_of(data)
    if coding is not None:
        shape = CODINGS[coding].shape(data)
        return shape and shape[0]
    kind = picture_format(data[:64])
    if kind is None:
        return None  # the decoder refuses it
    width, height = open_header(io.BytesIO(data), kind).size
    return height, width
