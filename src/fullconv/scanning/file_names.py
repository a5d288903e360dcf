"""The names of a heatmap's files and folders, derived from its own metadata.

A name alone does not make a file ours: in a heatmap of three rows of chunks, only a user can have
made ``0/c/0/7/7``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from fullconv.scanning.digests import tiles_of
from fullconv.system.files import json_of, starts_with

PARTIAL = re.compile(r".+\.[0-9a-f]{32}\.partial")
"""The names of files that are being written, by zarr and by us, until they are whole."""

GROUP = "zarr.json"
ARRAY = "0/zarr.json"
OF_VERSION_2 = (".zgroup", ".zattrs", ".zmetadata", "0/.zarray", "0/.zattrs")

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class ChunkNames:
    """The names of the files with an array's chunks.

    Attributes
    ----------
    counts : tuple of int
        Number of chunks along each axis.
    within : str
        Prefix before the numbers of a chunk.
    separator : str
        Text between these numbers.
    """

    counts: tuple[int, ...]
    within: str
    separator: str

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> ChunkNames:
        """Derive the names from the metadata of an array, of zarr 3 or 2.

        Raises
        ------
        LookupError, TypeError, ValueError, ArithmeticError or AttributeError
            If it is damaged.
        """
        if described["zarr_format"] == 2:
            lengths, separator = described["chunks"], described.get("dimension_separator") or "."
            within = "0/"
        else:
            lengths = described["chunk_grid"]["configuration"]["chunk_shape"]
            key = described["chunk_key_encoding"]
            is_default = key["name"] == "default"
            separator = key.get("configuration", {}).get("separator", "/" if is_default else ".")
            within = f"0/c{separator}" if is_default else "0/"
        if separator not in ("/", "."):
            raise ValueError(f"{separator!r} between the numbers of chunks")
        sizes = zip(described["shape"], lengths, strict=True)
        return cls(tuple(ceil(size / length) for size, length in sizes), within, separator)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> ChunkNames:
        """Derive the names from the record of a heatmap, as fullconv stores it.

        Raises
        ------
        LookupError, TypeError, ValueError, ArithmeticError or AttributeError
            If the record lacks the entries, or is damaged.
        """
        (_, *counts), tile = (record["checksums"][k] for k in ("shape", "tile"))
        return cls((1, *tiles_of(counts, tile)), "0/c/", "/")

    def holds(self, name: str) -> bool:
        """Whether a file of this name is a chunk."""
        numbers = name.removeprefix(self.within).split(self.separator)
        return (
            name.startswith(self.within) and len(numbers) == len(self.counts) and self._in(numbers)
        )

    def is_folder(self, name: str) -> bool:
        """Whether a folder of this name holds chunks."""
        if self.separator == ".":
            return False
        first = self.within.rstrip("/")
        numbers = name.removeprefix(self.within).split("/")
        return name == first or (
            name.startswith(self.within) and len(numbers) < len(self.counts) and self._in(numbers)
        )

    def _in(self, numbers: list[str]) -> bool:
        return all(
            re.fullmatch(r"0|[1-9]\d{0,17}", number) is not None and int(number) < count
            for number, count in zip(numbers, self.counts, strict=False)
        )


@dataclass(frozen=True)
class FileNames:
    """The names of a heatmap's files.

    Attributes
    ----------
    folder : Path
    metadata : frozenset of str
        Names of the metadata.
    chunks : tuple of ChunkNames
        Names of the scores' chunks: by the metadata of the array, and by the record. Either may be
        damaged; there are none where both are.
    """

    folder: Path
    metadata: frozenset[str]
    chunks: tuple[ChunkNames, ...]

    @classmethod
    def of(cls, folder: Path) -> FileNames:
        """Return the layout of a heatmap, finished or not, whole or damaged."""
        group, array = json_of(folder / GROUP), json_of(folder / ARRAY)
        before = None if array else json_of(folder / "0" / ".zarray")
        chunks = []
        with suppress(LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            chunks.append(ChunkNames.of(array or before or {}))
        with suppress(LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            record: Mapping[str, Any] = (group or {})["attributes"]["fullconv"]
            chunks.append(ChunkNames.of_record(record))
        is_of_version_2 = before is not None and group is None
        metadata = (GROUP, ARRAY, *(OF_VERSION_2 if is_of_version_2 else ()))
        return cls(folder, frozenset(metadata), tuple(chunks))

    def holds(self, name: str) -> bool:
        """Whether a file of this name, in one of its folders, is of the heatmap."""
        if PARTIAL.fullmatch(name) or name in self.metadata:
            return True
        if any(one.holds(name) for one in self.chunks):
            return True
        # Where no metadata is left, chunks are recognised by their first bytes.
        is_called_so = re.fullmatch(r"0/c/0(/\d+){1,3}", name) is not None and not self.chunks
        return is_called_so and starts_with(self.folder / name, ZSTD_MAGIC)

    def is_folder(self, name: str) -> bool:
        """Whether a folder of this name is of the heatmap."""
        if name == "0" or any(one.is_folder(name) for one in self.chunks):
            return True
        return not self.chunks and re.fullmatch(r"0/c(/0(/\d+){0,2})?", name) is not None

    def own(self) -> Iterator[Path]:
        """Yield its files, the metadata last, because the others are recognised by it."""
        last = []
        for path, is_own in self._walk(self.folder):
            if is_own and path.relative_to(self.folder).as_posix() in self.metadata:
                last.append(path)
            elif is_own:
                yield path
        yield from last

    def others(self) -> Iterator[Path]:
        """Yield the files and folders in it that are not the heatmap's."""
        return (path for path, is_own in self._walk(self.folder) if not is_own)

    def folders(self) -> Iterator[Path]:
        """Yield its own folders, the innermost first, and itself last."""
        yield from self._folders(self.folder)

    def links(self) -> Iterator[Path]:
        """Yield links in the place of its folders."""
        for path, is_own in self._walk(self.folder):
            if not is_own and path.is_symlink() and self.is_folder(self._name(path)):
                yield path

    def _walk(self, folder: Path) -> Iterator[tuple[Path, bool]]:
        for entry in _entries(folder):
            path = Path(entry.path)
            name = self._name(path)
            if not entry.is_dir(follow_symlinks=False):
                yield path, self.holds(name)
            elif self.is_folder(name):
                yield from self._walk(path)
            else:  # an empty one may have taken a chunk's place
                yield path, self.holds(name) and not _entries(path)

    def _folders(self, folder: Path) -> Iterator[Path]:
        for entry in _entries(folder):
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False) and self.is_folder(self._name(path)):
                yield from self._folders(path)
        yield folder

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; none where it is missing, or a link."""
    if folder.is_symlink():
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
