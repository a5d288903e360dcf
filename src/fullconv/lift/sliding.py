"""Which values of the approximate form are statistics over a sliding window, and how far they see.

The exact form takes a statistic over each window. The approximate form takes it around each cell:
over as many cells as a window has, so that at the native size it is the one statistic there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from fullconv.graph import Graph, Node, Shape
from fullconv.layout import Kind, Layout, LayoutError, features
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    GroupNormalization,
    LayerNormalization,
    Linear,
    Opaque,
    Pad,
    Permute,
    Pointwise,
    Pool,
    Reduce,
    Reshape,
    TransposedConvolution,
    Upsample,
)

MAPS = (AdaptivePool, Convolution, Pad, Pool, TransposedConvolution, Upsample)
"""What gives ``(N, C, rows, columns)``, whatever is known of what it takes."""


def sliding_statistics(graph: Graph) -> frozenset[str]:
    """Return the values that gate a map: numbers that are computed from the whole window.

    The approximate form needs such a value at every cell of the map that it gates, from a window
    of the native extent around that cell; so they are kept dense, from the reduction that makes
    them up to the product that uses them.
    """
    known = layouts(graph)
    producers = {name: node for node in graph.nodes for name in node.outputs}
    pending = [(name, spread) for node in graph.nodes for name, spread in _spread(node, known)]
    found: set[str] = set()
    seen: set[tuple[str, frozenset[Kind]]] = set()
    while pending:
        name, spread = pending.pop()
        node = producers.get(name)
        if node is None or (name, spread) in seen or spread <= _spatial(known[name]):
            continue
        seen.add((name, spread))
        found.update(node.outputs)
        pending.extend((i, spread) for i in node.inputs if i in known)
    return frozenset(found)


def reaches(node: Node, known: dict[str, Layout]) -> dict[Kind, int]:
    """Return along which axes a node takes a sliding statistic, and over how many cells.

    ``known`` is what `layouts` gives for the graph.
    """
    layout = known.get(node.outputs[0])
    if layout is None:
        return {}
    over: set[Kind] = set()
    if isinstance(node.operation, LayerNormalization) and node.inputs[1:] in ((None, None), ()):
        over.update(a.kind for axis in layout.axes[-node.operation.axes :] for a in axis)
    elif isinstance(node.operation, GroupNormalization):
        over.update(_spatial(layout))
    for _, spread in _spread(node, known):
        over.update(spread)
    return {a.kind: a.size for axis in layout.axes for a in axis if a.spatial and a.kind in over}


def layouts(graph: Graph) -> dict[str, Layout]:
    """Return how the axes of the values that are made from the image are composed.

    Left out are those behind operations of which nothing is known.
    """
    found = {graph.image: Layout.of_image(graph.shapes[graph.image])}
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs if name in found]
        if isinstance(node.operation, MAPS):
            found[node.outputs[0]] = Layout.of_image(graph.shapes[node.outputs[0]])
        elif inputs and not isinstance(node.operation, Opaque):
            largest = max(inputs, key=lambda layout: prod(layout.shape))
            for name in node.outputs:
                after = _after(node, largest, graph.shapes[name])
                if after is not None:
                    found[name] = after
    return found


def _spread(node: Node, known: dict[str, Layout]) -> Iterator[tuple[str, frozenset[Kind]]]:
    """Yield the inputs that are one number for all rows or columns of a map, and for which."""
    if not isinstance(node.operation, Pointwise) or node.outputs[0] not in known:
        return
    result = _spatial(known[node.outputs[0]])
    for name in node.inputs:
        if name in known and name is not None:
            spread = result - _spatial(known[name])
            if spread:
                yield name, spread


def _spatial(layout: Layout) -> frozenset[Kind]:
    return frozenset(atom.kind for axis in layout.axes for atom in axis if atom.spatial)


def _after(node: Node, layout: Layout, shape: Shape) -> Layout | None:
    """Return the layout of a result, made of what its largest operand is made of."""
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
    stored = tuple(a for axis in axes for a in axis if a.kind is Kind.FEATURES)
    return Layout(tuple(axes), stored)
