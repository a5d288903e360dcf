"""Pictures that imagecodecs reads and Pillow does not: JPEG XL and LS, deep JPEG, Radiance.

JPEG XR is not among them: its only free decoder ends the whole process on some damaged files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import HeightWidth
from fullconv.sources.encoded import is_complete, jpeg_frame

JXL_CODESTREAM, JXL_CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"

JXL_HEADER_BYTES = 64
"""Enough bytes for the part of a JPEG XL header with its size and the numbers of a pixel."""


@dataclass(frozen=True)
class Coding:
    """How to recognise a format, measure a picture before it is decoded, and decode it.

    Attributes
    ----------
    starts : tuple of bytes
        First bytes of such files; empty where these do not identify the format.
    codec : str
        Name of the codec in imagecodecs.
    shape : callable
        Takes encoded bytes and returns ``(H, W)``, and the largest possible size of a decoded pixel
        in bytes; None where the header does not give them.
    is_whole : callable
        Takes encoded bytes and returns whether they are complete, where the decoder does not check.
    options : dict
        Keywords of the decoder.
    """

    starts: tuple[bytes, ...]
    codec: str
    shape: Callable[[bytes], tuple[HeightWidth, int] | None]
    is_whole: Callable[[bytes], bool] = lambda _: True
    options: Mapping[str, Any] = field(default_factory=dict)

    def decode(self, data: bytes) -> NDArray[Any]:
        """Return the pixels, ``(H, W)`` or ``(H, W, bands)``."""
        import imagecodecs

        return np.asarray(getattr(imagecodecs, f"{self.codec}_decode")(data, **self.options))


def coding_of(data: bytes) -> str | None:
    """Return which of `CODINGS` encoded bytes are; None if none.

    The first 64 bytes suffice, except for what begins like a JPEG.
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


def _shape_of_jpeg(data: bytes) -> tuple[HeightWidth, int] | None:
    frame = jpeg_frame(data)
    return (frame.size, frame.bands * (2 if frame.bits > 8 else 1)) if frame else None


def _shape_of_hdr(data: bytes) -> tuple[HeightWidth, int] | None:
    """Read the line after the header of a Radiance picture, which gives its size."""
    line = re.search(rb"\n\n-Y (\d{1,9}) \+X (\d{1,9})\n", data[: 1 << 16])
    return ((int(line[1]), int(line[2])), 12) if line else None


class _Bits:
    """A reader of bits, from the lowest of the first byte on (ISO/IEC 18181-1, annex B)."""

    def __init__(self, data: bytes) -> None:
        self.rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """Return the next ``count`` bits as a number."""
        number = self.rest & ((1 << count) - 1)
        self.rest >>= count
        return number

    def pick(self, *offsets_and_bits: tuple[int, int]) -> int:
        """Choose one of four distributions by the next two bits, and return its number.

        A distribution ``(offset, bits)`` stands for ``offset`` plus a number of ``bits`` bits.
        """
        offset, bits = offsets_and_bits[self.take(2)]
        return offset + self.take(bits)


def _shape_of_jxl(data: bytes) -> tuple[HeightWidth, int] | None:
    """Read the size and the number of channels of a JPEG XL (ISO/IEC 18181-1, annex D)."""
    stream = data if data.startswith(JXL_CODESTREAM) else _codestream(data)
    if not stream.startswith(JXL_CODESTREAM):
        return None
    bits = _Bits(stream[2:JXL_HEADER_BYTES])
    size = _jxl_size(bits)
    if bits.take(1):  # all other fields have their defaults
        return size, 3
    if bits.take(1):  # orientation, intrinsic size, preview, animation
        bits.take(3)
        if bits.take(1):
            _jxl_size(bits)
        if bits.take(1):
            return None
        if bits.take(1):
            bits.pick((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.pick((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.pick((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    if bits.take(1):  # floating-point numbers, with a field for the bits of the exponent
        deep = bits.pick((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
    else:
        deep = bits.pick((8, 0), (10, 0), (12, 0), (1, 6))
    bits.take(1)
    others = bits.pick((0, 0), (1, 0), (2, 4), (1, 12))
    return size, (3 + others) * (1 if deep <= 8 else 2 if deep <= 16 else 4)


def _jxl_size(bits: _Bits) -> HeightWidth:
    in_eights = bits.take(1)

    def extent() -> int:
        if in_eights:
            return 8 * (bits.take(5) + 1)
        return bits.pick((1, 9), (1, 13), (1, 18), (1, 30))

    height = extent()
    ratio = bits.take(3)
    if not ratio:
        return height, extent()
    above, below = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height, height * above // below


def _codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream in a container (ISO/IEC 18181-2, 9)."""
    return bytes(islice(chain.from_iterable(_boxes(data)), JXL_HEADER_BYTES))


def _boxes(data: bytes) -> Iterator[bytes]:
    """Yield the part of the codestream in each box of a container, in order."""
    at = 0
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = at + length if length else len(data)  # 0 marks the last box
        if kind in (b"jxlc", b"jxlp"):
            # A partial box (jxlp) begins with its number, of four bytes.
            yield data[at + head + (4 if kind == b"jxlp" else 0) : end][:JXL_HEADER_BYTES]
        if end < at + head:
            return
        at = end


CODINGS = {
    "JPEG XL": Coding(
        (JXL_CODESTREAM, JXL_CONTAINER),
        "jpegxl",
        _shape_of_jxl,
        options={"index": 0, "keeporientation": True},  # the first picture, as it is stored
    ),
    "Radiance": Coding((b"#?RADIANCE\n", b"#?RGBE\n"), "rgbe", _shape_of_hdr),
    "JPEG-LS": Coding((), "jpegls", _shape_of_jpeg, is_complete),
    "deep JPEG": Coding((), "jpeg", _shape_of_jpeg, is_complete),
}
"""The formats, by name."""
