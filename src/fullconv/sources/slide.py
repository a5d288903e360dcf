"""Whole slides, by OpenSlide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry import Pair
from fullconv.placement import Space
from fullconv.sources.blocks import Blocked
from fullconv.sources.colours import RGB
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts
from fullconv.sources.trouble import damaged, file_stamp, reading

if TYPE_CHECKING:
    import openslide

TILE = 512
"""Pixels read at a time where a slide does not say how it is stored."""


class SlideSource(Blocked):
    """One level of a whole slide, in RGB over the slide's background colour."""

    def __init__(
        self, path: Path, slide: openslide.OpenSlide, level: int, size: Pair, facts: Facts
    ) -> None:
        self._path, self._slide, self._level = path, slide, level
        held = slide.properties
        block = tuple(
            int(held.get(f"openslide.level[{level}].tile-{side}", TILE))
            for side in ("height", "width")
        )
        colour = held.get("openslide.background-color", "ffffff")
        self._background = np.frombuffer(bytes.fromhex(colour), np.uint8).astype(np.uint32)
        super().__init__(str(path), size, 3, np.dtype(np.uint8), block=block, facts=facts)

    def _block(self, row: int, column: int) -> NDArray[Any]:
        (top, bottom), (left, right) = self.extent(row, column)
        # Positions are in pixels of the full resolution, whatever level is read.
        scale = self._slide.level_downsamples[self._level]
        place = (round(left * scale), round(top * scale))
        with reading(self.name):
            region = self._slide.read_region(place, self._level, (right - left, bottom - top))
        return opaque(np.asarray(region), self._background)

    def stamp(self) -> Any:
        return file_stamp(self._path)

    def close(self) -> None:
        super().close()
        self._slide.close()


def opaque(pixels: NDArray[np.uint8], background: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return RGBA ``(h, w, 4)`` over a background colour, as RGB."""
    if pixels[:, :, 3].min() == 255:
        return np.ascontiguousarray(pixels[:, :, :3])
    alpha = pixels[:, :, 3:].astype(np.uint32)
    over = pixels[:, :, :3] * alpha + background * (255 - alpha)
    return ((over + 127) // 255).astype(np.uint8)


def is_slide(path: Path) -> bool:
    """Whether OpenSlide knows a file as the slide of some maker, and not just as a TIFF."""
    import openslide

    return openslide.OpenSlide.detect_format(str(path)) not in (None, "generic-tiff")


def open_slide(path: Path) -> Pyramid:
    """Return the levels of a whole slide.

    Raises
    ------
    ImageError
        If OpenSlide does not know it, or it is damaged.
    """
    import openslide

    name = str(path)
    with reading(name):
        if openslide.OpenSlide.detect_format(name) is None:
            raise damaged(name, "OpenSlide does not know it as a slide")
        slide = openslide.OpenSlide(str(path))
        sizes = tuple((height, width) for width, height in slide.level_dimensions)
        space = _space(slide)

    def open_level(level: int, facts: Facts) -> SlideSource:
        return SlideSource(path, slide, level, sizes[level], facts)

    return Pyramid(name, sizes, open_level, space, channels=RGB, close=slide.close)


def _space(slide: openslide.OpenSlide) -> Space | None:
    row, column = (float(slide.properties.get(f"openslide.mpp-{axis}") or 0) for axis in "yx")
    return Space.of_resolution((row, column)) if min(row, column) > 0 else None
