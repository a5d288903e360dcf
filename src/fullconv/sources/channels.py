"""Selecting bands of an image, and converting it to the channels that a model takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry.grid import Span
from fullconv.geometry.images import LETTERS
from fullconv.sources.colours import (
    GREY,
    RGB,
    Channel,
    Channels,
    is_grey,
    is_rgb,
    listed,
    rgb_places,
)
from fullconv.sources.source import Source, View


class Converted(View):
    """A source converted to other colours."""

    def __init__(
        self, of: Source, channels: Channels, convert: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> None:
        facts = replace(of.facts, channels=channels)
        super().__init__(of, {"channels": len(channels)}, bands=len(channels), facts=facts)
        self._convert = convert

    def _read(self, *spans: Span) -> NDArray[Any]:
        return self._convert(self.of.read(*spans))


def select_bands(source: Source, bands: Sequence[int]) -> Source:
    """Return a source of these bands, counted from 1, in this order.

    Raises
    ------
    InputError
        If a band does not exist, or the list is empty.
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
    chosen = source.select([band - 1 for band in bands])
    chosen.stored_bands = source.bands
    return chosen


def fit_channels(source: Source, channels: int) -> Source:
    """Return the source with exactly as many bands as a model takes channels.

    Bands are converted only where the file says that they are colours, in whatever order they are
    stored. For 3 channels, colours become red, green and blue, without transparency and other
    bands, and grey is repeated. For 1 channel, colours become grey by the weights of ITU-R
    BT.601-7, section 2.5.1, in Pillow's integers for 8 bits. If there are as many bands as
    channels, they stay as they are where the user chose them or the file does not call them
    colours.

    Raises
    ------
    InputError
        If the bands neither match the channels nor can be converted to them.
    """
    stored = source.channels
    places = rgb_places(stored)
    is_chosen = "bands" in source.description
    if source.bands == channels and (is_chosen or places in (None, (0, 1, 2)) or channels != 3):
        return source
    if channels == 3 and places is not None:
        return Converted(source, RGB, lambda pixels: pixels[:, :, list(places)])
    if channels == 3 and is_grey(stored):
        return Converted(source, RGB, lambda pixels: np.repeat(pixels[:, :, :1], 3, axis=2))
    if channels == 1 and is_grey(stored):
        return Converted(source, GREY, lambda pixels: pixels[:, :, :1])
    if channels == 1 and is_rgb(stored) and places is not None:
        return Converted(source, GREY, lambda pixels: grey(pixels[:, :, list(places)]))
    raise _misfit(source, channels)


def _misfit(source: Source, channels: int) -> InputError:
    have, stored = source.bands, source.stored_bands
    takes = f"the model takes {channels} channel{'s' * (channels > 1)}"
    known = any(channel.name or channel.colour for channel in source.channels)
    chosen = source.description.get("bands")
    if chosen is None:
        named = f" ({listed(source.channels)})" if known else ""
        problem = f"{source.name} has {have} band{'s' * (have > 1)}{named}"
    else:
        named = listed(source.channels, chosen) if known else ", ".join(map(str, chosen))
        problem = f"{source.name}: --bands chose {have} ({named}) of {stored},"
    todo = f"give an image of {channels} bands, or name a band for every channel with --bands"
    if stored >= channels:
        example = ",".join(str(band) for band in range(1, channels + 1))
        todo = (
            f"choose {channels} of the bands in the model's order with --bands, as in --bands "
            f"{example}"
        )
    if chosen is None and source.size[0] == channels:
        dimensions, shape = len(source.size), (*source.size, have)
        turned = "array.T" if dimensions == 1 else "numpy.moveaxis(array, 0, -1)"
        todo = (
            f"channels come last, ({', '.join(LETTERS[dimensions])}, C), and the first axis of "
            f"{shape} has {channels}; if these are the channels, give it transposed, {turned}"
        )
    return InputError(f"{problem} and {takes}; {todo}.")


def as_shown(source: Source) -> Source:
    """Return the source in three bands for display: its colours, else its first bands."""
    stored = source.channels
    if source.bands == 3 and rgb_places(stored) is None:
        return source
    if rgb_places(stored) is not None or is_grey(stored):
        return fit_channels(source, 3)
    first = [0, 1, 2] if source.bands > 2 else [0, 0, 0]
    return Converted(source, (Channel(),) * 3, lambda pixels: pixels[:, :, first])


def natural_channels(source: Source) -> int:
    """Return the number of channels of an image, without transparency, where no model sets it."""
    if is_grey(source.channels):
        return 1
    return 3 if is_rgb(source.channels) else source.bands


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the luma of ``(h, w, 3)`` as ``(h, w, 1)``, in the same dtype."""
    red, green, blue = (pixels[:, :, band : band + 1] for band in range(3))
    if pixels.dtype == np.uint8:
        # Weights in 65536ths, rounded: what Image.convert("L") computes (its Convert.c, L24).
        parts = zip((19595, 38470, 7471), (red, green, blue), strict=True)
        total = sum(part.astype(np.uint32) * np.uint32(weight) for weight, part in parts)
        return np.asarray((total + np.uint32(0x8000)) // np.uint32(1 << 16), np.uint8)
    # Single precision is exact for 16 bits; wider whole numbers need double.
    kind = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    luma: NDArray[Any] = kind(0.299) * red + kind(0.587) * green + kind(0.114) * blue
    if pixels.dtype.kind in "ui":
        luma = np.rint(luma)
    return luma.astype(pixels.dtype)
