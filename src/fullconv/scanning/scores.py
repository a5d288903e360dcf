"""The array of a heatmap, checked against its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import first_line
from fullconv.geometry.grid import Grid, Sizes
from fullconv.geometry.windows import Windows
from fullconv.scanning.digests import Checksums


class Unreadable:
    """A stand-in for scores that cannot be read: their metadata is lost or damaged."""

    def __init__(self, shape: Sizes, tile: Sizes, dtype: str, why: str) -> None:
        self.shape, self.chunks = shape, (shape[0], *tile)
        self.dtype = np.dtype(dtype)
        self._why = why

    def __getitem__(self, place: Any) -> NDArray[Any]:
        """Raise the reason."""
        raise OSError(self._why)


def checked(scores: Callable[[], Any], metadata: Mapping[str, Any]) -> Any:
    """Return the scores; where they do not match the record, an `Unreadable` with the reason.

    Raises
    ------
    ValueError or whatever ``scores`` raises
        If a heatmap without checksums has no array of windows.
    """
    if metadata.get("checksums") is None:
        array = scores()
        shape, tile = _shape_of_before(array, metadata), tuple(metadata["chosen"]["tile"])
        why = _unlike(array, shape, metadata["dtype"])
        return Unreadable(shape, tile, metadata["dtype"], why) if why else array
    known = Checksums.from_json(metadata["checksums"])
    try:
        array = scores()
        why = _unlike(array, known.shape, known.dtype)
    except Exception as error:  # libraries raise errors of all kinds over damaged files
        why = f"{type(error).__name__}: {first_line(error)}"
    return Unreadable(known.shape, known.tile, known.dtype, why) if why else array


def _shape_of_before(array: Any, metadata: Mapping[str, Any]) -> Sizes:
    """Return the shape of a heatmap without checksums: its windows follow from the image."""
    classes, *_ = array.shape
    grid = Grid(tuple(metadata["window"]), tuple(metadata["step"]))
    windows = Windows.of(grid, metadata["image_size"], metadata.get("cover") or "whole")
    return len(metadata["classes"]) or classes, *windows.shape


def _unlike(array: Any, shape: Sizes, dtype: str) -> str:
    """Return why an array does not match the record; an empty text where it does."""
    if tuple(array.shape) != shape:
        return f"an array of {tuple(array.shape)}, and {shape} were scanned"
    stored, scanned = np.dtype(array.dtype), np.dtype(dtype)
    # A float of more bits holds the same scores; whole numbers have another meaning.
    is_wider = stored.kind == scanned.kind == "f" and stored.itemsize >= scanned.itemsize
    if stored.newbyteorder("=") != scanned and not is_wider:
        return f"an array of {stored}, and {scanned} was scanned"
    return ""
