"""Numbers that lie in a file one after the other, not encoded, of which parts are read."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry import Pair
from fullconv.sources.trouble import damaged, reading
from fullconv.system.reading import PositionedFile


class StoredNumbers:
    """An array in one piece of a file, the last axis fastest.

    A file that is written anew meanwhile is damaged at worst; were it mapped into memory, the
    system would end the process.

    Parameters
    ----------
    path : Path
    dtype : numpy.dtype
        Of the numbers, as the file has them.
    offset : int
        Of the first, in bytes.
    shape : sequence of int
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], offset: int, shape: Sequence[int]) -> None:
        self._path, self._dtype, self._offset = path, dtype, offset
        self.shape = tuple(shape)
        with reading(str(path)):
            self._file = PositionedFile(path)  # closed by close()
            self._finished = weakref.finalize(self, self._file.close)

    def part(self, spans: Sequence[Pair]) -> NDArray[Any]:
        """Return a part of the numbers, read run by run of those that lie side by side.

        Raises
        ------
        ImageError
            If the file ends before them.
        """
        shape = self.shape
        along = len(shape) - 1  # the last axis of which only a part is read
        while along > 0 and spans[along] == (0, shape[along]):
            along -= 1
        found = np.empty([stop - start for start, stop in spans], self._dtype)
        steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        first = sum(start * step for (start, _), step in zip(spans, steps, strict=True))
        runs = found.reshape(prod(found.shape[:along]), -1)
        for run, index in zip(runs, np.ndindex(found.shape[:along]), strict=True):
            at = first + sum(n * step for n, step in zip(index, steps, strict=False))
            data = self._file.read(run.nbytes, self._offset + at * self._dtype.itemsize)
            if len(data) < run.nbytes:
                raise damaged(str(self._path), "pixels are missing at its end")
            run[:] = np.frombuffer(data, self._dtype)
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._finished()
