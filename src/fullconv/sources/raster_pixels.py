"""What the numbers that GDAL gives mean: bits, palettes, inverted grey; as in `tiff_pixels`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.sources.colours import GREY, RGB, Channels, of_gdal
from fullconv.sources.palettes import Table, look_up, reduced, slope
from fullconv.sources.tiff_pixels import GREY_INVERTED
from fullconv.sources.trouble import UnreadableKindError

PARTS = 64
"""Of a mosaic of more files, the first so many are looked at."""


@dataclass(frozen=True)
class Meaning:
    """How numbers become pixels.

    Attributes
    ----------
    stored : numpy.dtype
        Of the numbers.
    channels : tuple of Channel
        What the bands of pixels are.
    table : NDArray or None
        Colours or grey by number.
    factor : int
        By which numbers of few bits are spread over 0 to 255.
    is_inverted : bool
        Whether 0 is white, in numbers too large for a table.
    """

    stored: np.dtype[Any]
    channels: Channels
    table: Table | None = None
    factor: int = 1
    is_inverted: bool = False

    @classmethod
    def of(cls, dataset: Any) -> Meaning:
        """Return what the numbers of a dataset mean."""
        stored = np.result_type(*dataset.dtypes)
        colours = [one.name for one in dataset.colorinterp]
        channels = of_gdal(colours, dataset.descriptions)
        colour_table = _colours(dataset) if dataset.count == 1 and stored.kind == "u" else None
        if colour_table is not None:
            table = reduced(colour_table)
            # GDAL's tables hold 8 bits; deeper grey keeps its own.
            if table.shape[1] == 1 and len(table) > 256:
                return cls(stored, GREY, is_inverted=slope(colour_table) < 0)
            return cls(stored, GREY if table.shape[1] == 1 else RGB, table)
        bits = {dataset.tags(n, ns="IMAGE_STRUCTURE").get("NBITS") for n in dataset.indexes}
        few = bits.pop() if len(bits) == 1 else None
        if stored == np.uint8 and few in ("1", "2", "4"):
            return cls(stored, channels, factor=255 // (2 ** int(few) - 1))
        return cls(stored, channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return np.dtype(np.uint8) if self.table is not None else self.stored

    def pixels(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return pixels ``(h, w, bands)`` of numbers of the same shape, or of one band."""
        if self.table is not None:
            return look_up(self.table, numbers[:, :, 0])
        if self.is_inverted:
            return np.asarray(np.iinfo(self.stored).max - numbers, self.stored)
        return numbers if self.factor == 1 else numbers * np.uint8(self.factor)


def check_parts(name: str, parts: Sequence[Path]) -> None:
    """Refuse a mosaic of TIFFs that would be refused alone, for GDAL does not tell their colours.

    Raises
    ------
    UnreadableKindError
        With the name of the first such file.
    """
    from fullconv.sources.tiff import check_colours

    for part in parts[:PARTS]:
        try:
            with tifffile.TiffFile(part, _multifile=False) as tiff:
                page: Any = tiff.pages.first
                check_colours(str(part), page)
                is_turned = page.photometric == GREY_INVERTED and page.samplesperpixel > 1
        except ImageError:
            raise
        except (OSError, ValueError, tifffile.TiffFileError):
            continue  # reading its pixels says what is wrong with it
        if is_turned:
            raise UnreadableKindError(
                f"{name} does not say that 0 is white in {part}, one of its parts; give the "
                f"TIFF itself, or save it with black as 0."
            )


def _colours(dataset: Any) -> Table | None:
    """Return the colour table of the only band; None without one."""
    try:
        held = dataset.colormap(1)
    except ValueError:
        return None
    table = np.zeros((max(held) + 1, 3), np.uint8)
    table[list(held)] = [colour[:3] for colour in held.values()]
    return table
