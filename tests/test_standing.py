"""Every operator of PyTorch that is said to treat the images of a batch alone, along every axis.

One model does all of them behind a convolution, each an output of its own, so that neither sums nor
activations behind them hide what is mixed. The loop over crops, each alone, decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fullconv
from fullconv.frameworks.torch.standing import families
from oracle import assert_close, scores_of_crops, torch_classifier

WINDOW, CELLS = (5, 6), (3, 3, 4)
RANK = 4
ROUNDINGS = 64

Change = Callable[[Tensor, int], Any]
"""From a map ``(1, 3, 3, 4)`` and an axis, tensors."""

ALONG: dict[str, Change] = {
    **{
        name: lambda y, d, name=name: getattr(torch, name)(y, dim=d)
        for name in """
        cumsum cumprod cummax cummin logcumsumexp sort argsort median nanmedian mode prod amax amin
        min max argmax argmin any all nansum nanmean mean sum count_nonzero
        """.split()
    },
    **{
        name: lambda y, d, name=name: getattr(torch, name)(y, dim=d, correction=0)
        for name in ("std", "var", "std_mean", "var_mean")
    },
    "diff": lambda y, d: torch.diff(torch.cat([y, -y], d), dim=d),
    "topk": lambda y, d: torch.topk(y, 1, d),
    "kthvalue": lambda y, d: torch.kthvalue(y, 1, d),
    "flip": lambda y, d: torch.flip(y, (d,)),
    "roll": lambda y, d: torch.roll(y, 1, d),
    "logsumexp": lambda y, d: torch.logsumexp(y, d),
    "aminmax": lambda y, d: tuple(torch.aminmax(y, dim=d, keepdim=True)),
    "norm": lambda y, d: torch.norm(y, 3, d),
    "linalg_vector_norm": lambda y, d: torch.linalg.vector_norm(y, 3, d),
    "quantile": lambda y, d: torch.quantile(y, 0.3, d),
    "nanquantile": lambda y, d: torch.nanquantile(y, 0.3, d),
    "glu": lambda y, d: F.glu(torch.cat([y, y * 2], d), d),
    "unfold": lambda y, d: y.unfold(d, 1, 1),
    "repeat_interleave": lambda y, d: y.repeat_interleave(2, d),
    "renorm": lambda y, d: torch.renorm(y, 2, d, 20.0),
    "index_select": lambda y, d: y.index_select(d, torch.tensor([0, 0])),
    "index_fill": lambda y, d: y.index_fill(d, torch.tensor([0]), 7.0),
    "gather": lambda y, d: y.gather(d, torch.zeros_like(y, dtype=torch.long)),
    "scatter": lambda y, d: y.scatter(d, torch.zeros_like(y, dtype=torch.long), y * 2),
    "scatter_add": lambda y, d: y.scatter_add(d, torch.zeros_like(y, dtype=torch.long), y),
    "scatter_reduce": lambda y, d: y.scatter_reduce(
        d, torch.zeros_like(y, dtype=torch.long), y, "amax"
    ),
    "take_along_dim": lambda y, d: torch.take_along_dim(y, y.argmin(d, keepdim=True), d),
    "cosine_similarity": lambda y, d: F.cosine_similarity(y, y.abs() + 1, d),
    "softmax": lambda y, d: y.softmax(d),
    "cat": lambda y, d: torch.cat([y, -y], d),
    "tril": lambda y, d: y.transpose(d, 2).tril(),
    "triu": lambda y, d: y.transpose(d, 3).triu(),
    "diagonal": lambda y, d: torch.diagonal(y, 0, d, (d + 1) % RANK),
    "pad": lambda y, d: F.pad(y, [0, 0] * (3 - d) + [1, 2]),
    "repeat": lambda y, d: y.repeat(*(2 if axis == d else 1 for axis in range(RANK))),
    "tile": lambda y, d: torch.tile(y, tuple(2 if axis >= d else 1 for axis in range(d, RANK))),
    "expand": lambda y, d: y.narrow(d, 0, 1).expand(
        *(5 if axis == d else -1 for axis in range(RANK))
    ),
    "index": lambda y, d: y[(slice(None),) * d + (torch.tensor([0, 0]),)],
    "layer_norm": lambda y, d: F.layer_norm(y, y.shape[d:]),
    "rms_norm": lambda y, d: F.rms_norm(y, y.shape[d:]),
    "group_norm": lambda y, d: F.group_norm(_turned(y, d), 1),
    "instance_norm": lambda y, d: (
        F.instance_norm(_turned(y, d)),
        F.instance_norm(_turned(y, d), *_running(_turned(y, d)), use_input_stats=False),
    ),
    "batch_norm": lambda y, d: F.batch_norm(_turned(y, d), *_running(_turned(y, d))),
    "matmul": lambda y, d: (
        _turned(y, d) @ _turned(y, d).mT,
        _turned(y, d) @ y.new_ones(_turned(y, d).shape[-1], 2),
        y[0] @ torch.arange(24.0).view(3, 4, 2),
    ),
    "linear": lambda y, d: F.linear(_turned(y, d), _turned(y, d)[0, 0]),
    "scaled_dot_product_attention": lambda y, d: F.scaled_dot_product_attention(
        *[_turned(y, d)] * 3
    ),
    "cdist": lambda y, d: (torch.cdist(y, y.flip(d)), torch.cdist(y, y[0])),
    "bmm": lambda y, d: torch.bmm(y.flatten(0, 1), y.flatten(0, 1).mT),
    "baddbmm": lambda y, d: torch.baddbmm(
        y.flatten(0, 1)[..., :3], y.flatten(0, 1), y.flatten(0, 1).mT
    ),
    "mm": lambda y, d: (y.flatten(1) @ y.new_ones(36, 2), y.flatten(1).t() @ y.flatten(1)),
    "einsum": lambda y, d: (
        torch.einsum("nchw,nchv->nwv", y, y),
        torch.einsum("nchw,mchw->nm", y, y),
        torch.einsum("nchw,nchw->cw", y, y),
    ),
    "embedding": lambda y, d: F.embedding(y.argmax(d), torch.arange(0.0, 8).view(4, 2) ** 2),
    "one_hot": lambda y, d: F.one_hot(y.argmax(d), 4),
    "bucketize": lambda y, d: torch.bucketize(y, torch.arange(0.0, 9)),
    "view_as_complex": lambda y, d: torch.view_as_real(
        torch.view_as_complex(torch.stack([y, y], 4)) ** 2
    ),
    "grid_sampler": lambda y, d: F.grid_sample(
        y, y.flatten(1)[:, :18].view(1, 3, 3, 2).tanh(), align_corners=False
    ),
    "conv1d": lambda y, d: F.conv1d(_turned(y, d)[0], _turned(y, d)[0][:1, :, :2]),
    "conv_transpose2d": lambda y, d: F.conv_transpose2d(y, y.new_ones(3, 2, 2, 2), stride=3),
    "avg_pool1d": lambda y, d: F.avg_pool1d(_turned(y, d)[0], 2),
    "avg_pool2d": lambda y, d: F.avg_pool2d(_turned(y, d), 2, padding=1),
    "avg_pool3d": lambda y, d: F.avg_pool3d(_turned(y, d), (1, 2, 2)),
    "max_pool2d": lambda y, d: (
        F.max_pool2d(_turned(y, d), (1, 2)),
        *F.max_pool2d(_turned(y, d), (1, 2), return_indices=True),
    ),
    "adaptive_max_pool2d": lambda y, d: F.adaptive_max_pool2d(_turned(y, d), 2, True),
    "adaptive_avg_pool2d": lambda y, d: F.adaptive_avg_pool2d(_turned(y, d)[0], 2),
    "upsample_bilinear2d": lambda y, d: F.interpolate(_turned(y, d), (5, 5), mode="bilinear"),
    "upsample_nearest1d": lambda y, d: F.interpolate(_turned(y, d)[0], 5),
    "im2col": lambda y, d: F.unfold(_turned(y, d), 1),
    "pixel_shuffle": lambda y, d: F.pixel_shuffle(torch.cat([y, y, y, y], 1), 2),
    "pixel_unshuffle": lambda y, d: F.pixel_unshuffle(y[..., :2, :], 2),
}


def _turned(y: Tensor, d: int) -> Tensor:
    """Return a map whose images are the entries of an axis, and twice as many along this axis."""
    return torch.cat([y, y * 2], 0).transpose(0, d) if d else y


def _running(y: Tensor) -> tuple[Tensor, Tensor]:
    ones = y.new_ones(y.shape[1])
    return ones * 3, ones * 4


class Everything(nn.Module):
    """A convolution, and every operation behind it along one axis."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.conv = nn.Conv2d(2, 3, 3)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.conv(x)
        return {name: _floating(change(y, self.dim)) for name, change in ALONG.items()}


class LSTM(nn.Module):
    """Recurrent layers along rows and columns, and along the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 3, 3)
        self.first, self.second = nn.LSTM(4, 2, 2, batch_first=True), nn.GRU(4, 2)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.conv(x)
        last, (hidden, cells) = self.first(y[:, 0])
        return {
            "batch first": (last, hidden, cells),
            "steps first": self.second(y[:, 0].transpose(0, 1)),
            "over the batch": self.second(y[:, 0]),
        }


def _floating(result: Any) -> tuple[Tensor, ...]:
    several = result if isinstance(result, tuple) else (result,)
    return tuple(x.float() for x in several)


def images() -> Tensor:
    """Return images whose windows differ by far: a hundredfold from left to right."""
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(2, 2, 6, 9, generator=draw) - 0.3) * torch.logspace(-1, 1, 9)


def assert_as_crops(model: nn.Module) -> None:
    """Compare each output with the crops' by itself, within roundings of the largest number."""
    fcn = fullconv.convert(model, WINDOW, 1, check=False)
    assert fcn.report.exact
    scores = fcn(images())
    expected = scores_of_crops(torch_classifier(model), images(), WINDOW, (1, 1))
    assert list(scores) == list(expected)
    for name, wanted in expected.items():
        for mine, other in zip(scores[name], wanted, strict=True):
            rows = [x.reshape(len(images()), -1, *x.shape[-2:]).contiguous() for x in (mine, other)]
            unit = float(torch.finfo(torch.float32).eps * other.abs().max())
            try:
                assert_close(*rows, unit, ROUNDINGS)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("dim", range(RANK))
def test_every_operator_has_the_scores_of_the_crops_along_every_axis(dim: int) -> None:
    assert_as_crops(Everything(dim).eval())


def test_recurrent_layers_have_the_scores_of_the_crops() -> None:
    assert_as_crops(LSTM().eval())


ALIKE = {
    "adaptive_avg_pool1d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool3d",
    "adaptive_max_pool2d", "max_pool1d", "max_pool3d", "max_pool2d_with_indices", "col2im",
    "conv2d", "conv3d", "conv_transpose1d", "conv_transpose3d", "convolution", "_convolution",
    "upsample_linear1d", "upsample_trilinear3d", "upsample_bicubic2d", "upsample_nearest2d",
    "upsample_nearest3d", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    "constant_pad_nd", "view_as_real", "lstm", "gru", "rnn_tanh", "rnn_relu",
}  # fmt: skip
"""Listed operators that others stand for: the same operation of another size, or under it."""


def test_every_listed_operator_is_tried() -> None:
    assert set(families) <= set(ALONG) | ALIKE
