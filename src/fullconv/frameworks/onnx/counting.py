"""Counts of multiply-accumulates on native tensors, for ONNX's operators without a record.

An operator in no table counts as zero: it multiplies no matrices that we know of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import onnx_ir as ir

from fullconv.graph.graph import Shape
from fullconv.graph.table import Table
from fullconv.lift import cost

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader

Count = Callable[[ir.Node, list[Shape], Shape], int]
"""From a node, the shapes of its inputs (empty for one that is left out), and that of its first
result."""

counts = Table[str, Count]("a count of products")


def products(node: ir.Node, reader: Reader) -> int:
    """Count the multiply-accumulates of a node, for all images of its native tensors."""
    count = counts.find(node.op_type) if node.domain in ("", "ai.onnx") else None
    if count is None:
        return 0
    results = [value.name for value in node.outputs if value.name]
    names = [None if value is None else value.name for value in node.inputs]
    *inputs, result = cost.known(reader.shapes, *names, results[0])
    return count(node, inputs, result)


@counts("MatMul", "MatMulInteger", "QLinearMatMul")
def _matrices(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    return cost.of_matrices(inputs[0], result)


@counts("Gemm")
def _gemm(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    left = inputs[0][::-1] if node.attributes.get_int("transA", 0) else inputs[0]
    return cost.of_matrices(left, result)


@counts("Einsum")
def _einsum(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    return cost.of_equation(node.attributes.get_string("equation", ""), inputs)


@counts("Conv", "ConvInteger", "DeformConv")
def _convolution(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    return cost.of_filters(inputs[1][1:], result)


@counts("QLinearConv")
def _quantized_convolution(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    return cost.of_filters(inputs[3][1:], result)


@counts("ConvTranspose")
def _transposed(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    return cost.of_filters(inputs[1][1:], inputs[0])


@counts("LSTM", "GRU", "RNN")
def _recurrent(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    """Count on ``(steps, N, features)``, or with a layout of 1 ``(N, steps, features)``."""
    steps, images, _ = inputs[0]
    return cost.of_recurrence(steps * images, inputs[1:3])


@counts("Attention")
def _attention(node: ir.Node, inputs: list[Shape], result: Shape) -> int:
    """Count on ``(N, heads, rows, features)``, or ``(N, rows, heads * features)``."""
    query, key, value = inputs[:3]
    if len(value) == 3:  # heads of queries may share the fewer heads of keys and values
        shared = node.attributes.get_int("q_num_heads", 1)
        shared //= max(1, node.attributes.get_int("kv_num_heads", 1))
        value = (*value[:-1], value[-1] * max(1, shared))
    return cost.of_attention(query, key, value)
