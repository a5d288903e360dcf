"""Pixels that lie in memory, or in NumPy's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry import Pair
from fullconv.images import check_numbers, ranks
from fullconv.sources.colours import of_picture
from fullconv.sources.contents import Contents, contents_of, contents_of_array
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts, Source
from fullconv.sources.trouble import reading
from fullconv.wording import kind, unit

NUMPY_START = b"\x93NUMPY"
"""How NumPy's files begin (numpy.lib.format, version 1.0)."""


class ArraySource(Source):
    """A NumPy array ``(*size, C)``; every rectangle costs the same.

    Attributes
    ----------
    path : Path or None
        The file that the array is mapped from, if it is.
    """

    def __init__(
        self,
        name: str,
        pixels: NDArray[Any],
        facts: Facts | None = None,
        path: Path | None = None,
    ) -> None:
        *size, bands = pixels.shape
        block = (1,) * len(size)
        super().__init__(name, tuple(size), bands, pixels.dtype, block=block, facts=facts)
        self._pixels = pixels
        self.path = path

    def _read(self, *spans: Pair) -> NDArray[Any]:
        return self._pixels[tuple(slice(*span) for span in spans)]

    def files(self) -> list[Path]:
        return [] if self.path is None else [self.path]

    def contents(self) -> Contents:
        if self.path is None:
            return contents_of_array(self._pixels)
        return contents_of([self.path])

    def close(self) -> None:
        self._pixels = self._pixels[:0]


def open_array(
    pixels: NDArray[Any],
    dimensions: int = 2,
    *,
    call: str = "open_source(array)",
    path: Path | None = None,
) -> Pyramid:
    """Return an array ``(*size)`` or ``(*size, C)`` as a pyramid of one level.

    Parameters
    ----------
    pixels : NDArray
    dimensions : int
        How many axes it has beside that of channels: 1, 2 or 3.
    call : str
        What errors begin with.
    path : Path, optional
        The file that it is mapped from.

    Raises
    ------
    ImageError
        If it has another rank, no pixels, or numbers that are not real.
    """
    if pixels.ndim not in (dimensions, dimensions + 1):
        raise ImageError(
            f"{call}: expected {ranks(dimensions)}; got shape {pixels.shape}. Give one "
            f"{kind(dimensions)} at a time, its channels last."
        )
    if 0 in pixels.shape:
        things = unit(dimensions, many=True)
        raise ImageError(f"{call}: shape {pixels.shape} has no {things}; expected at least one.")
    check_numbers(call, pixels.dtype)
    if pixels.dtype.kind == "b":
        pixels = pixels.view(np.uint8)
    held = pixels[..., None] if pixels.ndim == dimensions else pixels
    *size, bands = held.shape
    name = "array" if path is None else str(path)
    return Pyramid(
        name,
        (tuple(size),),
        lambda level, facts: ArraySource(name, held, facts, path),
        channels=of_picture(bands) if dimensions == 2 else (),
    )


def open_numpy(path: Path, dimensions: int = 2) -> Pyramid:
    """Return an array in a ``.npy`` file, of which only what is asked for is read.

    Raises
    ------
    ImageError
        If the file is damaged, holds objects, or has another rank.
    """
    with reading(str(path)):
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return open_array(pixels, dimensions, call=str(path), path=path)
