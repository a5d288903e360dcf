"""Layers that cut, pad, pool and reduce maps, in ways that Keras has no layers for."""

from __future__ import annotations

from typing import Any

from keras import ops

from fullconv.frameworks.keras.layers import OnMaps, Shape, register


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
