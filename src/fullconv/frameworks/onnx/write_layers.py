"""Writers of a classifier's own operations, where they are no clones of their nodes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.reader import Call
from fullconv.frameworks.onnx.writing import Results, Writing, writes
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.graph.graph import Node
from fullconv.operations import (
    AlongAxis,
    ChannelNormalization,
    Concat,
    Convolution,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Opaque,
    Pad,
    Padding,
    Permute,
    Pool,
    Reduce,
    Reshape,
    Slice,
    TransposedConvolution,
    Upsample,
)

GROUPS_OF_CHANNELS = 21
"""The operator set since which GroupNormalization has a scale and a bias per channel."""

MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


@writes(Identity)
def write_identity(writing: Writing, node: Node, operation: Identity) -> ir.Value:
    """Write an operation that changes nothing."""
    return writing.emit("Identity", [writing.first(node)], name=node.name)


@writes(Convolution)
def write_convolution(writing: Writing, node: Node, operation: Convolution) -> ir.Value:
    """Write a convolution."""
    attributes = {
        "kernel_shape": operation.kernel,
        "strides": operation.stride,
        "dilations": operation.dilation,
        "pads": _pads(operation.padding),
        "group": operation.groups,
    }
    return writing.emit("Conv", _trim(writing.inputs(node)), attributes, node.name)


@writes(TransposedConvolution)
def write_transposed_convolution(
    writing: Writing, node: Node, operation: TransposedConvolution
) -> ir.Value:
    """Write a transposed convolution."""
    attributes = {
        "kernel_shape": operation.kernel,
        "strides": operation.stride,
        "dilations": operation.dilation,
        "pads": _pads(operation.padding),
        "group": operation.groups,
        "output_padding": operation.output_padding,
    }
    return writing.emit("ConvTranspose", _trim(writing.inputs(node)), attributes, node.name)


@writes(Upsample)
def write_upsample(writing: Writing, node: Node, operation: Upsample) -> ir.Value:
    """Write a repetition of cells."""
    name = writing.unique("fullconv/factor")
    scales = writing.initializer(name, np.array([1, 1, *operation.factor], np.float32))
    attributes = {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    return writing.emit("Resize", [writing.first(node), None, scales], attributes, node.name)


@writes(Pool)
def write_pool(writing: Writing, node: Node, operation: Pool) -> Results:
    """Write a pool; one that ONNX does not have is written as a convolution with ones."""
    x = writing.first(node)
    dilated = any(n != 1 for n in operation.dilation)
    call, average = node.source, operation.kind == "average"
    if dilated and average and isinstance(call, Call) and call.operation == operation:
        return writing.repeat(node)
    divided = operation.divisor is not None
    if operation.kind == "sum" or (average and (dilated or divided)):
        return _sum(writing, operation, x, node.name)
    attributes: dict[str, Any] = {
        "kernel_shape": operation.kernel,
        "strides": operation.stride,
        "pads": _pads(operation.padding),
        "ceil_mode": int(any(operation.overhang)),
    }
    if operation.kind == "max":
        attributes["dilations"] = operation.dilation
        if _pads_with_numbers(x):
            # ONNX Runtime moves a Pad of zeros into the MaxPool behind it, which then pads
            # with minus infinity (seen in 1.31); an operator between the two prevents that.
            x = writing.emit("Max", [x, x])
        return writing.emit("MaxPool", [x], attributes, node.name)
    attributes["count_include_pad"] = int(operation.count_include_pad)
    return writing.emit("AveragePool", [x], attributes, node.name)


def _sum(writing: Writing, operation: Pool, x: ir.Value | None, name: str) -> ir.Value:
    dtype = writing.dtype()
    ones = np.ones((operation.channels, 1, *operation.kernel), dtype=dtype)
    weight = writing.initializer(writing.unique("fullconv/ones"), ones)
    attributes: dict[str, Any] = {
        "kernel_shape": operation.kernel,
        "strides": operation.stride,
        "dilations": operation.dilation,
        "group": operation.channels,
    }
    if any(map(any, operation.padding)):
        attributes["pads"] = _pads(operation.padding)
    total = writing.emit("Conv", [x, weight], attributes, name)
    if operation.kind == "sum":
        return total
    cells = operation.divisor or prod(operation.kernel)
    divisor = writing.initializer(writing.unique("fullconv/cells"), np.array(cells, dtype=dtype))
    return writing.emit("Div", [total, divisor])


@writes(Opaque)
def write_opaque(writing: Writing, node: Node, operation: Opaque) -> Results:
    """Write an operation without a rule, unchanged."""
    call = node.source
    resizes = isinstance(call, Call) and call.node.op_type == "Resize"
    sizes = call.node.inputs[3] if resizes and len(call.node.inputs) > 3 else None
    if operation.standing is None or sizes is None or "axes" in call.node.attributes:
        return writing.repeat(node)
    # Its sizes begin with the number of images, which becomes that of the windows.
    images = writing.emit("Shape", [writing.first(node)], {"start": 0, "end": 1})
    rest = writing.numbers(*map(int, writing.original(sizes.name or "")[1:]))
    free = writing.emit("Concat", [images, rest], {"axis": 0})
    return writing.repeat(node, changed={3: free})


@writes(AlongAxis)
def write_along_axis(writing: Writing, node: Node, operation: AlongAxis) -> Results:
    """Write softmax, or another operation that mixes along one axis."""
    if operation.name == "LRN":
        return writing.repeat(node)
    return writing.repeat(node, {"axis": operation.axis})


@writes(LayerNormalization)
def write_layer_normalization(
    writing: Writing, node: Node, operation: LayerNormalization
) -> Results:
    """Write layer normalization over the last axes."""
    return writing.repeat(node, {"axis": -operation.axes})


@writes(GroupNormalization)
def write_group_normalization(
    writing: Writing, node: Node, operation: GroupNormalization
) -> Results:
    """Write normalization over groups of channels."""
    kind = node.source.node.op_type if isinstance(node.source, Call) else ""
    if kind == "BatchNormalization":
        settings = {"epsilon": operation.epsilon}
        return writing.emit("InstanceNormalization", writing.inputs(node), settings, node.name)
    if kind != "GroupNormalization" or writing.opset >= GROUPS_OF_CHANNELS:
        return writing.repeat(node)
    # ONNX refuses the older one as deprecated; here its groups become channels.
    x, scale, bias = writing.inputs(node)
    wide = writing.emit("Reshape", [x, writing.numbers(0, operation.groups, -1)])
    settings = {"epsilon": operation.epsilon}
    normal = writing.emit("InstanceNormalization", [wide, scale, bias], settings, node.name)
    return writing.emit("Reshape", [normal, writing.emit("Shape", [x])])


@writes(ChannelNormalization)
def write_channel_normalization(
    writing: Writing, node: Node, operation: ChannelNormalization
) -> ir.Value:
    """Write layer normalization over the channels of every cell."""
    x, scale, bias = writing.inputs(node)
    rank = 2 + writing.axes[node.outputs[0]]
    last = writing.emit("Transpose", [x], {"perm": to_last_order(rank)})
    if scale is None:  # which ONNX requires
        ones = np.ones(writing.graph.shapes[node.first or ""][1], writing.dtype())
        scale = writing.initializer(writing.unique("fullconv/ones"), ones)
    attributes = {"axis": -1, "epsilon": operation.epsilon}
    normal = writing.emit("LayerNormalization", _trim([last, scale, bias]), attributes, node.name)
    return writing.emit("Transpose", [normal], {"perm": to_map_order(rank)})


@writes(Reduce)
def write_reduce(writing: Writing, node: Node, operation: Reduce) -> ir.Value:
    """Write a reduction over whole axes."""
    kind = {"l2": "ReduceL2"}.get(operation.kind, f"Reduce{operation.kind.capitalize()}")
    keepdims = {"keepdims": int(operation.keepdims)}
    if writing.opset >= 18 or kind == "ReduceSum":
        inputs = [writing.first(node), writing.numbers(*operation.axes)]
        return writing.emit(kind, inputs, keepdims, node.name)
    return writing.emit(
        kind, [writing.first(node)], {"axes": operation.axes, **keepdims}, node.name
    )


@writes(Concat)
def write_concat(writing: Writing, node: Node, operation: Concat) -> ir.Value:
    """Write a concatenation of tensors."""
    return writing.emit("Concat", writing.inputs(node), {"axis": operation.axis}, node.name or None)


@writes(Slice)
def write_slice(writing: Writing, node: Node, operation: Slice) -> ir.Value:
    """Write a cut along one axis."""
    numbers = (operation.start, operation.stop, operation.axis, operation.step)
    return writing.emit("Slice", [writing.first(node), *(writing.numbers(n) for n in numbers)])


@writes(Pad)
def write_pad(writing: Writing, node: Node, operation: Pad) -> ir.Value:
    """Write padding."""
    pads = (*(a for a, _ in operation.pads), *(b for _, b in operation.pads))
    value = np.array(operation.value, dtype=writing.dtype())
    inputs = [writing.first(node), writing.numbers(*pads)]
    if operation.mode == "constant":
        inputs.append(writing.initializer(writing.unique("fullconv/padding"), value))
    return writing.emit("Pad", inputs, {"mode": MODES[operation.mode]}, node.name or None)


@writes(Reshape)
def write_reshape(writing: Writing, node: Node, operation: Reshape) -> ir.Value:
    """Write a reshape of one tensor per window."""
    shape = writing.numbers(*operation.shape)
    return writing.emit("Reshape", [writing.first(node), shape], name=node.name)


@writes(Permute)
def write_permute(writing: Writing, node: Node, operation: Permute) -> ir.Value:
    """Write a permutation of axes."""
    return writing.emit("Transpose", [writing.first(node)], {"perm": operation.order}, node.name)


def _pads(padding: Padding) -> tuple[int, ...]:
    """Return padding in the order of ONNX: before every axis, then after every axis."""
    return (*(before for before, _ in padding), *(after for _, after in padding))


def _pads_with_numbers(x: ir.Value | None) -> bool:
    """Whether a value comes from a Pad of anything but minus infinity."""
    node = x.producer() if x is not None else None
    if node is None or node.op_type != "Pad":
        return False
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None or value.const_value is None:
        return True
    return not np.isneginf(value.const_value.numpy()).all()


def _trim(inputs: list[ir.Value | None]) -> list[ir.Value | None]:
    """Leave out missing inputs at the end."""
    while inputs and inputs[-1] is None:
        inputs.pop()
    return inputs
