"""How far beyond its own window a score of the approximate form sees.

See docs/theory.md, "One pass".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from math import ceil

from fullconv.geometry.grid import BeforeAfter, Grid, Halo, Sizes, no_halo
from fullconv.graph.graph import Graph, Node
from fullconv.lift.layouts import Layouts, cells_along, layouts
from fullconv.lift.sliding import reaches
from fullconv.lift.stride import Pitch, factors, least, meeting
from fullconv.operations import Convolution, Opaque, Pad, Padding, Pool, TransposedConvolution

EVERYTHING = 1 << 30
"""More cells than any image has: circular padding at the border of the image reads the opposite
border."""


def halo(graph: Graph, grid: Grid, fixed: Collection[int] = ()) -> Halo:
    """Return the pixels before and after a window that its score may depend on, along every axis.

    Derivation: walk from the outputs to the image. A score reads whole native tensors; where an
    operation pads by ``p`` cells, its outermost cells read ``p`` cells more, which are ``p`` times
    the pitch in pixels, and whatever those read lies further out by as much. Where a cell is
    spread over finer ones, some of these stand for all of it. A statistic over the cells around a
    cell (`fullconv.lift.sliding`) reaches half a window beyond the outermost ones; at the border of
    the image it is that of the last window inside, which reaches no further. The result is an upper
    bound. Along axes that are ``fixed``, nothing lies beyond the window.
    """
    known = layouts(graph)
    pixels = _pitches(graph, known, grid)
    axes = range(grid.dimensions)
    slides = [axis for axis in axes if axis not in fixed]
    none = no_halo(grid.dimensions)
    beyond: dict[str, Halo] = dict.fromkeys(graph.outputs, none)
    for node in reversed(graph.nodes):
        reach = _widest([none, *(beyond[name] for name in node.outputs if name in beyond)])
        statistics = reaches(node, known, slides)
        for name in node.inputs:
            if name is None or name not in pixels:
                continue
            padding = _padding_along(node, known, grid.dimensions)
            further = []
            for axis in axes:
                # A part of a cell is read only with the whole cell.
                whole = _whole(reach[axis], pixels[name][axis])
                own = _further(whole, padding[axis], pixels[name][axis])
                cells = statistics.get(axis, 1)
                around = (cells - 1) // 2, cells // 2
                further.append(_further(own, around, pixels[node.outputs[0]][axis]))
            beyond[name] = _widest([beyond.get(name, none), tuple(further)])
    ends = beyond.get(graph.image, none)
    return tuple((0, 0) if axis in fixed else ends[axis] for axis in axes)


def _pitches(graph: Graph, known: Layouts, grid: Grid) -> dict[str | None, Pitch]:
    """Return the pixels between cells of every value, as the approximate form keeps them.

    Single cells of windows lie on the window grid, and what is made of them lies as far apart. A
    gate is spread over the map that it gates, and lies as the map does.
    """
    axes = range(grid.dimensions)
    pixels: dict[str | None, Pitch] = {graph.image: (Fraction(1),) * grid.dimensions}
    for node in graph.nodes:
        names = [name for name in node.inputs if name in pixels]
        if not names:
            continue
        after = _extents(graph, known, node.outputs[0], grid)
        before = {name: _extents(graph, known, name, grid) for name in names}
        pitch = []
        for axis in axes:
            wide = [name for name in names if before[name][axis] != 1 or after[axis] == 1]
            meet = least if isinstance(node.operation, Opaque) else meeting
            pitch.append(meet([pixels[name] for name in wide or names])[axis])
        for axis, factor in factors(node, graph, known, places=True):
            if axis in axes:
                pitch[axis] *= factor
        for name in node.outputs:
            extents = _extents(graph, known, name, grid)
            pixels[name] = tuple(
                ceil(own / step) * Fraction(step) if extent == 1 else own
                for own, extent, step in zip(pitch, extents, grid.step, strict=True)
            )
    return pixels


def _extents(graph: Graph, known: Layouts, name: str | None, grid: Grid) -> Sizes:
    """Return the cells of a window along every axis: 1 where there are none, 0 if unknown."""
    layout = known.get(name)
    if layout is not None:
        cells = cells_along(layout)
        return tuple(cells.get(axis, 1) for axis in range(grid.dimensions))
    shape = graph.shapes.get(name or "", ())[2:]
    return tuple(shape) if len(shape) == grid.dimensions else (0,) * grid.dimensions


def _further(reach: BeforeAfter, padding: BeforeAfter, pixels: Fraction) -> BeforeAfter:
    before, after = (ceil(max(0, cells) * pixels) for cells in padding)
    return reach[0] + before, reach[1] + after


def _whole(reach: BeforeAfter, pitch: Fraction) -> BeforeAfter:
    """Return a reach rounded up to whole cells; the cells of an upsampled map are parts of one."""
    before, after = (ceil(ceil(pixels / pitch) * pitch) for pixels in reach)
    return before, after


def _padding_along(node: Node, known: Layouts, dimensions: int) -> Padding:
    """Return how many cells beyond its input an operation reads, along every axis of the image.

    Where the axis of the padding is unknown, every axis takes the largest.
    """
    padding = _padding(node)
    layout = known.get(node.first)
    if not padding or layout is None:
        return (_furthest([(0, 0), *padding]),) * dimensions
    along = layout.native_axes(dimensions, dimensions)
    reads = [(0, 0)] * dimensions
    if along is None and len(padding) == dimensions and not isinstance(node.operation, Pad):
        return (_furthest(padding),) * dimensions
    if along is not None and len(along) == len(padding):
        for axis, pair in zip(along, padding, strict=True):
            if axis < dimensions:
                reads[axis] = pair
        return tuple(reads)
    pads = node.operation.pads if isinstance(node.operation, Pad) else ((0, 0), (0, 0), *padding)
    for atoms, pair in zip(layout.axes, pads, strict=False):
        for atom in atoms:
            if atom.spatial and atom.key < dimensions:
                reads[atom.key] = _furthest([reads[atom.key], pair])
    return tuple(reads)


def _padding(node: Node) -> Padding:
    """Return how many cells beyond its input an operation reads, along its native axes."""
    operation = node.operation
    if isinstance(operation, Convolution | Pool):
        return tuple(sliding.padding for sliding in operation.slidings)
    if isinstance(operation, Pad):
        if operation.mode == "circular":
            return tuple((EVERYTHING * any(pair),) * 2 for pair in operation.pads[2:])
        return operation.pads[2:]
    if isinstance(operation, TransposedConvolution):
        reach = [d * (k - 1) + 1 for k, d in zip(operation.kernel, operation.dilation, strict=True)]
        return tuple((cells, cells) for cells in reach)
    return ()


def _widest(halos: Sequence[Halo]) -> Halo:
    return tuple(map(_furthest, zip(*halos, strict=True)))


def _furthest(sides: Iterable[BeforeAfter]) -> BeforeAfter:
    before, after = zip(*sides, strict=True)
    return max(before), max(after)
