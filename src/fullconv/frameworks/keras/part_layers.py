"""Layers that store their weights once, and are called on several parts of a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fullconv.frameworks.keras.layers import Tensor, register
from fullconv.geometry.grid import Sizes, Sliding
from fullconv.operations import Padding

Span = tuple[int, int] | None
"""Start and stop of the cells of the filters that are used along an axis; None for all."""


def convolved(
    x: Tensor, kernel: Tensor, strides: Sequence[int], dilation: Sequence[int], data_format: str
) -> Tensor:
    """Return a map convolved with filters ``(*kernel, C, out)``."""
    moves = {"strides": tuple(strides), "dilation_rate": tuple(dilation)}
    return ops.conv(x, kernel, padding="valid", data_format=data_format, **moves)


def in_turn(
    x: Tensor, kernel: Tensor, strides: Sequence[int], dilation: Sequence[int], data_format: str
) -> Tensor:
    """Return the result of `convolved`, by a convolution that strides or dilates, but not both.

    TensorFlow (2.20) has none that does both. Where stride and dilation have a common divisor n,
    filters see only every n-th cell. The rest of the stride then leaves cells out of the result.
    """
    first = 1 if data_format == "channels_last" else 2
    shared = [math.gcd(s, d) for s, d in zip(strides, dilation, strict=True)]
    strides = [s // n for s, n in zip(strides, shared, strict=True)]
    dilation = [d // n for d, n in zip(dilation, shared, strict=True)]
    x = _every(x, first, shared)
    if max(dilation) == 1:
        return convolved(x, kernel, strides, dilation, data_format)
    ones = (1,) * len(strides)
    return _every(convolved(x, kernel, ones, dilation, data_format), first, strides)


def _every(x: Tensor, first: int, strides: Sequence[int]) -> Tensor:
    """Keep every n-th cell along every axis of a map."""
    return x[(slice(None),) * first + tuple(slice(None, None, n) for n in strides)]


def spans(
    layer: keras.Layer, rows: Span = None, columns: Span = None, cuts: Sequence[Span] = ()
) -> Sequence[Span]:
    """Return the spans of the filters that a call uses along every axis."""
    return cuts or (rows, columns, None)[: layer.rank]


class Parts:
    """A convolution whose calls differ in stride, dilation, padding and cut of the filters.

    ``padding`` is (before, after) for every axis, of zeros. The spans of the filters that are used
    are ``rows`` and ``columns`` over two axes, ``cuts`` over another number. ``biased`` says
    whether a call adds the bias, which the first of several terms of a sum does.
    """

    def call(
        self: keras.Layer,
        inputs: Tensor,
        strides: Sizes | None = None,
        dilation: Sizes | None = None,
        padding: Padding | None = None,
        rows: Span = None,
        columns: Span = None,
        biased: bool = True,
        cuts: Sequence[Span] = (),
    ) -> Tensor:
        """Convolve a map."""
        ones = (1,) * self.rank
        used = spans(self, rows, columns, cuts)
        kernel = self.kernel[tuple(slice(*span or (None,)) for span in used)]
        x, channels_last = inputs, self.data_format == "channels_last"
        if padding is not None:
            none, pads = (0, 0), [tuple(pair) for pair in padding]
            x = ops.pad(x, [none, *pads, none] if channels_last else [none, none, *pads])
        x = self.convolved(x, kernel, tuple(strides or ones), tuple(dilation or ones))
        if not (self.use_bias and biased):
            return x
        shape = (self.channels,) if channels_last else (self.channels, *ones)
        return x + ops.cast(ops.reshape(self.bias, shape), x.dtype)

    def compute_output_spec(
        self: keras.Layer,
        inputs: keras.KerasTensor,
        strides: Sizes | None = None,
        dilation: Sizes | None = None,
        padding: Padding | None = None,
        biased: bool = True,
        **used: Any,
    ) -> keras.KerasTensor:
        """Return the shape and type of the result of a call; free sizes stay free."""
        batch, *rest = inputs.shape
        last, ones = self.data_format == "channels_last", (1,) * self.rank
        kernel = [
            size if span is None else span[1] - span[0]
            for size, span in zip(self.kernel_size, spans(self, **used), strict=True)
        ]
        moves = zip(kernel, strides or ones, dilation or ones, strict=True)
        sizes = [
            None if n is None else Sliding(*move, *pads).output(n)
            for n, move, pads in zip(
                rest[:-1] if last else rest[1:], moves, padding or [()] * self.rank, strict=True
            )
        ]
        shape = (batch, *sizes, self.channels) if last else (batch, self.channels, *sizes)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)


class PartConv(Parts):
    """A convolution of `Parts`."""

    @property
    def channels(self: keras.Layer) -> int:
        """Channels of the result."""
        return int(self.filters)

    def convolved(
        self: keras.Layer, x: Tensor, kernel: Tensor, strides: Sizes, dilation: Sizes
    ) -> Tensor:
        """Return a map convolved with filters."""
        both = max(strides) > 1 and max(dilation) > 1
        convolve = in_turn if both and keras.backend.backend() == "tensorflow" else convolved
        return convolve(x, kernel, strides, dilation, self.data_format)


class PartDepthwiseConv(Parts):
    """A depthwise convolution of `Parts`."""

    @property
    def channels(self: keras.Layer) -> int:
        """Channels of the result."""
        return int(self.kernel.shape[-2] * self.depth_multiplier)

    def convolved(
        self: keras.Layer, x: Tensor, kernel: Tensor, strides: Sizes, dilation: Sizes
    ) -> Tensor:
        """Return a map convolved with filters."""
        moves = {"dilation_rate": dilation, "data_format": self.data_format}
        return ops.depthwise_conv(x, kernel, strides, "valid", **moves)


@register
class PartConv1D(PartConv, keras.layers.Conv1D):
    """A convolution of `Parts` over one axis."""


@register
class PartConv2D(PartConv, keras.layers.Conv2D):
    """A convolution of `Parts` over two axes."""


@register
class PartConv3D(PartConv, keras.layers.Conv3D):
    """A convolution of `Parts` over three axes."""


@register
class PartDepthwiseConv1D(PartDepthwiseConv, keras.layers.DepthwiseConv1D):
    """A depthwise convolution of `Parts` over one axis."""


@register
class PartDepthwiseConv2D(PartDepthwiseConv, keras.layers.DepthwiseConv2D):
    """A depthwise convolution of `Parts` over two axes."""


@register
class PartBatchNormalization(keras.layers.BatchNormalization):
    """A batch normalization by its stored statistics, in training as well.

    A part of a map is no sample of the map: in training, a plain layer would normalize every part
    by the statistics of that part.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor = None) -> Tensor:
        """Normalize a part of a map."""
        return super().call(inputs, training=False, mask=mask)
