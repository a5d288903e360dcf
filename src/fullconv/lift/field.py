"""What lifting makes of a tensor: its values for all windows at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from fullconv.graph import Shape
from fullconv.layout import Layout
from fullconv.lift.split import Part, Split

Where = tuple[Part, Part]
SHARED: Where = (Part.MIDDLE, Part.MIDDLE)


@dataclass(frozen=True)
class Field:
    """A tensor of the network for all windows, with what neighbours share stored once.

    Attributes
    ----------
    layout : Layout
        How the tensor's native axes are composed, and the order of the stored channels.
    rows, columns : Split
        The cells of a window along each axis, split where windows stop sharing.
    parts : mapping of (Part, Part) to str
        Names of the stored maps ``(N, C, Y, X)``, one for every pair of parts that hold cells; see
        Note [Nine parts] in `fullconv.lift.split`.
    """

    layout: Layout
    rows: Split
    columns: Split
    parts: Mapping[Where, str]

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of cells in one window."""
        return self.rows.extent, self.columns.extent

    @property
    def private(self) -> bool:
        """Whether neighbouring windows share nothing: one tensor per window."""
        return self.rows.private and self.columns.private

    @property
    def shared(self) -> bool:
        """Whether all windows share everything: one map."""
        return self.rows.shared and self.columns.shared

    def density(self, where: Where, step: tuple[int, int]) -> int:
        """Return the stored cells of a part per window, in an image of many windows."""
        return self.rows.density(where[0], step[0]) * self.columns.density(where[1], step[1])

    def each(self, function: Callable[[Where, str], str], layout: Layout | None = None) -> Field:
        """Return the same geometry with every stored map replaced."""
        parts = {where: function(where, value) for where, value in self.parts.items()}
        return replace(self, parts=parts, layout=layout or self.layout)

    def arranged(self, layout: Layout) -> Field:
        """Return the same stored maps in another arrangement of the native axes."""
        return replace(self, layout=layout)


def places(rows: Split, columns: Split) -> list[Where]:
    """Return the parts of a map that hold cells; the shared one first."""
    found = list(product(rows.parts, columns.parts))
    return sorted(found, key=lambda where: sum(part is not Part.MIDDLE for part in where))


@dataclass(frozen=True)
class Joined:
    """Fields of different grids, flattened and concatenated along one axis.

    Nothing is stored for it: a linear layer over it is a sum of convolutions.
    """

    fields: tuple[Field, ...]
    axis: int


@dataclass(frozen=True)
class PerWindow:
    """One tensor per window in the network's native axes: a private field, seen from outside.

    The windows are not the images of a batch: the classifier knows of one image alone. They stand
    inside one of its axes, or in one of their own ahead of all.

    Attributes
    ----------
    value : str
        Name of the tensor of all windows.
    shape : tuple of int
        The native shape, of one window (or of the images that the network takes and no other
        number, in whose place the windows stand).
    axis : int or None
        The axis in which they stand; None for ``(windows, *shape)``.
    before : int
        The entries of that axis outside of them: it is ``before * windows * rest`` long.
    """

    value: str
    shape: Shape
    axis: int | None = 0
    before: int = 1

    @property
    def leads(self) -> bool:
        """Whether a window's numbers lie together, window by window."""
        return self.axis is None or (prod(self.shape[: self.axis]) == 1 and self.before == 1)


Shared = Field | Joined
Lift = Field | Joined | PerWindow
