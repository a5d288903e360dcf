"""Checking that an encoded block of a TIFF claims no more than its file does."""

from __future__ import annotations

import io
import struct

from fullconv.errors import ImageError
from fullconv.geometry.grid import HeightWidth
from fullconv.sources.coded import CODINGS, coding_of
from fullconv.sources.encoded import is_complete, jpeg_frame
from fullconv.sources.inflating import ZSTD_MAGIC, inflated, inflates_beyond
from fullconv.sources.picture import open_header, picture_format
from fullconv.sources.trouble import DECODED_LIMIT_BYTES, damaged

JPEG = (6, 7, 34892, 33007)
JPEG_XR = (22610, 34934)
PICTURES = (50001, 50002, 52546, 34712, 33003, 33004, 33005, 34933)
"""Compressions of TIFF whose blocks are whole pictures: WebP, JPEG XL, JPEG 2000, PNG."""


LERC = 34887
LERC_BYTES, LERC_SPARE_BYTES = 64, 1 << 20
"""The limit of a LERC block that is compressed once more: bytes per pixel, and in addition."""


def check_encoded(name: str, data: bytes, compression: int, block: HeightWidth) -> None:
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


def _too_large(name: str, size: HeightWidth, block: HeightWidth) -> ImageError:
    return damaged(
        name,
        f"a block says that it is {size[1]}x{size[0]} pixels, in an image of blocks of "
        f"{block[1]}x{block[0]}",
    )


def _lerc_size(name: str, data: bytes, limit_bytes: int) -> HeightWidth | None:
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


def _picture_size(data: bytes) -> HeightWidth | None:
    coding = coding_of(data)
    if coding is not None:
        shape = CODINGS[coding].shape(data)
        return shape and shape[0]
    kind = picture_format(data[:64])
    if kind is None:
        return None  # the decoder refuses it
    width, height = open_header(io.BytesIO(data), kind).size
    return height, width
