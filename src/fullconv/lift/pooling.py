"""Rules: max, average, adaptive and global pooling, and reductions over axes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from typing import Literal, cast

from fullconv.geometry import Sliding
from fullconv.graph import Node
from fullconv.layout import Kind, Layout, features
from fullconv.lift.contraction import Term, Total, contract, covered
from fullconv.lift.convolution import note_step
from fullconv.lift.field import SHARED, Field
from fullconv.lift.lifting import Lifting, feature_map
from fullconv.lift.registry import EndsSharing, rule
from fullconv.lift.split import Moved, Part, Read
from fullconv.operations import (
    NO_PADDING,
    AdaptivePool,
    Concat,
    DivideCells,
    Pad,
    Pool,
    Power,
    Reduce,
    SlidingTotal,
)

PoolKind = Literal["max", "average", "sum"]


@rule(Pool)
def pool(lifting: Lifting, node: Node) -> Field:
    """Lift a pool: the same rectangle, with stride and dilation in stored cells.

    Exact always: what covers padding, or overhangs the window, is computed for each window.
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
    over = covered(x, y, x_, dense=node.outputs[0] in lifting.sliding)
    if any(over):
        return _whole(lifting, node, x, operation.kind, over, operation.divisor)
    moved = lifting.slide(node, x, y, x_)
    note_step(lifting, node, moved, operation.stride, operation.dilation)
    channels = x.layout.channels
    if not lifting.exact:
        return _classical(lifting, node, x, operation, moved)

    def write(block: str, y: Read, x_: Read, final: bool) -> str:
        lifted = replace(
            operation,
            stride=(y.sliding.stride, x_.sliding.stride),
            dilation=(y.sliding.dilation, x_.sliding.dilation),
            padding=NO_PADDING,
            overhang=(0, 0),
            channels=channels,
        )
        pads = y.sliding.padding, x_.sliding.padding
        if pads == NO_PADDING:
            same = replace(lifted, channels=operation.channels) == operation
            return lifting.emit(node, operation if same else lifted, (block,), final=final)
        empty = float("-inf") if operation.kind == "max" else 0.0
        block = lifting.helper(block, Pad(((0, 0), (0, 0), *pads), value=empty))
        if operation.kind != "average" or operation.divisor is not None:
            return lifting.emit(node, lifted, (block,), final=final)
        total = lifting.emit(node, replace(lifted, kind="sum"), (block,), final=False)
        rows, columns = (
            _covered(operation, index, extent, read)
            for index, (extent, read) in enumerate(zip(x.extent, (y, x_), strict=True))
        )
        return lifting.emit(node, DivideCells(rows, columns), (total,), final=final)

    return lifting.write(x, moved, channels, write)


def _covered(operation: Pool, index: int, extent: int, read: Read) -> tuple[int, ...]:
    """Count the cells that each output of a part covers along one axis, for an average.

    Padding counts where `Pool.count_include_pad` says so, overhang never (PyTorch, AvgPool2d).
    """
    if read.cells is None:
        return (operation.kernel[index],)
    before, after = operation.padding[index] if operation.count_include_pad else (0, 0)
    counted = range(-before, extent + after)
    first = read.cells[0] - read.sliding.before
    return tuple(
        sum(
            first + o * read.sliding.stride + k * read.sliding.dilation in counted
            for k in range(operation.kernel[index])
        )
        for o in range(read.sliding.output(len(read.cells)))
    )


def _classical(
    lifting: Lifting, node: Node, x: Field, operation: Pool, moved: tuple[Moved, Moved]
) -> Field:
    """Lift a pool to the approximate form, which pads the image's border."""
    y, x_ = (m.reads[Part.MIDDLE].sliding for m in moved)
    stride, dilation = (y.stride, x_.stride), (y.dilation, x_.dilation)
    pads = y.padding, x_.padding
    same = (stride, dilation) == (operation.stride, operation.dilation)
    (value,) = x.parts.values()
    lifted = operation
    if pads != NO_PADDING and not same:
        if operation.kind == "average":
            raise EndsSharing("averages over padding at a step finer than its own")
        value = lifting.helper(value, Pad(((0, 0), (0, 0), *pads), value=float("-inf")))
    plain = replace(operation, padding=NO_PADDING, overhang=(0, 0))
    if pads == NO_PADDING or not same:
        lifted = plain
    if lifted != operation or not same:
        lifted = replace(lifted, stride=stride, dilation=dilation, channels=x.layout.channels)
    value = lifting.emit(node, lifted, (value,))
    rows, columns = (m.axis for m in moved)
    if pads != NO_PADDING and any(operation.overhang):
        # The number of overhanging outputs depends on the image's size.
        rows, columns = (
            replace(axis, middle=replace(axis.middle, reach=None, kept=None))
            for axis in (rows, columns)
        )
    return feature_map(x, x.layout.channels, rows, columns, {SHARED: value})


def _whole(
    lifting: Lifting,
    node: Node,
    x: Field,
    kind: PoolKind,
    over: tuple[bool, bool],
    divisor: int | None = None,
) -> Field:
    """Pool over all cells of a window along some axes: a sum or maximum over the parts."""
    channels = x.layout.channels
    kernel = tuple(extent if wanted else 1 for extent, wanted in zip(x.extent, over, strict=True))
    slides = node.outputs[0] in lifting.sliding
    single = kind != "average" or (
        not slides
        and all(
            len(axis.parts) == 1 or not wanted
            for axis, wanted in zip((x.rows, x.columns), over, strict=True)
        )
    )
    term_kind: PoolKind = kind if single else "sum"
    total: Total = "max" if kind == "max" else "sum"

    def write(term: Term, first: bool, named: bool) -> str:
        if slides:
            around = SlidingTotal(total, term.kernel, term.dilation)
            return lifting.emit(node, around, (term.value,), final=named)
        pool = Pool(
            term_kind,
            term.kernel,
            term.stride,
            dilation=term.dilation,
            divisor=divisor if single else None,
            channels=channels,
        )
        return lifting.emit(node, pool, (term.value,), final=named)

    result = contract(lifting, node, x, over, channels, total, write, final=single)
    parts = result.parts
    if not single:
        cells = divisor or prod(kernel)
        parts = {
            where: lifting.emit(node, DivideCells((cells,), (1,)), (value,), final=not index)
            for index, (where, value) in enumerate(parts.items())
        }
    title = Pool(kind, (1, 1), (1, 1)).title
    along = " around every cell" if slides else ""
    lifting.change(node, f"{title} of {kernel[0]}x{kernel[1]}, the native extent{along}")
    return feature_map(x, channels, result.rows, result.columns, parts)


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
    whole = operation.size[0] == 1, operation.size[1] == 1
    if all(w or n == a for w, n, a in zip(whole, operation.size, x.extent, strict=True)):
        return _whole(lifting, node, x, operation.kind, whole)
    if any(a % n for a, n in zip(x.extent, operation.size, strict=True)):
        return _uneven(lifting, node, x, operation)
    kernel = (x.extent[0] // operation.size[0], x.extent[1] // operation.size[1])
    moved = lifting.slide(node, x, *(Sliding(n, n) for n in kernel))
    channels = x.layout.channels

    def write(block: str, y: Read, x: Read, final: bool) -> str:
        stride = y.sliding.stride, x.sliding.stride
        dilation = y.sliding.dilation, x.sliding.dilation
        pool = Pool(operation.kind, kernel, stride, dilation=dilation, channels=channels)
        return lifting.emit(node, pool, (block,), final=final)

    title = Pool(operation.kind, (1, 1), (1, 1)).title
    lifting.change(node, f"{title} of {kernel[0]}x{kernel[1]}, the native extent")
    return lifting.write(x, moved, channels, write)


def _uneven(lifting: Lifting, node: Node, x: Field, operation: AdaptivePool) -> Field:
    bins = [
        [range(i * a // n, -((i + 1) * a // -n)) for i in range(n)]
        for a, n in zip(x.extent, operation.size, strict=True)
    ]
    channels = x.layout.channels
    total: Total = "max" if operation.kind == "max" else "sum"
    fields: list[Field] = []
    for rows, columns in product(*bins):
        corner = lifting.cut(x, rows, columns)

        def write(term: Term, first: bool, named: bool) -> str:
            pool = Pool(total, term.kernel, term.stride, dilation=term.dilation, channels=channels)
            return lifting.emit(node, pool, (term.value,), final=False)

        result = contract(lifting, node, corner, (True, True), channels, total, write, final=False)
        parts = result.parts
        if operation.kind == "average":
            divide = DivideCells((len(rows) * len(columns),), (1,))
            parts = {where: lifting.helper(value, divide) for where, value in parts.items()}
        fields.append(feature_map(x, channels, result.rows, result.columns, parts))
    fields = lifting.align([lifting.keep(part) for part in fields])
    joined = lifting.each(node, Concat(1), *fields)
    lifting.change(node, f"{len(fields)} pools, one per uneven bin")
    batch = x.layout.axes[0]
    features_ = x.layout.stored, features(operation.size[0]), features(operation.size[1])
    layout = Layout((batch, *features_), (*features_[1], *features_[2], *features_[0]))
    return replace(joined, layout=layout)


@rule(Reduce)
def reduce(lifting: Lifting, node: Node) -> Field:
    """Lift a mean, sum or maximum over whole axes.

    Exact when it runs over rows and columns (a pool of the native extent, of squares for a norm),
    or over all features. Ends sharing when it mixes the two, or takes some of the features only.
    """
    operation = cast(Reduce, node.operation)
    x = lifting.field(node.inputs[0])
    atoms = {atom for axis in operation.axes for atom in x.layout.axes[axis]}
    if any(atom.kind is Kind.BATCH for atom in atoms):
        raise EndsSharing("reduces over the images that the network takes")
    if atoms and not any(atom.spatial for atom in atoms):
        if atoms != set(x.layout.stored):
            raise EndsSharing("reduces over some of the features only")
        reduced = lifting.each(node, Reduce(operation.kind, (1,), True), x)
    elif not atoms and operation.kind == "l2":
        raise EndsSharing("takes the size of every number")
    elif all(atom.spatial for atom in atoms):
        reduced = _pool_over(lifting, node, x, {atom.kind for atom in atoms})
    else:
        raise EndsSharing("reduces over features together with rows or columns")
    axes = list(reduced.layout.axes)
    for axis in sorted(operation.axes, reverse=True):
        axes[axis : axis + 1] = [()] if operation.keepdims else []
    left = [atom for axis in axes for atom in axis]
    stored = tuple(atom for atom in reduced.layout.stored if atom in left)
    return reduced.arranged(Layout(tuple(axes), stored))


def _pool_over(lifting: Lifting, node: Node, x: Field, kinds: set[Kind]) -> Field:
    if not kinds:
        return x
    operation = cast(Reduce, node.operation)
    over = Kind.ROWS in kinds, Kind.COLUMNS in kinds
    if operation.kind == "l2":
        squares = x.each(lambda _, value: lifting.helper(value, Power("square")))
        pooled = _whole(lifting, node, squares, "sum", over)
        pooled = pooled.each(lambda _, value: lifting.helper(value, Power("root")))
    else:
        kind: PoolKind = "average" if operation.kind == "mean" else operation.kind
        pooled = _whole(lifting, node, x, kind, over)
    return replace(pooled, layout=x.layout.without(*kinds))
