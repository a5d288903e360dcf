"""How far beyond its own window a score of the approximate form sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil

from fullconv.geometry import NO_HALO, Grid, Halo, Pair
from fullconv.graph import Graph, Node, Shape
from fullconv.layout import Kind
from fullconv.lift.sliding import layouts, reaches
from fullconv.lift.stride import pitches
from fullconv.operations import (
    Convolution,
    Pad,
    Padding,
    Permute,
    Pool,
    TransposedConvolution,
)

EVERYTHING = 1 << 30
"""More cells than any image has: what is padded circularly at the border of the image reads the
opposite border."""


def halo(graph: Graph, grid: Grid) -> Halo:
    """Return the pixels before and after a window that its score may depend on, in each direction.

    Derivation: walk from the outputs to the image. A score reads whole native tensors; where an
    operation pads by ``p`` cells, its outermost cells read ``p`` cells more, which are ``p`` times
    the pitch in pixels, and all that is read further on lies as much further out. Where a cell is
    spread over finer ones, some of these stand for all of it. A statistic over the cells around a
    cell (`fullconv.lift.sliding`) reaches half a window beyond the outermost ones; at the border of
    the image it is that of the last window inside, which reaches no further. The result is an upper
    bound.
    """
    cells, known = pitches(graph), layouts(graph)
    beyond: dict[str, Halo] = dict.fromkeys(graph.outputs, NO_HALO)
    for node in reversed(graph.nodes):
        reach = _widest(beyond.get(name, NO_HALO) for name in node.outputs)
        if isinstance(node.operation, Permute):
            # Rows may become columns: both get the further of the two.
            (top, bottom), (left, right) = reach
            reach = ((max(top, left), max(bottom, right)),) * 2
        around = _around(reaches(node, known))
        for name in node.inputs:
            if name is None or name not in cells:
                continue
            # A part of a cell is had only with the whole cell.
            whole = _whole(reach[0], cells[name][0]), _whole(reach[1], cells[name][1])
            rows, columns = _pixels(cells[name], graph.shapes.get(name, ()), grid)
            padding = _padding(node)
            further = _further(whole[0], padding[0], rows), _further(whole[1], padding[1], columns)
            if any(map(any, around)):
                rows, columns = cells[node.outputs[0]]
                further = (
                    _further(further[0], around[0], rows),
                    _further(further[1], around[1], columns),
                )
            beyond[name] = _widest([beyond.get(name, NO_HALO), further])
    return beyond.get(graph.image, NO_HALO)


def _pixels(pitch: tuple[Fraction, Fraction], shape: Shape, grid: Grid) -> tuple[Fraction, ...]:
    """Return the pixels between cells; what has one cell per window lies on the window grid."""
    if len(shape) != 4:
        return pitch
    return tuple(
        max(p, Fraction(step)) if extent == 1 else p
        for p, extent, step in zip(pitch, shape[2:], grid.step, strict=True)
    )


def _further(reach: Pair, padding: Pair, pixels: Fraction) -> Pair:
    before, after = (ceil(max(0, cells) * pixels) for cells in padding)
    return reach[0] + before, reach[1] + after


def _whole(reach: Pair, pitch: Fraction) -> Pair:
    """Return a reach rounded up to whole cells, of which those of an upsampled map are parts."""
    before, after = (ceil(ceil(pixels / pitch) * pitch) for pixels in reach)
    return before, after


def _around(cells: Mapping[Kind, int]) -> Padding:
    """Return how many cells a sliding statistic reads beyond the outermost ones of a window."""
    (top, bottom), (left, right) = (
        ((cells.get(kind, 1) - 1) // 2, cells.get(kind, 1) // 2)
        for kind in (Kind.ROWS, Kind.COLUMNS)
    )
    return (top, bottom), (left, right)


def _padding(node: Node) -> Padding:
    """Return how many cells beyond its input an operation reads, ((top, bottom), (left, right))."""
    operation = node.operation
    if isinstance(operation, Convolution):
        return operation.padding
    if isinstance(operation, Pool):
        (top, bottom), (left, right) = operation.padding
        return (top, bottom + operation.overhang[0]), (left, right + operation.overhang[1])
    if isinstance(operation, Pad) and len(operation.pads) == 4:
        rows, columns = operation.pads[2:]
        if operation.mode == "circular":
            return (EVERYTHING * any(rows),) * 2, (EVERYTHING * any(columns),) * 2
        return rows, columns
    if isinstance(operation, TransposedConvolution):
        reach = [d * (k - 1) + 1 for k, d in zip(operation.kernel, operation.dilation, strict=True)]
        return (reach[0], reach[0]), (reach[1], reach[1])
    return (0, 0), (0, 0)


def _widest(halos: Iterable[Halo]) -> Halo:
    rows, columns = zip(*halos, strict=True)
    return _furthest(rows), _furthest(columns)


def _furthest(sides: Iterable[Pair]) -> Pair:
    before, after = zip(*sides, strict=True)
    return max(before), max(after)
