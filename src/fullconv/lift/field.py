"""What lifting makes of a tensor: its values for all windows at once."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fullconv.geometry import Axis
from fullconv.layout import Layout


class Part(enum.Enum):
    """Where along an axis of a window cells lie.

    Note [Nine parts]
    The first ``lo`` and the last ``hi`` cells of a window's axis may depend on the window's own
    border; the cells between do not, and all windows share them. Two axes give up to nine parts.
    An unpadded network has only (MIDDLE, MIDDLE). A rule that would give a window cells of its
    own ends sharing today, and `PerWindow` carries the whole tensor: the field whose middle is
    empty.
    """

    LOW = "lo"
    MIDDLE = "mid"
    HIGH = "hi"


Where = tuple[Part, Part]
SHARED: Where = (Part.MIDDLE, Part.MIDDLE)


@dataclass(frozen=True)
class Field:
    """A tensor of the network for all windows, with what neighbours share stored once.

    Attributes
    ----------
    layout : Layout
        How the tensor's native axes are composed, and the order of the stored channels.
    rows, columns : Axis
        Where the cells of a window lie in the stored map.
    parts : mapping of (Part, Part) to str
        Names of the stored maps ``(N, C, Y, X)``; see Note [Nine parts].
    """

    layout: Layout
    rows: Axis
    columns: Axis
    parts: Mapping[Where, str]

    @classmethod
    def shared(cls, layout: Layout, rows: Axis, columns: Axis, value: str) -> Field:
        """Return a field that all windows share."""
        return cls(layout, rows, columns, {SHARED: value})

    @property
    def value(self) -> str:
        """Name of the stored map that all windows share."""
        return self.parts[SHARED]

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of cells in one window."""
        return self.rows.extent, self.columns.extent

    def holding(self, value: str, layout: Layout | None = None) -> Field:
        """Return the same geometry with another stored map."""
        return replace(self, parts={SHARED: value}, layout=layout or self.layout)


@dataclass(frozen=True)
class Joined:
    """Fields of different grids, flattened and concatenated along one axis.

    Nothing is stored for it: a linear layer over it is a sum of convolutions.
    """

    fields: tuple[Field, ...]
    axis: int


@dataclass(frozen=True)
class PerWindow:
    """One tensor per window, in the network's native layout: the field whose middle is empty.

    Attributes
    ----------
    value : str
        Name of a tensor with as many entries along the batch as there are windows.
    layout : Layout
        Batch and features only: rows and columns are ordinary axes here.
    """

    value: str
    layout: Layout


Shared = Field | Joined
Lift = Field | Joined | PerWindow
