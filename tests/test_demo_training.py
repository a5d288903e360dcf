"""``fullconv demo --train``: drawn crops, and a classifier that `fullconv train` makes of them."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import fullconv
from fullconv.cli.group import commands
from fullconv.demo import crops, making, run
from fullconv.demo.crops import (
    BEYOND,
    FIRST_EMPTY,
    FIRST_TO_JUDGE,
    FIRST_TO_LEARN,
    REACH,
    Streets,
    draw_crops,
    positions,
)
from fullconv.demo.scene import draw_scene, draw_without_dresses
from fullconv.errors import OutputError

FEW = Streets(to_learn=3, to_judge=1, empty=1)


def files_below(folder: Path) -> dict[str, bytes]:
    """Return all files by their paths."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def distance(scene, position):
    """Return how many pixels a window's centre is from that of the nearest dress."""
    row, column = position[0] + 64, position[1] + 32
    return min(
        np.hypot((y0 + y1) / 2 - row, (x0 + x1) / 2 - column) for x0, y0, x1, y1 in scene.dresses
    )


@pytest.mark.parametrize("seed", range(4))
def test_crops_of_dresses_are_near_one_and_others_are_far_from_all(seed):
    scene = draw_scene(seed)
    found = positions(scene, np.random.default_rng(seed))
    assert found.keys() == {"dress", "background"}
    assert all(distance(scene, place) <= np.hypot(*REACH) for place in found["dress"])
    assert all(distance(scene, place) >= BEYOND for place in found["background"])
    assert len(found["dress"]) > len(scene.dresses)
    assert any(distance(scene, place) < 80 for place in found["background"])
    for row, column in found["dress"] | found["background"]:
        assert 0 <= row <= 512 - 128
        assert 0 <= column <= 1024 - 64


def test_every_crop_is_the_window_that_its_name_says(tmp_path):
    drawn = draw_crops(tmp_path, FEW)
    pictures = sorted(drawn.crops.rglob("*.png"))
    assert len(pictures) == drawn.dresses + drawn.backgrounds
    scenes = {}
    for path in pictures:
        seed, row, column = map(int, path.stem.split("-"))
        scene = scenes.setdefault(seed, draw_scene(seed))
        with Image.open(path) as picture:
            assert np.array_equal(picture, scene.image[row : row + 128, column : column + 64])
    learnt = range(FIRST_TO_LEARN, FIRST_TO_LEARN + 3)
    assert set(scenes) == {*learnt, FIRST_TO_JUDGE}
    assert {path.parts[-3] for path in pictures if path.stem.startswith("1000")} == {"train"}
    assert {path.parts[-3] for path in pictures if path.stem.startswith("1500")} == {"test"}


def test_crops_are_drawn_alike_again_over_what_is_there(tmp_path):
    told = []
    draw_crops(tmp_path, FEW, lambda done, count: told.append((done, count)))
    first = files_below(tmp_path)
    draw_crops(tmp_path, FEW)
    assert files_below(tmp_path) == first
    assert told == [(done, 5) for done in range(1, 6)]


def test_pictures_that_were_not_drawn_are_not_learnt_in_silence(tmp_path):
    draw_crops(tmp_path, FEW)
    place = tmp_path / "crops" / "train" / "dress"
    (place / "mine.png").write_bytes(b"")
    with pytest.raises(OutputError) as refused:
        draw_crops(tmp_path, FEW)
    assert str(refused.value) == (
        f"demo -o {tmp_path}: {place} holds 1 files that were not drawn now, and they would be "
        f"learnt as well; remove it, or choose another folder."
    )
    assert (place / "mine.png").exists()


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "crops").write_text("a file")
    with pytest.raises(OutputError) as refused:
        draw_crops(tmp_path, FEW)
    assert str(refused.value) == (
        f"demo -o {tmp_path}: crops cannot be written there: Not a directory; free some space or "
        f"choose another place."
    )


def test_streets_to_learn_to_judge_and_to_try_are_others():
    most = crops.STREETS
    learnt = range(FIRST_TO_LEARN, FIRST_TO_LEARN + most.to_learn)
    judged = range(FIRST_TO_JUDGE, FIRST_TO_JUDGE + most.to_judge)
    empty = range(FIRST_EMPTY, FIRST_EMPTY + most.empty)
    tried = range(20_000)
    assert len({*learnt, *judged, *empty, *tried}) == most.count + len(tried)


def test_a_street_without_dresses_is_a_street_in_which_none_is_found():
    image = draw_without_dresses(7)
    assert image.shape == (512, 1024, 3)
    assert np.array_equal(image, draw_without_dresses(7))
    fcn = fullconv.convert(Path(run.__file__).with_name("dress.onnx"), step=32)
    assert len(fullconv.detect(fcn, image, 0.5, windows_to_check=0)) == 0
    assert len(fullconv.detect(fcn, draw_scene(7).image, 0.5, windows_to_check=0)) >= 3


def demo(*arguments):
    return CliRunner().invoke(commands, ["demo", *map(str, arguments)])


@pytest.fixture
def quick(monkeypatch):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    monkeypatch.setattr(run, "REPEATS", 1)


def test_the_demo_trains_in_front_of_the_user_and_goes_on_with_that(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(crops, "STREETS", FEW)
    monkeypatch.setattr(making, "EPOCHS", 1)
    monkeypatch.chdir(tmp_path)
    result = demo("--train", "-o", "d")
    assert result.exit_code == 0, result.output
    for line in (
        "0. Where a classifier comes from",
        r"   \d+ crops of dresses, \d+ of other things, 1 streets without dresses \(\d+ s\)",
        "     fullconv train d/crops -o d/dress.onnx --negatives d/photos --flips h --epochs 1",
        r"crops    \d+ to learn \(background \d+, dress \d+\), \d+ held out",
        r"network  window 64x128, stride 8x16 \(width x height\), .*",
        r"epoch   1/3  loss .*",
        r"negatives 3025 windows of 1 photos scored in .*",
        r"   That took .* It is right in .* % of \d+ crops of streets that it had .*",
        "   A small classifier has just been trained. It looks at one crop, 64 pixels wide and",
        "   All 403 windows were compared.*",
        "   dress.onnx       the classifier of crops; dress-.*",
    ):
        assert re.search(f"^{line}$", result.stdout, re.MULTILINE), line
    assert max(map(len, result.stdout.splitlines())) <= 200
    there = {path.name for path in Path("d").iterdir()}
    assert there == {
        *("crops", "photos", "dress.onnx", "dress-confusion.png", "dress-curves.png"),
        *("dress-report.json", "scene.png", "overlay.png", "boxes.png", "dress-fcn.onnx"),
    }
    assert fullconv.load("d/dress-fcn.onnx").grid.step == (32, 32)
    settings = json.loads(Path("d/dress-report.json").read_text())["settings"]
    shown = re.search(r"^ +fullconv train (.+)$", result.stdout, re.MULTILINE)[1]
    asked = commands.get_command(None, "train").make_context("train", shlex.split(shown)).params
    deciding = ("epochs", "flips", "seed", "rounds", "arch", "window", "batch", "learning_rate")
    assert {name: asked[name] for name in deciding} == {name: settings[name] for name in deciding}
    assert (asked["crops"], asked["output"]) == (Path("d/crops"), Path("d/dress.onnx"))
    assert asked["negatives"] == ("d/photos",)


@pytest.mark.slow
def test_a_freshly_trained_classifier_finds_the_dresses(tmp_path, quick):
    result = demo("--train", "-o", tmp_path / "d", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (len(record["found"]), record["missed"], record["false_alarms"]) == (5, [], 0)
    assert "\nepoch   1/" in result.stderr


def test_without_pytorch_the_demo_names_the_extra_and_draws_nothing(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; from fullconv.cli import main; "
        "sys.argv = ['fullconv', 'demo', '--train', '-o', 'd']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 3
    assert result.stderr == (
        "fullconv: error: demo --train needs the optional packages of the 'train' extra, which are "
        'not installed. Install them with: pip install "fullconv[train]"\n'
    )
    assert not list(tmp_path.iterdir())


def test_the_demo_without_training_loads_no_pytorch(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; from fullconv.cli import main; "
        "sys.argv = ['fullconv', 'demo', '-o', 'd']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "Found 5 of 5 dresses, with 0 false alarms." in result.stdout
