"""Pictures that imagecodecs reads and Pillow does not: JPEG XL, XR and LS, deep JPEG, Radiance."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry import Pair
from fullconv.sources.encoded import is_complete, jpeg_frame

FOUR_FLOATS = 16
"""Bytes of a pixel of up to four numbers of single precision, as decoders hold them."""

JXL_CODESTREAM, JXL_CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"

JXR_WIDTH, JXR_HEIGHT, JXR_OFFSET, JXR_BYTES = 0xBC80, 0xBC81, 0xBCC0, 0xBCC1
"""Tags of a JPEG XR file (ITU-T T.832, A.7)."""


@dataclass(frozen=True)
class Coding:
    """How one of these kinds is told, measured before it is decoded, and decoded.

    Attributes
    ----------
    starts : tuple of bytes
        What such files begin with; none where that does not tell.
    codec : str
        What imagecodecs calls it.
    size : callable
        Returns ``(H, W)`` of encoded bytes, None where they do not say it.
    pixel_bytes : callable
        Returns the bytes of a decoded pixel, at most.
    is_whole : callable
        Tells whether encoded bytes come to their end, where the decoder would not.
    options : dict
        Keywords of the decoder.
    """

    starts: tuple[bytes, ...]
    codec: str
    size: Callable[[bytes], Pair | None]
    pixel_bytes: Callable[[bytes], int] = lambda _: FOUR_FLOATS
    is_whole: Callable[[bytes], bool] = lambda _: True
    options: Mapping[str, Any] = field(default_factory=dict)

    def decode(self, data: bytes) -> NDArray[Any]:
        """Return the pixels, ``(H, W)`` or ``(H, W, bands)``."""
        import imagecodecs

        return np.asarray(getattr(imagecodecs, f"{self.codec}_decode")(data, **self.options))


def coding_of(data: bytes) -> str | None:
    """Return which of these kinds encoded bytes are; None if none.

    The first 64 bytes will do, but for what begins as every JPEG does.
    """
    for kind, coding in CODINGS.items():
        if data.startswith(coding.starts):
            return kind
    frame = jpeg_frame(data)
    if frame is None:
        return None
    if frame.is_ls:
        return "JPEG-LS"
    return "deep JPEG" if frame.bits > 8 and frame.bands in (1, 3) else None


def _frame_size(data: bytes) -> Pair | None:
    frame = jpeg_frame(data)
    return frame.size if frame else None


def _frame_bytes(data: bytes) -> int:
    frame = jpeg_frame(data)
    return frame.bands * (2 if frame.bits > 8 else 1) if frame else FOUR_FLOATS


def _jxl_size(data: bytes) -> Pair | None:
    """Return ``(H, W)`` from the size header of JPEG XL (ISO/IEC 18181-1, annex D)."""
    stream = data[2:] if data.startswith(JXL_CODESTREAM) else _jxl_stream(data)
    bits, at = int.from_bytes(stream[:12], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> (at - count) & ((1 << count) - 1)

    def extent() -> int:
        return 8 * (take(5) + 1) if in_eights else take((9, 13, 18, 30)[take(2)]) + 1

    in_eights = take(1)
    height = extent()
    ratio = take(3)
    if not ratio:
        return height, extent()
    above, below = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height, height * above // below


def _jxl_stream(data: bytes) -> bytes:
    """Return what follows the mark of the codestream in a container (ISO/IEC 18181-2, 9)."""
    at = 0
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            # A part begins with its number, of four bytes.
            return data[at + head + (4 if kind == b"jxlp" else 0) + 2 :][:12]
        if length < head:  # 0 says that it is the last
            break
        at += length
    return b""


def _jxr_size(data: bytes) -> Pair | None:
    held = _jxr_directory(data)
    if JXR_WIDTH not in held or JXR_HEIGHT not in held:
        return None
    return held[JXR_HEIGHT], held[JXR_WIDTH]


def _jxr_is_whole(data: bytes) -> bool:
    held = _jxr_directory(data)
    return held.get(JXR_OFFSET, 0) + held.get(JXR_BYTES, 0) <= len(data)


def _jxr_directory(data: bytes) -> dict[int, int]:
    """Return the numbers that the directory of a JPEG XR file holds (ITU-T T.832, A.5)."""
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    held = {}
    for at in range(first + 2, first + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from("<HH", data, at)
        # A number of 16 or 32 bits stands in the entry itself.
        (held[tag],) = struct.unpack_from("<I" if kind == 4 else "<H", data, at + 8)
    return held


def _hdr_size(data: bytes) -> Pair | None:
    """Return ``(H, W)`` from the line that ends the header of a Radiance picture."""
    found = re.search(rb"\n\n-Y (\d{1,9}) \+X (\d{1,9})\n", data[: 1 << 16])
    return (int(found[1]), int(found[2])) if found else None


CODINGS = {
    "JPEG XL": Coding(
        (JXL_CODESTREAM, JXL_CONTAINER),
        "jpegxl",
        _jxl_size,
        options={"index": 0, "keeporientation": True},  # the first picture, as it is stored
    ),
    "JPEG XR": Coding((b"II\xbc\x01",), "jpegxr", _jxr_size, is_whole=_jxr_is_whole),
    "Radiance": Coding((b"#?RADIANCE\n", b"#?RGBE\n"), "rgbe", _hdr_size),
    "JPEG-LS": Coding((), "jpegls", _frame_size, _frame_bytes, is_complete),
    "deep JPEG": Coding((), "jpeg", _frame_size, _frame_bytes, is_complete),
}
"""The kinds, by name."""
