"""The repair of a finished heatmap that has lost scores: the others are kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fullconv.errors import HeatmapWarning
from fullconv.geometry.tiling import Tile
from fullconv.scanning.damage import Damage
from fullconv.scanning.digests import Checksums
from fullconv.scanning.heatmap import Heatmap


@dataclass(frozen=True)
class Repair:
    """A finished heatmap, whose damaged tiles are computed again, and all others kept.

    Attributes
    ----------
    finished : Heatmap
    damage : tuple of Damage
        Its damaged tiles.
    """

    finished: Heatmap
    damage: tuple[Damage, ...]

    @classmethod
    def of(cls, finished: Heatmap) -> Repair | None:
        """Return the repair of a heatmap; None where its undamaged tiles cannot be identified."""
        damage = tuple(each for each in finished.damage() if each.is_lost)
        is_known = finished.checksums is not None and all(each.tile is not None for each in damage)
        return cls(finished, damage) if is_known else None

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The choices of the first scan: its runtime, and its tiles."""
        chosen: Mapping[str, Any] = self.finished.metadata["chosen"]
        return chosen

    @property
    def unscored_windows(self) -> int:
        """Number of windows that hold NaN pixels, as in the first scan."""
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
        """Warn of tiles that have other scores than in the first scan."""
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
