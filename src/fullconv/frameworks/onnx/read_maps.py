"""How ONNX's operators on maps read: convolutions, pools and resizing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from fullconv.frameworks.onnx.operators import handles
from fullconv.frameworks.onnx.resizing import whole_factor
from fullconv.geometry import Sliding
from fullconv.operations import (
    Convolution,
    Padding,
    Pool,
    Reduce,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader


def _pair(node: ir.Node, name: str) -> tuple[int, int]:
    values = node.attributes.get_ints(name, None) or (1, 1)
    return values[0], values[1]


def _padding(node: ir.Node, cells: tuple[int, ...], kernel: tuple[int, int]) -> Padding:
    """Return explicit padding; SAME pads by size, and the native size is what a crop gets."""
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto == "NOTSET":
        top, left, bottom, right = node.attributes.get_ints("pads", None) or (0, 0, 0, 0)
        return (top, bottom), (left, right)
    if auto == "VALID":
        return (0, 0), (0, 0)
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    pads = []
    for size, k, stride, dilation in zip(cells, kernel, strides, dilations, strict=True):
        # ONNX Conv, 'auto_pad': output = ceil(input / stride); the odd cell goes after (UPPER).
        total = max(0, (-(size // -stride) - 1) * stride + dilation * (k - 1) + 1 - size)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return pads[0], pads[1]


def _is_map(node: ir.Node, reader: Reader) -> bool:
    """Whether a node runs over batches of 2-D maps; on others it has no rule."""
    if len(reader.shape(node.inputs[0])) == 4:
        return True
    reader.opaque(node)
    return False


@handles("Conv")
def _conv(node: ir.Node, reader: Reader) -> None:
    if not _is_map(node, reader):
        return
    kernel = reader.shape(node.inputs[1])[2:]
    size = (kernel[0], kernel[1])
    operation = Convolution(
        size,
        _pair(node, "strides"),
        _padding(node, reader.shape(node.inputs[0])[2:], size),
        _pair(node, "dilations"),
        node.attributes.get_int("group", 1),
    )
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    reader.add(node, operation, (node.inputs[0], node.inputs[1], bias))


@handles("ConvTranspose")
def _conv_transpose(node: ir.Node, reader: Reader) -> None:
    if not _is_map(node, reader):
        return
    kernel = reader.shape(node.inputs[1])[2:]
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    extra = node.attributes.get_ints("output_padding", None) or (0, 0)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    top, left, bottom, right = node.attributes.get_ints("pads", None) or (0, 0, 0, 0)
    pads = [(top, bottom), (left, right)]
    if auto not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
        # ONNX ConvTranspose, 'output_shape': total = stride * (in - 1) + extra + span - out.
        for axis in (0, 1):
            cells = reader.shape(node.inputs[0])[2 + axis]
            outputs = reader.shape(node.outputs[0])[2 + axis]
            span = dilations[axis] * (kernel[axis] - 1) + 1
            total = strides[axis] * (cells - 1) + extra[axis] + span - outputs
            small, large = total // 2, total - total // 2
            pads[axis] = (small, large) if auto == "SAME_UPPER" else (large, small)
    operation = TransposedConvolution(
        (kernel[0], kernel[1]),
        strides,
        (pads[0], pads[1]),
        dilations,
        node.attributes.get_int("group", 1),
        (extra[0], extra[1]),
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
    kind: Literal["max", "average"] = "max" if node.op_type == "MaxPool" else "average"
    kernel = _pair(node, "kernel_shape")
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    cells, outputs = reader.shape(node.inputs[0])[2:], reader.shape(node.outputs[0])[2:]
    padding = _padding(node, cells, kernel)
    overhang = [
        max(0, (o - 1) * s + Sliding(k, dilation=d).span - a - sum(pads))
        for o, s, k, d, a, pads in zip(
            outputs, stride, kernel, dilation, cells, padding, strict=True
        )
    ]
    operation = Pool(
        kind,
        kernel,
        stride,
        padding,
        dilation,
        (overhang[0], overhang[1]),
        bool(node.attributes.get_int("count_include_pad", 0)),
    )
    reader.add(node, operation, (node.inputs[0],), node.outputs[0].name)


@handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: ir.Node, reader: Reader) -> None:
    kind: Literal["mean", "max"] = "mean" if node.op_type == "GlobalAveragePool" else "max"
    rank = len(reader.shape(node.inputs[0]))
    reader.add(node, Reduce(kind, tuple(range(2, rank)), True), (node.inputs[0],))
