"""Numbers that stand for colours, and those that stand for grey after all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.uint8]
"""Colours ``(n, 3)`` by number; or grey ``(n, 1)``."""


def reduced(colours: Table) -> Table:
    """Return a palette as it is, or ``(n, 1)`` where it is but a ramp of grey.

    GDAL writes white-is-zero and single bits so: as a palette of all numbers from white to black,
    or of two.
    """
    return colours[:, :1] if slope(colours) else colours


def slope(colours: Table) -> int:
    """Return 1 for a ramp of grey from black to white, -1 for one from white to black, else 0."""
    steps = np.linspace(0, 255, len(colours))
    for sign, ramp in ((1, steps), (-1, steps[::-1])):
        # Writers cut or round, each in their own way.
        if len(colours) > 1 and np.abs(colours - ramp[:, None]).max() < 1:
            return sign
    return 0


def look_up(table: Table, numbers: NDArray[Any]) -> Table:
    """Return ``(h, w, 3 or 1)`` for numbers ``(h, w)``; black where the table has none."""
    known = np.minimum(numbers, len(table) - 1)
    pixels: Table = np.take(table, known, axis=0)
    if numbers.size and numbers.max() >= len(table):
        pixels[numbers >= len(table)] = 0
    return pixels
