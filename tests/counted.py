"""Networks over one, two and three axes, and counters of what they multiply when they run.

The counters know nothing of fullconv: PyTorch's own counts the operators that are called, the other
one the nodes of an ONNX model by the shapes of what ONNX Runtime has computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A network, the window and channels that it takes, a step, and an image."""

    network: Callable[[], nn.Module]
    channels: int
    window: Sizes
    step: int | Sizes
    image: Sizes


class Attention(nn.Module):
    """Attention over the cells of a map, by products of matrices or by PyTorch's own function."""

    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.by_hand = by_hand
        self.conv, self.qkv, self.out = nn.Conv2d(1, 8, 5, 4), nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.conv(x).flatten(2).transpose(1, 2)).chunk(3, -1)
        if self.by_hand:
            y = (q @ k.transpose(1, 2)).softmax(-1) @ v
        else:
            y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.mean(1))


class Unfolded(nn.Module):
    """A layer over the cells under a moving box, which `unfold` copies."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(18, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        cells = nn.functional.unfold(x, 3, padding=1, stride=2).transpose(1, 2)
        return self.out(self.fc(cells).amax(1))


class Recurrent(nn.Module):
    """An LSTM over the samples of a signal, whose results and last states are both used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 5, 2, 2)
        self.rnn = nn.LSTM(6, 7, batch_first=True, bidirectional=True)
        self.out = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, (h, _) = self.rnn(self.conv(x).transpose(1, 2))
        return self.out(y[:, -1] + h[0].repeat(1, 2))


class Gram(nn.Module):
    """The products of channels, summed over the cells of a window."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.out(torch.einsum("bchw,bdhw->bcd", y, y).flatten(1))


class Gated(nn.Module):
    """Squeeze and excitation between two padded convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(8, 8)
        self.second, self.out = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = y * self.gate(y.mean((2, 3))).sigmoid()[:, :, None, None]
        return self.out(self.second(y).amax((2, 3)))


class Computed(nn.Module):
    """A fully connected layer whose weights are a product of two matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)
        self.a, self.b = nn.Parameter(torch.randn(40, 30)), nn.Parameter(torch.randn(30, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).flatten(1) @ (self.a @ self.b)


def plain(*layers: nn.Module) -> Callable[[], nn.Module]:
    """Return what builds a network of layers that stand one behind the other."""
    return lambda: nn.Sequential(*layers)


CASES = {
    "signal": Case(
        plain(
            *(nn.Conv1d(2, 8, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(96, 3)),
        ),
        *(2, (32,), 4, (72,)),
    ),
    "signal, padded": Case(
        plain(
            *(nn.Conv1d(2, 8, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2)),
            *(nn.Conv1d(8, 8, 3, padding=1), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
            nn.Linear(8, 3),
        ),
        *(2, (64,), 8, (144,)),
    ),
    "signal, strided": Case(
        plain(
            *(nn.Conv1d(1, 8, 5, 2), nn.Conv1d(8, 8, 3, padding=2, dilation=2), nn.MaxPool1d(2)),
            *(nn.Flatten(), nn.Linear(120, 3)),
        ),
        *(1, (64,), 1, (94,)),
    ),
    "signal, recurrent": Case(Recurrent, 2, (40,), 4, (80,)),
    "signal, computed weights": Case(Computed, 1, (12,), 2, (40,)),
    "picture, grouped": Case(
        plain(
            *(nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)),
            *(nn.Flatten(), nn.Linear(512, 3)),
        ),
        *(4, (16, 16), (4, 2), (36, 36)),
    ),
    "strip of electrodes": Case(
        plain(
            *(nn.Conv2d(1, 4, (1, 9), padding=(0, 4)), nn.Conv2d(4, 8, (6, 1), groups=4)),
            *(nn.AvgPool2d((1, 4)), nn.Conv2d(8, 8, (1, 5)), nn.Flatten(), nn.Linear(96, 3)),
        ),
        *(1, (6, 64), 4, (6, 264)),
    ),
    "picture, resized": Case(
        plain(
            *(nn.Conv2d(1, 6, 3, padding=1), nn.Upsample(scale_factor=1.5, mode="bilinear")),
            *(nn.Conv2d(6, 6, 3), nn.Flatten(), nn.Linear(2904, 3)),
        ),
        *(1, (16, 16), 4, (36, 28)),
    ),
    "attention by hand": Case(lambda: Attention(True), 1, (29, 29), 4, (45, 37)),
    "attention": Case(lambda: Attention(False), 1, (29, 29), 4, (45, 37)),
    "einsum": Case(Gram, 1, (12, 12), 2, (20, 20)),
    "unfold": Case(Unfolded, 2, (16, 20), 2, (40, 48)),
    "gate": Case(Gated, 2, (16, 16), 4, (32, 32)),
    "volume, padded": Case(
        plain(
            *(nn.Conv3d(1, 4, 3, padding=1), nn.MaxPool3d(2), nn.Conv3d(4, 6, 3)),
            *(nn.Flatten(), nn.Linear(1296, 3)),
        ),
        *(1, (16, 16, 16), 4, (24, 20, 24)),
    ),
    "volume, transposed": Case(
        plain(
            *(nn.Conv3d(1, 4, 3, 2), nn.ConvTranspose3d(4, 4, 2, 2), nn.AdaptiveMaxPool3d(1)),
            *(nn.Flatten(), nn.Linear(4, 3)),
        ),
        *(1, (9, 9, 9), 4, (17, 17, 13)),
    ),
}


def in_torch(function: Callable[[Tensor], Any], image: Tensor) -> int:
    """Count the multiply-accumulates of the operators that a function calls."""
    own = {torch.ops.aten.mkldnn_rnn_layer: _recurrent}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=own) as counter:
        function(image)
    return int(counter.get_total_flops()) // 2


def _recurrent(x: Sizes, *weights: Sizes, **_: Any) -> int:
    """Count what PyTorch's counter leaves out: an LSTM as oneDNN runs it, two for each product."""
    return 2 * x[0] * x[1] * (prod(weights[0]) + prod(weights[1]))


def in_onnx(model: onnx.ModelProto, image: np.ndarray) -> int:
    """Count the multiply-accumulates of a model's nodes, by the shapes of what they compute.

    Filters of ones add up: they are pools by another name, which are not counted either.
    """
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    names = [name for node in shown.graph.node for name in node.output if name]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    found = dict(zip(names, session.run(names, {model.graph.input[0].name: image}), strict=True))
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    shapes |= {w.name: tuple(w.dims) for w in model.graph.initializer}
    shapes[model.graph.input[0].name] = tuple(image.shape)
    sums = {
        weight.name
        for weight in model.graph.initializer
        if len(weight.dims) > 2 and (onnx.numpy_helper.to_array(weight) == 1).all()
    }
    return sum(_of_node(node, shapes) for node in model.graph.node if not sums & {*node.input})


def _of_node(node: onnx.NodeProto, shapes: dict[str, Sizes]) -> int:
    given = [shapes.get(name, ()) for name in node.input]
    result = shapes[node.output[0]] if node.output[0] else ()
    if node.op_type == "Conv":
        return prod(result) * prod(given[1][1:])
    if node.op_type in ("MatMul", "Gemm"):
        return prod(result) * given[0][-1]
    if node.op_type == "Einsum":  # bchw,bdhw->bcd
        return prod(result) * prod(given[0][2:])
    if node.op_type == "LSTM":
        steps, images, _ = given[0]
        return steps * images * (prod(given[1]) + prod(given[2]))
    assert node.op_type != "ConvTranspose", node
    return 0
