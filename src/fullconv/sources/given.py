"""The types of images that users name or give."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fullconv.sources.source import Source


class PixelArray(Protocol):
    """An array of NumPy, of zarr, or of whatever else becomes a NumPy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, key: Any, /) -> Any: ...


ImageLike = str | Path | Source | PixelArray
