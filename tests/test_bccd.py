"""Blood cells in microscope fields: crops, and the whole way to boxes, on the real data."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import fullconv
from data import REPOSITORY, data_root

sys.path.append(str(REPOSITORY / "examples"))
import bccd
import bccd_crops
from bccd_crops import CLASSES, PLANS, WINDOW

TARGETS = {
    # recall at least, precision of the first try
    "Platelets": (0.87, 0.39),
    "RBC": (0.93, 0.46),
    "WBC": (0.97, 0.73),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    folder = data_root() / "bccd"
    if not (folder / "ImageSets/Main/train.txt").is_file():
        pytest.skip(f"bccd/ is not in {data_root()}; FULLCONV_DATA names another folder")
    return folder


@pytest.fixture(scope="module")
def fields(data):
    return bccd_crops.read_fields(data)


def cuts_of(field, seed=0):
    drawn = np.random.default_rng(seed)
    with Image.open(field.path) as picture:
        width, height = picture.size
    for name, plan in PLANS.items():
        size = (round(width * plan.scale), round(height * plan.scale))
        for cut in bccd_crops.cuts(field, name, size, drawn):
            assert 0 <= cut.x <= size[0] - WINDOW
            assert 0 <= cut.y <= size[1] - WINDOW
            yield cut


def holds(box, point):
    x, y = point
    return box[0] <= x < box[2] and box[1] <= y < box[3]


def test_the_official_split_keeps_fields_apart(fields):
    assert {split: len(held) for split, held in fields.items()} == {
        "train": 205,
        "val": 87,
        "test": 72,
    }
    paths = [field.path for held in fields.values() for field in held]
    assert len(set(paths)) == len(paths)


def test_crops_of_a_class_have_their_centre_in_a_box_of_it(fields):
    counts = dict.fromkeys((*CLASSES, "background"), 0)
    for field in fields["train"][:20]:
        for cut in cuts_of(field):
            counts[cut.label] += 1
            if cut.label != "background":
                assert cut.label == cut.looked_for
                boxes = [box for label, box in field.objects if label == cut.label]
                assert any(holds(box, cut.centre) for box in boxes)
    assert min(counts.values()) > 20, counts


def test_no_window_is_cut_both_as_an_object_and_as_background(fields):
    for field in fields["train"][:20]:
        cut = list(cuts_of(field))
        places = {(one.looked_for, one.x, one.y, one.label == "background") for one in cut}
        windows = {place[:3] for place in places}
        assert len(places) == len(windows)


def test_a_field_is_cut_the_same_whatever_others_there_are(fields, tmp_path):
    bccd_crops.write_crops(fields["train"][:2], tmp_path / "two", 0)
    bccd_crops.write_crops(fields["train"][1:2], tmp_path / "one", 0)
    alone = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png")}
    both = {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*.png")}
    assert alone < both
    for path in alone:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


@pytest.fixture(scope="module")
def small(data, tmp_path_factory):
    """The whole run, on three fields of each split and one epoch."""
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("bccd") / "out"
    return bccd.run(data, output, bccd.Options(epochs=1, rounds=1, fields=3)), output


def test_the_run_goes_from_fields_to_figures_and_writes_what_it_says(small, fields):
    figures, output = small
    assert json.loads((output / "report.json").read_text()) == json.loads(json.dumps(figures))
    for name in ("field.png", "misses.png"):
        with Image.open(output / name) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 22)) > 5
    for run in figures["runs"].values():
        assert set(run["classes"]) == set(CLASSES)
        truth = [label for field in fields["test"][:3] for label, _ in field.objects]
        assert {n: held["truth"] for n, held in run["classes"].items()} == {
            name: truth.count(name) for name in CLASSES
        }
        for held in run["classes"].values():
            assert held["recall"] == held["found"] / held["truth"]
    boxes = fullconv.Detections.read(output / "boxes.csv")
    assert {name.split("/")[-1].split(".")[0] for name in boxes.names} <= {
        field.path.stem for field in fields["test"][:3]
    }


def test_only_training_fields_are_learnt_from_and_every_window_of_them_is_scored(small, fields):
    figures, output = small
    learnt = {path.name[: len("BloodImage_00000")] for path in (output / "crops/train").rglob("*")}
    names = {field.path.stem for field in fields["train"][:3]}
    assert {name for name in learnt if name.startswith("Blood")} == names
    grid = fullconv.convert(output / "cells.onnx").grid
    windows = sum(
        int(np.prod(grid.shape((round(480 * scale), round(640 * scale)))))
        for scale in bccd_crops.SCALES
    )
    rounds = figures["runs"][bccd.HARD]["rounds"]
    assert [(one["photos"], one["windows"]) for one in rounds] == [(3, 3 * windows)] * 2
    assert rounds[0]["added"] > 0
    assert figures["runs"][bccd.PLAIN]["rounds"] == []


def test_thresholds_are_the_highest_that_find_enough():
    curve = fullconv.evaluate(
        fullconv.Detections(
            np.array([[0, 0, 2, 2], [10, 0, 12, 2], [20, 0, 22, 2]]),
            np.array([0.9, 0.8, 0.7]),
            np.zeros(3, np.int64),
            np.zeros(3, np.int64),
            ("WBC",),
            ("a.png",),
            (None,),
        ),
        {"a.png": ([[0, 0, 2, 2], [20, 0, 22, 2], [30, 0, 32, 2]], ["WBC"] * 3)},
        match="center",
    )["WBC"]
    assert [bccd.threshold(curve, recall) for recall in (0.3, 0.5, 0.9)] == [0.9, 0.7, 0.7]
    assert [round(bccd.misses(curve, rate), 3) for rate in (0.5, 1)] == [0.667, 0.333]


def test_without_the_data_it_says_where_it_looked(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        bccd_crops.data_folder(str(tmp_path))
    assert caught.value.code == 3
    assert capsys.readouterr().err == (
        f"bccd: Annotations, JPEGImages, ImageSets/Main not found in {tmp_path / 'bccd'}; name the "
        f"folder that holds bccd/ by --data or the environment variable FULLCONV_DATA.\n"
    )


@pytest.mark.slow
def test_the_whole_run_finds_what_it_must_with_fewer_false_boxes_than_the_first_try(data, tmp_path):
    # As README's figures were made. With two threads sums are added in another order, and what is
    # trained differs: 15 false white cells in place of 12.
    torch.set_num_threads(1)
    figures = bccd.run(data, tmp_path / "out", bccd.Options())
    found = figures["runs"][bccd.HARD]["classes"]
    for name, (recall, precision) in TARGETS.items():
        assert found[name]["recall"] >= recall, (name, found[name])
        assert found[name]["precision"] > precision + 0.1, (name, found[name])
