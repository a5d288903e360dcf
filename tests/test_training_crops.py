"""Which crops are learnt, which are held out, and what is refused; all in one line each."""

import os
import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from drawn_crops import crop, write_crops
from fullconv.errors import ImageError, InputError
from fullconv.preprocessing import Preprocessing
from fullconv.sources import open_source, resized
from fullconv.training.crops import background_of, find_crops, hold_out
from fullconv.training.material import gather
from fullconv.training.pixels import CropFormat, inspect, preprocessing_of, read
from fullconv.training.settings import TrainSettings

TWO = {"background": 10, "disc": 5}


def gathered(folder, notes=None, **settings):
    return gather(
        folder, TrainSettings(**settings), False, (notes if notes is not None else []).append
    )


def names(crops):
    return sorted(str(crop.path.relative_to(crop.path.parents[1])) for crop in crops)


def test_classes_are_the_folders_sorted_and_hidden_ones_are_none(tmp_path):
    write_crops(tmp_path, {"square": 2, "disc": 3, "background": 2})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "disc" / "list.csv").write_text("none")
    found = find_crops(tmp_path)
    assert found.classes == ("background", "disc", "square")
    assert Counter(crop.label for crop in found.training) == {0: 2, 1: 3, 2: 2}
    assert found.test is None


def test_names_with_spaces_and_other_letters_stay_and_are_composed(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Zelle mit Kern, größer")
    write_crops(tmp_path, {"Zelle": 2, "細胞 2": 2})
    (tmp_path / "Zelle").rename(tmp_path / decomposed)
    assert find_crops(tmp_path).classes == ("Zelle mit Kern, größer", "細胞 2")
    assert background_of(("größer", "x"), unicodedata.normalize("NFD", "größer")) == "größer"


def test_linked_folders_are_followed_once(tmp_path):
    write_crops(tmp_path / "crops", {"background": 2, "disc": 3})
    write_crops(tmp_path / "more", {"disc": 4})
    for name, place in (("a", tmp_path / "more/disc"), ("again", "a")):
        (tmp_path / "crops/disc" / name).symlink_to(place, target_is_directory=True)
    (tmp_path / "more/disc/circle").symlink_to(tmp_path / "crops/disc")
    found = find_crops(tmp_path / "crops")
    assert Counter(crop.label for crop in found.training) == {0: 2, 1: 3 + 4}


def test_train_and_test_are_taken_as_they_are(tmp_path):
    write_crops(tmp_path / "train", TWO)
    write_crops(tmp_path / "test", {"disc": 2}, seed=1)
    found = find_crops(tmp_path)
    training, held = hold_out(found, 0.2, 0)
    assert names(training) == names(found.training)
    assert names(held) == ["disc/000.png", "disc/001.png"]
    assert [one.label for one in held] == [1, 1]


def test_train_alone_is_split_and_a_class_may_be_called_train(tmp_path):
    write_crops(tmp_path / "a" / "train", TWO)
    assert find_crops(tmp_path / "a").classes == ("background", "disc")
    write_crops(tmp_path / "b", {"train": 2, "bus": 2})
    assert find_crops(tmp_path / "b").classes == ("bus", "train")


def test_of_every_class_the_same_share_is_held_out_and_none_twice(tmp_path):
    write_crops(tmp_path, {"background": 20, "disc": 10, "square": 2})
    found = find_crops(tmp_path)
    training, held = hold_out(found, 0.2, seed=3)
    assert Counter(one.label for one in held) == {0: 4, 1: 2, 2: 1}
    assert sorted(names(training) + names(held)) == names(found.training)
    assert hold_out(found, 0.2, seed=3) == (training, held)
    assert hold_out(found, 0.2, seed=4) != (training, held)


def test_pictures_added_to_a_class_leave_the_others_where_they_were(tmp_path):
    write_crops(tmp_path, {"background": 20, "disc": 10})
    before = hold_out(find_crops(tmp_path), 0.2, 0)[1]
    crop("disc", np.random.default_rng(9)).save(tmp_path / "disc" / "new.png")
    after = hold_out(find_crops(tmp_path), 0.2, 0)[1]
    kept = [names(one for one in held if one.label == 0) for held in (before, after)]
    assert kept[0] == kept[1]


def refusal(folder, **settings):
    with pytest.raises((InputError, ImageError)) as caught:
        gathered(folder, **settings)
    return str(caught.value).replace(str(folder), "CROPS")


LAYOUT = (
    "expected one folder of pictures for each class, as in crops/dress and crops/background, or "
    "train/ and test/ with one folder for each class."
)


def test_a_folder_that_is_not_there_or_holds_no_folders_is_refused(tmp_path):
    assert refusal(tmp_path / "no") == f"train CROPS: that does not exist; {LAYOUT}"
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file") == f"train CROPS: that is no folder; {LAYOUT}"
    crop("disc", np.random.default_rng(0)).save(tmp_path / "a.png")
    assert refusal(tmp_path) == f"train CROPS: it holds no folders; {LAYOUT}"


def test_an_empty_class_and_a_single_class_are_refused(tmp_path):
    write_crops(tmp_path, {"disc": 3, "empty one": 0})
    assert refusal(tmp_path) == (
        "train CROPS: the class folder 'empty one' holds no pictures, by their endings; fill it, "
        "or remove it."
    )
    (tmp_path / "empty one").rmdir()
    assert refusal(tmp_path) == (
        "train CROPS: 'disc' is the only class, and a classifier needs two; add a folder "
        "'background' with crops of other things."
    )


def test_a_class_with_one_picture_is_refused_unless_there_is_a_test_folder(tmp_path):
    write_crops(tmp_path / "a", {"background": 3, "disc": 1})
    assert refusal(tmp_path / "a") == (
        "train: the class 'disc' holds one picture that can be read, and one to learn from and one "
        "to judge by is the least; add pictures to it."
    )
    write_crops(tmp_path / "b" / "train", {"background": 3, "disc": 1})
    write_crops(tmp_path / "b" / "test", {"background": 1})
    assert len(gathered(tmp_path / "b").training) == 4


def test_a_class_of_test_that_train_has_not_is_refused(tmp_path):
    write_crops(tmp_path / "train", TWO)
    write_crops(tmp_path / "test", {"square": 1})
    assert refusal(tmp_path) == (
        "train CROPS: test/ has the class 'square', which train/ has not; the classes of train/ "
        "are 'background', 'disc'."
    )


def test_a_folder_name_that_is_no_text_is_refused(tmp_path):
    write_crops(tmp_path, TWO)
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    assert refusal(tmp_path) == (
        "train: the folder name b'\\xff' is not text in UTF-8, so no model file can hold it; "
        "rename the folder."
    )


def test_pictures_that_cannot_be_read_are_left_out_each_in_a_line(tmp_path):
    write_crops(tmp_path, TWO)
    whole = (tmp_path / "disc" / "000.png").read_bytes()
    (tmp_path / "disc" / "cut.png").write_bytes(whole[:200])
    (tmp_path / "disc" / "text.jpg").write_text("no picture")
    (tmp_path / "background" / "none.png").write_bytes(b"")
    notes = []
    held = gathered(tmp_path, notes)
    assert len(held.training) + len(held.held_out) == 15
    assert held.left_out == 3
    assert all(note.is_warning and "\n" not in note.line for note in notes)
    assert [re.search(r"left out: \S+/(\w+\.\w+) ", note.line)[1] for note in notes] == [
        "none.png",
        "cut.png",
        "text.jpg",
    ]


def test_when_none_can_be_read_that_is_said(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    assert refusal(tmp_path) == (
        "train: not one of 2 pictures can be read: CROPS/a/x.png is empty; copy or save the image "
        "again."
    )


def test_crops_of_several_sizes_need_a_window_and_cover_it(tmp_path):
    write_crops(tmp_path, TWO)
    wide = crop("disc", np.random.default_rng(0), 40).crop((0, 4, 40, 36))
    wide.save(tmp_path / "disc" / "wide.png")
    assert refusal(tmp_path) == (
        "train: the crops have 2 sizes, 15 of 16 are 16x16 (width x height); name the window, as "
        "in --window 16x16, and the others are resized to cover it and cut at its centre."
    )
    notes = []
    gathered(tmp_path, notes, window=(16, 16))
    assert [note.line for note in notes] == [
        "1 of 16 crops are of another size, and were resized to cover 16x16 and cut at the centre"
    ]
    found = [one for one in find_crops(tmp_path).training if one.path.name == "wide.png"]
    pixels = read(found, CropFormat((16, 16), 3, "uint8")).pixels[0]
    with open_source(found[0].path) as source:
        expected = resized(source, (16, 20)).read((0, 16), (2, 18)).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, expected)


def test_grey_crops_stay_grey_and_one_in_colour_makes_all_colour(tmp_path):
    write_crops(tmp_path, TWO)
    for path in tmp_path.glob("*/*.png"):
        Image.open(path).convert("L").save(path)
    grey = gathered(tmp_path)
    assert grey.training.pixels.shape == (12, 1, 16, 16)
    crop("disc", np.random.default_rng(0)).convert("RGBA").save(tmp_path / "disc" / "000.png")
    assert gathered(tmp_path).training.pixels.shape == (12, 3, 16, 16)


def test_crops_of_16_bits_keep_them_and_do_not_mix_with_8(tmp_path):
    write_crops(tmp_path, TWO)
    for number, path in enumerate(sorted(tmp_path.glob("*/*.png"))):
        Image.fromarray(np.full((16, 16), 1000 + number, np.uint16)).save(path)
    held = gathered(tmp_path)
    assert held.training.pixels.dtype == np.uint16
    assert held.preprocessing.scale == 1 / 65535
    crop("disc", np.random.default_rng(0)).save(tmp_path / "disc" / "000.png")
    assert refusal(tmp_path) == (
        "train: CROPS/background/000.png has pixels of type uint16 and CROPS/disc/000.png of type "
        "uint8, whose values do not compare; convert the crops to one type."
    )


def test_preprocessing_makes_mean_0_and_deviation_1_of_each_channel(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (20, 3, 8, 8)).astype(np.uint8)
    pixels[:, 1] //= 3
    found = preprocessing_of(pixels)
    prepared = found.apply(pixels)
    # Mean and deviation are stored with four digits.
    np.testing.assert_allclose(prepared.mean(axis=(0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(prepared.std(axis=(0, 2, 3)), 1, atol=1e-3)
    assert found == Preprocessing.from_json(found.to_json())


def test_a_constant_channel_is_not_divided_by_zero():
    found = preprocessing_of(np.full((2, 1, 8, 8), 51, np.uint8))
    assert (found.mean, found.std) == ((0.2,), (1.0,))


def test_the_background_is_named_or_known_by_its_name_and_must_exist():
    assert background_of(("dress", "Other"), None) == "Other"
    assert background_of(("dress", "shirt"), None) is None
    assert background_of(("dress", "shirt"), "shirt") == "shirt"
    with pytest.raises(InputError) as caught:
        background_of(("dress", "shirt"), "sky")
    assert str(caught.value) == (
        "train --background sky: there is no such class; the folders are 'dress', 'shirt'."
    )


def test_negatives_need_a_background(tmp_path):
    write_crops(tmp_path, {"disc": 3, "square": 3})
    with pytest.raises(InputError) as caught:
        gather(tmp_path, TrainSettings(), True, [].append)
    assert str(caught.value) == (
        "train --negatives: false alarms become crops of the background, and none of the classes "
        "'disc', 'square' is known to be it; name it with --background."
    )


def test_looking_drops_no_picture_that_is_whole(tmp_path):
    write_crops(tmp_path, TWO)
    found = find_crops(tmp_path)
    looked = inspect(found.training, None)
    assert looked.crops == found.training
    assert looked.kind == CropFormat((16, 16), 3, "uint8")
    assert (looked.brought, looked.left_out) == (0, ())
