"""Write operations that were read from PyTorch as ONNX, where the two differ."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import onnx_ir as ir
import torch

from fullconv.frameworks.onnx.foreign import Foreign, Forms
from fullconv.frameworks.onnx.foreign import shared as in_common
from fullconv.frameworks.onnx.read import ModelGraph
from fullconv.frameworks.onnx.writing import Results, writes
from fullconv.frameworks.torch.aten import bound
from fullconv.frameworks.torch.onnx_functions import write_function
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph, Node
from fullconv.operations import (
    AdaptivePool,
    AlongAxis,
    Concat,
    Linear,
    Opaque,
    Operation,
    PerChannel,
    Pointwise,
    Pool,
    Reduce,
)

forms = Forms("a form in ONNX")
REMEDY = "save the model as .pt2, or convert the ONNX form of the classifier."

Otherwise = Callable[["TorchWriting", Node], Results]
"""Writes an operation that has no form here."""


class TorchWriting(Foreign):
    """The state of writing one network from PyTorch as ONNX.

    Attributes
    ----------
    types : dict of str to torch.dtype
        The type of each value.
    otherwise : callable
        Writes an operation that has no form here.
    """

    def __init__(
        self,
        graph: Graph,
        source: ModelGraph,
        grid: Grid,
        types: dict[str, torch.dtype],
        otherwise: Otherwise,
    ) -> None:
        super().__init__(graph, source, grid, forms, REMEDY)
        self.types, self.otherwise = types, otherwise
        self.axes = {name: len(shape) - 2 for name, shape in graph.shapes.items()}

    def kind(self, dtype: torch.dtype) -> ir.DataType:
        """Return the ONNX type of a PyTorch type."""
        return kind_of(dtype)

    def without_form(self, node: Node) -> Results:
        """Write an operation that has no form here."""
        return self.otherwise(self, node)


def kind_of(dtype: torch.dtype) -> ir.DataType:
    """Return the ONNX type of a PyTorch type."""
    name = {torch.float16: "float16", torch.float32: "float", torch.float64: "double"}.get(dtype)
    kind: ir.DataType = getattr(ir.DataType, (name or str(dtype).rpartition(".")[2]).upper())
    return kind


def _given(node: Node) -> dict[str, Any]:
    call = node.source
    return bound(call.target, call.args, call.kwargs)


@forms(Opaque, Pointwise)
def write_call(writing: TorchWriting, node: Node, operation: Operation) -> ir.Value | None:
    """Write a call by the name of its function."""
    return write_function(writing, node)


@forms(PerChannel)
def write_per_channel(writing: TorchWriting, node: Node, operation: PerChannel) -> ir.Value:
    """Write batch normalization, and slopes of channels."""
    if operation.name == "prelu":
        x, slope = writing.inputs(node)
        column = writing.numbers(-1, *[1] * (writing.rank(node) - 2))
        return writing.emit("PRelu", [x, writing.emit("Reshape", [slope, column])], name=node.name)
    x, scale, bias, *statistics = writing.inputs(node)
    (channels,) = writing.graph.shapes[node.inputs[3] or ""]
    scale = writing.ones(channels) if scale is None else scale
    bias = writing.zeros(channels) if bias is None else bias
    settings = {"epsilon": float(_given(node)["eps"])}
    given = [x, scale, bias, *statistics]
    return writing.emit("BatchNormalization", given, settings, node.name)


@forms(Linear)
def write_linear(writing: TorchWriting, node: Node, operation: Linear) -> Results | None:
    """Write a fully connected layer: one operator on vectors, with the filters as they are."""
    if writing.rank(node) == 2:
        given = [value for value in writing.inputs(node) if value is not None]
        return writing.emit("Gemm", given, {"transB": 1}, node.name)
    return _in_common(writing, node)


def _in_common(writing: TorchWriting, node: Node) -> Results | None:
    form = in_common.find(type(node.operation))
    assert form is not None
    return form(writing, node, node.operation)


@forms(AlongAxis)
def write_along_axis(writing: TorchWriting, node: Node, operation: AlongAxis) -> Results | None:
    """Write softmax, response normalization, or the selection of one entry by a tensor."""
    if operation.name == "entry":
        x, index = writing.inputs(node)
        index = writing.emit("Reshape", [index, writing.numbers(1)])
        kept = writing.emit("Gather", [x, index], {"axis": operation.axis}, node.name)
        return writing.emit("Squeeze", [kept, writing.numbers(operation.axis)])
    if operation.name == "local_response_norm":
        return _response_norm(writing, node)
    if _given(node).get("dtype") is not None:
        return None
    return _in_common(writing, node)


def _response_norm(writing: TorchWriting, node: Node) -> ir.Value:
    """Write ``x / (k + alpha mean(x^2))^beta`` over channels; LRN of ONNX shifts even sizes.

    See ``torch.nn.functional.local_response_norm``.
    """
    x, (size, alpha, beta, k) = writing.first(node), node.source.args
    channels = writing.graph.shapes[node.first or ""][1]
    flat = writing.numbers(0, 1, channels, -1)
    wide = writing.emit("Reshape", [writing.emit("Mul", [x, x]), flat])
    moves = {"kernel_shape": (size, 1), "pads": (size // 2, 0, (size - 1) // 2, 0)}
    mean = writing.emit("AveragePool", [wide], {**moves, "count_include_pad": 1})
    mean = writing.emit("Reshape", [mean, writing.emit("Shape", [x])])
    scaled = writing.emit("Mul", [mean, writing.number(alpha)])
    total = writing.emit("Add", [scaled, writing.number(k)])
    power = writing.emit("Pow", [total, writing.number(beta)])
    return writing.emit("Div", [x, power], name=node.name)


@forms(Pool)
def write_pool(writing: TorchWriting, node: Node, operation: Pool) -> Results | None:
    """Write a pool; in ONNX, a pool with a divisor of its own cannot overhang."""
    if operation.divisor is not None and any(operation.overhang):
        return None
    return _as_onnx(writing, node)


def _as_onnx(writing: TorchWriting, node: Node) -> Results:
    write = writes.find(type(node.operation))
    assert write is not None
    return write(writing, node, node.operation)


@forms(AdaptivePool)
def write_adaptive_pool(writing: TorchWriting, node: Node, operation: AdaptivePool) -> ir.Value:
    """Write a pool to a given size: bin by bin where the bins differ in size."""
    cells = writing.graph.shapes[node.first or ""][2:]
    average = operation.kind == "average"
    if all(n % size == 0 for n, size in zip(cells, operation.size, strict=True)):
        kernel = tuple(n // size for n, size in zip(cells, operation.size, strict=True))
        settings = {"kernel_shape": kernel, "strides": kernel}
        kind = "AveragePool" if average else "MaxPool"
        return writing.emit(kind, [writing.first(node)], settings, node.name)
    x = writing.first(node)
    assert x is not None
    for axis, (n, size) in enumerate(zip(cells, operation.size, strict=True), start=2):
        bins = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
        place, kept = writing.numbers(axis), {"keepdims": 1}
        pieces = []
        for start, stop in bins:
            ends = [writing.numbers(start), writing.numbers(stop), place]
            taken = writing.emit("Slice", [x, *ends])
            pieces.append(
                writing.emit("ReduceMean" if average else "ReduceMax", [taken, place], kept)
            )
        x = writing.emit("Concat", pieces, {"axis": axis}) if len(pieces) > 1 else pieces[0]
    return x


@forms(Reduce)
def write_reduce(writing: TorchWriting, node: Node, operation: Reduce) -> Results | None:
    """Write a reduction; variance and deviation are computed from the squares around the mean."""
    if not operation.axes or not writing.types[node.first or ""].is_floating_point:
        return None
    if operation.kind not in ("var", "std"):
        return _as_onnx(writing, node)
    shape = writing.graph.shapes[node.first or ""]
    numbers = prod(shape[axis] for axis in operation.axes)
    x, axes = writing.first(node), writing.numbers(*operation.axes)
    mean = writing.emit("ReduceMean", [x, axes], {"keepdims": 1})
    apart = writing.emit("Sub", [x, mean])
    square = writing.emit("Mul", [apart, apart])
    kept = {"keepdims": int(operation.keepdims)}
    total = writing.emit("ReduceSum", [square, axes], kept)
    left = writing.number(numbers - operation.correction)
    variance = writing.emit("Div", [total, left], name=node.name)
    return variance if operation.kind == "var" else writing.emit("Sqrt", [variance])


@forms(Concat)
def write_concat(writing: TorchWriting, node: Node, operation: Concat) -> Results | None:
    """Write a concatenation of tensors, all of one type."""
    kinds = {writing.types[name or ""] for name in node.inputs}
    return _as_onnx(writing, node) if len(kinds) == 1 else None
