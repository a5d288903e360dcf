"""Counts of multiply-accumulates, for Keras' layers and operations without a record.

An operation is counted by its shapes, a recurrent layer by its matrices and steps, and any other
layer by the operations that it consists of (`fullconv.frameworks.keras.tracing`). An operation in
no table counts as zero: it multiplies no matrices that we know of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras.private import OPERATIONS
from fullconv.frameworks.keras.tracing import inside
from fullconv.graph.graph import Shape
from fullconv.graph.table import Table
from fullconv.lift import cost

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

Count = Callable[[Any, Sequence[Shape], Shape], int]
"""From an operation, the shapes of its tensors and arrays, and that of its first result."""

counts = Table[str, Count]("a count of products")


def products(reader: Reader, target: Any, args: Any, kwargs: Any, results: Sequence[Any]) -> int:
    """Count the multiply-accumulates of a call, for all images of its native tensors."""
    shaped = [x for x in keras.tree.flatten((args, kwargs)) if hasattr(x, "shape")]
    shapes, result = [tuple(x.shape) for x in shaped], tuple(results[0].shape)
    if any(size is None for shape in (*shapes, result) for size in shape):
        return 0
    if not isinstance(target, keras.Layer):
        count = counts.find(type(target).__name__)
        own = type(target).__module__.startswith(OPERATIONS)
        return count(target, shapes, result) if own and count is not None else 0
    if isinstance(target, keras.layers.RNN | keras.layers.Bidirectional):
        return _recurrent(target, shapes[0], result)
    if isinstance(target, keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention):
        return _heads(target, shapes)
    graph = inside(reader, target, args, kwargs)
    if graph is None:
        return 0
    return max(1, reader.batch) * sum(cost.products(node, graph) for node in graph.nodes)


def _recurrent(layer: Any, image: Shape, result: Shape) -> int:
    """Count a recurrent layer, whose matrices may be filters over the cells of a map."""
    images, steps, *_ = image
    cell = getattr(getattr(layer, "forward_layer", layer), "cell", None)
    filters, cells = getattr(cell, "filters", None), 1
    if filters:
        cells = prod(result[1:]) // filters // (steps if layer.return_sequences else 1)
    return cost.of_recurrence(images * steps * int(cells), _kernels(layer))


def _kernels(layer: Any) -> list[Shape]:
    return [tuple(w.shape) for w in layer.weights if w.path.endswith("kernel")]


def _heads(layer: Any, given: Sequence[Shape]) -> int:
    """Count multi-head attention, given queries, values, and keys that differ from the values.

    Its matrices project queries, keys and values to the heads, and the result of the heads back.
    """
    query, value = given[:2]
    images, keys = prod(query[:-1]) // prod(query[1:-1]), prod(value[1:-1])
    rows, config = prod(query[1:-1]), layer.get_config()
    heads = config.get("num_heads") or config["num_query_heads"]
    features = config.get("key_dim") or config["head_dim"]
    kernels = [prod(shape) for shape in _kernels(layer)]
    if len(kernels) != 4:  # quantized, or adapted
        return 0
    to_query, to_key, to_value, back = kernels
    within = (rows, heads, features), (keys, features), (keys, config.get("value_dim") or features)
    count = rows * (to_query + back) + keys * (to_key + to_value) + cost.of_attention(*within)
    return int(images * count)


@counts("Matmul", "Dot", "Inner", "Vdot")
def _matrices(target: Any, operands: Sequence[Shape], result: Shape) -> int:
    return cost.of_matrices(operands[0], result)


@counts("Tensordot")
def _tensordot(target: Any, operands: Sequence[Shape], result: Shape) -> int:
    """Count a sum over ``n`` shared entries; the operands' sizes multiply to ``n**2 * result``."""
    both = prod(operands[0]) * prod(operands[1])
    return int(prod(result) * round((both / max(1, prod(result))) ** 0.5))


@counts("Einsum")
def _einsum(target: Any, operands: Sequence[Shape], result: Shape) -> int:
    return cost.of_equation(target.subscripts, operands)


@counts("DotProductAttention")
def _attention(target: Any, operands: Sequence[Shape], result: Shape) -> int:
    """Count attention on tensors ``(N, rows, heads, features)``."""
    query, key, value = ((x[0], *x[2:-1], x[1], x[-1]) for x in operands[:3])
    return cost.of_attention(query, key, value)


@counts("Conv", "DepthwiseConv")
def _convolution(target: Any, operands: Sequence[Shape], result: Shape) -> int:
    """Count a convolution by ``(*kernel, in, out)``; a depthwise one has ``in * out`` filters."""
    _, kernel = operands[:2]
    filters = prod(kernel[-2:]) if type(target).__name__ == "DepthwiseConv" else kernel[-1]
    return cost.of_filters(kernel, result) // filters


@counts("ConvTranspose")
def _transposed(target: Any, operands: Sequence[Shape], result: Shape) -> int:
    """Count a transposed convolution by filters ``(*kernel, out, in)``."""
    image, kernel = operands[:2]
    return cost.of_filters(kernel[:-1], image)
