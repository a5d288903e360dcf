"""Zarr arrays, and OME-Zarr images (0.4 and 0.5) with their levels."""

from __future__ import annotations

from math import ceil
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry.grid import Sizes
from fullconv.geometry.images import ranks
from fullconv.sources.blocks import Blocked
from fullconv.sources.contents import Contents, contents_of, contents_of_array, visible_files
from fullconv.sources.ome_collection import METADATA, refuse_collection
from fullconv.sources.ome_zarr import Axes, OmeImage
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts
from fullconv.sources.trouble import check_block, damaged, reading
from fullconv.wording import kind, kinds, letters, names

if TYPE_CHECKING:
    import zarr

READ_AT_ONCE = 512 * 512
"""Small chunks are read together, up to about this many pixels, since every call is costly."""


class ZarrSource(Blocked):
    """One zarr array, of a folder or of any store that the caller has opened."""

    def __init__(
        self, path: Path | None, array: zarr.Array[Any], axes: Axes, within: str, facts: Facts
    ) -> None:
        self._path, self._array, self._axes, self._within = path, array, axes, within
        name = "array" if path is None else str(path)
        size, chunk = axes.size(array.shape), axes.size(array.chunks)
        bands = 1 if axes.bands is None else array.shape[axes.bands]
        block = _read_together(size, chunk)
        super().__init__(name, size, bands, array.dtype, block=block, facts=facts)

    def _block(self, *place: int) -> NDArray[Any]:
        axes, order = self._axes, self._axes.order
        where: list[slice | int] = [0] * self._array.ndim
        for axis, span in zip(axes.spatial, self.extent(*place), strict=True):
            where[axis] = slice(*span)
        if axes.bands is not None:
            where[axes.bands] = slice(None)
        from fullconv.sources.zarr_files import settled

        with reading(self.name), settled():
            stored = np.asarray(self._array[tuple(where)])
        pixels = stored.transpose([sorted(order).index(axis) for axis in order])
        pixels = pixels if axes.bands is not None else pixels[..., None]
        return np.array(pixels, dtype=self.dtype, order="C")

    def files(self) -> list[Path]:
        if self._path is None:
            return []
        if self._path.is_file():
            return [self._path]
        array = self._path / self._within
        named = [folder / name for folder in sorted({self._path, array}) for name in METADATA]
        return [*named, *(file for file in visible_files(array) if file not in named)]

    def contents(self) -> Contents:
        if self._path is None:
            return contents_of_array(self._array, self._array.chunks[0])
        # The name of a chunk gives its position, so names count.
        return contents_of(self.files(), self._path)


def _read_together(size: Sizes, chunk: Sizes) -> Sizes:
    side = round(READ_AT_ONCE ** (1 / len(size)))
    return tuple(
        min(extent, n * max(1, ceil(side / n))) for extent, n in zip(size, chunk, strict=True)
    )


def open_zarr(path: Path, dimensions: int = 2) -> Pyramid:
    """Return a zarr array as one level, or the levels of an OME-Zarr image.

    ``dimensions`` is the number of axes of the array beside those of bands and of length 1.

    Raises
    ------
    ImageError
        If an array is missing or damaged, or the group is not an image.
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
            axes = _plain_axes(name, node, dimensions)
            image = None
        else:
            if dimensions != 2:
                raise ImageError(
                    f"{name} is a zarr group, and {kinds(dimensions)}, {names(dimensions)}, are "
                    f"read from single arrays; name one of the arrays in it, as in {path / '0'}."
                )
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


def open_zarr_array(array: zarr.Array[Any], dimensions: int = 2) -> Pyramid:
    """Return a zarr array that the caller has opened, in any store, as one level.

    An array in a local folder has its path as name, and can be opened again from it.
    """
    from zarr.storage import LocalStore

    store = array.store
    path = Path(store.root, array.path) if isinstance(store, LocalStore) else None
    name = "array" if path is None else str(path)
    axes = _plain_axes(name, array, dimensions)
    _check(name, array, axes)

    def open_level(level: int, facts: Facts) -> ZarrSource:
        return ZarrSource(path, array, axes, "", facts)

    return Pyramid(name, (axes.size(array.shape),), open_level)


def _array(name: str, group: zarr.Group, within: str) -> zarr.Array[Any]:
    import zarr

    # Levels lie below their group (OME-Zarr 0.5, multiscales); another path would leave it.
    node, place = None, PureWindowsPath(within)  # it recognises the roots of every system
    if not (place.anchor or ".." in place.parts) and within in group:
        node = group[within]
    if not isinstance(node, zarr.Array):
        raise damaged(name, f"its array {within!r} is missing")
    return node


def _check(name: str, array: zarr.Array[Any], axes: Axes) -> None:
    if array.ndim <= max(axes.order):
        raise damaged(name, f"an array of shape {array.shape} does not fit its axes")
    if array.dtype.kind not in "buif":
        raise ImageError(
            f"{name} holds {array.dtype}, which cannot be read as pixels; save it with whole or "
            f"floating-point numbers."
        )
    others = [n for i, n in enumerate(array.shape) if i not in axes.order]
    if any(n > 1 for n in others):
        one = kind(len(axes.spatial))
        stack = {"image": "pictures"}.get(one, f"{one}s")
        raise ImageError(
            f"{name} holds a stack of {stack} (shape {array.shape}), and one {one} is read at a "
            f"time; save the one that you want to scan."
        )
    bands = 1 if axes.bands is None else array.shape[axes.bands]
    if 0 not in array.shape:
        block = _read_together(axes.size(array.shape), axes.size(array.chunks))
        check_block(name, block, bands * array.dtype.itemsize)


def _plain_axes(name: str, array: zarr.Array[Any], dimensions: int) -> Axes:
    """Return the axes of an array outside of OME-Zarr: by their names, else bands come last."""
    named = getattr(array.metadata, "dimension_names", None)
    short = [str(one)[:1].lower() for one in named or ()]
    wanted = letters(dimensions)
    if set(wanted) <= set(short):
        return Axes(tuple(map(short.index, wanted)), short.index("c") if "c" in short else None)
    if array.ndim not in (dimensions, dimensions + 1):
        more = ", or save it as OME-Zarr" if dimensions == 2 else ""
        raise ImageError(
            f"{name}: expected an array {ranks(dimensions)}; got shape {array.shape}. Name its "
            f"axes (dimension_names){more}."
        )
    return Axes(tuple(range(dimensions)), dimensions if array.ndim > dimensions else None)
