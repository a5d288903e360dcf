"""Kernels as other Keras versions and Theano laid them out, in today's order.

Keras 2.2.4 does the same in ``engine/saving.py``, `preprocess_weights_for_loading` and
`convert_kernel`. Keras 1 treats separable kernels alike, in its ``layers/convolutional.py``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from fullconv.frameworks.keras.calls import Array

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")

TURNED = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv2DTranspose,
)
"""Layers whose kernels Theano flips: it convolves, where other backends correlate."""

SEPARATE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def today(array: Array, role: str, layer: Any, is_keras_1: bool, is_theano: bool) -> Array:
    """Return an array of a layer as Keras 3 lays it out.

    Parameters
    ----------
    role : str
        The name of the array in the layer: ``kernel``, ``bias``, ...

    Raises
    ------
    ValueError
        If it is unknown how Theano computed with the array.
    """
    if role not in KERNELS:
        return array
    if is_keras_1:
        array = _of_keras_1(array, layer)
    if is_theano and isinstance(layer, TURNED):
        axes = tuple(range(array.ndim - 2))
        return np.flip(array, axes)
    if is_theano and isinstance(layer, SEPARATE):
        raise ValueError("no Keras can say whether Theano turned its kernel round")
    return array


def _of_keras_1(array: Array, layer: Any) -> Array:
    first = getattr(layer, "data_format", None) == "channels_first"
    if isinstance(layer, keras.layers.Conv1D) and array.ndim == 4:
        return _line(array, layer)
    if isinstance(layer, keras.layers.Conv2DTranspose) and array.ndim == 4:
        # (filters, channels, rows, columns), or (rows, columns, channels, filters)
        return array.transpose((2, 3, 0, 1) if first else (0, 1, 3, 2))
    convolves = isinstance(layer, (*TURNED, *SEPARATE))
    if convolves and first and array.ndim == len(layer.kernel_size) + 2:
        # (filters, channels, *cells)
        return array.transpose((*range(2, array.ndim), 1, 0))
    return array


def _line(array: Array, layer: Any) -> Array:
    """Return a kernel over one axis, which Keras 1 stored over two.

    ``(cells, 1, channels, filters)``; before Keras 1.1 ``(filters, channels, cells, 1)``.
    """
    if array.shape[:2] != (layer.kernel_size[0], 1) or array.shape[3] != layer.filters:
        array = array.transpose((2, 3, 1, 0))
    return array[:, 0]
