"""Pixels that lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry import Pair
from fullconv.images import check_numbers
from fullconv.sources.colours import of_picture
from fullconv.sources.contents import Contents, contents_of_array
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts, Source


class ArraySource(Source):
    """A NumPy array ``(H, W, C)``; every rectangle costs the same."""

    def __init__(self, name: str, pixels: NDArray[Any], facts: Facts | None = None) -> None:
        height, width, bands = pixels.shape
        super().__init__(name, (height, width), bands, pixels.dtype, block=(1, 1), facts=facts)
        self._pixels = pixels

    def _read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        return self._pixels[slice(*rows), slice(*columns)]

    def contents(self) -> Contents:
        return contents_of_array(self._pixels)

    def close(self) -> None:
        self._pixels = self._pixels[:0]


def open_array(pixels: NDArray[Any]) -> Pyramid:
    """Return an array ``(H, W)`` or ``(H, W, C)`` as a pyramid of one level.

    Raises
    ------
    ImageError
        If it has another rank, no pixels, or numbers that are not real.
    """
    if pixels.ndim not in (2, 3):
        raise ImageError(
            f"open_source(array): expected (H, W) or (H, W, C); got shape {pixels.shape}. Give "
            f"one image at a time, its channels last."
        )
    if 0 in pixels.shape:
        raise ImageError(
            f"open_source(array): shape {pixels.shape} has no pixels; expected at least one."
        )
    check_numbers("open_source(array)", pixels.dtype)
    if pixels.dtype.kind == "b":
        pixels = pixels.view(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    held = pixels
    height, width = held.shape[:2]
    return Pyramid(
        "array",
        ((height, width),),
        lambda level, facts: ArraySource("array", held, facts),
        channels=of_picture(held.shape[2]),
    )
