"""Fields in the arrangement that a rule needs: channels in order, cells along the field's axes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Node, Recipe
from fullconv.graph.layout import Atom, AtomKind, Layout, cells, features, order, sizes
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing
from fullconv.lift.split import Moved, Part, Split
from fullconv.operations import AddAxis, FoldAxes, Interleave, OverCells, TakeChannels
from fullconv.wording import unit

MOST = 3
"""The most axes that frameworks convolve and pool over."""

Over = TypeVar("Over", bound=OverCells)


OverMaps = Callable[[Lifting, Node, Over, Sizes, Field], Field]
"""A rule over ``(N, C, *cells)``. It takes the operation over the axes of the field, and the axes
along which its native ones lie."""


def store(lifting: Lifting, x: Field, wanted: Sequence[Atom]) -> Field:
    """Reorder the stored channels."""
    if tuple(wanted) == x.layout.stored:
        return x
    take = TakeChannels(tuple(places_of(x.layout.stored, wanted).tolist()))
    return lifting.helped(x, take, replace(x.layout, stored=tuple(wanted)))


def places_of(stored: Sequence[Atom], wanted: Sequence[Atom]) -> NDArray[np.int64]:
    """Return the place in ``stored`` of every channel of ``wanted``: ``(C,)``."""
    index = np.arange(prod(sizes(stored))).reshape(sizes(stored))
    return index.transpose(order(stored, wanted)).reshape(-1)


def as_feature_map(lifting: Lifting, x: Field, rank: int) -> tuple[Field, Sizes]:
    """Return a field as ``(N, C, *cells)``, and its axes along which the native ones lie.

    ``rank`` is the number of native axes behind the first two; cells may stand there in any order.
    Features among them become an axis of cells of their own, with one window along it; so does a
    native axis of size 1 that belongs to no axis of the image.

    Raises
    ------
    EndsSharing
        If the axes are arranged otherwise.
    """
    for place in range(2, len(x.layout.axes)):
        x = _interleaved(lifting, x, place)
    along = x.layout.native_axes(lifting.grid.dimensions, len(x.axes))
    if along is None or len(along) != rank or len({*along, *range(len(x.axes))}) > MOST:
        names = ", ".join(lifting.axis_names())
        raise EndsSharing(f"needs (N, C, {names}), and its axes are arranged otherwise")
    for place in sorted(range(rank), key=along.__getitem__):
        if along[place] == len(x.axes):
            x = _with_axis(lifting, x, x.layout.axes[2 + place])
    batch, channels, *_ = x.layout.axes
    spatial = [cells(axis, extent) for axis, extent in enumerate(x.extent)]
    layout = Layout((batch, channels, *spatial), channels)
    return store(lifting, x, channels).arranged(layout), along


def over_cells(rule: OverMaps[Over]) -> Callable[[Lifting, Node, Over], Field]:
    """Let a rule see its input as ``(N, C, *cells)`` and its operation along the field's axes.

    The result has its axes in the native order again.
    """

    @functools.wraps(rule)
    def lifted(lifting: Lifting, node: Node, operation: Over) -> Field:
        x, axes = as_feature_map(lifting, lifting.field(node.inputs[0]), operation.dimensions)
        along = operation.over(axes, len(x.axes))
        return in_native_order(rule(lifting, node, along, axes, x), axes)

    return lifted


def in_native_order(x: Field, axes: Sequence[int]) -> Field:
    """Return a feature map whose ``i``-th native axis of cells is axis ``axes[i]`` of the field."""
    order = tuple(2 + axis for axis in axes)
    if len(x.layout.axes) != 2 + len(x.axes) or order == tuple(range(2, 2 + len(x.axes))):
        return x
    return x.arranged(x.layout.permute((0, 1, *order)))


def filters_over(weight: Recipe, axes: Sequence[int], dimensions: int) -> Recipe:
    """Return filters ``(out, in, *native)`` as ``(out, in, *cells)``, over the field's axes."""
    kernel = [1] * dimensions
    for axis, size in zip(axes, weight.shape[2:], strict=True):
        kernel[axis] = size
    turned = sorted(range(len(axes)), key=lambda place: axes[place])
    return weight.permute(0, 1, *(2 + place for place in turned)).reshape(
        *weight.shape[:2], *kernel
    )


def align(lifting: Lifting, fields: Sequence[Field]) -> list[Field]:
    """Bring fields to the same parts, cell for cell.

    Along each axis every field takes the largest margins of any. Where that leaves no middle, or
    the middles lie at different places, every window is given its own cells.

    Raises
    ------
    EndsSharing
        If the cells of one window lie at different places (approximate form).
    """
    fields = with_as_many_axes(lifting, fields)
    along = zip(*(x.axes for x in fields), strict=True)
    steps = lifting.blocks.steps(fields[0])
    moved = [_same_margins(lifting, *each) for each in zip(along, steps, strict=True)]
    alike = lifting.as_far_apart(list(map(lifting.blocks.moved, fields, zip(*moved, strict=True))))
    unequal = [
        index
        for index, axes in enumerate(zip(*(x.axes for x in alike), strict=True))
        if not axes[0].private and not all(axis.middle.as_long_as(axes[0].middle) for axis in axes)
    ]
    return [lifting.blocks.keep(x, unequal) if unequal else x for x in alike]


def _same_margins(lifting: Lifting, axes: Sequence[Split], step: int) -> list[Moved]:
    if all(axis.private for axis in axes):
        return [axis.as_it_is() for axis in axes]
    if len({axis.extent for axis in axes}) > 1:
        raise EndsSharing("joins maps of different extent")
    low, high = max(a.low for a in axes), max(a.high for a in axes)
    alike = [axis.narrowed(low, high, step) for axis in axes]
    middles = [m.axis.middle for m in alike]
    lie = {(a.step, a.pitch if a.extent > 1 else None) for a in middles if a.extent}
    if len({m.axis.low for m in alike}) > 1 or len(lie) > 1:
        return lifting.unlike(axes)
    return alike


def with_as_many_axes(lifting: Lifting, fields: Sequence[Field]) -> list[Field]:
    """Give all fields as many axes as the one with the most."""
    most = max(len(x.axes) for x in fields)
    wider = []
    for x in fields:
        for _ in range(most - len(x.axes)):
            x = _with_axis(lifting, x, ())
        wider.append(x)
    return wider


def _with_axis(lifting: Lifting, x: Field, atoms: Sequence[Atom]) -> Field:
    """Turn features into the last axis of cells, with one window; without any, its size is 1."""
    others = tuple(a for a in x.layout.stored if a not in atoms)
    x = store(lifting, x, (*others, *atoms))
    extent = prod(sizes(atoms))
    axis, added = Split.fixed_to(extent), AddAxis(x.layout.channels // extent, extent)
    parts = {
        (*where, Part.LOW): lifting.out.helper(value, added) for where, value in x.parts.items()
    }
    layout = x.layout
    for place, native in enumerate(layout.axes):
        if atoms and atoms[0] in native:
            layout = layout.with_axis(place, cells(len(x.axes), extent))
    return Field(replace(layout, stored=others), (*x.axes, axis), parts)


def fold_axes(lifting: Lifting, x: Field) -> Field:
    """Turn the axes that the image lacks into features."""
    dimensions = lifting.grid.dimensions
    if len(x.axes) == dimensions:
        return x
    layout, stored = x.layout, x.layout.stored
    for index, axis in enumerate(x.axes[dimensions:], start=dimensions):
        atoms = features(axis.extent)
        stored = (*stored, *atoms)
        for place, native in enumerate(layout.axes):
            apart = (atoms if a.spatial and a.key == index else (a,) for a in native)
            layout = layout.with_axis(place, tuple(atom for each in apart for atom in each))
    layout = replace(layout, stored=stored)
    fold = FoldAxes(dimensions, layout.channels)
    parts = {
        where[:dimensions]: lifting.out.helper(value, fold) for where, value in x.parts.items()
    }
    return Field(layout, x.axes[:dimensions], parts)


def must_lie_apart(lifting: Lifting, axis: Split, verb: str) -> None:
    """End sharing where cells are spread over finer ones and windows store cells in between."""
    if not axis.apart:
        things = unit(lifting.grid.dimensions, many=True)
        raise EndsSharing(
            f"{verb} cells that lie {axis.middle.pitch} {things} apart, so only windows at "
            f"multiples of that distance can share it"
        )


def _interleaved(lifting: Lifting, x: Field, place: int) -> Field:
    """Turn a native axis of cells with features behind them into one longer row of cells."""
    cell, *inner = x.layout.axes[place] or (None,)
    if cell is None or not cell.spatial or not inner:
        return x
    if any(atom.kind is not AtomKind.FEATURES for atom in inner):
        return x
    factor, others = prod(sizes(inner)), tuple(a for a in x.layout.stored if a not in inner)
    x = lifting.side_by_side(x, [cell.key])
    must_lie_apart(lifting, x.axes[cell.key], "interleaves")
    longer = x.axes[cell.key].repeated(factor)
    x = store(lifting, x, (*others, *inner))
    interleave = Interleave(cell.key, factor, x.layout.channels // factor)
    x = lifting.helped(x, interleave)
    axes = (*x.axes[: cell.key], longer, *x.axes[cell.key + 1 :])
    layout = x.layout.with_axis(place, cells(cell.key, longer.extent))
    return replace(x, axes=axes, layout=replace(layout, stored=others))
