"""Zarr arrays, and OME-Zarr images (0.4 and 0.5) with their levels."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry import Pair
from fullconv.sources.blocks import Blocked
from fullconv.sources.contents import Contents, contents_of, files_below
from fullconv.sources.ome_collection import METADATA, refuse_collection
from fullconv.sources.ome_zarr import Axes, OmeImage
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts
from fullconv.sources.trouble import check_block, damaged, reading

if TYPE_CHECKING:
    import zarr

READ_AT_ONCE = 512
"""Small chunks are read together, up to this many pixels a side: each call has its price."""


class ZarrSource(Blocked):
    """One zarr array."""

    def __init__(
        self, path: Path, array: zarr.Array[Any], axes: Axes, within: str, facts: Facts
    ) -> None:
        self._path, self._array, self._axes, self._within = path, array, axes, within
        size, chunk = axes.size(array.shape), axes.size(array.chunks)
        bands = 1 if axes.bands is None else array.shape[axes.bands]
        block = _read_together(size, chunk)
        super().__init__(str(path), size, bands, array.dtype, block=block, facts=facts)

    def _block(self, row: int, column: int) -> NDArray[Any]:
        rows, columns = self.extent(row, column)
        axes = self._axes
        where: list[slice | int] = [0] * self._array.ndim
        where[axes.rows], where[axes.columns] = slice(*rows), slice(*columns)
        order = [axes.rows, axes.columns]
        if axes.bands is not None:
            where[axes.bands] = slice(None)
            order.append(axes.bands)
        from fullconv.sources.zarr_files import settled

        with reading(self.name), settled():
            stored = np.asarray(self._array[tuple(where)])
        pixels = stored.transpose([sorted(order).index(axis) for axis in order])
        pixels = pixels if axes.bands is not None else pixels[:, :, None]
        return np.array(pixels, dtype=self.dtype, order="C")

    def files(self) -> list[Path]:
        if self._path.is_file():
            return [self._path]
        array = self._path / self._within
        named = [folder / name for folder in sorted({self._path, array}) for name in METADATA]
        return [*named, *(file for file in files_below(array) if file not in named)]

    def contents(self) -> Contents:
        # What a chunk is called says where it lies.
        return contents_of(self.files(), self._path)


def _read_together(size: Pair, chunk: Pair) -> Pair:
    rows, columns = (
        min(extent, n * max(1, ceil(READ_AT_ONCE / n)))
        for extent, n in zip(size, chunk, strict=True)
    )
    return rows, columns


def open_zarr(path: Path) -> Pyramid:
    """Return a zarr array as one level, or the levels of an OME-Zarr image.

    Raises
    ------
    ImageError
        If an array is missing or damaged, or the group is no image.
    """
    import zarr

    from fullconv.sources.zarr_files import ZarrFiles, settled
    from fullconv.sources.zarr_limits import limit_of

    name = str(path)
    with reading(name), settled():
        refuse_collection(path)
        files = ZarrFiles(path)
        node = zarr.open(files, mode="r")
        if isinstance(node, zarr.Array):
            arrays, within = [node], [""]
            axes = _plain_axes(name, node, getattr(node.metadata, "dimension_names", None))
            image = None
        else:
            image = OmeImage.of(name, node.attrs.asdict())
            within = list(image.paths)
            arrays = [_array(name, node, one) for one in within]
            axes = image.axes(arrays[0].shape)
        for array, place in zip(arrays, within, strict=True):
            _check(name, array, axes)
            files.limits[place.strip("/")] = limit_of(name, array)
        sizes = tuple(axes.size(array.shape) for array in arrays)
        space, placements = image.places(sizes) if image else (None, ())
        remarks = image.remarks if image else ()
        channels = image.channels(arrays[0].dtype == np.uint8) if image else ()

    def open_level(level: int, facts: Facts) -> ZarrSource:
        return ZarrSource(path, arrays[level], axes, within[level], facts)

    return Pyramid(
        name,
        sizes,
        open_level,
        space,
        placements=placements,
        channels=channels,
        remarks=remarks,
    )


def _array(name: str, group: zarr.Group, within: str) -> zarr.Array[Any]:
    import zarr

    # Levels lie below their group (OME-Zarr 0.5, multiscales); another path would leave it.
    held, place = None, PureWindowsPath(within)  # which knows the roots of every system
    if not (place.anchor or ".." in place.parts) and within in group:
        held = group[within]
    if not isinstance(held, zarr.Array):
        raise damaged(name, f"its array {within!r} is missing")
    return held


def _check(name: str, array: zarr.Array[Any], axes: Axes) -> None:
    if array.ndim <= max(axes.rows, axes.columns, axes.bands or 0):
        raise damaged(name, f"an array of shape {array.shape} does not fit its axes")
    if array.dtype.kind not in "buif":
        raise ImageError(
            f"{name} holds {array.dtype}, which cannot be read as pixels; save it with whole or "
            f"floating-point numbers."
        )
    others = [
        n for i, n in enumerate(array.shape) if i not in (axes.rows, axes.columns, axes.bands)
    ]
    if any(n > 1 for n in others):
        raise ImageError(
            f"{name} holds a stack of pictures (shape {array.shape}), and one image is read at a "
            f"time; save the one that you want to scan."
        )
    bands = 1 if axes.bands is None else array.shape[axes.bands]
    if 0 not in array.shape:
        block = _read_together(axes.size(array.shape), axes.size(array.chunks))
        check_block(name, block, bands * array.dtype.itemsize)


def _plain_axes(name: str, array: zarr.Array[Any], named: Sequence[Any] | None) -> Axes:
    """Return the axes of an array alone: by their names, else ``(H, W)`` or ``(H, W, C)``."""
    short = [str(one)[:1].lower() for one in named or ()]
    if "y" in short and "x" in short:
        return Axes(short.index("y"), short.index("x"), short.index("c") if "c" in short else None)
    if array.ndim not in (2, 3):
        raise ImageError(
            f"{name}: expected an array (H, W) or (H, W, C); got shape {array.shape}. Name its "
            f"axes (dimension_names), or save it as OME-Zarr."
        )
    return Axes(0, 1, 2 if array.ndim == 3 else None)
