"""The chunks of a heatmap, one for each tile, and the two metadata files that describe them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes
from fullconv.scanning.storing import nothing
from fullconv.system.disk import replace, to_disk
from fullconv.system.files import bytes_of
from fullconv.wording import letters

UNFINISHED = "fullconv_run"
"""The attribute that keeps a second copy of a run's record while its heatmap is written."""


def create(store: Any, shape: Sizes, tile: Sizes, dtype: str, run: Mapping[str, Any]) -> None:
    """Make an empty heatmap in a zarr store, one chunk for each tile.

    Its axes are the class and those of the image, named as OME-Zarr's viewers expect.
    """
    import zarr
    from zarr.codecs import BytesCodec, ZstdCodec

    group = zarr.open_group(store, mode="w", zarr_format=3, attributes={UNFINISHED: dict(run)})
    group.create_array(
        "0",
        shape=shape,
        chunks=(shape[0], *tile),
        dtype=dtype,
        serializer=BytesCodec(endian="little"),
        compressors=ZstdCodec(checksum=True),
        fill_value=nothing(dtype),
        dimension_names=["c", *letters(len(tile))],
    )


def create_folder(
    folder: Path, shape: Sizes, tile: Sizes, dtype: str, run: Mapping[str, Any]
) -> bool:
    """Make an empty heatmap in a folder, but keep the chunks in it; zarr would empty it first.

    Returns whether the metadata of the array was missing or damaged.
    """
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    create(MemoryStore(files), shape, tile, dtype, run)
    is_damaged = False
    for name, written in files.items():
        place, data = folder / name, written.to_bytes()
        before = b""
        with contextlib.suppress(OSError):
            before = bytes_of(place)
        if before != data:
            is_damaged |= name != "zarr.json" and _layout(before) != _layout(data)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, data)
    return is_damaged


def _layout(described: bytes) -> Any:
    """Return the metadata of an array without its attributes, which are added at the end."""
    try:
        return {**json.loads(described), "attributes": None}
    except (ValueError, TypeError, RecursionError):
        return None


def write_chunk(path: Path, scores: NDArray[Any], tile: Sizes) -> None:
    """Write a tile's scores, as they are stored, as a chunk of the array that `create` makes.

    If two processes write the same tile, the later one wins, and neither leaves half a chunk. zarr
    would do the same, but through an event loop and threads of its own. They wait for a core while
    the network uses all of them, which took a seventh of the time of a whole scan, measured.
    """
    from numcodecs.zstd import Zstd

    chunk = np.full((len(scores), *tile), nothing(scores.dtype), scores.dtype.newbyteorder("<"))
    chunk[tuple(map(slice, scores.shape))] = scores
    path.parent.mkdir(parents=True, exist_ok=True)
    with _moved_to(path) as temporary:
        temporary.write_bytes(Zstd(checksum=True).encode(chunk))


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all, and sync it to the disk."""
    with _moved_to(path) as temporary:
        temporary.write_bytes(data)
        to_disk(temporary)
    to_disk(path.parent)


@contextlib.contextmanager
def _moved_to(path: Path) -> Any:
    """Yield a temporary path beside a file, and rename it to the file when it is written."""
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        yield temporary
        try:
            replace(temporary, path)
        except OSError:
            if path.is_symlink() or not path.is_dir():
                raise
            path.rmdir()  # an empty folder in its place
            replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
