"""The network's own stride: how far apart its answers lie when it runs on a larger image."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm

from fullconv.graph import Graph, Node
from fullconv.lift.shape import blocks
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Opaque,
    Permute,
    Pool,
    Reshape,
    Slice,
    TransposedConvolution,
    Upsample,
)

Pitch = tuple[Fraction, Fraction]

RESIZES = ("upsample", "Resize")
"""How the names begin of what makes a map larger or smaller, in PyTorch and ONNX."""


def network_stride(graph: Graph) -> tuple[int, int]:
    """Return the pixels between neighbouring answers, (rows, columns).

    The product of all strides on the way to the output, which is the pitch of the last map before
    the head; where that is a fraction (after a transposed convolution or upsampling), the smallest
    whole number of pixels that is a multiple of it. Windows must also lie a whole number of cells
    apart wherever a transposed convolution or upsampling spreads cells. Along an axis that a pool
    covers whole, it is a global one, and its stride (by default its kernel) does not count.
    """
    known = pitches(graph)
    one = Fraction(1)
    ends = [known[name] for name in graph.outputs if name in known]
    for node in graph.nodes:
        spreads = isinstance(node.operation, TransposedConvolution | Upsample)
        if spreads and node.outputs[0] in known:
            before = _meeting([known[name] for name in node.inputs if name in known])
            after = known[node.outputs[0]]
            spread = [b if a < b else one for a, b in zip(after, before, strict=True)]
            ends.append((spread[0], spread[1]))
    rows, columns = _meeting(ends) if ends else (one, one)
    return rows.numerator, columns.numerator


def pitches(graph: Graph) -> dict[str | None, Pitch]:
    """Return the pixels between neighbouring cells of every value that is made from the image."""
    found: dict[str | None, Pitch] = {graph.image: (Fraction(1), Fraction(1))}
    turned: set[str] = set()
    for node in graph.nodes:
        known = [found[name] for name in node.inputs if name in found]
        if not known:
            continue
        # Without a rule an operation has no cells to keep apart: it answers wherever windows lie.
        without = isinstance(node.operation, Opaque)
        pitch = _least(known) if without else _meeting(known)
        factor = _factor(node, graph)
        across = any(name in turned for name in node.inputs)
        if across:
            factor = (factor[1], factor[0])
        if across != _swaps(node):
            turned.update(node.outputs)
        for output in node.outputs:
            found[output] = (pitch[0] * factor[0], pitch[1] * factor[1])
    return found


def _meeting(pitches: list[Pitch]) -> Pitch:
    """Return the smallest pitch that is a multiple of all."""

    def multiple(numbers: list[Fraction]) -> Fraction:
        return Fraction(
            lcm(*(n.numerator for n in numbers)), gcd(*(n.denominator for n in numbers))
        )

    return multiple([p[0] for p in pitches]), multiple([p[1] for p in pitches])


def _least(pitches: list[Pitch]) -> Pitch:
    return min(p[0] for p in pitches), min(p[1] for p in pitches)


def _swaps(node: Node) -> bool:
    """Whether a permute turns rows into columns."""
    order = node.operation.order if isinstance(node.operation, Permute) else ()
    return len(order) == 4 and order.index(3) < order.index(2) and order[1] == 1


def _factor(node: Node, graph: Graph) -> Pitch:
    one = Fraction(1)
    operation = node.operation
    if isinstance(operation, Convolution):
        return Fraction(operation.stride[0]), Fraction(operation.stride[1])
    if isinstance(operation, TransposedConvolution):
        return one / operation.stride[0], one / operation.stride[1]
    if isinstance(operation, Upsample):
        return one / operation.factor[0], one / operation.factor[1]
    shape = graph.shapes.get(node.inputs[0] or "", ())
    if isinstance(operation, Reshape):
        apart = blocks(shape, operation.shape)
        together = blocks(operation.shape, shape)  # as transformers put their groups of cells
        a, b, c, d = *(apart or (1, 1)), *(together or (1, 1))
        return Fraction(a, c), Fraction(b, d)
    if len(shape) != 4:
        return one, one
    if isinstance(operation, Pool):
        moves = [
            one if kernel == extent else Fraction(stride)
            for kernel, extent, stride in zip(
                operation.kernel, shape[2:], operation.stride, strict=True
            )
        ]
        return moves[0], moves[1]
    if isinstance(operation, AdaptivePool):
        whole = [
            Fraction(extent // size) if size > 1 and extent % size == 0 else one
            for extent, size in zip(shape[2:], operation.size, strict=True)
        ]
        return whole[0], whole[1]
    if isinstance(operation, Slice) and operation.axis >= 2:
        step = Fraction(operation.step)
        return (step, one) if operation.axis == 2 else (one, step)
    after = graph.shapes.get(node.outputs[0], ())
    if isinstance(operation, Opaque) and operation.name.startswith(RESIZES) and len(after) == 4:
        resized = [_whole_ratio(a, b) for a, b in zip(shape[2:], after[2:], strict=True)]
        return resized[0], resized[1]
    return one, one


def _whole_ratio(before: int, after: int) -> Fraction:
    """Return how many times fewer (or more) cells there are, as a whole number of times."""
    if before >= after:
        return Fraction(round(before / after))
    return Fraction(1, round(after / before))  # the map before a gate may be 3 of 7 cells wide
