"""Limits of a zarr array's decoded chunks, from its codecs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fullconv.errors import ImageError
from fullconv.sources.inflating import SIZES, inflates_beyond
from fullconv.sources.trouble import DECODED_LIMIT_BYTES, damaged

if TYPE_CHECKING:
    import zarr

SPARE_BYTES = 1 << 26
"""The least limit: smaller chunks may grow to this size, and zarr decodes several at a time."""

ROOM = 2
"""The limit of a chunk, in sizes of its numbers. Compressed noise is a little larger than its
numbers, and filters may store numbers in more bits."""

HARMLESS = (
    *("bytes", "endian", "transpose", "crc32c", "crc32", "adler32", "fletcher32", "shuffle"),
    *("jenkins_lookup3", "delta", "bitround", "quantize", "fixedscaleoffset", "astype"),
    "packbits",
)
"""Codecs that compute, and hardly enlarge their input. Codecs that create objects are left out (one
of them, pickle, runs code), and those whose output cannot be measured first (zfpy, pcodec,
pictures)."""

SHARDS = "sharding_indexed"

INDEX_BYTES = 1 << 28
"""The limit of the table of a shard's chunks, which takes 16 bytes per chunk."""


@dataclass(frozen=True)
class Shards:
    """The table of a shard's chunks (zarr v3, codec ``sharding_indexed``, version 1.0).

    Attributes
    ----------
    count : int
        Number of chunks.
    is_first, is_summed : bool
        Whether the table stands before the chunks, and whether a checksum of four bytes follows it.
    """

    count: int
    is_first: bool
    is_summed: bool

    def chunks(self, shard: bytes) -> Iterator[bytes]:
        """Yield the encoded chunks of a whole shard."""
        table, end = 16 * self.count, 4 if self.is_summed else 0
        start = 0 if self.is_first else max(0, len(shard) - table - end)
        places = np.frombuffer(shard[start : start + table].ljust(table, b"\xff"), "<u8")
        for offset, size in places.reshape(-1, 2).tolist():
            if offset < len(shard):  # all bits are set in a chunk that was never written
                yield shard[offset : offset + size]


@dataclass(frozen=True)
class Limit:
    """The limit of the chunks of one array.

    Attributes
    ----------
    codec : str or None
        Codec that compresses them.
    decoded_bytes : int
        Largest size of a decompressed chunk, in bytes.
    shards : Shards or None
        Table of the chunks in a shard; None without shards.
    """

    codec: str | None
    decoded_bytes: int
    shards: Shards | None = None

    def check(self, name: str, data: bytes, is_whole: bool) -> None:
        """Refuse a chunk that would exceed the limit, or a shard that holds one."""
        chunks = self.shards.chunks(data) if self.shards and is_whole else [data]
        for chunk in chunks if self.codec else ():
            if inflates_beyond(self.codec or "", chunk, self.decoded_bytes):
                raise damaged(
                    name,
                    f"a chunk of it becomes more than {self.decoded_bytes / 1e6:.0f} MB, the most "
                    f"that its size allows",
                )


def limit_of(name: str, array: zarr.Array[Any]) -> Limit:
    """Return the limit of an array's chunks, after checking its codecs.

    Raises
    ------
    ImageError
        If a codec is not known to be harmless, or a chunk is too large.
    """
    outer = tuple(getattr(array, "shards", None) or array.chunks)
    for shape in (outer, array.chunks):
        decoded_bytes = prod(shape) * array.dtype.itemsize
        if decoded_bytes > DECODED_LIMIT_BYTES:
            raise ImageError(
                f"{name} is stored in chunks of {'x'.join(map(str, shape))} numbers, "
                f"{decoded_bytes / 1e9:.1f} GB each decoded; fullconv reads chunks of up to "
                f"{DECODED_LIMIT_BYTES / 1e9:.1f} GB. Save it in smaller ones."
            )
    stored = array.metadata.to_dict()
    codecs = [_Codec.of(entry) for entry in _listed(stored, "filters", "compressor", "codecs")]
    shards = None
    if any(codec.name == SHARDS for codec in codecs):
        shards, codecs = _shards(name, codecs, outer, array.chunks)
    for codec in codecs:
        if codec.name not in (*HARMLESS, *SIZES) or not codec.keeps_numbers:
            raise _unread(name, codec.name)
    packed = [codec.name for codec in codecs if codec.name in SIZES]
    if len(packed) > 1:
        raise _unread(name, " and ".join(packed))
    most = max(SPARE_BYTES, ROOM * prod(array.chunks) * array.dtype.itemsize)
    return Limit(packed[0] if packed else None, most, shards)


@dataclass(frozen=True)
class _Codec:
    """A codec of an array's chunks: its name, without zarr's prefix, and its settings."""

    name: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Codec:
        """Read a codec from metadata of zarr version 2 or 3."""
        name = str(entry.get("id") or entry.get("name")).removeprefix("numcodecs.")
        settings: Any = entry.get("configuration", entry)
        return cls(name, settings)

    @property
    def keeps_numbers(self) -> bool:
        """Whether the types in its settings, if any, are all numbers."""
        kinds = [self.settings.get(key) for key in ("dtype", "astype", "encode_dtype")]
        return all(
            np.dtype(kind).kind in "buif"
            for kind in (*kinds, self.settings.get("decode_dtype"))
            if kind is not None
        )


def _listed(stored: Mapping[str, Any], *names: str) -> Iterator[Mapping[str, Any]]:
    for name in names:
        entries = stored.get(name) or ()
        yield from (entries if isinstance(entries, list | tuple) else [entries])


def _shards(
    name: str, codecs: list[_Codec], shard: tuple[int, ...], chunk: tuple[int, ...]
) -> tuple[Shards, list[_Codec]]:
    """Return the table of a shard, and the codecs of the chunks in it."""
    first = codecs[0]
    within = [_Codec.of(entry) for entry in _listed(first.settings, "codecs")]
    index = [_Codec.of(entry).name for entry in _listed(first.settings, "index_codecs")]
    if len(codecs) > 1 or first.name != SHARDS or index not in (["bytes"], ["bytes", "crc32c"]):
        raise _unread(name, f"{SHARDS} with {', '.join([*index, *(c.name for c in codecs[1:])])}")
    count = prod(whole // max(1, part) for whole, part in zip(shard, chunk, strict=True))
    if 16 * count > INDEX_BYTES:
        raise damaged(name, f"a shard of it lists {count} chunks")
    is_first = str(first.settings.get("index_location", "end")).endswith("start")
    return Shards(count, is_first, "crc32c" in index), within


def _unread(name: str, how: str) -> ImageError:
    return ImageError(
        f"{name} is stored by the codec {how[:80]}, which fullconv does not read; save it again, "
        f"with one of {', '.join(SIZES)}, or uncompressed."
    )
