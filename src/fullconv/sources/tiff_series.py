"""The pages of a TIFF that are the image, and their axes as rows, columns and bands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry.grid import HeightWidth
from fullconv.sources.contents import contents_of
from fullconv.sources.picture import PictureSource
from fullconv.sources.source import Facts, Source
from fullconv.sources.tiff_blocks import LevelStorage, TiffSource
from fullconv.sources.tiff_numbers import NumbersSource, ordered
from fullconv.sources.tiff_pixels import PALETTE, photometric_of
from fullconv.sources.trouble import (
    UnreadableKindError,
    check_whole,
    damaged,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

REDUCED, MASK = 1, 4
"""Bits of the tag NewSubfileType (TIFF 6.0, section 8)."""

LayoutOf = Callable[[str, Any, list[Any]], LevelStorage]


def main_series(name: str, tiff: TiffFile) -> TiffPageSeries:
    """Return the first series that is neither a thumbnail of another, nor a mask.

    Raises
    ------
    ImageError
        If there is no series, or ImageJ's bands behind the first page are missing.
    """
    if not tiff.series:
        raise damaged(name, "it holds no image")
    images = (tiff.imagej_metadata or {}).get("images", 1)
    if tiff.is_imagej and tiff.series[0].kind != "imagej" and int(images) > len(tiff.pages):
        raise damaged(name, "pixels are missing at its end")
    whole = (one for one in tiff.series if not _is_beside(one.keyframe))
    main: TiffPageSeries = next(whole, tiff.series[0])
    return main


def _is_beside(page: Any) -> bool:
    return bool(int(getattr(page, "subfiletype", 0)) & (REDUCED | MASK))


@dataclass(frozen=True)
class Level:
    """One level of a series.

    Attributes
    ----------
    name : str
        Name of the file.
    series : tifffile.TiffPageSeries
    background : int or None
        As in `LevelStorage`.
    """

    name: str
    series: TiffPageSeries
    background: int | None = None

    @property
    def lengths(self) -> dict[str, int]:
        """The lengths of the axes, by tifffile's letters."""
        return dict(zip(self.series.axes, self.series.shape, strict=True))

    @property
    def bands(self) -> int:
        """Channels that are not samples of one pixel."""
        return self.lengths.get("C", 1)

    @property
    def size(self) -> HeightWidth:
        """``(H, W)``.

        Raises
        ------
        ImageError
            If there are axes other than rows, columns and bands.
        """
        lengths = self.lengths
        if "Y" not in lengths or "X" not in lengths:
            raise damaged(self.name, "its image has no rows and columns")
        # 'I' counts pages that merely have the same size; the first is the image, as in viewers.
        many = [f"{n} along {a}" for a, n in lengths.items() if n > 1 and a not in "YXSCI"]
        if many:
            raise ImageError(
                f"{self.name} holds a stack of pictures ({', '.join(many)}), and one image is read "
                f"at a time; save the one that you want to scan."
            )
        return lengths["Y"], lengths["X"]

    @property
    def pages(self) -> list[Any]:
        """The pages of the image: one for each band, or the first that is not a thumbnail."""
        pages = list(self.series.pages)
        if "I" not in self.series.axes:
            return pages
        whole = [page for page in pages if not _is_beside(page)]
        return (whole or pages)[:1]

    @property
    def is_paged(self) -> bool:
        """Whether there is a page per band, and each holds rows and columns, in this order."""
        page: TiffPage = self.series.keyframe
        order = [a for a, n in self.lengths.items() if a in "YX" or (a in "CI" and n > 1)]
        return (
            order in (["Y", "X"], ["C", "Y", "X"], ["I", "Y", "X"])
            and (page.imagelength, page.imagewidth) == self.size
            and len(self.pages) >= self.bands
        )

    def opener(self, path: Path, layout_of: LayoutOf) -> Callable[[Facts], Source]:
        """Return a function that opens the level, after checking that it can be read."""
        size = self.size
        if self.is_paged or min(size) < 1:
            pages = self.pages
            layout = replace(
                layout_of(self.name, self._key(pages), pages), background=self.background
            )
            return lambda facts: TiffSource(path, layout, size, facts)
        return self._unpaged(path, layout_of)

    def _key(self, pages: list[Any]) -> Any:
        first = pages[0] if pages else None
        return first if first is not None and hasattr(first, "tags") else self.series.keyframe

    def _unpaged(self, path: Path, layout_of: LayoutOf) -> Callable[[Facts], Source]:
        """Return a function that opens a series whose pages are not one picture per band.

        ImageJ writes one page for a stack of more than 4 GB, and the other pictures behind it
        without pages. Other programs write arrays with their axes in any order.
        """
        key: Any = self.series.keyframe
        layout = layout_of(self.name, key, [key])
        shape = self.series.shape
        if (
            photometric_of(key) == PALETTE
            and self.lengths.get("C", 1) * self.lengths.get("S", 1) > 1
        ):
            raise UnreadableKindError(f"{self.name} has a palette for several bands; save as RGB.")
        offset = self.series.dataoffset
        if offset is not None and key.bitspersample in (8, 16, 32, 64):
            stored = np.dtype(key.dtype).newbyteorder(key.parent.byteorder)
            if offset + prod(shape) * stored.itemsize > path.stat().st_size:
                raise damaged(self.name, "pixels are missing at its end")
            axes = self.series.axes
            return lambda facts: NumbersSource(
                path=path,
                stored=stored,
                offset=offset,
                shape=shape,
                axes=axes,
                page=key,
                facts=facts,
            )
        samples = self.lengths.get("S", 1) if self.series.axes.endswith("S") else 1
        pages = list(self.series.pages)
        if None in pages or len(pages) * prod(layout.size) * samples != prod(shape):
            raise UnreadableKindError(
                f"{self.name} is stored with the axes {self.series.axes} in pages of "
                f"{layout.size[1]}x{layout.size[0]} pixels, which fullconv does not read; save it "
                f"uncompressed, or with its bands last or first."
            )
        check_whole(self.name, self.size, self.bands * samples * np.dtype(key.dtype).itemsize)
        layouts = [layout_of(self.name, key, [page]) for page in pages]

        def opened(facts: Facts) -> Source:
            first = contents_of([path])
            return PictureSource(path, first, self._decoded(path, layouts, facts), facts)

        return opened

    def _decoded(self, path: Path, layouts: list[LevelStorage], facts: Facts) -> NDArray[Any]:
        """Return all pages, decoded one by one, as ``(H, W, bands)``."""
        read = []
        for layout in layouts:
            height, width = layout.size
            with TiffSource(path, layout, layout.size, facts) as source:
                read.append(source.read((0, height), (0, width)))
        stacked = np.stack(read)
        shape, axes = self.series.shape, self.series.axes
        if stacked.size > prod(shape):  # colours of a palette
            shape, axes = (*shape, stacked.shape[-1]), f"{axes}S"
        return np.ascontiguousarray(ordered(stacked.reshape(shape), axes))
