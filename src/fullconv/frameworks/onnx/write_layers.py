"""How what a classifier consists of is written, where it is no clone of its own node."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.reader import Call
from fullconv.frameworks.onnx.values import Results, Values, writes
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.graph import Node
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


class Layers(Values):
    """One method per operation of the vocabulary's first group."""

    @writes(Identity)
    def write_identity(self, operation: Identity, node: Node) -> ir.Value:
        return self._emit("Identity", [self._first(node)], name=node.name)

    @writes(Convolution)
    def write_convolution(self, operation: Convolution, node: Node) -> ir.Value:
        attributes = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "dilations": operation.dilation,
            "pads": _pads(operation.padding),
            "group": operation.groups,
        }
        return self._emit("Conv", _trim(self._inputs(node)), attributes, node.name)

    @writes(TransposedConvolution)
    def write_transposed_convolution(
        self, operation: TransposedConvolution, node: Node
    ) -> ir.Value:
        attributes = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "dilations": operation.dilation,
            "pads": _pads(operation.padding),
            "group": operation.groups,
            "output_padding": operation.output_padding,
        }
        return self._emit("ConvTranspose", _trim(self._inputs(node)), attributes, node.name)

    @writes(Upsample)
    def write_upsample(self, operation: Upsample, node: Node) -> ir.Value:
        name = self._unique("fullconv/factor")
        scales = self._initializer(name, np.array([1, 1, *operation.factor], np.float32))
        attributes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        return self._emit("Resize", [self._first(node), None, scales], attributes, node.name)

    @writes(Pool)
    def write_pool(self, operation: Pool, node: Node) -> ir.Value:
        x = self._first(node)
        if operation.kind == "sum" or (
            operation.kind == "average" and any(n != 1 for n in operation.dilation)
        ):
            return self._sum(operation, x, node.name)
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
                # with minus infinity (seen in 1.31); something between the two keeps them apart.
                x = self._emit("Max", [x, x])
            return self._emit("MaxPool", [x], attributes, node.name)
        attributes["count_include_pad"] = int(operation.count_include_pad)
        return self._emit("AveragePool", [x], attributes, node.name)

    def _sum(self, operation: Pool, x: ir.Value | None, name: str) -> ir.Value:
        dtype = self._dtype()
        ones = np.ones((operation.channels, 1, *operation.kernel), dtype=dtype)
        weight = self._initializer(self._unique("fullconv/ones"), ones)
        attributes = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "dilations": operation.dilation,
            "group": operation.channels,
        }
        total = self._emit("Conv", [x, weight], attributes, name)
        if operation.kind == "sum":
            return total
        cells = operation.divisor or prod(operation.kernel)
        divisor = self._initializer(self._unique("fullconv/cells"), np.array(cells, dtype=dtype))
        return self._emit("Div", [total, divisor])

    @writes(Opaque)
    def write_opaque(self, operation: Opaque, node: Node) -> Results:
        call = node.source
        resizes = isinstance(call, Call) and call.node.op_type == "Resize"
        sizes = call.node.inputs[3] if resizes and len(call.node.inputs) > 3 else None
        if operation.standing is None or sizes is None or "axes" in call.node.attributes:
            return self._clone(node)
        # Its sizes begin with the number of images, in whose place the windows stand.
        images = self._emit("Shape", [self._first(node)], {"start": 0, "end": 1})
        rest = self._numbers(*map(int, self._array(sizes.name or "")[1:]))
        free = self._emit("Concat", [images, rest], {"axis": 0})
        return self._clone(node, changed={3: free})

    @writes(AlongAxis)
    def write_along_axis(self, operation: AlongAxis, node: Node) -> Results:
        if operation.name == "LRN":
            return self._clone(node)
        return self._clone(node, {"axis": operation.axis})

    @writes(LayerNormalization)
    def write_layer_normalization(self, operation: LayerNormalization, node: Node) -> Results:
        return self._clone(node, {"axis": -operation.axes})

    @writes(GroupNormalization)
    def write_group_normalization(self, operation: GroupNormalization, node: Node) -> Results:
        kind = node.source.node.op_type if isinstance(node.source, Call) else ""
        if kind == "BatchNormalization":
            settings = {"epsilon": operation.epsilon}
            return self._emit("InstanceNormalization", self._inputs(node), settings, node.name)
        if kind != "GroupNormalization" or self.opset >= GROUPS_OF_CHANNELS:
            return self._clone(node)
        # ONNX refuses the older one as deprecated; its groups are channels of another map.
        x, scale, bias = self._inputs(node)
        wide = self._emit("Reshape", [x, self._numbers(0, operation.groups, -1)])
        settings = {"epsilon": operation.epsilon}
        normal = self._emit("InstanceNormalization", [wide, scale, bias], settings, node.name)
        return self._emit("Reshape", [normal, self._emit("Shape", [x])])

    @writes(ChannelNormalization)
    def write_channel_normalization(self, operation: ChannelNormalization, node: Node) -> ir.Value:
        x, scale, bias = self._inputs(node)
        rank = 2 + self.axes[node.outputs[0]]
        last = self._emit("Transpose", [x], {"perm": to_last_order(rank)})
        attributes = {"axis": -1, "epsilon": operation.epsilon}
        normal = self._emit("LayerNormalization", _trim([last, scale, bias]), attributes, node.name)
        return self._emit("Transpose", [normal], {"perm": to_map_order(rank)})

    @writes(Reduce)
    def write_reduce(self, operation: Reduce, node: Node) -> ir.Value:
        kind = {"l2": "ReduceL2"}.get(operation.kind, f"Reduce{operation.kind.capitalize()}")
        keepdims = {"keepdims": int(operation.keepdims)}
        if self.opset >= 18 or kind == "ReduceSum":
            inputs = [self._first(node), self._numbers(*operation.axes)]
            return self._emit(kind, inputs, keepdims, node.name)
        return self._emit(
            kind, [self._first(node)], {"axes": operation.axes, **keepdims}, node.name
        )

    @writes(Concat)
    def write_concat(self, operation: Concat, node: Node) -> ir.Value:
        return self._emit("Concat", self._inputs(node), {"axis": operation.axis}, node.name or None)

    @writes(Slice)
    def write_slice(self, operation: Slice, node: Node) -> ir.Value:
        numbers = (operation.start, operation.stop, operation.axis, operation.step)
        return self._emit("Slice", [self._first(node), *(self._numbers(n) for n in numbers)])

    @writes(Pad)
    def write_pad(self, operation: Pad, node: Node) -> ir.Value:
        pads = (*(a for a, _ in operation.pads), *(b for _, b in operation.pads))
        value = np.array(operation.value, dtype=self._dtype())
        inputs = [self._first(node), self._numbers(*pads)]
        if operation.mode == "constant":
            inputs.append(self._initializer(self._unique("fullconv/padding"), value))
        return self._emit("Pad", inputs, {"mode": MODES[operation.mode]}, node.name or None)

    @writes(Reshape)
    def write_reshape(self, operation: Reshape, node: Node) -> ir.Value:
        shape = self._numbers(*operation.shape)
        return self._emit("Reshape", [self._first(node), shape], name=node.name)

    @writes(Permute)
    def write_permute(self, operation: Permute, node: Node) -> ir.Value:
        return self._emit("Transpose", [self._first(node)], {"perm": operation.order}, node.name)


def _pads(padding: Padding) -> tuple[int, ...]:
    """Return padding in the order of ONNX: all that comes before, then all that comes after."""
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
