"""Whole slides, read by OpenSlide."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry.grid import HeightWidth
from fullconv.geometry.placement import Space
from fullconv.sources.blocks import Blocked
from fullconv.sources.colours import RGB
from fullconv.sources.contents import visible_files
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts
from fullconv.sources.trouble import check_regular, damaged, reading

if TYPE_CHECKING:
    import openslide

LIST_BYTES = 1 << 24
"""The limit of a slide's list of its files."""

TILE = 512
"""Side of the blocks that are read where a slide does not give its tile size."""


class SlideSource(Blocked):
    """One level of a whole slide, in RGB over the slide's background colour."""

    def __init__(
        self, path: Path, slide: openslide.OpenSlide, level: int, size: HeightWidth, facts: Facts
    ) -> None:
        self._path, self._slide, self._level = path, slide, level
        properties = slide.properties
        block = tuple(
            int(properties.get(f"openslide.level[{level}].tile-{side}", TILE))
            for side in ("height", "width")
        )
        colour = properties.get("openslide.background-color", "ffffff")
        self._background = np.frombuffer(bytes.fromhex(colour), np.uint8).astype(np.uint32)
        super().__init__(str(path), size, 3, np.dtype(np.uint8), block=block, facts=facts)

    def _block(self, *place: int) -> NDArray[Any]:
        (top, bottom), (left, right) = self.extent(*place)
        # OpenSlide's positions are pixels of the full resolution for every level.
        scale = self._slide.level_downsamples[self._level]
        corner = (round(left * scale), round(top * scale))
        with reading(self.name):
            region = self._slide.read_region(corner, self._level, (right - left, bottom - top))
        return opaque(np.asarray(region), self._background)

    def files(self) -> list[Path]:
        return slide_files(self._path)

    def close(self) -> None:
        super().close()
        self._slide.close()


def opaque(pixels: NDArray[np.uint8], background: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return RGBA pixels ``(h, w, 4)`` composed over a background colour, as RGB."""
    if pixels[:, :, 3].min() == 255:
        return np.ascontiguousarray(pixels[:, :, :3])
    alpha = pixels[:, :, 3:].astype(np.uint32)
    over = pixels[:, :, :3] * alpha + background * (255 - alpha)
    return ((over + 127) // 255).astype(np.uint8)


def slide_files(path: Path) -> list[Path]:
    """Return the files of a slide; many makers keep its pixels outside of the named file."""
    ending = path.suffix.lower()
    if ending == ".mrxs":
        return [path, *visible_files(path.with_suffix(""))]
    if ending in (".vms", ".vmu"):
        lines = path.read_text("utf-8", "replace").splitlines()
        named = (path.parent / line.partition("=")[2].strip() for line in lines if "=" in line)
        return [path, *sorted({file for file in named if file.is_file()})]
    if ending == ".dcm":
        return sorted(path.parent.glob("*.dcm"))
    return [path]


def is_slide(path: Path) -> bool:
    """Whether OpenSlide recognises a file as a maker's slide, and not just as a TIFF."""
    import openslide

    return openslide.OpenSlide.detect_format(str(path)) not in (None, "generic-tiff")


def check_parts(path: Path) -> None:
    """Refuse a slide whose list of files names a file outside of its own folder.

    Hamamatsu's ``.vms`` and ``.vmu`` are such lists. MIRAX keeps its list in the folder beside the
    ``.mrxs`` file.

    Raises
    ------
    ImageError
        If the slide is refused; it names the part.
    """
    lists = {".vms": path, ".vmu": path, ".mrxs": path.with_suffix("") / "Slidedat.ini"}
    listed = lists.get(path.suffix.lower())
    if listed is None or not os.path.lexists(listed):
        return
    check_regular(listed)
    if listed.stat().st_size > LIST_BYTES:
        raise damaged(str(path), f"its list of files, {listed.name}, is too long")
    folder = Path(os.path.realpath(listed)).parent
    for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
        value = line.partition("=")[2].strip()
        part = folder / value
        # Most values are not names. Every value that names a file must name one in the folder.
        if value and os.path.lexists(part) and not part.is_dir():
            if not Path(os.path.realpath(part)).is_relative_to(folder):
                raise ImageError(
                    f"{path} names {value[:120]!r}, outside its own folder; fullconv does not "
                    f"follow it. Put all files of the slide in one folder."
                )
            check_regular(part)


def open_slide(path: Path) -> Pyramid:
    """Return the levels of a whole slide as a pyramid.

    Raises
    ------
    ImageError
        If OpenSlide does not recognise the slide, or it is damaged.
    """
    import openslide

    name = str(path)
    with reading(name):
        check_parts(path)
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
