"""How the box of a convolution or pool moves over cells, by the attributes of its node."""

from __future__ import annotations

import onnx_ir as ir

from fullconv.geometry.grid import Sizes, Sliding
from fullconv.operations import Padding

POOLS = frozenset(["MaxPool", "AveragePool", "LpPool"])


def each(node: ir.Node, name: str, axes: int, one: int = 1) -> Sizes:
    """Return a setting for every axis, which is ``one`` where it is left out."""
    return tuple(node.attributes.get_ints(name, ()) or (one,) * axes)


def explicit(node: ir.Node, axes: int) -> Padding:
    """Return the explicit padding; ONNX stores all numbers before, then all numbers after."""
    numbers = each(node, "pads", 2 * axes, 0)
    return tuple(zip(numbers[:axes], numbers[axes:], strict=True))


def shared_out(total: int, auto: str) -> tuple[int, int]:
    """Share padding between both ends; the odd cell goes after (SAME_UPPER) or before."""
    small, large = total // 2, total - total // 2
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def padding_of(node: ir.Node, cells: Sizes, kernel: Sizes) -> Padding:
    """Return the padding; that of SAME depends on the size, which is the native one of crops."""
    auto, axes = node.attributes.get_string("auto_pad", "NOTSET"), len(kernel)
    if auto == "NOTSET":
        return explicit(node, axes)
    if auto == "VALID":
        return ((0, 0),) * axes
    # ONNX Runtime pads a pool as if its box were not dilated (seen in 1.31).
    dilations = (1,) * axes if node.op_type in POOLS else each(node, "dilations", axes)
    pads = []
    for size, k, stride, dilation in zip(
        cells, kernel, each(node, "strides", axes), dilations, strict=True
    ):
        # ONNX Conv, 'auto_pad': output = ceil(input / stride).
        total = max(0, (-(size // -stride) - 1) * stride + dilation * (k - 1) + 1 - size)
        pads.append(shared_out(total, auto))
    return tuple(pads)


def is_cut(node: ir.Node, cells: Sizes) -> bool:
    """Whether SAME padding of a pool would be negative, as of a box narrower than its stride.

    ONNX Runtime then refuses the pool, or leaves out cells on its own terms (seen in 1.31).
    """
    axes = len(cells)
    if not node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME"):
        return False
    kernel, strides = each(node, "kernel_shape", axes), each(node, "strides", axes)
    return any(
        (-(size // -stride) - 1) * stride + k < size
        for size, k, stride in zip(cells, kernel, strides, strict=True)
    )


def pooled(node: ir.Node, cells: Sizes) -> Sizes:
    """Count the outputs of a pool along every axis, as ONNX Runtime does.

    With ``ceil_mode``, a last output whose box would begin past the cells is dropped (ONNX MaxPool,
    version 22: "sliding windows that would start in the right padded region are ignored"). ONNX'
    own inference counts it, in all versions before.
    """
    axes = len(cells)
    kernel = each(node, "kernel_shape", axes)
    moves = zip(
        cells,
        kernel,
        each(node, "strides", axes),
        each(node, "dilations", axes),
        padding_of(node, cells, kernel),
        strict=True,
    )
    outputs = []
    for size, k, stride, dilation, (before, after) in moves:
        room = size + before + after - Sliding(k, dilation=dilation).span
        steps = room // stride
        if node.attributes.get_int("ceil_mode", 0):
            steps = -(room // -stride)
            steps -= steps * stride >= size + before
        outputs.append(steps + 1)
    return tuple(outputs)
