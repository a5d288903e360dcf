"""How scores are stored: in single precision, in half, or as one of 255 steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError

LEVELS = 254
"""A score between 0 and 1 is stored in uint8 as the nearest of this many steps."""

NOT_SCANNED = 255
"""The number in uint8 that stands for NaN."""


def encoded(scores: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return scores as they are stored.

    Raises
    ------
    ImageError
        If a score does not fit the type.
    """
    if dtype == "uint8":
        # Half a step beyond is still stored as 0 or 1: probabilities may exceed them by rounding.
        steps = np.rint(scores * LEVELS)
        known = scores[~np.isnan(scores)]
        if ((steps < 0) | (steps > LEVELS)).any():
            raise ImageError(
                f"dtype='uint8' stores scores between 0 and 1, and the model gives "
                f"{known.min():.3g} to {known.max():.3g}; use float16."
            )
        return np.where(np.isnan(scores), NOT_SCANNED, steps).astype(np.uint8)
    if dtype == "float16":
        with np.errstate(over="ignore"):
            half = scores.astype(np.float16)
        if np.isinf(half).any() and not np.isinf(scores).any():
            raise ImageError(
                f"dtype='float16' stores scores up to 65504, and the model gives "
                f"{np.nanmax(np.abs(scores)):.3g}; use float32."
            )
        return half
    return scores.astype(np.float32, copy=False)


def decoded(stored: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return stored scores as floating point numbers."""
    if stored.dtype != np.uint8:
        return stored
    scores = stored.astype(np.float32) / np.float32(LEVELS)
    scores[stored == NOT_SCANNED] = np.nan
    return scores


def rounding(dtype: str) -> tuple[float, float]:
    """Return the largest change of a score by storing it: (absolute, as a share of it)."""
    absolute = {"uint8": 0.5 / LEVELS, "float16": 2.0**-25, "float32": 0.0}
    share = {"uint8": 0.0, "float16": 2.0**-11, "float32": 2.0**-24}
    return absolute[dtype], share[dtype]


def nothing(dtype: Any) -> float:
    """Return the stored number of a window that was not scanned."""
    return NOT_SCANNED if np.dtype(dtype) == np.uint8 else float("nan")
