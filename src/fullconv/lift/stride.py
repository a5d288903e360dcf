"""The network's own stride: how far apart its answers lie when it runs on a larger image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import gcd, lcm

from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Graph, Node
from fullconv.graph.layout import Layout
from fullconv.lift.layouts import Layouts, layouts, native_axes
from fullconv.lift.shape import blocks
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Opaque,
    Pool,
    Reshape,
    Slice,
    TransposedConvolution,
    Upsample,
)

Pitch = tuple[Fraction, ...]
"""Pixels between neighbouring cells along every axis of the image."""

ONE = Fraction(1)
RESIZES = ("upsample", "Resize")
"""Beginnings of the names of operations that resize a map, in PyTorch and ONNX."""


def network_stride(graph: Graph) -> Sizes:
    """Return the pixels between neighbouring answers along every axis.

    It is the product of all strides on the way to the output, and so the pitch of the last map
    before the head. Where that is a fraction (after a transposed convolution or upsampling), it is
    the smallest whole number of pixels that is a multiple of the fraction. Windows must also lie a
    whole number of cells apart wherever a transposed convolution or upsampling spreads cells. A
    pool that covers a whole axis is a global one: its stride (by default its kernel) does not count
    along that axis.
    """
    known = pitches(graph)
    ends = [known[name] for name in graph.outputs if name in known]
    for node in graph.nodes:
        spreads = isinstance(node.operation, TransposedConvolution | Upsample)
        if spreads and node.outputs[0] in known:
            before = meeting([known[name] for name in node.inputs if name in known])
            after = known[node.outputs[0]]
            ends.append(tuple(b if a < b else ONE for a, b in zip(after, before, strict=True)))
    stride = meeting(ends) if ends else (ONE,) * len(graph.window)
    return tuple(pitch.numerator for pitch in stride)


def pitches(graph: Graph) -> dict[str | None, Pitch]:
    """Return the pixels between neighbouring cells of every value that is made from the image."""
    arranged = layouts(graph)
    known: dict[str | None, Pitch] = {graph.image: (ONE,) * len(graph.window)}
    for node in graph.nodes:
        inputs = [known[name] for name in node.inputs if name in known]
        if not inputs:
            continue
        # Without a rule an operation has no cells to keep apart: it answers wherever windows lie.
        without = isinstance(node.operation, Opaque)
        pitch = list(least(inputs) if without else meeting(inputs))
        for axis, factor in factors(node, graph, arranged):
            if axis < len(pitch):
                pitch[axis] *= factor
        known.update(dict.fromkeys(node.outputs, tuple(pitch)))
    return known


def meeting(pitches: Sequence[Pitch]) -> Pitch:
    """Return the smallest pitch that is a multiple of all."""
    return tuple(
        Fraction(lcm(*(n.numerator for n in along)), gcd(*(n.denominator for n in along)))
        for along in zip(*pitches, strict=True)
    )


def least(pitches: Sequence[Pitch]) -> Pitch:
    return tuple(map(min, *pitches)) if len(pitches) > 1 else pitches[0]


def factors(
    node: Node, graph: Graph, known: Layouts, *, places: bool = False
) -> Iterator[tuple[int, Fraction]]:
    """Yield axes of the image, each with the factor by which a result's cells lie further apart.

    With ``places``, the stride of a pool that covers a whole axis counts where padding gives the
    pool more than one place.
    """
    before = graph.shapes.get(node.first or "", ())
    native = _native_factors(node, before, graph)
    if places and isinstance(node.operation, Pool):
        native = tuple(
            ONE if s._replace(stride=1).output(extent) == 1 else Fraction(s.stride)
            for s, extent in zip(node.operation.slidings, before[2:], strict=True)
        )
    along = native_axes(known.get(node.first), len(native), len(graph.window))
    if isinstance(node.operation, Slice) and node.operation.axis < len(before):
        along, native = _sliced(node.operation, known.get(node.first))
    return zip(along, native, strict=True)


def _sliced(operation: Slice, layout: Layout | None) -> tuple[Sizes, tuple[Fraction, ...]]:
    if layout is None:
        axis = operation.axis - 2
        return ((axis,), (Fraction(operation.step),)) if axis >= 0 else ((), ())
    cells = [atom.key for atom in layout.axes[operation.axis] if atom.spatial]
    return tuple(cells), (Fraction(operation.step),) * len(cells)


def _native_factors(node: Node, before: Sequence[int], graph: Graph) -> tuple[Fraction, ...]:
    """Return the factors along the native axes behind the first two; none where nothing changes."""
    operation, cells = node.operation, before[2:]
    if isinstance(operation, Convolution):
        return tuple(map(Fraction, operation.stride))
    if isinstance(operation, TransposedConvolution):
        return tuple(ONE / stride for stride in operation.stride)
    if isinstance(operation, Upsample):
        return tuple(ONE / factor for factor in operation.factor)
    if isinstance(operation, Pool):
        return tuple(
            ONE if kernel == extent else Fraction(stride)
            for kernel, extent, stride in zip(
                operation.kernel, cells, operation.stride, strict=True
            )
        )
    if isinstance(operation, AdaptivePool):
        return tuple(
            Fraction(extent // size) if size > 1 and extent % size == 0 else ONE
            for extent, size in zip(cells, operation.size, strict=True)
        )
    dimensions = len(graph.window)
    if isinstance(operation, Reshape):
        # Transformers split groups of cells off, and join them again.
        apart = _groups(before, operation.shape) if len(cells) == dimensions else None
        joined = len(operation.shape) == 2 + dimensions
        together = _groups(operation.shape, before) if joined else None
        ones = (1,) * dimensions
        split = zip(apart or ones, together or ones, strict=True)
        return tuple(Fraction(a, b) for a, b in split) if apart or together else ()
    after = graph.shapes.get(node.outputs[0], ())[2:]
    resizes = isinstance(operation, Opaque) and operation.name.startswith(RESIZES)
    if resizes and len(cells) == len(after) == dimensions:
        return tuple(_whole_ratio(a, b) for a, b in zip(cells, after, strict=True))
    return ()


def _groups(shape: Sequence[int], wanted: Sequence[int]) -> Sizes | None:
    """Return the cells of a group that a reshape splits off, along every axis.

    Where all cells would be one group, the reshape adds an axis of length one and groups none.
    """
    groups = blocks(shape, wanted)
    if groups is None:
        return None
    return tuple(1 if size == n else size for size, n in zip(groups, shape[2:], strict=True))


def _whole_ratio(before: int, after: int) -> Fraction:
    """Return how many times fewer (or more) cells there are, rounded to a whole number."""
    if before >= after:
        return Fraction(round(before / after))
    return Fraction(1, round(after / before))  # the map before a gate may be 3 of 7 cells wide
