"""Windows with a single cell, in the approximate form at steps finer than the network's stride.

At the window's own size the form is the classifier, bit for bit: padding beside the only cell of a
window is padding, and not the cell of a window in between. In larger images all tilings agree.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import fullconv
from fullconv.geometry.tiling import Plan
from oracle import assert_same

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from models import integer_images  # noqa: E402

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

WINDOW = {1: (6,), 2: (6, 5), 3: (5, 6, 4)}
"""A convolution of 3 cells and stride 4 leaves one cell, and the pixels behind it unread."""


class Single(nn.Module):
    """One cell per window, and a function of it."""

    def __init__(self, dimensions: int, function: Callable[[Single, Tensor], Tensor]) -> None:
        super().__init__()
        self.axes, self.function = dimensions, function
        convolution, transposed = CONVOLUTION[dimensions], TRANSPOSED[dimensions]
        self.first = convolution(1, 2, 3, stride=4)
        self.beside = convolution(1, 2, 2, stride=5)
        self.coarse = convolution(1, 2, 1, stride=2)
        self.wide = convolution(2, 2, 5, padding=2)
        self.next = convolution(2, 2, 3, padding=1)
        self.strided = convolution(2, 2, 5, stride=2, padding=2)
        self.dilated = convolution(2, 2, 3, padding=2, dilation=2)
        self.repeated = convolution(2, 2, 3, padding=1, padding_mode="replicate")
        self.bare = convolution(2, 2, 3)
        self.spread = transposed(2, 2, 3, stride=2)
        self.blurred = transposed(2, 2, 3)
        self.head = nn.LazyLinear(2)
        self(torch.zeros(1, 1, *WINDOW[dimensions]))
        draw = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self, x).flatten(1))


def pooled(net: Single, x: Tensor) -> Tensor:
    return net.next(net.coarse(x).sum(tuple(range(2, 2 + net.axes)), keepdim=True))


def largest(net: Single, x: Tensor) -> Tensor:
    y = net.coarse(x)
    return net.next(MAX[net.axes](y, tuple(y.shape[2:])))


def sliced(net: Single, x: Tensor) -> Tensor:
    y = net.coarse(x)
    for axis in range(2, 2 + net.axes):
        y = y.narrow(axis, 0, 1)
    return net.wide(y)


def joined(net: Single, x: Tensor) -> Tensor:
    return net.wide(net.first(x) + net.beside(x))


def upsampled(net: Single, x: Tensor) -> Tensor:
    return net.next(F.interpolate(net.first(x), scale_factor=2.0))


def transposed(net: Single, x: Tensor) -> Tensor:
    return net.next(net.spread(net.first(x)))


def padded(net: Single, x: Tensor) -> Tensor:
    return net.next(net.bare(F.pad(net.first(x), (1, 2) * net.axes, value=3.0)))


def gated(net: Single, x: Tensor) -> Tensor:
    y = net.coarse(x)
    gate = net.next(y.sum(tuple(range(2, 2 + net.axes)), keepdim=True))
    return y * gate


FUNCTIONS: dict[str, Callable[[Single, Tensor], Tensor]] = {
    "convolution": lambda net, x: net.wide(net.first(x)),
    "twice": lambda net, x: net.next(net.strided(net.first(x))),
    "dilated": lambda net, x: net.dilated(net.first(x)),
    "replicated": lambda net, x: net.repeated(net.first(x)),
    "maximum": lambda net, x: MAX[net.axes](net.first(x), 3, 1, 1),
    "average": lambda net, x: 2 * AVERAGE[net.axes](net.first(x), 2, 1, 1),
    "blurred": lambda net, x: net.next(net.blurred(net.first(x))),
    "transposed": transposed,
    "upsampled": upsampled,
    "padded": padded,
    "pooled": pooled,
    "largest": largest,
    "sliced": sliced,
    "joined": joined,
    "gated": gated,
}
CASES = [
    *((name, 1, (step,)) for name in FUNCTIONS for step in (1, 2, 3, 7)),
    *((name, 2, step) for name in FUNCTIONS for step in ((1, 2), (3, 1))),
    # PyTorch refuses to average over padding along three axes of one cell each.
    *((name, 3, (1, 2, 3)) for name in FUNCTIONS if name != "average"),
]


@pytest.mark.parametrize(("name", "dimensions", "step"), CASES)
def test_beside_a_single_cell_lies_padding(
    name: str, dimensions: int, step: tuple[int, ...]
) -> None:
    model = Single(dimensions, FUNCTIONS[name]).eval()
    window = WINDOW[dimensions]
    fcn = fullconv.convert(model, window, step, exact=False, check=False)
    images = integer_images(3, 1, *window)
    expected = model(images).detach()
    assert expected.unique().numel() > 1
    assert_same(fcn(images).reshape(3, -1), expected)

    size = tuple(w + 3 * s + 2 for w, s in zip(window, step, strict=True))
    larger = integer_images(1, 1, *size)
    scores = fcn(larger)
    assert scores.shape[2:] == fcn.grid.shape(size)
    plan = Plan(size, fcn.grid, (1,) * dimensions, fcn.halo)
    assert len(plan) > 1
    assert_same(fcn._run_tiles(larger, plan), scores)


@pytest.mark.parametrize("name", ["convolution", "twice", "dilated", "maximum"])
def test_finer_steps_answer_between_the_scores_of_the_network_s_own_step(name: str) -> None:
    """A kernel reads neighbours as far apart as where the network itself runs over the image."""
    model = Single(2, FUNCTIONS[name]).eval()
    images = integer_images(1, 1, 18, 17)
    plain, fine = (
        fullconv.convert(model, WINDOW[2], step, exact=False, check=False) for step in (4, (1, 2))
    )
    assert_same(fine(images)[..., ::4, ::2], plain(images))
