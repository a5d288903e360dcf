"""Writers of operations that reduce, join, cut and move axes, and of those that lifting adds."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras

from fullconv.frameworks.keras import axis_layers, map_layers, window_layers
from fullconv.frameworks.keras import sliding_layers as sliding
from fullconv.frameworks.keras.calls import Tensor
from fullconv.frameworks.keras.layers import OnMaps, settings_of
from fullconv.frameworks.keras.writing import Value, Writing, writes
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.graph.graph import Node
from fullconv.operations import (
    Assemble,
    Combine,
    Concat,
    FoldWindows,
    Keep,
    LayOut,
    Operation,
    Permute,
    Reduce,
    Regroup,
    Reshape,
    Slice,
)

layers = keras.layers


@writes(Reduce)
def write_reduce(writing: Writing, node: Node, operation: Reduce) -> Value:
    """Write a reduction over axes of a tensor, in its own order."""
    value = writing.first_input(node)
    x, axes, last = value.tensor, operation.axes, value.last
    cells = tuple(range(2, len(x.shape)))
    if last and not operation.keepdims and axes != cells:
        x, last = writing.plain(node.first), False
    elif last:
        axes = tuple(sorted(writing.place(axis, value) for axis in axes))
        last = operation.keepdims
    settings = {"kind": operation.kind, "axes": axes, "keepdims": operation.keepdims}
    return Value(writing.own(map_layers.ReduceAxes, x, node=node, **settings), last)


@writes(Concat)
def write_concat(writing: Writing, node: Node, operation: Concat) -> Value:
    """Write a concatenation."""
    # The same map twice is still two inputs; a layer takes a tensor more than once.
    maps = not node.per_window or all(writing.values[name or ""].last for name in node.inputs)
    take = writing.map if maps else writing.plain
    tensors = [take(name) for name in node.inputs]
    last = maps and writing.last
    axis = writing.place(operation.axis, Value(tensors[0], last))
    base = writing.name(node, "concatenate")
    join = writing.layer(("concat", node.name, axis), layers.Concatenate, base, axis)
    return Value(join(tensors), last)


@writes(Slice)
def write_slice(writing: Writing, node: Node, operation: Slice) -> Value:
    """Write a cut along one axis of a tensor, in its own order."""
    value = writing.first_input(node)
    numbers = (
        *(writing.place(operation.axis, value), operation.start, operation.stop),
        operation.step,
    )
    settings = dict(zip(("axis", "start", "stop", "stride"), numbers, strict=True))
    cut = writing.own(map_layers.SliceAxis, value.tensor, node=node, **settings)
    return Value(cut, value.last)


@writes(Reshape)
def write_reshape(writing: Writing, node: Node, operation: Reshape) -> Value:
    """Write a reshape of one tensor per window."""
    x, shape = writing.plain(node.first), operation.shape
    inner = x.shape[1:]
    windows_stay = shape[:1] == (-1,) and None not in inner and prod(inner) == prod(shape[1:])
    if not windows_stay:
        return _regrouped(writing, node, x, shape, range(len(shape)), shape)
    key = "reshape", node.name, node.outputs
    return Value(writing.layer(key, layers.Reshape, writing.name(node), shape[1:])(x), False)


@writes(Permute)
def write_permute(writing: Writing, node: Node, operation: Permute) -> Value:
    """Write a permutation of one tensor per window; one between the two orders needs no layer."""
    value, order = writing.first_input(node), operation.order
    rank = len(order)
    if rank > 2 and value.last and order == to_last_order(rank):
        return Value(value.tensor, False)
    if rank > 2 and writing.last and not value.last and order == to_map_order(rank):
        return Value(value.tensor, True)
    x = writing.plain(node.first)
    if order[0] == 0:
        return Value(writing.permuted(x, order, "permute"), False)
    shape = tuple(-1 if n is None else n for n in x.shape)
    return _regrouped(writing, node, x, shape, order, tuple(shape[i] for i in order))


def _regrouped(
    writing: Writing,
    node: Node,
    x: Tensor,
    split: Sequence[int],
    order: Sequence[int],
    shape: Sequence[int],
) -> Value:
    """Reshape, permute and reshape a tensor in its own order, whichever axis holds the windows."""
    settings = {"split": tuple(split), "order": tuple(order), "shape": tuple(shape)}
    key = "regroup", node.outputs
    regroup = writing.layer(
        key, window_layers.Regroup, writing.name(node), channels_last=False, **settings
    )
    return Value(regroup(x), False)


# Operations that lifting adds.

ADDED: tuple[type[OnMaps], ...] = (
    *(map_layers.DivideCells, sliding.Power, window_layers.SplitChannels),
    *(axis_layers.AddAxis, axis_layers.FoldAxes, axis_layers.Interleave),
)
NAMED: tuple[type[OnMaps], ...] = (
    *(map_layers.TakeChannels, sliding.SlidingTotal, sliding.SlidingSpread),
)
"""Those that take the place and the name of a layer of the classifier."""
LAYERS = {kind.record: kind for kind in (*ADDED, *NAMED)}


@writes(*LAYERS)
def write_by_its_layer(writing: Writing, node: Node, operation: Operation) -> Value:
    """Write an operation for which there is one layer, with the same settings."""
    kind, x = LAYERS[type(operation)], writing.map(node.first)
    named = node if kind in NAMED else None
    return writing.on_map(writing.own(kind, x, node=named, **settings_of(kind, operation)))


@writes(Combine)
def write_combine(writing: Writing, node: Node, operation: Combine) -> Value:
    """Write the sum or maximum of two stored maps."""
    kind = layers.Add if operation.kind == "sum" else layers.Maximum
    base = f"{writing.name(node)}_{operation.kind}"
    combine = writing.layer(("combine", node.name), kind, base)
    return writing.on_map(combine(writing.maps(node)))


@writes(Keep)
def write_keep(writing: Writing, node: Node, operation: Keep) -> Value:
    """Write a cut to the cells of whole windows."""
    return writing.on_map(writing.own(window_layers.Keep, writing.maps(node), kept=operation.axes))


@writes(LayOut)
def write_lay_out(writing: Writing, node: Node, operation: LayOut) -> Value:
    """Write windows of one cell as the cells of a map."""
    settings = settings_of(window_layers.LayOut, operation)
    return writing.on_map(writing.own(window_layers.LayOut, writing.maps(node), **settings))


@writes(Assemble)
def write_assemble(writing: Writing, node: Node, operation: Assemble) -> Value:
    """Write a block of parts."""
    segments = tuple(tuple(map(window_layers.segment_of, axis)) for axis in operation.segments)
    settings: dict[str, Any] = {"channels": operation.channels, "segments": segments}
    block = writing.own(window_layers.Assemble, writing.maps(node), **settings)
    return writing.on_map(block)


@writes(Regroup)
def write_regroup(writing: Writing, node: Node, operation: Regroup) -> Value:
    """Write one tensor per window, in the network's own arrangement."""
    settings = settings_of(window_layers.Regroup, operation)
    return Value(writing.own(window_layers.Regroup, writing.map(node.first), **settings), False)


@writes(FoldWindows)
def write_fold_windows(writing: Writing, node: Node, operation: FoldWindows) -> Value:
    """Write scores on a map of windows."""
    x, image = node.inputs
    tensors = [writing.plain(x), writing.map(image)]
    folded = writing.own(window_layers.FoldWindows, tensors, shape=operation.shape)
    return writing.on_map(folded)
