"""Functions that lifted models call, on stored maps ``(N, C, *cells)`` with free sizes.

Sizes are computed from the image, so that a traced or exported model is right for any size.
``window`` and ``step`` are in pixels along every axis of the image. A map may have further axes,
along which there is one window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fullconv.geometry.doubling import around, doublings

Numbers = Sequence[int]
Segment = Any
"""A tuple of a name and numbers, which `assemble` describes."""
Totals = Sequence[Tensor]
Merge = Callable[[Totals, Totals, float], Totals]
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def count(image: Tensor, window: Numbers, step: Numbers) -> tuple[int, ...]:
    """Count the windows in images ``(N, C, *size)`` along every axis."""
    return tuple(
        (image.shape[2 + axis] - size) // distance + 1
        for axis, (size, distance) in enumerate(zip(window, step, strict=True))
    )


def _count_for(x_axes: int, image: Tensor, window: Numbers, step: Numbers) -> tuple[int, ...]:
    """Count the windows along ``x_axes`` axes of a map; 1 along axes that the image lacks."""
    counts = count(image, window, step)
    return (*counts, *(1,) * (x_axes - len(counts)))


def window_count(image: Tensor, window: Numbers, step: Numbers) -> int:
    """Count the windows of all images."""
    return image.shape[0] * prod(count(image, window, step))


def on_a_copy(x: Tensor, overwrite: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Overwrite a copy of a tensor, and return it."""
    return overwrite(x.clone(), *arguments)


def entries(x: Tensor, axis: int, places: Sequence[int]) -> Tensor:
    """Return some entries along an axis, in the order of their places."""
    return x.index_select(axis, torch.tensor(places, device=x.device))


def entry(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """Return one entry along an axis, without that axis; ``index`` is a tensor of one number."""
    counted = torch.where(index < 0, index + x.shape[axis], index)
    return x.index_select(axis, counted.reshape(1)).squeeze(axis)


def for_each_window(x: Tensor, image: Tensor, window: Numbers, step: Numbers) -> Tensor:
    """Repeat a parameter for every window: ``(windows, *shape)``."""
    return x.expand(window_count(image, window, step), *x.shape)


def keep(
    x: Tensor, image: Tensor, window: Numbers, step: Numbers, axes: Sequence[Numbers | None]
) -> Tensor:
    """Keep the cells of whole windows: ``stride * (count - 1) + span`` along each axis.

    ``axes`` has ``(stride, span)`` for every axis, or None for one that is not cut.
    """
    counts = _count_for(len(axes), image, window, step)
    for axis, (kept, windows) in enumerate(zip(axes, counts, strict=True)):
        if kept is not None:
            x = x.narrow(2 + axis, 0, kept[0] * (windows - 1) + kept[1])
    return x


def cells(x: Tensor, before: Numbers, after: Numbers, stride: Numbers) -> Tensor:
    """Drop cells at both ends of each axis, then keep every ``stride``-th."""
    kept = [slice(a, -b or None, s) for a, b, s in zip(before, after, stride, strict=True)]
    return x[(slice(None), slice(None), *kept)]


def upsample(x: Tensor, factor: Numbers) -> Tensor:
    """Repeat every cell ``factor`` times along each axis.

    The cells are copied, as `F.interpolate` computes the index of the cell in rounded numbers.
    """
    n, c, *size = x.shape
    apart = x.reshape(n, c, *(m for length in size for m in (length, 1)))
    wide = [m for length, times in zip(size, factor, strict=True) for m in (length, times)]
    whole = [length * times for length, times in zip(size, factor, strict=True)]
    return apart.expand(n, c, *wide).reshape(n, c, *whole)


def assemble(
    parts: Sequence[Tensor],
    image: Tensor,
    window: Numbers,
    step: Numbers,
    channels: int,
    segments: Sequence[Sequence[Segment]],
) -> Tensor:
    """Assemble a block of cells from parts, one for each combination of segments of the axes.

    A segment is ``("own", cells)``, ``("gathered", cells, stride)`` or ``("running", (before,
    after))``; see `fullconv.operations.Assemble`. The pieces are views until they are concatenated.
    """
    axes = len(segments)
    counts = _count_for(axes, image, window, step)
    pieces = []
    for x, chosen in zip(parts, product(*segments), strict=True):
        private = [n if s[0] == "own" else 1 for n, s in zip(counts, chosen, strict=True)]
        # (N, windows or 1 along every axis, C, *cells)
        piece = x.reshape(image.shape[0], *private, channels, *x.shape[2:])
        for axis, segment in enumerate(chosen):
            piece = _take(piece, axes, axis, counts[axis], segment)
        pieces.append(piece)
    for axis in reversed(range(axes)):
        many = len(segments[axis])
        if many > 1:
            pieces = [
                torch.cat(pieces[first : first + many], 2 + axes + axis)
                for first in range(0, len(pieces), many)
            ]
    (block,) = pieces
    return block.reshape(-1, *block.shape[1 + axes :])


def _take(x: Tensor, axes: int, axis: int, windows: int, segment: Segment) -> Tensor:
    """Take a segment's cells along one of the ``axes`` axes of ``(N, *windows, C, *cells)``."""
    kind, cells = segment[:2]
    place, axis = 2 + axes + axis, 1 + axis
    if kind == "running":
        return x.narrow(place, cells[0], x.shape[place] - sum(cells)) if any(cells) else x
    distance = cells[1] - cells[0] if len(cells) > 1 else 1
    even = distance > 0 and tuple(cells) == tuple(range(cells[0], cells[-1] + 1, distance))
    if kind == "own":
        if even and distance == 1:
            return x.narrow(place, cells[0], len(cells))
        return x.index_select(place, torch.tensor(cells, device=x.device))
    stride = segment[2]
    if even:
        span = cells[-1] - cells[0] + 1
        x = x.narrow(place, cells[0], stride * (windows - 1) + span).unfold(place, span, stride)
        x = x[..., ::distance] if distance > 1 else x
    else:
        starts = torch.arange(windows, device=x.device) * stride
        index = starts[:, None] + torch.tensor(cells, device=x.device)
        x = x.index_select(place, index.reshape(-1))
        x = x.reshape(*x.shape[:place], windows, len(cells), *x.shape[place + 1 :])
        x = x.movedim(place + 1, -1)
    # The axis of windows is now in the place of the cells, and the cells are the last axis.
    return x.squeeze(axis).movedim(-1, place).movedim(place - 1, axis)


def lay_out(
    x: Tensor,
    image: Tensor,
    window: Numbers,
    step: Numbers,
    channels: int,
    axes: Sequence[bool],
    private: Sequence[bool],
) -> Tensor:
    """Lay out windows with a single cell along some axes as the cells of those axes."""
    counts = _count_for(len(axes), image, window, step)
    repeats = [n if p else 1 for n, p in zip(counts, private, strict=True)]
    x = x.reshape(image.shape[0], *repeats, channels, *x.shape[2:])
    # Where windows are laid out, their axis changes places with the single cell's.
    for axis, laid in enumerate(axes):
        if laid:
            x = x.transpose(1 + axis, 2 + len(axes) + axis)
    return x.reshape(-1, *x.shape[1 + len(axes) :])


def divide_cells(x: Tensor, axes: Sequence[Numbers]) -> Tensor:
    """Divide every cell by the product of the numbers of its places along the axes."""
    if all(len(numbers) == 1 for numbers in axes):
        return x / prod(numbers[0] for numbers in axes)
    first, *others = (torch.tensor(n, dtype=x.dtype, device=x.device) for n in axes)
    divisor = first
    for numbers in others:
        divisor = divisor[..., None] * numbers
    return x / divisor


def fold_windows(
    x: Tensor, image: Tensor, window: Numbers, step: Numbers, shape: Numbers
) -> Tensor:
    """Turn ``(N * windows, ...)`` into ``(N, *shape, *windows)``."""
    counts = count(image, window, step)
    x = x.reshape(image.shape[0], *counts, *shape)
    first = 1 + len(counts)
    return x.permute(0, *range(first, x.dim()), *range(1, first))


def add_axis(x: Tensor, channels: int, extent: int) -> Tensor:
    """Turn ``(N, channels * extent, *cells)`` into ``(N, channels, *cells, extent)``."""
    return x.reshape(x.shape[0], channels, extent, *x.shape[2:]).movedim(2, -1)


def fold_axes(x: Tensor, dimensions: int) -> Tensor:
    """Turn the axes of cells after the first ``dimensions`` into features."""
    while x.dim() > 2 + dimensions:
        x = x.movedim(2 + dimensions, 2).flatten(1, 2)
    return x


def interleave(x: Tensor, axis: int, factor: int, channels: int) -> Tensor:
    """Turn the innermost ``factor`` features of every cell into neighbours along an axis."""
    wide = x.reshape(x.shape[0], channels, factor, *x.shape[2:])
    return wide.movedim(2, 3 + axis).flatten(2 + axis, 3 + axis)


def regroup(x: Tensor, split: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Reshape, permute, reshape."""
    return x.reshape(split).permute(tuple(order)).reshape(shape)


def sliding_total(x: Tensor, kind: str, kernel: Numbers, dilation: Numbers) -> Tensor:
    """Return the sum or maximum over every box of ``kernel`` cells."""
    merge = torch.add if kind == "sum" else torch.maximum
    for axis, (cells, distance) in enumerate(zip(kernel, dilation, strict=True), start=2):
        (x,) = _totals((x,), axis, cells, distance, lambda a, b, _: (merge(a[0], b[0]),))
    return x


def sliding_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    groups: int,
    kernel: Numbers,
    dilation: Numbers,
    epsilon: float,
) -> Tensor:
    """Normalize the channels of each group by their mean and variance around every cell."""
    wide = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    mean, variance = _moments(wide, kernel, dilation)
    border = [around(cells, distance) for cells, distance in zip(kernel, dilation, strict=True)]
    mean, variance = stretch(mean, border, dilation), stretch(variance, border, dilation)
    wide = (wide - mean.unsqueeze(2)) * torch.rsqrt(variance + epsilon).unsqueeze(2)
    ones = (1,) * len(kernel)
    if weight is not None:
        wide = wide * weight.reshape(groups, -1, *ones)
    if bias is not None:
        wide = wide + bias.reshape(groups, -1, *ones)
    return wide.reshape(x.shape)


def sliding_spread(
    x: Tensor, kind: str, kernel: Numbers, dilation: Numbers, together: bool, correction: int
) -> Tensor:
    """Return the variance or standard deviation over every box of ``kernel`` cells."""
    groups = 1 if together else x.shape[1]
    wide = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    _, variance = _moments(wide, kernel, dilation)
    numbers = x.shape[1] // groups * prod(kernel)
    variance = variance * (numbers / (numbers - correction))
    return variance.sqrt() if kind == "std" else variance


def _moments(wide: Tensor, kernel: Numbers, dilation: Numbers) -> Totals:
    """Return mean and variance of ``(N, groups, channels per group, *cells)`` over every box."""
    mean = wide.mean(2)
    # `torch.var_mean` takes ten times as long over a short axis.
    moments: Totals = mean, (wide - mean.unsqueeze(2)).square().mean(2)
    for axis, (cells, distance) in enumerate(zip(kernel, dilation, strict=True), start=2):
        moments = _totals(moments, axis, cells, distance, _merge_moments)
    return moments


def _totals(single: Totals, axis: int, cells: int, distance: int, merge: Merge) -> Totals:
    """Merge ``cells`` neighbours ``distance`` apart, at every place where all of them exist.

    See Note [Totals of a sliding window] in `fullconv.geometry.doubling`.
    """
    total = single
    for merged, more in doublings(cells):
        further = total if more == merged else single
        if torch.compiler.is_exporting():
            # The exporter takes seconds for every new size, so the size stays the same here. The
            # cells that are rolled round the end are cut off below.
            first, second = total, [t.roll(-merged * distance, axis) for t in further]
        else:
            first = [t.narrow(axis, 0, t.shape[axis] - more * distance) for t in total]
            lost = merged * distance
            second = [t.narrow(axis, lost, t.shape[axis] - lost) for t in further]
        total = merge(first, second, more / (merged + more))
    length = single[0].shape[axis] - (cells - 1) * distance
    return tuple(t.narrow(axis, 0, length) for t in total)


def _merge_moments(a: Totals, b: Totals, share: float) -> Totals:
    """Merge mean and variance of two sets; ``share`` is the second set's share of the numbers."""
    apart = b[0] - a[0]
    within = torch.lerp(a[1], b[1], share)
    variance = within.addcmul_(apart, apart, value=share * (1 - share))
    return torch.add(a[0], apart, alpha=share), variance


def stretch(x: Tensor, padding: Sequence[Numbers], dilation: Numbers) -> Tensor:
    """Pad by repeating the border cell; with a dilation, the cells at the border in turn.

    ``padding`` has a pair, before and after, for every axis.
    """
    # PyTorch repeats no border cells of booleans and integers.
    if x.is_floating_point() and all(distance == 1 for distance in dilation):
        return F.pad(x, [n for pair in reversed(padding) for n in pair], mode="replicate")
    sides = enumerate(zip(padding, dilation, strict=True), start=2)
    for axis, ((before, after), distance) in sides:
        last = x.shape[axis] - 1
        place = torch.arange(-before, x.shape[axis] + after, device=x.device)
        place = torch.where(place < 0, place % distance, place)
        place = torch.where(place > last, last - (last - place) % distance, place)
        x = x.index_select(axis, place.clamp(0, last))
    return x


def split_channels(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Turn ``(N, C, *cells)`` into ``(N, *shape, *cells)``."""
    return x.reshape(x.shape[0], *shape, *x.shape[2:]) if shape else x.squeeze(1)


def take_channels(x: Tensor, indices: Sequence[int]) -> Tensor:
    """Keep or reorder channels."""
    first, count_ = indices[0], len(indices)
    if list(indices) == list(range(first, first + count_)):
        return x[:, first : first + count_]
    return x[:, torch.tensor(indices, device=x.device)]


def channel_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Tensor:
    """Apply layer normalization over the channels of every cell."""
    last = x.permute(0, *range(2, x.dim()), 1)
    normal = F.layer_norm(last, last.shape[-1:], weight, bias, epsilon)
    return normal.permute(0, x.dim() - 1, *range(1, x.dim() - 1))


def copied_cells(
    x: Tensor,
    weight: Tensor,
    bias: None,
    stride: Numbers,
    padding: Numbers,
    dilation: Numbers,
) -> Tensor:
    """Return the cells under a moving box as features ``(N, C * taps, rows, columns)``.

    That is what a convolution gives whose filters hold a single 1 each, in the order of the box.
    """
    kernel = weight.shape[2:]
    size = [
        (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    ]
    cells = F.unfold(x, tuple(kernel), tuple(dilation), tuple(padding), tuple(stride))
    return cells.reshape(x.shape[0], weight.shape[0], *size)


def sum_pool(x: Tensor, kernel: Numbers, stride: Numbers, dilation: Numbers) -> Tensor:
    """Return the sum over a moving box."""
    # An export to ONNX uses the filter of ones: the exporter drops a divisor (`program_to_onnx`).
    if all(n == 1 for n in dilation) and not torch.compiler.is_exporting():
        if len(kernel) == 1:  # PyTorch's pool over one axis takes no divisor
            wide = F.avg_pool2d(x[..., None], (*kernel, 1), (*stride, 1), divisor_override=1)
            return wide[..., 0]
        pool = F.avg_pool2d if len(kernel) == 2 else F.avg_pool3d
        return pool(x, tuple(kernel), tuple(stride), divisor_override=1)
    # No framework has a dilated average. A filter of ones adds the same numbers.
    channels = x.shape[1]
    ones = x.new_ones((channels, 1, *kernel))
    convolve = CONVOLUTIONS[len(kernel)]
    return convolve(x, ones, stride=tuple(stride), dilation=tuple(dilation), groups=channels)


def average_pool(
    x: Tensor, kernel: Numbers, stride: Numbers, dilation: Numbers, divisor: int | None
) -> Tensor:
    """Return the average over a moving box with dilation."""
    return sum_pool(x, kernel, stride, dilation) / (divisor or prod(kernel))
