"""Readers of ONNX's operators on maps: convolutions, pools and resizing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from fullconv.frameworks.onnx.moving import each, explicit, is_cut, padding_of, shared_out
from fullconv.frameworks.onnx.operators import handles
from fullconv.frameworks.onnx.resizing import whole_factor
from fullconv.geometry.grid import Sliding
from fullconv.operations import (
    Convolution,
    Pool,
    Reduce,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader


def _is_map(node: ir.Node, reader: Reader) -> bool:
    """Whether a node runs over batches of maps of 1 to 3 axes; on others it has no rule."""
    if 3 <= len(reader.shape(node.inputs[0])) <= 5:
        return True
    reader.opaque(node)
    return False


@handles("Conv")
def _conv(node: ir.Node, reader: Reader) -> None:
    if not _is_map(node, reader):
        return
    kernel = reader.shape(node.inputs[1])[2:]
    axes = len(kernel)
    operation = Convolution(
        kernel,
        each(node, "strides", axes),
        padding_of(node, reader.shape(node.inputs[0])[2:], kernel),
        each(node, "dilations", axes),
        node.attributes.get_int("group", 1),
    )
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    reader.add(node, operation, (node.inputs[0], node.inputs[1], bias))


@handles("ConvTranspose")
def _conv_transpose(node: ir.Node, reader: Reader) -> None:
    if not _is_map(node, reader):
        return
    kernel = reader.shape(node.inputs[1])[2:]
    axes = len(kernel)
    strides, dilations = each(node, "strides", axes), each(node, "dilations", axes)
    extra = each(node, "output_padding", axes, 0)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    pads = list(explicit(node, axes))
    if auto not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
        # ONNX ConvTranspose, 'output_shape': total = stride * (in - 1) + extra + span - out.
        for axis in range(axes):
            cells = reader.shape(node.inputs[0])[2 + axis]
            outputs = reader.shape(node.outputs[0])[2 + axis]
            span = dilations[axis] * (kernel[axis] - 1) + 1
            total = strides[axis] * (cells - 1) + extra[axis] + span - outputs
            pads[axis] = shared_out(total, auto)
    operation = TransposedConvolution(
        kernel,
        strides,
        tuple(pads),
        dilations,
        node.attributes.get_int("group", 1),
        extra,
    )
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    reader.add(node, operation, (node.inputs[0], node.inputs[1], bias))


@handles("Resize")
def _resize(node: ir.Node, reader: Reader) -> None:
    factor = whole_factor(node, reader)
    if factor is None:
        reader.opaque(node)
    else:
        reader.add(node, Upsample(factor), (node.inputs[0],))


@handles("MaxPool", "AveragePool")
def _pool(node: ir.Node, reader: Reader) -> None:
    used = [v for v in node.outputs if v.name and (v.uses() or v.is_graph_output())]
    if not _is_map(node, reader):
        return
    if len(used) > 1 or (used and used[0] is not node.outputs[0]):
        reader.opaque(node, f"{node.op_type} with indices")
        return
    cells, outputs = reader.shape(node.inputs[0])[2:], reader.shape(node.outputs[0])[2:]
    if is_cut(node, cells):
        reader.opaque(node, f"{node.op_type} that skips cells")
        return
    axes = len(cells)
    kernel = each(node, "kernel_shape", axes)
    stride, dilation = each(node, "strides", axes), each(node, "dilations", axes)
    padding = padding_of(node, cells, kernel)
    overhang = tuple(
        max(0, (o - 1) * s + Sliding(k, dilation=d).span - a - sum(pads))
        for o, s, k, d, a, pads in zip(
            outputs, stride, kernel, dilation, cells, padding, strict=True
        )
    )
    operation = Pool(
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        kind="max" if node.op_type == "MaxPool" else "average",
        overhang=overhang,
        count_include_pad=bool(node.attributes.get_int("count_include_pad", 0)),
    )
    reader.add(node, operation, (node.inputs[0],), node.outputs[0].name)


@handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: ir.Node, reader: Reader) -> None:
    kind: Literal["mean", "max"] = "mean" if node.op_type == "GlobalAveragePool" else "max"
    rank = len(reader.shape(node.inputs[0]))
    reader.add(node, Reduce(kind, tuple(range(2, rank)), True), (node.inputs[0],))
