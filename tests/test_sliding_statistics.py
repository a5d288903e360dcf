"""Statistics over a window, in the approximate form: around every cell, and clipped to the map.

The definition is a loop over the cells of the map (`around_every_cell`). Whole numbers are compared
bit for bit; what takes roots and quotients is compared as closely as the classifier is to itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import log2
from typing import Any

import numpy as np
import pytest

import fullconv
from fullconv.geometry.doubling import doublings
from fullconv.geometry.tiling import Plan
from fullconv.lift.memory import Size, elements
from oracle import assert_close, assert_same, self_difference, torch_classifier

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fullconv.frameworks.torch import functional  # noqa: E402
from models import integer_images, with_integers  # noqa: E402
from networks.checks import traced  # noqa: E402

WINDOW = (14, 18)
EXTENT = (6, 8)
"""Cells of the gated map, behind a convolution of 3x3 and stride 2."""
TIMES = 16
"""What other orders of sums may come to, in differences of the classifier from itself."""


# ---------------------------------------------------------------------------------------------
# The definition


def around_every_cell(
    x: Tensor, kernel: tuple[int, int], statistic: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return a statistic of ``(N, C, ky, kx)`` around every cell, ``(N, C, Y, X)``.

    The rectangle has as many cells before the cell as behind it, one more behind where their
    number is even; at the border of the map it is the last one inside.
    """
    rows = []
    for i in range(x.shape[2]):
        row = []
        for j in range(x.shape[3]):
            top, left = (
                min(max(0, place - (cells - 1) // 2), size - cells)
                for place, cells, size in zip((i, j), kernel, x.shape[2:], strict=True)
            )
            row.append(statistic(x[:, :, top : top + kernel[0], left : left + kernel[1]]))
        rows.append(torch.cat(row, 3))
    return torch.cat(rows, 2)


def maximum(x: Tensor) -> Tensor:
    return x.amax((2, 3), keepdim=True)


def total(x: Tensor) -> Tensor:
    return x.sum((2, 3), keepdim=True)


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def length(x: Tensor) -> Tensor:
    return x.norm(dim=(2, 3), keepdim=True)


GATES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "maximum": (maximum, lambda s: s.clamp(-1, 2)),
    "sum": (total, lambda s: s.remainder(3)),
    "mean": (mean, torch.floor),
    "length": (length, torch.floor),
}
"""A statistic of whole numbers, and what makes a small whole number of it."""


def test_every_count_is_reached_in_twice_its_logarithm_of_passes() -> None:
    for cells in range(1, 600):
        passes, count = list(doublings(cells)), 1
        for held, more in passes:
            assert held == count
            assert more in (1, held)
            count += more
        assert count == cells
        assert len(passes) <= 2 * log2(cells)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 5), (7, 3), (6, 8)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (1, 2)])
def test_totals_are_those_of_every_rectangle(
    kernel: tuple[int, int], dilation: tuple[int, int]
) -> None:
    x = integer_images(2, 3, 15, 16)
    held = F.unfold(x, kernel, dilation).reshape(2, 3, kernel[0] * kernel[1], -1)
    size = [n - d * (k - 1) for n, k, d in zip((15, 16), kernel, dilation, strict=True)]
    for kind, wanted in (("sum", held.sum(2)), ("max", held.amax(2))):
        assert_same(
            functional.sliding_total(x, kind, kernel, dilation), wanted.reshape(2, 3, *size)
        )


def test_the_variance_of_numbers_that_are_nearly_the_same_keeps_its_digits() -> None:
    """The mean of squares less the square of the mean would leave none of them."""
    x = integer_images(1, 4, 24, 24) + 2.0**14
    found = functional.sliding_norm(x, None, None, 2, (8, 8), (1, 1), 0.0)

    def norm(crop: Tensor) -> Tensor:
        return F.group_norm(crop.double(), 2, eps=0.0)[:, :, 3:4, 3:4]

    wanted = torch.cat(
        [torch.cat([norm(x[:, :, i : i + 8, j : j + 8]) for j in range(17)], 3) for i in range(17)],
        2,
    )
    assert (found[:, :, 3:20, 3:20] - wanted).abs().max() < 1e-3


# ---------------------------------------------------------------------------------------------
# Networks: a convolution, a statistic that scales its map, a dense layer over the map


class Scaled(nn.Module):
    """A map of 6x8 cells, what a function makes of it, and a dense layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, 2)
        self.function = function
        self.parts = nn.ModuleList(parts)
        self.fc = nn.Linear(4 * EXTENT[0] * EXTENT[1], 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(self.first(x)).flatten(1))

    def classical(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the scores over an image, with another function of the whole map."""
        filters = self.fc.weight.reshape(3, 4, *EXTENT)
        return F.conv2d(function(self.first(x)), filters, self.fc.bias).detach()


def gated(name: str) -> Callable[[Tensor], Tensor]:
    statistic, small = GATES[name]
    return lambda x: x * small(statistic(x))


def normed(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a norm that is made whole again, far from where rounding could go either way."""
    return lambda x: torch.floor(norm(x) * 2 + 0.21)


NORMS: dict[str, Callable[[], nn.Module]] = {
    "group norm": lambda: nn.GroupNorm(2, 4),
    "layer norm over all": lambda: nn.GroupNorm(1, 4),
    "instance norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "layer norm over space": lambda: nn.LayerNorm([4, *EXTENT], elementwise_affine=False),
    "layer norm over columns": lambda: nn.LayerNorm(EXTENT[1], elementwise_affine=False),
}


@cache
def network(name: str) -> Scaled:
    if name in GATES:
        return whole(Scaled(gated(name)))
    norm = NORMS[name]()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.arange(1, 5) / 2)
    return whole(Scaled(normed(norm), norm))


def whole(model: Scaled) -> Scaled:
    """Give a model whole weights, so that every cell counts."""
    draw = torch.Generator().manual_seed(1)
    with_integers(model)
    with torch.no_grad():
        model.fc.weight.copy_(torch.randint(1, 3, model.fc.weight.shape, generator=draw))
    return model


@cache
def program(name: str) -> Any:
    return traced(network(name), torch.zeros(1, 2, *WINDOW))


@cache
def converted(name: str, step: int | tuple[int, int] | None = None) -> Any:
    """Return the approximate form of a network of whole numbers."""
    return fullconv.convert(program(name), window=WINDOW, step=step, exact=False)


def around(name: str) -> Callable[[Tensor], Tensor]:
    """Return the function of a whole map that a network of this name stands for."""
    if name in GATES:
        statistic, small = GATES[name]
        return lambda x: x * small(around_every_cell(x, EXTENT, statistic))
    module = NORMS[name]()
    kernel = (1, EXTENT[1]) if "columns" in name else EXTENT
    groups = {"group norm": 2, "instance norm": 4, "layer norm over columns": 4}.get(name, 1)

    def moments(x: Tensor, take: Callable[[Tensor], Tensor]) -> Tensor:
        def statistic(crop: Tensor) -> Tensor:
            each = take(crop.reshape(len(crop), groups, -1))
            return each.repeat_interleave(4 // groups, 1)[:, :, None, None]

        return around_every_cell(x.double(), kernel, statistic)

    def function(x: Tensor) -> Tensor:
        centre = moments(x, lambda e: e.mean(2))
        spread = (moments(x, lambda e: e.var(2, correction=0)) + 1e-5).sqrt()
        scale = torch.arange(1, 5)[:, None, None] / 2 if list(module.parameters()) else 1.0
        shift = scale if list(module.parameters()) else 0.0
        return torch.floor(((x - centre) / spread * scale + shift) * 2 + 0.21).float()

    return function


NAMES = [*GATES, *NORMS]
STEPS = [None, 1, (6, 4)]


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_scaled_by_the_statistic_of_the_cells_around_it(name: str) -> None:
    fcn = converted(name)
    assert not fcn.report.per_window
    images = integer_images(1, 2, 32, 30)
    # The last row of cells belongs to no whole window, and is real context for the others.
    assert_same(fcn(images), network(name).classical(images, around(name))[:, :, :10, :7])


@pytest.mark.parametrize("name", NAMES)
def test_a_step_below_the_stride_gives_the_scores_of_shifted_images(name: str) -> None:
    images = integer_images(1, 2, 31, 32)
    scores, plain = converted(name, 1)(images), converted(name)
    for y in (0, 1):
        for x in (0, 1):
            assert_same(scores[:, :, y::2, x::2], plain(images[:, :, y:, x:]))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", NAMES)
def test_at_the_native_size_the_approximate_form_is_the_classifier(
    name: str, step: int | tuple[int, int] | None
) -> None:
    images = integer_images(2, 2, *WINDOW)
    assert_same(converted(name, step)(images)[..., 0, 0], network(name)(images).detach())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", NAMES)
def test_tiles_and_one_pass_are_the_same_bits(
    name: str, step: int | tuple[int, int] | None
) -> None:
    """Even of a variance, which is no whole number: it is added up in one order everywhere."""
    fcn, images = converted(name, step), integer_images(1, 2, 43, 39)
    expected = fcn(images)
    for shape in ((2, 3), (40, 5)):
        plan = Plan((43, 39), fcn.grid, shape, fcn.halo)
        assert len(plan) > 1
        assert_same(fcn._run_tiles(images, plan), expected)


def test_the_halo_is_half_a_window_of_cells_and_no_less() -> None:
    fcn, images = converted("sum"), integer_images(1, 2, 53, 49)
    (top, bottom), (left, right) = fcn.halo
    assert fcn.halo == ((4, 6), (6, 8))
    expected = fcn(images)
    for halo in (
        ((top - 2, bottom), (left, right)),
        ((top, bottom - 2), (left, right)),
        ((top, bottom), (left - 2, right)),
        ((top, bottom), (left, right - 2)),
    ):
        plan = Plan((53, 49), fcn.grid, (2, 3), halo)
        assert not torch.equal(fcn._run_tiles(images, plan), expected)


def test_a_gate_of_booleans_slides() -> None:
    class Gated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(maximum(x) > 2, x, -x).sum((2, 3))

    model, images = Gated(), integer_images(1, 3, 8, 9)
    fcn = fullconv.convert(model, window=(8, 9), exact=False)
    assert_same(fcn(images)[..., 0, 0], model(images))
    assert fcn(integer_images(1, 3, 11, 13)).shape[2:] == (4, 5)


def test_statistics_of_one_axis_slide_along_that_axis() -> None:
    def strip(x: Tensor) -> Tensor:
        return x * x.amax(3, keepdim=True).clamp(-1, 2)

    model = whole(Scaled(strip))
    fcn = fullconv.convert(model, window=WINDOW, exact=False)
    assert fcn.halo == ((0, 0), (6, 8))
    images = integer_images(1, 2, 32, 30)

    def expected(x: Tensor) -> Tensor:
        gate = around_every_cell(x, (1, EXTENT[1]), maximum)
        return x * gate.clamp(-1, 2)

    assert_same(fcn(images), model.classical(images, expected)[:, :, :10, :7])


# ---------------------------------------------------------------------------------------------
# Blocks as they are published


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, 2), nn.Linear(2, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(torch.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]


class ChannelAttention(nn.Module):
    """The gate of CBAM: of the mean and the maximum of every channel (Woo et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(channels, 2, 1), nn.ReLU(), nn.Conv2d(2, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean, top = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
        return x * (self.mlp(mean) + self.mlp(top)).sigmoid()


class ResponseNorm(nn.Module):
    """Global response normalization, on channels that come last (ConvNeXt V2, section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        response = x.norm(p=2, dim=(1, 2), keepdim=True)
        relative = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        return (x + torch.addcmul(self.bias, self.weight, x * relative)).permute(0, 3, 1, 2)


BLOCKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "squeeze and excitation": (
        lambda: SqueezeExcite(4),
        "mul '1.mul' the gate is taken over a window that slides along with the cell",
    ),
    "channel attention": (
        lambda: ChannelAttention(4),
        "mul '1.mul' the gate is taken over a window that slides along with the cell",
    ),
    "response norm": (
        lambda: ResponseNorm(4),
        "mul '1.mul' the gate is taken over a window that slides along with the cell",
    ),
    "group norm": (
        lambda: nn.GroupNorm(2, 4),
        "GroupNorm '1' takes its statistics over a window that slides along with the cell",
    ),
    "instance norm": (
        lambda: nn.InstanceNorm2d(4),
        "InstanceNorm2d '1' takes its statistics over a window that slides along with the cell",
    ),
}


def published(name: str) -> nn.Module:
    """Return a network with the block between two convolutions."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(nn.Conv2d(2, 4, 3, 2), BLOCKS[name][0](), nn.Conv2d(4, 4, 3), head).eval()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_slides_and_is_reported_and_equals_the_classifier_at_its_size(name: str) -> None:
    model = published(name)
    fcn = fullconv.convert(model, window=WINDOW, exact=False)
    assert [str(reason) for reason in fcn.report.reasons] == [BLOCKS[name][1]]
    assert not fcn.report.exact
    assert not fcn.report.per_window
    images = torch.randn(4, 2, *WINDOW)
    unit = self_difference(torch_classifier(model), images)
    assert_close(fcn(images)[..., 0, 0], model(images).detach(), unit, TIMES)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_scores_of_a_block_differ_from_the_crops_and_verify_says_by_how_much(name: str) -> None:
    model = published(name)
    fcn = fullconv.convert(model, window=WINDOW, exact=False)
    proof = fullconv.verify(fcn, model, torch.randn(1, 2, 60, 50), windows=9)
    assert proof.max_error > 1000 * proof.self_error


@pytest.mark.parametrize("name", BLOCKS)
def test_the_exact_form_of_a_block_is_the_crops(name: str) -> None:
    model = published(name)
    fcn = fullconv.convert(model, window=WINDOW)
    assert fcn.report.per_window
    proof = fullconv.verify(fcn, model, torch.randn(1, 2, 40, 30), windows=9)
    assert proof.passed


def test_parameters_for_every_place_of_the_window_keep_it_per_window() -> None:
    model = Scaled(nn.LayerNorm([4, *EXTENT])).eval()
    fcn = fullconv.convert(model, window=WINDOW, exact=False)
    assert [str(reason) for reason in fcn.report.reasons] == [
        "LayerNorm 'function' has parameters that depend on the place inside the window; from "
        "here on it runs on one tensor per window"
    ]
    assert fcn.report.per_window
    assert fcn.report.exact
    assert fcn.halo == ((0, 0), (0, 0))


def test_a_norm_over_a_map_of_one_cell_is_shared_and_exact() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, 2), nn.Conv2d(4, 4, EXTENT), nn.GroupNorm(2, 4), nn.Flatten()
    ).eval()
    fcn = fullconv.convert(model, window=WINDOW)
    assert fcn.report.exact
    assert fcn.report.one_pass
    assert fullconv.verify(fcn, model, torch.randn(1, 2, 40, 30), windows=9).passed


# ---------------------------------------------------------------------------------------------
# ONNX, exports, training, memory


def _as_exported(graph: Any, x: str) -> str:
    """Return a group norm as PyTorch's exporter writes it: an instance norm between reshapes."""
    wide = graph.add("Reshape", x, graph.integers(0, 2, -1))
    ones, zeros = graph.number([1, 1]), graph.number([0, 0])
    normal = graph.add("InstanceNormalization", wide, ones, zeros)
    normal = graph.add("Reshape", normal, graph.add("Shape", x))
    scaled = graph.add("Mul", normal, graph.number([[[1]], [[2]], [[3]], [[1]]]))
    return graph.add("Add", scaled, graph.number([[[0]], [[1]], [[0]], [[1]]]))


ONNX_BLOCKS: dict[str, tuple[Callable[[Any, str], str], int]] = {
    "gate by the mean": (
        lambda g, x: g.add("Mul", x, g.add("Floor", g.add("GlobalAveragePool", x))),
        17,
    ),
    "gate by the maximum": (
        lambda g, x: g.add("Mul", x, g.add("Sign", g.add("GlobalMaxPool", x))),
        17,
    ),
    "instance norm": (
        lambda g, x: g.add("InstanceNormalization", x, g.number([1, 2, 3, 1]), g.number([0] * 4)),
        17,
    ),
    "group norm": (
        lambda g, x: g.add(
            "GroupNormalization", x, g.number([1, 2, 3, 1]), g.number([0, 1, 0, 1]), num_groups=2
        ),
        21,
    ),
    "group norm between reshapes": (_as_exported, 17),
    "length": (
        lambda g, x: g.add("Div", x, g.add("ReduceL2", x, axes=[2, 3], keepdims=1)),
        17,
    ),
}


@pytest.mark.parametrize("name", ONNX_BLOCKS)
def test_an_onnx_model_slides_and_tiles_are_the_same_bits(name: str) -> None:
    from networks.onnx_form import around as between
    from oracle import onnx_classifier

    body, opset = ONNX_BLOCKS[name]
    model = between(body, (10, 12), opset)
    fcn = fullconv.convert(model, exact=False)
    assert not fcn.report.per_window
    assert any("slides along with the cell" in reason for reason in fcn.report.reasons)
    draw = np.random.default_rng(0)
    channels = fcn.shape.channels
    native = draw.integers(1, 4, (2, channels, 10, 12)).astype(np.float32)
    classify = onnx_classifier(model)
    unit = self_difference(classify, native)
    assert_close(fcn(native)[..., 0, 0], classify(native), unit, TIMES)
    images = draw.integers(1, 4, (1, channels, 31, 33)).astype(np.float32)
    plan = Plan((31, 33), fcn.grid, (4, 5), fcn.halo)
    assert_close(fcn._run_tiles(images, plan), fcn(images), unit, TIMES)
    if "gate" in name:
        assert_same(fcn._run_tiles(images, plan), fcn(images))


@pytest.mark.parametrize("name", ["gate by the mean", "instance norm"])
def test_an_onnx_model_below_its_stride_gives_the_scores_of_shifted_images(name: str) -> None:
    from networks.onnx_form import around as between

    body, opset = ONNX_BLOCKS[name]

    def halved(graph: Any, x: str) -> str:
        return body(graph, graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))

    model = between(halved, (11, 13), opset)
    fine, plain = (fullconv.convert(model, step=step, exact=False) for step in (1, 2))
    images = np.random.default_rng(0).integers(1, 4, (1, 2, 30, 31)).astype(np.float32)
    scores = fine(images)
    for y in (0, 1):
        for x in (0, 1):
            wanted = plain(images[:, :, y:, x:])
            unit = float(np.spacing(np.abs(wanted).max()))
            assert_close(scores[:, :, y::2, x::2], wanted, 0 if "gate" in name else unit, TIMES)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("name", ["group norm", "channel attention"])
def test_a_saved_model_slides_over_images_of_any_size(
    name: str, suffix: str, tmp_path: Any
) -> None:
    model = published(name)
    fcn = fullconv.convert(model, window=WINDOW, exact=False)
    fcn.save(tmp_path / f"model{suffix}")
    loaded = fullconv.load(tmp_path / f"model{suffix}")
    unit = self_difference(torch_classifier(model), torch.randn(4, 2, *WINDOW))
    for size in (WINDOW, (14, 40), (61, 57)):
        images = torch.randn(1, 2, *size)
        given = images if suffix == ".pt2" else images.numpy()
        assert_close(torch.as_tensor(loaded(given)), fcn(images), unit, TIMES)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_approximate_form_can_be_trained(name: str) -> None:
    fcn = fullconv.convert(published(name), window=WINDOW, exact=False)
    fcn.model(torch.randn(1, 2, 40, 30)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fcn.model.parameters())


def test_a_large_image_needs_memory_for_the_image_and_not_for_its_windows() -> None:
    model = published("group norm")
    sliding, exact = (
        fullconv.convert(model, window=WINDOW, exact=exact) for exact in (False, True)
    )
    shape = sliding.grid.shape((2048, 2048))
    pixels = 2048 * 2048
    assert elements(sliding.footprint, shape) < 24 * pixels
    assert elements(exact.footprint, shape) > 150 * pixels


def test_a_halo_that_is_too_large_for_the_budget_is_not_read_again_for_every_window() -> None:
    grid, halo, size = fullconv.Grid((64, 64), (16, 16)), ((512, 512), (512, 512)), (8192, 8192)
    plan = Plan.within(size, grid, halo, (Size((256, 0, 0, 0)),), limit=1000)
    pixels = [tile.pixel_count for tile in plan]
    assert sum(pixels) < 12 * size[0] * size[1]
    assert max(pixels) < 2.2 * (1024 + 64) ** 2
