"""Read ATen operators on maps: convolutions, pools and upsampling, over 1 to 3 axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.aten import FxNode, base_name, handles
from fullconv.geometry.grid import Sizes, Sliding
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Pool,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader


def _each(value: Any, axes: int, default: Sizes = ()) -> Sizes:
    """Return a setting for every axis; a single number stands for all of them."""
    if isinstance(value, int):
        return (value,) * axes
    if not value:
        return default
    return tuple(value) * axes if len(value) == 1 else tuple(value)


def _both(padding: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((n, n) for n in padding)


def map_axes(node: FxNode, reader: Reader, axes: int | None = None) -> int:
    """Return the number of axes of cells of a call's first argument.

    Where it is not 1 to 3, or is not ``axes``, the call is added as opaque, and 0 is returned.
    """
    rank = len(reader.shapes.get(reader.names.get(node.args[0]), ()))  # type: ignore[arg-type]
    if 3 <= rank <= 5 and axes in (None, rank - 2):
        return rank - 2
    reader.opaque(node, base_name(node.target))
    return 0


@handles("conv1d", "conv2d", "conv3d", "_convolution_mode")
def _convolution(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    kernel = reader.shapes[reader.names[a["weight"]]][2:]
    axes = map_axes(node, reader, len(kernel))
    if not axes:
        return
    dilation = _each(a["dilation"], axes)
    padding = a["padding"]
    if padding == "same":
        # PyTorch puts the odd cell after (torch.nn.Conv2d, 'padding').
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = tuple((t // 2, t - t // 2) for t in total)
    else:
        pads = _both((0,) * axes if padding == "valid" else _each(padding, axes))
    operation = Convolution(kernel, _each(a["stride"], axes), pads, dilation, a["groups"])
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@handles("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    kernel = reader.shapes[reader.names[a["weight"]]][2:]
    axes = map_axes(node, reader, len(kernel))
    if not axes:
        return
    operation = TransposedConvolution(
        kernel,
        _each(a["stride"], axes),
        _both(_each(a["padding"], axes)),
        _each(a["dilation"], axes),
        a["groups"],
        _each(a["output_padding"], axes),
    )
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@handles("convolution")
def _either(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    # A trace records both kinds as this operator, with the arguments of both.
    (_transposed if a["transposed"] else _convolution)(node, reader, a)


@handles(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
)
def _upsample(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    image, *settings = node.args
    before = reader.shapes[reader.names[image]][2:]  # type: ignore[index]
    after = reader.shapes[node.name][2:]
    factor = tuple(n // m for n, m in zip(after, before, strict=True))
    # The nearest cell depends on rounding, so PyTorch itself computes it.
    cells = torch.arange(prod(before), dtype=torch.float64).reshape(1, 1, *before)
    nearest = node.target(cells, *settings, **node.kwargs)  # type: ignore[operator]
    if torch.equal(nearest, functional.upsample(cells, factor)):
        reader.add(node, Upsample(factor), (image,))
    else:
        reader.opaque(node, base_name(node.target))


@handles("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if map_axes(node, reader, _digit(node)):
        reader.add(node, pool("max", node, reader, a), (a["self"],))


@handles("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _average_pool(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if map_axes(node, reader, _digit(node)):
        reader.add(node, pool("average", node, reader, a), (a["self"],))


def _digit(node: FxNode) -> int:
    """Return the number of axes in an operator's name: 2 of ``max_pool2d``."""
    return int(base_name(node.target)[-2])


def pool(kind: Literal["max", "average"], node: FxNode, reader: Reader, a: dict[str, Any]) -> Pool:
    """Return the operation of a pool with these arguments."""
    outputs, cells = reader.shapes[node.name][2:], reader.shapes[reader.names[a["self"]]][2:]
    axes = len(cells)
    kernel = _each(a["kernel_size"], axes)
    stride = _each(a["stride"], axes, kernel)
    padding = _each(a["padding"], axes)
    dilation = _each(a.get("dilation"), axes, (1,) * axes)
    overhang = [0] * axes
    if a["ceil_mode"]:
        for i in range(axes):
            span = Sliding(kernel[i], dilation=dilation[i]).span
            overhang[i] = (outputs[i] - 1) * stride[i] + span - cells[i] - 2 * padding[i]
    return Pool(
        kernel=kernel,
        stride=stride,
        padding=_both(padding),
        dilation=dilation,
        kind=kind,
        overhang=tuple(max(0, cells) for cells in overhang),
        count_include_pad=bool(a.get("count_include_pad", False)),
        divisor=a.get("divisor_override"),
    )


@handles("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive_average_pool(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if map_axes(node, reader, _digit(node)):
        size = reader.shapes[node.name][2:]
        reader.add(node, AdaptivePool("average", size), (a["self"],))
