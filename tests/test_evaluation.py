"""Figures of an evaluation are those worked out by hand, from truth in every form."""

import json
from math import exp, isnan, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import data_file
from fullconv.detections import matching
from fullconv.detections.evaluation import evaluate
from fullconv.detections.found import Detections
from fullconv.detections.voc import read_voc
from fullconv.errors import InputError

CLASSES = ("dress", "hat")


def box(x, y=0, side=10):
    return [x, y, x + side, y + side]


def detections(rows, names=("a.png",), classes=CLASSES):
    """Return detections from rows of (image, box, score, label)."""
    images, boxes, scores, labels = zip(*rows, strict=True) if rows else ([], [], [], [])
    sizes = (None,) * len(names)
    return Detections(list(boxes), list(scores), list(labels), list(images), classes, names, sizes)


def dresses(boxes):
    return {"a.png": (boxes, ["dress"] * len(boxes))}


# --- Matching


def test_a_box_is_found_at_just_the_overlap_that_is_asked_for():
    # 10 x 10 pixels moved by 5: 50 shared, 150 covered by both, IoU 1/3.
    found = detections([(0, box(5), 0.9, 0)])
    assert evaluate(found, dresses([box(0)]), iou=1 / 3).recall == 1
    assert evaluate(found, dresses([box(0)]), iou=0.34).recall == 0


def test_a_second_detection_of_the_same_box_is_false():
    found = detections([(0, box(0), 0.9, 0), (0, box(1), 0.8, 0)])
    dress = evaluate(found, dresses([box(0)]))["dress"]
    assert dress.hits.tolist() == [True, False]
    assert (dress.recall, dress.precision, dress.average_precision) == (1, 0.5, 1)


def test_a_detection_finds_the_box_it_overlaps_most():
    # The best detection lies between two boxes, nearer to the second; the next fits the first only.
    found = detections([(0, box(3), 0.9, 0), (0, box(-1), 0.8, 0)])
    truth = dresses([box(0), box(5)])
    assert evaluate(found, truth, iou=0.5)["dress"].hits.tolist() == [True, True]


def test_a_detection_takes_another_box_where_the_nearest_is_found_already():
    found = detections([(0, box(0), 0.9, 0), (0, box(1), 0.8, 0)])
    assert evaluate(found, dresses([box(0), box(3)]))["dress"].hits.tolist() == [True, True]


def test_a_detection_of_another_class_or_image_finds_nothing():
    truth = {"a.png": ([box(0)], ["dress"]), "b.png": ([], [])}
    names = ("a.png", "b.png")
    assert evaluate(detections([(0, box(0), 1, 1)], names), truth)["dress"].recall == 0
    assert evaluate(detections([(1, box(0), 1, 0)], names), truth)["dress"].recall == 0
    assert evaluate(detections([(0, box(0), 1, 0)], names), truth)["dress"].recall == 1


def test_a_box_that_holds_the_centre_is_found_whatever_its_size():
    found = detections([(0, [48, 48, 52, 52], 0.9, 0)])
    assert evaluate(found, dresses([[0, 0, 100, 100]]), match="center").recall == 1
    assert evaluate(found, dresses([[0, 0, 100, 100]])).recall == 0
    # The centre is at 50; intervals are half-open.
    assert evaluate(found, dresses([[50, 50, 60, 60]]), match="center").recall == 1
    assert evaluate(found, dresses([[40, 40, 50, 50]]), match="center").recall == 0


def test_blocks_of_pairs_do_not_change_what_is_matched(monkeypatch):
    rng = np.random.default_rng(0)
    boxes = [box(float(x), float(y)) for x, y in rng.uniform(0, 60, (80, 2))]
    found = detections([(0, b, s, 0) for b, s in zip(boxes, rng.random(80), strict=True)])
    truth = dresses([box(float(x), float(y)) for x, y in rng.uniform(0, 60, (30, 2))])
    whole = evaluate(found, truth, iou=0.2)["dress"].hits.tolist()
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 1)
    assert evaluate(found, truth, iou=0.2)["dress"].hits.tolist() == whole
    assert any(whole)


# --- Figures


def test_average_precision_is_the_area_under_the_envelope():
    """Four true boxes; the detections are true, false, true, true, false."""
    truth = dresses([box(0), box(20), box(40), box(60)])
    places = [(0, 0.9), (100, 0.8), (20, 0.7), (40, 0.6), (120, 0.5)]
    result = evaluate(detections([(0, box(x), s, 0) for x, s in places]), truth)
    dress = result["dress"]
    assert dress.recalls.tolist() == [1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4]
    assert dress.precisions.tolist() == [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5]
    # The envelope is 1 up to recall 1/4, then 3/4 up to recall 3/4, then 0.
    assert dress.average_precision == pytest.approx(1 / 4 * 1 + 2 / 4 * 3 / 4)
    assert (dress.recall, dress.precision) == (3 / 4, 3 / 5)
    assert result.average_precision == dress.average_precision


def test_miss_rate_is_read_at_nine_rates_of_false_positives():
    """Two true boxes in ten images: false at 0.9, true at 0.8, then nothing more.

    At 0.01 to 0.056 false positives per image the curve has not begun: all are missed. It begins
    at 0.1, where one of two is found in the end; the last miss rate holds up to 1.
    """
    names = tuple(f"{n}.png" for n in range(10))
    truth = {name: ([], []) for name in names} | {"0.png": ([box(0), box(50)], ["dress"] * 2)}
    found = detections([(0, box(100), 0.9, 0), (0, box(0), 0.8, 0)], names)
    dress = evaluate(found, truth)["dress"]
    assert dress.false_per_image.tolist() == [0.1, 0.1]
    assert dress.miss_rates.tolist() == [1, 0.5]
    # 10 ** (-2 + k / 4): 0.01, 0.018, 0.032, 0.056 lie before 0.1; five lie at or beyond it.
    assert dress.log_average_miss_rate == pytest.approx(exp((4 * log(1) + 5 * log(0.5)) / 9))


def test_perfect_detections_miss_nothing():
    truth = {"a.png": ([box(0), box(20)], ["dress", "hat"]), "b.png": ([box(5)], ["hat"])}
    found = detections(
        [(0, box(0), 0.9, 0), (0, box(20), 0.8, 1), (1, box(5), 0.7, 1)], ("a.png", "b.png")
    )
    result = evaluate(found, truth)
    assert (result.average_precision, result.recall, result.precision) == (1, 1, 1)
    assert result.log_average_miss_rate == pytest.approx(1e-10)


def test_no_detections_find_nothing():
    result = evaluate(detections([]), dresses([box(0)]))
    assert (result.average_precision, result.recall, result.log_average_miss_rate) == (0, 0, 1)
    assert isnan(result.precision)


def test_false_detections_alone_have_no_precision():
    result = evaluate(detections([(0, box(50), 0.9, 0)]), dresses([box(0)]))
    assert (result.average_precision, result.recall, result.precision) == (0, 0, 0)


def test_the_mean_is_over_the_classes_that_have_true_boxes():
    """Dress: 1 of 1. Hat: 1 of 2. Bag: no true box, one false detection."""
    truth = {"a.png": ([box(0), box(20), box(40)], ["dress", "hat", "hat"])}
    rows = [(0, box(0), 0.9, 0), (0, box(20), 0.8, 1), (0, box(80), 0.7, 2)]
    result = evaluate(detections(rows, classes=("dress", "hat", "bag")), truth)
    assert [each.name for each in result.classes] == ["dress", "hat", "bag"]
    assert result.average_precision == (1 + 0.5) / 2
    assert isnan(result["bag"].average_precision)
    assert result.precision == (1 + 1 + 0) / 3


def test_a_class_that_the_model_does_not_know_is_never_found():
    truth = {"a.png": ([box(0), box(20)], ["dress", "bag"])}
    result = evaluate(detections([(0, box(0), 0.9, 0)]), truth)
    assert {each.name: each.recall for each in result.classes} == {"dress": 1, "bag": 0}
    chosen = evaluate(detections([(0, box(0), 0.9, 0)]), truth, classes=["dress"])
    assert [each.name for each in chosen.classes] == ["dress"]


def test_only_the_images_asked_for_are_evaluated():
    truth = {"a.png": ([box(0)], ["hat"]), "b.png": ([box(0)], ["hat"]), "c.png": ([], [])}
    found = detections([(0, box(0), 0.9, 1), (1, box(50), 0.8, 1)], ("a.png", "b.png"))
    assert evaluate(found, truth).recall == 0.5
    chosen = evaluate(found, truth, images=["c", "folder/a.png"])
    assert (chosen.recall, chosen.precision, chosen.images) == (1, 1, 2)


some_boxes = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(1, 9), st.integers(0, 1)),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(some_boxes, some_boxes)
def test_figures_lie_between_0_and_1_and_a_false_box_helps_none(found_rows, true_rows):
    names = ("a.png", "b.png")
    rows = [(image, box(8 * x), score / 10, label) for image, x, score, label in found_rows]
    truth = {
        name: (
            [box(8 * x) for image, x, _, _ in true_rows if image == number],
            [label for image, _, _, label in true_rows if image == number],
        )
        for number, name in enumerate(names)
    }
    before = evaluate(detections(rows, names), truth)
    false = [(0, box(1000), 0.01, 0), (1, box(1000), 0.02, 1)]
    after = evaluate(detections(rows + false, names), truth)
    for each in before.classes:
        figures = [value for value in each.figures().values() if not isnan(value)]
        assert all(0 <= value <= 1 for value in figures)
        if each.truth:
            assert after[each.name].average_precision == each.average_precision
            assert after[each.name].log_average_miss_rate == each.log_average_miss_rate


# --- What people read


def test_an_evaluation_prints_a_table():
    truth = {"a.png": ([box(0), box(20), [3, 3, 3, 9]], ["dress", "hat", "hat"]), "b.png": ([], [])}
    found = detections([(0, box(0), 0.9, 0), (0, box(60), 0.8, 0)])
    assert str(evaluate(found, truth)) == (
        "class  truth  found  false     AP  recall  precision  miss rate\n"
        "dress      1      1      1  1.000   1.000      0.500      0.000\n"
        "hat        1      0      0  0.000   0.000          -      1.000\n"
        "mean                        0.500   0.500      0.500      0.500\n"
        "2 images; found: IoU of at least 0.5\n"
        "1 true boxes without an area are left out\n"
        "miss rate: its log-average from 0.01 to 1 false positives per image"
    )


def test_an_evaluation_is_plain_values_for_json():
    values = evaluate(detections([]), dresses([box(0)]), match="center").as_dict()
    assert json.loads(json.dumps(values)) == {
        "images": 1,
        "matched": "the true box holds the centre",
        "left_out": 0,
        "mean": {
            "average_precision": 0.0,
            "recall": 0.0,
            "precision": None,
            "log_average_miss_rate": 1.0,
        },
        "classes": [
            {
                "name": "dress",
                "truth": 1,
                "detections": 0,
                "found": 0,
                "average_precision": 0.0,
                "recall": 0.0,
                "precision": None,
                "log_average_miss_rate": 1.0,
            }
        ],
    }


# --- Truth in other forms


def test_truth_may_be_detections():
    truth = detections([(0, box(0), 1, 0), (0, box(20), 1, 1)])
    assert evaluate(detections([(0, box(0), 0.5, 0)]), truth)["dress"].recall == 1
    assert evaluate(truth, truth).average_precision == 1


def test_truth_may_name_classes_by_number():
    truth = {"a.png": ([box(0)], [1])}
    assert evaluate(detections([(0, box(0), 0.5, 1)]), truth)["hat"].recall == 1


def test_a_file_that_does_not_name_its_only_image_is_of_the_only_true_one(tmp_path):
    """As WSInfer writes them."""
    (tmp_path / "boxes.csv").write_text("minx,miny,width,height,prob_dress\n0,0,10,10,0.5\n")
    found = Detections.read(tmp_path / "boxes.csv")
    assert evaluate(found, dresses([box(0)])).recall == 1
    with pytest.raises(InputError, match=r"do not name it, and it knows 'a\.png', 'b\.png'"):
        evaluate(found, dresses([box(0)]) | {"b.png": ([], [])})


COCO = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
    "categories": [{"id": 1, "name": "hat"}, {"id": 3, "name": "dress"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "iscrowd": 0},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 100, 100], "iscrowd": 1},
    ],
}


def coco(tmp_path, held=None):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(COCO if held is None else held))
    return path


def test_truth_may_be_coco_annotations(tmp_path):
    found = detections([(0, box(0), 0.9, 0)])
    result = evaluate(found, coco(tmp_path))
    assert (result["dress"].recall, result["dress"].precision, result.images) == (1, 1, 2)


@pytest.mark.parametrize("name", ["boxes.csv", "boxes.json", "boxes.geojson"])
def test_detections_may_be_a_file_as_the_truth_may(tmp_path, name):
    found = detections([(0, box(0), 0.9, 0), (0, box(40), 0.8, 0)])
    truth = coco(tmp_path)
    found.save(tmp_path / name, named=True)
    for path in (tmp_path / name, str(tmp_path / name)):
        assert evaluate(path, truth).as_dict() == evaluate(found, truth).as_dict()


def test_what_are_no_detections_is_said_in_one_line():
    with pytest.raises(InputError) as caught:
        evaluate([box(0)], dresses([box(0)]))
    assert str(caught.value) == (
        "evaluate(detections): expected what fullconv.detect returns, or the path of a .csv, .json "
        "or .geojson file of detections; got list."
    )


def test_coco_results_are_compared_by_the_ids_of_images_and_categories(tmp_path):
    results = [{"image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10], "score": 0.5}]
    (tmp_path / "found.json").write_text(json.dumps(results))
    result = evaluate(Detections.read(tmp_path / "found.json"), coco(tmp_path))
    assert result["dress"].recall == 1


def test_a_crowd_need_not_be_found_and_finding_it_is_no_mistake(tmp_path):
    names = ("a.png", "b.png")
    inside = [(1, box(20), 0.9, 1), (1, box(40), 0.8, 1), (1, box(300), 0.7, 1)]
    hat = evaluate(detections(inside, names), coco(tmp_path))["hat"]
    assert (hat.truth, hat.hits.tolist()) == (0, [False])


VOC = """<annotation><filename>a.png</filename>{}</annotation>"""
OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def voc(tmp_path, *objects, text=None):
    (tmp_path / "a.xml").write_text(text or VOC.format("".join(OBJECT.format(*o) for o in objects)))
    return tmp_path


def test_truth_may_be_a_folder_of_pascal_voc_annotations(tmp_path):
    """Pixels are counted from 1 and the last belongs to the box: 1 to 10 is 0:10."""
    folder = voc(tmp_path, ("dress", 0, 1, 1, 10, 10), ("hat", 1, 21, 1, 30, 10))
    found = detections([(0, box(0), 0.9, 0), (0, box(20), 0.8, 1)])
    result = evaluate(found, folder, iou=1)
    assert (result["dress"].truth, result["dress"].recall) == (1, 1)
    # A difficult object counts neither way.
    assert (result["hat"].truth, len(result["hat"].hits)) == (0, 0)


def test_an_object_marked_without_an_extent_is_left_out(tmp_path):
    folder = voc(tmp_path, ("dress", 0, 5, 5, 5, 5), ("dress", 0, 1, 1, 10, 10))
    result = evaluate(detections([]), folder)
    assert (result["dress"].truth, result.left_out) == (1, 1)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]>'
    "<annotation><object><name>&y;</name></object></annotation>"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            BOMB,
            "{} is not read: it declares a document type (DOCTYPE), and annotations have none; "
            "remove it from the file.",
        ),
        (
            "<annotation><object>",
            "{} is not XML, or cut short (no element found: line 1, column 20); copy or save it "
            "again.",
        ),
        (
            "<svg/>",
            "{}: expected a Pascal VOC <annotation>; got <svg>. Keep other XML files in a folder "
            "of their own.",
        ),
        (
            VOC.format("<object><name>hat</name></object>"),
            "{}: an object 'hat' has no number in bndbox/xmin; correct the annotation.",
        ),
        (
            VOC.format(OBJECT.format("", 0, 1, 1, 2, 2)),
            "{}: an object has no name; correct the annotation.",
        ),
    ],
)
def test_a_broken_annotation_is_refused(text, message, tmp_path):
    with pytest.raises(InputError) as error:
        evaluate(detections([]), voc(tmp_path, text=text))
    assert str(error.value) == message.format(tmp_path / "a.xml")


def test_a_document_type_is_refused_in_any_encoding(tmp_path):
    (tmp_path / "a.xml").write_bytes(BOMB.encode("utf-16"))
    with pytest.raises(InputError, match="DOCTYPE"):
        evaluate(detections([]), tmp_path)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (
            {"images": []},
            "{}: expected COCO annotations: images with id and file_name, categories with id and "
            "name, and annotations with image_id, category_id and bbox as [x, y, width, height]; "
            "something is missing or broken.",
        ),
        (
            {**COCO, "images": [{"id": 1, "file_name": "a/x.png"}, {"id": 2, "file_name": "x"}]},
            "{}: expected COCO annotations: images with id and file_name, categories with id and "
            "name, and annotations with image_id, category_id and bbox as [x, y, width, height]; "
            "something is missing or broken.",
        ),
    ],
)
def test_broken_coco_annotations_are_refused(held, message, tmp_path):
    path = coco(tmp_path, held)
    with pytest.raises(InputError) as error:
        evaluate(detections([]), path)
    assert str(error.value) == message.format(path)


NO_TRUTH = (
    "evaluate(truth): expected detections, a mapping from image names to (boxes, labels), a COCO "
    "file or a folder of Pascal VOC files; got int."
)


@pytest.mark.parametrize(
    ("truth", "more", "message"),
    [
        (7, {}, NO_TRUTH),
        ("no.json", {}, "no.json: No such file or directory; check the path."),
        (
            {"b.png": ([], []), "c.png": ([], [])},
            {},
            "evaluate: the truth says nothing about the image 'a.png'; it knows 'b.png', 'c.png'. "
            "Images are matched by their relative path, and then by a name that only one of them "
            "has.",
        ),
        (
            {f"{n}.png": ([], []) for n in range(9)},
            {},
            "evaluate: the truth says nothing about the image 'a.png'; it knows '0.png', '1.png', "
            "'2.png' and 6 more. Images are matched by their relative path, and then by a name "
            "that only one of them has.",
        ),
        (
            {"a.png": ([[0, 0, 1, 1]], [])},
            {},
            "evaluate(truth): expected (boxes, labels) for 'a.png', boxes (n, 4) as x0, y0, x1, y1 "
            "(t0, t1 in a recording, x0, y0, z0, x1, y1, z1 in a volume) and a label for each.",
        ),
        (
            {"a.png": ([[0, 0, 1, 1]], [0]), "b.png": ([[0, 1]], [0])},
            {},
            "evaluate(truth): expected boxes along the same axes in all images; got boxes of 2 and "
            "of 4 numbers. Evaluate recordings, images and volumes apart.",
        ),
        (
            {"a.png": ([[0, 0, 0, 1, 1, 1]], [0])},
            {},
            "evaluate: the detections are boxes in images, (x0, y0, x1, y1), and the true boxes "
            "lie in volumes, (x0, y0, z0, x1, y1, z1); give the truth of the images.",
        ),
        (
            {"a.png": ([[0, 0, 1, 1]], [5])},
            {},
            "evaluate(truth): there is no class 5; the detections have classes 0 to 1. Give the "
            "name instead.",
        ),
        (
            {"a.png": ([], [])},
            {"match": "area"},
            "evaluate(match='area'): expected 'iou' or 'center'.",
        ),
        (
            {"a.png": ([], [])},
            {"iou": 0},
            "evaluate(iou=0): expected an overlap above 0 and at most 1, as in 0.5.",
        ),
        (
            {"a.png": ([], [])},
            {"classes": ["dres"]},
            "evaluate(classes=['dres']): neither the detections nor the truth know 'dres'; they "
            "have dress, hat.",
        ),
    ],
)
def test_a_wrong_call_is_refused(truth, more, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        evaluate(detections([(0, box(0), 0.5, 0)]), truth, **more)
    assert str(error.value) == message


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(InputError) as error:
        evaluate(detections([]), tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: no .xml file in this folder; give the folder of Pascal VOC annotations, or "
        f"a COCO .json file."
    )


def test_the_blood_cells_are_read_as_they_are_published():
    """BCCD: 4155 red cells, 372 white cells and 361 platelets, two boxes without an extent."""
    folder = data_file("bccd/Annotations/BloodImage_00000.xml").parent
    held = dict(read_voc(folder))
    labels = [one.label for boxes in held.values() for one in boxes]
    counts = {name: labels.count(name) for name in sorted(set(labels))}
    assert counts == {"Platelets": 361, "RBC": 4155, "WBC": 372}
    assert len(held) == 364
    assert held["BloodImage_00000"][0].box == (259, 176, 491, 376)
    names = ("BloodImage_00000.jpg",)
    found = Detections([[259, 176, 491, 376]], [0.9], [0], [0], ("WBC",), names, ((480, 640),))
    result = evaluate(found, folder, iou=1)
    assert (result.left_out, result["RBC"].truth, result["WBC"].truth) == (2, 4153, 372)
    assert result["WBC"].hits.tolist() == [True]
    assert evaluate(found, folder, images=names)["WBC"].recall == 1
