"""Interlaced PNGs, which neither libpng nor Pillow reads as needed.

libpng warns about them on stderr. Pillow drops 8 bits of 16, and adds no alpha band for a
transparent colour.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"

PASSES = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)
"""First row and column, and their steps, of each part of the picture (PNG, "Adam7")."""

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by the colour type in the header."""


def is_interlaced(data: bytes) -> bool:
    """Whether a PNG is stored in passes."""
    return data[28] == 1


def decode(data: bytes) -> NDArray[Any]:
    """Return the pixels of an interlaced PNG, ``(H, W)`` or ``(H, W, samples)``.

    Every pass is decoded as a smaller PNG of its own.
    """
    import imagecodecs

    chunks = list(_chunks(data))
    width, height, depth, colour, *others, _ = struct.unpack(">IIBBBBB", chunks[0][1])
    bits = depth * SAMPLES[colour]
    colours = b"".join(_chunk(kind, body) for kind, body in chunks if kind in (b"PLTE", b"tRNS"))
    encoded = b"".join(body for kind, body in chunks if kind == b"IDAT")
    rows = zlib.decompressobj()
    pixels: NDArray[Any] | None = None
    for top, left, down, across in PASSES:
        size = -(-(height - top) // down), -(-(width - left) // across)
        if min(size) < 1:
            continue
        wanted = size[0] * (1 + -(-size[1] * bits // 8))
        part, encoded = _inflated(rows, encoded, wanted)
        header = struct.pack(">IIBBBBB", size[1], size[0], depth, colour, *others, 0)
        whole = SIGNATURE + _chunk(b"IHDR", header) + colours
        whole += _chunk(b"IDAT", zlib.compress(part, 0))
        decoded = imagecodecs.png_decode(whole + _chunk(b"IEND", b""))
        if pixels is None:
            pixels = np.empty((height, width, *decoded.shape[2:]), decoded.dtype)
        pixels[top::down, left::across] = decoded
    if pixels is None:
        raise ValueError("no pixels")
    return pixels


def _inflated(rows: Any, encoded: bytes, wanted: int) -> tuple[bytes, bytes]:
    """Return the next ``wanted`` decompressed bytes, and the compressed bytes that remain."""
    part = rows.decompress(encoded, wanted)
    if len(part) < wanted:
        raise ValueError("it ends early")
    return part, rows.unconsumed_tail


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        body, checksum = data[at + 8 : end], data[end : end + 4]
        if zlib.crc32(kind + body) != int.from_bytes(checksum, "big") or len(checksum) < 4:
            raise ValueError(f"its part {kind!r} is damaged")
        yield kind, body
        at = end + 4


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
