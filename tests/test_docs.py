"""The pages in docs/: their links, their worked numbers, and the scripts that made their figures.

The margins are computed by a formula in docs/figures/margins.py. Here they are found without it: by
marking padding with NaN, which nothing that reads it can lose, and by looking where a network's
map of a crop differs from its map of the whole image.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from data import REPOSITORY, data_file
from resnet20 import ResNet20

sys.path.append(str(REPOSITORY / "docs/figures"))
import draw_padding
import margins
from margins import Axis, Layer

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "crops.md").read_text()


def links(page: Path) -> list[str]:
    """Return what a Markdown page links to and shows, without web addresses."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [link for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    assert links(page)
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_links_are_found_over_several_lines_and_web_addresses_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c\n\n![two\nlines](a.png) [web](https://example.org) [here](#a-b-c)\n"
    )
    assert links(page) == ["a.png", "#a-b-c"]
    assert anchors(page) == {"a-b-c"}


# Tables and worked examples say what the code says.


def test_the_page_shows_the_figure_and_holds_the_computed_tables():
    assert "figures/padding.png" in links(DOCS / "crops.md")
    for table in (margins.untouched_table(), margins.cost_table()):
        assert "\n".join(table) in PAGE


def test_the_worked_example_of_padding_is_what_convolutions_give():
    image, inside = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3]), slice(2, 8)
    of_image, of_crop = image, image[inside]
    for count in ("one layer", "two layers", "three layers"):
        of_image, of_crop = (np.convolve(map_, [1, 1, 1], "same") for map_ in (of_image, of_crop))
        for name, row in (("crop", of_crop), ("image", of_image[inside])):
            differs = of_crop != of_image[inside]
            cells = [f"**{n}**" if d else str(n) for n, d in zip(row, differs, strict=True)]
            assert f"| {count}, of the {name} | {' | '.join(cells)} |" in PAGE


def test_the_worked_example_of_a_fully_connected_layer_is_what_a_convolution_gives():
    map_ = torch.tensor([[1.0, 2, 5], [3, 4, 0]])
    weight = torch.tensor([1.0, 0, 2, -1])
    dense = [float(weight @ map_[:, i : i + 2].flatten()) for i in range(2)]
    conv = torch.nn.functional.conv2d(map_[None, None], weight.reshape(1, 1, 2, 2))
    assert dense == conv.flatten().tolist() == [3, 10]
    assert "map  1 2 5" in PAGE
    assert "1*1 + 0*2 + 2*3 - 1*4 = 3\n         3 4 0            1*2 + 0*5 + 2*4 - 1*0 = 10" in PAGE


# The margins.


def touched(layers: Sequence[Layer], window: int) -> list[np.ndarray]:
    """Return which cells of every layer's output depend on padding, by marking it with NaN."""
    cells, found = np.zeros(window), []
    for layer in layers:
        padded = np.pad(cells, layer.padding, constant_values=np.nan)
        reach = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel)
        cells = reach[:: layer.stride].sum(axis=1)
        found.append(np.isnan(cells))
    return found


def assert_marked(axis: Axis, marked: np.ndarray) -> None:
    """Fail unless the axis says of every cell whether it is touched."""
    expected = np.ones(axis.cells, bool)
    expected[axis.lo : axis.cells - axis.hi] = False
    assert expected.tolist() == marked.tolist()
    assert axis.mid == int((~marked).sum())


def random_layers(seed: int) -> list[Layer]:
    """Return a few layers with kernels, strides and paddings of all kinds."""
    rng = np.random.default_rng(seed)
    layers = []
    for number in range(int(rng.integers(1, 7))):
        kernel, stride = int(rng.integers(1, 6)), int(rng.integers(1, 4))
        layers.append(Layer(str(number), kernel, stride, int(rng.integers(0, kernel // 2 + 1))))
    return layers


@pytest.mark.parametrize("seed", range(60))
def test_margins_of_random_layers_are_the_cells_that_padding_reaches(seed):
    layers, window = random_layers(seed), 40 + seed % 17
    while min(axis.cells for axis in margins.through(layers, window)) < 1:
        window *= 2
    axes = margins.through(layers, window)[1:]
    for axis, marked in zip(axes, touched(layers, window), strict=True):
        assert_marked(axis, marked)


@pytest.mark.parametrize("network", margins.NETWORKS)
def test_margins_of_the_named_networks_are_the_cells_that_padding_reaches(network):
    layers = margins.NETWORKS[network]
    axes = margins.through(layers, 224)[1:]
    for axis, marked in zip(axes, touched(layers, 224), strict=True):
        assert_marked(axis, marked)
    assert (axes[-1].cells, axes[-1].pitch) == (7, 32)


def test_a_margin_that_is_off_by_one_is_noticed():
    with pytest.raises(AssertionError):
        assert_marked(Axis(6, 2, 1), np.array([True, False, False, False, False, True]))


@torch.no_grad()
def test_margins_of_a_real_network_are_where_its_crop_differs_from_the_image():
    torch.manual_seed(0)
    model = ResNet20().double().eval()
    image = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    crop = image[:, :, 32:64, 32:64]
    first, second, third = ((Layer("", 3, t, 1), Layer("", 3, 1, 1)) for t in (1, 2, 2))
    rest = first
    stem = (Layer("", 3, 1, 1),)
    convolutions = stem + 3 * first + second + 2 * rest + third + 2 * rest
    axes = margins.through(convolutions, 32)[1:]
    parts = [torch.nn.Sequential(model.conv1, model.bn1, torch.nn.ReLU())]
    parts += [*model.layer1, *model.layer2, *model.layer3]
    for block, part in enumerate(parts):
        image, crop = part(image), part(crop)
        axis = axes[2 * block]
        start = 32 // axis.pitch
        same = image[:, :, start : start + axis.cells, start : start + axis.cells] - crop
        differs = (same.abs() > 1e-12).any(1)[0].numpy()
        assert_marked(axis, differs.all(axis=0))
        assert_marked(axis, differs.all(axis=1))
    assert [axis.mid > 0 for axis in axes] == 11 * [True] + 8 * [False]


@pytest.mark.parametrize(
    ("axis", "step", "cells"),
    [
        (Axis(224), 32, 32),
        (Axis(112, 3, 3, 2), 32, 22),
        (Axis(14, 6, 6, 16), 32, 14),
        (Axis(14, 5, 5, 16), 8, 11),
        (Axis(14, 1, 1, 16), 24, 5),
        (Axis(7, 4, 3, 32), 32, 7),
    ],
)
def test_a_window_costs_its_margins_and_the_cells_of_a_step(axis, step, cells):
    assert axis.more(step) == cells


# The figure.


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of docs/figures/ by itself, with no more of the environment than is given."""
    return subprocess.run(
        [sys.executable, str(DOCS / "figures" / script), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )


def test_the_figure_is_drawn_in_the_stated_size_and_every_time_the_same(tmp_path):
    done = run("draw_padding.py", str(tmp_path / "figure.png"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with Image.open(tmp_path / "figure.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert picture.size == tuple(draw_padding.SCALE * n for n in draw_padding.SIZE)
        assert ImageChops.difference(picture, draw_padding.draw()).getbbox() is None


def test_the_figure_in_the_page_is_the_one_that_is_drawn_now():
    with Image.open(draw_padding.OUTPUT) as held:
        shown = np.asarray(held.convert("RGB"), dtype=int)
    drawn = np.asarray(draw_padding.draw(), dtype=int)
    assert shown.shape == drawn.shape
    # Another version of Pillow may set letters a little differently.
    assert (np.abs(shown - drawn).max(axis=2) > 64).mean() < 0.005


def test_the_figure_colours_as_many_cells_as_the_margins_say():
    sheet = draw_padding.Sheet(100, 10)
    draw_padding.draw_bar(sheet, Axis(10, 2, 3), 0, 0, 100, 10)
    row = np.asarray(sheet.image)[0]
    for colour, cells in ((draw_padding.LO, 2), (draw_padding.MID, 5), (draw_padding.HI, 3)):
        per_cell = 10 * draw_padding.SCALE - 1  # less the gap
        assert int((row == colour).all(axis=1).sum()) == cells * per_cell


# The measurement.


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two tests at once on two cores are quicker when neither asks for both."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def measure_resnet20():
    """Return the script that measures, which correlates ranks by SciPy."""
    pytest.importorskip("scipy")
    import measure_resnet20

    return measure_resnet20


def test_a_comparison_counts_flips_and_right_answers(measure_resnet20):
    crops = np.array([[5, 0, 1, 2], [1, 4, 3, 0]], np.float32)
    scores = np.array([[5, 0, 9, 2], [1, 4, 3, 1]], np.float32)
    found = measure_resnet20.compare(scores, crops, np.array([0, 1, 1, 1]))
    assert (found.right, found.flips, found.windows, found.largest) == (0.5, 1, 4, 8.0)
    assert found.ranks == pytest.approx([0.4, 4.5 / 22.5**0.5])


def test_the_trained_network_is_measured_and_its_exact_form_never_flips(
    measure_resnet20, one_thread
):
    folder = data_file("resnet20_cifar10/resnet20.safetensors").parent
    model, pictures = measure_resnet20.read_network(folder), measure_resnet20.read_pictures(folder)
    found = measure_resnet20.measure(model, pictures, side=3, step=32, draws=1)
    crops, others, exact, approximate = (draws[0] for draws in found.values())
    assert (others.flips, exact.flips, exact.right) == (0, 0, crops.right)
    assert approximate.largest > 1000 * max(exact.largest, others.largest)
    assert approximate.ranks.mean() < 0.99
    assert len(list(measure_resnet20.table(found))) == 2 + len(found)


def test_measuring_without_the_data_is_one_line_and_exit_code_3(
    measure_resnet20, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("FULLCONV_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        measure_resnet20.data_folder()
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (3, "")
    assert printed.err == (
        "measure_resnet20: resnet20.safetensors, cifar10_test_2000.npz not found in "
        f"{tmp_path / 'resnet20_cifar10'}; name the folder that holds resnet20_cifar10/ by the "
        "environment variable FULLCONV_DATA.\n"
    )


def test_measuring_without_torch_is_one_line_and_exit_code_3(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')\n")
    done = run("measure_resnet20.py", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "measure_resnet20: torch is not installed; pip install -e '.[torch,dev]' in the "
        "repository brings it.\n"
    )
