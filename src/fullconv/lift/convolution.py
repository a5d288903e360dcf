"""Rules: convolution, transposed convolution, padding as a layer of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from fullconv.geometry import Axis, Sliding
from fullconv.graph import Node
from fullconv.layout import Layout, features
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Cells, Convolution, Pad, TransposedConvolution


def feature_map(x: Field, channels: int, rows: Axis, columns: Axis, value: str) -> Field:
    """Return a field ``(N, channels, rows, columns)``."""
    batch = x.layout.axes[0][0].size
    layout = Layout.feature_map(batch, features(channels), rows.extent, columns.extent)
    return Field.shared(layout, rows, columns, value)


@rule(Convolution)
def convolution(lifting: Lifting, node: Node) -> Field:
    """Lift a convolution: the same filters, with stride and dilation in stored cells.

    Exact when no output reads padding. Ends sharing when one does.
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
    slid = lifting.slide(node, x, y, x_)
    lifted = replace(operation, stride=slid.stride, dilation=slid.dilation, padding=slid.padding)
    if (lifted.stride, lifted.dilation) != (operation.stride, operation.dilation):
        lifting.change(node, f"stride {slid.stride}, dilation {slid.dilation} for this step")
    value = lifting.emit(node, lifted, (x.value, lifting.constant(weight), lifting.constant(bias)))
    return feature_map(x, weight.shape[0], slid.rows, slid.columns, value)


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
    axes: list[Axis] = []
    for index, axis in enumerate((x.rows, x.columns)):
        stride = operation.stride[index]
        before, after = operation.padding[index]
        span = operation.dilation[index] * (operation.kernel[index] - 1) + 1
        extent = (axis.extent - 1) * stride - before - after + span
        extent += operation.output_padding[index]
        if _reads_neighbours(operation, index, axis.extent, extent):
            if lifting.exact:
                raise EndsSharing("spreads cells outside the window into it")
            lifting.approximate(node, "cells outside the window spread into it")
        if stride > 1 and axis.dilation != 1:
            raise EndsSharing(
                f"spreads cells that lie {axis.pitch} pixels apart, so only windows a multiple of "
                f"that apart can share it"
            )
        axes.append(Axis(extent, axis.pitch / stride, axis.step / stride, None))
    # Where the stored cells lie closer than the window's own, so do the taps.
    scale = x.rows.dilation, x.columns.dilation
    lifted = replace(
        operation,
        padding=(_scaled(operation.padding[0], scale[0]), _scaled(operation.padding[1], scale[1])),
        dilation=_scaled(operation.dilation, scale),
        output_padding=_scaled(operation.output_padding, scale),
    )
    value = lifting.emit(node, lifted, (x.value, lifting.constant(weight), lifting.constant(bias)))
    rows, columns = axes
    return feature_map(x, weight.shape[1] * operation.groups, rows, columns, value)


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

    Exact when it adds no rows or columns. Ends sharing when it does.
    """
    operation = cast(Pad, node.operation)
    x = lifting.feature_map(node.inputs[0])
    batch, channels, rows, columns = operation.pads
    if any(batch):
        raise EndsSharing("pads the batch")
    x = _crop(lifting, x, [(max(0, -a), max(0, -b)) for a, b in (rows, columns)])
    added = [(max(0, a), max(0, b)) for a, b in (rows, columns)]
    slid = lifting.slide(node, x, Sliding(1, 1, 1, *added[0]), Sliding(1, 1, 1, *added[1]))
    if operation.mode != "constant" and any(map(any, added)) and (slid.dilation != (1, 1)):
        # Mirrored and repeated cells must be those of the last whole window.
        x = lifting.keep(x)
    if min(channels) < 0:
        raise EndsSharing("removes channels by padding")
    lifted = replace(operation, pads=((0, 0), channels, *slid.padding))
    if lifted.pads == ((0, 0),) * 4:
        return x
    value = lifting.emit(node, lifted, (x.value,))
    total = x.layout.channels + sum(channels)
    return feature_map(x, total, slid.rows, slid.columns, value)


def _crop(lifting: Lifting, x: Field, removed: list[tuple[int, int]]) -> Field:
    if not any(map(any, removed)):
        return x
    cut = [
        axis.cut(before, axis.extent - after, 1, step)
        for axis, (before, after), step in zip(
            (x.rows, x.columns), removed, lifting.grid.step, strict=True
        )
    ]
    (rows, y), (columns, x_) = cut
    value = lifting.helper(x.value, Cells(*zip(y, x_, strict=True)))
    return feature_map(x, x.layout.channels, rows, columns, value)
