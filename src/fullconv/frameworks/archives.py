"""Model files that are ZIP archives: checks of their unpacked size and of their checksums."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from fullconv.errors import FullconvError, ModelError, first_line

ALWAYS = 1 << 26
"""Bytes that any archive may unpack to, even a small one."""

PACKED = 8
"""Multiple of its size that a file of weights may unpack to: pruned networks are mostly zeros."""


def may_unpack_to(size: int, packed: int = PACKED) -> int:
    """Return the most bytes that a file of this size, in bytes, may unpack to."""
    return ALWAYS + packed * size


def check_archive(path: Path, label: str, again: str, packed: int = PACKED) -> None:
    """Refuse an archive that is damaged, or that unpacks to far more than its size.

    The whole archive is read once, as the loaders of frameworks compare no checksums.

    Parameters
    ----------
    label : str
        The name of the file in messages.
    again : str
        The advice that ends a message, as in ``save it again with torch.export.save``.
    packed : int
        Multiple of its size that it may unpack to, beside `ALWAYS`; 1 where weights are not packed.

    Raises
    ------
    ModelError
        If it is no archive, a checksum is wrong, or it unpacks to too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > may_unpack_to(path.stat().st_size, packed):
                raise ModelError(
                    f"{label} says that it unpacks to {unpacked} bytes, far more than a model of "
                    f"its size holds; {again}."
                )
            if len({entry.filename for entry in entries}) < len(entries):
                raise ModelError(f"{label} holds two entries of one name; {again}.")
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(
            f"{label} is damaged or cut short ({first_line(error)}); copy it again, or {again}."
        ) from None
    except NotImplementedError as error:
        raise ModelError(f"{label} is packed in an unusual way ({error}); {again}.") from None
    if damaged is not None:
        raise ModelError(
            f"{label} is damaged: {damaged!r} in it is not what was written; copy it again, or "
            f"{again}."
        )


@contextlib.contextmanager
def broken(path: Path, kind: str) -> Iterator[None]:
    """Turn any error while a file is read into one line: the file is broken, or not ``kind``.

    Raises
    ------
    ModelError
    """
    try:
        yield
    except FullconvError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} is not {kind}, or it is cut short ({first_line(error)}); save or copy it "
            f"again."
        ) from None
