"""How each ONNX operator reads as a record of the vocabulary.

Written for the standard operators of versions 15 to 24 (older models are brought to a later one
first). An attribute that a rule cannot honour makes the operator `Opaque`: it then runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.frameworks.onnx.resizing import whole_factor
from fullconv.geometry import Sliding
from fullconv.operations import (
    AlongAxis,
    Concat,
    Convolution,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    Opaque,
    Pad,
    Padding,
    PaddingMode,
    PerChannel,
    Permute,
    Pointwise,
    Pool,
    Reduce,
    Reshape,
    Slice,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.read import Reader

Handler = Callable[[ir.Node, "Reader"], None]

_handlers: dict[str, Handler] = {}

POINTWISE = frozenset(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil
    Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish
    IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or Pow PRelu
    Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan
    Tanh ThresholdedRelu Where Xor
    """.split()
)
# Inputs after the first are settings, not operands.
SETTINGS = frozenset(["Clip"])


def read(node: ir.Node, reader: Reader) -> None:
    """Read one node; what has no handler becomes `Opaque`."""
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in _attributes(node)):
        raise ModelError(
            f"convert: {node.op_type} {node.name!r} contains a graph of its own (a loop or a "
            f"branch), which cannot be converted; export the model with fixed control flow."
        )
    standard = node.domain in ("", "ai.onnx")
    if standard and node.op_type in _handlers:
        _handlers[node.op_type](node, reader)
    elif standard and node.op_type in POINTWISE:
        inputs = (node.inputs[0],) if node.op_type in SETTINGS else None
        reader.add(node, Pointwise(node.op_type), inputs)
    else:
        reader.add(node, Opaque(node.op_type))


def _attributes(node: ir.Node) -> list[ir.Attr]:
    return list(node.attributes.values())


def _handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for name in names:
            if name in _handlers or name in POINTWISE:
                raise RuntimeError(f"{name} is already read elsewhere")
            _handlers[name] = handler
        return handler

    return register


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
    reader.add(node, Opaque(node.op_type))
    return False


@_handles("Conv")
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


@_handles("ConvTranspose")
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


@_handles("Resize")
def _resize(node: ir.Node, reader: Reader) -> None:
    factor = whole_factor(node, reader)
    operation = Opaque(node.op_type) if factor is None else Upsample(factor)
    reader.add(node, operation, None if factor is None else (node.inputs[0],))


@_handles("Gemm")
def _gemm(node: ir.Node, reader: Reader) -> None:
    get = node.attributes
    name = _weight(node, reader)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    outputs = reader.shape(node.outputs[0])[1]
    vector = bias is None or reader.shape(bias) in ((outputs,), (1, outputs))
    turned = get.get_int("transA", 0) == 1
    known = bias is None or bias.name in reader.recipes
    if turned or name is None or not vector or not known:
        reader.add(node, Opaque("Gemm"))
        return
    weight = name if get.get_int("transB", 0) else reader.turned(name)
    weight = reader.scaled(weight, get.get_float("alpha", 1.0))
    term = None if bias is None else reader.scaled(bias.name or "", get.get_float("beta", 1.0))
    if term is not None:
        term = reader.flat(term)
    reader.add(node, Linear(), (node.inputs[0], weight, term))


@_handles("MatMul")
def _matmul(node: ir.Node, reader: Reader) -> None:
    name = _weight(node, reader)
    if name is None or len(reader.shape(node.inputs[1])) != 2:
        reader.add(node, Opaque("MatMul"))
    else:
        reader.add(node, Linear(), (node.inputs[0], reader.turned(name), None))


def _weight(node: ir.Node, reader: Reader) -> str | None:
    """Return the second input's name where it is a parameter and the first is not."""
    first, second = (v.name if v is not None else "" for v in node.inputs[:2])
    return second if second in reader.recipes and first not in reader.recipes else None


@_handles("BatchNormalization")
def _batch_norm(node: ir.Node, reader: Reader) -> None:
    if node.attributes.get_int("training_mode", 0):
        reader.add(node, Opaque("BatchNormalization in training mode"))
    else:
        reader.add(node, PerChannel("BatchNormalization"))


@_handles("MaxPool", "AveragePool")
def _pool(node: ir.Node, reader: Reader) -> None:
    used = [v for v in node.outputs if v.name and (v.uses() or v.is_graph_output())]
    if not _is_map(node, reader):
        return
    if len(used) > 1 or (used and used[0] is not node.outputs[0]):
        reader.add(node, Opaque(f"{node.op_type} with indices"))
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


@_handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: ir.Node, reader: Reader) -> None:
    kind: Literal["mean", "max"] = "mean" if node.op_type == "GlobalAveragePool" else "max"
    rank = len(reader.shape(node.inputs[0]))
    reader.add(node, Reduce(kind, tuple(range(2, rank)), True), (node.inputs[0],))


@_handles("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2")
def _reduce(node: ir.Node, reader: Reader) -> None:
    axes = node.attributes.get_ints("axes", None)
    if axes is None and len(node.inputs) > 1:
        given = reader.constant(node.inputs[1])
        axes = None if given is None else [int(n) for n in given]
    if not axes:
        reader.add(node, Opaque(node.op_type))
        return
    kinds: dict[str, Literal["mean", "sum", "max", "l2"]] = {
        "ReduceMean": "mean",
        "ReduceSum": "sum",
        "ReduceMax": "max",
        "ReduceL2": "l2",
    }
    rank = len(reader.shape(node.inputs[0]))
    operation = Reduce(
        kinds[node.op_type],
        tuple(sorted(n % rank for n in axes)),
        bool(node.attributes.get_int("keepdims", 1)),
    )
    reader.add(node, operation, (node.inputs[0],))


@_handles("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(node: ir.Node, reader: Reader) -> None:
    reader.add(node, Reshape(reader.shape(node.outputs[0])), (node.inputs[0],))


@_handles("Transpose")
def _transpose(node: ir.Node, reader: Reader) -> None:
    rank = len(reader.shape(node.inputs[0]))
    order = node.attributes.get_ints("perm", None) or range(rank)[::-1]
    reader.add(node, Permute(tuple(order)), (node.inputs[0],))


@_handles("Concat")
def _concat(node: ir.Node, reader: Reader) -> None:
    axis = node.attributes.get_int("axis", 0) % len(reader.shape(node.outputs[0]))
    reader.add(node, Concat(axis))


@_handles("Slice")
def _slice(node: ir.Node, reader: Reader) -> None:
    shape = reader.shape(node.inputs[0])
    numbers = [reader.constant(value) for value in node.inputs[1:]]
    if any(n is None for n in numbers) or len(numbers[0]) == 0:
        reader.add(node, Opaque("Slice"))
        return
    starts, ends = numbers[0], numbers[1]
    axes = numbers[2] if len(numbers) > 2 else range(len(starts))
    steps = numbers[3] if len(numbers) > 3 else [1] * len(starts)
    cuts = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at = int(axis) % len(shape)
        cuts.append((at, *slice(int(start), int(end), int(step)).indices(shape[at])))
    if any(step < 1 for *_, step in cuts):
        axis, *ends = cuts[0]
        if len(cuts) > 1 or not reader.reorder(node, axis, range(*ends)):
            reader.add(node, Opaque("Slice backwards"))
        return
    held = node.inputs[0]
    name: ir.Value | str | None = held
    now = list(shape)
    for index, (axis, start, stop, step) in enumerate(cuts):
        now[axis] = len(range(start, stop, step))
        last = index == len(cuts) - 1
        result = node.outputs[0].name if last else f"{node.outputs[0].name}/{index}"
        reader.shapes[result or ""] = tuple(now)
        reader.add(node, Slice(axis, start, stop, step), (name,), result)
        name = result


@_handles("Split")
def _split(node: ir.Node, reader: Reader) -> None:
    reader.pieces(node, node.attributes.get_int("axis", 0) % len(reader.shape(node.inputs[0])))


@_handles("Gather")
def _gather(node: ir.Node, reader: Reader) -> None:
    shape = reader.shape(node.inputs[0])
    axis = node.attributes.get_int("axis", 0) % len(shape)
    index = reader.constant(node.inputs[1])
    if index is None or np.ndim(index) > 1:
        reader.add(node, Opaque("Gather"))
    elif np.ndim(index) == 0:
        reader.select(node, axis, int(index) % shape[axis])
    else:
        numbers = [int(i) % shape[axis] for i in index]
        steps = set(np.diff(numbers).tolist()) or {1}
        if len(steps) == 1 and min(steps) > 0:
            step = steps.pop()
            reader.add(node, Slice(axis, numbers[0], numbers[-1] + 1, step), (node.inputs[0],))
        elif not reader.reorder(node, axis, numbers):
            reader.add(node, Opaque("Gather"))


@_handles("Pad")
def _pad(node: ir.Node, reader: Reader) -> None:
    shape = reader.shape(node.inputs[0])
    numbers = reader.constant(node.inputs[1])
    value = reader.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    modes: dict[str, PaddingMode] = {
        "constant": "constant",
        "reflect": "reflect",
        "edge": "replicate",
        "wrap": "circular",
    }
    mode = modes.get(node.attributes.get_string("mode", "constant"))
    axes = reader.constant(node.inputs[3]) if len(node.inputs) > 3 else range(len(shape))
    if numbers is None or mode is None or axes is None or len(shape) != 4:
        reader.add(node, Opaque("Pad"))
        return
    pads = [(0, 0)] * len(shape)
    for place, axis in enumerate(axes):
        pads[int(axis) % len(shape)] = (int(numbers[place]), int(numbers[place + len(axes)]))
    number = float(np.asarray(value).reshape(-1)[0]) if value is not None else 0.0
    reader.add(node, Pad(tuple(pads), mode, number), (node.inputs[0],))


@_handles("Softmax", "LogSoftmax")
def _softmax(node: ir.Node, reader: Reader) -> None:
    rank = len(reader.shape(node.inputs[0]))
    reader.add(node, AlongAxis(node.op_type, node.attributes.get_int("axis", -1) % rank))


@_handles("LRN")
def _lrn(node: ir.Node, reader: Reader) -> None:
    reader.add(node, AlongAxis("LRN", 1, ordered=True))


@_handles("LayerNormalization")
def _layer_norm(node: ir.Node, reader: Reader) -> None:
    rank = len(reader.shape(node.inputs[0]))
    axis = node.attributes.get_int("axis", -1) % rank
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    given = (node.inputs[0], node.inputs[1], bias)
    used = [v for v in node.outputs[1:] if v.name and v.uses()]
    if used:
        reader.add(node, Opaque("LayerNormalization with statistics"))
    else:
        operation = LayerNormalization(rank - axis, epsilon)
        reader.add(node, operation, given, node.outputs[0].name)


@_handles("InstanceNormalization")
def _instance_norm(node: ir.Node, reader: Reader) -> None:
    groups = reader.shape(node.inputs[0])[1]
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    reader.add(node, GroupNormalization(groups, epsilon))


@_handles("GroupNormalization")
def _group_norm(node: ir.Node, reader: Reader) -> None:
    # Scale and bias are one per group in version 18 of the operator, and one per channel in 21; the
    # rule takes either.
    groups = node.attributes.get_int("num_groups", 1)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    reader.add(node, GroupNormalization(groups, epsilon))


@_handles("Dropout", "Identity")
def _identity(node: ir.Node, reader: Reader) -> None:
    reader.add(node, Identity(node.op_type), (node.inputs[0],), node.outputs[0].name)


@_handles("Cast")
def _cast(node: ir.Node, reader: Reader) -> None:
    same = reader.type(node.inputs[0]) == reader.type(node.outputs[0])
    reader.add(node, Identity("Cast") if same else Pointwise("Cast"), (node.inputs[0],))


@_handles("Expand")
def _expand(node: ir.Node, reader: Reader) -> None:
    same = reader.shape(node.inputs[0]) == reader.shape(node.outputs[0])
    if same:
        reader.add(node, Identity("Expand"), (node.inputs[0],))
    else:
        reader.add(node, Opaque("Expand"))
