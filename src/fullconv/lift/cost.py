"""The cost of scores: multiply-accumulates per window, in an image of many windows.

Only layers that multiply matrices count (convolutions, fully connected layers, attention,
recurrence), because nearly all time is spent on them. Layers with a record are counted here by
their shapes. A framework counts a layer without a record when it reads it (`Opaque.products`), by
the formulas below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from fullconv.graph.graph import Graph, Node, Shape
from fullconv.operations import Convolution, Linear, Opaque, TransposedConvolution


def products(node: Node, graph: Graph) -> int:
    """Count the multiply-accumulates of a layer on one window at its native size.

    A filter's taps on padding count too, as a framework computes them.
    """
    if isinstance(node.operation, Opaque):
        return node.operation.products // max(1, graph.batch)
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or (weight not in graph.shapes and weight not in graph.constants):
        return 0
    shape = graph.constants[weight].shape if weight in graph.constants else graph.shapes[weight]
    if isinstance(node.operation, TransposedConvolution):
        return prod(shape) * _cells(graph, node.inputs[0])
    if isinstance(node.operation, Convolution):
        if node.operation.copies:
            return 0
        return prod(shape) * _cells(graph, node.outputs[0])
    if isinstance(node.operation, Linear):
        outputs = prod(graph.shapes[node.outputs[0]]) // max(1, graph.batch)
        return outputs * shape[-1]
    return 0


def _cells(graph: Graph, value: str | None) -> int:
    return prod(graph.shapes.get(value or "", ())[2:])


# Layers without a record.


def of_matrices(left: Shape, result: Shape) -> int:
    """Count the products of two matrices, or batches of them: each result sums over one row."""
    return prod(result) * (left[-1] if left else 1)


def of_equation(equation: str, operands: Sequence[Shape]) -> int:
    """Count the products of an einsum, which takes its operands two by two, from the left.

    A letter of one operand that neither the other one, a later one, nor the result has is summed
    over beforehand. An ellipsis is not counted.
    """
    given, _, result = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, operands, strict=False):
        sizes.update(zip(term.replace("...", ""), shape, strict=False))
    total, letters = 0, set(terms[0])
    for place, term in enumerate(terms[1:], start=1):
        needed = set(result).union(*terms[place + 1 :])
        here, there = letters & (needed | set(term)), set(term) & (needed | letters)
        total += prod(sizes.get(letter, 1) for letter in here | there)
        letters = (here | there) & needed
    return total


def of_attention(query: Shape, key: Shape, value: Shape) -> int:
    """Count the products of queries with keys, and of their weights with values.

    Shapes are ``(..., rows, features)``; several heads of a query may share a key.
    """
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def of_filters(weight: Shape, positions: Shape) -> int:
    """Count the products of filters, each of which is applied at ``prod(positions)`` places."""
    return prod(weight) * prod(positions)


def of_recurrence(steps: int, weights: Iterable[Shape]) -> int:
    """Count the products of a recurrent layer: every matrix is applied once per step and image."""
    return steps * sum(prod(shape) for shape in weights if len(shape) > 1)


def known(shapes: Mapping[str, Shape], *names: str | None) -> list[Shape]:
    """Return the shapes of some values; empty ones of those that are not known."""
    return [tuple(shapes.get(name or "", ())) for name in names]
