"""PyTorch models that overwrite tensors: later readers of a tensor or a view see what it holds.

Small whole weights, so that scores are exactly the crops'; a forgotten or misplaced writing is off
by whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fullconv
from fullconv.errors import ModelError
from oracle import (
    assert_close,
    assert_same,
    scores_of_crops,
    self_difference,
    torch_classifier,
    windows_of,
)

WINDOW = (8, 9)


class Overwriting(nn.Module):
    """A convolution, what ``change`` makes of its map ``(N, 2, 6, 7)``, and a linear layer."""

    def __init__(self, change: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(1, 2, 3), nn.Dropout()
        self.linear = nn.Linear(2 * 6 * 7, 3)
        self.change = change
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randint(-2, 3, parameter.shape, generator=draw).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.change(self, x).flatten(1))


def result_unused(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    y.mul_(2)
    F.relu_(y)
    return y


def the_image(model: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x.sub_(1).mul_(2)
    return model.conv(x)


def all_by_index(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    y[:, :, 0:] = y[:, :, 0:].view(-1, 2, 6, 7) * 2 + 1
    return y


def all_behind_a_view(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    flat = y.view(-1, 2, 42)
    y[...] = y * 2
    return flat


def what_dropout_hands_on(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = model.drop(y)
    z += 1
    return y * z


def what_is_contiguous_already(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = y.contiguous()
    z += 1
    return y * z


def a_copy_that_contiguous_makes(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = y.transpose(2, 3).contiguous()
    z += 1
    return y + z.transpose(2, 3)


def of_the_same_type_already(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = y.to(torch.float32)
    z += 1
    return y * z


def with_a_number(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = y.clone()
    y[:] = 1
    return y + z


def where_a_mask_says(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    y[y < 0] = 0
    return y


def a_channel(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    y[:, 1:] = 0
    return y


def some_rows(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    y[:, :, 2:4] *= 3
    return y


def one_channel_from_the_other(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    y[:, 0] = y[:, 1]
    return y


def a_part_of_the_image(model: Any, x: Tensor) -> Tensor:
    x = x * 1
    x[:, :, 2:5, 1:] = 1
    return model.conv(x)


def parts_of_what_is_turned(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    v = y.permute(0, 2, 3, 1)
    v[:, 1:4, :, 0] = 7
    v += 1
    return y


def shifted_into_zeros(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = torch.zeros_like(y)
    z[:, :1, :, :-1] = y[:, :1, :, 1:]
    z[:, 1:] = y[:, 1:]
    return z


def below_a_view_of_a_view(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    v = y.view(-1, 2, 42)
    w = v[:, :, 3:]
    y.mul_(2)
    y.add_(1)
    w.mul_(3)
    v.sub_(1)
    return y * w.sum((1, 2))[:, None, None, None].sign() + v.view(-1, 2, 6, 7)


def below_patches(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    patches = y.unfold(2, 2, 2)
    y.mul_(2)
    return y + patches.sum((2, 4))[:, :, None]


def what_was_copied_before(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    flat = F.relu(y).view(-1, 2, 42)
    y.mul_(2)
    return y + flat.view(-1, 2, 6, 7)


@pytest.mark.parametrize(
    "change",
    [
        result_unused,
        the_image,
        all_by_index,
        all_behind_a_view,
        what_dropout_hands_on,
        what_is_contiguous_already,
        a_copy_that_contiguous_makes,
        of_the_same_type_already,
        with_a_number,
        where_a_mask_says,
        a_channel,
        some_rows,
        one_channel_from_the_other,
        a_part_of_the_image,
        parts_of_what_is_turned,
        shifted_into_zeros,
        below_a_view_of_a_view,
        below_patches,
        what_was_copied_before,
    ],
)
@pytest.mark.parametrize("step", [1, (3, 2)])
def test_what_is_overwritten_is_read_as_it_is_then(change: Any, step: Any) -> None:
    model = Overwriting(change).eval()
    images = torch.randint(-3, 4, (2, 1, 13, 14), generator=torch.Generator().manual_seed(1))
    fcn = fullconv.convert(model, WINDOW, step)
    crops = scores_of_crops(torch_classifier(model), images.float(), WINDOW, fcn.grid.step)
    assert_same(fcn(images.float()), crops)


def another_type(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    z = y.to(torch.float32, copy=True)
    z.add_(1)
    return y


def a_power(model: Any, x: Tensor) -> Tensor:
    return model.conv(x).pow_(2)


def dropout_in_place(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    F.dropout(y, 0.5, training=False, inplace=True)
    return y.lerp_(y * 2, 0.5)


@pytest.mark.parametrize("change", [another_type, a_power, dropout_in_place])
def test_a_copy_is_no_view_and_twins_are_found_by_their_arguments(change: Any) -> None:
    model = Overwriting(change).eval()
    images = torch.randint(-3, 4, (1, 1, 10, 10), generator=torch.Generator().manual_seed(1))
    fcn = fullconv.convert(model, WINDOW, 1)
    crops = scores_of_crops(torch_classifier(model), images.float(), WINDOW, (1, 1))
    assert_same(fcn(images.float()), crops)


def with_booleans(model: Any, x: Tensor) -> Tensor:
    return model.conv(x).gt_(0)


def a_mask_by_operator(model: Any, x: Tensor) -> Tensor:
    mask = model.conv(x) > 0
    mask |= x[:, :, :6, :7] > 1
    return mask.float()


def turned_in_place(model: Any, x: Tensor) -> Tensor:
    return model.conv(x).transpose_(2, 3)


def given_to_write_into(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x).detach()
    z = torch.zeros_like(y)
    torch.mul(y, 2, out=z)
    return z


def many_at_once(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    torch._foreach_add_([y], 1)
    return y


def after_a_turning_einsum(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    torch.einsum("nchw->nhwc", y).add_(1)
    return y


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_booleans, "gt_, with numbers of another type (torch.bool)"),
        (a_mask_by_operator, "__ior__, which cannot be followed"),
        (turned_in_place, "transpose_, which cannot be followed"),
        (given_to_write_into, "mul, which cannot be followed"),
        (many_at_once, "_foreach_add_, which cannot be followed"),
        (after_a_turning_einsum, "add_, after einsum, which may share it"),
    ],
)
def test_what_cannot_be_followed_is_refused(change: Any, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        fullconv.convert(Overwriting(change).eval(), WINDOW, 1)
    assert str(caught.value) == (
        f"convert: the model overwrites a tensor by {said}. Write it without the in-place "
        f"operation."
    )


def a_number_of_pixels(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    return y * (y > 0).sum().item()


def a_size_by_pixels(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    return y + y[y > 0].sum()


def one_way_or_another(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    return torch.cond(y.sum() > 0, lambda y: y * 2, lambda y: y - 1, (y,))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            a_size_by_pixels,
            "convert: the model makes a tensor whose size depends on the pixels (nonzero, an index "
            "by a mask), so windows have tensors of several sizes. Use torch.where, or multiply by "
            "the mask.",
        ),
        (
            one_way_or_another,
            "convert: the model decides by the pixels what to compute (cond), and windows would go "
            "different ways. Use torch.where.",
        ),
        (
            a_number_of_pixels,
            "convert: the model takes a number out of a tensor (item) and computes with it outside "
            "of tensors. Keep it a tensor: leave .item() out.",
        ),
    ],
)
def test_numbers_outside_of_tensors_are_refused(change: Any, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        fullconv.convert(Overwriting(change).eval(), WINDOW, 1)
    assert str(caught.value) == said


def every_second_row(model: Any, x: Tensor) -> Tensor:
    y = model.conv(x)
    y[:, :, ::2] = 0
    return y


def test_what_is_overwritten_here_and_there_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        fullconv.convert(Overwriting(every_second_row).eval(), WINDOW, 1)
    assert str(caught.value) == (
        "convert: the model writes in place (fill_) into a part of a tensor that is no plain slice "
        "of it. Write it without the in-place operation."
    )


class Recurrent(nn.Module):
    """An LSTM over the columns of every row, whose first state is as large as all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.lstm = nn.LSTM(2, 3, batch_first=True)
        self.linear = nn.Linear(6 * 7 * 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).permute(0, 2, 3, 1)
        y, _ = self.lstm(y.reshape(-1, 7, 2))
        return self.linear(y.reshape(-1, 6 * 7 * 3))


def test_a_state_for_every_row_of_every_window_is_as_large_as_that() -> None:
    torch.manual_seed(0)
    model = Recurrent().eval()
    images = torch.randn(2, 1, 11, 12)
    fcn = fullconv.convert(model, WINDOW, 1)
    classify = torch_classifier(model)
    crops = scores_of_crops(classify, images, WINDOW, (1, 1))
    unit = self_difference(classify, windows_of(images, WINDOW, (1, 1)))
    # Sums may come in another order again, as in other tests of real weights.
    assert_close(fcn(images), crops, max(unit, float(torch.finfo(torch.float32).eps)), 16)
    assert [reason.operation for reason in fcn.report.reasons] == ["LSTM"]


class Several(nn.Module):
    """Scores beside something that is none."""

    def __init__(self, beside: Any) -> None:
        super().__init__()
        self.linear, self.beside = nn.Linear(72, 3), beside

    def forward(self, x: Tensor) -> Any:
        return self.linear(x.flatten(1)), self.beside


@pytest.mark.parametrize("beside", [5, None])
def test_what_is_returned_beside_scores_is_refused(beside: Any) -> None:
    with pytest.raises(ModelError) as caught:
        fullconv.convert(Several(beside).eval(), WINDOW, 1)
    assert str(caught.value) == (
        "convert: the model returns something else than tensors (a number, None); return scores "
        "alone."
    )
