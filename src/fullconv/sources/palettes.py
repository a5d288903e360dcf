"""Palettes of colours, and those that are only ramps of grey."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.uint8]
"""Colours ``(n, 3)`` or grey ``(n, 1)``, indexed by the stored number."""


def reduced(colours: Table) -> Table:
    """Return a palette as it is, or as grey ``(n, 1)`` where it is a ramp of grey.

    GDAL writes white-is-zero images as a palette from white to black, and single bits as one of two
    colours.
    """
    return colours[:, :1] if slope(colours) else colours


def slope(colours: Table) -> int:
    """Return 1 for a ramp of grey from black to white, -1 for one from white to black, else 0."""
    steps = np.linspace(0, 255, len(colours))
    for sign, ramp in ((1, steps), (-1, steps[::-1])):
        # Some writers truncate, others round.
        if len(colours) > 1 and np.abs(colours - ramp[:, None]).max() < 1:
            return sign
    return 0


def look_up(table: Table, numbers: NDArray[Any]) -> Table:
    """Return the entries ``(h, w, 3 or 1)`` of numbers ``(h, w)``; black beyond the table's end."""
    known = np.minimum(numbers, len(table) - 1)
    pixels: Table = np.take(table, known, axis=0)
    if numbers.size and numbers.max() >= len(table):
        pixels[numbers >= len(table)] = 0
    return pixels
