"""Layers that cut, pad, pool, reduce and regroup maps, in ways that Keras has no layers for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from keras import ops

from fullconv import operations
from fullconv.frameworks.keras.layers import OnMaps, Shape, Shapes, Tensor, register
from fullconv.geometry.grid import Sliding
from fullconv.operations import Operation, PaddingMode

MODES: dict[PaddingMode, str] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
"""Names of the modes of padding in NumPy and `keras.ops`."""


@register
class Cells(OnMaps):
    """Drops cells at both ends of each axis, then keeps every ``stride``-th."""

    record = operations.Cells
    settings = ("before", "after", "stride")

    def _kept(self) -> list[slice]:
        return [
            slice(before, -after or None, stride)
            for before, after, stride in zip(self.before, self.after, self.stride, strict=True)
        ]

    def call(self, inputs: Tensor) -> Tensor:
        """Cut a map."""
        return inputs[(slice(None),) * self.first + tuple(self._kept())]

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        left = [
            None if n is None else len(range(*kept.indices(n)))
            for n, kept in zip(self._cells(input_shape), self._kept(), strict=True)
        ]
        return self._map(input_shape[0], left, self._channels(input_shape))


@register
class DivideCells(OnMaps):
    """Divides every cell by the product of its numbers along every axis."""

    record = operations.DivideCells
    settings = ("axes",)
    rows_and_columns = ("axes", "along_rows", "along_columns")

    def call(self, inputs: Tensor) -> Tensor:
        """Divide a map."""
        numbers = functools.reduce(np.multiply.outer, self.axes)
        divisor = ops.convert_to_tensor(np.asarray(numbers), dtype=inputs.dtype)
        return inputs / (divisor[..., None] if self.channels_last else divisor)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        """Return the map's own shape."""
        return input_shape


@register
class PadCells(OnMaps):
    """Adds cells around a map, and removes them where a number is negative.

    ``pads`` is (before, after) for every axis, ``channels`` the same for channels; ``mode`` is
    "constant", with ``value``, "edge", "reflect" or "wrap".
    """

    settings = ("pads", "channels", "mode", "value")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the padding as an operation."""
        mode = next(name for name, own in MODES.items() if own == self.mode)
        return operations.Pad(((0, 0), self.channels, *self.pads), mode, self.value)

    def call(self, inputs: Tensor) -> Tensor:
        """Pad a map."""
        for axis, (before, after) in enumerate(self.pads):
            if min(before, after) < 0:
                kept = slice(max(0, -before), min(0, after) or None)
                inputs = self._sliced(inputs, axis, kept)
        added = [tuple(max(0, n) for n in pair) for pair in self.pads]
        width = self._map((0, 0), added, self.channels)
        if self.mode == "constant":
            return ops.pad(inputs, width, constant_values=self.value)
        for axis, (before, after) in enumerate(width):
            inputs = widened(inputs, axis, before, after, self.mode)
        return inputs

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        sizes = [
            None if n is None else n + sum(pair)
            for n, pair in zip(self._cells(input_shape), self.pads, strict=True)
        ]
        channels = self._channels(input_shape) + sum(self.channels)
        return self._map(input_shape[0], sizes, channels)


def widened(x: Tensor, axis: int, before: int, after: int, mode: str = "edge") -> Tensor:
    """Pad an axis at both ends with its own entries; not every backend has all these modes."""
    if not before and not after:
        return x

    def taken(start: int | None, stop: int | None) -> Tensor:
        return x[(slice(None),) * axis + (slice(start, stop),)]

    if mode == "edge":
        return ops.concatenate([*[taken(0, 1)] * before, x, *[taken(-1, None)] * after], axis=axis)
    ends = [taken(-before, None), taken(0, after)]
    if mode == "reflect":
        ends = [taken(1, before + 1), taken(-1 - after, -1)]
        ends = [ops.flip(end, axis=axis) for end in ends]
    wanted = [ends[0]] if before else [], [ends[1]] if after else []
    return ops.concatenate([*wanted[0], x, *wanted[1]], axis=axis)


@register
class TakeChannels(OnMaps):
    """Keeps or reorders channels."""

    record = operations.TakeChannels
    settings = ("indices",)

    def call(self, inputs: Tensor) -> Tensor:
        """Take channels of a map."""
        return ops.take(inputs, list(self.indices), axis=-1 if self.channels_last else 1)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape, with the channels that are taken."""
        return self._map(input_shape[0], self._cells(input_shape), len(self.indices))


@register
class MovingPool(OnMaps):
    """Maximum, sum or average over a sliding kernel with a stride, a dilation and padding.

    ``kind`` is "max", "sum" or "average". An average divides by ``divisor``, or by the number of
    cells it covers, padding left out.
    """

    settings = ("kind", "kernel", "stride", "padding", "dilation", "divisor")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the pool as an operation."""
        moves = self.kernel, self.stride, self.padding, self.dilation
        channels = self._channels(shape)
        return operations.Pool(*moves, self.kind, divisor=self.divisor, channels=channels)

    def call(self, inputs: Tensor) -> Tensor:
        """Pool a map."""
        total = self._over(inputs)
        if self.kind != "average":
            return total
        if self.divisor is not None or not any(map(any, self.padding)):
            return total / (self.divisor or prod(self.kernel))
        one = inputs[:1, ..., :1] if self.channels_last else inputs[:1, :1]
        return total / self._over(ops.ones_like(one))

    def _over(self, x: Tensor) -> Tensor:
        """Pool along one axis after the other."""
        if any(map(any, self.padding)):
            width = self._map((0, 0), self.padding, (0, 0))
            x = ops.pad(x, width, constant_values=float("-inf") if self.kind == "max" else 0.0)
        for axis in range(len(self.kernel)):
            x = self._along(x, axis)
        return x

    def _along(self, x: Tensor, axis: int) -> Tensor:
        kernel, stride, dilation = (n[axis] for n in (self.kernel, self.stride, self.dilation))
        reach = dilation * (kernel - 1)
        size = ops.shape(x)[self.first + axis]
        join = ops.maximum if self.kind == "max" else ops.add
        parts = (
            self._sliced(x, axis, slice(start, start + size - reach, stride))
            for start in range(0, reach + 1, dilation)
        )
        return functools.reduce(join, parts)

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the map's shape."""
        moves = zip(self.kernel, self.stride, self.dilation, self.padding, strict=True)
        sizes = [
            None if n is None else Sliding(kernel, stride, dilation, *pads).output(n)
            for n, (kernel, stride, dilation, pads) in zip(
                self._cells(input_shape), moves, strict=True
            )
        ]
        return self._map(input_shape[0], sizes, self._channels(input_shape))


@register
class ReduceAxes(OnMaps):
    """Mean, sum, maximum, norm or spread over axes of a tensor, counted in its own order."""

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
    """Keeps ``start:stop:stride`` of one axis of a tensor, counted in its own order."""

    settings = ("axis", "start", "stop", "stride")

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the cut as an operation."""
        return operations.Slice(self.axis, self.start, self.stop, self.stride)

    def call(self, inputs: Tensor) -> Tensor:
        """Cut a tensor."""
        return inputs[(slice(None),) * self.axis + (slice(self.start, self.stop, self.stride),)]

    def compute_output_shape(self, input_shape: Shapes) -> Shape:
        """Return the shape, with the entries that are kept."""
        sizes = list(input_shape)
        sizes[self.axis] = len(range(self.start, self.stop, self.stride))
        return tuple(sizes)
