"""What an image holds, told by its bytes: the same for a copy, another once it has changed.

Note [What is looked at]

An image is what its files hold, whatever their names, folders and times. Files of up to
`WHOLE_BYTES` in all are read whole. Of larger images, and of those in more than `MOST_FILES`
files, all sizes count, and `PIECES` pieces of `PIECE_BYTES`: the first and the last of each file,
and between them one at a random place in each of as many equal parts (of more files than pieces,
random files). So a change as long as such a part is always found. A shorter one is found with a
chance of its own length and a piece's, together, over that of the part. The places follow from the
sizes alone: the same bytes are looked at each time. Scans of such an image also keep checksums of
the pixels of every tile, by which some tiles are compared when a scan goes on and when it ends.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError, first_line

WHOLE_BYTES = 1 << 28
MOST_FILES = 1 << 14
PIECES = 1024
PIECE_BYTES = 1 << 16

WHOLE_ARRAY_BYTES = 1 << 32

DIGEST_BYTES = 16

SETTLED_NS = 2_000_000_000
"""A file that changed less than so long ago may change again, and its times show it to nobody."""

NO_PIXELS = (".aux.xml",)
"""Files beside a raster that programs write when they only look at it."""

Signature = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Contents:
    """What was found in the files, or the array, of an image.

    Attributes
    ----------
    digest : str
    is_sampled : bool
        Whether only a part of the bytes was looked at.
    signature : tuple or None
        What the system says of the files, which changes whenever they are written; None where it
        says nothing of that kind, or they have changed only now.
    """

    digest: str
    is_sampled: bool
    signature: Signature | None = field(default=None, compare=False)


def contents_of(files: Sequence[Path], root: Path | None = None) -> Contents:
    """Return what files hold; their order counts, and below ``root`` their names.

    Files that are not there, or that nobody may read, count as such.

    Raises
    ------
    ImageError
        If reading one fails once it has begun.
    """
    signature = signature_of(files)
    sizes = [_size(file) for file in files]
    total = sum(max(0, size) for size in sizes)
    is_sampled = total > WHOLE_BYTES or len(files) > MOST_FILES
    names = None if root is None else [os.path.relpath(file, root) for file in files]
    told = repr((sizes, names)).encode("utf-8", "surrogateescape")
    found = blake2b(told, digest_size=DIGEST_BYTES)
    if is_sampled:
        for number, place, count in pieces(sizes):
            found.update(_read(files[number], place, count))
    else:
        for file in files:
            _whole(file, found.update)
    return Contents(found.hexdigest(), is_sampled, signature)


def contents_of_bytes(file: Path, data: bytes, signature: Signature | None) -> Contents:
    """Return what a file holds that has been read whole already."""
    if len(data) > WHOLE_BYTES:
        return contents_of([file])
    found = blake2b(repr(([len(data)], None)).encode(), digest_size=DIGEST_BYTES)
    found.update(data)
    return Contents(found.hexdigest(), False, signature)


def contents_of_array(pixels: Any, together: int = 1) -> Contents:
    """Return what an array holds, by a checksum of each MiB or row, whichever is more.

    Of arrays of more than `WHOLE_ARRAY_BYTES`, which lie on a disk, only `PIECES` of these count.

    Parameters
    ----------
    pixels : array
        Of NumPy, or of zarr.
    together : int
        So many rows at least are read at a time, where they are stored together.
    """
    found = blake2b(repr((pixels.shape, pixels.dtype.str)).encode(), digest_size=DIGEST_BYTES)
    count = pixels.shape[0]
    rows = max(together, (1 << 20) * count // max(1, pixels.nbytes))
    bands: Sequence[int] = range(0, count, rows)
    is_sampled = pixels.nbytes > WHOLE_ARRAY_BYTES and len(bands) > PIECES
    if is_sampled:
        bands = sorted(random.Random(len(bands)).sample(bands, PIECES))
    for top in bands:
        held = np.asarray(pixels[top : top + rows])
        found.update(checksum(held).to_bytes(4, "little"))
    return Contents(found.hexdigest(), is_sampled)


def checksum(pixels: NDArray[Any]) -> int:
    """Return a CRC-32 of pixels, ten times as fast as a digest.

    It misses a change of them once in four thousand million.
    """
    from imagecodecs import deflate_crc32

    held: Any = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    return int(deflate_crc32(held))


def combined(checksums: Sequence[int | None]) -> int | None:
    """Return one checksum for several; None where one of them was not kept."""
    kept = [one for one in checksums if one is not None]
    if len(kept) < len(checksums):
        return None
    return kept[0] if len(kept) == 1 else checksum(np.array(kept, "<u4"))


def signature_of(files: Sequence[Path]) -> Signature | None:
    """Return what tells that files have been written to, without reading them.

    The time of the last change of a file's state (``ctime``) cannot be set back as that of its
    contents can. Windows has none.
    """
    if os.name != "posix":
        return None
    states: list[tuple[int, ...]] = []
    now = time.time_ns()
    for file in files:
        try:
            state = os.stat(file)
        except OSError:
            states.append(())
            continue
        if now - state.st_ctime_ns < SETTLED_NS:
            return None
        states.append(
            (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        )
    return tuple(states)


def pieces(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield which bytes of larger images are looked at: number of the file, place, and count."""
    total = sum(max(0, size) for size in sizes)
    chance = random.Random(f"{len(sizes)} {total}")
    numbers: Sequence[int] = range(len(sizes))
    if len(numbers) > PIECES:
        numbers = sorted(chance.sample(numbers, PIECES))
    for number in numbers:
        size = sizes[number]
        count = max(2, PIECES * size // max(1, total))
        if size <= count * PIECE_BYTES:
            yield number, 0, max(0, size)
            continue
        yield number, 0, PIECE_BYTES
        part = size / count
        for k in range(1, count - 1):
            place = int(k * part) + chance.randrange(max(1, int(part) - PIECE_BYTES))
            yield number, place, PIECE_BYTES
        yield number, size - PIECE_BYTES, PIECE_BYTES


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder, in order, but for hidden ones."""
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return found


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return -1


def _whole(file: Path, update: Callable[[bytes], None]) -> None:
    with _opened(file) as stream:
        while stream is not None and (data := stream.read(1 << 20)):
            update(data)


def _read(file: Path, place: int, count: int) -> bytes:
    with _opened(file) as stream:
        if stream is None:
            return b""
        stream.seek(place)
        return stream.read(count) or b""


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[io.FileIO | None]:
    """Open a file, if that can be done; what fails later is no file that is not there."""
    with contextlib.ExitStack() as stack:
        stream = None
        with contextlib.suppress(OSError):
            stream = stack.enter_context(open(file, "rb", buffering=0))
        try:
            yield stream
        except OSError as error:
            raise ImageError(
                f"{file} cannot be read ({error.strerror or first_line(error)}); look at its disk, "
                f"or copy it to another."
            ) from None
