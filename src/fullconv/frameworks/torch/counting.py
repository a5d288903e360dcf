"""Count the multiply-accumulates of ATen operators that have no record of their own.

The shapes are native. An operator that is not in the table counts as 0: as far as we know, it
multiplies no matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from fullconv.frameworks.torch.aten import FxNode, arguments, base_name
from fullconv.graph.graph import Shape
from fullconv.graph.table import Table
from fullconv.lift import cost

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader

ShapeOf = Callable[[Any], Shape]
Count = Callable[[ShapeOf, dict[str, Any], Shape], int]
"""Counts, given a function from an argument to its shape, the arguments, and the result's shape."""

counts = Table[str, Count]("a count of products")


def products(node: FxNode, reader: Reader) -> int:
    """Count the multiply-accumulates of a call, over all images of its native tensors."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return 0
    count = counts.find(base_name(target))
    if count is None:
        return 0
    result = node.meta["val"]
    first = result[0] if isinstance(result, tuple | list) else result

    def shape(argument: Any) -> Shape:
        name: str = reader.names[argument]
        return reader.shapes[name]

    return count(shape, arguments(node), reader.shape(first))


for _names, _left in {
    "matmul bmm mv dot vdot inner": "self",
    "addmm": "mat1",
    "baddbmm": "batch1",
    "addmv": "mat",
    "mm": "self",
}.items():

    def _matrices(shape: ShapeOf, a: dict[str, Any], result: Shape, left: str = _left) -> int:
        return cost.of_matrices(shape(a[left]), result)

    counts(*_names.split())(_matrices)


@counts("addbmm")
def _summed(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    columns: int = shape(a["batch2"])[-1]
    return prod(shape(a["batch1"])) * columns


@counts("tensordot")
def _tensordot(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    left = shape(a["self"])
    return prod(result) * int(prod(left[axis] for axis in a["dims_self"]))


@counts("einsum")
def _einsum(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    return cost.of_equation(a["equation"], [shape(x) for x in a["tensors"]])


@counts("bilinear")
def _bilinear(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    return cost.of_filters(shape(a["weight"]), result[:-1])


@counts("scaled_dot_product_attention")
def _attention(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    return cost.of_attention(*(shape(a[name]) for name in ("query", "key", "value")))


@counts("conv1d", "conv2d", "conv3d")
def _convolution(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    weight = shape(a["weight"])
    return cost.of_filters(weight[1:], result)


@counts("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    return cost.of_filters(shape(a["weight"])[1:], shape(a["input"]))


@counts("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(shape: ShapeOf, a: dict[str, Any], result: Shape) -> int:
    if "params" not in a or len(shape(a["input"])) != 3:
        return 0
    images, steps, _ = shape(a["input"])
    if not a.get("batch_first"):
        images, steps = steps, images
    return cost.of_recurrence(images * steps, map(shape, a["params"]))
