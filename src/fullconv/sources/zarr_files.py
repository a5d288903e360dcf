"""A zarr store of a folder that is read-only, stays inside the folder, and bounds file sizes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from fullconv.errors import ImageError
from fullconv.sources.trouble import DECODED_LIMIT_BYTES, check_regular, damaged
from fullconv.sources.zarr_limits import ROOM, SPARE_BYTES, Limit

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")

METADATA_BYTES = 1 << 26
"""The limit of one file of metadata."""

SETTLING_S = 10.0
"""The longest wait for zarr's other reads after one has failed."""


class ZarrFiles(Store):
    """A store of the regular files in a folder; links that lead out of it are refused.

    Attributes
    ----------
    limits : dict of str to Limit
        Limits of the arrays whose metadata has been read, by their paths in the folder.
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
        """Return the bytes of a file, or of a part of it; None if it does not exist."""
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
        """Return parts of several files."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether a file exists."""
        return self._path(key) is not None

    async def list(self) -> AsyncIterator[str]:
        """List all files."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the files whose paths begin with ``prefix``."""
        for place, _, names in os.walk(self.root):
            for name in names:
                key = Path(place, name).relative_to(self.root).as_posix()
                if key.startswith(prefix):
                    yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List the names in one folder."""
        folder = self.root / prefix
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            yield name

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse, as the store is read-only."""
        self._refuse()

    async def delete(self, key: str) -> None:
        """Refuse, as the store is read-only."""
        self._refuse()

    async def set_partial_values(self, key_start_values: Any) -> None:
        """Refuse, as the store is read-only."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PermissionError(f"{self.root} is only read")

    def _path(self, key: str) -> str | None:
        """Return the path of a file, links resolved; None if it does not exist.

        Raises
        ------
        ImageError
            If the path leads out of the folder, or is not a regular file.
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
        """Return the largest size of a stored chunk or shard, in bytes."""
        chunks = limit.shards.count if limit.shards else 1
        return min(chunks * (limit.decoded_bytes + 16), ROOM * DECODED_LIMIT_BYTES)

    def _limit(self, key: str) -> Limit:
        """Return the limits of the array that a chunk belongs to."""
        holders = [place for place in self.limits if place == "" or key.startswith(f"{place}/")]
        return self.limits[max(holders, key=len)] if holders else Limit(None, SPARE_BYTES)


def _span(part: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return the first byte of a part of a file, and one past the last."""
    if isinstance(part, RangeByteRequest):
        return min(part.start, size), min(part.end, size)
    if isinstance(part, OffsetByteRequest):
        return min(part.offset, size), size
    if isinstance(part, SuffixByteRequest):
        return max(0, size - part.suffix), size
    return 0, size


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """If reading fails, wait for the other chunks that zarr is reading at the same time.

    Otherwise these reads would continue in the background, and print errors if the process ended
    meanwhile.
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
