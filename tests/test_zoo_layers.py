"""What networks of the zoos do in their own code, beside layers: read, and shared where it can be.

Weights and pixels are small integers, so that every score must equal its crop's, bit for bit.
"""

from __future__ import annotations

import pytest

import fullconv
import fullconv.errors
from oracle import assert_same, scores_of_crops, torch_classifier

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

WINDOW = (16, 18)


class Net(nn.Module):
    """A padded convolution, something between, another one, and a head over all cells."""

    def __init__(self, between: type[nn.Module], channels: int, cells: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.between = between()
        self.second = nn.Conv2d(channels, 3, 3, padding=1)
        self.head = nn.Linear(3 * cells, 2)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.between(self.first(x))).flatten(1))


class Unshuffle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)


class SpaceToDepth(nn.Module):
    """As TResNet's stem writes it, here with blocks of 2x3."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(n, c, h // 2, 2, w // 3, 3).permute(0, 3, 5, 1, 2, 4).contiguous()
        return x.view(n, 6 * c, h // 2, w // 3)


class Stack(nn.Module):
    """Branches on an axis of their own, joined with the channels afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.stack([x, 2 * x], dim=1), torch.stack([x.abs(), 1 - x], dim=1)
        return torch.cat([a, b[:, 1:]], 1).flatten(1, 2)


class Expanded(nn.Module):
    """One number per cell, enlarged to all channels before it is added."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.amax(1, keepdim=True).expand_as(x)


SHARED = {
    "pixel_unshuffle": (Net(Unshuffle, 16, 8 * 9), (2, 2)),
    "space to depth by view": (Net(SpaceToDepth, 24, 8 * 6), (2, 3)),
    "stack": (Net(Stack, 12, 16 * 18), (1, 1)),
    "expand_as": (Net(Expanded, 4, 16 * 18), (1, 1)),
}


@pytest.mark.parametrize("name", SHARED)
def test_windows_share_it_and_equal_their_crops(name: str) -> None:
    model, stride = SHARED[name]
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(-2, 3, (2, 3, 27, 31), generator=draw).float()
    classify = torch_classifier(model.eval())
    for step in (stride, (4, 6), (5, 1)):
        fcn = fullconv.convert(model, WINDOW, step)
        assert fcn.report.stride == stride
        assert fcn.report.reasons == ()
        assert_same(fcn(images), scores_of_crops(classify, images, WINDOW, step))


class Attention(nn.Module):
    """A gate of half the size, enlarged again; the last map is 3 of 7 cells wide (GhostNetV2)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        for _ in range(3):
            gate = F.avg_pool2d(x, 2).sign()
            x = x * F.interpolate(gate, size=x.shape[2:], mode="nearest")
        return x.sum((2, 3))


def test_a_map_that_is_made_smaller_and_larger_again_keeps_the_stride() -> None:
    report = fullconv.explain(Attention(), (29, 29))
    assert report.stride == (4, 4)
    assert [reason.operation for reason in report.reasons] == ["upsample_nearest2d"]


class Heads(nn.Module):
    """The mean of two heads, of which each sees the picture turned round (CrossViT's last line)."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(3 * 8 * 8, 6) for _ in range(2)])
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape).float()

    def forward(self, x: Tensor) -> Tensor:
        answers = [head(torch.roll(x, 1, dims=2).flatten(1)) for head in self.heads]
        return torch.mean(torch.stack(answers, dim=0), dim=0)


def test_an_axis_before_the_batch_that_is_reduced_leaves_the_batch() -> None:
    images = torch.randint(-2, 3, (3, 3, 10, 11)).float()
    model = Heads()
    fcn = fullconv.convert(model, (8, 8), 1)
    assert [reason.operation for reason in fcn.report.reasons] == ["roll"]
    assert_same(fcn(images), scores_of_crops(torch_classifier(model), images, (8, 8), (1, 1)))


class Positions(nn.Module):
    """Numbers per place that are made for as many images as come (EdgeNeXt's encoding)."""

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        rows = torch.ones(n, h, w).cumsum(1)[..., None] * torch.tensor([1.0, 2.0])
        places = torch.stack((rows, -rows), dim=4).flatten(3)
        return (x[:, :1] * places.permute(0, 3, 1, 2)).flatten(1)[:, ::3]


class Wrapped(nn.Module):
    """A sum that must not be taken in less precision, and a part without gradients."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            y, z = (x + 1).chunk(2, 2)
        with torch.no_grad():
            return (y * 2 - z).flatten(1)


class Routed(nn.Module):
    """Every image by filters of its own, as groups of one image (conditional convolutions)."""

    def __init__(self) -> None:
        super().__init__()
        filters = torch.arange(2 * 4 * 3 * 3 * 3).reshape(2, -1) % 5 - 2
        self.filters = nn.Parameter(filters.float())

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        route = x[:, :2].amax((2, 3)).sign()
        filters = torch.matmul(route, self.filters).view(n * 4, c, 3, 3)
        y = F.conv2d(x.reshape(1, n * c, h, w), filters, padding=1, groups=n)
        return y.permute(1, 0, 2, 3).reshape(n, 4 * h * w)[:, ::7]


@pytest.mark.parametrize(
    ("between", "operations"), [(Positions, ["mul"]), (Wrapped, []), (Routed, ["conv2d"])]
)
def test_it_runs_on_as_many_windows_as_there_are(
    between: type[nn.Module], operations: list[str]
) -> None:
    images = torch.randint(-2, 3, (3, 3, 10, 11)).float()
    model = nn.Sequential(between())
    fcn = fullconv.convert(model, (8, 8), 1)
    assert [reason.operation for reason in fcn.report.reasons] == operations
    assert_same(fcn(images), scores_of_crops(torch_classifier(model), images, (8, 8), (1, 1)))


class Autocast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu"):
            return x.flatten(1) @ torch.ones(192, 2)


def test_a_model_that_switches_autocast_on_is_refused() -> None:
    with pytest.raises(fullconv.errors.ModelError) as caught:
        fullconv.convert(Autocast(), (8, 8))
    assert str(caught.value) == (
        "convert: the model switches autocast on for cpu in its own forward, so its scores depend "
        "on the kind of machine; take torch.autocast out of the model."
    )


class BlockMatrices(nn.Module):
    """A pool into a grid on the way to one matrix per window (bilinear attention)."""

    def forward(self, x: Tensor) -> Tensor:
        rows = F.adaptive_avg_pool2d(x, (4, 1))[:, 0]
        return torch.matmul(rows @ rows.transpose(1, 2), x[:, 1, :4]).flatten(1)


def test_what_has_no_rule_does_not_multiply_the_stride() -> None:
    assert fullconv.explain(BlockMatrices(), (8, 8)).stride == (1, 1)


class Grouped(nn.Module):
    """Cells in groups of 2x2, and back, several times (attention within groups, MaxViT)."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        for _ in range(4):
            x = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1)
            x = torch.cumsum(x, -1).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
        return x.flatten(1)


def test_cells_that_are_grouped_and_put_back_do_not_multiply_the_stride() -> None:
    assert fullconv.explain(Grouped(), (8, 8)).stride == (1, 1)
