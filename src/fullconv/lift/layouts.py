"""How the axes of a classifier's values are composed, as far as that is known before lifting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from fullconv.graph.graph import Graph, Node, Shape
from fullconv.graph.layout import AtomKind, Layout, LayoutError, cells, features
from fullconv.operations import Linear, Opaque, OverCells, Pad, Permute, Reduce, Reshape

Layouts = Mapping[str | None, Layout]


def layouts(graph: Graph) -> Layouts:
    """Return the layouts of the values that are computed from the image.

    Values behind operations with an unknown effect on axes are left out.
    """
    known: dict[str | None, Layout] = {graph.image: graph.layout}
    dimensions = len(graph.window)
    for node in graph.nodes:
        inputs = [known[name] for name in node.inputs if name in known]
        before, operation = known.get(node.first), node.operation
        unlike = before is not None and before.native_axes(dimensions, dimensions) is None
        as_many = isinstance(operation, OverCells) and operation.dimensions == dimensions
        if isinstance(operation, OverCells | Pad) and (as_many or not unlike):
            known[node.outputs[0]] = _of_map(node, graph, before)
        elif inputs and not isinstance(node.operation, Opaque):
            largest = max(inputs, key=lambda layout: prod(layout.shape))
            for name in node.outputs:
                after = _after(node, largest, graph.shapes[name])
                if after is not None:
                    known[name] = after
    return known


def native_axes(layout: Layout | None, rank: int, dimensions: int) -> tuple[int, ...]:
    """Return the axes of the image along which the native ones behind the first two lie.

    Where that is unknown they are taken to be in order, if there are as many. Numbers from
    ``dimensions`` on stand for axes that the image lacks.
    """
    along = None if layout is None else layout.native_axes(dimensions, dimensions)
    if along is not None and len(along) == rank:
        return along
    if layout is None or rank == dimensions:
        return tuple(range(rank))
    return tuple(
        atoms[0].key if len(atoms) == 1 and atoms[0].spatial else dimensions
        for atoms in layout.axes[2 : 2 + rank]
    )


def cells_along(layout: Layout) -> dict[int, int]:
    """Return the number of cells along each axis of the image along which a value has cells."""
    return {atom.key: atom.size for axis in layout.axes for atom in axis if atom.spatial}


def _of_map(node: Node, graph: Graph, before: Layout | None) -> Layout:
    """Return the layout of a map, even where that of its input is unknown."""
    batch, channels, *extents = graph.shapes[node.outputs[0]]
    along = native_axes(before, len(extents), len(graph.window))
    spatial = [cells(axis, extent) for axis, extent in zip(along, extents, strict=True)]
    return Layout.feature_map(batch, features(channels), spatial)


def _after(node: Node, layout: Layout, shape: Shape) -> Layout | None:
    """Return the layout of a result, derived from that of its largest operand."""
    operation = node.operation
    try:
        if isinstance(operation, Reshape):
            return layout.reshape(shape)
    except LayoutError:
        return None
    if isinstance(operation, Permute):
        return layout.permute(operation.order)
    axes = list(layout.axes)
    if isinstance(operation, Linear):
        axes[-1] = features(shape[-1])
    elif isinstance(operation, Reduce) and not operation.keepdims:
        axes = [axis for index, axis in enumerate(axes) if index not in operation.axes]
    if len(axes) != len(shape):
        return None
    for index, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        if prod(atom.size for atom in axis) != size:
            cut = len(axis) == 1 and axis[0].spatial and size > 1
            axes[index] = (replace(axis[0], size=size),) if cut else features(size)
    stored = tuple(a for axis in axes for a in axis if a.kind is AtomKind.FEATURES)
    return Layout(tuple(axes), stored)
