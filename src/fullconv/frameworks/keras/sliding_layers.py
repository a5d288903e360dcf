"""Statistics of a window that slides along with the cell, as layers of Keras.

See Note [Totals of a sliding window] in `fullconv.doubling`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from fullconv.doubling import around, doublings
from fullconv.frameworks.keras.layers import OnMaps, Shape, register
from fullconv.frameworks.keras.map_layers import with_edges

Totals = tuple[Any, ...]
Merge = Callable[[Totals, Totals, float], Totals]


def _totals(single: Totals, axis: int, cells: int, distance: int, merge: Merge) -> Totals:
    """Merge ``cells`` neighbours ``distance`` apart, at every place along an axis that has them."""
    before = (slice(None),) * axis
    total = single
    for held, more in doublings(cells):
        further = total if more == held else single
        first = tuple(x[(*before, slice(0, -more * distance))] for x in total)
        second = tuple(x[(*before, slice(held * distance, None))] for x in further)
        total = merge(first, second, more / (held + more))
    return total


def _merged_moments(a: Totals, b: Totals, share: float) -> Totals:
    """Merge mean and variance of two sets, of which the second holds this share of all."""
    apart = b[0] - a[0]
    variance = a[1] + (b[1] - a[1]) * share + apart * apart * (share * (1 - share))
    return a[0] + apart * share, variance


@register
class SlidingTotal(OnMaps):
    """Sum or maximum over every rectangle of ``kernel`` cells ``dilation`` apart."""

    settings = ("kind", "kernel", "dilation")

    def call(self, inputs: Any) -> Any:
        """Total a map."""
        join = ops.add if self.kind == "sum" else ops.maximum
        total: Totals = (inputs,)
        for axis, (cells, distance) in enumerate(zip(self.kernel, self.dilation, strict=True)):
            place = self.rows + axis
            total = _totals(total, place, cells, distance, lambda a, b, _: (join(a[0], b[0]),))
        return total[0]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape."""
        *cells, channels = self._sizes(input_shape)
        sizes = [
            None if n is None else n - dilation * (kernel - 1)
            for n, kernel, dilation in zip(cells, self.kernel, self.dilation, strict=True)
        ]
        return self._map(input_shape[0], sizes, channels)


@register
class Stretch(OnMaps):
    """Repeats border cells: of every ``dilation`` cells, which are of other windows, each its own.

    ``padding`` is ((top, bottom), (left, right)).
    """

    settings = ("padding", "dilation")

    def call(self, inputs: Any) -> Any:
        """Widen a map."""
        for axis, (before, after) in enumerate(self.padding):
            place, distance = self.rows + axis, self.dilation[axis]
            cells = ops.shape(inputs)[place]
            taken = ops.arange(cells + before + after) - before
            taken = ops.where(taken < 0, taken % distance, taken)
            beyond = cells - 1 - (cells - 1 - taken) % distance
            taken = ops.where(taken > cells - 1, beyond, taken)
            inputs = ops.take(inputs, ops.clip(taken, 0, cells - 1), axis=place)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the map's shape."""
        *cells, channels = self._sizes(input_shape)
        sizes = [
            None if n is None else n + sum(pads)
            for n, pads in zip(cells, self.padding, strict=True)
        ]
        return self._map(input_shape[0], sizes, channels)


@register
class Power(OnMaps):
    """The square or the square root of every number."""

    settings = ("kind",)

    def call(self, inputs: Any) -> Any:
        """Raise a map."""
        return ops.square(inputs) if self.kind == "square" else ops.sqrt(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the map's own shape."""
        return input_shape


@register
class SlidingNormalization(OnMaps):
    """Group normalization whose window of ``kernel`` cells slides along with the cell.

    ``scale`` and ``center`` say whether it has a factor and a summand per channel, ``gamma`` and
    ``beta``.
    """

    settings = ("groups", "kernel", "dilation", "epsilon", "scale", "center")

    def build(self, input_shape: Any) -> None:
        """Make the parameters."""
        shape = (self._sizes(input_shape)[2],)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        if self.center:
            self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs: Any) -> Any:
        """Normalize a map."""
        x = inputs if self.channels_last else ops.transpose(inputs, (0, 2, 3, 1))
        sizes = ops.shape(x)
        wide = ops.reshape(x, (*sizes[:3], self.groups, sizes[3] // self.groups))
        mean, variance = ops.moments(wide, axes=[4])
        moments: Totals = (mean, variance)
        for axis, (cells, distance) in enumerate(zip(self.kernel, self.dilation, strict=True)):
            moments = _totals(moments, 1 + axis, cells, distance, _merged_moments)
        for axis, pair in enumerate(zip(self.kernel, self.dilation, strict=True)):
            moments = tuple(with_edges(moment, 1 + axis, *around(*pair)) for moment in moments)
        mean, variance = moments
        wide = (wide - mean[..., None]) / ops.sqrt(variance[..., None] + self.epsilon)
        x = ops.reshape(wide, sizes)
        if self.gamma is not None:
            x = x * ops.cast(self.gamma, x.dtype)
        if self.beta is not None:
            x = x + ops.cast(self.beta, x.dtype)
        return x if self.channels_last else ops.transpose(x, (0, 3, 1, 2))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the map's own shape."""
        return input_shape
