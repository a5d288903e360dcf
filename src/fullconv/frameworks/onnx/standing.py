"""The axes of ONNX's operators along which windows may stand.

Each family of operators has one function, which answers for a node on batches of native tensors. An
operator that is not in the table may mix the entries of any axis, and runs on each window alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from fullconv.graph.table import Table
from fullconv.lift.broadcasting import by_letter, in_first_axis
from fullconv.operations import Standing

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader

Axes = Sequence[int | None]
"""An axis for each of the first inputs; the others are the same for all windows."""
WindowAxis = tuple[Axes, int | Sequence[int]] | None
Family = Callable[[ir.Node, "Reader"], WindowAxis]
"""Returns the axes of the inputs, and that of all results or of each; None where windows can stand
nowhere."""

families = Table[str, Family]("a place for its windows")
FIRST: tuple[Axes, int] = (0,), 0


def standing(node: ir.Node, reader: Reader) -> Standing | None:
    """Return where windows may stand in a node whose given inputs are the vocabulary's."""
    family = families.find(node.op_type) if node.domain in ("", "ai.onnx") else None
    answer = family and family(node, reader)
    if not answer:
        return None
    axes, result = answer
    inputs = tuple(
        axes[place] if place < len(axes) else None
        for place, value in enumerate(node.inputs)
        if value is not None
    )
    each = [result] * len(node.outputs) if isinstance(result, int) else result
    places = zip(node.outputs, each, strict=False)
    return Standing(inputs, tuple(axis for value, axis in places if value.name))


def _rank(reader: Reader, value: ir.Value | None) -> int:
    return len(reader.shape(value))


@families(
    *"""
    Conv ConvTranspose MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool
    DepthToSpace SpaceToDepth QLinearConv ConvInteger DeformConv
    """.split()
)
def _on_maps(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept operators that are defined on ``(N, C, ...)``."""
    if node.op_type == "MaxPool" and any(value.name for value in node.outputs[1:]):
        return None  # its indices count through all images
    return ((0, None, 0, None, 0), 0) if node.op_type == "DeformConv" else FIRST


@families(
    "ArgMax",
    "ArgMin",
    "Hardmax",
    "LpNormalization",
    "TopK",
    "LayerNormalization",
    "RMSNormalization",
    "Concat",
    "Split",
)
def _along_axis(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept operators that mix along one axis, or from it on, which is not the first."""
    usual = 0 if node.op_type in ("ArgMax", "ArgMin", "Split") else -1
    axis = node.attributes.get_int("axis", usual)
    if axis % max(1, _rank(reader, node.inputs[0])) == 0:
        return None
    return ([0] * len(node.inputs), 0) if node.op_type == "Concat" else FIRST


@families("CumSum")
def _cumulative(node: ir.Node, reader: Reader) -> WindowAxis:
    axis = reader.constant(node.inputs[1])
    rank = _rank(reader, node.inputs[0])
    return FIRST if axis is not None and int(axis.reshape(-1)[0]) % max(1, rank) else None


@families(
    *"""
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare
    """.split()
)
def _reduced(node: ir.Node, reader: Reader) -> WindowAxis:
    axes = reader.axes(node)
    rank = _rank(reader, node.inputs[0])
    return FIRST if axes and all(int(axis) % rank for axis in axes) else None


@families("Gather", "GatherElements", "ScatterElements", "Scatter", "Compress")
def _by_index(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept operators that index another axis than the first."""
    axis = node.attributes.get_int("axis", 0)
    if axis % max(1, _rank(reader, node.inputs[0])) == 0 or node.op_type == "Compress":
        return None
    return FIRST if node.op_type == "Gather" else ((0, 0, 0), 0)


@families("GatherND")
def _gather_nd(node: ir.Node, reader: Reader) -> WindowAxis:
    return ((0, 0), 0) if node.attributes.get_int("batch_dims", 0) > 0 else None


@families("MatMul", "MatMulInteger", "QLinearMatMul")
def _matmul(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept matrix products: of rows with a parameter, or of batches of matrices."""
    right = 3 if node.op_type == "QLinearMatMul" else 1
    rank = _rank(reader, node.outputs[0])
    shape = reader.shape(node.inputs[right])
    alike = len(shape) < max(3, rank) or shape[0] == 1
    if alike and not reader.is_of_image(node.inputs[right]):
        return FIRST if _rank(reader, node.inputs[0]) == rank > 1 else None
    if rank < 3:
        return None
    both = node.inputs[0], node.inputs[right]
    axes = in_first_axis(
        [reader.shape(x) for x in both],
        [reader.is_of_image(x) for x in both],
        reader.shape(node.outputs[0]),
    )
    return None if axes is None else ((axes[0], *[None] * (right - 1), axes[1]), 0)


@families("Gemm")
def _gemm(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept the rows of the first matrix, where the second is a parameter."""
    if node.attributes.get_int("transA", 0) or reader.is_of_image(node.inputs[1]):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return FIRST
    rows = _rank(reader, bias) > 1 and reader.shape(bias)[0] != 1
    return None if reader.is_of_image(bias) else ((0, None, 0 if rows else None), 0)


@families("Einsum")
def _einsum(node: ir.Node, reader: Reader) -> WindowAxis:
    """Return the axes of a letter that all tensors of the image and the result have."""
    equation = node.attributes.get_string("equation", "")
    return by_letter(equation, [reader.is_of_image(x) for x in node.inputs])


@families("Resize", "Upsample")
def _resize(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept operators that keep the length of the first axis, and crop nothing."""
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return None
    before, after = reader.shape(node.inputs[0]), reader.shape(node.outputs[0])
    return FIRST if before[0] == after[0] and len(before) > 1 else None


@families("GridSample")
def _pairs(node: ir.Node, reader: Reader) -> WindowAxis:
    return (0, 0), 0


@families("Expand")
def _expand(node: ir.Node, reader: Reader) -> WindowAxis:
    before, after = reader.shape(node.inputs[0]), reader.shape(node.outputs[0])
    return FIRST if len(before) == len(after) and before[0] == after[0] == 1 else None


@families("Tile")
def _tile(node: ir.Node, reader: Reader) -> WindowAxis:
    times = reader.constant(node.inputs[1])
    return FIRST if times is not None and len(times) and int(times[0]) == 1 else None


@families("Pad")
def _pad(node: ir.Node, reader: Reader) -> WindowAxis:
    rank = _rank(reader, node.inputs[0])
    pads = reader.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    named = node.inputs[3] if len(node.inputs) > 3 else None
    axes = range(rank) if named is None else reader.constant(named)
    if pads is None or axes is None or not rank:
        return None
    around = [(pads[i], pads[i + len(axes)]) for i, a in enumerate(axes) if int(a) % rank == 0]
    return FIRST if not any(map(any, around)) else None


@families("Slice")
def _slice(node: ir.Node, reader: Reader) -> WindowAxis:
    rank = _rank(reader, node.inputs[0])
    starts = reader.constant(node.inputs[1])
    named = node.inputs[3] if len(node.inputs) > 3 else None
    axes = reader.constant(named)
    if starts is None or (named is not None and axes is None):
        return None
    cut = range(len(starts)) if axes is None else [int(axis) % rank for axis in axes]
    return FIRST if 0 not in cut else None


@families("QuantizeLinear", "DequantizeLinear")
def _quantize(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept one scale for all numbers, or scales along another axis than the first."""
    rank = _rank(reader, node.inputs[0])
    axis = node.attributes.get_int("axis", 1)
    ranks = [_rank(reader, value) for value in node.inputs[1:] if value is not None]
    return FIRST if rank and (not any(ranks) or (max(ranks) == 1 and axis % rank)) else None


@families("OneHot")
def _one_hot(node: ir.Node, reader: Reader) -> WindowAxis:
    rank = _rank(reader, node.outputs[0])
    axis = node.attributes.get_int("axis", -1) % rank
    return FIRST if rank > 1 and axis else None


@families("Trilu")
def _triangle(node: ir.Node, reader: Reader) -> WindowAxis:
    return FIRST if _rank(reader, node.inputs[0]) > 2 else None


@families("LSTM", "GRU", "RNN")
def _recurrent(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept ``(steps, N, features)``; all steps give ``(steps, directions, N, hidden)``."""
    if node.attributes.get_int("layout", 0):
        return None
    return (1, None, None, None, 0, 1, 1), (2, 1, 1)


@families("Attention")
def _attention(node: ir.Node, reader: Reader) -> WindowAxis:
    """Accept a query, key and value alone: a mask may differ from image to image."""
    if any(value is not None for value in node.inputs[3:]) or len(node.outputs) > 1:
        return None
    return (0, 0, 0), 0
