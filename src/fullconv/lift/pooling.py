"""Rules: max, average, adaptive and global pooling, and reductions over axes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Literal, cast

from fullconv.geometry import Sliding
from fullconv.graph import Node
from fullconv.layout import Kind, Layout, features
from fullconv.lift.convolution import feature_map
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import (
    NO_PADDING,
    AdaptivePool,
    Cells,
    Concat,
    Pad,
    Pool,
    Reduce,
)

PoolKind = Literal["max", "average", "sum"]


@rule(Pool)
def pool(lifting: Lifting, node: Node) -> Field:
    """Lift a pool: the same rectangle, with stride and dilation in stored cells.

    Exact when no output covers padding or overhangs the window. Ends sharing when one does.
    """
    operation = cast(Pool, node.operation)
    x = lifting.feature_map(node.inputs[0])
    y, x_ = (
        Sliding(kernel, stride, dilation, before, after + overhang)
        for kernel, stride, dilation, (before, after), overhang in zip(
            operation.kernel,
            operation.stride,
            operation.dilation,
            operation.padding,
            operation.overhang,
            strict=True,
        )
    )
    slid = lifting.slide(node, x, y, x_)
    padded = any(map(any, slid.padding))
    same = (slid.stride, slid.dilation) == (operation.stride, operation.dilation)
    if not same:
        lifting.change(node, f"stride {slid.stride}, dilation {slid.dilation} for this step")
    if padded and same:
        lifted = operation
    elif padded and operation.kind == "average":
        raise EndsSharing("averages over padding at a step finer than its own")
    elif padded:
        lifted = replace(operation, padding=NO_PADDING, overhang=(0, 0))
        pads = ((0, 0), (0, 0), *slid.padding)
        x = x.holding(lifting.helper(x.value, Pad(pads, value=float("-inf"))))
    else:
        lifted = replace(operation, padding=NO_PADDING, overhang=(0, 0))
        if operation.padding == NO_PADDING and operation.overhang == (0, 0) and same:
            lifted = operation
    if lifted is not operation:
        lifted = replace(
            lifted, stride=slid.stride, dilation=slid.dilation, channels=x.layout.channels
        )
    value = lifting.emit(node, lifted, (x.value,))
    rows, columns = slid.rows, slid.columns
    if padded and any(operation.overhang):
        # The number of overhanging outputs depends on the image's size.
        rows, columns = replace(rows, reach=None), replace(columns, reach=None)
    return feature_map(x, x.layout.channels, rows, columns, value)


@rule(AdaptivePool)
def adaptive_pool(lifting: Lifting, node: Node) -> Field:
    """Lift an adaptive pool: a fixed pool of the native extent.

    Exact always. Even bins are an ordinary pool; uneven ones are one pool per bin on the window
    grid, after which rows and columns are features (PyTorch, adaptive_avg_pool2d: bin ``i`` of
    ``n`` covers ``floor(i * a / n)`` to ``ceil((i + 1) * a / n)``).
    """
    operation = cast(AdaptivePool, node.operation)
    x = lifting.feature_map(node.inputs[0])
    if operation.size == x.extent:
        return x
    if all(a % n == 0 for a, n in zip(x.extent, operation.size, strict=True)):
        kernel = (x.extent[0] // operation.size[0], x.extent[1] // operation.size[1])
        return _rectangle(lifting, node, x, operation.kind, kernel, kernel)
    return _uneven(lifting, node, x, operation)


def _rectangle(
    lifting: Lifting,
    node: Node,
    x: Field,
    kind: PoolKind,
    kernel: tuple[int, int],
    stride: tuple[int, int],
) -> Field:
    slid = lifting.slide(node, x, Sliding(kernel[0], stride[0]), Sliding(kernel[1], stride[1]))
    lifted = Pool(kind, kernel, slid.stride, dilation=slid.dilation, channels=x.layout.channels)
    lifting.change(node, f"{lifted.title} of {kernel[0]}x{kernel[1]}, the native extent")
    value = lifting.emit(node, lifted, (x.value,))
    return feature_map(x, x.layout.channels, slid.rows, slid.columns, value)


def _uneven(lifting: Lifting, node: Node, x: Field, operation: AdaptivePool) -> Field:
    bins = [
        [(i * a // n, -((i + 1) * a // -n)) for i in range(n)]
        for a, n in zip(x.extent, operation.size, strict=True)
    ]
    fields: list[Field] = []
    for (top, bottom), (left, right) in product(*bins):
        (rows, y), (columns, x_) = (
            axis.cut(start, stop, 1, step)
            for axis, start, stop, step in (
                (x.rows, top, bottom, lifting.grid.step[0]),
                (x.columns, left, right, lifting.grid.step[1]),
            )
        )
        corner = lifting.helper(x.value, Cells(*zip(y, x_, strict=True)))
        part = feature_map(x, x.layout.channels, rows, columns, corner)
        kernel = (bottom - top, right - left)
        slid = lifting.slide(node, part, Sliding(kernel[0]), Sliding(kernel[1]))
        lifted = Pool(
            operation.kind, kernel, slid.stride, dilation=slid.dilation, channels=x.layout.channels
        )
        value = lifting.emit(node, lifted, (part.value,), final=False)
        fields.append(feature_map(x, x.layout.channels, slid.rows, slid.columns, value))
    fields = [lifting.keep(part) for part in fields]
    value = lifting.emit(node, Concat(1), [part.value for part in fields])
    lifting.change(node, f"{len(fields)} pools, one per uneven bin")
    batch = x.layout.axes[0]
    channels, rows_, columns_ = (
        x.layout.stored,
        features(operation.size[0]),
        features(operation.size[1]),
    )
    layout = Layout((batch, channels, rows_, columns_), (*rows_, *columns_, *channels))
    return Field.shared(layout, fields[0].rows, fields[0].columns, value)


@rule(Reduce)
def reduce(lifting: Lifting, node: Node) -> Field:
    """Lift a mean, sum or maximum over whole axes.

    Exact when it runs over rows and columns (a pool of the native extent), or over all features.
    Ends sharing when it mixes the two, or takes some of the features only.
    """
    operation = cast(Reduce, node.operation)
    x = lifting.field(node.inputs[0])
    atoms = {atom for axis in operation.axes for atom in x.layout.axes[axis]}
    if any(atom.kind is Kind.BATCH for atom in atoms):
        raise EndsSharing("reduces over the batch")
    if atoms and not any(atom.spatial for atom in atoms):
        if atoms != set(x.layout.stored):
            raise EndsSharing("reduces over some of the features only")
        value = lifting.emit(node, Reduce(operation.kind, (1,), True), (x.value,))
        reduced = x
    elif all(atom.spatial for atom in atoms):
        reduced = _pool_over(lifting, node, x, {atom.kind for atom in atoms})
        value = reduced.value
    else:
        raise EndsSharing("reduces over features together with rows or columns")
    axes = list(reduced.layout.axes)
    for axis in sorted(operation.axes, reverse=True):
        axes[axis : axis + 1] = [()] if operation.keepdims else []
    left = [atom for axis in axes for atom in axis]
    stored = tuple(atom for atom in reduced.layout.stored if atom in left)
    return reduced.holding(value, Layout(tuple(axes), stored))


def _pool_over(lifting: Lifting, node: Node, x: Field, kinds: set[Kind]) -> Field:
    if not kinds:
        return x
    operation = cast(Reduce, node.operation)
    kernel = (
        x.rows.extent if Kind.ROWS in kinds else 1,
        x.columns.extent if Kind.COLUMNS in kinds else 1,
    )
    slid = lifting.slide(node, x, Sliding(kernel[0]), Sliding(kernel[1]))
    kind: PoolKind = "average" if operation.kind == "mean" else operation.kind
    lifted = Pool(kind, kernel, slid.stride, dilation=slid.dilation, channels=x.layout.channels)
    lifting.change(node, f"{lifted.title} of {kernel[0]}x{kernel[1]}, the native extent")
    value = lifting.emit(node, lifted, (x.value,))
    layout = x.layout.without(*kinds)
    return Field.shared(layout, slid.rows, slid.columns, value)
