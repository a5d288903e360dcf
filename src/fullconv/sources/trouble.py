"""What can be wrong with an image file, in one line each."""

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
from fullconv.files import kind_of
from fullconv.geometry import Pair, Sizes
from fullconv.names import as_text
from fullconv.wording import extent, kind

DECODED_LIMIT_BYTES = 2 * 1024**3
"""The most that is decoded in one piece: whole pictures, and single blocks of larger images.

A small file can claim any size, so there must be a limit. Two gigabytes hold every picture that
cameras and scanners store whole (700 million RGB pixels), and fit into the machines that scan.
"""

TEXT_BYTES = 1 << 26
"""The most that a text beside an image may hold: histograms and tables of a raster among it."""


_QUIET = threading.RLock()


class UnreadableKindError(ImageError):
    """A file in order, whose coding or colours this reader does not know; another one may."""


def damaged(name: str, why: str) -> ImageError:
    """Return the error for a file whose contents contradict themselves."""
    return ImageError(
        f"{name} cannot be read: the file is damaged or cut short ({why}); copy or save it again."
    )


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever a library raises over the contents of a file into one line.

    Decoders raise errors of every type over damaged data, down to those of plain programming
    mistakes, so none can be singled out.
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
    """Show no warnings of a category, in one thread at a time: what is shown is so for all."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def check_regular(path: Path) -> None:
    """Refuse what is there and is no file.

    Raises
    ------
    ImageError
        With the kind of thing that it is.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ImageError(
            f"{path} is {kind_of(mode)}, and images are read from files; save it as a file."
        )


def check_text(path: Path) -> None:
    """Refuse a file beside an image that is to be read as text and is none, or is too long.

    Raises
    ------
    ImageError
        With its name.
    """
    check_regular(path)
    if path.stat().st_size > TEXT_BYTES:
        raise ImageError(
            f"{path} lies beside an image under a name that is read with it, and is too long for "
            f"text ({path.stat().st_size / 1e6:.0f} MB); move it away."
        )


def check_pixels(name: str, sizes: Sequence[Sizes]) -> None:
    """Refuse an image of which some level has no pixels."""
    for level, size in enumerate(sizes):
        if min(size) < 1:
            which = f"level {level} of {name}" if len(sizes) > 1 else name
            raise ImageError(
                f"{which} is {extent(size)}, so there is nothing to read; save the "
                f"{kind(len(size))} again."
            )


def check_whole(name: str, size: Pair, pixel_bytes: int) -> None:
    """Refuse a picture that would be too large decoded, before it is."""
    if size[0] * size[1] * pixel_bytes > DECODED_LIMIT_BYTES:
        raise ImageError(
            f"{name} says that it is {size[1]}x{size[0]} pixels (width x height), which is "
            f"{size[0] * size[1] * pixel_bytes / 1e9:.1f} GB decoded, and this kind of picture "
            f"must be decoded whole; fullconv does so up to "
            f"{DECODED_LIMIT_BYTES / 1e9:.1f} GB. Save it as a tiled TIFF."
        )


def check_block(name: str, block: Sizes, pixel_bytes: int) -> None:
    """Refuse blocks of which one alone would be too large decoded."""
    if prod(block) * pixel_bytes > DECODED_LIMIT_BYTES:
        todo = "Save it as a tiled TIFF" if len(block) == 2 else "Save it in smaller ones"
        raise ImageError(
            f"{name} is stored in blocks of {extent(block)}, "
            f"{prod(block) * pixel_bytes / 1e9:.1f} GB each decoded; fullconv reads "
            f"blocks of up to {DECODED_LIMIT_BYTES / 1e9:.1f} GB. {todo}."
        )
