"""Reading parts of an array that is stored in one piece of a file, not encoded."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Span
from fullconv.sources.trouble import damaged, reading
from fullconv.system.reading import PositionedFile


class StoredNumbers:
    """An array in one piece of a file, the last axis fastest.

    The file is read, not mapped into memory: if another program shortens a mapped file, the system
    ends the process.

    Parameters
    ----------
    path : Path
    dtype : numpy.dtype
        Type of the numbers, in the byte order of the file.
    offset : int
        Position of the first number in the file, in bytes.
    shape : sequence of int
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], offset: int, shape: Sequence[int]) -> None:
        self._path, self._dtype, self._offset = path, dtype, offset
        self.shape = tuple(shape)
        with reading(str(path)):
            self._file = PositionedFile(path)  # closed by close()
            self._finished = weakref.finalize(self, self._file.close)

    def part(self, spans: Sequence[Span]) -> NDArray[Any]:
        """Return a part of the array, read in runs of adjacent numbers.

        Raises
        ------
        ImageError
            If the file ends before the part does.
        """
        shape = self.shape
        along = len(shape) - 1  # the last axis of which only a part is read
        while along > 0 and spans[along] == (0, shape[along]):
            along -= 1
        numbers = np.empty([stop - start for start, stop in spans], self._dtype)
        steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        first = sum(start * step for (start, _), step in zip(spans, steps, strict=True))
        runs = numbers.reshape(prod(numbers.shape[:along]), -1)
        for run, index in zip(runs, np.ndindex(numbers.shape[:along]), strict=True):
            at = first + sum(n * step for n, step in zip(index, steps, strict=False))
            data = self._file.read(run.nbytes, self._offset + at * self._dtype.itemsize)
            if len(data) < run.nbytes:
                raise damaged(str(self._path), "pixels are missing at its end")
            run[:] = np.frombuffer(data, self._dtype)
        return numbers

    def close(self) -> None:
        """Close the file."""
        self._finished()
