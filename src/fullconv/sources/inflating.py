"""How large compressed bytes become, found out before they are decompressed.

A few kilobytes can hold gigabytes of zeros, and decoders make room for whatever comes. Formats that
say their size are asked; of the others the bytes are decompressed piece by piece, and thrown away,
until they end or are too many.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

PIECE_BYTES = 1 << 16
"""So much is decompressed at a time, to be counted."""

DEFLATE_RATIO = 1032
"""Deflate makes at most so many bytes of one (zlib's technical notes, "Maximum Compression
Factor")."""

LZMA_MEMORY_BYTES = 1 << 27
"""What LZMA may take for its dictionary, which the bytes themselves ask for."""

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def inflates_beyond(codec: str, data: bytes, limit_bytes: int) -> bool:
    """Whether compressed bytes become more than so many.

    Bytes that cannot be decompressed do not: their decoder says what is wrong with them.
    """
    measure = SIZES.get(codec)
    return measure is not None and measure(data, limit_bytes) > limit_bytes


def inflated(codec: str, data: bytes) -> bytes:
    """Return what zlib or zstd bytes become, after `inflates_beyond` has measured them."""
    import imagecodecs

    if codec == "zstd":
        return bytes(imagecodecs.zstd_decode(data))
    try:
        return zlib.decompress(data)
    except zlib.error:
        return b""


def _said_by_blosc(data: bytes, limit_bytes: int) -> int:
    """Read the header of Blosc 1: flags in four bytes, then the size (README_CHUNK_FORMAT)."""
    return int(struct.unpack_from("<I", data, 4)[0]) if len(data) >= 8 else 0


def _said_by_lz4(data: bytes, limit_bytes: int) -> int:
    """Read the size that numcodecs writes before an LZ4 block."""
    return int(struct.unpack_from("<I", data)[0]) if len(data) >= 4 else 0


def _said_by_zstd(data: bytes, limit_bytes: int) -> int:
    """Read the header of the first frame (RFC 8878, section 3.1.1.1); count where it is silent."""
    if not data.startswith(ZSTD_MAGIC) or len(data) < 6:
        return 0
    flags = data[4]
    is_single, dictionary = bool(flags & 0x20), (0, 1, 2, 4)[flags & 3]
    size_bytes = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    at = 5 + (0 if is_single else 1) + dictionary
    if size_bytes:
        size = int.from_bytes(data[at : at + size_bytes], "little")
        return size + 256 if size_bytes == 2 else size
    import imagecodecs

    try:
        imagecodecs.zstd_decode(data, out=limit_bytes)
    except Exception:  # too small a room, or damaged bytes: either way nothing to decode
        return limit_bytes + 1
    return 0


def _counted(make: Callable[[], Any]) -> Callable[[bytes, int], int]:
    def count(data: bytes, limit_bytes: int) -> int:
        total = 0
        try:
            for piece in _pieces(make, data):
                total += piece
                if total > limit_bytes:
                    break
        except (zlib.error, OSError, EOFError, ValueError):
            return total
        except lzma.LZMAError as error:
            return limit_bytes + 1 if "memory" in str(error).lower() else total
        return total

    return count


def _pieces(make: Callable[[], Any], data: bytes) -> Iterator[int]:
    """Yield how long each piece is, over all streams that follow each other."""
    while data:
        stream, more = make(), data
        while not stream.eof:
            piece = stream.decompress(more, PIECE_BYTES)
            yield len(piece)
            more = getattr(stream, "unconsumed_tail", b"")
            if not piece and not more and (stream.eof or getattr(stream, "needs_input", True)):
                break
        data = stream.unused_data if stream.eof else b""


def _deflate(data: bytes, limit_bytes: int) -> int:
    if len(data) * DEFLATE_RATIO <= limit_bytes:
        return 0
    return _counted(lambda: zlib.decompressobj(47))(data, limit_bytes)  # zlib or gzip, by its start


SIZES: dict[str, Callable[[bytes, int], int]] = {
    "blosc": _said_by_blosc,
    "lz4": _said_by_lz4,
    "zstd": _said_by_zstd,
    "zlib": _deflate,
    "gzip": _deflate,
    "bz2": _counted(bz2.BZ2Decompressor),
    "lzma": _counted(lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES)),
}
"""For each compression of zarr, how its result is measured; at most a little beyond the limit."""
