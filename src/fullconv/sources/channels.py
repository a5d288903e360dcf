"""Some bands of an image, and as many channels as a model takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry import Pair
from fullconv.sources.source import Source, View


class Selected(View):
    """Some bands of a source, counted from 0, in the wanted order."""

    def __init__(self, of: Source, bands: Sequence[int]) -> None:
        super().__init__(of, {"bands": [band + 1 for band in bands]}, bands=len(bands))
        self._bands = list(bands)

    def _read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        return self.of.read(rows, columns)[:, :, self._bands]


class Converted(View):
    """A source in other colours."""

    def __init__(
        self, of: Source, channels: int, convert: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> None:
        super().__init__(of, {"channels": channels}, bands=channels)
        self._convert = convert

    def _read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        return self._convert(self.of.read(rows, columns))


def select_bands(source: Source, bands: Sequence[int]) -> Source:
    """Return a source of these bands, counted from 1, in this order.

    Raises
    ------
    InputError
        If one is not there, or none is named.
    """
    if not bands or not all(
        isinstance(band, int) and not isinstance(band, bool) and 1 <= band <= source.bands
        for band in bands
    ):
        raise InputError(
            f"{source.name} has {source.bands} bands, counted from 1; got bands "
            f"{', '.join(str(band) for band in bands) or 'none'}. Name bands between 1 and "
            f"{source.bands}."
        )
    return source.select([band - 1 for band in bands])


def fit_channels(source: Source, channels: int) -> Source:
    """Return the source with exactly as many bands as a model takes channels.

    Alpha is dropped (4 bands to 3, 2 to 1), grey is repeated (1 or 2 to 3), and colours become
    grey by the weights of ITU-R BT.601-7, section 2.5.1, in Pillow's integers for 8 bits.

    Raises
    ------
    InputError
        If neither is possible.
    """
    have = source.bands
    if have == channels:
        return source
    if channels == 3 and have == 4:
        return Converted(source, 3, lambda pixels: pixels[:, :, :3])
    if channels == 3 and have in (1, 2):
        return Converted(source, 3, lambda pixels: np.repeat(pixels[:, :, :1], 3, axis=2))
    if channels == 1 and have == 2:
        return Converted(source, 1, lambda pixels: pixels[:, :, :1])
    if channels == 1 and have in (3, 4):
        return Converted(source, 1, grey)
    raise InputError(
        f"{source.name} has {have} bands and the model takes {channels} channels; choose "
        f"{channels} of the bands in the model's order with --bands, as in --bands "
        f"{','.join(str(1 + band % have) for band in range(channels))}."
    )


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the luma of ``(h, w, 3 or 4)`` as ``(h, w, 1)``, in the same dtype."""
    red, green, blue = (pixels[:, :, band : band + 1] for band in range(3))
    if pixels.dtype == np.uint8:
        # Weights in 65536ths, rounded: what Image.convert("L") computes (its Convert.c, L24).
        parts = zip((19595, 38470, 7471), (red, green, blue), strict=True)
        total = sum(part.astype(np.uint32) * np.uint32(weight) for weight, part in parts)
        return np.asarray((total + np.uint32(0x8000)) // np.uint32(1 << 16), np.uint8)
    # Single precision holds 16 bits; wider whole numbers need double.
    kind = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    luma: NDArray[Any] = kind(0.299) * red + kind(0.587) * green + kind(0.114) * blue
    if pixels.dtype.kind in "ui":
        luma = np.rint(luma)
    return luma.astype(pixels.dtype)
