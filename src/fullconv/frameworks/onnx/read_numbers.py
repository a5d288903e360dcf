"""Readers of ONNX's operators on numbers: linear layers, normalization, reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from fullconv.frameworks.onnx.operators import handles
from fullconv.operations import (
    AlongAxis,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    PerChannel,
    Pointwise,
    Reduce,
)

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader


@handles("Gemm")
def _gemm(node: ir.Node, reader: Reader) -> None:
    get = node.attributes
    name = _weight(node, reader)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    outputs = reader.shape(node.outputs[0])[1]
    vector = bias is None or reader.shape(bias) in ((outputs,), (1, outputs))
    turned = get.get_int("transA", 0) == 1
    known = bias is None or bias.name in reader.recipes
    if turned or name is None or not vector or not known or _is_double(node, reader):
        reader.opaque(node, "Gemm")
        return
    weight = name if get.get_int("transB", 0) else reader.turned(name)
    weight = reader.scaled(weight, get.get_float("alpha", 1.0))
    term = None if bias is None else reader.scaled(bias.name or "", get.get_float("beta", 1.0))
    if term is not None:
        term = reader.flat(term)
    reader.add(node, Linear(), (node.inputs[0], weight, term))


@handles("MatMul")
def _matmul(node: ir.Node, reader: Reader) -> None:
    name = _weight(node, reader)
    if name is None or len(reader.shape(node.inputs[1])) != 2 or _is_double(node, reader):
        reader.opaque(node, "MatMul")
    else:
        reader.add(node, Linear(), (node.inputs[0], reader.turned(name), None))


def _is_double(node: ir.Node, reader: Reader) -> bool:
    """Whether a product cannot become a convolution: ONNX Runtime has none in double precision."""
    return reader.type(node.inputs[0]) == ir.DataType.DOUBLE


def _weight(node: ir.Node, reader: Reader) -> str | None:
    """Return the second input's name where it is a parameter and the first is not."""
    first, second = (v.name if v is not None else "" for v in node.inputs[:2])
    return second if second in reader.recipes and first not in reader.recipes else None


@handles("BatchNormalization")
def _batch_norm(node: ir.Node, reader: Reader) -> None:
    if not node.attributes.get_int("training_mode", 0):
        reader.add(node, PerChannel("BatchNormalization"))
        return
    images, channels = reader.shape(node.inputs[0])[:2]
    used = [v for v in node.outputs[1:] if v.name and (v.uses() or v.is_graph_output())]
    if images > 1 or used or len(reader.shape(node.inputs[0])) < 3:
        reader.opaque(node, "BatchNormalization in training mode")
        return
    # It normalizes by the statistics of the batch itself, which is one image.
    operation = GroupNormalization(channels, node.attributes.get_float("epsilon", 1e-5))
    reader.add(node, operation, tuple(node.inputs[:3]), node.outputs[0].name)


@handles("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2")
def _reduce(node: ir.Node, reader: Reader) -> None:
    axes, rank = reader.axes(node), len(reader.shape(node.inputs[0]))
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        axes = None
    if axes is None:
        reader.opaque(node)
        return
    kinds: dict[str, Literal["mean", "sum", "max", "l2"]] = {
        "ReduceMean": "mean",
        "ReduceSum": "sum",
        "ReduceMax": "max",
        "ReduceL2": "l2",
    }
    operation = Reduce(
        kinds[node.op_type],
        tuple(sorted(n % rank for n in axes or range(rank))),
        bool(node.attributes.get_int("keepdims", 1)),
    )
    reader.add(node, operation, (node.inputs[0],))


@handles("Softmax", "LogSoftmax")
def _softmax(node: ir.Node, reader: Reader) -> None:
    rank = len(reader.shape(node.inputs[0]))
    reader.add(node, AlongAxis(node.op_type, node.attributes.get_int("axis", -1) % rank))


@handles("LRN")
def _lrn(node: ir.Node, reader: Reader) -> None:
    reader.add(node, AlongAxis("LRN", 1, ordered=True))


@handles("LayerNormalization")
def _layer_norm(node: ir.Node, reader: Reader) -> None:
    rank = len(reader.shape(node.inputs[0]))
    axis = node.attributes.get_int("axis", -1) % rank
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    given = (node.inputs[0], node.inputs[1], bias)
    used = [v for v in node.outputs[1:] if v.name and v.uses()]
    if used:
        reader.opaque(node, "LayerNormalization with statistics")
    else:
        operation = LayerNormalization(rank - axis, epsilon)
        reader.add(node, operation, given, node.outputs[0].name)


@handles("InstanceNormalization")
def _instance_norm(node: ir.Node, reader: Reader) -> None:
    groups = reader.shape(node.inputs[0])[1]
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    reader.add(node, GroupNormalization(groups, epsilon))


@handles("GroupNormalization")
def _group_norm(node: ir.Node, reader: Reader) -> None:
    # Scale and bias are one per group in version 18 of the operator, and one per channel in 21; the
    # rule takes either.
    groups = node.attributes.get_int("num_groups", 1)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    reader.add(node, GroupNormalization(groups, epsilon))


@handles("Dropout", "Identity")  # a Dropout in training mode is `Random`
def _identity(node: ir.Node, reader: Reader) -> None:
    reader.add(node, Identity(node.op_type), (node.inputs[0],), node.outputs[0].name)


@handles("Cast")
def _cast(node: ir.Node, reader: Reader) -> None:
    same = reader.type(node.inputs[0]) == reader.type(node.outputs[0])
    reader.add(node, Identity("Cast") if same else Pointwise("Cast"), (node.inputs[0],))
