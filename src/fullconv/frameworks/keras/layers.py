"""What lifting adds to Keras: layers on stored maps with free height and width.

They are registered for saving under the package "fullconv", and computed by `keras.ops`, so that
every backend runs them. Maps are ``(N, Y, X, C)``, or ``(N, C, Y, X)`` where the network takes its
channels first. Sizes are taken from the image, so that a model answers for any size. ``window`` and
``step`` are pixels, (rows, columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

Shape = tuple[int | None, ...]
Pair = Sequence[int]

register = keras.saving.register_keras_serializable(package="fullconv")


class OnMaps(keras.layers.Layer):
    """A layer on stored maps, with settings under the names in `settings`.

    Attributes
    ----------
    channels_last : bool
        Whether maps are ``(N, Y, X, C)``.
    rows : int
        The axis of the rows; the columns are the next.
    """

    settings: tuple[str, ...] = ()

    def __init__(self, channels_last: bool = True, **given: Any) -> None:
        held = {name: given.pop(name) for name in self.settings}
        super().__init__(**given)
        self.channels_last = channels_last
        self.rows = 1 if channels_last else 2
        for name, value in held.items():
            setattr(self, name, as_tuples(value))

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is made of."""
        held = {name: getattr(self, name) for name in self.settings}
        return {**super().get_config(), "channels_last": self.channels_last, **held}

    def _map(self, batch: int | None, cells: Sequence[int | None], channels: int | None) -> Shape:
        """Return the shape of a map."""
        return (batch, *cells, channels) if self.channels_last else (batch, channels, *cells)

    def _sizes(self, shape: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return the rows, columns and channels of a map; None where they are free."""
        return (*shape[self.rows : self.rows + 2], shape[-1 if self.channels_last else 1])

    def _sliced(self, x: Any, axis: int, kept: slice) -> Any:
        """Keep some cells of the rows (axis 0) or the columns (1)."""
        return x[(slice(None),) * (self.rows + axis) + (kept,)]


def as_tuples(value: Any) -> Any:
    """Return lists, as a file gives them, as tuples."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value


class OfWindows(OnMaps):
    """A layer that counts the windows of the image, which is its last input."""

    settings: tuple[str, ...] = ("window", "step")

    def count(self, image: Any) -> tuple[Any, Any]:
        """Count the windows, as (rows, columns)."""
        rows, columns = self.counted(ops.shape(image))
        return rows, columns

    def counted(self, image: Sequence[Any]) -> list[Any]:
        """Count the windows of an image of some shape; None where it is free."""
        return [
            None if n is None else (n - window) // step + 1
            for n, window, step in zip(
                image[self.rows : self.rows + 2], self.window, self.step, strict=True
            )
        ]


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
class Cells(OnMaps):
    """Drops cells at both ends of each axis, then keeps every ``stride``-th."""

    settings = ("before", "after", "stride")

    def call(self, inputs: Any) -> Any:
        """Cut a map."""
        for axis in (0, 1):
            kept = slice(self.before[axis], -self.after[axis] or None, self.stride[axis])
            inputs = self._sliced(inputs, axis, kept)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape."""
        *cells, channels = self._sizes(input_shape)
        left = [
            None if n is None else len(range(before, n - after, stride))
            for n, before, after, stride in zip(
                cells, self.before, self.after, self.stride, strict=True
            )
        ]
        return self._map(input_shape[0], left, channels)


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
class DivideCells(OnMaps):
    """Divides every cell by the product of its row's and its column's number."""

    settings = ("along_rows", "along_columns")

    def call(self, inputs: Any) -> Any:
        """Divide a map."""
        numbers = [
            [float(row * column) for column in self.along_columns] for row in self.along_rows
        ]
        divisor = ops.convert_to_tensor(numbers, dtype=inputs.dtype)
        return inputs / (divisor[None, :, :, None] if self.channels_last else divisor)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the map's own shape."""
        return input_shape


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


@register
class PadCells(OnMaps):
    """Adds cells around a map, and removes them where a number is negative.

    ``pads`` is ((top, bottom), (left, right)), ``channels`` (before, after); ``mode`` "constant",
    with ``value``, or "edge".
    """

    settings = ("pads", "channels", "mode", "value")

    def call(self, inputs: Any) -> Any:
        """Pad a map."""
        for axis, (before, after) in enumerate(self.pads):
            if min(before, after) < 0:
                kept = slice(max(0, -before), min(0, after) or None)
                inputs = self._sliced(inputs, axis, kept)
        added = [[max(0, n) for n in pair] for pair in self.pads]
        axes = [*added, self.channels] if self.channels_last else [self.channels, *added]
        width = [(0, 0), *(tuple(pair) for pair in axes)]
        if self.mode == "constant":
            return ops.pad(inputs, width, constant_values=self.value)
        for axis, pair in enumerate(added):
            inputs = with_edges(inputs, self.rows + axis, *pair)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape."""
        *cells, channels = self._sizes(input_shape)
        sizes = [
            None if n is None else n + sum(pair) for n, pair in zip(cells, self.pads, strict=True)
        ]
        return self._map(input_shape[0], sizes, channels + sum(self.channels))


def with_edges(x: Any, axis: int, before: int, after: int) -> Any:
    """Repeat the first and the last entry of an axis; not every backend pads so by itself."""
    along = (slice(None),) * axis
    first, last = x[(*along, slice(0, 1))], x[(*along, slice(-1, None))]
    return ops.concatenate([*[first] * before, x, *[last] * after], axis=axis)


@register
class TakeChannels(OnMaps):
    """Keeps or reorders channels."""

    settings = ("indices",)

    def call(self, inputs: Any) -> Any:
        """Take channels of a map."""
        return ops.take(inputs, list(self.indices), axis=-1 if self.channels_last else 1)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape, with so many channels."""
        sizes = list(input_shape)
        sizes[-1 if self.channels_last else 1] = len(self.indices)
        return tuple(sizes)


@register
class MovingPool(OnMaps):
    """Maximum, sum or average over a moving rectangle with a stride, a dilation and padding.

    ``kind`` is "max", "sum" or "average". An average divides by ``divisor``, or by the number of
    cells it covers, padding left out.
    """

    settings = ("kind", "kernel", "stride", "padding", "dilation", "divisor")

    def call(self, inputs: Any) -> Any:
        """Pool a map."""
        total = self._over(inputs)
        if self.kind != "average":
            return total
        if self.divisor is not None or not any(map(any, self.padding)):
            return total / (self.divisor or self.kernel[0] * self.kernel[1])
        one = inputs[:1, :, :, :1] if self.channels_last else inputs[:1, :1]
        return total / self._over(ops.ones_like(one))

    def _over(self, x: Any) -> Any:
        """Pool along the rows, then along the columns."""
        if any(map(any, self.padding)):
            none = (0, 0)
            pads = self.padding
            width = [none, *pads, none] if self.channels_last else [none, none, *pads]
            x = ops.pad(x, width, constant_values=float("-inf") if self.kind == "max" else 0.0)
        return self._along(self._along(x, 0), 1)

    def _along(self, x: Any, axis: int) -> Any:
        kernel, stride, dilation = (n[axis] for n in (self.kernel, self.stride, self.dilation))
        reach = dilation * (kernel - 1)
        size = ops.shape(x)[self.rows + axis]
        join = ops.maximum if self.kind == "max" else ops.add
        total = None
        for first in range(0, reach + 1, dilation):
            part = self._sliced(x, axis, slice(first, first + size - reach, stride))
            total = part if total is None else join(total, part)
        return total

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape."""
        *cells, channels = self._sizes(input_shape)
        sizes = [
            None if n is None else (n + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1
            for n, kernel, stride, pads, dilation in zip(
                cells, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        return self._map(input_shape[0], sizes, channels)


@register
class ReduceAxes(OnMaps):
    """Mean, sum or maximum over axes of a tensor, as they come."""

    settings = ("kind", "axes", "keepdims")

    def call(self, inputs: Any) -> Any:
        """Reduce a tensor."""
        kinds = {"mean": ops.mean, "sum": ops.sum, "max": ops.max, "l2": ops.norm}
        return kinds[self.kind](inputs, axis=self.axes, keepdims=self.keepdims)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the shape without these axes."""
        sizes = [1 if i in self.axes else n for i, n in enumerate(input_shape)]
        if not self.keepdims:
            sizes = [n for i, n in enumerate(sizes) if i not in self.axes]
        return tuple(sizes)


@register
class SliceAxis(OnMaps):
    """Keeps ``start:stop:stride`` of one axis of a tensor, as it comes."""

    settings = ("axis", "start", "stop", "stride")

    def call(self, inputs: Any) -> Any:
        """Cut a tensor."""
        return inputs[(slice(None),) * self.axis + (slice(self.start, self.stop, self.stride),)]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the shape, with so many entries."""
        sizes = list(input_shape)
        sizes[self.axis] = len(range(self.start, self.stop, self.stride))
        return tuple(sizes)
