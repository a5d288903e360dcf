"""Rules: convolution and transposed convolution."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import prod

from fullconv.geometry.grid import Axis, Sizes, Sliding
from fullconv.graph.graph import Node, Recipe
from fullconv.graph.layout import order, sizes
from fullconv.lift.arranging import (
    as_feature_map,
    filters_over,
    in_native_order,
    must_lie_apart,
    over_cells,
)
from fullconv.lift.contraction import Term, contract, covered
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting, feature_map
from fullconv.lift.registry import EndsSharing, rule
from fullconv.lift.split import Moved, Part, PartInput, Split
from fullconv.operations import Convolution, TransposedConvolution, Windowed


@rule(Convolution)
def convolution(lifting: Lifting, node: Node, operation: Convolution) -> Field:
    """Lift a convolution: the same filters, with stride and dilation in stored cells.

    Where its channels are cells of the window (a spectrogram ``(N, time, bands)``, turned), the
    filters cover them as a kernel that is as long as the window. Exact always: outputs that read
    padding are computed for each window.
    """
    x = lifting.field(node.inputs[0])
    weight, bias = parameters(lifting, node)
    covered_too = 0
    if len(x.layout.axes) > 2 and operation.groups == 1:
        covered_too = sum(atom.spatial for atom in x.layout.axes[1])
    if covered_too:
        x, operation, weight = _channels_as_cells(x, operation, weight)
    x, axes = as_feature_map(lifting, x, operation.dimensions)
    weight = filters_over(weight, axes, len(x.axes))
    along = operation.over(axes, len(x.axes))
    if along.dimensions != 2:
        along = replace(along, copies=False)  # it is written as a convolution
    result = in_native_order(_convolve(lifting, node, along, x, weight, bias), axes)
    if covered_too:
        native = result.layout.axes
        result = result.arranged(
            replace(result.layout, axes=(*native[:2], *native[2 + covered_too :]))
        )
    return result


def _channels_as_cells(
    x: Field, operation: Convolution, weight: Recipe
) -> tuple[Field, Convolution, Recipe]:
    """Rewrite a convolution whose channels hold cells as one whose kernel covers these cells."""
    batch, channels, *native = x.layout.axes
    inner = tuple(atom for atom in channels if not atom.spatial)
    cells = tuple(atom for atom in channels if atom.spatial)
    turned = (1 + place for place in order(channels, (*inner, *cells)))
    first = 1 + len(channels)
    filters = (
        weight.reshape(weight.shape[0], *sizes(channels), *operation.kernel)
        .permute(0, *turned, *range(first, first + operation.dimensions))
        .reshape(weight.shape[0], prod(sizes(inner)), *sizes(cells), *operation.kernel)
    )
    covering = [Sliding(atom.size) for atom in cells]
    wider = Convolution((*sizes(cells), *operation.kernel)).moving([*covering, *operation.slidings])
    axes = (batch, inner, *((atom,) for atom in cells), *native)
    return x.arranged(replace(x.layout, axes=axes)), wider, filters


def _convolve(
    lifting: Lifting,
    node: Node,
    operation: Convolution,
    x: Field,
    weight: Recipe,
    bias: Recipe | None,
) -> Field:
    over = covered(x, operation.slidings)
    if over:
        return contract_filters(lifting, node, x, over, weight, bias, operation.groups)
    moved = lifting.slide(node, x, operation.slidings)
    numbers = lifting.out.constant(weight), lifting.out.constant(bias)

    def write(block: str, reads: tuple[PartInput, ...]) -> str:
        lifted = operation.moving([read.sliding for read in reads])
        return lifting.out.emit(node, lifted, (block, *numbers))

    result = lifting.write(x, moved, weight.shape[0], write)
    lifting.count_products(result, 0 if operation.copies else prod(weight.shape))
    note_step(lifting, node, moved, operation)
    return result


def parameters(lifting: Lifting, node: Node) -> tuple[Recipe, Recipe | None]:
    """Return the filters and the bias."""
    weight, bias = (lifting.out.parameter(name) for name in node.inputs[1:3])
    if weight is None:
        raise EndsSharing("has no weights")
    return weight, bias


def contract_filters(
    lifting: Lifting,
    node: Node,
    x: Field,
    over: Collection[int],
    weight: Recipe,
    bias: Recipe | None,
    groups: int = 1,
) -> Field:
    """Apply filters ``(out, C // groups, *kernel)`` that cover every cell along some axes.

    The filters are cut where the axes are split: each part meets its own piece of them.
    """
    bias_name = lifting.out.constant(bias)

    def write(term: Term, first: bool) -> str:
        filters = weight
        for axis in sorted(over):
            cells = term.cells[axis]
            if len(cells) != weight.shape[2 + axis]:
                filters = filters.take(2 + axis, cells.start, cells.stop)
        operation = Convolution(term.kernel, groups=groups).moving(term.slidings)
        inputs = (term.value, lifting.out.constant(filters), bias_name if first else None)
        return lifting.out.emit(node, operation, inputs)

    result = contract(lifting, node, x, over, weight.shape[0], "sum", write)
    lifting.count_products(result, prod(weight.shape))
    return result


def note_step(lifting: Lifting, node: Node, moved: Sequence[Moved], operation: Windowed) -> None:
    """Note a shared map that is computed with another stride or dilation than the crops'."""
    reads = [m.reads.get(Part.MIDDLE) for m in moved]
    slidings = [
        own if read is None else read.sliding
        for read, own in zip(reads, operation.slidings, strict=True)
    ]
    strides, dilations = tuple(s.stride for s in slidings), tuple(s.dilation for s in slidings)
    if (strides, dilations) != (operation.stride, operation.dilation):
        lifting.out.change(node, f"stride {strides}, dilation {dilations} for this step")


@rule(TransposedConvolution)
@over_cells
def transposed_convolution(
    lifting: Lifting, node: Node, operation: TransposedConvolution, axes: Sizes, x: Field
) -> Field:
    """Lift a transposed convolution: itself, on the stored map.

    Exact when every output of a window reads cells of that window only, and neighbouring windows
    are a whole number of input cells apart; with stride 1, at any step. Ends sharing otherwise:
    the same place would meet another tap of the filter in each window.
    """
    weight, bias = parameters(lifting, node)
    weight = filters_over(weight, axes, len(x.axes))
    x = lifting.side_by_side(x, [i for i, stride in enumerate(operation.stride) if stride > 1])
    spread = tuple(_spread(lifting, node, operation, i, axis) for i, axis in enumerate(x.axes))
    # Where the stored cells lie closer than the window's own, so do the taps.
    scale = x.dilation
    lifted = replace(
        operation,
        padding=tuple((a * n, b * n) for (a, b), n in zip(operation.padding, scale, strict=True)),
        dilation=tuple(n * by for n, by in zip(operation.dilation, scale, strict=True)),
        output_padding=tuple(n * by for n, by in zip(operation.output_padding, scale, strict=True)),
    )
    ((where, part),) = x.parts.items()
    inputs = (part, lifting.out.constant(weight), lifting.out.constant(bias))
    value = lifting.out.emit(node, lifted, inputs)
    lifting.count_products(x, prod(weight.shape))
    return feature_map(x, weight.shape[1] * operation.groups, spread, {where: value})


def _spread(
    lifting: Lifting, node: Node, operation: TransposedConvolution, index: int, axis: Split
) -> Split:
    """Return an axis after a transposed convolution has spread its cells."""
    stride, (before, after) = operation.stride[index], operation.padding[index]
    sliding = Sliding(operation.kernel[index], dilation=operation.dilation[index])
    extent = (axis.extent - 1) * stride - before - after + sliding.span
    extent += operation.output_padding[index]
    if axis.private:
        return axis.of_own(extent)
    if not axis.shared:
        raise EndsSharing("spreads cells that see the window's border")
    if _reads_neighbours(operation, index, axis.extent, extent):
        lifting.spreads_in(node)
    if stride > 1:
        must_lie_apart(lifting, axis, "spreads")
    middle = axis.middle
    return Split(0, Axis(extent, middle.pitch / stride, middle.step / stride, None))


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
