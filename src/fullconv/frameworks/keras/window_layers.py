"""Layers that put the windows of an image together, take them apart, and count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from fullconv.frameworks.keras.layers import OfWindows, OnMaps, Shape, register


@register
class Keep(OfWindows):
    """Keeps the cells that whole windows own; see `fullconv.operations.Keep`."""

    settings = (*OfWindows.settings, "kept")

    def call(self, inputs: Any) -> Any:
        """Cut a map, given with the image."""
        x, image = inputs
        for axis, (count, kept) in enumerate(zip(self.count(image), self.kept, strict=True)):
            if kept is not None:
                x = self._sliced(x, axis, slice(0, kept[0] * (count - 1) + kept[1]))
        return x

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape."""
        shape, image = input_shape
        *cells, channels = self._sizes(shape)
        left = [
            n if kept is None else None if count is None else kept[0] * (count - 1) + kept[1]
            for n, kept, count in zip(cells, self.kept, self.counted(image), strict=True)
        ]
        return self._map(shape[0], left, channels)


@register
class Assemble(OfWindows):
    """Puts a block together from parts of a field; see `fullconv.operations.Assemble`.

    Along each axis a segment is ``("own", cells)``, ``("gathered", cells, stride)`` or
    ``("running", (before, after))``.
    """

    settings = (*OfWindows.settings, "channels", "along_rows", "along_columns")

    def call(self, inputs: Any) -> Any:
        """Put the parts together, row by row; the image comes last."""
        *parts, image = inputs
        counts, left = self.count(image), iter(parts)
        bands = []
        for row in self.along_rows:
            line = []
            for column in self.along_columns:
                x = next(left)
                sizes = ops.shape(x)
                kinds = row[0], column[0]
                held = [n if kind == "own" else 1 for n, kind in zip(counts, kinds, strict=True)]
                # (N, rows or 1, columns or 1, *map)
                x = ops.reshape(x, (ops.shape(image)[0], *held, *sizes[1:]))
                x = self._take(x, 1, counts[0], row)
                line.append(self._take(x, 2, counts[1], column))
            joined = ops.concatenate(line, axis=self.rows + 3) if len(line) > 1 else line[0]
            bands.append(joined)
        block = ops.concatenate(bands, axis=self.rows + 2) if len(bands) > 1 else bands[0]
        return ops.reshape(block, (-1, *ops.shape(block)[3:]))

    def _take(self, x: Any, axis: int, windows: Any, segment: Any) -> Any:
        """Take cells along a map's rows (axis 1) or columns (2); windows that come out are axis."""
        kind, cells = segment[:2]
        place = self.rows + 1 + axis
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
        x = ops.squeeze(x, axis=axis)
        return ops.moveaxis(x, place - 1, axis)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the block's shape."""
        across = len(self.along_columns)
        rows = [
            self._length(segment, input_shape[i * across], 0)
            for i, segment in enumerate(self.along_rows)
        ]
        columns = [
            self._length(segment, input_shape[j], 1) for j, segment in enumerate(self.along_columns)
        ]
        cells = [None if None in sizes else sum(sizes) for sizes in (rows, columns)]
        return self._map(None, cells, self.channels)

    def _length(self, segment: Any, part: Sequence[Any], axis: int) -> Any:
        if segment[0] != "running":
            return len(segment[1])
        size = part[self.rows + axis]
        return None if size is None else size - sum(segment[1])


@register
class LayOut(OfWindows):
    """Lays windows with one cell out as the cells of a map; see `fullconv.operations.LayOut`."""

    settings = (*OfWindows.settings, "axes", "private")

    def call(self, inputs: Any) -> Any:
        """Lay one map out, given with the image."""
        x, image = inputs
        held = [n if one else 1 for n, one in zip(self.count(image), self.private, strict=True)]
        x = ops.reshape(x, (ops.shape(image)[0], *held, *ops.shape(x)[1:]))
        for axis in (1, 2):
            if self.axes[axis - 1]:
                x = ops.swapaxes(x, axis, self.rows + 1 + axis)
        return ops.reshape(x, (-1, *ops.shape(x)[3:]))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape."""
        shape, image = input_shape
        *cells, channels = self._sizes(shape)
        counts = self.counted(image)
        left = [
            count if axis else n for n, count, axis in zip(cells, counts, self.axes, strict=True)
        ]
        return self._map(None, left, channels)


@register
class Regroup(OnMaps):
    """Turns a map, one window per entry, into a tensor of the network's own shape.

    See `fullconv.operations.Regroup`: reshape, permute, reshape of ``(windows, C, Y, X)``.
    """

    settings = ("split", "order", "shape")

    def call(self, inputs: Any) -> Any:
        """Regroup a map."""
        x = ops.transpose(inputs, (0, 3, 1, 2)) if self.channels_last else inputs
        return ops.reshape(ops.transpose(ops.reshape(x, self.split), self.order), self.shape)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the tensor's shape, with a free number of windows."""
        return tuple(None if n == -1 else n for n in self.shape)


@register
class FoldWindows(OfWindows):
    """``(N * rows * columns, *shape)`` to scores on a map of windows."""

    settings = (*OfWindows.settings, "shape")

    def call(self, inputs: Any) -> Any:
        """Fold the windows, given with the image."""
        x, image = inputs
        x = ops.reshape(x, (ops.shape(image)[0], *self.count(image), *self.shape))
        if self.channels_last:
            return x
        return ops.transpose(x, (0, *range(3, 3 + len(self.shape)), 1, 2))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the shape of the scores."""
        image = input_shape[1]
        if self.channels_last:
            return (image[0], *self.counted(image), *self.shape)
        return (image[0], *self.shape, *self.counted(image))


@register
class SplitChannels(OnMaps):
    """Gives the channels of a map their own shape; an empty one drops the one channel."""

    settings = ("shape",)

    def call(self, inputs: Any) -> Any:
        """Reshape a map."""
        sizes = ops.shape(inputs)
        if self.channels_last:
            return ops.reshape(inputs, (*sizes[:3], *self.shape))
        return ops.reshape(inputs, (sizes[0], *self.shape, *sizes[2:]))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the shape of the scores."""
        if self.channels_last:
            return (*input_shape[:3], *self.shape)
        return (input_shape[0], *self.shape, *input_shape[2:])
