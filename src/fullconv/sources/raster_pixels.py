"""Conversion of the numbers that GDAL reads to pixels: bits, palettes, inverted grey.

`tiff_pixels` does the same for TIFFs that are read without GDAL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.sources.colours import GREY, RGB, Channels, of_gdal
from fullconv.sources.gdal import RasterioError, find_opening
from fullconv.sources.palettes import Table, look_up, reduced, slope
from fullconv.sources.starts import TIFF_STARTS
from fullconv.sources.tiff_pixels import GREY_INVERTED, as_stored, check_colours, finish
from fullconv.sources.trouble import UnreadableKindError

PARTS = 1024
"""The number of a mosaic's parts that are checked, which takes about a second."""

CHANGING = re.compile(r"(<|lt;)(ColorTableComponent|LUT|ScaleRatio|ScaleOffset|Exponent)\b")
"""Elements of a virtual raster, or of one inside it, that change the numbers of its parts."""


@dataclass(frozen=True)
class Meaning:
    """The conversion of stored numbers to pixels.

    Attributes
    ----------
    stored : numpy.dtype
        Type of the numbers.
    channels : tuple of Channel
        Names and colours of the pixels' bands.
    table : NDArray or None
        Colours or grey, indexed by number.
    factor : int
        Factor that spreads numbers of few bits over 0 to 255.
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
        """Return the conversion for a dataset."""
        stored = np.result_type(*dataset.dtypes)
        colours = [one.name for one in dataset.colorinterp]
        channels = of_gdal(colours, dataset.descriptions)
        colour_table = _colours(dataset) if dataset.count == 1 and stored.kind == "u" else None
        if colour_table is not None:
            table = reduced(colour_table)
            # GDAL's tables hold 8 bits; grey of more bits keeps them.
            if table.shape[1] == 1 and len(table) > 256:
                return cls(stored, GREY, is_inverted=slope(colour_table) < 0)
            return cls(stored, GREY if table.shape[1] == 1 else RGB, table)
        bits = {dataset.tags(n, ns="IMAGE_STRUCTURE").get("NBITS") for n in dataset.indexes}
        few = bits.pop() if len(bits) == 1 else None
        if stored == np.uint8 and few in ("1", "2", "4"):
            return cls(stored, channels, factor=255 // (2 ** int(few) - 1))
        return cls(stored, channels)

    @property
    def has_colours(self) -> bool:
        """Whether there is a palette of colours, other than a ramp of grey."""
        return self.table is not None and self.table.shape[1] == 3

    def nodata(self, declared: float | None) -> float | None:
        """Return GDAL's nodata number as a pixel, or as it is with a palette of colours."""
        number = None if declared is None else as_stored(declared, self.stored)
        if number is None:
            return None
        return float(number if self.has_colours else self.pixels(number[None, None, None])[0, 0, 0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return np.dtype(np.uint8) if self.table is not None else self.stored

    def pixels(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels ``(h, w, bands)`` of numbers ``(h, w, bands)`` or ``(h, w, 1)``."""
        if self.table is not None:
            return look_up(self.table, numbers[:, :, 0])
        if self.is_inverted:
            return np.asarray(np.iinfo(self.stored).max - numbers, self.stored)
        return numbers if self.factor == 1 else numbers * np.uint8(self.factor)


def check_parts(name: str, parts: Sequence[Path], meaning: Meaning, text: str) -> None:
    """Refuse a mosaic whose pixels would differ from those of its parts.

    GDAL does not carry the palette or inversion of a part over to the mosaic, unless the mosaic's
    own text has it, and reads 0 where a part has no pixels.

    Parameters
    ----------
    name : str
    parts : sequence of Path
    meaning : Meaning
        Conversion of the mosaic's numbers.
    text : str
        Text of the mosaic. If it changes the numbers itself, palettes and inversion are not
        compared.

    Raises
    ------
    UnreadableKindError
        If the mosaic is refused; it names the first such part.
    """
    is_plain = CHANGING.search(text) is None
    for part in parts[:PARTS]:
        if part.suffix.lower() == ".vrt":
            continue  # its own parts are among these
        why = _tiff_alone(part, meaning, is_plain) if _is_tiff(part) else None
        if why is None and is_plain and not _is_tiff(part):
            why = _raster_alone(part, meaning)
        if why is not None:
            raise UnreadableKindError(
                f"{name} does not say that {why} in {part}, one of its parts; give that file "
                f"itself, or make both anew."
            )


def _is_tiff(path: Path) -> bool:
    with suppress(OSError), open(path, "rb") as file:
        return file.read(4) in TIFF_STARTS
    return False


def _tiff_alone(part: Path, meaning: Meaning, is_plain: bool) -> str | None:
    """Return why the pixels of a TIFF differ in a mosaic; None where they are equal."""
    try:
        with tifffile.TiffFile(part, _multifile=False) as tiff:
            page: Any = tiff.pages.first
            check_colours(str(part), page)
            if page.dtype is None:
                return None
            lacks = page.databytecounts.count(0)
            alone = finish(page, _numbers(page.dtype, page.bitspersample))
    except ImageError:
        raise
    except (OSError, ValueError, tifffile.TiffFileError):
        return None  # reading its pixels reports what is wrong
    if lacks:
        return f"{lacks} of {len(page.databytecounts)} blocks were never written"
    if not is_plain or _are_same(alone, meaning, _numbers(page.dtype, page.bitspersample)):
        return None
    if page.photometric == GREY_INVERTED:
        return "0 is white"
    if page.bitspersample < 8:
        return f"numbers have {page.bitspersample} bit{'s' * (page.bitspersample > 1)}"
    return "numbers stand for colours"


def _raster_alone(part: Path, meaning: Meaning) -> str | None:
    """Return why the pixels of another raster differ in a mosaic; None where they are equal."""
    opening = find_opening(part)
    if opening is None:
        return None
    with suppress(RasterioError), opening.opened() as dataset:
        own = Meaning.of(dataset)
        numbers = _numbers(own.stored, own.stored.itemsize * 8)
        if not _are_same(own.pixels(numbers), meaning, numbers):
            return "numbers stand for colours"
    return None


def _numbers(dtype: np.dtype[Any], bits: int) -> NDArray[Any]:
    """Return numbers of ``bits`` bits, up to 4096 evenly spaced ones, as a column of pixels."""
    if dtype.kind not in "bu":
        return np.zeros((1, 1, 1), dtype)
    most = min(2**bits, 2**32) - 1
    whole = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    return np.linspace(0, most, min(most + 1, 4096)).astype(whole)[:, None, None]


def _are_same(alone: NDArray[Any], meaning: Meaning, numbers: NDArray[Any]) -> bool:
    """Whether a mosaic converts numbers to the same pixels as the part alone does."""
    if meaning.stored.kind != "u" or numbers.max() > np.iinfo(meaning.stored).max:
        return np.array_equal(alone, numbers)
    given = meaning.pixels(numbers.astype(meaning.stored))
    # There are two ways to reduce palettes of 16 bits to 8, which differ by 1 at most.
    return given.shape == alone.shape and bool(
        np.abs(given.astype(np.int64) - alone.astype(np.int64)).max() <= 1
    )


def _colours(dataset: Any) -> Table | None:
    """Return the colour table of the only band; None without one."""
    try:
        colours = dataset.colormap(1)
    except ValueError:
        return None
    table = np.zeros((max(colours) + 1, 3), np.uint8)
    table[list(colours)] = [colour[:3] for colour in colours.values()]
    return table
