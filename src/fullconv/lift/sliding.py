"""The statistics over a sliding window in the approximate form, and how far they see.

The exact form takes a statistic over each window. The approximate form takes it around each cell,
over as many cells as a window has: at the native size it is the window's own statistic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fullconv.graph.graph import Graph, Node
from fullconv.graph.layout import Layout
from fullconv.lift.layouts import Layouts, cells_along, layouts
from fullconv.operations import GroupNormalization, LayerNormalization, Pointwise


def sliding_statistics(graph: Graph, axes: Collection[int]) -> frozenset[str]:
    """Return the values that gate a map: numbers that are computed from the whole window.

    ``axes`` are those along which windows slide.

    The approximate form needs such a value at every cell of the map that it gates, from a window
    of the native extent around that cell. So these values are kept dense, from the reduction that
    makes them to the product that uses them.
    """
    known = layouts(graph)
    producers = {name: node for node in graph.nodes for name in node.outputs}
    spreads = (_spread(node, known, axes) for node in graph.nodes)
    pending = [item for items in spreads for item in items]
    names: set[str] = set()
    seen: set[tuple[str, frozenset[int]]] = set()
    while pending:
        name, spread = pending.pop()
        node = producers.get(name)
        if node is None or (name, spread) in seen or spread <= _spatial(known[name]):
            continue
        seen.add((name, spread))
        names.update(node.outputs)
        pending.extend((i, spread) for i in node.inputs if i is not None and i in known)
    return frozenset(names)


def reaches(node: Node, known: Layouts, axes: Collection[int]) -> dict[int, int]:
    """Return the axes along which a node takes a sliding statistic, each with its cells.

    ``known`` are the `layouts` of the graph; ``axes`` are those along which windows slide.
    """
    layout = known.get(node.outputs[0])
    if layout is None:
        return {}
    over: set[int] = set()
    if isinstance(node.operation, LayerNormalization) and node.inputs[1:] in ((None, None), ()):
        over.update(
            a.key for axis in layout.axes[-node.operation.axes :] for a in axis if a.spatial
        )
    elif isinstance(node.operation, GroupNormalization):
        over.update(_spatial(layout))
    for _, spread in _spread(node, known, axes):
        over.update(spread)
    over.intersection_update(axes)
    return {axis: size for axis, size in cells_along(layout).items() if axis in over}


def _spread(
    node: Node, known: Layouts, axes: Collection[int]
) -> Iterator[tuple[str, frozenset[int]]]:
    """Yield the inputs with one number for all cells along some axes of a map, and these axes."""
    if not isinstance(node.operation, Pointwise) or node.outputs[0] not in known:
        return
    result = _spatial(known[node.outputs[0]]).intersection(axes)
    for name in node.inputs:
        if name in known and name is not None:
            spread = result - _spatial(known[name])
            if spread:
                yield name, spread


def _spatial(layout: Layout) -> frozenset[int]:
    return frozenset(cells_along(layout))
