"""Fields: the values of a tensor for all windows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Shape
from fullconv.graph.layout import Layout
from fullconv.lift.split import Part, Split

Where = tuple[Part, ...]
"""A part along every axis of a field."""


@dataclass(frozen=True)
class Field:
    """A tensor of the network for all windows, with what neighbours share stored once.

    Attributes
    ----------
    layout : Layout
        How the tensor's native axes are composed, and the order of the stored channels.
    axes : tuple of Split
        The cells of a window along every axis, split where windows stop sharing.
    parts : mapping of (Part, ...) to str
        Names of the stored maps ``(N, C, *cells)``, one for every choice of a part that holds cells
        along each axis; see Note [Parts of a window] in `fullconv.lift.split`.
    """

    layout: Layout
    axes: tuple[Split, ...]
    parts: Mapping[Where, str]

    @property
    def extent(self) -> Sizes:
        """Cells of one window along every axis."""
        return tuple(axis.extent for axis in self.axes)

    @property
    def private(self) -> bool:
        """Whether neighbouring windows share nothing: one tensor per window."""
        return all(axis.private for axis in self.axes)

    @property
    def shared(self) -> bool:
        """Whether all windows share everything: one map."""
        return all(axis.shared or axis.fixed for axis in self.axes)

    @property
    def dilation(self) -> Sizes:
        """Stored cells between neighbouring cells of a window, along every axis."""
        return tuple(axis.dilation for axis in self.axes)

    def each(self, function: Callable[[Where, str], str], layout: Layout | None = None) -> Field:
        """Return the same geometry with every stored map replaced."""
        parts = {where: function(where, value) for where, value in self.parts.items()}
        return replace(self, parts=parts, layout=layout or self.layout)

    def arranged(self, layout: Layout) -> Field:
        """Return the same stored maps in another arrangement of the native axes."""
        return replace(self, layout=layout)


def places(axes: Iterable[Split]) -> list[Where]:
    """Return the parts of a map that hold cells; the shared one first."""
    choices = product(*(axis.parts for axis in axes))
    return sorted(choices, key=lambda where: sum(part is not Part.MIDDLE for part in where))


@dataclass(frozen=True)
class Joined:
    """Fields of different grids, flattened and concatenated along one axis.

    Nothing more is stored: a linear layer over them is a sum of convolutions.
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
        The native shape of one window; or of the whole batch, where the network takes a fixed
        number of images, in whose place the windows stand.
    axis : int or None
        The axis in which the windows stand; None for ``(windows, *shape)``.
    before : int
        The entries of that axis outside of the windows: it is ``before * windows * rest`` long.
    """

    value: str
    shape: Shape
    axis: int | None = 0
    before: int = 1

    @property
    def leads(self) -> bool:
        """Whether the numbers of each window follow one another, in row-major order."""
        return self.axis is None or (prod(self.shape[: self.axis]) == 1 and self.before == 1)


def free(shape: Sequence[int], axis: int | None) -> Shape:
    """Return a shape with -1, for the windows, in place of an axis; for None, ahead of all."""
    return (-1, *shape) if axis is None else (*shape[:axis], -1, *shape[axis + 1 :])


Shared = Field | Joined
Lift = Field | Joined | PerWindow
