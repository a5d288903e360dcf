"""ZIP archives that model files are: what they unpack to, and whether it is what was packed."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from fullconv.errors import FullconvError, ModelError, first_line

ALWAYS = 1 << 26
"""Bytes that an archive may unpack to, however small it is."""

PACKED = 8
"""How many times its size weights may unpack to; those of pruned networks are mostly zeros."""


def may_unpack_to(size: int, packed: int = PACKED) -> int:
    """Return how many bytes a file of some size may claim to hold."""
    return ALWAYS + packed * size


def check_archive(path: Path, told: str, again: str, packed: int = PACKED) -> None:
    """Refuse an archive that unpacks to far more than it is, or is damaged.

    All of it is read once: the loaders of frameworks compare no checksums.

    Parameters
    ----------
    told : str
        What a message calls the file.
    again : str
        How the file is made again, as in ``save it again with torch.export.save``.
    packed : int
        How many times its size it may unpack to, beside `ALWAYS`; once where weights lie unpacked.

    Raises
    ------
    ModelError
        If it is no archive, a checksum does not fit, or it claims too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > may_unpack_to(path.stat().st_size, packed):
                raise ModelError(
                    f"{told} says that it unpacks to {unpacked} bytes, far more than a model of "
                    f"its size holds; {again}."
                )
            if len({entry.filename for entry in entries}) < len(entries):
                raise ModelError(f"{told} holds two entries of one name; {again}.")
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(
            f"{told} is damaged or cut short ({first_line(error)}); copy it again, or {again}."
        ) from None
    except NotImplementedError as error:
        raise ModelError(f"{told} is packed in an unusual way ({error}); {again}.") from None
    if damaged is not None:
        raise ModelError(
            f"{told} is damaged: {damaged!r} in it is not what was written; copy it again, or "
            f"{again}."
        )


@contextlib.contextmanager
def broken(path: Path, kind: str) -> Iterator[None]:
    """Let whatever fails while a file is read be one line that says it is broken, or no ``kind``.

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
