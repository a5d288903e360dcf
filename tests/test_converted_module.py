"""The converted PyTorch model is an ordinary module: it prints, trains, moves and copies.

Weights, pixels and targets are small whole numbers, so that scores and gradients are exact and
equal means equal (see `oracle`).
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fullconv
from oracle import (
    assert_close,
    assert_same,
    map_size,
    scores_of_crops,
    self_difference,
    torch_classifier,
    windows_of,
)

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from models import Normed, Padded, Several, Tied, Valid, integer_images, with_integers  # noqa: E402

NETWORKS = [Valid, Padded, Tied, Normed]


def classifier(network: type[nn.Module], seed: int = 0) -> nn.Module:
    return with_integers(network(), seed)


def images_for(network: Any, rows: int = 3, columns: int = 4, count: int = 2) -> Tensor:
    """Return images a little larger than so many windows at step 4."""
    height, width = network.window
    return integer_images(count, 1, height + 4 * rows - 1, width + 4 * columns - 2)


def converted(network: Any, model: nn.Module, **options: Any) -> Any:
    return fullconv.convert(model, window=network.window, **options)


# ---------------------------------------------------------------------------------------------
# It reads as the original does


def test_the_module_prints_under_the_original_names_with_convolutions() -> None:
    tree = (
        "FullyConvolutional(\n"
        "  (features): Module(\n"
        "    (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1))\n"
        "    (1): ReLU()\n"
        "    (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)\n"
        "    (3): Conv2d(4, 5, kernel_size=(3, 3), stride=(2, 2))\n"
        "    (4): ReLU()\n"
        "    (5): Conv2d(5, 6, kernel_size=(3, 3), stride=(1, 1))\n"
        "  )\n"
        "  (classifier): Module(\n"
        "    (0): Conv2d(6, 8, kernel_size=(2, 3), stride=(1, 1))\n"
        "    (1): ReLU()\n"
        "    (2): Conv2d(8, 3, kernel_size=(1, 1), stride=(1, 1))\n"
        "  )\n"
        ")"
    )
    assert str(converted(Valid, classifier(Valid)).model).startswith(tree)


@pytest.mark.parametrize("network", NETWORKS)
def test_parameters_and_buffers_keep_their_names_and_values(network: type[nn.Module]) -> None:
    model = classifier(network)
    held, original = converted(network, model).model.state_dict(), model.state_dict()
    assert set(held) == set(original)
    for name, tensor in held.items():
        assert_same(tensor.reshape(original[name].shape), original[name])
    names = {name for name, _ in model.named_parameters()}
    assert {name for name, _ in converted(network, model).model.named_parameters()} == names


@pytest.mark.parametrize("network", NETWORKS)
def test_the_scores_are_those_of_the_crops(network: type[nn.Module]) -> None:
    model, images = classifier(network), images_for(network)
    fcn = converted(network, model)
    assert fcn.report.exact
    assert not fcn.report.reasons
    assert fcn.report.one_pass == (network is not Padded)
    assert (fcn.report.cost.exact > fcn.report.cost.approximate) == (network is Padded)
    expected = scores_of_crops(torch_classifier(model), images, network.window, fcn.grid.step)
    assert_same(fcn(images), expected)


@pytest.mark.parametrize(
    "step", [1, 2, 4, 8, 12, 3, 5, (1, 4), (4, 2), (8, 1), (2, 7), (3, 8), (40, 40)]
)
@pytest.mark.parametrize("network", [Valid, Padded])
def test_every_step_gives_the_scores_of_the_crops(
    network: type[nn.Module], step: int | tuple[int, int]
) -> None:
    model, images = classifier(network), images_for(network, 4, 3)
    fcn = converted(network, model, step=step)
    assert fcn.grid.step == (step if isinstance(step, tuple) else (step, step))
    assert not fcn.report.reasons
    expected = scores_of_crops(torch_classifier(model), images, network.window, fcn.grid.step)
    assert_same(fcn(images), expected)


def test_double_precision_stays_double() -> None:
    torch.manual_seed(0)
    model = Valid().double().eval()
    images = torch.randn(2, 1, 33, 37, dtype=torch.float64)
    fcn, crops = converted(Valid, model), torch_classifier(model)
    expected = scores_of_crops(crops, images, Valid.window, (4, 4))
    scores = fcn(images)
    assert scores.dtype == torch.float64
    unit = self_difference(crops, windows_of(images, Valid.window, (4, 4)))
    assert unit < 1e-13
    assert_close(scores, expected, unit, multiple=8)


@pytest.mark.parametrize(
    "structure",
    [
        lambda a, b: (a, b),
        lambda a, b: [a, b],
        lambda a, b: {"classes": a, "place": b},
        lambda a, b: {"nested": (a, {"place": b})},
        lambda a, b: (a, a.softmax(1), b),
    ],
    ids=["tuple", "list", "dict", "nested", "three"],
)
def test_several_outputs_come_back_as_the_model_returns_them(
    structure: Callable[[Tensor, Tensor], Any],
) -> None:
    model = with_integers(Several(structure))
    images = integer_images(2, 1, 30, 35)
    fcn = converted(Several, model)
    assert fcn.report.one_pass
    expected = scores_of_crops(torch_classifier(model), images, Several.window, (4, 4))
    assert_close(fcn(images), expected, unit=2.0**-24, multiple=2)


# ---------------------------------------------------------------------------------------------
# It trains


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def loss_of(scores: Tensor, targets: Tensor) -> Tensor:
    """Return a loss with whole gradients: they differ from window to window."""
    return (scores * targets).sum()


def crops_loss(model: nn.Module, images: Tensor, fcn: Any, targets: Tensor) -> Tensor:
    """Return the loss of the loop over crops, with gradients."""
    rows, columns = map_size(images.shape[-2:], fcn.grid.window, fcn.grid.step)
    scores = model(windows_of(images, fcn.grid.window, fcn.grid.step))
    scores = scores.reshape(len(images), rows, columns, -1).permute(0, 3, 1, 2)
    return loss_of(scores, targets)


def whole_targets(scores: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(7)
    return torch.randint(-2, 3, scores.shape, generator=draw).to(scores.dtype)


@pytest.mark.parametrize("step", [None, (2, 8)])
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_are_those_of_the_loop_over_crops(
    network: type[nn.Module], step: tuple[int, int] | None
) -> None:
    model, images = classifier(network), images_for(network)
    fcn = converted(network, model, step=step)
    scores = fcn.model(images)
    targets = whole_targets(scores)
    loss_of(scores, targets).backward()
    crops_loss(model, images, fcn, targets).backward()
    mine, expected = gradients(fcn.model), gradients(model)
    assert set(mine) == set(expected) == {name for name, _ in model.named_parameters()}
    twice = copy.deepcopy(model).double()
    twice.zero_grad()
    crops_loss(twice, images.double(), fcn, targets.double()).backward()
    for name, gradient in expected.items():
        assert_same(gradient.double(), gradients(twice)[name])  # no sum was ever rounded
        assert gradient.any(), f"{name} has no gradient to compare"
        assert_same(mine[name].reshape(gradient.shape), gradient)


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_reach_the_pixels(network: type[nn.Module]) -> None:
    model, images = classifier(network), images_for(network)
    mine, expected = (images.clone().requires_grad_() for _ in range(2))
    fcn = converted(network, model)
    scores = fcn(mine)
    targets = whole_targets(scores)
    loss_of(scores, targets).backward()
    crops_loss(model, expected, fcn, targets).backward()
    assert expected.grad.any()
    assert_same(mine.grad, expected.grad)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_of_the_optimizer_is_the_step_of_the_crops(network: type[nn.Module]) -> None:
    model, images = classifier(network), images_for(network)
    alone = copy.deepcopy(model)  # the converted model shares storage with what it came from
    fcn = converted(network, model)
    targets = whole_targets(fcn(images))
    for trained, loss in (
        (fcn.model, loss_of(fcn.model(images), targets)),
        (alone, crops_loss(alone, images, fcn, targets)),
    ):
        loss.backward()
        torch.optim.SGD(trained.parameters(), lr=2.0**-6).step()
    expected = alone.state_dict()
    start = classifier(network).state_dict()
    assert all(not torch.equal(expected[name], start[name]) for name, _ in alone.named_parameters())
    for name, tensor in fcn.model.state_dict().items():
        assert_same(tensor.reshape(expected[name].shape), expected[name])


def test_the_original_learns_with_the_converted_model() -> None:
    model, images = classifier(Valid).double(), images_for(Valid).double()
    fcn = converted(Valid, model)
    before = model.classifier[0].weight.clone()
    fcn.model(images).sum().backward()
    torch.optim.SGD(fcn.model.parameters(), lr=2.0**-6).step()
    assert not torch.equal(model.classifier[0].weight, before)
    assert_same(fcn(images), scores_of_crops(torch_classifier(model), images, Valid.window, (4, 4)))


def test_frozen_parameters_stay_frozen() -> None:
    model = classifier(Valid)
    for parameter in model.features.parameters():
        parameter.requires_grad_(False)
    held = dict(converted(Valid, model).model.named_parameters())
    assert {name for name, p in held.items() if not p.requires_grad} == {
        name for name in held if name.startswith("features.")
    }


def test_tied_layers_stay_one_parameter() -> None:
    fcn = converted(Tied, classifier(Tied))
    names = [name for name, _ in fcn.model.named_parameters(remove_duplicate=False)]
    assert sorted(names) == sorted(set(names))
    assert len(names) == len(list(Tied().named_parameters()))


@pytest.mark.parametrize("network", NETWORKS)
def test_training_flags_are_left_as_they_were(network: type[nn.Module]) -> None:
    model = classifier(network).train()
    next(model.children()).eval()
    before = [module.training for module in model.modules()]
    assert True in before
    assert False in before
    fcn = converted(network, model)
    fullconv.explain(model, window=network.window)
    assert [module.training for module in model.modules()] == before
    assert not any(module.training for module in fcn.model.modules())


def test_a_model_in_train_mode_is_converted_as_it_answers_in_eval_mode() -> None:
    model = classifier(Normed)
    images = images_for(Normed)
    expected = scores_of_crops(torch_classifier(model), images, Normed.window, (2, 2))
    assert_same(converted(Normed, model.train())(images), expected)
    assert model.norm.num_batches_tracked == 5  # no statistics were taken on the way


def test_conversion_leaves_the_original_as_it_was() -> None:
    model = classifier(Normed)
    before = copy.deepcopy(model.state_dict())
    text, images = str(model), images_for(Normed)
    converted(Normed, model, step=1)(images)
    assert str(model) == text
    assert not gradients(model)
    for name, tensor in model.state_dict().items():
        assert_same(tensor, before[name])


# ---------------------------------------------------------------------------------------------
# It moves, copies and saves


@pytest.mark.parametrize("network", NETWORKS)
def test_moving_to_bfloat16_leaves_the_original(network: type[nn.Module]) -> None:
    model, images = classifier(network), images_for(network)
    fcn = converted(network, model)
    expected = fcn(images)
    fcn.model.to(torch.bfloat16)
    assert {p.dtype for p in fcn.model.parameters()} == {torch.bfloat16}
    scores = fcn.model(images.to(torch.bfloat16))
    assert scores.dtype == torch.bfloat16
    # Eight bits hold whole numbers up to 256; some sums are larger, most are not.
    assert float((scores.float() == expected).float().mean()) > 0.5
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {b.dtype for b in model.buffers() if b.is_floating_point()} <= {torch.float32}
    assert_same(
        scores_of_crops(torch_classifier(model), images, network.window, fcn.grid.step), expected
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_moving_to_the_meta_device_leaves_the_original(network: type[nn.Module]) -> None:
    model = classifier(network)
    fcn = converted(network, model)
    fcn.model.to("meta")
    assert {t.device.type for t in fcn.model.state_dict().values()} == {"meta"}
    assert {t.device.type for t in model.state_dict().values()} == {"cpu"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("network", NETWORKS)
def test_moving_to_cuda_leaves_the_original(network: type[nn.Module]) -> None:
    model, images = classifier(network), images_for(network)
    fcn = converted(network, model)
    expected = fcn(images)
    fcn.model.to("cuda")
    assert_same(fcn.model(images.to("cuda")).detach().cpu(), expected)
    assert {t.device.type for t in model.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_gives_the_same_scores_from_weights_of_its_own(
    network: type[nn.Module], twin: Callable[[Any], Any]
) -> None:
    model, images = classifier(network), images_for(network)
    fcn = converted(network, model).model
    with torch.no_grad():
        expected = fcn(images)
        again = twin(fcn)
        assert_same(again(images), expected)
        for parameter in again.parameters():
            parameter.zero_()
        assert_same(fcn(images), expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_state_dicts_go_round(network: type[nn.Module], tmp_path: Path) -> None:
    model, images = classifier(network), images_for(network)
    fcn, other = converted(network, model), converted(network, classifier(network, seed=1))
    assert not torch.equal(fcn(images), other(images))
    torch.save(fcn.model.state_dict(), tmp_path / "weights.pt")
    other.model.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert_same(other(images), fcn(images))


def test_weights_trained_fully_convolutional_go_back_into_the_classifier() -> None:
    model, images = classifier(Valid), images_for(Valid)
    fcn, shapes = converted(Valid, model), model.state_dict()
    back = Valid().eval()
    back.load_state_dict({n: t.reshape(shapes[n].shape) for n, t in fcn.model.state_dict().items()})
    assert_same(fcn(images), scores_of_crops(torch_classifier(back), images, Valid.window, (4, 4)))


# ---------------------------------------------------------------------------------------------
# No weight is copied


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_weight_shares_the_storage_of_the_original(
    network: type[nn.Module], exact: bool
) -> None:
    model = classifier(network)
    held = converted(network, model, exact=exact).model.state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.dim():  # a counter of batches may be a number of its own
            assert held[name].data_ptr() == tensor.data_ptr(), name


MEASURED = """
import sys
sys.path.insert(0, sys.argv[1])
import torch, fullconv
from models import VGG16, Valid

def memory(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

torch.set_num_threads(1)
fullconv.convert(Valid(), window=(20, 24))  # imports and caches
model = VGG16(device="meta").to_empty(device="cpu").eval()
for parameter in model.parameters():
    torch.nn.init.constant_(parameter, 0.01)
size = sum(p.numel() * p.element_size() for p in model.parameters())
for exact in (True, False):
    before = memory("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
    fcn = fullconv.convert(model, window=(224, 224), exact=exact, check=False)
    print(size, memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
def test_converting_vgg16_needs_little_memory_of_its_own() -> None:
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in result.stdout.splitlines():
        size, extra = map(int, line.split())
        assert size == 553_430_176
        assert extra < 0.1 * size


def test_batch_statistics_are_not_taken_from_parts_of_a_map() -> None:
    """Parts of a padded map are no sample of it: its batch normalization stays in eval mode."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 2),
    ).eval()
    fcn = fullconv.convert(model, window=(16, 16), step=2)
    before = {name: tensor.clone() for name, tensor in fcn.model.state_dict().items()}
    fcn.model.train()
    for size in (16, 30):
        scores = fcn.model(torch.rand(1, 1, size, size))
        scores.sum().backward()
    after = fcn.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is not None for parameter in fcn.model.parameters())


def test_double_precision_counts_twice() -> None:
    fcn = fullconv.convert(
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(512, 2)).eval(),
        window=(16, 16),
    )
    images = torch.zeros(1, 1, 40, 40)
    assert fcn._run_bytes(images.double()) == 2 * fcn._run_bytes(images) > 0


def test_windows_with_nothing_in_common_are_said_to_be_computed_one_by_one() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(288, 2))
    report = fullconv.explain(model.eval(), window=(16, 16), step=64)
    assert "window by window" in report.verdict
    assert (report.per_window, report.one_pass, report.reasons) == (True, False, ())
    assert report.cost.exact == report.cost.crops
