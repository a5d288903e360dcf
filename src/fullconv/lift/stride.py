"""The network's own stride: how far apart its answers lie when it runs on a larger image."""

from __future__ import annotations

from fractions import Fraction

from fullconv.graph import Graph, Node
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Pool,
    Slice,
    TransposedConvolution,
)

Pitch = tuple[Fraction, Fraction]


def network_stride(graph: Graph) -> tuple[int, int]:
    """Return the pixels between neighbouring answers, (rows, columns).

    The product of all strides on the way to the output, which is the pitch of the last map before
    the head. An average pool that covers its whole input is a global one, and its stride (by
    default its kernel) does not count.
    """
    pitches: dict[str | None, Pitch] = {graph.image: (Fraction(1), Fraction(1))}
    for node in graph.nodes:
        known = [pitches[name] for name in node.inputs if name in pitches]
        if not known:
            continue
        pitch = (max(p[0] for p in known), max(p[1] for p in known))
        factor = _factor(node, graph)
        for output in node.outputs:
            pitches[output] = (pitch[0] * factor[0], pitch[1] * factor[1])
    ends = [pitches[name] for name in graph.outputs if name in pitches]
    rows, columns = (max((end[axis] for end in ends), default=Fraction(1)) for axis in (0, 1))
    return max(1, int(rows)), max(1, int(columns))


def _factor(node: Node, graph: Graph) -> Pitch:
    one = Fraction(1)
    operation = node.operation
    if isinstance(operation, Convolution):
        return Fraction(operation.stride[0]), Fraction(operation.stride[1])
    if isinstance(operation, TransposedConvolution):
        return one / operation.stride[0], one / operation.stride[1]
    shape = graph.shapes.get(node.inputs[0] or "", ())
    if len(shape) != 4:
        return one, one
    if isinstance(operation, Pool):
        is_global = [
            operation.kind == "average" and kernel >= extent
            for kernel, extent in zip(operation.kernel, shape[2:], strict=True)
        ]
        return (
            one if is_global[0] else Fraction(operation.stride[0]),
            one if is_global[1] else Fraction(operation.stride[1]),
        )
    if isinstance(operation, AdaptivePool):
        whole = [
            Fraction(extent // size) if size > 1 and extent % size == 0 else one
            for extent, size in zip(shape[2:], operation.size, strict=True)
        ]
        return whole[0], whole[1]
    if isinstance(operation, Slice) and operation.axis >= 2:
        step = Fraction(operation.step)
        return (step, one) if operation.axis == 2 else (one, step)
    return one, one
