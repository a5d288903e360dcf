"""Fully connected weights as convolution filters, on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from fullconv.errors import InputError

Weights = TypeVar("Weights")
"""An array of NumPy, or a tensor of PyTorch."""


def dense_to_conv(
    weight: Weights, shape: Sequence[int], order: Literal["CHW", "HWC"] = "CHW"
) -> Weights:
    """Return fully connected weights as the filters of the equivalent convolution.

    Parameters
    ----------
    weight : array of NumPy or PyTorch
        ``(out, in)`` for ``order="CHW"`` (PyTorch, Caffe, ONNX), ``(in, out)`` for
        ``order="HWC"`` (TensorFlow, Keras).
    shape : (int, int, int)
        Shape of the layer's input before it was flattened: ``(C, h, w)``, or ``(h, w, C)`` for
        "HWC".
    order : {"CHW", "HWC"}
        The order of that flattening. It must be known, not guessed: both give filters of the
        right shape, and only one gives the right scores.

    Returns
    -------
    array
        ``(out, C, h, w)``, or ``(h, w, C, out)`` for "HWC". A view: no weight is copied.

    Raises
    ------
    InputError
        If the order is unknown, or the weights do not fit the shape.

    Notes
    -----
    ``y[o] = sum(W[o, (c, i, j)] * x[c, i, j])`` is the convolution of ``x`` with the filter
    ``W[o]`` at the one place where it fits (Long, Shelhamer and Darrell 2015, section 3.1).
    """
    if order not in ("CHW", "HWC"):
        raise InputError(f"dense_to_conv(order={order!r}): expected 'CHW' or 'HWC'.")
    numbers = tuple(int(n) for n in shape)
    array: Any = weight
    if array.ndim != 2 or len(numbers) != 3:
        raise InputError(
            f"dense_to_conv: expected weights with two axes and a shape of three numbers; got "
            f"weights {tuple(array.shape)} and shape {numbers}."
        )
    inputs = int(array.shape[1 if order == "CHW" else 0])
    if inputs != numbers[0] * numbers[1] * numbers[2]:
        layout = "(out, in)" if order == "CHW" else "(in, out)"
        raise InputError(
            f"dense_to_conv: weights {tuple(array.shape)}, read as {layout}, have {inputs} "
            f"inputs, and shape {numbers} has {numbers[0] * numbers[1] * numbers[2]} elements; "
            f"check the order ({order}) and the shape."
        )
    filters = (array.shape[0], *numbers) if order == "CHW" else (*numbers, array.shape[1])
    reshaped: Weights = array.reshape(*map(int, filters))
    return reshaped
