"""Digests of a heatmap's tiles as they were scanned, independent of how they are stored.

Note [Two kinds of checksum]

Every chunk of a heatmap carries zstd's own checksum of its contents (in GeoTIFF, deflate's), which
any program that reads it compares. It proves that a chunk is whole, not that it is the right one: a
missing chunk reads as not scanned, and two that have changed places are both whole. So the record
of a heatmap has a digest of each tile's scores, decoded. The digests stay the same in another
codec, in shards, in other chunks, or in the other of the two formats.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes, Span, unraveled
from fullconv.scanning.storing import nothing

DIGEST_BYTES = 12
LETTERS = 16
"""Letters of a digest in base64, without padding."""

KIND = "BLAKE2b, 12 bytes, in base64: 16 letters for each tile, row by row"
"""The record's own explanation of its digests, for readers without this file."""


def digest(scores: NDArray[Any], dtype: str) -> str:
    """Return the digest of a tile's scores, ``(K, *windows)``, as the heatmap stores them.

    The digest covers the shape and the numbers in the heatmap's own type, little-endian, the last
    axis fastest, every NaN alike. Numbers that this type cannot represent, such as a damaged file
    may have in another type, get a digest that no scanned tile has.
    """
    kind = ""
    with np.errstate(all="ignore"):  # of numbers that the type cannot hold
        stored = np.ascontiguousarray(scores, np.dtype(dtype).newbyteorder("<"))
    if scores.dtype != stored.dtype.newbyteorder("="):
        wide = stored.astype(scores.dtype)
        if not ((wide == scores) | ((wide != wide) & (scores != scores))).all():
            stored, kind = np.ascontiguousarray(scores), scores.dtype.name
    if stored.dtype.kind == "f":
        nan = np.isnan(stored)
        if nan.any():
            stored = stored.copy()
            stored[nan] = np.nan
    hashed = blake2b(f"{stored.shape}{kind}".encode(), digest_size=DIGEST_BYTES)
    hashed.update(stored.data)
    return base64.urlsafe_b64encode(hashed.digest()).decode()


def tiles_of(counts: Sequence[int], tile: Sequence[int]) -> Sizes:
    """Count the tiles along every axis of ``counts`` windows."""
    return tuple(ceil(count / side) for count, side in zip(counts, tile, strict=True))


def rectangle(index: int, counts: Sequence[int], tile: Sequence[int]) -> tuple[Span, ...]:
    """Return the windows of a tile along every axis, by its number in a `tiling.Plan`."""
    place = unraveled(index, tiles_of(counts, tile))
    return tuple(
        (n * side, min((n + 1) * side, count))
        for n, side, count in zip(place, tile, counts, strict=True)
    )


@dataclass(frozen=True)
class Checksums:
    """The digests of a heatmap.

    Attributes
    ----------
    shape : tuple of int
        Classes, and windows along every axis.
    tile : tuple of int
        Windows in a tile along every axis.
    dtype : str
        How scores are stored.
    tiles : tuple of str
        A digest for each tile, row by row.
    """

    shape: Sizes
    tile: Sizes
    dtype: str
    tiles: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.tiles) != prod(tiles_of(self.shape[1:], self.tile)):
            raise ValueError(f"{len(self.tiles)} digests for {self.shape} in tiles of {self.tile}")

    @classmethod
    def of(cls, shape: Sizes, tile: Sizes, dtype: str, known: Mapping[int, str]) -> Checksums:
        """Return the digests of a heatmap from those of some tiles; all other tiles are empty."""
        counts = shape[1:]
        empty: dict[Sizes, str] = {}
        tiles: list[str] = []
        for index in range(prod(tiles_of(counts, tile))):
            if index in known:
                tiles.append(known[index])
                continue
            size = tuple(last - first for first, last in rectangle(index, counts, tile))
            if size not in empty:
                empty[size] = digest(np.full((shape[0], *size), nothing(dtype), dtype), dtype)
            tiles.append(empty[size])
        return cls(shape, tile, dtype, tuple(tiles))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the record."""
        return {
            "digest": KIND,
            "shape": list(self.shape),
            "tile": list(self.tile),
            "dtype": self.dtype,
            "tiles": "".join(self.tiles),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Checksums:
        """Return the digests that `to_json` wrote.

        Raises
        ------
        ValueError, TypeError or KeyError
            If it is damaged.
        """
        letters = entry["tiles"]
        tiles = tuple(letters[k : k + LETTERS] for k in range(0, len(letters), LETTERS))
        return cls(tuple(entry["shape"]), tuple(entry["tile"]), entry["dtype"], tiles)


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with a digest of itself."""
    content = {key: value for key, value in record.items() if key != "seal"}
    return content | {"seal": _seal(content)}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a record is as it was when it was sealed."""
    content = {key: value for key, value in record.items() if key != "seal"}
    return record.get("seal") == _seal(content)


def _seal(content: Mapping[str, Any]) -> str:
    # Programs may write the JSON anew with the keys in another order, or 1 for 1.0.
    text = json.dumps(_plain(content), sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
