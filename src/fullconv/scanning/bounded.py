"""A zarr store over a heatmap's files: read-only, regular files only, chunks of bounded size.

A heatmap may come from elsewhere, as images do. A few kilobytes in the place of a chunk may claim
gigabytes, and a pipe makes its reader wait for ever.
"""

from __future__ import annotations

import os
import stat
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from fullconv.errors import ImageError
from fullconv.sources.zarr_files import ZarrFiles
from fullconv.sources.zarr_limits import ROOM, SPARE_BYTES, limit_of
from fullconv.system.files import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable


class HeatmapFiles(ZarrFiles):
    """Reads regular files, and follows links: digests prove the contents."""

    def _path(self, key: str) -> str | None:
        path = os.path.join(self.root, key)
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISDIR(mode):
            return None
        if not stat.S_ISREG(mode):
            raise OSError(f"{path} is {kind_of(mode)}, and no file")
        return path


def open_folder(path: Path) -> tuple[dict[str, Any], Callable[[], zarr.Array[Any]]]:
    """Return the attributes of a heatmap's folder, and a function that opens its scores.

    Raises
    ------
    Exception
        Whatever zarr raises where the folder is no group.
    """
    files = HeatmapFiles(path)
    group = zarr.open_group(files, mode="r")
    return dict(group.attrs), lambda: _bounded(files, group["0"])


def open_scores(folder: Path) -> zarr.Array[Any]:
    """Open the scores of a heatmap that is being written, for reading."""
    files = HeatmapFiles(folder)
    return _bounded(files, zarr.open_array(files, path="0", mode="r"))


def _bounded(files: HeatmapFiles, array: Any) -> zarr.Array[Any]:
    """Return an array after bounding the size to which its chunks may decode.

    Raises
    ------
    ImageError
        If its chunks are larger than the array, or stored in a way that no heatmap is.
    """
    name = str(files.root)
    limit = limit_of(name, array)
    chunk_bytes, all_bytes = (prod(n) * array.dtype.itemsize for n in (array.chunks, array.shape))
    if chunk_bytes > max(SPARE_BYTES, ROOM * all_bytes):
        raise ImageError(
            f"its chunks of {'x'.join(map(str, array.chunks))} numbers are larger than the array"
        )
    files.limits["0"] = limit
    return array  # type: ignore[no-any-return]
