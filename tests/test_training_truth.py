"""Hard negatives in photos that hold objects: what a true box explains, and what is learnt."""

import json

import numpy as np
import pytest
import torch

import fullconv
from drawn_crops import draw, ground, write_crops
from fullconv.errors import InputError
from fullconv.training.explaining import NO_CLASS, RIGHT, UNCLEAR, Objects
from fullconv.training.negatives import mine
from fullconv.training.photos import Photos
from fullconv.training.pixels import CropFormat
from fullconv.training.telling import Ended, Round
from fullconv.training.trainer import train

BACKGROUND, DISC, SQUARE = range(3)
CLASSES = ("background", "disc", "square")
QUICK = {"epochs": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def held(*boxes, ignored=()):
    """Return what a photo holds: (class number, x0, y0, x1, y1) each."""
    return Objects(
        np.array([box[1:] for box in boxes], np.float64).reshape(-1, 4),
        np.array([box[0] for box in boxes], np.int64),
        np.array([place in ignored for place in range(len(boxes))], bool),
    )


def lessons(known, claimed, *windows):
    boxes = np.array(windows, np.float64)
    return known.lessons(boxes, np.full(len(boxes), claimed), BACKGROUND).tolist()


def test_a_window_is_right_where_its_centre_lies_in_a_box_of_its_class():
    known = held((DISC, 10, 10, 30, 30))
    inside, edge, outside = (12, 12, 28, 28), (2, 2, 18, 18), (22, 22, 38, 38)
    assert lessons(known, DISC, inside, edge, outside) == [RIGHT, RIGHT, BACKGROUND]


def test_a_window_of_quite_another_size_than_the_object_is_wrong_about_it():
    known = held((DISC, 10, 10, 30, 30))
    larger, largest, smaller, smallest = (
        (20 - far, 20 - far, 20 + far, 20 + far) for far in (16, 18, 6, 5)
    )
    assert lessons(known, DISC, larger, smaller) == [RIGHT, RIGHT]
    assert lessons(known, DISC, largest, smallest) == [UNCLEAR, BACKGROUND]


def test_a_false_alarm_on_an_object_of_another_class_is_learnt_by_place_and_size():
    known = held((SQUARE, 10, 10, 30, 30))
    same, similar, smaller = (10, 10, 30, 30), (13, 13, 25, 25), (15, 15, 24, 24)
    assert lessons(known, DISC, same, similar, smaller) == [SQUARE, UNCLEAR, BACKGROUND]
    assert lessons(known, SQUARE, same, similar, smaller) == [RIGHT, RIGHT, BACKGROUND]


def test_of_two_objects_the_one_that_fits_better_is_learnt():
    known = held((SQUARE, 10, 10, 30, 30), (3, 12, 12, 32, 32))
    assert lessons(known, DISC, (12, 12, 32, 32), (10, 10, 30, 30)) == [3, SQUARE]


def test_ignored_boxes_let_windows_be_and_classes_that_are_not_learnt_explain_nothing():
    window = (10, 10, 30, 30)
    assert lessons(held((DISC, *window), ignored=[0]), SQUARE, window) == [RIGHT]
    assert lessons(held((NO_CLASS, *window)), SQUARE, window) == [BACKGROUND]
    assert lessons(held((NO_CLASS, *window), ignored=[0]), SQUARE, window) == [RIGHT]


def test_nothing_in_a_photo_explains_nothing():
    assert lessons(Objects.nothing(), DISC, (0, 0, 16, 16)) == [BACKGROUND]


def test_many_windows_are_judged_as_each_alone(monkeypatch):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 60, (200, 2))
    windows = np.concatenate([corners, corners + 16], axis=1)
    known = held(*((1 + n % 2, *window) for n, window in enumerate(windows[:9].tolist())))
    whole = lessons(known, DISC, *windows)
    assert set(whole) == {RIGHT, UNCLEAR, BACKGROUND, SQUARE}
    monkeypatch.setattr("fullconv.training.explaining.PAIRS_AT_ONCE", 7 * 9)
    assert lessons(known, DISC, *windows) == whole


def write_truth(path, photos, spots):
    """Write COCO annotations: discs and squares of 10 pixels, drawn at (x, y)."""
    names = {"disc": 1, "square": 2}
    path.write_text(
        json.dumps(
            {
                "images": [{"id": n, "file_name": name} for n, name in enumerate(photos)],
                "categories": [{"id": n, "name": name} for name, n in names.items()],
                "annotations": [
                    {"image_id": image, "category_id": names[kind], "bbox": [x - 3, y - 3, 16, 16]}
                    for image in range(len(photos))
                    for kind, x, y in spots
                ],
            }
        )
    )
    return path


SPOTS = [("disc", 11, 11), ("square", 43, 11), ("disc", 75, 43), ("square", 11, 43)]


def photo_of(path, spots=SPOTS, size=(64, 96), seed=0):
    rng = np.random.default_rng(seed)
    image = ground(rng, *size)
    for kind, x, y in spots:
        draw(image, kind, (x, y), rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


class Always(torch.nn.Module):
    """Takes every window of 16 pixels for a disc."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 16, stride=8)
        torch.nn.init.zeros_(self.layer.weight)
        self.layer.bias.data = torch.tensor([0.0, 1.0, 0.0])

    def forward(self, crops):
        return self.layer(crops).flatten(1)


def mined(photos, most=1000):
    fcn = fullconv.convert(Always().eval(), (16, 16), classes=CLASSES, background="background")
    return mine(fcn, photos, CropFormat((16, 16), 3, "uint8"), 1, most, 0.0, pytest.fail)


def test_mined_windows_are_cut_from_where_they_were_seen_and_learnt_as_what_they_show(tmp_path):
    """Every window is taken for a disc; those on squares are squares, those on discs are right."""
    path = photo_of(tmp_path / "photos/0.png")
    truth = write_truth(tmp_path / "truth.json", ["0.png"], SPOTS)
    crops, told = mined(Photos.find([path], truth, (1.0,)))
    rows, columns = fullconv.Grid((16, 16), (8, 8)).shape((64, 96))
    assert told.windows == rows * columns
    counts = {CLASSES[n]: int((crops.labels == n).sum()) for n in np.unique(crops.labels)}
    assert counts.keys() == {"background", "square"}
    assert counts["square"] == 2
    image = np.asarray(fullconv.sources.open_source(path).read((0, 64), (0, 96)))
    squares = [image[y - 3 : y + 13, x - 3 : x + 13] for kind, x, y in SPOTS if kind == "square"]
    for crop in crops.pixels[crops.labels == SQUARE]:
        assert any(np.array_equal(crop.transpose(1, 2, 0), square) for square in squares)
    alone, without = mined(Photos.find([path], None, (1.0,)))
    assert (alone.labels == BACKGROUND).all()
    assert without.alarms > told.alarms


def test_photos_are_scanned_at_every_scale_at_which_a_window_fits(tmp_path):
    path = photo_of(tmp_path / "photos/0.png")
    grid = fullconv.Grid((16, 16), (8, 8))
    crops, told = mined(Photos.find([path], None, (1.0, 0.5, 0.2)))
    assert told.windows == sum(
        rows * columns for rows, columns in (grid.shape((64, 96)), grid.shape((32, 48)))
    )
    small = photo_of(tmp_path / "small/0.png", size=(32, 48), spots=())
    reduced, _ = mined(Photos.find([small], None, (0.5,)))
    assert reduced.pixels.shape[1:] == (3, 16, 16)
    assert len(crops) == told.added


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return write_crops(tmp_path_factory.mktemp("crops"), {"background": 40, "disc": 24})


def test_with_truth_photos_of_the_object_itself_are_learnt_from(crops, tmp_path):
    """Discs stay discs, though every photo is full of them; squares are unlearnt."""
    discs = [("disc", x, y) for x in range(8, 100, 24) for y in (8, 56)]
    squares = [("square", x, 32) for x in range(8, 100, 24)]
    for seed in range(3):
        photo_of(tmp_path / f"photos/{seed}.png", discs + squares, (80, 116), seed)
    truth = write_truth(tmp_path / "truth.json", ["0.png", "1.png", "2.png", "9.png"], discs)
    told = []
    trained = train(
        *(crops, tmp_path / "disc.onnx"),
        **{**QUICK, "epochs": 12, "seed": 7},
        negatives=tmp_path / "photos",
        truth=truth,
        progress=told.append,
    )
    first, _, last = (one for one in told if isinstance(one, Round))
    assert first.alarms >= 12
    assert last.alarms <= first.alarms / 3
    unseen = photo_of(tmp_path / "9.png", discs + squares, (80, 116), 9)
    found = fullconv.detect(trained.convert(), unseen, windows_to_check=0)
    figures = fullconv.evaluate(found, truth, match="center", images=["9.png"])["disc"]
    assert figures.recall == 1
    assert (~figures.hits).sum() <= 4


def refusal(*arguments, **options):
    with pytest.raises(InputError) as caught:
        train(*arguments, **{**QUICK, **options})
    return str(caught.value)


def test_truth_and_scales_without_photos_are_refused(crops, tmp_path):
    out = tmp_path / "x.onnx"
    line = (
        "train {0}: that is about the photos of --negatives, and none are named; add --negatives, "
        "or leave {0} out."
    )
    assert refusal(crops, out, truth=tmp_path) == line.format("--truth")
    assert refusal(crops, out, scales=(0.5,)) == line.format("--scales")
    assert refusal(crops, out, negatives=tmp_path, scales=(0.0,)) == (
        "train(scales=(0.0,)): expected at least one, each above 0 and up to 64, as in (1.0, 0.5)."
    )


def test_truth_that_cannot_be_is_refused_before_the_work(crops, tmp_path):
    out, photos = tmp_path / "x.onnx", tmp_path / "photos"
    photo_of(photos / "0.png")
    photo_of(photos / "1.png")
    truth = write_truth(tmp_path / "truth.json", ["0.png"], SPOTS)
    assert refusal(crops, out, negatives=photos, truth=truth) == (
        f"train --truth {truth}: it says nothing about 1 of 2 photos of --negatives, the first is "
        f"1.png (it knows '0.png'); add them to it, also those that hold nothing, or name other "
        f"photos. Images are matched by their relative path, and then by a name that only one of "
        f"them has."
    )
    gone = tmp_path / "no.json"
    assert refusal(crops, out, negatives=photos, truth=gone) == (
        f"{gone}: No such file or directory; check the path."
    )
    other = write_crops(tmp_path / "other", {"background": 4, "ring": 4})
    write_truth(truth, ["0.png", "1.png"], SPOTS)
    assert refusal(other, out, negatives=photos, truth=truth) == (
        "train --truth: none of its classes 'disc', 'square' is one of those that are learnt, "
        "'background', 'ring'; call the folders of crops as the truth calls its classes."
    )
    assert not out.exists()


def test_photos_meet_their_truth_by_relative_path(tmp_path):
    """Whatever they are called: two of one name, and one that is no text."""
    names = ["a/1.png", "b/1.png", "b/caf\udce9.png"]
    truth = tmp_path / "truth.json"
    write_truth(truth, names, [])
    held = json.loads(truth.read_text())
    box = {"category_id": 1, "bbox": [7, 7, 16, 16]}
    held["annotations"] = [box | {"image_id": 1}]
    truth.write_text(json.dumps(held))
    paths = [tmp_path / "photos" / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    photos = Photos.find(paths, truth, (1.0,))
    assert [len(photos.held(path, CLASSES).boxes) for path in paths] == [0, 1, 0]
    assert len(photos.fingerprint) == 16
    with pytest.raises(InputError) as caught:
        Photos.find([*paths, tmp_path / "01.png"], truth, (1.0,))
    assert "1 of 4 photos of --negatives, the first is 01.png (it knows " in str(caught.value)
    assert "; 'a/1.png', 'b/1.png' are the same only without " in str(caught.value)


def test_a_training_is_not_resumed_with_other_truth(crops, tmp_path):
    out, photos = tmp_path / "x.onnx", tmp_path / "photos"
    photo_of(photos / "0.png")
    truth = write_truth(tmp_path / "truth.json", ["0.png"], SPOTS)

    def interrupt(told):
        if isinstance(told, Ended):
            raise KeyboardInterrupt

    options = {"epochs": 2, "negatives": photos, "truth": truth}
    assert train(crops, out, **{**QUICK, **options}, progress=interrupt).is_interrupted
    write_truth(truth, ["0.png"], SPOTS[:2])
    assert "of another training (negatives was '" in refusal(crops, out, **options, resume=True)
    assert "scales was [1.0] and is [0.5])" in refusal(
        crops, out, **options, scales=(0.5,), resume=True
    ).replace("negatives was", "").replace("; ask", ")")
