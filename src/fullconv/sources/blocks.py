"""Sources that are stored in blocks, and a cache of decoded blocks."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes, Span
from fullconv.sources.source import Source

CACHE_BYTES = 128 * 1024**2
"""The size of a source's cache: neighbouring tiles overlap, and share the blocks there."""


MOST_CACHE_BYTES = 1 << 30
"""The limit for wide images, whose cache holds two rows of blocks where these take more."""


class BlockCache:
    """The most recently used blocks, up to a number of bytes.

    A block that two threads request at once is made once.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.cached_bytes = 0
        self._blocks: OrderedDict[Sizes, NDArray[Any]] = OrderedDict()
        self._coming: dict[Sizes, Future[NDArray[Any]]] = {}
        self._lock = threading.Lock()

    def get(self, key: Sizes, make: Callable[..., NDArray[Any]]) -> NDArray[Any]:
        """Return a block, made by ``make(*key)`` if it is not in the cache."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
                return block
            coming = self._coming.get(key)
            if coming is None:
                promise = self._coming[key] = Future()
        if coming is not None:
            return coming.result()
        try:
            block = make(*key)
            block.flags.writeable = False
        except BaseException as error:
            with self._lock:
                del self._coming[key]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._coming[key]
            self._blocks[key] = block
            self.cached_bytes += block.nbytes
            while self.cached_bytes > self.limit_bytes and len(self._blocks) > 1:
                self.cached_bytes -= self._blocks.popitem(last=False)[1].nbytes
        promise.set_result(block)
        return block

    def clear(self) -> None:
        """Remove all blocks."""
        with self._lock:
            self._blocks.clear()
            self.cached_bytes = 0


class Blocked(Source):
    """A source that is read in blocks of one size; the last block of each axis may be shorter."""

    def __init__(self, *facts: Any, **named: Any) -> None:
        super().__init__(*facts, **named)
        # Tiles are read row by row: a cache of less than two rows of blocks would never be hit.
        block_bytes = prod(self.block) * self.bands * self.dtype.itemsize
        row_bytes = block_bytes * prod(
            ceil(n / side) for n, side in zip(self.size[1:], self.block[1:], strict=True)
        )
        self.cache = BlockCache(min(max(CACHE_BYTES, 2 * row_bytes), MOST_CACHE_BYTES))

    def _read(self, *spans: Span) -> NDArray[Any]:
        places = [
            range(start // side, (stop - 1) // side + 1)
            for (start, stop), side in zip(spans, self.block, strict=True)
        ]
        if all(len(along) == 1 for along in places):
            return self._part(tuple(along[0] for along in places), spans)
        pixels = np.empty((*(stop - start for start, stop in spans), self.bands), self.dtype)
        for place in product(*places):
            shared = [
                (max(start, begin), min(stop, end))
                for (start, stop), (begin, end) in zip(spans, self.extent(*place), strict=True)
            ]
            here = tuple(
                slice(first - start, last - start)
                for (first, last), (start, _) in zip(shared, spans, strict=True)
            )
            pixels[here] = self._part(place, shared)
        return pixels

    def _part(self, place: Sizes, spans: Sequence[Span]) -> NDArray[Any]:
        """Return the pixels of ``spans``, which lie in one block."""
        within = tuple(
            slice(start - n * side, stop - n * side)
            for (start, stop), n, side in zip(spans, place, self.block, strict=True)
        )
        return self.cache.get(place, self._block)[within]

    @abstractmethod
    def _block(self, *place: int) -> NDArray[Any]:
        """Decode the part of one block that lies inside the image, ``(h, w, bands)``."""

    def extent(self, *place: int) -> tuple[Span, ...]:
        """Return the pixels along every axis of a block inside the image, half-open."""
        return tuple(
            (n * side, min((n + 1) * side, length))
            for n, side, length in zip(place, self.block, self.size, strict=True)
        )

    def close(self) -> None:
        self.cache.clear()
