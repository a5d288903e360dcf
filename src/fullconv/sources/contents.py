"""Digests of an image's bytes: equal for a copy, different once the image has changed.

Note [Sampled contents]

The digest of an image depends on the bytes of its files, and not on their names, folders and
times. Files of up to `WHOLE_BYTES` in all are read whole. A larger image, or one of more than
`MOST_FILES` files, is sampled: the digest covers the sizes of all files, and `PIECES` pieces of
`PIECE_BYTES`. Each file is divided into equal parts. The pieces are the first and the last of the
file, and one at a random place in each part between; if there are more files than pieces, random
files are read. So a change as long as a part is always detected. The probability of detecting a
shorter one is its length plus that of a piece, over the length of the part. The places are random
numbers seeded by the sizes, so that the same bytes are read each time. Scans of a sampled image
also keep checksums of the pixels of every tile, and compare some of them when a scan resumes and
when it ends.
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
"""A more recent file may change again within one tick of the clock, and so keep its times."""

NO_PIXELS = (".aux.xml",)
"""Endings of files that programs write beside a raster when they only open it."""

Signature = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Contents:
    """A digest of the files, or the array, of an image.

    Attributes
    ----------
    digest : str
    is_sampled : bool
        Whether only a part of the bytes was read.
    signature : tuple or None
        Metadata of the files that changes whenever they are written (`signature_of`); None where
        the system has none, or a file changed within the last `SETTLED_NS`.
    """

    digest: str
    is_sampled: bool
    signature: Signature | None = field(default=None, compare=False)


def contents_of(files: Sequence[Path], root: Path | None = None) -> Contents:
    """Return the contents of files, in this order; with ``root``, their names below it count too.

    A missing or unreadable file adds only its size to the digest (-1 if it is missing).

    Raises
    ------
    ImageError
        If an open file cannot be read.
    """
    signature = signature_of(files)
    sizes = [_size(file) for file in files]
    total = sum(max(0, size) for size in sizes)
    is_sampled = total > WHOLE_BYTES or len(files) > MOST_FILES
    names = None if root is None else [os.path.relpath(file, root) for file in files]
    header = repr((sizes, names)).encode("utf-8", "surrogateescape")
    digest = blake2b(header, digest_size=DIGEST_BYTES)
    if is_sampled:
        for number, place, count in pieces(sizes):
            digest.update(_read(files[number], place, count))
    else:
        for file in files:
            _whole(file, digest.update)
    return Contents(digest.hexdigest(), is_sampled, signature)


def contents_of_bytes(file: Path, data: bytes, signature: Signature | None) -> Contents:
    """Return the contents of a file whose bytes ``data`` are in memory already."""
    if len(data) > WHOLE_BYTES:
        return contents_of([file])
    digest = blake2b(repr(([len(data)], None)).encode(), digest_size=DIGEST_BYTES)
    digest.update(data)
    return Contents(digest.hexdigest(), False, signature)


def contents_of_array(pixels: Any, together: int = 1) -> Contents:
    """Return the contents of an array, from checksums of pieces of a MiB or a row, if that is more.

    An array of more than `WHOLE_ARRAY_BYTES`, which lies on a disk, is sampled in `PIECES` pieces.

    Parameters
    ----------
    pixels : array
        A NumPy or zarr array.
    together : int
        The least number of rows in a piece: those that are stored together.
    """
    digest = blake2b(repr((pixels.shape, pixels.dtype.str)).encode(), digest_size=DIGEST_BYTES)
    count = pixels.shape[0]
    rows = max(together, (1 << 20) * count // max(1, pixels.nbytes))
    bands: Sequence[int] = range(0, count, rows)
    is_sampled = pixels.nbytes > WHOLE_ARRAY_BYTES and len(bands) > PIECES
    if is_sampled:
        bands = sorted(random.Random(len(bands)).sample(bands, PIECES))
    for top in bands:
        piece = np.asarray(pixels[top : top + rows])
        digest.update(checksum(piece).to_bytes(4, "little"))
    return Contents(digest.hexdigest(), is_sampled)


def checksum(pixels: NDArray[Any]) -> int:
    """Return a CRC-32 of pixels, ten times as fast as a digest.

    The probability that it misses a change is 2 ** -32.
    """
    from imagecodecs import deflate_crc32

    data: Any = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    return int(deflate_crc32(data))


def combined(checksums: Sequence[int | None]) -> int | None:
    """Return one checksum of several; None if one of them is None."""
    kept = [one for one in checksums if one is not None]
    if len(kept) < len(checksums):
        return None
    return kept[0] if len(kept) == 1 else checksum(np.array(kept, "<u4"))


def signature_of(files: Sequence[Path]) -> Signature | None:
    """Return metadata of files that changes when they are written, without reading them.

    It holds the time of the last change of a file's state (``ctime``), which cannot be set back
    as that of its contents can. Windows has none; there the signature is None.
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
    """Yield the pieces of a sampled image: number of the file, first byte, and count of bytes."""
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


def visible_files(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted, without hidden ones."""
    files = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        files += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return files


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
    """Open a file, or yield None; an error of the open file is an `ImageError`."""
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
