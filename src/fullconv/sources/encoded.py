"""Reading the headers of encoded blocks, before and instead of decoding them.

A few hundred bytes can claim to be a picture of gigabytes, and decoders believe them. JPEG decoders
fill the missing part of a picture with grey, without an error.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from fullconv.geometry.grid import HeightWidth

MARKER = re.compile(rb"\xff([^\x00\xff])")
LS_FRAME, SCAN = 0xF7, 0xDA
"""The markers of a JPEG-LS frame (0xC0 to 0xCF in other JPEGs), and of a scan's header."""

ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a length after them (ITU-T T.81, table B.1)."""

PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


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
    size: HeightWidth
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
