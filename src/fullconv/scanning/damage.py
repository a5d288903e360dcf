"""Tiles that a finished heatmap has lost, or that an unfinished one must compute again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import first_line
from fullconv.geometry.grid import Sizes, Span
from fullconv.scanning.digests import digest, rectangle, tiles_of
from fullconv.scanning.region import spans_of
from fullconv.scanning.storing import nothing
from fullconv.wording import corners, spans, windows_named

if TYPE_CHECKING:
    from fullconv.scanning.heatmap import Heatmap

AT_ONCE_BYTES = 1 << 26
"""Bytes of scores that are read at a time, of neighbouring tiles."""

NAMED = 3
"""Most rectangles that are named in a line."""

MISSING = "missing"
OTHER = "not the scores that were scanned"


@dataclass(frozen=True)
class Damage:
    """A rectangle of windows whose scores are lost.

    Attributes
    ----------
    windows : tuple of (int, int)
        The windows along every axis, half-open.
    box : (x0, y0, x1, y1)
        The pixels of the original image that they cover.
    why : str
        The reason.
    tile : int or None
        Number of the tile; None where it is no single tile.
    is_lost : bool
        Whether scores are lost; False where only their description for viewers is wrong.
    """

    windows: tuple[Span, ...]
    box: tuple[float, ...]
    why: str
    tile: int | None
    is_lost: bool = True

    @property
    def rows(self) -> Span:
        """The rows of windows in an image."""
        return self.windows[-2]

    @property
    def columns(self) -> Span:
        """The columns of windows in an image."""
        return self.windows[-1]

    def __str__(self) -> str:
        """Return the rectangle and the reason."""
        return f"{spans(self.windows)} ({corners(self.box)}): {self.why}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            **dict(zip(windows_named(len(self.windows)), map(list, self.windows), strict=True)),
            "box": list(self.box),
            "why": self.why,
        }


def named(damage: Sequence[Damage]) -> str:
    """Return the first few rectangles, in one line."""
    more = f"; and {len(damage) - NAMED} more" if len(damage) > NAMED else ""
    return "; ".join(map(str, damage[:NAMED])) + more


def find_damage(heatmap: Heatmap) -> tuple[Damage, ...]:
    """Return the tiles of a finished heatmap whose scores are lost or changed.

    In a heatmap without checksums, only tiles are recognised that cannot be read, or are missing
    where all windows were scanned.
    """
    known = heatmap.checksums
    if known is None:
        return damage_of(heatmap, _tile_of_before(heatmap), _lost_of_before(heatmap))
    digests = dict(enumerate(known.tiles))
    lost = differing(heatmap.array, known.shape, known.tile, known.dtype, digests)
    return damage_of(heatmap, known.tile, lost)


def differing(
    array: Any,
    shape: Sizes,
    tile: Sizes,
    dtype: str,
    digests: Mapping[int, str],
) -> dict[int, str]:
    """Return the tiles whose scores do not match their digests, each with the reason."""
    counts = shape[1:]
    across = tiles_of(counts, tile)[-1]
    tile_bytes = shape[0] * prod(tile) * np.dtype(dtype).itemsize
    most = max(1, AT_ONCE_BYTES // max(1, tile_bytes))
    lost: dict[int, str] = {}
    indices = sorted(digests)
    while indices:
        last = (indices[0] // across + 1) * across
        together = [index for index in indices[:most] if index < last]
        indices = indices[len(together) :]
        places = [rectangle(index, counts, tile) for index in together]
        for index, scores in zip(together, _scores(array, places), strict=True):
            if isinstance(scores, str):
                lost[index] = scores
            elif digest(scores, dtype) != digests[index]:
                lost[index] = MISSING if is_nothing(scores) else OTHER
    return lost


def is_nothing(scores: NDArray[Any]) -> bool:
    """Whether none of these windows was scanned."""
    empty = nothing(scores.dtype)
    return bool((np.isnan(scores) if np.isnan(empty) else scores == empty).all())


def _scores(array: Any, places: Sequence[tuple[Span, ...]]) -> list[NDArray[Any] | str]:
    """Return the scores of tiles that are neighbours along the last axis, or why a tile cannot be
    read."""
    *others, (left, _) = places[0]
    right = places[-1][-1][1]
    from fullconv.sources.zarr_files import settled

    try:
        with settled():
            beside = (slice(None), *(slice(*span) for span in others))
            stored = np.asarray(array[(*beside, slice(left, right))])
    except Exception as error:  # libraries raise errors of all kinds over damaged chunks
        if len(places) == 1:
            return [f"damaged ({first_line(error)})"]
        return [each for place in places for each in _scores(array, [place])]
    return [stored[..., a - left : b - left] for *_, (a, b) in places]


def damage_of(heatmap: Heatmap, tile: Sizes, lost: Mapping[int, str]) -> tuple[Damage, ...]:
    """Return the damage of tiles, from their numbers and the reasons."""
    damage = []
    for index, why in sorted(lost.items()):
        windows = rectangle(index, heatmap.shape[1:], tile)
        damage.append(Damage(windows, heatmap.box_of(windows), why, index))
    return tuple(damage)


def _tile_of_before(heatmap: Heatmap) -> Sizes:
    """Return the tiles of a heatmap without checksums: its chunks."""
    sides = heatmap.metadata.get("chosen", {}).get("tile") or heatmap.array.chunks[1:]
    return tuple(map(int, sides))


def _lost_of_before(heatmap: Heatmap) -> dict[int, str]:
    """Return the tiles of a heatmap without checksums that cannot be read, or are empty.

    An empty tile is no loss where a mask or rectangle left its windows out, or where they hold NaN
    pixels.
    """
    counts, tile = heatmap.shape[1:], _tile_of_before(heatmap)
    region = heatmap.metadata["region"]
    asked = spans_of(region, len(counts))
    unscored = heatmap.metadata.get("odd_windows", 0)
    lost: dict[int, str] = {}
    for index in range(prod(tiles_of(counts, tile))):
        place = rectangle(index, counts, tile)
        (scores,) = _scores(heatmap.array, [place])
        if isinstance(scores, str):
            lost[index] = scores
        elif region["mask"] is None and is_nothing(scores):
            shared = prod(
                max(0, min(a[1], b[1]) - max(a[0], b[0])) for a, b in zip(place, asked, strict=True)
            )
            if shared > unscored:
                lost[index] = MISSING
    return lost
