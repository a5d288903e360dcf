"""A finished heatmap that has lost scores, of which the rest is kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fullconv.errors import HeatmapWarning
from fullconv.scanning.damage import Damage
from fullconv.scanning.digests import Checksums
from fullconv.scanning.heatmap import Heatmap
from fullconv.tiling import Tile


@dataclass(frozen=True)
class Repair:
    """What is kept of a finished heatmap, and what is computed again.

    Attributes
    ----------
    finished : Heatmap
    damage : tuple of Damage
        What it has lost.
    """

    finished: Heatmap
    damage: tuple[Damage, ...]

    @classmethod
    def of(cls, finished: Heatmap) -> Repair | None:
        """Return how a heatmap is repaired; None where nobody can tell what is whole of it."""
        damage = tuple(each for each in finished.damage() if each.is_lost)
        is_told = finished.checksums is not None and all(each.tile is not None for each in damage)
        return cls(finished, damage) if is_told else None

    @property
    def chosen(self) -> Mapping[str, Any]:
        """What computed it, and by which tiles."""
        chosen: Mapping[str, Any] = self.finished.metadata["chosen"]
        return chosen

    @property
    def odd_windows(self) -> int:
        """How many windows hold NaN pixels: as many as when it was scanned first."""
        return int(self.finished.metadata["odd_windows"])

    def keeps(self, tile: Tile) -> bool:
        """Whether all scores of a tile are whole."""
        return all(
            any(
                min(lost[1], own[1]) <= max(lost[0], own[0])
                for lost, own in zip(one.windows, tile.windows, strict=True)
            )
            for one in self.damage
        )

    def tell(self, now: Checksums) -> None:
        """Say so where what was computed again has other scores than when it was first scanned."""
        known = self.finished.checksums
        if known is None or known.tile != now.tile:
            return
        others = sum(one != other for one, other in zip(known.tiles, now.tiles, strict=True))
        if others:
            warnings.warn(
                f"{others} tiles that were computed again have other scores than when they were "
                f"first scanned, as on another machine; the comparison with crops says by how much",
                HeatmapWarning,
                stacklevel=2,
            )
