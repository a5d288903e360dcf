"""Keras' transposed convolutions as records, checked against the backend in use."""

from __future__ import annotations

from math import prod

import keras
import numpy as np

from fullconv.frameworks.keras.calls import numbers, whole
from fullconv.geometry.grid import BeforeAfter
from fullconv.operations import TransposedConvolution


def spreading(layer: keras.Layer) -> TransposedConvolution | None:
    """Return a transposed convolution as a record; None if this backend computes something else."""
    kernel, stride = whole(layer.kernel_size), whole(layer.strides)
    dilation, more = whole(layer.dilation_rate), layer.output_padding
    cuts = [
        _cut(d * (k - 1) + 1, s, layer.padding, n)
        for k, s, d, n in zip(kernel, stride, dilation, more or (None,) * len(kernel), strict=True)
    ]
    padding = tuple((before, max(0, after)) for before, after in cuts)
    added = tuple(max(0, -after) for _, after in cuts)
    operation = TransposedConvolution(kernel, stride, padding, dilation, 1, added)
    beyond = any(n >= s for n, s in zip(added, stride, strict=True))
    return None if beyond or not _does(layer, operation) else operation


def _cut(span: int, stride: int, padding: str, more: int | None) -> BeforeAfter:
    """Return the number of cells that are cut before and after; negative where some are added.

    The cuts are made in the ``(n - 1) * stride + span`` cells that ``n`` cells reach. With "valid"
    padding, at least ``n * stride`` cells stay. With "same" exactly that many stay, cut at both
    ends (TensorFlow, conv2d_transpose; Keras, BaseConvTranspose).
    """
    if padding == "valid":
        return 0, span - max(span, stride) if more is None else -more
    total = stride + span - 2 if more is None else span + span % 2 - 2 + more
    before = min((total + 1) // 2, span - 1)
    return span - 1 - before, span - 1 - (total - before)


def _does(layer: keras.Layer, operation: TransposedConvolution) -> bool:
    """Return whether the backend spreads a few cells like this; backends have disagreed."""
    axes, cells = operation.dimensions, 3
    kernel = np.arange(1, 1 + prod(operation.kernel), dtype=np.float32)
    kernel = kernel.reshape(operation.kernel)
    x = np.arange(1, 1 + cells**axes, dtype=np.float32).reshape((cells,) * axes)
    reached = [
        (cells - 1) * s + d * (k - 1) + 1 + n
        for k, s, d, n in zip(
            operation.kernel,
            operation.stride,
            operation.dilation,
            operation.output_padding,
            strict=True,
        )
    ]
    expected = np.zeros(reached, np.float32)
    for place in np.ndindex(*operation.kernel):
        spread = tuple(
            slice(k * d, k * d + (cells - 1) * s + 1, s)
            for k, d, s in zip(place, operation.dilation, operation.stride, strict=True)
        )
        expected[spread] += x * kernel[place]
    inside = tuple(
        slice(before, n - after)
        for (before, after), n in zip(operation.padding, reached, strict=True)
    )
    given = keras.ops.conv_transpose(
        x[None, ..., None],
        kernel[..., None, None],
        strides=operation.stride,
        padding=layer.padding,
        output_padding=layer.output_padding,
        data_format="channels_last",
        dilation_rate=operation.dilation,
    )
    actual = numbers(given)[0, ..., 0]
    return actual.shape == expected[inside].shape and np.array_equal(actual, expected[inside])
