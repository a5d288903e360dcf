"""Measuring compressed bytes before they are decompressed.

A few kilobytes can hold gigabytes of zeros, and decoders allocate whatever they need. Where the
format states its size, the header is read. Otherwise the bytes are decompressed piece by piece,
and discarded, until they end or exceed the limit.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

PIECE_BYTES = 1 << 16
"""The number of bytes that are decompressed at a time, to be counted."""

DEFLATE_RATIO = 1032
"""The most bytes that one byte of Deflate becomes (zlib's technical notes, "Maximum Compression
Factor")."""

LZMA_MEMORY_BYTES = 1 << 27
"""The limit of LZMA's dictionary, whose size the compressed bytes set."""

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def inflates_beyond(codec: str, data: bytes, limit_bytes: int) -> bool:
    """Whether compressed bytes become more than ``limit_bytes``.

    It is False for bytes that cannot be decompressed: the decoder reports what is wrong.
    """
    measure = SIZES.get(codec)
    return measure is not None and measure(data, limit_bytes) > limit_bytes


def inflated(codec: str, data: bytes) -> bytes:
    """Decompress zlib or zstd bytes that `inflates_beyond` has measured."""
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
    """Read the size in the first frame's header (RFC 8878, section 3.1.1.1), or try to decode."""
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
    except Exception:  # the output is too small, or the bytes are damaged: neither is decoded
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
    """Yield the length of each decompressed piece, over all concatenated streams."""
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
"""For each compression of zarr, a function that returns the decompressed size; it may stop counting
just beyond the limit."""
