"""Real garments: the crops that are cut, and the sheet of 900 tiles, on the real data."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import fullconv
from data import REPOSITORY, data_file
from fullconv.training.fitting import fit
from fullconv.training.network import WindowNetwork
from oracle import assert_close, scores_of_crops, self_difference, torch_classifier

sys.path.append(str(REPOSITORY / "examples"))
import fashion
import garments

TIMES = 16
"""As many times its difference from itself may the converted network differ from its crops."""


@pytest.fixture(scope="module")
def data():
    for name in garments.FILES:
        data_file(f"fashion/{name}")
    return garments.data_folder(None)


@pytest.fixture(scope="module")
def sheet(data):
    return garments.read_sheet(data)


def test_crops_are_the_data_set_s_own_pictures_by_class_and_split_and_none_is_on_the_sheet(
    data, sheet, tmp_path
):
    garments.cut_crops(data, sheet, tmp_path, most=3)
    with np.load(data / garments.FILES[0]) as held:
        pictures, labels, is_training = held["X"], held["y"], held["train"]
    paths = sorted(tmp_path.glob("*/*/*.png"))
    rows = np.array([int(path.stem) for path in paths])
    assert {path.parts[-3:-1] for path in paths} == {
        (part, name) for part in ("train", "test") for name in sheet.classes
    }
    assert len(rows) == len(set(rows.tolist())) == 2 * 10 * 3
    assert not set(rows.tolist()) & set(sheet.source_rows.tolist())
    for path, row in zip(paths, rows, strict=True):
        assert path.parts[-3] == ("train" if is_training[row] else "test")
        assert path.parts[-2] == sheet.classes[labels[row]]
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture).ravel(), pictures[row])


def test_the_truth_of_the_sheet_has_every_tile_with_its_class(sheet, tmp_path):
    picture, truth = tmp_path / "sheet.png", tmp_path / "sheet.json"
    garments.write_sheet(sheet, picture, truth)
    corners = 28 * np.stack(np.divmod(np.arange(900), 30)[::-1], axis=1)
    found = fullconv.Detections(
        np.concatenate([corners, corners + 28], axis=1),
        *(np.ones(900), sheet.labels.ravel(), np.zeros(900)),
        *(sheet.classes, ("sheet.png",), ((840, 840),)),
    )
    evaluation = fullconv.evaluate(found, truth, iou=1.0)
    assert (evaluation.recall, evaluation.precision) == (1.0, 1.0)
    assert evaluation[garments.DRESS].truth == int(sheet.is_dress.sum()) == 90
    assert json.loads(truth.read_text())["images"][0]["file_name"] == "sheet.png"
    with Image.open(picture) as written:
        assert np.array_equal(np.asarray(written), sheet.pixels)


def test_the_sheet_of_garments_in_one_pass_has_each_tile_s_own_scores(sheet):
    torch.manual_seed(0)
    model = WindowNetwork(fit(garments.WINDOW), 1, 10, convolutional=False).eval()
    fcn = fullconv.convert(model, window=garments.WINDOW)
    image = torch.from_numpy(sheet.pixels / np.float32(255))[None, None]
    scores = fcn(image)
    tiles = scores_of_crops(torch_classifier(model), image, (28, 28), (28, 28))
    unit = self_difference(torch_classifier(model), fashion.tiles_of(image)[:25])
    assert scores.shape == (1, 10, 204, 204)
    assert_close(scores[:, :, ::7, ::7], tiles, unit, TIMES)
    assert (fcn.report.exact, fcn.report.per_window, fcn.report.reasons) == (True, False, ())


def test_training_on_garments_without_the_data_is_one_line_and_exit_code_3(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("FULLCONV_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        garments.data_folder(None)
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (3, "")
    assert printed.err == (
        "fashion: fashion_mnist_all.npz, fashion-mnist-sprite.png, sprite_ground_truth.json not "
        f"found in {tmp_path / 'fashion'}; name the folder that holds fashion/ by --data or the "
        "environment variable FULLCONV_DATA.\n"
    )


@pytest.mark.slow
def test_a_classifier_that_fullconv_has_trained_finds_the_dresses_on_the_sheet(data, tmp_path):
    figures = fashion.run(data, tmp_path, seed=0, epochs=fashion.EPOCHS)
    assert (figures.dresses, figures.other_tiles) == (90, 810)
    assert figures.dresses_found >= 84
    assert figures.false_tiles <= 11
    assert figures.held_out_accuracy >= 0.9
