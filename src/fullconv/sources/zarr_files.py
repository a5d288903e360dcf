"""The files of a zarr folder, as zarr is given them: its own, of bounded size, and only read."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from fullconv.errors import ImageError
from fullconv.sources.inflating import SIZES, inflates_beyond
from fullconv.sources.trouble import DECODED_LIMIT_BYTES, check_regular, damaged

if TYPE_CHECKING:
    import zarr

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")

METADATA_BYTES = 1 << 26
"""The most that one file of metadata may hold."""

SPARE_BYTES = 1 << 26
"""A chunk that is said to be smaller may still become so large: zarr decodes several at a time."""

ROOM = 2
"""By so much chunks may be larger than their numbers: noise grows a little, and filters may store
numbers in more bits."""

HARMLESS = (
    *("bytes", "endian", "transpose", "crc32c", "crc32", "adler32", "fletcher32", "shuffle"),
    *("jenkins_lookup3", "delta", "bitround", "quantize", "fixedscaleoffset", "astype"),
    "packbits",
)
"""Codecs that compute, and hardly grow. Left out are those that make objects (one of them, pickle,
runs code) and those whose room cannot be known before (zfpy, pcodec, pictures)."""

SHARDS = "sharding_indexed"

INDEX_BYTES = 1 << 28
"""The most that the table of a shard's chunks may take, 16 bytes each."""


SETTLING_S = 10.0
"""Seconds to wait at most for chunks that are read beside one that cannot be."""


@dataclass(frozen=True)
class Shards:
    """How a shard lists its chunks (zarr v3, codec ``sharding_indexed``, version 1.0).

    Attributes
    ----------
    count : int
        Its chunks.
    is_first, is_summed : bool
        Whether the table stands before the chunks, and has a checksum of four bytes behind it.
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
            if offset < len(shard):  # all bits set: it was never written
                yield shard[offset : offset + size]


@dataclass(frozen=True)
class Limit:
    """What the chunks of one array may become.

    Attributes
    ----------
    codec : str or None
        How they are compressed.
    decoded_bytes : int
        The most that one may be, decompressed.
    shards : Shards or None
    """

    codec: str | None
    decoded_bytes: int
    shards: Shards | None = None

    def check(self, name: str, data: bytes, is_whole: bool) -> None:
        """Refuse a chunk, or a shard that holds one, that would become more."""
        chunks = self.shards.chunks(data) if self.shards and is_whole else [data]
        for chunk in chunks if self.codec else ():
            if inflates_beyond(self.codec or "", chunk, self.decoded_bytes):
                raise damaged(
                    name,
                    f"a chunk of it becomes more than {self.decoded_bytes / 1e6:.0f} MB, which "
                    f"none of its size should",
                )


class ZarrFiles(Store):
    """Reads the regular files of a folder that lie in it, links resolved, and no others.

    Attributes
    ----------
    limits : dict of str to Limit
        For each array of the folder, by its path in it, once that is known.
    """

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __init__(self, root: Path) -> None:
        super().__init__(read_only=True)
        self.root = root
        self.limits: dict[str, Limit] = {}
        self._real = os.path.realpath(root)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrFiles) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __str__(self) -> str:
        return f"file://{self.root.as_posix()}"

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return what a file holds, or a part of it; None where it is not there."""
        if prototype is None:
            from zarr.core.buffer import default_buffer_prototype

            prototype = default_buffer_prototype()
        data = await asyncio.to_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return several."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether a file is there."""
        return self._path(key) is not None

    async def list(self) -> AsyncIterator[str]:
        """List all files."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the files whose names begin so."""
        for place, _, names in os.walk(self.root):
            for name in names:
                key = Path(place, name).relative_to(self.root).as_posix()
                if key.startswith(prefix):
                    yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List what lies in one folder."""
        folder = self.root / prefix
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            yield name

    async def set(self, key: str, value: Buffer) -> None:
        """Not possible."""
        self._refuse()

    async def delete(self, key: str) -> None:
        """Not possible."""
        self._refuse()

    async def set_partial_values(self, key_start_values: Any) -> None:
        """Not possible."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PermissionError(f"{self.root} is only read")

    def _path(self, key: str) -> str | None:
        """Return where a file really lies; None where there is none.

        Raises
        ------
        ImageError
            If that is outside of the folder, or it is no file.
        """
        path = os.path.realpath(self.root / key)
        if os.path.commonpath([path, self._real]) != self._real:
            raise ImageError(
                f"{self.root}: its part {key!r} leads out of the folder; put a copy of what is "
                f"meant in its place."
            )
        if not os.path.exists(path) or os.path.isdir(path):
            return None
        check_regular(Path(path))
        return path

    def _read(self, key: str, part: ByteRequest | None) -> bytes | None:
        path = self._path(key)
        if path is None:
            return None
        is_metadata = key.rpartition("/")[2] in METADATA
        limit = Limit(None, 0) if is_metadata else self._limit(key)
        with open(path, "rb") as file:
            start, stop = _span(part, os.fstat(file.fileno()).st_size)
            most = METADATA_BYTES if is_metadata else self._most(limit)
            if stop - start > most:
                raise damaged(
                    str(self.root), f"its part {key!r} holds {(stop - start) / 1e6:.0f} MB"
                )
            file.seek(start)
            data = file.read(stop - start)
        limit.check(str(self.root), data, part is None)
        return data

    def _most(self, limit: Limit) -> int:
        """Return the most bytes that a chunk or shard may take on the disk."""
        chunks = limit.shards.count if limit.shards else 1
        return min(chunks * (limit.decoded_bytes + 16), ROOM * DECODED_LIMIT_BYTES)

    def _limit(self, key: str) -> Limit:
        """Return what holds for the array that a chunk is of."""
        found = [within for within in self.limits if within == "" or key.startswith(f"{within}/")]
        return self.limits[max(found, key=len)] if found else Limit(None, SPARE_BYTES)


def _span(part: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return the first byte of a part of a file, and the one past its last."""
    if isinstance(part, RangeByteRequest):
        return min(part.start, size), min(part.end, size)
    if isinstance(part, OffsetByteRequest):
        return min(part.offset, size), size
    if isinstance(part, SuffixByteRequest):
        return max(0, size - part.suffix), size
    return 0, size


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Where reading fails, wait for the other chunks that zarr reads at the same time.

    They would go on in the background, and fill stderr if the process ended meanwhile.
    """
    try:
        yield
    except Exception:
        from zarr.core.sync import sync

        with contextlib.suppress(Exception):
            sync(_all_else())
        raise


async def _all_else() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=SETTLING_S)


def limit_of(name: str, array: zarr.Array[Any]) -> Limit:
    """Return what the chunks of an array may become, after checking how they are stored.

    Raises
    ------
    ImageError
        If a codec is not among those that are known to be harmless, or a chunk is too large.
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
    codecs = [_Codec.of(held) for held in _listed(stored, "filters", "compressor", "codecs")]
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
    """One step of how chunks are stored: its name, without zarr's prefix, and its settings."""

    name: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> _Codec:
        """Read one as version 2 or 3 stores it."""
        name = str(held.get("id") or held.get("name")).removeprefix("numcodecs.")
        settings: Any = held.get("configuration", held)
        return cls(name, settings)

    @property
    def keeps_numbers(self) -> bool:
        """Whether it turns numbers into numbers, where it says of which kinds."""
        kinds = [self.settings.get(key) for key in ("dtype", "astype", "encode_dtype")]
        return all(
            np.dtype(kind).kind in "buif"
            for kind in (*kinds, self.settings.get("decode_dtype"))
            if kind is not None
        )


def _listed(stored: Mapping[str, Any], *names: str) -> Iterator[Mapping[str, Any]]:
    for name in names:
        held = stored.get(name) or ()
        yield from (held if isinstance(held, list | tuple) else [held])


def _shards(
    name: str, codecs: list[_Codec], shard: tuple[int, ...], chunk: tuple[int, ...]
) -> tuple[Shards, list[_Codec]]:
    """Return how shards are laid out, and the codecs of the chunks in them."""
    first = codecs[0]
    within = [_Codec.of(held) for held in _listed(first.settings, "codecs")]
    index = [_Codec.of(held).name for held in _listed(first.settings, "index_codecs")]
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
