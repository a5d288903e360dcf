"""NumPy's files (``.npy``) of images, recordings and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes, Span
from fullconv.sources.array import channels_of, checked_array
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts, Source
from fullconv.sources.stored_numbers import StoredNumbers
from fullconv.sources.trouble import quiet, reading

START = b"\x93NUMPY"
"""The first bytes of such a file (numpy.lib.format, version 1.0)."""


@dataclass(frozen=True)
class Head:
    """The header of such a file.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    offset : int
        Position of the first number in the file, in bytes.
    is_fortran : bool
        Whether the first axis varies fastest.
    """

    shape: Sizes
    dtype: np.dtype[Any]
    offset: int
    is_fortran: bool


class NumpySource(Source):
    """An array ``(*size)`` or ``(*size, C)`` in a file."""

    def __init__(self, path: Path, head: Head, dimensions: int, facts: Facts) -> None:
        size, channels = head.shape[:dimensions], head.shape[dimensions:]
        is_bits = head.dtype.kind == "b"
        super().__init__(
            str(path),
            size,
            prod(channels),
            np.dtype(np.uint8) if is_bits else head.dtype.newbyteorder("="),
            block=(1,) * dimensions,
            facts=facts,
        )
        self._path, self._channels, self._is_fortran = path, channels, head.is_fortran
        shape = head.shape[::-1] if head.is_fortran else head.shape
        self._numbers = StoredNumbers(path, head.dtype, head.offset, shape)

    def _read(self, *spans: Span) -> NDArray[Any]:
        asked = [*spans, *((0, count) for count in self._channels)]
        with reading(self.name):
            if self._is_fortran:
                stored = self._numbers.part(asked[::-1]).T
            else:
                stored = self._numbers.part(asked)
        pixels = stored if self._channels else stored[..., None]
        return np.ascontiguousarray(pixels, self.dtype)

    def files(self) -> list[Path]:
        return [self._path]

    def close(self) -> None:
        self._numbers.close()


def open_numpy(path: Path, dimensions: int = 2) -> Pyramid:
    """Return an array ``(*size)`` or ``(*size, C)`` in a file as a pyramid of one level.

    Raises
    ------
    ImageError
        If the file is damaged, holds objects, or has another rank.
    """
    with reading(str(path)), quiet():
        # Mapped only to read its header: NumPy compares the shape with the length of the file.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    checked_array(str(path), array, dimensions)
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    head = Head(array.shape, array.dtype, int(array.offset), is_fortran)
    return Pyramid(
        str(path),
        (array.shape[:dimensions],),
        lambda level, facts: NumpySource(path, head, dimensions, facts),
        channels=channels_of(array.shape, dimensions),
    )
