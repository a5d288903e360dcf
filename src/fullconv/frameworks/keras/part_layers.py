"""Layers that hold their weights once, and are called on several parts of a map."""

from __future__ import annotations

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


@register
class PartConv2D(keras.layers.Conv2D):
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
        inputs = _padded(self, inputs, padding)
        kernel = self.kernel[slice(*rows or (None,)), slice(*columns or (None,))]
        x = ops.conv(
            inputs,
            kernel,
            strides=tuple(strides),
            padding="valid",
            dilation_rate=tuple(dilation),
            data_format=self.data_format,
        )
        return _with_bias(self, x, self.filters) if self.use_bias and biased else x

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
        settings = strides, dilation, padding, rows, columns
        return _spec(self, inputs, settings, self.filters)


@register
class PartDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution, called as `PartConv2D` is."""

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
        inputs = _padded(self, inputs, padding)
        kernel = self.kernel[slice(*rows or (None,)), slice(*columns or (None,))]
        x = ops.depthwise_conv(
            inputs,
            kernel,
            strides=tuple(strides),
            padding="valid",
            dilation_rate=tuple(dilation),
            data_format=self.data_format,
        )
        count = self.kernel.shape[2] * self.depth_multiplier
        return _with_bias(self, x, count) if self.use_bias and biased else x

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
        settings = strides, dilation, padding, rows, columns
        return _spec(self, inputs, settings, self.kernel.shape[2] * self.depth_multiplier)


@register
class PartBatchNormalization(keras.layers.BatchNormalization):
    """A batch normalization by the statistics that it has, in training as well.

    A part of a map is no sample of it: called for every part, a layer would take each one's own.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize a part of a map."""
        return super().call(inputs, training=False, mask=mask)
