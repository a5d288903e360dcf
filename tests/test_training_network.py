"""The network that is made for a window: it fits, converts exactly, and has two heads in one."""

import re

import pytest
import torch

import fullconv
from fullconv.errors import WindowError
from fullconv.training.fitting import LARGEST, SMALLEST, fit
from fullconv.training.network import Classifier, WindowNetwork
from models import integer_images, with_integers
from networks.checks import assert_shared, compare
from oracle import assert_same, torch_classifier

SHAPES = [
    *((16, 16), (17, 23), (28, 28), (33, 48), (53, 54), (64, 64), (100, 37), (128, 64)),
    *((16, 256), (256, 16), (255, 111), (181, 224), (256, 256)),
]


def network(window, *, convolutional=False, channels=3, classes=3):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return WindowNetwork(fit(window), channels, classes, convolutional=convolutional).eval()


def both_heads(window, channels=1):
    """Return a network of whole numbers with either head."""
    dense = with_integers(network(window, channels=channels))
    convolutional = network(window, channels=channels, convolutional=True)
    shapes = {name: held.shape for name, held in convolutional.state_dict().items()}
    convolutional.load_state_dict(
        {name: held.reshape(shapes[name]) for name, held in dense.state_dict().items()}
    )
    for norm, other in zip(dense.modules(), convolutional.modules(), strict=True):
        if isinstance(norm, torch.nn.BatchNorm2d):
            other.eps = norm.eps
    return dense, convolutional


@pytest.mark.parametrize("axis", [0, 1])
def test_every_length_leaves_3_to_9_cells_and_no_cell_over(axis):
    for n in range(SMALLEST, LARGEST + 1):
        found = fit((n, 64) if axis == 0 else (64, n))
        cells = n
        for stage in found.stages:
            for kernel, stride in ((stage.kernel, stage.stride), (stage.pool, stage.pool_stride)):
                assert (cells - kernel[axis]) % stride[axis] == 0, (n, stage)
                cells = (cells - kernel[axis]) // stride[axis] + 1
            assert cells == stage.cells[axis]
        assert 3 <= cells <= 9
        assert n / 14 <= found.stride[axis] <= n / 6


def test_the_table_in_the_documentation_is_what_the_rule_gives():
    rows = re.findall(r"^ *(\d+)x(\d+) +(\S+) +(\S+) +(\S+) +(\d.*)$", fit.__doc__, re.MULTILINE)
    assert len(rows) == 12
    for w, h, halvings, stride, cells, channels in rows:
        found = fit((int(h), int(w)))
        (sy, sx), (rows_, columns) = found.stride, found.last_map
        assert stride == f"{sx}x{sy}"
        assert cells == f"{columns}x{rows_}"
        assert halvings == f"{sx.bit_length() - 1}x{sy.bit_length() - 1}"
        assert channels == ", ".join(str(stage.channels) for stage in found.stages)


@pytest.mark.parametrize("window", [(15, 64), (64, 257), (1, 1)])
def test_other_windows_are_refused_with_those_that_can_be(window):
    with pytest.raises(WindowError) as caught:
        fit(window)
    h, w = window
    assert str(caught.value) == (
        f"train(window={window}): networks are made for windows from 16x16 to 256x256 pixels, and "
        f"this one is {w}x{h} (width x height); choose a window in between, and the crops "
        f"are resized to it, or give a network of your own (--arch)."
    )


@pytest.mark.parametrize("window", SHAPES)
def test_every_window_converts_exactly_in_one_pass_at_the_stride_of_the_rule(window):
    fcn = fullconv.convert(Classifier(network(window)), window)
    assert fcn.report.exact
    assert fcn.report.one_pass
    assert not fcn.report.per_window
    assert_shared(fcn)
    assert fcn.grid.step == fit(window).stride


@pytest.mark.parametrize("window", [(16, 16), (29, 40), (64, 32)])
@pytest.mark.parametrize("convolutional", [False, True])
def test_the_converted_network_gives_the_scores_of_the_crops(window, convolutional):
    model = both_heads(window)[convolutional]
    fcn = fullconv.convert(model, window)
    (h, w), (sy, sx) = window, fcn.grid.step
    images = integer_images(1, 1, h + 2 * sy + 1, w + 3 * sx)
    compare(fcn, torch_classifier(model), images)
    assert_shared(fcn)


@pytest.mark.parametrize("window", [(16, 16), (40, 29)])
def test_a_convolutional_head_alone_gives_what_the_converted_dense_head_gives(window):
    dense, convolutional = both_heads(window)
    fcn = fullconv.convert(dense, window)
    (h, w), (sy, sx) = window, fcn.grid.step
    images = integer_images(2, 1, h + sy, w + 2 * sx)
    with torch.no_grad():
        maps = convolutional.maps(images)
    assert tuple(maps.shape) == (2, 3, 2, 3)
    assert_same(maps, fcn(images))


def test_both_heads_begin_with_the_same_numbers():
    dense = network((28, 28)).state_dict()
    convolutional = network((28, 28), convolutional=True).state_dict()
    assert list(dense) == list(convolutional)
    for name, held in dense.items():
        assert torch.equal(held, convolutional[name].reshape(held.shape)), name
    assert dense["classifier.1.weight"].shape == (64, 96 * 3 * 3)
    assert convolutional["classifier.1.weight"].shape == (64, 96, 3, 3)


def test_a_step_of_learning_changes_both_heads_to_the_same_numbers():
    """In whole numbers, so that every sum is exact: the gradients are the same, bit for bit."""
    heads = both_heads((28, 28))
    crops = integer_images(6, 1, 28, 28)
    wanted = torch.tensor([[1.0, -1, 0], [0, 1, -1]] * 3)
    for head in heads:
        loss = (head(crops) * wanted).sum()
        loss.backward()
    for (name, weight), other in zip(
        heads[0].named_parameters(), heads[1].parameters(), strict=True
    ):
        assert torch.equal(weight.grad, other.grad.reshape(weight.shape)), name
    assert heads[0].classifier[1].weight.grad.abs().sum() > 0


def test_a_step_of_learning_can_differ():
    """The comparison above is of numbers that depend on the crops."""
    dense, convolutional = both_heads((28, 28))
    (dense(integer_images(6, 1, 28, 28))[:, 0]).sum().backward()
    (convolutional(integer_images(6, 1, 28, 28, seed=1))[:, 0]).sum().backward()
    other = convolutional.classifier[1].weight.grad.reshape(64, -1)
    assert not torch.equal(dense.classifier[1].weight.grad, other)
