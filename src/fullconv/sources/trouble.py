"""Errors of image files, in one line each."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

from fullconv.errors import FullconvError, ImageError, first_line
from fullconv.geometry.grid import HeightWidth, Sizes
from fullconv.sources.names import as_text
from fullconv.system.files import kind_of
from fullconv.wording import extent, kind

DECODED_LIMIT_BYTES = 2 * 1024**3
"""The limit of one decoded piece: a whole picture, or a single block of a larger image.

A small file can claim any size, so there must be a limit. Two gigabytes hold every picture that
cameras and scanners store whole (700 million RGB pixels), and fit in memory.
"""

TEXT_BYTES = 1 << 26
"""The limit of a text beside an image, which may hold histograms and tables of a raster."""


_QUIET = threading.RLock()


class UnreadableKindError(ImageError):
    """A valid file whose coding or colours this reader does not support; another reader may."""


def damaged(name: str, why: str) -> ImageError:
    """Return the error for a file whose contents contradict themselves."""
    return ImageError(
        f"{name} cannot be read: the file is damaged or cut short ({why}); copy or save it again."
    )


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn any exception of a library that reads a file into an `ImageError` of one line.

    Decoders raise exceptions of every type on damaged data, even those of programming mistakes, so
    every type is caught.
    """
    try:
        yield
    except FullconvError:
        raise
    except PermissionError:
        raise ImageError(
            f"{name} cannot be opened: permission denied; choose a file that you may read."
        ) from None
    except UnicodeEncodeError as error:
        if as_text(name) == name:
            raise damaged(name, first_line(error)) from None
        raise ImageError(
            f"{name} cannot be opened: its name is not UTF-8, and the library that reads such "
            f"files takes no other; rename it."
        ) from None
    except MemoryError:
        raise ImageError(
            f"{name}: its pixels do not fit into memory; save it as a tiled TIFF, or free memory."
        ) from None
    except Exception as error:
        raise damaged(name, first_line(error)) from None


@contextlib.contextmanager
def quiet(category: type[Warning] = Warning) -> Iterator[None]:
    """Hide warnings of a category, in one thread at a time: filters apply to all threads."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def check_regular(path: Path) -> None:
    """Refuse a path that is not a regular file.

    Raises
    ------
    ImageError
        If the path is refused; it says what the path is.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ImageError(
            f"{path} is {kind_of(mode)}, and images are read from files; save it as a file."
        )


def check_text(path: Path) -> None:
    """Refuse a text beside an image that is not a regular file, or longer than `TEXT_BYTES`.

    Raises
    ------
    ImageError
        If the file is refused; it names the file.
    """
    check_regular(path)
    if path.stat().st_size > TEXT_BYTES:
        raise ImageError(
            f"{path} lies beside an image under a name that is read with it, and is too long for "
            f"text ({path.stat().st_size / 1e6:.0f} MB); move it away."
        )


def check_pixels(name: str, sizes: Sequence[Sizes]) -> None:
    """Refuse an image if any level has no pixels."""
    for level, size in enumerate(sizes):
        if min(size) < 1:
            which = f"level {level} of {name}" if len(sizes) > 1 else name
            raise ImageError(
                f"{which} is {extent(size)}, so there is nothing to read; save the "
                f"{kind(len(size))} again."
            )


def check_whole(name: str, size: HeightWidth, pixel_bytes: int) -> None:
    """Refuse a picture that would exceed `DECODED_LIMIT_BYTES` when decoded."""
    if size[0] * size[1] * pixel_bytes > DECODED_LIMIT_BYTES:
        raise ImageError(
            f"{name} says that it is {size[1]}x{size[0]} pixels (width x height), which is "
            f"{size[0] * size[1] * pixel_bytes / 1e9:.1f} GB decoded, and this kind of picture "
            f"must be decoded whole; fullconv does so up to "
            f"{DECODED_LIMIT_BYTES / 1e9:.1f} GB. Save it as a tiled TIFF."
        )


def check_block(name: str, block: Sizes, pixel_bytes: int) -> None:
    """Refuse an image if one decoded block would exceed `DECODED_LIMIT_BYTES`."""
    if prod(block) * pixel_bytes > DECODED_LIMIT_BYTES:
        todo = "Save it as a tiled TIFF" if len(block) == 2 else "Save it in smaller ones"
        raise ImageError(
            f"{name} is stored in blocks of {extent(block)}, "
            f"{prod(block) * pixel_bytes / 1e9:.1f} GB each decoded; fullconv reads "
            f"blocks of up to {DECODED_LIMIT_BYTES / 1e9:.1f} GB. {todo}."
        )
