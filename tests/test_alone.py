"""Classifiers whose score of an image depends on the other images of its batch, or that take one.

The score of a window is what the classifier gives for that crop alone, a batch of one. The weights
are small whole numbers, so that sums and maxima are exactly the crops'; where something divides or
takes roots, the scores may be off by a few roundings.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fullconv
from fullconv.conversion import converted
from networks.checks import assert_shared
from oracle import assert_close, assert_same, leaves, scores_of_crops, torch_classifier

WINDOW, STEP = (6, 7), (1, 2)
CELLS = (3, 4, 5)
"""Channels, rows and columns of the map behind the convolution."""
ROUNDINGS = 32


class Odd(nn.Module):
    """A convolution, a fully connected layer, and what is done around them."""

    window = WINDOW

    def __init__(self, change: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.change = change
        self.conv, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(60, 4)
        self.extra = nn.Parameter(torch.zeros(1, 3, 2, 5))
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> Any:
        return self.change(self, x)

    def head(self, y: Tensor) -> Tensor:
        scores: Tensor = self.fc(y.flatten(1))
        return scores


def images(count: int = 2) -> Tensor:
    """Return images that are darker on the left than on the right."""
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(-3, 4, (count, 2, 9, 12), generator=draw)
    return (pixels * torch.arange(1, 13)).float()


EXACTLY: dict[str, Callable[[Any, Tensor], Any]] = {
    "sum of all": lambda m, x: m.head(m.conv(x - x.sum())),
    "maximum of all": lambda m, x: m.head(m.conv(x) * x.max()),
    "minimum of all": lambda m, x: m.head(m.conv(x - x.min())),
    "mean over the batch": lambda m, x: m.head(m.conv(x) - x.mean(0).sum(0).max()),
    "maximum over the batch": lambda m, x: m.head(m.conv(x) + m.conv(x).amax(0, keepdim=True)),
    "softmax over the batch": lambda m, x: m.head(m.conv(x).softmax(0)),
    "running sum over the batch": lambda m, x: m.head(m.conv(x).cumsum(0)),
    "sorted batch": lambda m, x: m.head(m.conv(x).sort(0)[0]),
    "flipped batch": lambda m, x: m.head(m.conv(x).flip(0)),
    "rolled batch": lambda m, x: m.head(m.conv(x).roll(1, 0)),
    "largest of the batch": lambda m, x: m.head(m.conv(x).topk(1, 0)[0]),
    "differences in the batch": lambda m, x: m.head(
        torch.cat([m.conv(x)[:1], torch.diff(m.conv(x), dim=0)])
    ),
    "chosen by all": lambda m, x: m.head(torch.where(x.sum() > 0, m.conv(x), -m.conv(x))),
    "chosen by any": lambda m, x: m.head(torch.where((x > 30).any(), m.conv(x), -m.conv(x))),
    "filled with the maximum": lambda m, x: m.head(m.conv(x).masked_fill(m.conv(x) > 9, x.max())),
    "median of all": lambda m, x: m.head(m.conv(x - x.median())),
    "place of the maximum": lambda m, x: m.head(m.conv(x) + x.argmax()),
    "counted": lambda m, x: m.head(m.conv(x)) * (x > 9).sum(),
    "product of the batch with itself": lambda m, x: (
        m.head(m.conv(x) // 8).t() @ m.head(m.conv(x) // 8)
    ),
    "einsum over the batch": lambda m, x: torch.einsum(
        "bk,bl->kl", m.head(m.conv(x) // 8), m.head(m.conv(x) // 8)
    ),
    "outer product": lambda m, x: torch.outer(
        m.head(m.conv(x) // 8).squeeze(0), m.head(m.conv(x) // 8).squeeze(0)
    ),
    "first of the batch": lambda m, x: m.head(m.conv(x))[0],
    "last of the batch": lambda m, x: m.head(m.conv(x))[-1:],
    "gathered from the batch": lambda m, x: m.head(
        m.conv(x).gather(0, torch.zeros(1, *CELLS, dtype=torch.long))
    ),
    "squeezed": lambda m, x: m.head(m.conv(x)).squeeze(),
    "squeezed map": lambda m, x: m.fc(m.conv(x).squeeze().flatten()),
    "one number": lambda m, x: m.head(m.conv(x))[:, :1].squeeze(),
    "sum of the scores": lambda m, x: m.head(m.conv(x)).sum(),
    "view of one image": lambda m, x: m.fc(m.conv(x).view(1, -1)),
    "view of one vector": lambda m, x: m.fc(m.conv(x).view(-1)),
    "running sum of one vector": lambda m, x: m.fc(m.conv(x).view(-1)).cumsum(0),
    "transposed scores": lambda m, x: m.head(m.conv(x)).t(),
    "several outputs": lambda m, x: {"a": m.head(m.conv(x)), "b": (x.max(), m.conv(x).sum(0))},
    "times the number of images": lambda m, x: m.head(m.conv(x)) * x.shape[0],
    "another way for several images": lambda m, x: (
        m.head(m.conv(x)) if x.shape[0] > 1 else -m.head(m.conv(x))
    ),
    "augmented, viewed and added": lambda m, x: (
        m.head(m.conv(torch.cat([x, x.flip(3), x.flip(2)]))).view(3, -1, 4).sum(0)
    ),
    "augmented, in two chunks": lambda m, x: torch.maximum(
        *m.head(m.conv(torch.cat([x, x.flip(3)]))).chunk(2)
    ),
    "augmented, cut by the number of images": lambda m, x: (
        m.head(m.conv(torch.cat([x, x.flip(3)])))[: len(x)]
        - m.head(m.conv(torch.cat([x, x.flip(3)])))[len(x) :]
    ),
    "augmented, side by side": lambda m, x: (
        m.head(m.conv(torch.stack([x, x.flip(3)], 1).flatten(0, 1))).view(-1, 2, 4).amax(1)
    ),
    "augmented, repeated": lambda m, x: m.head(m.conv(x.repeat(2, 1, 1, 1))).sum(0, keepdim=True),
    "augmented, not put together": lambda m, x: m.head(m.conv(torch.cat([x, x.flip(3)]))),
    "a parameter beside the map": lambda m, x: m.head(
        torch.cat([m.extra.expand(len(x), -1, -1, -1), m.conv(x)[:, :, :2]], 2)
    ),
    "a parameter in the batch": lambda m, x: m.head(torch.cat([m.conv(x), m.conv(x * 0)])).sum(0),
    "filters from the image": lambda m, x: F.conv2d(
        x[:, :1], m.head(m.conv(x) // 8).view(-1, 1, 2, 2)[:1]
    ).flatten(1),
    "a row of the weights by place": lambda m, x: m.fc.weight.t()[m.conv(x).argmax() % 60],
    "a row of the weights from behind": lambda m, x: m.fc.weight.t()[-1 - m.conv(x).argmax()],
    "a channel by place": lambda m, x: m.conv(x)[:, m.conv(x).sum().long() % 3].flatten(1),
    "a row of windows by place": lambda m, x: m.conv(x)[0, :, m.conv(x).argmax() % 4],
    "filters transposed": lambda m, x: F.conv_transpose2d(m.conv(x), m.conv.weight.abs()).amax(1),
    "written into the first image": lambda m, x: _written(m, x),
    "a map without a batch": lambda m, x: m.fc(m.conv(x.squeeze(0)).flatten()),
}


def _written(model: Any, x: Tensor) -> Any:
    y = model.conv(x).clone()
    y[0, 1] = 5
    y[:, 0] = y.max()
    return model.head(y)


NEARLY: dict[str, Callable[[Any, Tensor], Any]] = {
    "standardised": lambda m, x: m.head(m.conv((x - x.mean()) / x.std())),
    "standardised by channel": lambda m, x: m.head(
        (m.conv(x) - m.conv(x).mean((0, 2, 3), keepdim=True))
        / m.conv(x).std((0, 2, 3), keepdim=True)
    ),
    "between 0 and 1": lambda m, x: m.head(m.conv((x - x.amin()) / (x.amax() - x.amin()))),
    "norm of all": lambda m, x: m.head(m.conv(x / x.norm())),
    "norm over the batch": lambda m, x: m.head(F.normalize(m.conv(x), dim=0)),
    "quantile of all": lambda m, x: m.head(m.conv(x.clamp(max=x.quantile(0.9)))),
    "layer norm of all": lambda m, x: m.head(F.layer_norm(m.conv(x), (1, *CELLS))),
    "statistics of the batch": lambda m, x: m.head(
        F.batch_norm(m.conv(x), None, None, training=True)
    ),
    "group norm of channels in the place of images": lambda m, x: m.head(
        F.group_norm(m.conv(x).transpose(0, 1), 1).transpose(0, 1)
    ),
    "instance norm of channels in the place of images": lambda m, x: m.head(
        F.instance_norm(m.conv(x).transpose(0, 1)).transpose(0, 1)
    ),
    "batch norm of rows in the place of images": lambda m, x: m.head(
        F.batch_norm(m.conv(x).transpose(0, 2), None, None, training=True).transpose(0, 2)
    ),
    "attention over the batch": lambda m, x: m.fc(
        (m.conv(x).flatten(1) @ m.conv(x).flatten(1).t()).softmax(-1) @ m.conv(x).flatten(1)
    ),
    "softmax of one vector": lambda m, x: m.fc(m.conv(x).view(-1)).softmax(0),
    "distances": lambda m, x: m.head(m.conv(x)) + torch.dist(x, x * 2),
}


def scores_and_crops(model: Odd) -> tuple[Any, Any, Any]:
    """Convert, and return the network, its scores, and those of the crops, one at a time."""
    fcn = fullconv.convert(model, WINDOW, STEP)
    assert fcn.report.exact
    expected = scores_of_crops(torch_classifier(model), images(), WINDOW, STEP)
    return fcn, fcn(images()), expected


def as_rows(scores: Any) -> list[Tensor]:
    """Return every output as ``(N, numbers, rows, columns)``, whatever shape a window's own has."""
    return [
        leaf.reshape(leaf.shape[0], -1, *leaf.shape[-2:]).contiguous() for _, leaf in leaves(scores)
    ]


@pytest.mark.parametrize("kind", EXACTLY)
def test_a_window_has_the_score_of_its_crop_alone(kind: str) -> None:
    _, scores, expected = scores_and_crops(Odd(EXACTLY[kind]).eval())
    assert_same(as_rows(scores), as_rows(expected))


@pytest.mark.parametrize("kind", NEARLY)
def test_a_window_has_the_score_of_its_crop_alone_but_for_roundings(kind: str) -> None:
    _, scores, expected = scores_and_crops(Odd(NEARLY[kind]).eval())
    for own, wanted in zip(as_rows(scores), as_rows(expected), strict=True):
        unit = float(torch.finfo(own.dtype).eps * wanted.abs().max())
        assert_close(own, wanted, unit, ROUNDINGS)


def test_what_runs_alone_is_named() -> None:
    fcn, _, _ = scores_and_crops(Odd(EXACTLY["sorted batch"]).eval())
    (reason,) = [reason for reason in fcn.report.reasons if "alone" in reason]
    assert (reason.operation, reason.layer) == ("sort", "sort")


@pytest.mark.parametrize("kind", ["sorted batch", "chosen by all", "augmented, in two chunks"])
def test_scores_depend_neither_on_tiles_nor_on_other_images(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcn, scores, _ = scores_and_crops(Odd(EXACTLY[kind]).eval())
    assert_same(fcn(images()[1:]), scores[1:])
    monkeypatch.setattr(converted, "CALL_BUDGET_BYTES", 1)
    assert_same(fcn(images()), scores)


def test_what_runs_alone_is_saved_and_loaded(tmp_path: Path) -> None:
    fcn, scores, _ = scores_and_crops(Odd(EXACTLY["product of the batch with itself"]).eval())
    fcn.save(tmp_path / "fcn.pt2")
    assert_same(fullconv.load(tmp_path / "fcn.pt2")(images()), scores)


def test_what_runs_alone_is_written_as_onnx(tmp_path: Path) -> None:
    fcn, scores, _ = scores_and_crops(Odd(EXACTLY["sorted batch"]).eval())
    fcn.save(tmp_path / "fcn.onnx")
    assert_same(fullconv.load(tmp_path / "fcn.onnx")(images().numpy()), scores.numpy())


SHARED: dict[str, Callable[[Any, Tensor], Any]] = {
    "nothing odd": lambda m, x: m.head(m.conv(x)),
    "dropout in use": lambda m, x: m.head(F.dropout(m.conv(x), 0.5, training=False)),
    "running statistics": lambda m, x: m.head(
        F.batch_norm(m.conv(x), torch.ones(3), torch.ones(3), training=False)
    ),
    "softmax of the channels": lambda m, x: m.head(m.conv(x).softmax(1)),
    "maximum of the channels": lambda m, x: m.head(m.conv(x) + m.conv(x).amax(1, keepdim=True)),
    "mean of the pixels": lambda m, x: m.conv(x).mean((2, 3)),
    "norm of the channels": lambda m, x: m.head(F.normalize(m.conv(x), dim=1)),
    "flattened with the batch's number": lambda m, x: m.fc(m.conv(x).view(x.shape[0], -1)),
    "a batch of one axis more": lambda m, x: m.head(m.conv(x).unsqueeze(0).squeeze(0)),
    "one image taken": lambda m, x: m.fc(m.conv(x)[0].flatten()),
    "view of one image": lambda m, x: m.fc(m.conv(x).view(1, -1)),
}


@pytest.mark.parametrize("kind", SHARED)
def test_what_treats_each_image_by_itself_stays_shared(kind: str) -> None:
    fcn, scores, expected = scores_and_crops(Odd(SHARED[kind]).eval())
    assert_shared(fcn)
    for own, wanted in zip(as_rows(scores), as_rows(expected), strict=True):
        unit = float(torch.finfo(own.dtype).eps * wanted.abs().max())
        assert_close(own, wanted, unit, ROUNDINGS)


TOGETHER: dict[str, Callable[[Any, Tensor], Any]] = {
    "norm of each image": lambda m, x: m.head(
        m.conv(x / torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True))
    ),
    "deviation of each image": lambda m, x: m.head(m.conv(x / x.std((1, 2, 3), keepdim=True))),
    "running sum of rows": lambda m, x: m.head(m.conv(x).cumsum(2)),
    "sorted columns": lambda m, x: m.head(m.conv(x).sort(3)[0]),
    "attention": lambda m, x: m.head(
        F.scaled_dot_product_attention(*[m.conv(x).flatten(2)[:, None]] * 3)
    ),
    "bilinear": lambda m, x: m.head(
        F.interpolate(m.conv(x), scale_factor=(1.5, 1.4), mode="bilinear")[:, :, :4, :5]
    ),
}


@pytest.mark.parametrize("kind", TOGETHER)
def test_what_cannot_be_shared_runs_on_all_windows_at_once(kind: str) -> None:
    fcn, _, _ = scores_and_crops(Odd(TOGETHER[kind]).eval())
    assert fcn.report.reasons
    assert not [reason for reason in fcn.report.reasons if "alone" in reason]
