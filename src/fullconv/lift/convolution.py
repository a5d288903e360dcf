"""Rules: convolution, transposed convolution, padding as a layer of its own."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import cast

from fullconv.geometry import Axis, Sliding
from fullconv.graph import Node, Recipe
from fullconv.lift.contraction import Term, contract, covered
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting, feature_map
from fullconv.lift.registry import EndsSharing, rule
from fullconv.lift.split import Moved, Part, Read, Split
from fullconv.operations import Convolution, Pad, TransposedConvolution


@rule(Convolution)
def convolution(lifting: Lifting, node: Node) -> Field:
    """Lift a convolution: the same filters, with stride and dilation in stored cells.

    Exact always: what reads padding is computed for each window.
    """
    operation = cast(Convolution, node.operation)
    x = lifting.feature_map(node.inputs[0])
    weight, bias = (lifting.parameter(name) for name in node.inputs[1:3])
    if weight is None:
        raise EndsSharing("has no weights")
    y, x_ = (
        Sliding(*numbers)
        for numbers in zip(
            operation.kernel,
            operation.stride,
            operation.dilation,
            *zip(*operation.padding, strict=True),
            strict=True,
        )
    )
    over = covered(x, y, x_)
    if any(over):
        return contract_filters(lifting, node, x, over, weight, bias, operation.groups)
    moved = lifting.slide(node, x, y, x_)
    parameters = lifting.constant(weight), lifting.constant(bias)

    def write(block: str, y: Read, x: Read, final: bool) -> str:
        lifted = replace(
            operation,
            stride=(y.sliding.stride, x.sliding.stride),
            dilation=(y.sliding.dilation, x.sliding.dilation),
            padding=(y.sliding.padding, x.sliding.padding),
        )
        return lifting.emit(node, lifted, (block, *parameters), final=final)

    result = lifting.write(x, moved, weight.shape[0], write)
    lifting.count_products(result, prod(weight.shape))
    note_step(lifting, node, moved, operation.stride, operation.dilation)
    return result


def contract_filters(
    lifting: Lifting,
    node: Node,
    x: Field,
    over: tuple[bool, bool],
    weight: Recipe,
    bias: Recipe | None,
    groups: int = 1,
    *,
    final: bool = True,
) -> Field:
    """Apply filters ``(out, C // groups, kh, kw)`` that cover every cell along some axes.

    The filters are cut where the axes are split: each part meets its own piece of them.
    """
    bias_name = lifting.constant(bias)

    def write(term: Term, first: bool, named: bool) -> str:
        filters = weight
        for axis, (cells, wanted) in enumerate(zip((term.rows, term.columns), over, strict=True)):
            if wanted and len(cells) != weight.shape[2 + axis]:
                filters = filters.take(2 + axis, cells.start, cells.stop)
        operation = Convolution(term.kernel, term.stride, dilation=term.dilation, groups=groups)
        inputs = (term.value, lifting.constant(filters), bias_name if first else None)
        return lifting.emit(node, operation, inputs, final=named)

    outputs = weight.shape[0]
    result = contract(lifting, node, x, over, outputs, "sum", write, final=final)
    lifted = feature_map(x, outputs, result.rows, result.columns, result.parts)
    lifting.count_products(lifted, prod(weight.shape))
    return lifted


def note_step(
    lifting: Lifting,
    node: Node,
    moved: tuple[Moved, Moved],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    """Note where the shared map is computed with another stride or dilation than the crops."""
    reads = [m.reads.get(Part.MIDDLE) for m in moved]
    y, x = (
        Sliding(1, t, d) if read is None else read.sliding
        for read, t, d in zip(reads, stride, dilation, strict=True)
    )
    strides, dilations = (y.stride, x.stride), (y.dilation, x.dilation)
    if (strides, dilations) != (stride, dilation):
        lifting.change(node, f"stride {strides}, dilation {dilations} for this step")


@rule(TransposedConvolution)
def transposed_convolution(lifting: Lifting, node: Node) -> Field:
    """Lift a transposed convolution: itself, on the stored map.

    Exact when every output of a window reads cells of that window only, whatever lies outside,
    and neighbouring windows are a whole number of input cells apart (else the same place would be
    met by another tap of the filter in each of them); with stride 1, at any step. Ends sharing
    otherwise.
    """
    operation = cast(TransposedConvolution, node.operation)
    x = lifting.feature_map(node.inputs[0])
    weight, bias = (lifting.parameter(name) for name in node.inputs[1:3])
    if weight is None:
        raise EndsSharing("has no weights")
    axes: list[Split] = []
    scale = [1, 1]
    for index, axis in enumerate((x.rows, x.columns)):
        stride = operation.stride[index]
        before, after = operation.padding[index]
        span = operation.dilation[index] * (operation.kernel[index] - 1) + 1
        extent = (axis.extent - 1) * stride - before - after + span
        extent += operation.output_padding[index]
        if axis.private:
            axes.append(Split(extent, axis.middle))
            continue
        if not axis.shared:
            raise EndsSharing("spreads cells that see the window's border")
        if _reads_neighbours(operation, index, axis.extent, extent):
            if lifting.exact:
                raise EndsSharing("spreads cells outside the window into it")
            lifting.approximate(node, "cells outside the window spread into it")
        middle = axis.middle
        if stride > 1 and middle.dilation != 1:
            raise EndsSharing(
                f"spreads cells that lie {middle.pitch} pixels apart, so only windows a multiple "
                f"of that apart can share it"
            )
        axes.append(Split(0, Axis(extent, middle.pitch / stride, middle.step / stride, None)))
        # Where the stored cells lie closer than the window's own, so do the taps.
        scale[index] = middle.dilation
    lifted = replace(
        operation,
        padding=(_scaled(operation.padding[0], scale[0]), _scaled(operation.padding[1], scale[1])),
        dilation=_scaled(operation.dilation, (scale[0], scale[1])),
        output_padding=_scaled(operation.output_padding, (scale[0], scale[1])),
    )
    ((where, part),) = x.parts.items()
    inputs = (part, lifting.constant(weight), lifting.constant(bias))
    value = lifting.emit(node, lifted, inputs)
    channels = weight.shape[1] * operation.groups
    lifting.count_products(x, prod(weight.shape))
    return feature_map(x, channels, axes[0], axes[1], {where: value})


def _scaled(pair: tuple[int, int], by: int | tuple[int, int]) -> tuple[int, int]:
    first, second = (by, by) if isinstance(by, int) else by
    return pair[0] * first, pair[1] * second


def _reads_neighbours(
    operation: TransposedConvolution, index: int, extent: int, outputs: int
) -> bool:
    """Whether some output would meet a filter tap through a cell just outside the window.

    Output ``o`` reads input ``i`` through tap ``k`` where ``o = i * stride + k * dilation - pad``
    (ONNX ConvTranspose, version 11; PyTorch ConvTranspose2d).
    """
    before = operation.padding[index][0]
    taps = [k * operation.dilation[index] for k in range(operation.kernel[index])]
    stride = operation.stride[index]
    far = max(taps) // stride + 1
    outside = [*range(-far, 0), *range(extent, extent + far)]
    return any(0 <= i * stride + tap - before < outputs for i in outside for tap in taps)


@rule(Pad)
def pad(lifting: Lifting, node: Node) -> Field:
    """Lift padding: removed rows and columns are an offset; added channels are added.

    The channels may stand last. Exact always: added rows and columns belong to each window.
    """
    operation = cast(Pad, node.operation)
    x = lifting.field(node.inputs[0])
    if len(x.layout.axes) == 4 and not x.layout.is_feature_map():
        turned = x.layout.permute((0, 3, 1, 2))
        if turned.is_feature_map():
            batch, *spatial, channels = operation.pads
            as_map = replace(operation, pads=(batch, channels, *spatial))
            result = _pad(lifting, node, as_map, x.arranged(turned))
            return result.arranged(result.layout.permute((0, 2, 3, 1)))
    return _pad(lifting, node, operation, lifting.feature_map(node.inputs[0]))


def _pad(lifting: Lifting, node: Node, operation: Pad, x: Field) -> Field:
    x = lifting.store(x, x.layout.in_order())
    batch, channels, *spatial = operation.pads
    if any(batch):
        raise EndsSharing("pads the batch")
    if min(channels) < 0:
        raise EndsSharing("removes channels by padding")
    if any(n < 0 for pair in spatial for n in pair):
        # Cutting first must leave what is then mirrored; what goes round meets the other end.
        reaches = any(
            max(pair) >= extent + min(0, *pair)
            for pair, extent in zip(spatial, x.extent, strict=True)
        )
        if operation.mode == "circular" or (operation.mode == "reflect" and reaches):
            raise EndsSharing("repeats cells that it removes")
        kept = [
            range(max(0, -a), extent - max(0, -b))
            for (a, b), extent in zip(spatial, x.extent, strict=True)
        ]
        x = lifting.cut(x, kept[0], kept[1])
        x = feature_map(x, x.layout.channels, x.rows, x.columns, x.parts)
    (top, bottom), (left, right) = ((max(0, a), max(0, b)) for a, b in spatial)
    added = Sliding(1, 1, 1, top, bottom), Sliding(1, 1, 1, left, right)
    if operation.mode == "constant" or not lifting.exact:
        padded = any((top, bottom, left, right))
        dilated = (x.rows.middle.dilation, x.columns.middle.dilation) != (1, 1)
        if operation.mode != "constant" and padded and dilated:
            if operation.mode == "circular":
                raise EndsSharing("goes round to cells that lie closer than the window's own")
            # Mirrored and repeated cells must be those of the last whole window.
            x = lifting.keep(x)
        moved = lifting.slide(node, x, *added)
    else:
        step = lifting.grid.step
        moved = (
            x.rows.extended(top, bottom, operation.mode, step[0]),
            x.columns.extended(left, right, operation.mode, step[1]),
        )

    def write(block: str, y: Read, x: Read, final: bool) -> str:
        pads = ((0, 0), channels, y.sliding.padding, x.sliding.padding)
        if not any(map(any, pads)):
            return block
        return lifting.emit(node, replace(operation, pads=pads), (block,), final=final)

    return lifting.write(x, moved, x.layout.channels + sum(channels), write)
