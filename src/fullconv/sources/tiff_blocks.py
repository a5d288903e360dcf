"""Tiles and strips of a TIFF, read and decoded one by one."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import HeightWidth, Sizes, Span
from fullconv.sources.blocks import Blocked
from fullconv.sources.colours import GREY as GREY_BAND
from fullconv.sources.encoded_blocks import check_encoded
from fullconv.sources.source import Facts, Source
from fullconv.sources.tiff_pixels import (
    bands_of,
    finish,
    has_colours,
    is_plain_jpeg,
    jpeg_samples,
    pixels_dtype,
)
from fullconv.sources.trouble import DECODED_LIMIT_BYTES, damaged, reading
from fullconv.system.reading import PositionedFile

if TYPE_CHECKING:
    from tifffile import TiffPage

PIECE_BYTES = 1024**2
"""An uncompressed image in one strip is read in pieces of about this size."""


@dataclass(frozen=True)
class Layer:
    """The positions of the tiles or strips of one page, or of one plane of it.

    Attributes
    ----------
    offsets, counts : sequence of int
        Position and length of each in the file, in bytes; the length is 0 if it was never written.
    first : int
        Number of the first tile or strip within the page.
    tables : bytes or None
        JPEG tables that all tiles of the page share.
    """

    offsets: Sequence[int]
    counts: Sequence[int]
    first: int
    tables: bytes | None


@dataclass(frozen=True)
class LevelStorage:
    """The storage of one level.

    Attributes
    ----------
    page : tifffile.TiffPage
        Page that decodes the tiles and strips.
    stored : (int, int)
        Size of a tile or strip.
    samples : int
        Samples per pixel that are stored together.
    layers : tuple of Layer
        Layers of ``samples`` samples per pixel each.
    background : int or None
        Value of tiles that were never written, where the scanner's maker defines one.
    keeps_numbers : bool
        Whether palette indices are returned in place of their colours.
    """

    page: TiffPage
    stored: HeightWidth
    samples: int
    layers: tuple[Layer, ...]
    background: int | None = None
    keeps_numbers: bool = False

    @property
    def size(self) -> HeightWidth:
        """``(H, W)`` of a page."""
        return self.page.imagelength, self.page.imagewidth

    @property
    def plain(self) -> bool:
        """Whether rows can be read without decoding: one strip, and nothing encoded."""
        page = self.page
        return (
            not page.is_tiled
            and self.stored[0] >= page.imagelength
            and page.compression == 1
            and page.predictor == 1
            and page.fillorder == 1
            and page.bitspersample in (8, 16, 32, 64)
        )

    def lacking(self) -> frozenset[int]:
        """Return the numbers of the tiles or strips that are missing in some layer."""
        missing: set[int] = set()
        for layer in self.layers:
            missing.update(np.flatnonzero(np.asarray(layer.counts) == 0).tolist())
        return frozenset(missing)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of an unencoded layer."""
        return self.stored[1] * self.samples * np.dtype(self.page.dtype).itemsize

    @property
    def block(self) -> HeightWidth:
        """Size of the pieces that are read and cached."""
        if not self.plain:
            return self.stored
        return min(self.stored[0], max(1, PIECE_BYTES // self.row_bytes)), self.stored[1]


class TiffSource(Blocked):
    """One level of a TIFF."""

    def __init__(self, path: Path, layout: LevelStorage, size: Sizes, facts: Facts) -> None:
        self._path, self._layout = path, layout
        with reading(str(path)):
            self._file = PositionedFile(path)  # closed by close()
            self._finished = weakref.finalize(self, self._file.close)
        bands, dtype = bands_of(layout.page, layout.samples), pixels_dtype(layout.page)
        if layout.keeps_numbers:
            bands, dtype = layout.samples, np.dtype(np.uint16)
        bands *= len(layout.layers)
        super().__init__(str(path), size, bands, dtype, block=layout.block, facts=facts)
        # Tiles in a row of the page, which may be wider than the level.
        self._across = ceil(layout.size[1] / layout.stored[1])
        self._lacking = frozenset() if layout.background is not None else layout.lacking()

    @property
    def lacks_pixels(self) -> bool:
        """Whether tiles were never written."""
        return bool(self._lacking)

    def missing(self, *spans: Span) -> NDArray[np.bool_] | None:
        """Return where tiles were never written; None if they all were, or show a background."""
        if not self._lacking:
            return None
        ((top, bottom), (left, right)), (h, w) = spans, self._layout.stored
        lacking = np.zeros((bottom - top, right - left), np.bool_)
        for i in range(top // h, (bottom - 1) // h + 1):
            for j in range(left // w, (right - 1) // w + 1):
                if i * self._across + j in self._lacking:
                    y, x = i * h - top, j * w - left
                    lacking[max(0, y) : y + h, max(0, x) : x + w] = True
        return lacking if lacking.any() else None

    def _block(self, *place: int) -> NDArray[Any]:
        with reading(self.name):
            parts = [self._layer(layer, *place) for layer in self._layout.layers]
            return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.dstack(parts))

    def _layer(self, layer: Layer, row: int, column: int) -> NDArray[Any]:
        """Return the pixels of one layer in a block, ``(h, w, bands)``."""
        (top, bottom), (left, right) = self.extent(row, column)
        shape = (bottom - top, right - left, self._layout.samples)
        if self._layout.plain:
            pixels = self._rows(layer, top, bottom)
        else:
            pixels = self._decoded(layer, row * self._across + column)
        page = self._layout.page
        if pixels is None:
            background = self._layout.background
            nodata = np.array(page.nodata if background is None else background)
            pixels = np.full(shape, nodata.astype(page.dtype))
        pixels = pixels[: shape[0], : shape[1]]
        return pixels.astype(np.uint16) if self._layout.keeps_numbers else finish(page, pixels)

    def _rows(self, layer: Layer, top: int, bottom: int) -> NDArray[Any] | None:
        if not layer.counts[0]:
            return None
        page, per_row = self._layout.page, self._layout.row_bytes
        data = self._bytes_at(layer.offsets[0] + top * per_row, (bottom - top) * per_row)
        dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        stored = np.frombuffer(data, dtype).reshape(bottom - top, -1, self._layout.samples)
        return stored.astype(dtype.newbyteorder("="), copy=False)

    def _decoded(self, layer: Layer, index: int) -> NDArray[Any] | None:
        if not layer.counts[index]:
            return None
        data = self._bytes_at(layer.offsets[index], layer.counts[index])
        page = self._layout.page
        check_encoded(self.name, data, page.compression, self._layout.stored)
        if is_plain_jpeg(page):
            return jpeg_samples(page, data, layer.tables)
        pixels, _, _ = page.decode(data, layer.first + index, jpegtables=layer.tables)
        return None if pixels is None else pixels[0]

    def _bytes_at(self, offset: int, count: int) -> bytes:
        if offset + count > self._file.size_bytes:
            raise damaged(self.name, "pixels are missing at its end")
        if count > DECODED_LIMIT_BYTES:
            raise damaged(self.name, f"one of its blocks is said to be {count} bytes long")
        data = self._file.read(count, offset)
        if len(data) < count:
            raise damaged(self.name, "pixels are missing at its end")
        return data

    def select(self, bands: Sequence[int]) -> Source:
        """Return a source that decodes only the layers of these bands, if each has its own."""
        layers = self._layout.layers
        if self.bands != len(layers) or self.bands == 1:
            return super().select(bands)
        chosen = TiffSource(
            self._path,
            replace(self._layout, layers=tuple(layers[band] for band in bands)),
            self.size,
            self.facts_of(bands),
        )
        self.close()
        chosen.description = self.description | {"bands": [band + 1 for band in bands]}
        return chosen

    def numbers(self) -> Source:
        if not has_colours(self._layout.page):
            return self
        kept = replace(self._layout, keeps_numbers=True)
        return TiffSource(self._path, kept, self.size, replace(self.facts, channels=GREY_BAND))

    def files(self) -> list[Path]:
        return [self._path]

    def close(self) -> None:
        super().close()
        self._finished()


def find_layers(
    name: str, page: Any, planes: int, size: HeightWidth, stored: HeightWidth
) -> list[Layer]:
    """Return the layers of a page, one for each plane.

    Raises
    ------
    ImageError
        If the page does not list all of their tiles or strips.
    """
    each = ceil(size[0] / stored[0]) * ceil(size[1] / stored[1])
    offsets, counts = page.dataoffsets, page.databytecounts
    if min(len(offsets), len(counts)) < planes * each:
        raise damaged(
            name,
            f"it lists {min(len(offsets), len(counts))} of the {planes * each} blocks that an "
            f"image of {size[1]}x{size[0]} pixels has",
        )
    return [
        Layer(
            offsets[plane * each : (plane + 1) * each],
            counts[plane * each : (plane + 1) * each],
            plane * each,
            page.jpegtables,
        )
        for plane in range(planes)
    ]
