"""Images that are stored in blocks, and the few decoded blocks that are kept."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry import Pair
from fullconv.sources.source import Source

CACHE_BYTES = 128 * 1024**2
"""What a source keeps of decoded blocks: neighbouring tiles overlap, and share the blocks there."""


MOST_CACHE_BYTES = 1 << 30
"""What it keeps at most, of an image so wide that two rows of its blocks are more."""


class BlockCache:
    """The blocks that were used last, up to a number of bytes.

    A block that two threads ask for at once is made once.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._held: OrderedDict[Pair, NDArray[Any]] = OrderedDict()
        self._coming: dict[Pair, Future[NDArray[Any]]] = {}
        self._lock = threading.Lock()

    def get(self, key: Pair, make: Callable[[int, int], NDArray[Any]]) -> NDArray[Any]:
        """Return a block, made by ``make(*key)`` if it is not held."""
        with self._lock:
            block = self._held.get(key)
            if block is not None:
                self._held.move_to_end(key)
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
            self._held[key] = block
            self.held_bytes += block.nbytes
            while self.held_bytes > self.limit_bytes and len(self._held) > 1:
                self.held_bytes -= self._held.popitem(last=False)[1].nbytes
        promise.set_result(block)
        return block

    def clear(self) -> None:
        """Let go of all blocks."""
        with self._lock:
            self._held.clear()
            self.held_bytes = 0


class Blocked(Source):
    """A source that is read in blocks of one size, cut off at the lower and right edge."""

    def __init__(self, *facts: Any, **named: Any) -> None:
        super().__init__(*facts, **named)
        # Tiles are read row by row: with less than two rows of blocks, none would be met again.
        block_bytes = self.block[0] * self.block[1] * self.bands * self.dtype.itemsize
        row_bytes = ceil(self.size[1] / self.block[1]) * block_bytes
        self.cache = BlockCache(min(max(CACHE_BYTES, 2 * row_bytes), MOST_CACHE_BYTES))

    def _read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        (top, bottom), (left, right), (h, w) = rows, columns, self.block
        across = range(left // w, (right - 1) // w + 1)
        down = range(top // h, (bottom - 1) // h + 1)
        if len(across) == len(down) == 1:
            block = self.cache.get((down[0], across[0]), self._block)
            y, x = down[0] * h, across[0] * w
            return block[top - y : bottom - y, left - x : right - x]
        pixels = np.empty((bottom - top, right - left, self.bands), self.dtype)
        for i in down:
            y0, y1 = max(top, i * h), min(bottom, (i + 1) * h)
            for j in across:
                x0, x1 = max(left, j * w), min(right, (j + 1) * w)
                block = self.cache.get((i, j), self._block)
                pixels[y0 - top : y1 - top, x0 - left : x1 - left] = block[
                    y0 - i * h : y1 - i * h, x0 - j * w : x1 - j * w
                ]
        return pixels

    @abstractmethod
    def _block(self, row: int, column: int) -> NDArray[Any]:
        """Decode one block, ``(h, w, bands)``, where it lies inside the image."""

    def extent(self, row: int, column: int) -> tuple[Pair, Pair]:
        """Return the rows and columns of a block inside the image, half-open."""
        (h, w), (height, width) = self.block, self.size
        return (
            (row * h, min((row + 1) * h, height)),
            (column * w, min((column + 1) * w, width)),
        )

    def close(self) -> None:
        self.cache.clear()
