"""Images, recordings and volumes that are arrays in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry.grid import Span
from fullconv.geometry.images import check_numbers, ranks
from fullconv.sources.colours import Channels, of_picture
from fullconv.sources.contents import Contents, contents_of_array
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts, Source
from fullconv.wording import kind, unit


class ArraySource(Source):
    """A NumPy array ``(*size, C)``; every rectangle costs the same."""

    def __init__(self, name: str, pixels: NDArray[Any], facts: Facts | None = None) -> None:
        *size, bands = pixels.shape
        block = (1,) * len(size)
        super().__init__(name, tuple(size), bands, pixels.dtype, block=block, facts=facts)
        self._pixels = pixels

    def _read(self, *spans: Span) -> NDArray[Any]:
        return self._pixels[tuple(slice(*span) for span in spans)]

    def contents(self) -> Contents:
        return contents_of_array(self._pixels)

    def close(self) -> None:
        self._pixels = self._pixels[:0]


def open_array(pixels: NDArray[Any], dimensions: int = 2) -> Pyramid:
    """Return an array ``(*size)`` or ``(*size, C)`` as a pyramid of one level.

    Parameters
    ----------
    pixels : NDArray
    dimensions : int
        Number of axes beside that of channels: 1, 2 or 3.

    Raises
    ------
    ImageError
        If the array has another rank, no pixels, or numbers that are not real.
    """
    checked_array("open_source(array)", pixels, dimensions)
    if pixels.dtype.kind == "b":
        pixels = pixels.view(np.uint8)
    with_bands = pixels[..., None] if pixels.ndim == dimensions else pixels
    return Pyramid(
        "array",
        (with_bands.shape[:dimensions],),
        lambda level, facts: ArraySource("array", with_bands, facts),
        channels=channels_of(with_bands.shape, dimensions),
    )


def checked_array(call: str, pixels: NDArray[Any], dimensions: int) -> None:
    """Refuse an array that is no image, recording or volume.

    Raises
    ------
    ImageError
        If the array has another rank, no pixels, or numbers that are not real.
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


def channels_of(shape: tuple[int, ...], dimensions: int) -> Channels:
    """Return the channels of an array: those of a picture for two axes, else unknown ones."""
    bands = shape[-1] if len(shape) > dimensions else 1
    return of_picture(bands) if dimensions == 2 else ()
