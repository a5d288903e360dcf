"""What lifting adds to PyTorch: functions on stored maps with free height and width.

Sizes are taken from the image, so that a traced or exported model answers for any size.
``window`` and ``step`` are pixels, (rows, columns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fullconv.doubling import around, doublings

Pair = Sequence[int]
Segment = Any
"""A tuple of a name and numbers: what `assemble` takes along one axis."""
Totals = Sequence[Tensor]
Merge = Callable[[Totals, Totals, float], Totals]


def count(image: Tensor, window: Pair, step: Pair) -> tuple[int, int]:
    """Count the windows in images ``(N, C, H, W)``, as (rows, columns)."""
    return (
        (image.shape[2] - window[0]) // step[0] + 1,
        (image.shape[3] - window[1]) // step[1] + 1,
    )


def window_count(image: Tensor, window: Pair, step: Pair) -> int:
    """Count the windows of all images."""
    rows, columns = count(image, window, step)
    return image.shape[0] * rows * columns


def on_a_copy(x: Tensor, overwrite: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Return a copy of a tensor that has been overwritten."""
    return overwrite(x.clone(), *arguments)


def entry(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """Return one entry along an axis, which is gone; ``index`` is a tensor of one number."""
    counted = torch.where(index < 0, index + x.shape[axis], index)
    return x.index_select(axis, counted.reshape(1)).squeeze(axis)


def for_each_window(x: Tensor, image: Tensor, window: Pair, step: Pair) -> Tensor:
    """Repeat a parameter for every window: ``(windows, *shape)``."""
    return x.expand(window_count(image, window, step), *x.shape)


def keep(
    x: Tensor, image: Tensor, window: Pair, step: Pair, rows: Pair | None, columns: Pair | None
) -> Tensor:
    """Keep the cells that whole windows own: ``stride * (count - 1) + span`` of each axis."""
    counts = count(image, window, step)
    for axis, kept in enumerate((rows, columns)):
        if kept is not None:
            x = x.narrow(2 + axis, 0, kept[0] * (counts[axis] - 1) + kept[1])
    return x


def cells(x: Tensor, before: Pair, after: Pair, stride: Pair) -> Tensor:
    """Drop cells at both ends of each axis, then keep every ``stride``-th."""
    rows, columns = (slice(before[axis], -after[axis] or None, stride[axis]) for axis in (0, 1))
    return x[:, :, rows, columns]


def upsample(x: Tensor, factor: Pair) -> Tensor:
    """Repeat every cell ``factor`` times along rows and columns.

    By copying alone: `F.interpolate` would compute in rounded numbers which cell it copies.
    """
    n, c, height, width = x.shape
    cells = x[:, :, :, None, :, None].expand(n, c, height, factor[0], width, factor[1])
    return cells.reshape(n, c, height * factor[0], width * factor[1])


def assemble(
    parts: Sequence[Tensor],
    image: Tensor,
    window: Pair,
    step: Pair,
    channels: int,
    rows: Sequence[Segment],
    columns: Sequence[Segment],
) -> Tensor:
    """Put a block together: part ``(i, j)`` gives what ``rows[i]`` and ``columns[j]`` take of it.

    A segment is ``("own", cells)``, ``("gathered", cells, stride)`` or ``("running", (before,
    after))``; see `fullconv.operations.Assemble`. Everything is a view until it is concatenated.
    """
    counts = count(image, window, step)
    bands = []
    for i, row in enumerate(rows):
        line = []
        for j, column in enumerate(columns):
            x = parts[i * len(columns) + j]
            held = [n if s[0] == "own" else 1 for n, s in zip(counts, (row, column), strict=True)]
            # (N, rows or 1, columns or 1, C, Y, X)
            x = x.reshape(image.shape[0], held[0], held[1], channels, *x.shape[2:])
            x = _take(x, 1, counts[0], row)
            line.append(_take(x, 2, counts[1], column))
        bands.append(torch.cat(line, 5) if len(line) > 1 else line[0])
    block = torch.cat(bands, 4) if len(bands) > 1 else bands[0]
    return block.reshape(-1, *block.shape[3:])


def _take(x: Tensor, axis: int, windows: int, segment: Segment) -> Tensor:
    """Take cells along axis ``3 + axis``; windows that come out of it are axis ``axis``."""
    kind, cells = segment[:2]
    place = 3 + axis
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
    # The windows stand where the cells stood, and the cells at the end.
    return x.squeeze(axis).movedim(-1, place).movedim(place - 1, axis)


def lay_out(
    x: Tensor, image: Tensor, window: Pair, step: Pair, channels: int, axes: Pair, private: Pair
) -> Tensor:
    """Lay windows with one cell along some axes out as the cells of those axes."""
    counts = count(image, window, step)
    rows, columns = (n if p else 1 for n, p in zip(counts, private, strict=True))
    x = x.reshape(image.shape[0], rows, columns, channels, *x.shape[2:])
    # Where windows are laid out, their axis changes places with the single cell's.
    for axis in (1, 2):
        if axes[axis - 1]:
            x = x.transpose(axis, 3 + axis)
    return x.reshape(-1, *x.shape[3:])


def divide_cells(x: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Divide every cell by the product of its row's and its column's number."""
    if len(rows) == len(columns) == 1:
        return x / (rows[0] * columns[0])
    y, x_ = (torch.tensor(numbers, dtype=x.dtype, device=x.device) for numbers in (rows, columns))
    return x / (y[:, None] * x_)


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


def sliding_total(x: Tensor, kind: str, kernel: Pair, dilation: Pair) -> Tensor:
    """Sum or maximum over every rectangle of so many cells."""
    merge = torch.add if kind == "sum" else torch.maximum
    for axis, cells, distance in zip((2, 3), kernel, dilation, strict=True):
        (x,) = _totals((x,), axis, cells, distance, lambda a, b, _: (merge(a[0], b[0]),))
    return x


def sliding_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    groups: int,
    kernel: Pair,
    dilation: Pair,
    epsilon: float,
) -> Tensor:
    """Normalize the channels of every group by their mean and variance around every cell."""
    wide = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    mean = wide.mean(2)
    # Over a short axis, `torch.var_mean` takes ten times as long.
    variance = (wide - mean.unsqueeze(2)).square().mean(2)
    for axis, cells, distance in zip((2, 3), kernel, dilation, strict=True):
        mean, variance = _totals((mean, variance), axis, cells, distance, _merge_moments)
    border = [around(cells, distance) for cells, distance in zip(kernel, dilation, strict=True)]
    mean, variance = stretch(mean, border, dilation), stretch(variance, border, dilation)
    wide = (wide - mean.unsqueeze(2)) * torch.rsqrt(variance + epsilon).unsqueeze(2)
    if weight is not None:
        wide = wide * weight.reshape(groups, -1, 1, 1)
    if bias is not None:
        wide = wide + bias.reshape(groups, -1, 1, 1)
    return wide.reshape(x.shape)


def _totals(single: Totals, axis: int, cells: int, distance: int, merge: Merge) -> Totals:
    """Merge ``cells`` neighbours ``distance`` apart, at every place along an axis where they are.

    See Note [Totals of a sliding window] in `fullconv.doubling`.
    """
    total = single
    for held, more in doublings(cells):
        further = total if more == held else single
        if torch.compiler.is_exporting():
            # An exporter takes seconds for every size that it has not met, and so the size stays:
            # what is rolled round the end is cut off with it below.
            first, second = total, [t.roll(-held * distance, axis) for t in further]
        else:
            first = [t.narrow(axis, 0, t.shape[axis] - more * distance) for t in total]
            lost = held * distance
            second = [t.narrow(axis, lost, t.shape[axis] - lost) for t in further]
        total = merge(first, second, more / (held + more))
    length = single[0].shape[axis] - (cells - 1) * distance
    return tuple(t.narrow(axis, 0, length) for t in total)


def _merge_moments(a: Totals, b: Totals, share: float) -> Totals:
    """Merge mean and variance of two sets, of which the second holds this share of all."""
    apart = b[0] - a[0]
    within = torch.lerp(a[1], b[1], share)
    variance = within.addcmul_(apart, apart, value=share * (1 - share))
    return torch.add(a[0], apart, alpha=share), variance


def stretch(x: Tensor, padding: Sequence[Pair], dilation: Pair) -> Tensor:
    """Repeat the border cells, or of ``dilation`` cells each its own; ((top, bottom), ...)."""
    if tuple(dilation) == (1, 1):
        (top, bottom), (left, right) = padding
        return F.pad(x, (left, right, top, bottom), mode="replicate")
    for axis, (before, after), distance in zip((2, 3), padding, dilation, strict=True):
        last = x.shape[axis] - 1
        place = torch.arange(-before, x.shape[axis] + after, device=x.device)
        place = torch.where(place < 0, place % distance, place)
        place = torch.where(place > last, last - (last - place) % distance, place)
        x = x.index_select(axis, place.clamp(0, last))
    return x


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
    # To ONNX goes the filter of ones: the exporter drops a divisor (`to_onnx`).
    if tuple(dilation) == (1, 1) and not torch.compiler.is_exporting():
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
