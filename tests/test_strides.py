"""The network's own stride, where the form of a model says nothing about its strides."""

from __future__ import annotations

import pytest

import fullconv
from oracle import assert_same, torch_classifier

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from models import with_integers  # noqa: E402


class Standing(nn.Module):
    """A recording that stands as an image of one row, before convolutions or behind them."""

    def __init__(self, inside: bool) -> None:
        super().__init__()
        self.inside = inside
        self.one = nn.Conv1d(2, 3, 4, stride=2)
        self.two = nn.Conv2d(3, 3, (1, 3), stride=(1, 2))
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x).unsqueeze(2)
        x = self.two(x) if self.inside else x
        return self.fc(x.sum((-2, -1)))


@pytest.mark.parametrize(("inside", "stride"), [(False, 2), (True, 4)])
def test_an_axis_of_length_one_that_is_added_has_no_stride(inside: bool, stride: int) -> None:
    model = with_integers(Standing(inside))
    fcn = fullconv.convert(model, window=(32,))
    assert fcn.report.stride == fcn.grid.step == (stride,)
    assert not fcn.report.per_window
    draw = torch.Generator().manual_seed(0)
    signal = torch.randint(-3, 4, (2, 2, 45), generator=draw).float()
    classify = torch_classifier(model)
    starts = range(0, 45 - 32 + 1, stride)
    crops = [classify(signal[..., start : start + 32]) for start in starts]
    assert_same(fcn(signal), torch.stack(crops, dim=-1))


@pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns on its own behalf
def test_a_global_pool_over_one_axis_has_no_stride_in_onnx() -> None:
    model = nn.Sequential(
        nn.Conv1d(2, 3, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),  # PyTorch exports it as Unsqueeze, ReduceMean, Squeeze
        nn.Flatten(),
        nn.Linear(3, 2),
    ).eval()
    program = torch.onnx.export(model, (torch.zeros(1, 2, 32),), dynamo=True, verbose=False)
    assert program is not None
    assert fullconv.explain(program.model_proto).stride == (2,)
    assert fullconv.explain(model, window=(32,)).stride == (2,)
