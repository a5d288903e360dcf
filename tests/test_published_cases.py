"""The conversions that everyone quotes, with their published numbers.

A dense layer as 1x1 filters, the heads of AlexNet and VGG16, the dress detector, and the order of
the flatten. Weights and pixels are small whole numbers, so that right means equal (see `oracle`).
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fullconv
from oracle import (
    assert_close,
    assert_same,
    scores_of_crops,
    self_difference,
    torch_classifier,
)

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from architectures import ResNet18  # noqa: E402
from models import (  # noqa: E402
    VGG16,
    AlexNet,
    DressDetector,
    integer_images,
    with_integers,
)

N, M = 5, 7


def whole_numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


# ---------------------------------------------------------------------------------------------
# One dense layer as 1x1 filters


def test_a_dense_layer_in_rows_columns_in_out_order() -> None:
    weight, x = whole_numbers(N, M), whole_numbers(1, 1, N, seed=1)
    filters = fullconv.dense_to_conv(weight, (1, 1, N), order="HWC")
    assert filters.shape == (1, 1, N, M)
    y = np.einsum("hwn,abnm->hwm", x, filters)
    assert y.shape == (1, 1, M)
    assert_same(np.maximum(y, 0).ravel(), np.maximum(x.ravel() @ weight, 0))


def test_a_dense_layer_in_out_in_rows_columns_order() -> None:
    weight, x = whole_numbers(M, N), whole_numbers(N, 1, 1, seed=1)
    filters = fullconv.dense_to_conv(weight, (N, 1, 1))
    assert filters.shape == (M, N, 1, 1)
    y = torch.relu(nn.functional.conv2d(torch.from_numpy(x)[None], torch.from_numpy(filters)))
    assert tuple(y.shape) == (1, M, 1, 1)
    assert_same(y.numpy().ravel(), np.maximum(weight @ x.ravel(), 0))


def test_both_orders_are_the_same_filters_turned() -> None:
    weight = whole_numbers(4 * 2 * 8, M)
    last = fullconv.dense_to_conv(weight, (4, 2, 8), order="HWC")
    first = fullconv.dense_to_conv(
        weight.reshape(4, 2, 8, M).transpose(3, 2, 0, 1).reshape(M, -1), (8, 4, 2)
    )
    assert_same(np.ascontiguousarray(last.transpose(3, 2, 0, 1)), first)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Sigmoid(), nn.Softmax(1), nn.Identity()])
def test_a_converted_dense_layer_keeps_its_activation(activation: nn.Module) -> None:
    dense = with_integers(nn.Sequential(nn.Conv2d(N, N, 1), nn.Flatten(), nn.Linear(N, M)))
    model = nn.Sequential(*dense, activation)
    fcn = fullconv.convert(model, window=(1, 1))
    assert tuple(fcn.model.get_submodule("2").weight.shape) == (M, N, 1, 1)
    assert fcn.report.one_pass
    crop = integer_images(1, N, 1, 1)
    assert tuple(fcn(crop).shape) == (1, M, 1, 1)
    crops = torch_classifier(model)
    images = integer_images(2, N, 4, 3)
    unit = self_difference(crops, integer_images(12, N, 1, 1))
    assert_close(fcn(images), scores_of_crops(crops, images, (1, 1), (1, 1)), unit, multiple=4)


# ---------------------------------------------------------------------------------------------
# The heads of AlexNet and VGG16


@pytest.mark.parametrize(
    ("network", "rows", "columns", "channels"), [(AlexNet, 6, 6, 256), (VGG16, 7, 7, 512)]
)
def test_the_real_head_has_the_published_filters(
    network: type[nn.Module], rows: int, columns: int, channels: int
) -> None:
    model = network(device="meta").to_empty(device="cpu").eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.01)
    fcn = fullconv.convert(model, window=(224, 224), exact=False)
    head = [fcn.model.get_submodule(f"classifier.{index}") for index in (0, 3, 6)]
    assert [type(layer) for layer in head] == [nn.Conv2d] * 3
    assert [tuple(layer.weight.shape) for layer in head] == [
        (4096, channels, rows, columns),
        (4096, 4096, 1, 1),
        (1000, 4096, 1, 1),
    ]
    assert fcn.report.stride == (32, 32)
    changes = [(change.layer, change.before, change.after) for change in fcn.report.changes]
    assert changes == [
        ("classifier.0", "Linear", f"Conv2d, 4096 filters of {rows}x{columns}x{channels}"),
        ("classifier.3", "Linear", "Conv2d, 4096 filters of 1x1x4096"),
        ("classifier.6", "Linear", "Conv2d, 1000 filters of 1x1x4096"),
    ]


@pytest.mark.parametrize("network", [AlexNet, VGG16])
def test_a_window_of_224_has_6_by_6_scores_on_an_image_of_384(network: type[nn.Module]) -> None:
    model = with_integers(network(1 / 16))
    fcn = fullconv.convert(model, window=(224, 224))
    assert fcn.grid.shape((384, 384)) == (6, 6)
    images = integer_images(1, 3, 384, 384)
    scores = fcn(images)
    assert tuple(scores.shape) == (1, 1000, 6, 6)
    assert fcn.report.exact
    assert_exact_arithmetic(model, images[..., :224, :224])
    assert_same(scores, scores_of_crops(torch_classifier(model), images, (224, 224), (32, 32)))


@pytest.mark.parametrize("network", [AlexNet, VGG16])
def test_padding_at_the_image_border_is_the_classifier_at_its_native_size_only(
    network: type[nn.Module],
) -> None:
    model = with_integers(network(1 / 16))
    fcn = fullconv.convert(model, window=(224, 224), exact=False)
    assert not fcn.report.exact
    assert fcn.report.one_pass
    images = integer_images(1, 3, 384, 384)
    scores, native = fcn(images), images[..., :224, :224]
    assert tuple(scores.shape) == (1, 1000, 6, 6)
    with torch.no_grad():
        assert_same(fcn(native), model(native)[..., None, None])
    # Everywhere else real pixels stand where the crop has zeros, and the report says so.
    crops = scores_of_crops(torch_classifier(model), images, (224, 224), (32, 32))
    same = (scores == crops).all(dim=1)
    assert not same.any()
    padded = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert len(fcn.report.reasons) == len(padded)


@pytest.mark.parametrize("network", [AlexNet, VGG16])
def test_the_padded_trunk_in_one_pass_is_the_surgery_by_hand(network: type[nn.Module]) -> None:
    model = with_integers(network(1 / 16))
    trunk, head = model.features, copy.deepcopy(model.classifier)
    (rows, columns), hidden = network.last_map, head[0].out_features
    for index, shape in ((0, (-1, rows, columns)), (3, (hidden, 1, 1)), (6, (hidden, 1, 1))):
        layer = head[index]
        filters = layer.weight.reshape(layer.out_features, *shape)
        head[index] = nn.Conv2d(filters.shape[1], len(filters), filters.shape[2:])
        head[index].weight, head[index].bias = nn.Parameter(filters), layer.bias
    images = integer_images(1, 3, 384, 320)
    fcn = fullconv.convert(model, window=(224, 224), exact=False)
    with torch.no_grad():
        assert_same(fcn(images), head.eval()(trunk(images)))


def test_resnet_ends_in_a_pool_of_its_native_extent() -> None:
    torch.manual_seed(0)
    model = ResNet18(1 / 8, classes=10).eval()
    changes = fullconv.explain(model, window=(224, 224), exact=False).changes
    assert [(change.layer, change.after) for change in changes] == [
        ("avgpool", "AveragePool of 7x7, the native extent"),
        ("fc", "Conv2d, 10 filters of 1x1x64"),
    ]
    fcn = fullconv.convert(model, window=(224, 224))
    images, crops = torch.randn(1, 3, 256, 288), torch_classifier(model)
    expected = scores_of_crops(crops, images, (224, 224), (32, 32))
    unit = self_difference(crops, images[..., :224, :224].repeat(7, 1, 1, 1))
    assert tuple(expected.shape) == (1, 10, 2, 3)
    assert_close(fcn(images), expected, unit, multiple=8)


# ---------------------------------------------------------------------------------------------
# The dress detector


def test_the_dress_detector_scores_403_windows_at_once() -> None:
    model = with_integers(DressDetector())
    fcn = fullconv.convert(model, window=(128, 64))
    images = integer_images(1, 3, 512, 1024)
    with torch.no_grad():
        assert tuple(model.trunk(images[..., :128, :64]).shape[2:]) == (4, 2)
        assert tuple(model.trunk(images).shape[2:]) == (16, 32)
    assert fcn.report.stride == (32, 32)
    assert fcn.report.one_pass
    rows, columns = fcn.grid.shape((512, 1024))
    assert (rows, columns) == (16 - 4 + 1, 32 - 2 + 1)
    assert rows * columns == 403
    scores = fcn(images)
    assert tuple(scores.shape) == (1, 2, 13, 31)
    assert tuple(fcn.model.get_submodule("head.1").weight.shape) == (16, 8, 4, 2)
    assert_exact_arithmetic(model, images[..., :128, :64])
    assert_same(scores, scores_of_crops(torch_classifier(model), images, (128, 64), (32, 32)))


def test_the_last_dress_window_ends_at_the_corner_of_the_image() -> None:
    grid = fullconv.explain(DressDetector(), window=(128, 64)).grid
    assert grid.box(0, 0) == (0, 0, 64, 128)
    assert grid.box(12, 30) == (960, 384, 1024, 512)
    centers = grid.centers((512, 1024))
    assert centers.shape == (13, 31, 2)
    assert centers[0, 0].tolist() == [64.0, 32.0]
    assert centers[12, 30].tolist() == [448.0, 992.0]


# ---------------------------------------------------------------------------------------------
# The order of the flatten is traced


class Flattened(nn.Module):
    """A convolution to 3 rows by 2 columns of 4 channels, and a dense layer on the flattened map.

    The order is that of the flattened axes; "CHW" is PyTorch's own.
    """

    def __init__(self, order: str, write: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2)
        self.dense = nn.Linear(4 * 3 * 2, 5)
        self.axes = (0, *(1 + "CHW".index(axis) for axis in order))
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).permute(self.axes)
        if self.write == "flatten":
            return self.dense(torch.flatten(x, 1))
        if self.write == "reshape":
            return self.dense(x.reshape(-1, 24))
        return self.dense(x.contiguous().view(x.size(0), -1))


@pytest.mark.parametrize("write", ["flatten", "reshape", "view"])
@pytest.mark.parametrize("order", ["CHW", "HWC", "WHC", "HCW"])
def test_the_order_of_the_flatten_is_traced(order: str, write: str) -> None:
    model = with_integers(Flattened(order, write), taps=9)
    fcn = fullconv.convert(model, window=(7, 5))
    assert fcn.report.one_pass
    images = integer_images(2, 2, 16, 15)
    scores = fcn(images)
    assert_same(scores, scores_of_crops(torch_classifier(model), images, (7, 5), (2, 2)))

    filters, weight = fcn.model.dense.weight.detach(), model.dense.weight.detach()
    lengths = {"C": 4, "H": 3, "W": 2}
    if order == "CHW":
        expected = fullconv.dense_to_conv(weight, (4, 3, 2))
    elif order == "HWC":
        expected = fullconv.dense_to_conv(weight.T, (3, 2, 4), "HWC").permute(3, 2, 0, 1)
    else:
        expected = weight.reshape(5, *(lengths[axis] for axis in order))
        expected = expected.permute(0, *(1 + order.index(axis) for axis in "CHW"))
    assert_same(filters.contiguous(), expected.contiguous())


def test_the_other_order_has_filters_of_the_same_shape_and_other_scores() -> None:
    first = with_integers(Flattened("CHW", "flatten"), taps=9)
    last = Flattened("HWC", "flatten").eval()
    last.load_state_dict(first.state_dict())
    images = integer_images(1, 2, 7, 5)
    a, b = (fullconv.convert(model, window=(7, 5)) for model in (first, last))
    assert a.model.dense.weight.shape == b.model.dense.weight.shape
    assert not torch.equal(a(images), b(images))


def assert_exact_arithmetic(model: nn.Module, crop: Tensor) -> None:
    """Fail unless float32 and float64 give the same scores: then no sum was ever rounded."""
    with torch.no_grad():
        assert_same(model(crop).double(), copy.deepcopy(model).double()(crop.double()))
