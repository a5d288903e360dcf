"""Rules: max and average pools, adaptive ones, and those over all cells of a window."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import product
from math import prod
from typing import Literal

from fullconv.geometry.grid import Sizes, Sliding
from fullconv.graph.graph import Node
from fullconv.graph.layout import Layout, features
from fullconv.lift.arranging import align, over_cells
from fullconv.lift.contraction import Term, Total, contract, covered
from fullconv.lift.convolution import note_step
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import rule
from fullconv.lift.split import PartInput
from fullconv.operations import (
    AdaptivePool,
    Concat,
    DivideCells,
    Pool,
    SlidingTotal,
    pool_title,
)

PoolKind = Literal["max", "average", "sum"]


@rule(Pool)
@over_cells
def pool(lifting: Lifting, node: Node, operation: Pool, axes: Sizes, x: Field) -> Field:
    """Lift a pool: the same box, with stride and dilation in stored cells.

    Exact always: outputs that cover padding, or overhang the window, are computed for each window.
    """
    over = covered(x, operation.slidings, dense=lifting.dense(node))
    if over:
        return pool_whole(lifting, node, x, operation.kind, over, operation.divisor)
    moved = lifting.slide_pool(node, x, operation)
    note_step(lifting, node, moved, operation)
    channels = x.layout.channels

    def write(block: str, reads: tuple[PartInput, ...]) -> str:
        if any(any(read.sliding.padding) for read in reads):
            return lifting.padded_pool(node, x, operation, block, reads)
        lifted = operation.plain([read.sliding for read in reads], channels)
        same = replace(lifted, channels=operation.channels) == operation
        return lifting.out.emit(node, operation if same else lifted, (block,))

    return lifting.write(x, moved, channels, write)


def pool_whole(
    lifting: Lifting,
    node: Node,
    x: Field,
    kind: PoolKind,
    over: Collection[int],
    divisor: int | None = None,
) -> Field:
    """Pool over all cells of a window along some axes: a sum or maximum over the parts."""
    kernel = tuple(extent if axis in over else 1 for axis, extent in enumerate(x.extent))
    several = any(len(x.axes[axis].parts) > 1 for axis in over)
    slides = lifting.dense(node)
    divided = kind == "average" and (slides or several)
    term_kind: PoolKind = "sum" if divided else kind
    total: Total = "max" if kind == "max" else "sum"

    def write(term: Term, first: bool) -> str:
        if slides:
            around = SlidingTotal(total, term.kernel, term.dilation)
            return lifting.out.emit(node, around, (term.value,))
        return _write_term(lifting, node, x, term, term_kind, None if divided else divisor)

    pooled = contract(lifting, node, x, over, x.layout.channels, total, write)
    if divided:
        divide = DivideCells.by(divisor or prod(kernel), len(x.axes))
        pooled = lifting.each(node, divide, pooled)
    _note(lifting, node, kind, kernel, " around every cell" if slides else "")
    return pooled


def _write_term(
    lifting: Lifting,
    node: Node,
    x: Field,
    term: Term,
    kind: PoolKind,
    divisor: int | None,
) -> str:
    box = Pool(term.kernel, kind=kind, divisor=divisor, channels=x.layout.channels)
    return lifting.out.emit(node, box.moving(term.slidings), (term.value,))


def _note(lifting: Lifting, node: Node, kind: str, kernel: Sizes, along: str = "") -> None:
    size = "x".join(map(str, kernel))
    lifting.out.change(node, f"{pool_title(kind)} of {size}, the native extent{along}")


@rule(AdaptivePool)
@over_cells
def adaptive_pool(
    lifting: Lifting, node: Node, operation: AdaptivePool, axes: Sizes, x: Field
) -> Field:
    """Lift an adaptive pool: a fixed pool of the native extent.

    Exact always. Even bins are an ordinary pool; uneven ones are one pool per bin on the window
    grid, after which cells are features (PyTorch, adaptive_avg_pool2d: bin ``i`` of ``n`` covers
    ``floor(i * a / n)`` to ``ceil((i + 1) * a / n)``).
    """
    if operation.size == x.extent:
        return x
    bins = list(zip(operation.size, x.extent, strict=True))
    if all(size in (1, extent) for size, extent in bins):
        whole = [axis for axis, size in enumerate(operation.size) if size == 1]
        return pool_whole(lifting, node, x, operation.kind, whole)
    if any(extent % size for size, extent in bins):
        return _uneven(lifting, node, x, operation)
    kernel = tuple(extent // size for size, extent in bins)
    moved = lifting.slide(node, x, [Sliding(n, n) for n in kernel])
    box = Pool(kernel, kind=operation.kind, channels=x.layout.channels)

    def write(block: str, reads: tuple[PartInput, ...]) -> str:
        lifted = box.moving([read.sliding for read in reads])
        return lifting.out.emit(node, lifted, (block,))

    _note(lifting, node, operation.kind, kernel)
    return lifting.write(x, moved, x.layout.channels, write)


def _uneven(lifting: Lifting, node: Node, x: Field, operation: AdaptivePool) -> Field:
    bins = [
        [range(i * a // n, -((i + 1) * a // -n)) for i in range(n)]
        for a, n in zip(x.extent, operation.size, strict=True)
    ]
    pools = [_pool_bin(lifting, node, x, operation, chosen) for chosen in product(*bins)]
    pools = align(lifting, [lifting.blocks.keep(part) for part in pools])
    joined = lifting.each(node, Concat(1), *pools)
    lifting.out.change(node, f"{len(pools)} pools, one per uneven bin")
    batch, channels = x.layout.axes[0], x.layout.stored
    along = [features(size) for size in operation.size]
    stored = (*(atom for axis in along for atom in axis), *channels)
    return replace(joined, layout=Layout((batch, channels, *along), stored))


def _pool_bin(
    lifting: Lifting, node: Node, x: Field, operation: AdaptivePool, cells: tuple[range, ...]
) -> Field:
    """Return the pool over some cells of the window, one number per window and channel."""
    corner = lifting.cut(x, cells)
    total: Total = "max" if operation.kind == "max" else "sum"

    def write(term: Term, first: bool) -> str:
        return _write_term(lifting, node, x, term, total, None)

    everywhere, channels = range(len(x.axes)), x.layout.channels
    pooled = contract(lifting, node, corner, everywhere, channels, total, write)
    if operation.kind != "average":
        return pooled
    return lifting.helped(pooled, DivideCells.by(prod(map(len, cells)), len(x.axes)))
