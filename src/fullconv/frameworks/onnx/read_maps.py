"""Readers of ONNX's operators on maps: convolutions, pools and resizing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from fullconv.frameworks.onnx.operators import handles
from fullconv.frameworks.onnx.resizing import whole_factor
from fullconv.geometry.grid import Sizes, Sliding
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


def _each(node: ir.Node, name: str, axes: int, one: int = 1) -> Sizes:
    """Return a setting for every axis, which is ``one`` where it is left out."""
    return tuple(node.attributes.get_ints(name, ()) or (one,) * axes)


def _explicit(node: ir.Node, axes: int) -> Padding:
    """Return the explicit padding; ONNX stores all numbers before, then all numbers after."""
    numbers = _each(node, "pads", 2 * axes, 0)
    return tuple(zip(numbers[:axes], numbers[axes:], strict=True))


def _shared_out(total: int, auto: str) -> tuple[int, int]:
    """Share padding between both ends; the odd cell goes after (SAME_UPPER) or before."""
    small, large = total // 2, total - total // 2
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def _padding(node: ir.Node, cells: Sizes, kernel: Sizes) -> Padding:
    """Return the padding; that of SAME depends on the size, which is the native one of crops."""
    auto, axes = node.attributes.get_string("auto_pad", "NOTSET"), len(kernel)
    if auto == "NOTSET":
        return _explicit(node, axes)
    if auto == "VALID":
        return ((0, 0),) * axes
    pads = []
    for size, k, stride, dilation in zip(
        cells, kernel, _each(node, "strides", axes), _each(node, "dilations", axes), strict=True
    ):
        # ONNX Conv, 'auto_pad': output = ceil(input / stride).
        total = max(0, (-(size // -stride) - 1) * stride + dilation * (k - 1) + 1 - size)
        pads.append(_shared_out(total, auto))
    return tuple(pads)


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
        _each(node, "strides", axes),
        _padding(node, reader.shape(node.inputs[0])[2:], kernel),
        _each(node, "dilations", axes),
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
    strides, dilations = _each(node, "strides", axes), _each(node, "dilations", axes)
    extra = _each(node, "output_padding", axes, 0)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    pads = list(_explicit(node, axes))
    if auto not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
        # ONNX ConvTranspose, 'output_shape': total = stride * (in - 1) + extra + span - out.
        for axis in range(axes):
            cells = reader.shape(node.inputs[0])[2 + axis]
            outputs = reader.shape(node.outputs[0])[2 + axis]
            span = dilations[axis] * (kernel[axis] - 1) + 1
            total = strides[axis] * (cells - 1) + extra[axis] + span - outputs
            pads[axis] = _shared_out(total, auto)
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
    axes = len(cells)
    kernel = _each(node, "kernel_shape", axes)
    stride, dilation = _each(node, "strides", axes), _each(node, "dilations", axes)
    padding = _padding(node, cells, kernel)
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
