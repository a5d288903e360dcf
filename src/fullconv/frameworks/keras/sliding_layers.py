"""Statistics of a window that slides along with the cell, as layers of Keras.

See Note [Totals of a sliding window] in `fullconv.geometry.doubling`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

from keras import ops

from fullconv import operations
from fullconv.frameworks.keras.layers import OnMaps, Shape, Shapes, Tensor, register
from fullconv.frameworks.keras.map_layers import widened
from fullconv.geometry.doubling import around, doublings
from fullconv.operations import Operation

Totals = tuple[Tensor, ...]
Merge = Callable[[Totals, Totals, float], Totals]


def _totals(single: Totals, axis: int, cells: int, distance: int, merge: Merge) -> Totals:
    """Merge ``cells`` neighbours ``distance`` apart, at every place along an axis that has them."""
    before = (slice(None),) * axis
    total = single
    for covered, more in doublings(cells):
        further = total if more == covered else single
        first = tuple(x[(*before, slice(0, -more * distance))] for x in total)
        second = tuple(x[(*before, slice(covered * distance, None))] for x in further)
        total = merge(first, second, more / (covered + more))
    return total


def _merged_moments(a: Totals, b: Totals, share: float) -> Totals:
    """Merge mean and variance of two sets; the second is ``share`` of all numbers."""
    apart = b[0] - a[0]
    variance = a[1] + (b[1] - a[1]) * share + apart * apart * (share * (1 - share))
    return a[0] + apart * share, variance


def _moments(
    x: Tensor, groups: int, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[Tensor, Totals]:
    """Return a map ``(N, *cells, C)`` by groups, and their mean and variance over every box."""
    sizes = ops.shape(x)
    wide = ops.reshape(x, (*sizes[:-1], groups, sizes[-1] // groups))
    moments: Totals = tuple(ops.moments(wide, axes=[-1]))
    for axis, (cells, distance) in enumerate(zip(kernel, dilation, strict=True), start=1):
        moments = _totals(moments, axis, cells, distance, _merged_moments)
    return wide, moments


def _stretched(x: Tensor, axis: int, before: int, after: int, distance: int) -> Tensor:
    """Repeat the border cells of an axis, for each of ``distance`` interleaved sets by itself."""
    if distance == 1:
        return widened(x, axis, before, after)
    cells = ops.shape(x)[axis]
    taken = ops.arange(cells + before + after) - before
    taken = ops.where(taken < 0, taken % distance, taken)
    beyond = cells - 1 - (cells - 1 - taken) % distance
    taken = ops.where(taken > cells - 1, beyond, taken)
    return ops.take(x, ops.clip(taken, 0, cells - 1), axis=axis)


@register
class SlidingTotal(OnMaps):
    """Sum or maximum over every box of ``kernel`` cells ``dilation`` apart."""

    record: ClassVar[type[Operation]] = operations.SlidingTotal
    settings: ClassVar[tuple[str, ...]] = ("kind", "kernel", "dilation")

    def call(self, inputs: Tensor) -> Tensor:
        """Total a map."""
        join = ops.add if self.kind == "sum" else ops.maximum
        total: Totals = (inputs,)
        for axis, (cells, distance) in enumerate(zip(self.kernel, self.dilation, strict=True)):
            place = self.first + axis
            total = _totals(total, place, cells, distance, lambda a, b, _: (join(a[0], b[0]),))
        return total[0]

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        sizes = [
            None if n is None else n - dilation * (kernel - 1)
            for n, kernel, dilation in zip(
                self._cells(input_shape), self.kernel, self.dilation, strict=True
            )
        ]
        return self._map(input_shape[0], sizes, self._channels(input_shape))


@register
class SlidingSpread(SlidingTotal):
    """Variance or standard deviation over every box of ``kernel`` cells ``dilation`` apart."""

    record = operations.SlidingSpread
    settings = (*SlidingTotal.settings, "together", "correction")

    def call(self, inputs: Tensor) -> Tensor:
        """Take the variance around every cell."""
        x = inputs if self.channels_last else ops.moveaxis(inputs, 1, -1)
        channels = ops.shape(x)[-1]
        groups = 1 if self.together else channels
        _, (_, variance) = _moments(x, groups, self.kernel, self.dilation)
        count = channels // groups * prod(self.kernel)
        variance = variance * (count / (count - self.correction))
        spread = ops.sqrt(variance) if self.kind == "std" else variance
        return spread if self.channels_last else ops.moveaxis(spread, -1, 1)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape, with one channel for all together."""
        shape = super().compute_output_shape(input_shape)
        channels = 1 if self.together else self._channels(shape)
        return self._map(shape[0], self._cells(shape), channels)


@register
class Stretch(OnMaps):
    """Repeats border cells, for each of ``dilation`` interleaved sets of cells by itself.

    The sets belong to different windows. ``padding`` is (before, after) for every axis.
    """

    record = operations.Stretch
    settings = ("padding", "dilation")

    def call(self, inputs: Tensor) -> Tensor:
        """Widen a map."""
        for axis, ((before, after), distance) in enumerate(
            zip(self.padding, self.dilation, strict=True), start=self.first
        ):
            inputs = _stretched(inputs, axis, before, after, distance)
        return inputs

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        sizes = [
            None if n is None else n + sum(pads)
            for n, pads in zip(self._cells(input_shape), self.padding, strict=True)
        ]
        return self._map(input_shape[0], sizes, self._channels(input_shape))


@register
class Power(OnMaps):
    """The square or the square root of every number."""

    record = operations.Power
    settings = ("kind",)

    def call(self, inputs: Tensor) -> Tensor:
        """Raise a map."""
        return ops.square(inputs) if self.kind == "square" else ops.sqrt(inputs)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        """Return the map's own shape."""
        return input_shape


@register
class SlidingNormalization(OnMaps):
    """Group normalization whose window of ``kernel`` cells slides along with the cell.

    ``scale`` and ``center`` say whether it has a factor and a summand per channel, ``gamma`` and
    ``beta``.
    """

    settings = ("groups", "kernel", "dilation", "epsilon", "scale", "center")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the normalization as an operation."""
        moves = self.kernel, self.dilation
        return operations.SlidingNormalization(self.groups, *moves, self.epsilon)

    def build(self, input_shape: Shapes) -> None:
        """Make the parameters."""
        shape = (self._channels(input_shape),)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        if self.center:
            self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize a map."""
        x = inputs if self.channels_last else ops.moveaxis(inputs, 1, -1)
        wide, moments = _moments(x, self.groups, self.kernel, self.dilation)
        for axis, (cells, distance) in enumerate(
            zip(self.kernel, self.dilation, strict=True), start=1
        ):
            before, after = around(cells, distance)
            moments = tuple(_stretched(m, axis, before, after, distance) for m in moments)
        mean, variance = moments
        wide = (wide - mean[..., None]) / ops.sqrt(variance[..., None] + self.epsilon)
        x = ops.reshape(wide, ops.shape(x))
        if self.gamma is not None:
            x = x * ops.cast(self.gamma, x.dtype)
        if self.beta is not None:
            x = x + ops.cast(self.beta, x.dtype)
        return x if self.channels_last else ops.moveaxis(x, -1, 1)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        """Return the map's own shape."""
        return input_shape
