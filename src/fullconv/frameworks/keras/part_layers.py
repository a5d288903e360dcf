"""Layers that hold their weights once, and are called on several parts of a map."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from fullconv.frameworks.keras.layers import register

Cut = tuple[int, int] | None


def _spec(layer: Any, x: Any, settings: tuple[Any, ...], channels: int) -> Any:
    """Return what a call gives; free sizes stay free."""
    strides, dilation, padding, rows, columns = settings
    last = layer.data_format == "channels_last"
    sizes = []
    for axis, cut in enumerate((rows, columns)):
        n = x.shape[(1 if last else 2) + axis]
        kernel = cut[1] - cut[0] if cut else layer.kernel_size[axis]
        if n is not None:
            room = n + sum(padding[axis] if padding else ()) - dilation[axis] * (kernel - 1) - 1
            n = room // strides[axis] + 1
        sizes.append(n)
    shape = (x.shape[0], *sizes, channels) if last else (x.shape[0], channels, *sizes)
    return keras.KerasTensor(shape, dtype=layer.compute_dtype)


def _padded(layer: Any, x: Any, padding: Any) -> Any:
    if padding is None:
        return x
    none, spatial = (0, 0), [tuple(pair) for pair in padding]
    last = layer.data_format == "channels_last"
    return ops.pad(x, [none, *spatial, none] if last else [none, none, *spatial])


def _with_bias(layer: Any, x: Any, count: int) -> Any:
    shape = (count,) if layer.data_format == "channels_last" else (count, 1, 1)
    return x + ops.cast(ops.reshape(layer.bias, shape), x.dtype)


def convolved(x: Any, kernel: Any, strides: Any, dilation: Any, data_format: str) -> Any:
    """Return a map convolved with filters ``(kh, kw, C, out)``."""
    settings: Any = {"strides": strides, "dilation_rate": dilation, "data_format": data_format}
    return ops.conv(x, kernel, padding="valid", **settings)


def in_turn(x: Any, kernel: Any, strides: Any, dilation: Any, data_format: str) -> Any:
    """Return what `convolved` does, by convolutions that stride or dilate, but not both.

    TensorFlow (2.20) has no others. Of a stride and a dilation with a common divisor n, filters
    see only every n-th cell; what is left of the stride leaves cells out of the result.
    """
    first = 1 if data_format == "channels_last" else 2
    shared = [math.gcd(s, d) for s, d in zip(strides, dilation, strict=True)]
    strides = [s // n for s, n in zip(strides, shared, strict=True)]
    dilation = [d // n for d, n in zip(dilation, shared, strict=True)]
    x = _every(x, first, shared)
    if max(dilation) == 1:
        return convolved(x, kernel, strides, dilation, data_format)
    return _every(convolved(x, kernel, (1, 1), dilation, data_format), first, strides)


def _every(x: Any, first: int, strides: Any) -> Any:
    """Keep every n-th row and column of a map."""
    return x[(slice(None),) * first + tuple(slice(None, None, n) for n in strides)]


class Parts:
    """A convolution whose every call has a stride, a dilation, a padding and a cut of the filters.

    ``padding`` is ((top, bottom), (left, right)), of zeros. ``rows`` and ``columns`` of the filters
    are (start, stop), or None for all; ``biased`` says whether a call adds the bias, which the
    first of several terms of a sum does.
    """

    def call(
        self,
        inputs: Any,
        strides: Any = (1, 1),
        dilation: Any = (1, 1),
        padding: Any = None,
        rows: Cut = None,
        columns: Cut = None,
        biased: bool = True,
    ) -> Any:
        """Convolve a map."""
        layer: Any = self
        kernel = layer.kernel[slice(*rows or (None,)), slice(*columns or (None,))]
        x = layer.convolved(_padded(layer, inputs, padding), kernel, strides, dilation)
        return _with_bias(layer, x, layer.channels) if layer.use_bias and biased else x

    def compute_output_spec(
        self,
        inputs: Any,
        strides: Any = (1, 1),
        dilation: Any = (1, 1),
        padding: Any = None,
        rows: Cut = None,
        columns: Cut = None,
        biased: bool = True,
    ) -> Any:
        """Return what a call gives."""
        layer: Any = self
        return _spec(layer, inputs, (strides, dilation, padding, rows, columns), layer.channels)


@register
class PartConv2D(Parts, keras.layers.Conv2D):
    """A convolution of `Parts`."""

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return int(self.filters)

    def convolved(self, x: Any, kernel: Any, strides: Any, dilation: Any) -> Any:
        """Return a map convolved with filters."""
        both = max(strides) > 1 and max(dilation) > 1
        convolve = in_turn if both and keras.backend.backend() == "tensorflow" else convolved
        return convolve(x, kernel, tuple(strides), tuple(dilation), self.data_format)


@register
class PartDepthwiseConv2D(Parts, keras.layers.DepthwiseConv2D):
    """A depthwise convolution of `Parts`."""

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return int(self.kernel.shape[2] * self.depth_multiplier)

    def convolved(self, x: Any, kernel: Any, strides: Any, dilation: Any) -> Any:
        """Return a map convolved with filters."""
        settings: Any = {"dilation_rate": tuple(dilation), "data_format": self.data_format}
        return ops.depthwise_conv(x, kernel, tuple(strides), "valid", **settings)


@register
class PartBatchNormalization(keras.layers.BatchNormalization):
    """A batch normalization by the statistics that it has, in training as well.

    A part of a map is no sample of it: called for every part, a layer would take each one's own.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize a part of a map."""
        return super().call(inputs, training=False, mask=mask)
