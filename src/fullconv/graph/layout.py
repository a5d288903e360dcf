"""How each axis of a tensor is composed of batch, features and the axes of the image.

`flatten`, `view` and `permute` move no data of a field: they only rewrite its layout. After
``flatten`` an axis is ``(features, rows, columns)``; after ``permute(0, 2, 3, 1).flatten(1)`` it is
``(rows, columns, features)``. That record is all it takes to give a fully connected layer its
filters in the right order, whatever the framework's flatten order was (docs/theory.md, "Layouts").

Normal form: an atom of size 1 is left out, and an axis of size 1 is empty. So there is a batch atom
only where a network takes a fixed number of images, more than one: a classifier is a function of
one image, and an axis that holds nothing else has nothing to mix.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from math import prod

_keys = count()


class AtomKind(enum.Enum):
    """The things that an atom counts."""

    BATCH = "batch"
    FEATURES = "features"
    SPACE = "cells"


@dataclass(frozen=True)
class Atom:
    """An indivisible factor of an axis.

    ``key`` distinguishes feature atoms; for cells it is the axis of the field along which they lie.
    """

    kind: AtomKind
    size: int
    key: int = 0

    @property
    def spatial(self) -> bool:
        """Whether it runs over cells of the window."""
        return self.kind is AtomKind.SPACE

    @property
    def counted(self) -> tuple[AtomKind, int, int | None]:
        """Kind, size, and axis of the cells; the same for all feature atoms of one size."""
        return self.kind, self.size, self.key if self.spatial else None


def features(size: int) -> tuple[Atom, ...]:
    """Return a new feature atom, or nothing for size 1."""
    return (Atom(AtomKind.FEATURES, size, next(_keys)),) if size != 1 else ()


def cells(axis: int, extent: int) -> tuple[Atom, ...]:
    """Return the atom of ``extent`` cells along an axis of the field, or nothing for one."""
    return (Atom(AtomKind.SPACE, extent, axis),) if extent != 1 else ()


class LayoutError(Exception):
    """A shape change that the atoms do not allow; the message is a short reason.

    Attributes
    ----------
    axis : int or None
        The axis of the field whose cells it would take apart.
    """

    def __init__(self, reason: str, axis: int | None = None) -> None:
        super().__init__(reason)
        self.axis = axis

    def reason(self, names: Sequence[str]) -> str:
        """Return the reason in words, given the names of the cells along every axis."""
        return str(self) if self.axis is None else f"splits the {names[self.axis]} of the window"


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
    def feature_map(
        cls, batch: int, channels: tuple[Atom, ...], spatial: Sequence[tuple[Atom, ...]]
    ) -> Layout:
        """Return the layout ``(N, C, *spatial)``, in normal form."""
        several = (Atom(AtomKind.BATCH, batch),) if batch != 1 else ()
        return cls((several, channels, *spatial), channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The native shape, with the batch that the network was read with."""
        return tuple(prod(atom.size for atom in axis) for axis in self.axes)

    @property
    def channels(self) -> int:
        """Size of ``C`` in the stored map."""
        return prod(atom.size for atom in self.stored)

    @property
    def batch_axis(self) -> int | None:
        """The axis that holds the batch, or None."""
        for index, axis in enumerate(self.axes):
            if any(atom.kind is AtomKind.BATCH for atom in axis):
                return index
        return None

    def is_feature_map(self, dimensions: int) -> bool:
        """Whether this is ``(N, C, *cells)`` with the axes of the field in order.

        An axis of size 1 is empty, and may stand for any.
        """
        along = self.native_axes(dimensions, dimensions)
        return along == tuple(range(dimensions))

    def native_axes(self, dimensions: int, field_axes: int) -> tuple[int, ...] | None:
        """Return the axes of the field along which those behind ``(N, C, ...)`` lie.

        Cells may stand in any order there. A native axis of size 1 takes an axis of the field that
        is free. Numbers from ``field_axes`` on are axes that the field lacks: for native axes of
        size 1 that are left over; and for features, where the native axes are not as many as the
        image's (``dimensions``). None where the axes are arranged otherwise.
        """
        if len(self.axes) < 2:
            return None
        batch, channels, *native = self.axes
        if any(a.kind is not AtomKind.BATCH for a in batch) or any(
            a.kind is not AtomKind.FEATURES for a in channels
        ):
            return None
        lacking = count(field_axes)
        along: list[int | None] = []
        for atoms in native:
            if not atoms:
                along.append(None)
            elif len(atoms) == 1 and atoms[0].spatial:
                along.append(atoms[0].key)
            elif len(native) != dimensions and all(a.kind is AtomKind.FEATURES for a in atoms):
                along.append(next(lacking))
            else:
                return None
        spare = chain((axis for axis in range(field_axes) if axis not in along), lacking)
        return tuple(next(spare) if axis is None else axis for axis in along)

    def with_axis(self, index: int, atoms: tuple[Atom, ...]) -> Layout:
        """Replace one axis; features that are then in no axis leave the stored order."""
        axes = (*self.axes[:index], atoms, *self.axes[index + 1 :])
        here = [atom for axis in axes for atom in axis if atom.kind is AtomKind.FEATURES]
        kept = [atom for atom in self.stored if atom in here]
        return Layout(axes, (*kept, *(atom for atom in here if atom not in kept)))

    def without(self, over: Collection[int]) -> Layout:
        """Leave out the cells along some axes of the field (an extent became 1)."""
        axes = tuple(
            tuple(a for a in axis if not a.spatial or a.key not in over) for axis in self.axes
        )
        return replace(self, axes=axes)

    def permute(self, order: Sequence[int]) -> Layout:
        """Reorder the axes, as ``torch.permute`` and ONNX Transpose do."""
        return replace(self, axes=tuple(self.axes[i] for i in order))

    def reshape(self, shape: Sequence[int]) -> Layout:
        """Regroup the atoms, in row-major order, into axes of the given sizes.

        Feature atoms are split where an axis ends inside them; cells and batch are not.

        Raises
        ------
        LayoutError
            If an axis would end inside the batch or the cells of the window.
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
        return tuple(a for axis in self.axes for a in axis if a.kind is AtomKind.FEATURES)

    def matches(self, other: Layout) -> bool:
        """Whether two layouts mean the same arrangement of the same stored order."""

        def pattern(layout: Layout) -> tuple[object, object]:
            number = {atom: index for index, atom in enumerate(layout.stored)}
            axes = tuple(tuple((a.counted, number.get(a)) for a in axis) for axis in layout.axes)
            return axes, tuple(atom.size for atom in layout.stored)

        return pattern(self.merged()) == pattern(other.merged())


def _split(atom: Atom, outer: int) -> tuple[tuple[Atom, ...], tuple[Atom, ...]]:
    if atom.kind is not AtomKind.FEATURES or outer < 1 or atom.size % outer:
        raise LayoutError(
            f"splits the {atom.kind.value} of the window", atom.key if atom.spatial else None
        )
    return features(outer), features(atom.size // outer)


def sizes(atoms: Iterable[Atom]) -> tuple[int, ...]:
    """Return the sizes of some atoms."""
    return tuple(atom.size for atom in atoms)


def order(source: Sequence[Atom], target: Sequence[Atom]) -> tuple[int, ...]:
    """Return where each target atom stands in the source: the argument of a permute."""
    return tuple(source.index(atom) for atom in target)
