"""Layers that add axes to maps, fold axes, and lengthen them."""

from __future__ import annotations

from keras import ops

from fullconv import operations
from fullconv.frameworks.keras.layers import OnMaps, Shape, Shapes, Tensor, register


@register
class OneChannel(OnMaps):
    """Turns images without an axis of channels, ``(N, *size)``, into a map with one channel."""

    @property
    def data_format(self) -> str:
        """The position of the channel, in Keras' words."""
        return "channels_last" if self.channels_last else "channels_first"

    def call(self, inputs: Tensor) -> Tensor:
        """Add the axis."""
        return ops.expand_dims(inputs, -1 if self.channels_last else 1)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        return self._map(input_shape[0], input_shape[1:], 1)


@register
class AddAxis(OnMaps):
    """Turns the innermost ``extent`` features into a last axis of cells."""

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
    """Folds the axes behind the first ``dimensions`` axes of cells into features."""

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
    """Replaces every cell by its innermost ``factor`` features, side by side along an axis."""

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
class Upsample(OnMaps):
    """Repeats every cell ``factor`` times along its axis."""

    record = operations.Upsample
    settings = ("factor",)

    def call(self, inputs: Tensor) -> Tensor:
        """Enlarge a map."""
        for axis, times in enumerate(self.factor):
            if times > 1:
                inputs = ops.repeat(inputs, times, axis=self.first + axis)
        return inputs

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        sizes = [
            None if n is None else n * times
            for n, times in zip(self._cells(input_shape), self.factor, strict=True)
        ]
        return self._map(input_shape[0], sizes, self._channels(input_shape))
