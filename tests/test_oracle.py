"""The oracle can fail: each of its helpers, and the three errors everybody plants.

The planted errors are made by hand, as people write them: a small classifier is turned into a
fully convolutional network rightly and wrongly, in NumPy alone and in PyTorch. The numbers are
small integers, so the arithmetic is exact and right means equal.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from oracle import (
    assert_close,
    assert_same,
    leaves,
    map_size,
    scores_of_crops,
    self_difference,
    windows_of,
)

WINDOW, STEP, SIZE = (7, 9), (2, 1), (14, 13)


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (count, 2, *SIZE)).astype(np.float32)


# ---------------------------------------------------------------------------------------------
# The helpers


def test_windows_come_image_by_image_row_by_row() -> None:
    pixels = np.arange(2 * 4 * 5, dtype=np.float32).reshape(2, 1, 4, 5)
    corners = windows_of(pixels, (3, 2), (1, 2))[:, 0, 0, 0]
    assert corners.tolist() == [0, 2, 5, 7, 20, 22, 25, 27]


def test_a_window_is_cut_at_its_place_and_in_its_size() -> None:
    pixels = np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)
    assert windows_of(pixels, (2, 3), (2, 1))[5, 0].tolist() == [[13, 14, 15], [19, 20, 21]]


@pytest.mark.parametrize(
    ("size", "expected"), [((7, 9), (1, 1)), ((8, 9), (1, 1)), ((9, 9), (2, 1)), ((14, 13), (4, 5))]
)
def test_only_whole_windows_count(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert map_size(size, WINDOW, STEP) == expected


def test_an_image_smaller_than_the_window_has_no_windows() -> None:
    with pytest.raises(ValueError, match="no window"):
        map_size((6, 9), WINDOW, STEP)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_scores_stand_where_their_window_stands(batch: int) -> None:
    def first_pixel_and_sum(crops: np.ndarray) -> np.ndarray:
        return np.stack([crops[:, 0, 0, 0], crops.sum((1, 2, 3))], axis=1)

    pixels = images()
    scores = scores_of_crops(first_pixel_and_sum, pixels, WINDOW, STEP, batch)
    assert scores.shape == (2, 2, 4, 5)
    for n, i, j in product(range(2), range(4), range(5)):
        crop = pixels[n, :, i * 2 : i * 2 + 7, j : j + 9]
        assert scores[n, :, i, j].tolist() == [crop[0, 0, 0], crop.sum()]


def test_scores_keep_the_structure_of_the_answer() -> None:
    def two(crops: np.ndarray) -> dict[str, object]:
        return {"a": crops[:, :1, 0, 0], "b": [crops[:, :, 1, 1], (crops[:, :, 2, 2],)]}

    scores = scores_of_crops(two, images(), WINDOW, STEP)
    assert [path for path, _ in leaves(scores)] == [
        "scores['a']",
        "scores['b'][0]",
        "scores['b'][1][0]",
    ]
    assert [leaf.shape for _, leaf in leaves(scores)] == [(2, 1, 4, 5), (2, 2, 4, 5), (2, 2, 4, 5)]


ONE = np.zeros((2, 3), np.float32)


def changed(value: float) -> np.ndarray:
    other = ONE.copy()
    other[1, 2] = value
    return other


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (changed(1), ONE, r"1 of 6 numbers differ, first at \(1, 2\): 1.0 is not 0.0"),
        (changed(1e-45), ONE, "1 of 6 numbers differ"),
        (changed(np.nan), ONE, "1 of 6 numbers differ"),
        (ONE, changed(np.nan), "1 of 6 numbers differ"),
        (ONE.astype(np.float64), ONE, "dtype float64 is not float32"),
        (ONE.T, ONE, r"shape \(3, 2\) is not \(2, 3\)"),
        (ONE[:1], ONE, r"shape \(1, 3\) is not \(2, 3\)"),
        (ONE.tolist(), ONE, "a list is not a ndarray"),
        (ONE, (ONE,), "a ndarray is not a tuple"),
        ([ONE], (ONE,), "a list is not a tuple"),
        ((ONE,), (ONE, ONE), r"the entries \[0\] are not \[0, 1\]"),
        ({"b": ONE, "a": ONE}, {"a": ONE, "b": ONE}, "the entries .* are not"),
        ({"a": (ONE, changed(2))}, {"a": (ONE, ONE)}, r"scores\['a'\]\[1\]: 1 of 6"),
    ],
)
def test_a_difference_of_any_kind_is_not_the_same(
    actual: object, expected: object, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_same(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (ONE, ONE.copy()),
        (-ONE, ONE),
        (changed(np.nan), changed(np.nan)),
        ({"a": [ONE, (ONE,)]}, {"a": [ONE, (ONE,)]}),
    ],
)
def test_equal_numbers_in_an_equal_structure_are_the_same(actual: object, expected: object) -> None:
    assert_same(actual, expected)


def test_close_is_a_multiple_of_what_was_measured() -> None:
    assert_close(changed(2), ONE, unit=1.0, multiple=2)
    with pytest.raises(AssertionError, match=r"off by 2.0, more than 1 times"):
        assert_close(changed(2), ONE, unit=1.0, multiple=1)
    with pytest.raises(AssertionError, match="off by"):
        assert_close(changed(np.nan), ONE, unit=1.0, multiple=1)
    with pytest.raises(AssertionError, match="shape"):
        assert_close(ONE.T, ONE, unit=1.0, multiple=1)


def test_the_self_difference_is_what_the_batch_size_changes() -> None:
    def wavers(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = crops.sum((1, 2, 3))[:, None]
        return scores, scores + (0.25 if crops.shape[0] == 7 else 0.0)

    assert self_difference(wavers, images(9)) == 0.25


def test_the_self_difference_is_at_least_one_unit_in_the_last_place() -> None:
    assert self_difference(lambda crops: np.full((len(crops), 1), 5, np.float32), images()) == (
        np.spacing(np.float32(5))
    )


# ---------------------------------------------------------------------------------------------
# Planted errors, in NumPy: a linear classifier over the pixels, and its convolution


def linear_classifier(order: str) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return weights ``(K, M)`` and the classifier that flattens its crops in this order."""
    weight = np.random.default_rng(1).integers(-2, 3, (3, 2 * 7 * 9)).astype(np.float32)
    axes = (0, *(1 + "CHW".index(axis) for axis in order))
    return weight, lambda crops: crops.transpose(axes).reshape(len(crops), -1) @ weight.T


def correlate(pixels: np.ndarray, kernel: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Return a strided valid convolution, spelled out."""
    (h, w), (sy, sx) = kernel.shape[2:], step
    rows, columns = (pixels.shape[2] - h) // sy + 1, (pixels.shape[3] - w) // sx + 1
    scores = np.zeros((pixels.shape[0], kernel.shape[0], rows, columns), np.float32)
    for y, x in product(range(h), range(w)):
        seen = pixels[:, :, y::sy, x::sx][:, :, :rows, :columns]
        scores += np.einsum("nchw,kc->nkhw", seen, kernel[:, :, y, x])
    return scores


@pytest.mark.parametrize("order", ["CHW", "HWC"])
def test_head_weights_in_the_order_of_the_flatten_equal_the_crops(order: str) -> None:
    weight, classify = linear_classifier(order)
    lengths = {"C": 2, "H": 7, "W": 9}
    kernel = weight.reshape(3, *(lengths[axis] for axis in order))
    kernel = kernel.transpose(0, *(1 + order.index(axis) for axis in "CHW"))
    assert_same(
        correlate(images(), kernel, STEP), scores_of_crops(classify, images(), WINDOW, STEP)
    )


@pytest.mark.parametrize(("order", "mistaken"), [("CHW", "HWC"), ("HWC", "CHW"), ("CHW", "CWH")])
def test_a_mistaken_flatten_order_is_caught(order: str, mistaken: str) -> None:
    weight, classify = linear_classifier(order)
    lengths = {"C": 2, "H": 7, "W": 9}
    kernel = weight.reshape(3, *(lengths[axis] for axis in mistaken))
    kernel = kernel.transpose(0, *(1 + mistaken.index(axis) for axis in "CHW"))
    with pytest.raises(AssertionError, match="numbers differ"):
        assert_same(
            correlate(images(), kernel, STEP), scores_of_crops(classify, images(), WINDOW, STEP)
        )


def test_a_step_that_is_off_by_one_is_caught_even_when_the_shape_is_right() -> None:
    weight, classify = linear_classifier("CHW")
    kernel = weight.reshape(3, 2, 7, 9)
    expected = scores_of_crops(classify, images(), WINDOW, STEP)
    with pytest.raises(AssertionError, match="shape"):
        assert_same(correlate(images(), kernel, (3, 1)), expected)
    with pytest.raises(AssertionError, match="shape"):
        assert_same(correlate(images(), kernel, (1, 1)), expected)
    with pytest.raises(AssertionError, match="numbers differ"):
        assert_same(correlate(images(), kernel, (1, 1))[:, :, :4, :5], expected)


def test_scores_that_stand_one_pixel_aside_are_caught() -> None:
    weight, classify = linear_classifier("CHW")
    aside = correlate(images()[:, :, 1:], weight.reshape(3, 2, 7, 9), STEP)
    expected = scores_of_crops(classify, images(), WINDOW, STEP)
    with pytest.raises(AssertionError, match="numbers differ"):
        assert_same(aside, expected[:, :, : aside.shape[2]])


# ---------------------------------------------------------------------------------------------
# Planted errors, in PyTorch: a trunk with stride and padding under a linear head


def padded_classifier(padding: int):  # type: ignore[no-untyped-def]
    """Return (trunk, head, classifier): a 3x3 convolution of stride (2, 1), ReLU and a head."""
    torch = pytest.importorskip("torch")
    source = torch.Generator().manual_seed(0)
    trunk = torch.nn.Conv2d(2, 3, 3, stride=(2, 1), padding=padding)
    cells = trunk(torch.zeros(1, 2, *WINDOW)).shape[1:]
    head = torch.nn.Linear(cells.numel(), 2)
    with torch.no_grad():
        for numbers in (*trunk.parameters(), *head.parameters()):
            numbers.copy_(torch.randint(-1, 2, numbers.shape, generator=source))

    def classify(crops):  # type: ignore[no-untyped-def]
        return head(torch.flatten(torch.relu(trunk(crops)), 1))

    return trunk, head, cells, torch.no_grad()(classify)


def converted(trunk, head, cells, stride=(1, 1), order="CHW"):  # type: ignore[no-untyped-def]
    """Return the classical fully convolutional network, from the pieces of the classifier."""
    import torch

    lengths = dict(zip("CHW", cells, strict=True))
    kernel = head.weight.reshape(-1, *(lengths[axis] for axis in order))
    kernel = kernel.permute(0, *(1 + order.index(axis) for axis in "CHW"))

    def scores(images):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            seen = torch.relu(trunk(images))
            return torch.nn.functional.conv2d(seen, kernel, head.bias, stride)

    return scores


def torch_images():  # type: ignore[no-untyped-def]
    return pytest.importorskip("torch").from_numpy(images())


def test_the_right_conversion_of_an_unpadded_network_equals_the_crops() -> None:
    trunk, head, cells, classify = padded_classifier(0)
    right = converted(trunk, head, cells)
    assert_same(right(torch_images()), scores_of_crops(classify, torch_images(), WINDOW, STEP))


def test_a_mistaken_flatten_order_behind_a_trunk_is_caught() -> None:
    trunk, head, cells, classify = padded_classifier(0)
    wrong = converted(trunk, head, cells, order="HWC")
    with pytest.raises(AssertionError, match="numbers differ"):
        assert_same(wrong(torch_images()), scores_of_crops(classify, torch_images(), WINDOW, STEP))


def test_a_stride_that_is_off_by_one_behind_a_trunk_is_caught() -> None:
    trunk, head, cells, classify = padded_classifier(0)
    wrong = converted(trunk, head, cells, stride=(1, 2))
    expected = scores_of_crops(classify, torch_images(), WINDOW, STEP)
    with pytest.raises(AssertionError, match="shape"):
        assert_same(wrong(torch_images()), expected)
    with pytest.raises(AssertionError, match="numbers differ"):
        assert_same(wrong(torch_images()), expected[..., :3])


def test_padding_the_image_and_not_the_window_is_caught() -> None:
    """The conversion of the tutorials: right at the native size, wrong everywhere else."""
    trunk, head, cells, classify = padded_classifier(1)
    wrong = converted(trunk, head, cells)
    native = torch_images()[:, :, : WINDOW[0], : WINDOW[1]]
    assert_same(wrong(native), scores_of_crops(classify, native, WINDOW, STEP))
    with pytest.raises(AssertionError, match="numbers differ"):
        assert_same(wrong(torch_images()), scores_of_crops(classify, torch_images(), WINDOW, STEP))


def test_dropped_padding_is_caught() -> None:
    trunk, head, cells, classify = padded_classifier(1)
    trunk.padding = (0, 0)
    wrong = converted(trunk, head, cells)(torch_images())
    trunk.padding = (1, 1)
    expected = scores_of_crops(classify, torch_images(), WINDOW, STEP)
    with pytest.raises(AssertionError, match="shape"):
        assert_same(wrong, expected)
    rows, columns = wrong.shape[2:]
    with pytest.raises(AssertionError, match="numbers differ"):
        assert_same(wrong, expected[:, :, :rows, :columns])


def test_padding_every_window_equals_the_crops() -> None:
    """The right answer for a padded network: all windows side by side, each padded alone."""

    trunk, head, cells, classify = padded_classifier(1)
    native = converted(trunk, head, cells)
    views = torch_images().unfold(2, WINDOW[0], STEP[0]).unfold(3, WINDOW[1], STEP[1])
    rows, columns = views.shape[2:4]
    flat = views.permute(0, 2, 3, 1, 4, 5).reshape(-1, 2, *WINDOW)
    right = native(flat).reshape(2, rows, columns, 2).permute(0, 3, 1, 2)
    assert_same(right, scores_of_crops(classify, torch_images(), WINDOW, STEP))


def test_an_array_of_another_framework_is_not_the_same() -> None:
    with pytest.raises(AssertionError, match="a Tensor is not a ndarray"):
        assert_same(torch_images(), images())
