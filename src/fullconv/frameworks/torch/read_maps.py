"""How ATen's operators on maps read: convolutions, pools and upsampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.aten import FxNode, base_name, handles
from fullconv.geometry import Sliding
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Pool,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader


def _pair(value: Any, default: tuple[int, int] | None = None) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if not value:
        assert default is not None
        return default
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def is_map(node: FxNode, reader: Reader) -> bool:
    """Whether a call runs over batches of 2-D maps; on others it has no rule."""
    if len(reader.shapes.get(reader.names.get(node.args[0]), ())) == 4:  # type: ignore[arg-type]
        return True
    reader.opaque(node, base_name(node.target))
    return False


@handles("conv2d", "_convolution_mode")
def _conv2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not is_map(node, reader):
        return
    kernel = reader.shapes[reader.names[a["weight"]]][2:]
    dilation = _pair(a["dilation"])
    padding = a["padding"]
    if padding == "same":
        # PyTorch puts the odd cell after (torch.nn.Conv2d, 'padding').
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        numbers = (0, 0) if padding == "valid" else _pair(padding)
        pads = [(n, n) for n in numbers]
    operation = Convolution(
        (kernel[0], kernel[1]),
        _pair(a["stride"]),
        (pads[0], pads[1]),
        dilation,
        a["groups"],
    )
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@handles("conv_transpose2d")
def _conv_transpose2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not is_map(node, reader):
        return
    kernel = reader.shapes[reader.names[a["weight"]]][2:]
    padding = _pair(a["padding"])
    operation = TransposedConvolution(
        (kernel[0], kernel[1]),
        _pair(a["stride"]),
        ((padding[0], padding[0]), (padding[1], padding[1])),
        _pair(a["dilation"]),
        a["groups"],
        _pair(a["output_padding"]),
    )
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@handles("convolution")
def _convolution(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    # What a trace records for both kinds, with the arguments of either.
    (_conv_transpose2d if a["transposed"] else _conv2d)(node, reader, a)


@handles("upsample_nearest2d", "_upsample_nearest_exact2d")
def _upsample(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    image, *settings = node.args
    before = reader.shapes[reader.names[image]][2:]  # type: ignore[index]
    after = reader.shapes[node.name][2:]
    factor = after[0] // before[0], after[1] // before[1]
    # Which cell is the nearest is a matter of rounding, so PyTorch itself is asked.
    cells = torch.arange(before[0] * before[1], dtype=torch.float64).reshape(1, 1, *before)
    nearest = node.target(cells, *settings, **node.kwargs)  # type: ignore[operator]
    if torch.equal(nearest, functional.upsample(cells, factor)):
        reader.add(node, Upsample(factor), (image,))
    else:
        reader.opaque(node, base_name(node.target))


@handles("max_pool2d")
def _max_pool2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if is_map(node, reader):
        reader.add(node, pool("max", node, reader, a), (a["self"],))


@handles("avg_pool2d")
def _avg_pool2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if is_map(node, reader):
        reader.add(node, pool("average", node, reader, a), (a["self"],))


def pool(kind: Literal["max", "average"], node: FxNode, reader: Reader, a: dict[str, Any]) -> Pool:
    """Return what a pool with these arguments does."""
    kernel = _pair(a["kernel_size"])
    stride = _pair(a["stride"], kernel)
    padding = _pair(a["padding"])
    dilation = _pair(a.get("dilation"), (1, 1))
    overhang = [0, 0]
    if a["ceil_mode"]:
        outputs, cells = reader.shapes[node.name][2:], reader.shapes[reader.names[a["self"]]][2:]
        for i in (0, 1):
            span = Sliding(kernel[i], dilation=dilation[i]).span
            overhang[i] = (outputs[i] - 1) * stride[i] + span - cells[i] - 2 * padding[i]
    return Pool(
        kind,
        kernel,
        stride,
        ((padding[0], padding[0]), (padding[1], padding[1])),
        dilation,
        (max(0, overhang[0]), max(0, overhang[1])),
        bool(a.get("count_include_pad", False)),
        a.get("divisor_override"),
    )


@handles("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if is_map(node, reader):
        size = reader.shapes[node.name][2:]
        reader.add(node, AdaptivePool("average", (size[0], size[1])), (a["self"],))
