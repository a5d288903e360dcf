"""The base classes of all operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args

from fullconv.geometry.grid import HeightWidth

Padding = tuple[HeightWidth, ...]
PaddingMode = Literal["constant", "reflect", "replicate", "circular"]
PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


@dataclass(frozen=True)
class Operation:
    """Anything a network does between tensors."""

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return type(self).__name__


@dataclass(frozen=True)
class OverCells(Operation):
    """An operation that treats the axes behind the first two as axes of cells.

    ``along`` names the fields that have an entry for every such axis, each with its entry for an
    axis along which nothing happens.
    """

    along: ClassVar[Mapping[str, Any]] = {}

    @property
    def dimensions(self) -> int:
        """The number of axes of cells."""
        return len(getattr(self, next(iter(self.along))))

    def over(self, axes: Sequence[int], dimensions: int) -> Self:
        """Return it over ``dimensions`` axes, where its ``i``-th axis is axis ``axes[i]``."""
        if tuple(axes) == tuple(range(dimensions)):
            return self
        turned: dict[str, Any] = {}
        for name, neutral in self.along.items():
            entries = [neutral] * dimensions
            for axis, entry in zip(axes, getattr(self, name), strict=True):
                entries[axis] = entry
            turned[name] = tuple(entries)
        return replace(self, **turned)
