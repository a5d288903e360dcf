"""Numbers that lie in a TIFF one after the other, not encoded, with their axes in any order."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry import Pair
from fullconv.sources.source import Facts, Source
from fullconv.sources.tiff_pixels import bands_of, finish, pixels_dtype
from fullconv.sources.trouble import damaged, reading
from fullconv.system.reading import PositionedFile

IMAGE_AXES = "YXCS"
"""Rows, columns, channels, and samples of a pixel, by tifffile's letters."""


class NumbersSource(Source):
    """An image in one piece of a file.

    A file that is written anew meanwhile is damaged at worst; were it mapped into memory, the
    system would end the process.
    """

    def __init__(
        self,
        path: Path,
        stored: np.dtype[Any],
        offset: int,
        shape: Sequence[int],
        axes: str,
        page: Any,
        facts: Facts,
    ) -> None:
        self._path, self._stored, self._offset, self._page = path, stored, offset, page
        self._shape, self._axes = tuple(shape), axes
        lengths = dict(zip(axes, shape, strict=True))
        samples = lengths.get("C", 1) * lengths.get("S", 1)
        bands, dtype = bands_of(page, samples), pixels_dtype(page)
        with reading(str(path)):
            self._file = PositionedFile(path)  # closed by close()
            self._finished = weakref.finalize(self, self._file.close)
        size = lengths["Y"], lengths["X"]
        super().__init__(str(path), size, bands, dtype, block=(1, 1), facts=facts)

    def _read(self, *spans: Pair) -> NDArray[Any]:
        asked = dict(zip("YX", spans, strict=True))
        stored_spans = [
            asked.get(axis, (0, length if axis in IMAGE_AXES else 1))
            for axis, length in zip(self._axes, self._shape, strict=True)
        ]
        with reading(self.name):
            stored = ordered(self._numbers(stored_spans), self._axes)
            return finish(self._page, stored.astype(stored.dtype.newbyteorder("="), order="C"))

    def _numbers(self, spans: Sequence[Pair]) -> NDArray[Any]:
        """Return a part of the numbers, read run by run of those that lie side by side."""
        shape = self._shape
        along = len(shape) - 1  # the last axis of which only a part is read
        while along > 0 and spans[along] == (0, shape[along]):
            along -= 1
        found = np.empty([stop - start for start, stop in spans], self._stored)
        steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        first = sum(start * step for (start, _), step in zip(spans, steps, strict=True))
        runs = found.reshape(prod(found.shape[:along]), -1)
        for run, index in zip(runs, np.ndindex(found.shape[:along]), strict=True):
            at = first + sum(n * step for n, step in zip(index, steps, strict=False))
            data = self._file.read(run.nbytes, self._offset + at * self._stored.itemsize)
            if len(data) < run.nbytes:
                raise damaged(self.name, "pixels are missing at its end")
            run[:] = np.frombuffer(data, self._stored)
        return found

    def files(self) -> list[Path]:
        return [self._path]

    def close(self) -> None:
        self._finished()


def ordered(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return an array of these axes as ``(H, W, bands)``; of axes without a place, the first."""
    kept = [axis for axis in axes if axis in IMAGE_AXES]
    single = tuple(slice(None) if axis in IMAGE_AXES else 0 for axis in axes)
    moved = array[single].transpose([kept.index(axis) for axis in IMAGE_AXES if axis in kept])
    return moved if moved.ndim == 3 else moved.reshape(*moved.shape[:2], -1)
