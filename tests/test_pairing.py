"""Names of images meet by relative path, then by a unique name, and two are never made one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullconv.detections.evaluation import evaluate
from fullconv.detections.found import Detections
from fullconv.detections.pairing import Unpaired, pair
from fullconv.errors import InputError

E, E_PARTED = "\u00e9", "e\u0301"
"""One letter in Unicode's two forms."""

MEET = [
    # What detections are of, and what the truth knows: the first with the first, and so on.
    (["a.png"], ["a.png"]),
    (["a/1.png", "b/1.png"], ["b/1.png", "a/1.png"]),
    (["/data/photos/a/1.png", "/data/photos/b/1.png"], ["b/1.png", "a/1.png"]),
    (["a/1.png", "b/1.png"], ["val/images/b/1.png", "val/images/a/1.png"]),
    (["./a//1.png"], ["a/1.png"]),
    (["data/1.png", "data/a/1.png"], ["1.png", "a/1.png"]),
    (["1.png", "a/1.png"], ["val/1.png", "val/a/1.png"]),
    (["photos/a/1.png"], ["a\\1.png"]),
    (["C:\\photos\\a\\1.png"], ["photos/a/1.png"]),
    (["photos/1.png", "photos/2.png"], ["images/2.png", "images/1.png"]),
    (["TCGA-A.1.png", "TCGA-A.2.png"], ["TCGA-A.2", "TCGA-A.1"]),
    (["TCGA-A.1", "TCGA-A.2"], ["TCGA-A.2.png", "TCGA-A.1.png"]),
    (["p/a/1.png", "p/b/1.png"], ["a/1", "b/1"]),
    (["0001.png", "1.png"], ["1", "0001"]),
    (["a.ome.tif"], ["a.ome"]),
    (["a.png", "A.png"], ["A.png", "a.png"]),
    ([f"{E}.png"], [f"{E_PARTED}.png"]),
    ([f"p/{E}/1.png"], [f"{E_PARTED}/1"]),
    ([f"{E}.png", f"{E_PARTED}.png"], [f"{E_PARTED}.png", f"{E}.png"]),
    (["caf\udce9.png"], ["x/caf\udce9.png"]),
]

APART = [
    # The name that is asked for beside others, what the truth knows, and why it is not found.
    (["b/1.png", "a/1.png"], ["a/1.png"], "its 'a/1.png' is another"),
    (["b/1.png", "a/1.png"], ["a/1.png", "c/1.png"], "its 'a/1.png' is another"),
    (["b/1.png", "p/a/1.png"], ["a/1.png"], "its 'a/1.png' is that of 'p/a/1.png'"),
    (["a/1.png", "b/1.png"], ["1.png"], "its '1.png' may as well be that of 'b/1.png'"),
    (["b/1.png"], ["a/1.png", "c/1.png"], "it may be any of 'a/1.png', 'c/1.png'"),
    (["1.png"], ["a/1.png", "b/1.png"], "it may be any of 'a/1.png', 'b/1.png'"),
    (["x.png"], ["x.png", "x.png"], "it may be any of 'x.png', 'x.png'"),
    (["a.png", "a.jpg"], ["a"], "its 'a' may as well be that of 'a.jpg'"),
    (["a"], ["a.png", "a.jpg"], "it may be any of 'a.png', 'a.jpg'"),
    (["q/a/1.png", "a/1.png"], ["a/1.png", "1.png"], "its 'a/1.png' is another"),
    (
        [f"p/{E}.png", f"q/{E_PARTED}.png"],
        [f"r/{E}.png"],
        f"its 'r/{E}.png' may as well be that of 'q/{E_PARTED}.png'",
    ),
    (["b.png"], ["a.png"], "it knows 'a.png'"),
    (["b.png"], [], "it knows no image"),
    (["b.png"], list("vwxyz"), "it knows 'v', 'w', 'x' and 2 more"),
    (
        ["1.png"],
        ["0001.png"],
        "it knows '0001.png'; '0001.png' is the same only without endings, zeros in front or "
        "capitals",
    ),
    (
        ["TCGA-A.1.png"],
        ["TCGA-A.2", "TCGA-A", "x"],
        "it knows 'TCGA-A.2', 'TCGA-A', 'x'",
    ),
    (
        ["TCGA-A.1"],
        ["TCGA-A.2", "TCGA-A", "x"],
        "it knows 'TCGA-A.2', 'TCGA-A', 'x'; 'TCGA-A.2', 'TCGA-A' are the same only without "
        "endings, zeros in front or capitals",
    ),
    (
        ["a.png"],
        ["a.jpg", "A.png"],
        "it knows 'a.jpg', 'A.png'; 'a.jpg', 'A.png' are the same only without endings, zeros in "
        "front or capitals",
    ),
]


@pytest.mark.parametrize(("asked", "known"), MEET)
def test_names_that_mean_one_image_meet(asked, known):
    found = pair(asked, known)
    assert sorted(found.values()) == list(range(len(known)))
    one = {name.replace("\\", "/").rpartition("/")[2].removesuffix(".png") for name in asked}
    if len(one) == len(asked):  # the order of the lists does not matter, which names alone tell
        for name, place in found.items():
            assert pair([name], [known[place]]) == {name: 0}
    assert pair(asked[::-1], known) == found


@pytest.mark.parametrize(("asked", "known", "reason"), APART)
def test_names_that_may_mean_another_image_are_told_apart(asked, known, reason):
    assert pair(asked, known)[asked[0]].reason == reason


def test_the_order_of_names_decides_nothing():
    known = ["val/b/1.png", "val/a/1.png", "val/1.png"]
    expected = {"a/1.png": 1, "b/1.png": 0, "1.png": 2}
    for asked in (["1.png", "a/1.png", "b/1.png"], ["b/1.png", "a/1.png", "1.png"]):
        assert pair(asked, known) == expected


def test_names_of_annotations_lack_their_ending_whatever_follows_a_dot():
    """A file scan.img.xml is about scan.img.png, or any other scan.img."""
    assert pair(["scan.img.png"], ["scan.img"], are_stems=True) == {"scan.img.png": 0}
    assert isinstance(pair(["scan.img.png"], ["scan.img"])["scan.img.png"], Unpaired)
    assert isinstance(pair(["scan.png"], ["scan.img"], are_stems=True)["scan.png"], Unpaired)


paths = st.lists(
    st.builds("/".join, st.lists(st.sampled_from(["a", "b", "1", "1.png", "1.2.png"]), min_size=1)),
    max_size=6,
)


@given(paths, paths)
def test_no_two_images_get_one_and_the_same_name_is_always_met(asked, known):
    found = pair(asked, known)
    assert set(found) == set(asked)
    places = [place for place in found.values() if isinstance(place, int)]
    assert len(set(places)) == len(places)
    for name in asked:
        if known.count(name) == 1:
            assert found[name] == known.index(name)


# --- Truth in every form, detections in memory and in every file

BOX = [0.1, 0.2, 32.3, 40.7]


def detections(names, classes=("disc", "ring"), labels=None):
    """Return two boxes in each image: a right one, and a false one."""
    boxes = np.tile([BOX, [100.0, 100, 132, 132]], (len(names), 1))
    count = len(names)
    return Detections(
        boxes,
        np.linspace(0.9, 0.1, 2 * count) / 3,
        np.arange(2 * count) % 2 if labels is None else labels,
        np.repeat(np.arange(count), 2),
        classes,
        tuple(names),
        (None,) * count,
    )


def coco(path, names, first=1):
    """Write annotations whose numbers are of no use to those who count in another way."""
    numbers = {name: 900 - n for n, name in enumerate(names)}
    x0, y0, x1, y1 = BOX
    path.write_text(
        json.dumps(
            {
                "images": [{"id": n, "file_name": name} for name, n in numbers.items()],
                "categories": [{"id": 1, "name": "ring"}, {"id": 2, "name": "disc"}],
                "annotations": [
                    {"image_id": n, "category_id": 2, "bbox": [x0, y0, x1 - x0, y1 - y0]}
                    for n in numbers.values()
                ],
            }
        )
    )
    return path


def voc(folder, names):
    x0, y0, x1, y1 = BOX
    for name in names:
        path = folder / f"{name.rpartition('.')[0]}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<annotation><object><name>disc</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}"
            f"</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object></annotation>"
        )
    return folder


def mapping(names):
    return {name: ([BOX], ["disc"]) for name in names}


TRUTHS = {
    "mapping": lambda folder, names: mapping(names),
    "coco": lambda folder, names: coco(folder / "truth.json", names),
    "voc": lambda folder, names: voc(folder / "voc", names),
}

NAMES = [
    ("TCGA-A.1.png", "TCGA-A.2.png"),
    ("a/1.png", "b/1.png"),
    ("0001.png", "1.png"),
    ("000000000002.jpg", "000000000001.jpg"),
    ("a.png", "A.png"),
    (f"{E}.png", f"{E_PARTED}.png"),
    ("name, with \"all\" 'signs'.png", "-%41\t\n.png"),
]


def files(found, folder, truth):
    """Yield the detections, and as every file gives them back."""
    yield "memory", found
    for ending in ("csv", "json"):
        found.save(folder / f"found.{ending}")
        yield ending, Detections.read(folder / f"found.{ending}")
    if truth is not None:
        found.save(folder / "ids.json", truth=truth)
        yield "json with the truth's ids", Detections.read(folder / "ids.json")


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("form", TRUTHS)
def test_figures_are_the_same_from_memory_and_from_every_file(names, form, tmp_path):
    truth = TRUTHS[form](tmp_path, names)
    found = detections([f"photos/{name}" for name in names])
    for source, held in files(found, tmp_path, truth if form == "coco" else None):
        result = evaluate(held, truth, iou=1)
        figures = [(one.truth, one.average_precision) for one in result.classes]
        assert figures[0] == (2, 1.0), source
        assert str(result) == str(evaluate(found, truth, iou=1)), source


@pytest.mark.parametrize("form", TRUTHS)
@pytest.mark.parametrize("names", NAMES)
def test_an_image_of_which_the_truth_says_nothing_is_an_error(names, form, tmp_path):
    """Also where another one is called nearly the same."""
    truth = TRUTHS[form](tmp_path, names[1:])
    for source, held in files(detections(names), tmp_path, None):
        with pytest.raises(InputError) as caught:
            evaluate(held, truth)
        assert f"says nothing about the image {names[0]!r}; " in str(caught.value), source
        assert evaluate(held, truth, images=names[1:])["disc"].recall == 1, source


def test_images_in_which_nothing_was_found_need_not_be_known():
    """Files do not name them, and figures are the same from files."""
    found = replace(detections(["a.png"]), names=("a.png", "b.png"), sizes=(None, None), places=())
    assert evaluate(found, mapping(["a.png"]))["disc"].average_precision == 1


def test_names_may_be_paths():
    truth = {Path("a/1.png"): ([BOX], ["disc"]), Path("b/1.png"): ([], [])}
    found = replace(detections(["b/1.png", "a/1.png"]), names=(Path("b/1.png"), Path("a/1.png")))
    assert evaluate(found, truth, images=[Path("a/1.png")])["disc"].recall == 1


def test_images_that_are_asked_for_are_not_guessed():
    with pytest.raises(InputError, match=r"nothing about the image '1\.png'; it knows '0001\.png'"):
        evaluate(detections(["1.png"]), mapping(["0001.png"]), images=["0001.png"])


# --- Classes


def results(path, *rows):
    """Write COCO results as other programs do: numbers alone."""
    x0, y0, x1, y1 = BOX
    path.write_text(
        json.dumps(
            [
                {"image_id": image, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0],
                 "score": 0.5}
                for image, category in rows
            ]
        )
    )  # fmt: skip
    return Detections.read(path)


def test_results_of_other_programs_meet_the_truth_by_its_ids(tmp_path):
    """Image 1 is called 2.png: numbers are ids, and no names."""
    truth = coco(tmp_path / "t.json", ["2.png", "1.png"])
    held = json.loads(truth.read_text())
    for number, one in enumerate(held["images"]):
        one["id"] = number + 1
    held["annotations"] = [held["annotations"][0] | {"image_id": 1}]
    truth.write_text(json.dumps(held))
    right = evaluate(results(tmp_path / "r.json", (1, 2)), truth)
    assert (right["disc"].average_precision, [one.name for one in right.classes]) == (1, ["disc"])
    assert evaluate(results(tmp_path / "r.json", (2, 2)), truth)["disc"].average_precision == 0
    assert evaluate(results(tmp_path / "r.json", (1.0, 2.0)), truth)["disc"].recall == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((900, 0), "the detections have the category_id 0, and the truth has 1 'ring', 2 'disc'; "),
        ((1, 2), "the truth says nothing about the image '1'; it has no image of that number"),
        (("x", 2), "the truth says nothing about the image 'x'; it knows 'a.png'. "),
    ],
)
def test_ids_that_the_truth_does_not_have_are_an_error(row, message, tmp_path):
    truth = coco(tmp_path / "t.json", ["a.png"])
    with pytest.raises(InputError) as caught:
        evaluate(results(tmp_path / "r.json", row), truth)
    assert message in str(caught.value)


def test_a_text_that_is_no_id_is_the_name_of_an_image(tmp_path):
    truth = coco(tmp_path / "t.json", ["a.b.png"])
    assert evaluate(results(tmp_path / "r.json", ("a.b", 2)), truth)["disc"].recall == 1


def test_numbers_of_classes_and_images_meet_no_names(tmp_path):
    """Where nothing tells which class a number is, as it is with the ids of annotations alone."""
    unnamed = detections(["a.png"], ("class 0", "class 1"))
    numbered = results(tmp_path / "r.json", ("a.png", 2))
    for found in (unnamed, numbered, *(held for _, held in files(unnamed, tmp_path, None))):
        for form, truth in TRUTHS.items():
            if found is numbered and form == "coco":
                continue
            with pytest.raises(InputError, match="classes are matched by name, so call them alike"):
                evaluate(found, truth(tmp_path, ["a.png"]))
    named = replace(unnamed, classes=("disc", "ring"))
    assert evaluate(named, mapping(["a.png"]))["disc"].recall == 1
    assert evaluate(unnamed, {"a.png": ([BOX], [0])})["class 0"].recall == 1
    assert evaluate(unnamed, unnamed).average_precision == 1
    numbered = replace(results(tmp_path / "r.json", (1, 2)), classes=("disc",))
    with pytest.raises(InputError, match="image '1'; it has no image of that number"):
        evaluate(numbered, mapping(["1.png"]))


def test_the_two_forms_of_an_accent_are_one_class():
    found = detections(["a.png"], (f"d{E}", "ring"))
    truth = {"a.png": ([BOX], [f"d{E_PARTED}"])}
    for name in (f"d{E}", f"d{E_PARTED}"):
        assert evaluate(found, truth, classes=[name])[name].recall == 1


def test_classes_that_never_meet_are_remarked_on():
    result = evaluate(detections(["a.png"], ("Disc", "Ring")), mapping(["a.png"]))
    assert str(result).splitlines()[-1] == (
        "no class that was found is one of the truth's: 'Disc', 'Ring' against 'disc'"
    )
    assert result.as_dict()["remark"] == result.remark
    assert "remark" not in evaluate(detections(["a.png"]), mapping(["a.png"])).as_dict()


def test_two_images_or_classes_of_one_id_are_refused(tmp_path):
    for key, what in (("images", "images"), ("categories", "categories")):
        path = coco(tmp_path / "t.json", ["a.png", "b.png"])
        held = json.loads(path.read_text())
        for one in held[key]:
            one["id"] = 7
        held["annotations"] = []
        path.write_text(json.dumps(held))
        with pytest.raises(InputError) as caught:
            evaluate(detections(["a.png"]), path)
        assert str(caught.value) == f"{path}: two {what} have the id 7; give each its own."
