"""Layers that put the windows of an image together, take them apart, and count them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from keras import ops

from fullconv import operations
from fullconv.frameworks.keras.layers import OfWindows, OnMaps, Shape, Shapes, Tensor, register
from fullconv.operations import Gathered, Operation, Own, Running


@register
class Keep(OfWindows):
    """Keeps the cells that whole windows own; see `fullconv.operations.Keep`."""

    settings = (*OfWindows.settings, "kept")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the cut as an operation."""
        return operations.Keep(self.kept)

    def call(self, inputs: Tensor) -> Tensor:
        """Cut a map, given with the image."""
        x, image = inputs
        counts = self.count(image, len(self.kept))
        for axis, (count, kept) in enumerate(zip(counts, self.kept, strict=True)):
            if kept is not None:
                x = self._sliced(x, axis, slice(0, kept[0] * (count - 1) + kept[1]))
        return x

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        shape, image = input_shape
        counts = self.counted(image, len(self.kept))
        left = [
            n if kept is None else None if count is None else kept[0] * (count - 1) + kept[1]
            for n, kept, count in zip(self._cells(shape), self.kept, counts, strict=True)
        ]
        return self._map(shape[0], left, self._channels(shape))


@register
class Assemble(OfWindows):
    """Assembles a block from parts of a field; see `fullconv.operations.Assemble`.

    Along each axis a segment is ``("own", cells)``, ``("gathered", cells, stride)`` or
    ``("running", (before, after))``.
    """

    settings = (*OfWindows.settings, "channels", "segments")
    rows_and_columns = ("segments", "along_rows", "along_columns")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the assembling as an operation."""
        segments: Any = tuple(tuple(map(_record, axis)) for axis in self.segments)
        return operations.Assemble(self.channels, segments)

    def call(self, inputs: Tensor) -> Tensor:
        """Put the parts together, the last axis fastest; the image comes last."""
        *parts, image = inputs
        axes = len(self.segments)
        counts = self.count(image, axes)
        pieces = []
        for x, chosen in zip(parts, product(*self.segments), strict=True):
            lengths = [n if s[0] == "own" else 1 for n, s in zip(counts, chosen, strict=True)]
            # (N, windows or 1 along every axis, *map)
            piece = ops.reshape(x, (ops.shape(image)[0], *lengths, *ops.shape(x)[1:]))
            for axis, segment in enumerate(chosen):
                piece = self._take(piece, axes, axis, counts[axis], segment)
            pieces.append(piece)
        for axis in reversed(range(axes)):
            many = len(self.segments[axis])
            if many > 1:
                pieces = [
                    ops.concatenate(pieces[start : start + many], axis=axes + self.first + axis)
                    for start in range(0, len(pieces), many)
                ]
        (block,) = pieces
        return ops.reshape(block, (-1, *ops.shape(block)[1 + axes :]))

    def _take(self, x: Tensor, axes: int, axis: int, windows: Any, segment: Any) -> Tensor:
        """Take cells along an axis of a map; windows that come out stand along that axis."""
        kind, cells = segment[:2]
        place = axes + self.first + axis
        before = (slice(None),) * place
        if kind == "running":
            return x[(*before, slice(cells[0], -cells[1] or None))] if any(cells) else x
        if kind == "own":
            if cells == tuple(range(cells[0], cells[-1] + 1)):
                return x[(*before, slice(cells[0], cells[-1] + 1))]
            return ops.take(x, list(cells), axis=place)
        # One strided slice per cell of a window: each window's copy of it, side by side.
        stride = segment[2]
        taken = [
            x[(*before, slice(cell, cell + stride * (windows - 1) + 1, stride))] for cell in cells
        ]
        x = ops.stack(taken, axis=place + 1)
        # (..., 1, ..., windows, cells, ...): the windows stand where the single one stood.
        x = ops.squeeze(x, axis=1 + axis)
        return ops.moveaxis(x, place - 1, 1 + axis)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the block's shape."""
        cells, across = [], len(input_shape) - 1
        for axis, segments in enumerate(self.segments):
            # In the order of all parts, those along this axis stand ``across`` apart.
            across //= len(segments)
            sizes = [
                self._length(segment, input_shape[index * across], axis)
                for index, segment in enumerate(segments)
            ]
            cells.append(None if None in sizes else sum(sizes))
        return self._map(None, cells, self.channels)

    def _length(self, segment: Any, part: Shape, axis: int) -> Any:
        if segment[0] != "running":
            return len(segment[1])
        size = self._cells(part)[axis]
        return None if size is None else size - sum(segment[1])


def segment_of(record: Own | Gathered | Running) -> tuple[Any, ...]:
    """Return the segment of a block that one part gives along one axis, as `Assemble` takes it."""
    if isinstance(record, Own):
        return ("own", record.cells)
    if isinstance(record, Gathered):
        return ("gathered", record.cells, record.stride)
    return ("running", record.skip)


def _record(segment: Sequence[Any]) -> Own | Gathered | Running:
    if segment[0] == "own":
        return Own(segment[1], 0)  # a converted model does not need the count of all cells
    if segment[0] == "gathered":
        return Gathered(segment[1], segment[2])
    return Running(segment[1])


@register
class LayOut(OfWindows):
    """Lays windows with one cell out as the cells of a map; see `fullconv.operations.LayOut`."""

    settings = (*OfWindows.settings, "axes", "private")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the laying out as an operation."""
        return operations.LayOut(self._channels(shape), self.axes, self.private)

    def call(self, inputs: Tensor) -> Tensor:
        """Lay one map out, given with the image."""
        x, image = inputs
        axes = len(self.axes)
        counts = self.count(image, axes)
        lengths = [n if one else 1 for n, one in zip(counts, self.private, strict=True)]
        x = ops.reshape(x, (ops.shape(image)[0], *lengths, *ops.shape(x)[1:]))
        for axis, laid in enumerate(self.axes):
            if laid:
                x = ops.swapaxes(x, 1 + axis, axes + self.first + axis)
        return ops.reshape(x, (-1, *ops.shape(x)[1 + axes :]))

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        shape, image = input_shape
        counts = self.counted(image, len(self.axes))
        left = [
            count if axis else n
            for n, count, axis in zip(self._cells(shape), counts, self.axes, strict=True)
        ]
        return self._map(None, left, self._channels(shape))


@register
class FoldWindows(OfWindows):
    """``(N * windows, *shape)`` to scores on a map of windows."""

    record = operations.FoldWindows
    settings = (*OfWindows.settings, "shape")

    def call(self, inputs: Tensor) -> Tensor:
        """Fold the windows, given with the image."""
        x, image = inputs
        dimensions = len(self.window)
        x = ops.reshape(x, (ops.shape(image)[0], *self.count(image, dimensions), *self.shape))
        if self.channels_last:
            return x
        answer = 1 + dimensions
        order = (0, *range(answer, answer + len(self.shape)), *range(1, answer))
        return ops.transpose(x, order)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the shape of the scores."""
        image = input_shape[1]
        counts = self.counted(image, len(self.window))
        if self.channels_last:
            return (image[0], *counts, *self.shape)
        return (image[0], *self.shape, *counts)


@register
class Regroup(OnMaps):
    """Turns a map, one window per entry, into a tensor of the network's own shape.

    See `fullconv.operations.Regroup`: reshape, permute, reshape of ``(windows, C, *cells)``.
    """

    settings = ("split", "order", "shape")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the regrouping as an operation."""
        return operations.Regroup(self.split, self.order, self.shape, self.shape.index(-1))

    def call(self, inputs: Tensor) -> Tensor:
        """Regroup a map."""
        x = ops.moveaxis(inputs, -1, 1) if self.channels_last else inputs
        return ops.reshape(ops.transpose(ops.reshape(x, self.split), self.order), self.shape)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the tensor's shape, with a free number of windows."""
        return tuple(None if n == -1 else n for n in self.shape)


@register
class SplitChannels(OnMaps):
    """Gives the channels of a map their own shape; an empty one drops the one channel."""

    record = operations.SplitChannels
    settings = ("shape",)

    def call(self, inputs: Tensor) -> Tensor:
        """Reshape a map."""
        return ops.reshape(inputs, self._split(ops.shape(inputs)))

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the shape of the scores."""
        return self._split(input_shape)

    def _split(self, sizes: Shapes) -> Shape:
        if self.channels_last:
            return (*sizes[:-1], *self.shape)
        return (sizes[0], *self.shape, *sizes[2:])
