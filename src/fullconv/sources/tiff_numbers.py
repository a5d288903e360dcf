"""Images that a TIFF stores in one piece, not encoded, with their axes in any order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Span
from fullconv.sources.source import Facts, Source
from fullconv.sources.stored_numbers import StoredNumbers
from fullconv.sources.tiff_pixels import bands_of, finish, pixels_dtype
from fullconv.sources.trouble import reading

IMAGE_AXES = "YXCS"
"""Rows, columns, channels, and samples of a pixel, by tifffile's letters."""


class NumbersSource(Source):
    """An image that is stored in one piece of a file."""

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
        self._path, self._page, self._axes = path, page, axes
        lengths = dict(zip(axes, shape, strict=True))
        samples = lengths.get("C", 1) * lengths.get("S", 1)
        bands, dtype = bands_of(page, samples), pixels_dtype(page)
        self._numbers = StoredNumbers(path, stored, offset, shape)
        size = lengths["Y"], lengths["X"]
        super().__init__(str(path), size, bands, dtype, block=(1, 1), facts=facts)

    def _read(self, *spans: Span) -> NDArray[Any]:
        asked = dict(zip("YX", spans, strict=True))
        stored_spans = [
            asked.get(axis, (0, length if axis in IMAGE_AXES else 1))
            for axis, length in zip(self._axes, self._numbers.shape, strict=True)
        ]
        with reading(self.name):
            stored = ordered(self._numbers.part(stored_spans), self._axes)
            return finish(self._page, stored.astype(stored.dtype.newbyteorder("="), order="C"))

    def files(self) -> list[Path]:
        return [self._path]

    def close(self) -> None:
        self._numbers.close()


def ordered(array: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return an array of these axes as ``(H, W, bands)``; other axes are reduced to index 0."""
    kept = [axis for axis in axes if axis in IMAGE_AXES]
    single = tuple(slice(None) if axis in IMAGE_AXES else 0 for axis in axes)
    moved = array[single].transpose([kept.index(axis) for axis in IMAGE_AXES if axis in kept])
    return moved if moved.ndim == 3 else moved.reshape(*moved.shape[:2], -1)
