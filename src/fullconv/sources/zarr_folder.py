"""Zarr arrays, and OME-Zarr images (0.4 and 0.5) with their levels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry import Pair
from fullconv.sources.blocks import Blocked
from fullconv.sources.contents import Contents, contents_of, files_below
from fullconv.sources.pyramid import Pyramid, um_of
from fullconv.sources.source import Resolution
from fullconv.sources.trouble import check_block, damaged, reading

if TYPE_CHECKING:
    import zarr

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")

READ_AT_ONCE = 512
"""Small chunks are read together, up to this many pixels a side: each call has its price."""


def is_zarr(path: Path) -> bool:
    """Whether a folder holds the metadata of a zarr array or group."""
    return any(os.path.isfile(path / name) for name in METADATA[:3])


@dataclass(frozen=True)
class Axes:
    """Which axes of an array are rows, columns, and bands; all others have length 1."""

    rows: int
    columns: int
    bands: int | None

    def size(self, shape: Sequence[int]) -> Pair:
        """Return ``(H, W)`` of an array."""
        return shape[self.rows], shape[self.columns]


class ZarrSource(Blocked):
    """One zarr array."""

    def __init__(
        self, path: Path, array: zarr.Array[Any], axes: Axes, within: str, **facts: Any
    ) -> None:
        self._path, self._array, self._axes, self._within = path, array, axes, within
        size, chunk = axes.size(array.shape), axes.size(array.chunks)
        bands = 1 if axes.bands is None else array.shape[axes.bands]
        block = _read_together(size, chunk)
        super().__init__(str(path), size, bands, array.dtype, block=block, **facts)

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

    from fullconv.sources.zarr_files import ZarrFiles, limit_of, settled

    name = str(path)
    with reading(name), settled():
        files = ZarrFiles(path)
        node = zarr.open(files, mode="r")
        if isinstance(node, zarr.Array):
            arrays, within = [node], [""]
            named = getattr(node.metadata, "dimension_names", None)
            axes, um = _plain_axes(name, node, named), None
        else:
            image = _ome_image(name, node)
            within = [str(held["path"]) for held in image["datasets"]]
            arrays = [_array(name, node, one) for one in within]
            axes, um = _ome_axes(name, image, arrays[0]), _ome_resolution(image)
        for array, place in zip(arrays, within, strict=True):
            _check(name, array, axes)
            files.limits[place.strip("/")] = limit_of(name, array)
        sizes = tuple(axes.size(array.shape) for array in arrays)

    def open_level(level: int, facts: dict[str, Any]) -> ZarrSource:
        return ZarrSource(path, arrays[level], axes, within[level], **facts)

    return Pyramid(name, sizes, open_level, um)


def _ome_image(name: str, group: zarr.Group) -> Mapping[str, Any]:
    attributes = group.attrs.asdict()
    ome = attributes.get("ome")
    held: Any = (ome if isinstance(ome, dict) else attributes).get("multiscales")
    if not held:
        raise ImageError(
            f"{name} is a zarr group without OME-Zarr image metadata (multiscales); name one of "
            f"the arrays in it."
        )
    image: Mapping[str, Any] = held[0]
    return image


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


def _ome_axes(name: str, image: Mapping[str, Any], array: zarr.Array[Any]) -> Axes:
    # Before version 0.4 axes were plain names; none at all meant t, c, z, y, x.
    held = image.get("axes") or list("tczyx")
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in held]
    if len(names) != array.ndim or "y" not in names or "x" not in names:
        raise damaged(name, f"axes {', '.join(names)} for an array of shape {array.shape}")
    return Axes(names.index("y"), names.index("x"), names.index("c") if "c" in names else None)


def _ome_resolution(image: Mapping[str, Any]) -> Resolution | None:
    """Return the scale of the first level, where its axes are in units of length."""
    axes = [axis for axis in image.get("axes", []) if isinstance(axis, dict)]
    scale = np.ones(len(axes))
    for holder in (image["datasets"][0], image):
        for transform in holder.get("coordinateTransformations", []):
            if transform.get("type") == "scale":
                scale = scale * np.asarray(transform["scale"], float)
    found = {}
    for axis, length in zip(axes, scale, strict=True):
        unit = um_of(str(axis.get("unit", "")))
        if unit is not None and length > 0:
            found[axis["name"]] = float(length) * unit
    return (found["y"], found["x"]) if "y" in found and "x" in found else None
