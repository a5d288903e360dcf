"""How transposed convolutions of Keras spread cells, on the backend that it runs on."""

from __future__ import annotations

from math import prod

import keras
import numpy as np

from fullconv.frameworks.keras.calls import numbers, whole
from fullconv.geometry import Pair
from fullconv.operations import TransposedConvolution


def spreading(layer: keras.Layer) -> TransposedConvolution | None:
    """Return what a transposed convolution does; None where this backend does something else."""
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


def _cut(span: int, stride: int, padding: str, more: int | None) -> Pair:
    """Return how many cells are cut away before and after; negative where some are added.

    Of all that ``n`` cells reach, ``(n - 1) * stride + span``. With "valid" padding what is left is
    no less than ``n * stride``, with "same" just that, cut at both ends (TensorFlow,
    conv2d_transpose; Keras, BaseConvTranspose).
    """
    if padding == "valid":
        return 0, span - max(span, stride) if more is None else -more
    total = stride + span - 2 if more is None else span + span % 2 - 2 + more
    before = min((total + 1) // 2, span - 1)
    return span - 1 - before, span - 1 - (total - before)


def _does(layer: keras.Layer, operation: TransposedConvolution) -> bool:
    """Ask the backend whether it spreads a few cells just so; they have not always agreed."""
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
