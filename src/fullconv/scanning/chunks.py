"""The chunks of a heatmap, one to a tile, and the two files that say what they are."""

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

from fullconv.files import bytes_of
from fullconv.geometry import Sizes
from fullconv.scanning.storing import nothing
from fullconv.system.disk import replace, to_disk
from fullconv.wording import letters

UNFINISHED = "fullconv_run"
"""The attribute that keeps a second copy of a run's record while its heatmap is written."""


def create(store: Any, shape: Sizes, tile: Sizes, dtype: str, run: Mapping[str, Any]) -> None:
    """Make an empty heatmap in a zarr store, one chunk to a tile.

    Its axes are the class and those of the image, by the names that OME-Zarr's viewers know.
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
    """Make the same in a folder, whose chunks stay, and return whether what describes them was
    amiss.

    zarr would empty the folder first.
    """
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    create(MemoryStore(held), shape, tile, dtype, run)
    is_amiss = False
    for name, written in held.items():
        place, data = folder / name, written.to_bytes()
        before = b""
        with contextlib.suppress(OSError):
            before = bytes_of(place)
        if before != data:
            is_amiss |= name != "zarr.json" and _layout(before) != _layout(data)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, data)
    return is_amiss


def _layout(described: bytes) -> Any:
    """Return what is said of an array but for its attributes, which come when it is finished."""
    try:
        return {**json.loads(described), "attributes": None}
    except (ValueError, TypeError, RecursionError):
        return None


def write_chunk(path: Path, scores: NDArray[Any], tile: Sizes) -> None:
    """Write a tile's scores, as they are stored, as a chunk of the array that `create` makes.

    Of two that write the same tile, one has the last word, and neither leaves half a chunk. zarr
    would do the same, but through an event loop and threads of its own, which wait for a core
    wherever the network has them all: a seventh of the time of a whole scan, measured.
    """
    from numcodecs.zstd import Zstd

    chunk = np.full((len(scores), *tile), nothing(scores.dtype), scores.dtype.newbyteorder("<"))
    chunk[tuple(map(slice, scores.shape))] = scores
    path.parent.mkdir(parents=True, exist_ok=True)
    with _moved_to(path) as temporary:
        temporary.write_bytes(Zstd(checksum=True).encode(chunk))


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all, and bring it to the disk."""
    with _moved_to(path) as temporary:
        temporary.write_bytes(data)
        to_disk(temporary)
    to_disk(path.parent)


@contextlib.contextmanager
def _moved_to(path: Path) -> Any:
    """Give a name beside a file's, and move to the file's own what was written there."""
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
