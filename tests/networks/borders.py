"""Which cells of a window's maps are its own, told cell by cell, too plainly to be wrong.

A cell is *the window's own* where it depends on where the window ends: on padding, or on all of
the window at once. All other cells are shared by every window that covers them. Rows and columns
are told apart: a cell is shared by all where neither its row nor its column is the window's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce, singledispatch

from networks.specs import (
    AdaptivePool,
    Concat,
    Conv,
    ConvTranspose,
    Gate,
    GroupNorm,
    Map,
    Merge,
    Network,
    Pad,
    Pool,
    Slice,
    Spec,
    Split,
    Twice,
    Unshared,
    Upsample,
)

Axis = tuple[bool, ...]
"""For each row, or for each column, whether it is the window's own."""
Own = tuple[Axis, Axis]


def own_cells(network: Network) -> list[Own]:
    """Return the window's own rows and columns behind each layer of the trunk, the input first."""
    made = [nothing(network.input)]
    for layer, here in zip(network.trunk, network.maps(), strict=False):
        made.append(own(layer, here, made[-1]))
    return made


def nothing(here: Map) -> Own:
    return (False,) * here.rows, (False,) * here.columns


def everything(here: Map) -> Own:
    return (True,) * here.rows, (True,) * here.columns


def margins(axis: Axis) -> tuple[int, int]:
    """Return how many cells are the window's own ahead of the first that is not, and behind."""
    if all(axis):
        return len(axis), 0
    return axis.index(False), axis[::-1].index(False)


def shared(axis: Axis) -> int:
    """Return how many cells in the middle all windows share."""
    return len(axis) - sum(margins(axis))


def is_split(axis: Axis) -> bool:
    """Say whether an axis has a border of the window's own, and a middle all the same."""
    return 0 < shared(axis) < len(axis)


def inside(layers: tuple[Spec, ...], here: Map, borders: Own) -> Iterator[tuple[Spec, Map, Own]]:
    """Yield each of the layers, and those inside of it, with the map that it stands behind."""
    for layer in layers:
        yield layer, here, borders
        for body, start in branches(layer, here):
            yield from inside(body, start, borders)
        borders = own(layer, here, borders)
        here = layer.after(here)


def branches(layer: Spec, here: Map) -> list[tuple[tuple[Spec, ...], Map]]:
    """Return the branches of a layer, with the map that each begins at."""
    match layer:
        case Merge(body=body, shortcut=shortcut):
            return [(shortcut, here), (body, here)]
        case Concat(bodies=bodies):
            return [(body, here) for body in bodies]
        case Split(first=first, second=second):
            size = -(-here.channels // 2)
            halves = (size, here.channels - size)
            starts = [replace(here, channels=count) for count in halves]
            return list(zip((first, second), starts, strict=True))
        case Twice(layer=once):
            return [((once, once), here)]
    return []


def meeting(layer: Spec, here: Map, borders: Own) -> list[Own]:
    """Return the window's own cells of each branch, cut to the cells where they meet."""
    extent = layer.after(here).extent
    made = []
    for body, start in branches(layer, here):
        rows, columns = own_after(body, start, borders)
        made.append((_middle(rows, extent[0]), _middle(columns, extent[1])))
    return made


def own_after(layers: tuple[Spec, ...], here: Map, borders: Own) -> Own:
    for layer in layers:
        borders = own(layer, here, borders)
        here = layer.after(here)
    return borders


@singledispatch
def own(layer: Spec, here: Map, borders: Own) -> Own:
    """Return which cells are the window's own behind a layer: those in the same place."""
    return borders


@own.register
def _(layer: Conv, here: Map, borders: Own) -> Own:
    top, left, bottom, right = layer.pads(here.extent)
    axes = zip(
        borders,
        layer.kernel,
        layer.stride,
        layer.dilation,
        ((top, bottom), (left, right)),
        layer.after(here).extent,
        strict=True,
    )
    rows, columns = (_under_kernels(*axis) for axis in axes)
    return rows, columns


@own.register
def _(layer: Pool, here: Map, borders: Own) -> Own:
    rows, columns = (
        _under_kernels(axis, *rest, count)
        for axis, (_, *rest), count in zip(borders, layer.axes(here), layer.size(here), strict=True)
    )
    return rows, columns


def _under_kernels(
    axis: Axis, kernel: int, stride: int, dilation: int, pads: tuple[int, int], count: int
) -> Axis:
    def is_own(cell: int) -> bool:
        return not 0 <= cell < len(axis) or axis[cell]

    starts = (at * stride - pads[0] for at in range(count))
    return tuple(any(is_own(start + k * dilation) for k in range(kernel)) for start in starts)


@own.register
def _(layer: ConvTranspose, here: Map, borders: Own) -> Own:
    made = layer.after(here)
    if not layer.after(replace(here, shared=True)).shared:
        return everything(made)
    rows, columns = (
        tuple(cell for cell in axis for _ in range(stride))
        for axis, stride in zip(borders, layer.stride, strict=True)
    )
    return rows, columns


@own.register
def _(layer: Upsample, here: Map, borders: Own) -> Own:
    rows, columns = (
        tuple(cell for cell in axis for _ in range(factor))
        for axis, factor in zip(borders, layer.factor, strict=True)
    )
    return rows, columns


@own.register
def _(layer: Pad, here: Map, borders: Own) -> Own:
    top, left, bottom, right = layer.amounts
    return _padded(borders[0], top, bottom), _padded(borders[1], left, right)


def _padded(axis: Axis, before: int, behind: int) -> Axis:
    kept = axis[max(-before, 0) : len(axis) - max(-behind, 0)]
    return (True,) * before + kept + (True,) * behind


@own.register
def _(layer: Slice, here: Map, borders: Own) -> Own:
    rows, columns = borders
    return rows[slice(*layer.rows)], columns[slice(*layer.columns)]


@own.register
def _(layer: AdaptivePool, here: Map, borders: Own) -> Own:
    rows, columns = (
        tuple(any(axis[k * n // bins : -(-(k + 1) * n // bins)]) for k in range(bins))
        for axis, n, bins in zip(borders, here.extent, layer.bins, strict=True)
    )
    return rows, columns


@own.register(Gate)
@own.register(GroupNorm)
def _(layer: Spec, here: Map, borders: Own) -> Own:
    return everything(here)


@own.register
def _(layer: Unshared, here: Map, borders: Own) -> Own:
    made = layer.after(here)
    return borders[::-1] if layer.kind == "transpose" else everything(made)


@own.register(Merge)
@own.register(Concat)
@own.register(Split)
def _(layer: Spec, here: Map, borders: Own) -> Own:
    return reduce(_either, meeting(layer, here, borders))


def _either(one: Own, other: Own) -> Own:
    rows, columns = (
        tuple(a or b for a, b in zip(*axes, strict=True)) for axes in zip(one, other, strict=True)
    )
    return rows, columns


@own.register
def _(layer: Twice, here: Map, borders: Own) -> Own:
    return own_after((layer.layer, layer.layer), here, borders)


def _middle(axis: Axis, count: int) -> Axis:
    start = (len(axis) - count) // 2
    return axis[start : start + count]
