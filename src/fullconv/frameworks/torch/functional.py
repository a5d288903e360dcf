"""What lifting adds to PyTorch: functions on stored maps with free height and width.

Sizes are taken from the image, so that a traced or exported model answers for any size.
``window`` and ``step`` are pixels, (rows, columns).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Pair = Sequence[int]


def count(image: Tensor, window: Pair, step: Pair) -> tuple[int, int]:
    """Count the windows in images ``(N, C, H, W)``, as (rows, columns)."""
    return (
        (image.shape[2] - window[0]) // step[0] + 1,
        (image.shape[3] - window[1]) // step[1] + 1,
    )


def keep(x: Tensor, image: Tensor, window: Pair, step: Pair, stride: Pair, span: Pair) -> Tensor:
    """Keep the cells that whole windows own: ``stride * (count - 1) + span`` of each axis."""
    rows, columns = count(image, window, step)
    return x[:, :, : stride[0] * (rows - 1) + span[0], : stride[1] * (columns - 1) + span[1]]


def cells(x: Tensor, before: Pair, after: Pair, stride: Pair) -> Tensor:
    """Drop cells at both ends of each axis, then keep every ``stride``-th."""
    rows, columns = (slice(before[axis], -after[axis] or None, stride[axis]) for axis in (0, 1))
    return x[:, :, rows, columns]


def take_windows(
    x: Tensor, image: Tensor, window: Pair, step: Pair, extent: Pair, stride: Pair, dilation: Pair
) -> Tensor:
    """Gather one tensor per window, ``(N * rows * columns, C, *extent)``.

    Cell ``j`` of window ``w`` is the stored cell ``w * stride + j * dilation``.
    """
    counts = count(image, window, step)
    for axis, place in ((0, 2), (1, 4)):
        starts = torch.arange(counts[axis], device=x.device) * stride[axis]
        inside = torch.arange(extent[axis], device=x.device) * dilation[axis]
        index = (starts[:, None] + inside).reshape(-1)
        sizes = (*x.shape[:place], counts[axis], extent[axis], *x.shape[place + 1 :])
        x = x.index_select(place, index).reshape(sizes)
    x = x.permute(0, 2, 4, 1, 3, 5)
    return x.reshape(-1, *x.shape[3:])


def fold_windows(
    x: Tensor, image: Tensor, window: Pair, step: Pair, shape: Sequence[int]
) -> Tensor:
    """Turn ``(N * rows * columns, ...)`` into ``(N, *shape, rows, columns)``."""
    rows, columns = count(image, window, step)
    x = x.reshape(image.shape[0], rows, columns, *shape)
    return x.permute(0, *range(3, x.dim()), 1, 2)


def regroup(x: Tensor, split: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Reshape, permute, reshape."""
    return x.reshape(split).permute(tuple(order)).reshape(shape)


def stretch(x: Tensor, padding: Sequence[Pair]) -> Tensor:
    """Repeat the border cells; ``padding`` is ((top, bottom), (left, right))."""
    (top, bottom), (left, right) = padding
    return F.pad(x, (left, right, top, bottom), mode="replicate")


def split_channels(x: Tensor, shape: Sequence[int]) -> Tensor:
    """``(N, C, Y, X)`` to ``(N, *shape, Y, X)``."""
    return x.reshape(x.shape[0], *shape, *x.shape[2:]) if shape else x.squeeze(1)


def take_channels(x: Tensor, indices: Sequence[int]) -> Tensor:
    """Keep or reorder channels."""
    first, count_ = indices[0], len(indices)
    if list(indices) == list(range(first, first + count_)):
        return x[:, first : first + count_]
    return x[:, torch.tensor(indices, device=x.device)]


def channel_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Tensor:
    """Layer normalization over the channels of every cell."""
    x = x.permute(0, 2, 3, 1)
    return F.layer_norm(x, x.shape[-1:], weight, bias, epsilon).permute(0, 3, 1, 2)


def sum_pool(x: Tensor, kernel: Pair, stride: Pair, dilation: Pair) -> Tensor:
    """Sum over a moving rectangle."""
    if tuple(dilation) == (1, 1):
        return F.avg_pool2d(x, tuple(kernel), tuple(stride), divisor_override=1)
    # No framework dilates an average: a filter of ones adds the same numbers.
    channels = x.shape[1]
    ones = x.new_ones((channels, 1, *kernel))
    return F.conv2d(x, ones, stride=tuple(stride), dilation=tuple(dilation), groups=channels)


def average_pool(
    x: Tensor, kernel: Pair, stride: Pair, dilation: Pair, divisor: int | None
) -> Tensor:
    """Average over a moving rectangle with dilation."""
    return sum_pool(x, kernel, stride, dilation) / (divisor or kernel[0] * kernel[1])
