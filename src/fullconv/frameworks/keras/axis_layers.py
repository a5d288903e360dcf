"""Layers that give maps and tensors axes, take them away, and put features in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from fullconv import operations
from fullconv.frameworks.keras.layers import OnMaps, Shape, Shapes, Tensor, register
from fullconv.operations import Operation


@register
class OneChannel(OnMaps):
    """Makes a map with one channel of images without an axis of channels, ``(N, *size)``."""

    @property
    def data_format(self) -> str:
        """Where the channel stands, as Keras calls it."""
        return "channels_last" if self.channels_last else "channels_first"

    def call(self, inputs: Tensor) -> Tensor:
        """Add the axis."""
        return ops.expand_dims(inputs, -1 if self.channels_last else 1)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        return self._map(input_shape[0], input_shape[1:], 1)


@register
class AddAxis(OnMaps):
    """Makes a last axis of cells of the innermost ``extent`` features."""

    record = operations.AddAxis
    settings = ("channels", "extent")

    def call(self, inputs: Tensor) -> Tensor:
        """Add the axis."""
        wide = _apart(self, inputs, self.channels, self.extent)
        return ops.moveaxis(wide, -1, -2) if self.channels_last else ops.moveaxis(wide, 2, -1)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        return self._map(input_shape[0], [*self._cells(input_shape), self.extent], self.channels)


@register
class FoldAxes(OnMaps):
    """Makes features of the axes behind the first ``dimensions`` axes of cells."""

    record = operations.FoldAxes
    settings = ("dimensions", "channels")

    def call(self, inputs: Tensor) -> Tensor:
        """Fold the axes."""
        sizes, kept = ops.shape(inputs), self.first + self.dimensions
        if self.channels_last:
            x = ops.moveaxis(inputs, -1, kept)
        else:
            more = range(kept, len(sizes))
            x = ops.transpose(inputs, (0, 1, *more, *range(2, kept)))
        return ops.reshape(x, self._map(sizes[0], sizes[self.first : kept], self.channels))

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        cells = self._cells(input_shape)[: self.dimensions]
        return self._map(input_shape[0], cells, self.channels)


@register
class Interleave(OnMaps):
    """Puts the innermost ``factor`` features of every cell in its place along an axis."""

    record = operations.Interleave
    settings = ("axis", "factor", "channels")

    def call(self, inputs: Tensor) -> Tensor:
        """Put features in the place of cells."""
        sizes = self._cells(ops.shape(inputs))
        sizes[self.axis] = sizes[self.axis] * self.factor
        wide = _apart(self, inputs, self.channels, self.factor)
        factor = -1 if self.channels_last else 2
        x = ops.moveaxis(wide, factor, (2 if self.channels_last else 3) + self.axis)
        return ops.reshape(x, self._map(ops.shape(inputs)[0], sizes, self.channels))

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        cells = self._cells(input_shape)
        if cells[self.axis] is not None:
            cells[self.axis] *= self.factor
        return self._map(input_shape[0], cells, self.channels)


def _apart(layer: OnMaps, x: Tensor, outer: int, inner: int) -> Tensor:
    """Split the channels of a map into two axes."""
    sizes = ops.shape(x)
    if layer.channels_last:
        return ops.reshape(x, (*sizes[:-1], outer, inner))
    return ops.reshape(x, (sizes[0], outer, inner, *sizes[2:]))


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


@register
class ReduceAxes(OnMaps):
    """Mean, sum, maximum, norm or spread over axes of a tensor, as they come."""

    settings = ("kind", "axes", "keepdims")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the reduction as an operation."""
        return operations.Reduce(self.kind, self.axes, self.keepdims)

    def call(self, inputs: Tensor) -> Tensor:
        """Reduce a tensor."""
        reduce = ops.norm if self.kind == "l2" else getattr(ops, self.kind)
        return reduce(inputs, axis=self.axes, keepdims=self.keepdims)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the shape without these axes."""
        sizes = [1 if i in self.axes else n for i, n in enumerate(input_shape)]
        if not self.keepdims:
            sizes = [n for i, n in enumerate(sizes) if i not in self.axes]
        return tuple(sizes)


@register
class SliceAxis(OnMaps):
    """Keeps ``start:stop:stride`` of one axis of a tensor, as it comes."""

    settings = ("axis", "start", "stop", "stride")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the cut as an operation."""
        return operations.Slice(self.axis, self.start, self.stop, self.stride)

    def call(self, inputs: Tensor) -> Tensor:
        """Cut a tensor."""
        return inputs[(slice(None),) * self.axis + (slice(self.start, self.stop, self.stride),)]

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the shape, with so many entries."""
        sizes = list(input_shape)
        sizes[self.axis] = len(range(self.start, self.stop, self.stride))
        return tuple(sizes)
