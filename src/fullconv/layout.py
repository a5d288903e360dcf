"""How each axis of a tensor is composed of batch, features, rows and columns.

`flatten`, `view` and `permute` move no data of a field: they only rewrite its layout. After
``flatten`` an axis is ``(features, rows, columns)``; after ``permute(0, 2, 3, 1).flatten(1)`` it is
``(rows, columns, features)``. That record is all it takes to give a fully connected layer its
filters in the right order, whatever the framework's flatten order was.

Normal form: an atom of size 1 is left out, and an axis of size 1 is empty. So there is a batch atom
only where a network takes several images and no other number: a classifier is a function of one
image, and an axis that holds nothing else has nothing to mix.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import prod

_keys = count()


class Kind(enum.Enum):
    """What an atom counts."""

    BATCH = "batch"
    FEATURES = "features"
    ROWS = "rows"
    COLUMNS = "columns"


@dataclass(frozen=True)
class Atom:
    """An indivisible factor of an axis. Feature atoms are told apart by ``key``."""

    kind: Kind
    size: int
    key: int = 0

    @property
    def spatial(self) -> bool:
        """Whether it runs over rows or columns of the image."""
        return self.kind in (Kind.ROWS, Kind.COLUMNS)


def features(size: int) -> tuple[Atom, ...]:
    """Return a new feature atom, or nothing for size 1."""
    return (Atom(Kind.FEATURES, size, next(_keys)),) if size != 1 else ()


class LayoutError(Exception):
    """A shape change that the atoms do not allow; the message is a short reason."""


@dataclass(frozen=True)
class Layout:
    """The axes of a tensor as products of atoms (row-major), and the stored order of features.

    Attributes
    ----------
    axes : tuple of tuple of Atom
        One entry per axis of the tensor at its native size.
    stored : tuple of Atom
        The feature atoms in the order in which the stored map ``(N, C, Y, X)`` flattens them
        into ``C``.
    """

    axes: tuple[tuple[Atom, ...], ...]
    stored: tuple[Atom, ...]

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> Layout:
        """Return the layout of a native ``(N, C, h, w)`` tensor."""
        batch, channels, rows, columns = shape
        return cls.feature_map(batch, features(channels), rows, columns)

    @classmethod
    def feature_map(cls, batch: int, channels: tuple[Atom, ...], rows: int, columns: int) -> Layout:
        """Return the layout ``(N, C, rows, columns)``, in normal form."""
        axes = (
            (Atom(Kind.BATCH, batch),) if batch != 1 else (),
            channels,
            (Atom(Kind.ROWS, rows),) if rows != 1 else (),
            (Atom(Kind.COLUMNS, columns),) if columns != 1 else (),
        )
        return cls(axes, channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The native shape, with the batch that the network was read with."""
        return tuple(prod(atom.size for atom in axis) for axis in self.axes)

    @property
    def channels(self) -> int:
        """Size of ``C`` in the stored map."""
        return prod(atom.size for atom in self.stored)

    def axis_of(self, kind: Kind) -> int | None:
        """Return the axis that holds the rows, the columns or the batch, or None."""
        for index, axis in enumerate(self.axes):
            if any(atom.kind is kind for atom in axis):
                return index
        return None

    def is_feature_map(self) -> bool:
        """Whether this is ``(N, C, rows, columns)``, with axes of size 1 as empty ones."""
        if len(self.axes) != 4:
            return False
        kinds = (Kind.BATCH, Kind.FEATURES, Kind.ROWS, Kind.COLUMNS)
        return all(
            atom.kind is kind for axis, kind in zip(self.axes, kinds, strict=True) for atom in axis
        )

    def with_axis(self, index: int, atoms: tuple[Atom, ...]) -> Layout:
        """Replace one axis; features that appear nowhere any more leave the stored order."""
        axes = (*self.axes[:index], atoms, *self.axes[index + 1 :])
        here = [atom for axis in axes for atom in axis if atom.kind is Kind.FEATURES]
        kept = [atom for atom in self.stored if atom in here]
        return Layout(axes, (*kept, *(atom for atom in here if atom not in kept)))

    def without(self, *kinds: Kind) -> Layout:
        """Leave out the rows or columns (an extent became 1)."""
        axes = tuple(tuple(a for a in axis if a.kind not in kinds) for axis in self.axes)
        return replace(self, axes=axes)

    def permute(self, order: Sequence[int]) -> Layout:
        """Reorder the axes, as ``torch.permute`` and ONNX Transpose do."""
        return replace(self, axes=tuple(self.axes[i] for i in order))

    def reshape(self, shape: Sequence[int]) -> Layout:
        """Regroup the atoms, in row-major order, into axes of the given sizes.

        Feature atoms are split where an axis ends inside them; rows, columns and batch are not.

        Raises
        ------
        LayoutError
            If an axis would end inside the batch, the rows or the columns.
        """
        pending = [atom for axis in self.axes for atom in axis]
        stored = list(self.stored)
        axes: list[tuple[Atom, ...]] = []
        for size in shape:
            axis: list[Atom] = []
            have = 1
            while have < size:
                if not pending:
                    raise LayoutError(f"has no elements left to fill an axis of {size}")
                atom = pending.pop(0)
                if size % (have * atom.size):
                    head, tail = _split(atom, size // have)
                    at = stored.index(atom)
                    stored[at : at + 1] = [*head, *tail]
                    pending[:0] = [*head, *tail]
                    continue
                axis.append(atom)
                have *= atom.size
            axes.append(tuple(axis))
        if pending:
            raise LayoutError("leaves elements over")
        return Layout(tuple(axes), tuple(stored))

    def merged(self) -> Layout:
        """Rename features so that each axis holds at most one, where the stored order allows it.

        Features that are neighbours in an axis and in the stored order count as one; two layouts
        that mean the same become equal but for their keys.
        """
        axes = [list(axis) for axis in self.axes]
        stored = list(self.stored)
        for axis in axes:
            place = 0
            while place + 1 < len(axis):
                a, b = axis[place], axis[place + 1]
                if a in stored and b in stored and stored.index(b) == stored.index(a) + 1:
                    (both,) = features(a.size * b.size)
                    axis[place : place + 2] = [both]
                    at = stored.index(a)
                    stored[at : at + 2] = [both]
                else:
                    place += 1
        return Layout(tuple(tuple(axis) for axis in axes), tuple(stored))

    def in_order(self) -> tuple[Atom, ...]:
        """Return the feature atoms in the order in which the native tensor flattens them."""
        return tuple(a for axis in self.axes for a in axis if a.kind is Kind.FEATURES)

    def matches(self, other: Layout) -> bool:
        """Whether two layouts mean the same arrangement of the same stored order."""

        def pattern(layout: Layout) -> tuple[object, object]:
            number = {atom: index for index, atom in enumerate(layout.stored)}
            axes = tuple(
                tuple((a.kind, a.size, number.get(a)) for a in axis) for axis in layout.axes
            )
            return axes, tuple(atom.size for atom in layout.stored)

        return pattern(self.merged()) == pattern(other.merged())


def _split(atom: Atom, outer: int) -> tuple[tuple[Atom, ...], tuple[Atom, ...]]:
    if atom.kind is not Kind.FEATURES or outer < 1 or atom.size % outer:
        raise LayoutError(f"splits the {atom.kind.value} of the window")
    return features(outer), features(atom.size // outer)


def sizes(atoms: Iterable[Atom]) -> tuple[int, ...]:
    """Return the sizes of some atoms."""
    return tuple(atom.size for atom in atoms)


def order(source: Sequence[Atom], target: Sequence[Atom]) -> tuple[int, ...]:
    """Return where each target atom stands in the source: the argument of a permute."""
    return tuple(source.index(atom) for atom in target)
