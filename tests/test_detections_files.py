"""Detections keep what they hold in every file format, and show it in pictures."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from fullconv.detections.drawing import draw_boxes
from fullconv.detections.found import Detections
from fullconv.detections.geojson import crs_member
from fullconv.detections.palette import COLOURS, colour_of
from fullconv.detections.text import difference, end
from fullconv.errors import InputError, OutputError

BOXES = [[4, 8, 20, 40], [100.5, 0, 116.5, 32], [0, 0, 16, 32], [50, 60, 66, 92]]


class Georeference:
    """North up, half a metre per pixel."""

    transform = (0.5, 0.0, 400000.0, 0.0, -0.5, 5000000.0)
    crs = None


def some(names=("a/one.png", "a/two.png"), probabilities=None, images=(0, 1, 0, 0)):
    return Detections(
        np.array(BOXES),
        np.array([0.5, 0.75, 0.1, 0.9]),
        np.array([0, 2, 0, 1]),
        np.array(images),
        ("dress", "hat, red", "background"),
        tuple(names),
        ((480, 640),) * len(names),
        probabilities,
    )


def one(probabilities=None):
    return some(("one.png",), probabilities, (0, 0, 0, 0))


def held(detections):
    """Return everything that a file keeps, in order."""
    return [(d.image, d.box, d.label, d.score) for d in detections]


def test_detections_are_sorted_by_image_and_then_from_the_best_score():
    found = some()
    assert found.images.tolist() == [0, 0, 0, 1]
    assert found.scores.tolist() == [0.9, 0.5, 0.1, 0.75]
    assert found.boxes.tolist() == [BOXES[3], BOXES[0], BOXES[2], BOXES[1]]


def test_probabilities_go_with_their_boxes():
    chances = np.arange(12).reshape(4, 3) / 12
    assert one(chances).probabilities[0].tolist() == chances[3].tolist()


def test_a_row_names_its_class_and_image():
    row = next(iter(some()))
    assert (row.box, row.score, row.label) == ((50.0, 60.0, 66.0, 92.0), 0.9, 1)
    assert (row.name, row.image) == ("hat, red", "a/one.png")


def test_detections_tell_what_they_hold_in_one_line():
    assert repr(some()) == "Detections(4 in 2 images: 2 dress, 1 hat, red, 1 background)"
    empty = Detections(np.zeros((0, 4)), [], [], [], ("dress",), ("one.png",), (None,))
    assert repr(empty) == "Detections(0 in 1 image)"
    assert len(empty) == 0


def test_the_detections_of_one_image_are_its_own():
    two = some().of_image("a/two.png")
    assert held(two) == [("a/two.png", tuple(BOXES[1]), 2, 0.75)]
    with pytest.raises(InputError) as error:
        two.of_image("b.png")
    assert str(error.value) == "of_image('b.png'): no such image; there are a/two.png."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [1.0]}, "expected as many of each; got {'boxes': 0, 'scores': 1, "),
        ({"sizes": ()}, "expected a size for each image; got 1 names and 0 sizes."),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change, message):
    fields = {
        "boxes": [],
        "scores": [],
        "labels": [],
        "images": [],
        "classes": ("dress",),
        "names": ("one.png",),
        "sizes": (None,),
    }
    with pytest.raises(InputError) as error:
        Detections(**{**fields, **change})
    assert str(error.value).startswith(f"Detections: {message}")


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(InputError) as error:
        Detections([[0, 0, 1, 1]], [1], [2], [0], ("a", "b"), ("one.png",), (None,))
    assert str(error.value) == "Detections: expected labels from 0 to 1; got 2 to 2."


# --- CSV


def test_a_table_has_the_columns_of_wsinfer(tmp_path):
    one().save(tmp_path / "boxes.csv")
    rows = list(csv.reader((tmp_path / "boxes.csv").read_text().splitlines()))
    assert rows[0] == [
        *("minx", "miny", "width", "height"),
        *("prob_dress", "prob_hat, red", "prob_background", "label", "score", "image"),
    ]
    assert rows[1] == ["50", "60", "16", "32", "", "0.9", "", "1", "0.9", "one.png"]
    assert rows[2] == ["100.5", "0", "16", "32", "", "", "0.75", "2", "0.75", "one.png"]


def test_a_table_of_several_images_names_them(tmp_path):
    some().save(tmp_path / "boxes.csv")
    rows = list(csv.DictReader((tmp_path / "boxes.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == ["a/one.png"] * 3 + ["a/two.png"]


def test_a_table_reads_back_as_it_was(tmp_path):
    some().save(tmp_path / "boxes.csv")
    again = Detections.read(tmp_path / "boxes.csv")
    assert held(again) == held(some())
    assert (again.classes, again.names) == (some().classes, some().names)
    assert again.probabilities is None


def test_a_table_of_one_image_names_it_first_where_it_is_asked_to(tmp_path):
    for name, first in (("a.csv", "minx"), ("b.csv", "image")):
        one().save(tmp_path / name, named=first == "image")
        assert (tmp_path / name).read_text().split(",")[0] == first
        again = Detections.read(tmp_path / name)
        assert (again.names, held(again)) == (("one.png",), held(one()))


def test_a_table_keeps_the_probabilities_of_all_classes(tmp_path):
    chances = np.random.default_rng(0).random((4, 3))
    one(chances).save(tmp_path / "boxes.csv")
    again = Detections.read(tmp_path / "boxes.csv")
    assert again.probabilities.tolist() == one(chances).probabilities.tolist()
    assert again.labels.tolist() == one(chances).labels.tolist()


def test_a_table_of_wsinfer_gives_each_patch_its_most_likely_class(tmp_path):
    path = tmp_path / "slide.csv"
    path.write_text(
        "minx,miny,width,height,prob_other,prob_tumor\n"
        "4200,27300,2100,2100,0.25,0.75\n4200,29400,2100,2100,0.875,0.125\n"
    )
    again = Detections.read(path)
    assert held(again) == [
        ("", (4200.0, 29400.0, 6300.0, 31500.0), 0, 0.875),
        ("", (4200.0, 27300.0, 6300.0, 29400.0), 1, 0.75),
    ]


def test_a_table_without_boxes_reads_back(tmp_path):
    Detections([], [], [], [], ("dress",), ("one.png",), (None,)).save(tmp_path / "boxes.csv")
    again = Detections.read(tmp_path / "boxes.csv")
    assert (len(again), again.classes) == (0, ("dress",))


# --- COCO


def test_coco_results_are_a_list_of_boxes_with_their_image_and_category(tmp_path):
    some().save(tmp_path / "boxes.json")
    results = json.loads((tmp_path / "boxes.json").read_text())
    assert results[0] == {
        "image_id": 1,
        "category_id": 2,
        "bbox": [50.0, 60.0, 16.0, 32.0],
        "score": 0.9,
        "file_name": "a/one.png",
        "category_name": "hat, red",
        "label": 1,
    }
    assert [result["image_id"] for result in results] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("a/000000397133.jpg", "COCO_val2014_000000000042.jpg"), {397133, 42}),
        (("a/000000397133.jpg", "b/000000397133.jpg"), {1, 2}),
        (("000000397133.jpg", "two.png"), {1, 2}),
        (("0007.jpg", "7.jpg"), {1, 2}),
    ],
)
def test_pictures_of_coco_itself_keep_their_ids_and_others_are_counted(names, ids, tmp_path):
    some(names).save(tmp_path / "boxes.json")
    results = json.loads((tmp_path / "boxes.json").read_text())
    assert {result["image_id"] for result in results} == ids
    assert Detections.read(tmp_path / "boxes.json").names == names


def test_coco_results_read_back_with_a_number_for_classes_that_were_not_found(tmp_path):
    found = some()
    found.of_image("a/two.png").save(tmp_path / "boxes.json")
    again = Detections.read(tmp_path / "boxes.json")
    assert again.classes == ("class 0", "class 1", "background")
    assert held(again) == held(found.of_image("a/two.png"))


TRUTH = {
    "images": [{"id": 30, "file_name": "two.png"}, {"id": "x", "file_name": "b/one.png"}],
    "categories": [{"id": n, "name": name} for n, name in ((5, "hat, red"), (1, "dress"))],
}


def test_coco_results_have_the_ids_of_the_truth_by_names(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    found = some(("a/one.png", "a/two.png"))
    found = replace(found, labels=np.minimum(found.labels, 1))
    found.save(tmp_path / "boxes.json", truth=tmp_path / "truth.json")
    results = json.loads((tmp_path / "boxes.json").read_text())
    told = [(one["image_id"], one["category_id"], one["category_name"]) for one in results]
    assert told == [
        ("x", 5, "hat, red"),
        ("x", 1, "dress"),
        ("x", 1, "dress"),
        (30, 5, "hat, red"),
    ]
    again = Detections.read(tmp_path / "boxes.json")
    assert (again.names, held(again)) == (found.names, held(found))


@pytest.mark.parametrize(
    ("change", "truth", "message"),
    [
        ({}, TRUTH, "no category is called 'background'; the file has 'hat, red', 'dress'. Call "),
        (
            {"classes": ("dress", "hat, red", "dress")},
            TRUTH | {"categories": [*TRUTH["categories"], {"id": 9, "name": "dress"}]},
            "2 categories are called 'dress'; the file has ",
        ),
        ({"names": ("one.png", "2.png")}, TRUTH, "the truth says nothing about the image '2.png'"),
        (
            {"classes": ("class 0", "class 1", "class 2")},
            TRUTH,
            "the model does not name its classes, and ids are found by name; ",
        ),
        ({}, {"images": []}, "expected COCO annotations: images with id and file_name, "),
    ],
)
def test_ids_that_the_truth_does_not_tell_are_refused(change, truth, message, tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with pytest.raises(InputError) as error:
        replace(some(), **change).save(tmp_path / "boxes.json", truth=tmp_path / "truth.json")
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]


def test_only_coco_results_take_the_ids_of_the_truth(tmp_path):
    with pytest.raises(InputError) as error:
        some().save("boxes.csv", truth="truth.json")
    assert str(error.value) == (
        "save('boxes.csv', truth='truth.json'): only .json (COCO results) holds the ids of the "
        "truth; use that ending, or leave the truth out."
    )


def test_results_of_other_programs_keep_their_ids(tmp_path):
    rows = [{"image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 1], "score": 0.5}]
    rows.append({"image_id": "x.y", "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.25})
    (tmp_path / "theirs.json").write_text(json.dumps(rows))
    again = Detections.read(tmp_path / "theirs.json")
    assert (again.names, again.classes) == (("7", "x.y"), ("category 90", "category 1"))
    again.of_image("7").save(tmp_path / "ours.json")
    assert json.loads((tmp_path / "ours.json").read_text()) == rows[:1]


def test_no_boxes_are_an_empty_list(tmp_path):
    Detections([], [], [], [], ("dress",), ("one.png",), (None,)).save(tmp_path / "boxes.json")
    assert json.loads((tmp_path / "boxes.json").read_text()) == []
    assert len(Detections.read(tmp_path / "boxes.json")) == 0


# --- GeoJSON


def test_geojson_is_what_qupath_imports(tmp_path):
    one().save(tmp_path / "boxes.geojson")
    collection = json.loads((tmp_path / "boxes.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == 4
    assert collection["features"][0] == {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[50, 60], [50, 92], [66, 92], [66, 60], [50, 60]]],
        },
        "properties": {
            "objectType": "detection",
            "classification": {"name": "hat, red", "color": [86, 180, 233]},
            "measurements": {"score": 0.9},
        },
    }


def test_geojson_measures_the_probabilities(tmp_path):
    one(np.full((4, 3), 0.25)).save(tmp_path / "boxes.geojson")
    feature = json.loads((tmp_path / "boxes.geojson").read_text())["features"][0]
    assert feature["properties"]["measurements"] == {
        "score": 0.9,
        "prob_dress": 0.25,
        "prob_hat, red": 0.25,
        "prob_background": 0.25,
    }


def test_geojson_of_a_raster_has_its_coordinates_and_runs_counterclockwise(tmp_path):
    one().save(tmp_path / "boxes.geojson", Georeference)
    collection = json.loads((tmp_path / "boxes.geojson").read_text())
    assert "crs" not in collection
    ring = collection["features"][0]["geometry"]["coordinates"][0]
    # Column 50 is 400000 + 0.5 * 50 metres east, row 60 is 5000000 - 0.5 * 60 metres north.
    assert ring[:3] == [[400025, 4999970], [400025, 4999954], [400033, 4999954]]
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring)) / 2
    assert area == 8 * 16


@pytest.mark.parametrize(
    ("code", "name"),
    [(32633, "urn:ogc:def:crs:EPSG::32633"), (4326, "urn:ogc:def:crs:OGC:1.3:CRS84")],
)
@pytest.mark.parametrize("version", ["WKT1_GDAL", "WKT2_2019"])
def test_a_reference_system_is_named_as_gdal_names_it(code, name, version):
    crs = pytest.importorskip("rasterio.crs")
    wkt = crs.CRS.from_epsg(code).to_wkt(version=version)
    assert crs_member(wkt) == {"type": "name", "properties": {"name": name}}


def test_a_reference_system_without_a_code_is_given_whole():
    crs = pytest.importorskip("rasterio.crs")
    own = crs.CRS.from_string("+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m")
    assert crs_member(own.to_wkt())["properties"]["name"] == own.to_wkt()


def test_a_reference_system_stands_in_the_file(tmp_path):
    crs = pytest.importorskip("rasterio.crs")

    class Placed(Georeference):
        crs = None

    Placed.crs = crs.CRS.from_epsg(32633).to_wkt()
    one().save(tmp_path / "boxes.geojson", Placed)
    collection = json.loads((tmp_path / "boxes.geojson").read_text())
    assert collection["crs"] == {
        "type": "name",
        "properties": {"name": "urn:ogc:def:crs:EPSG::32633"},
    }


# --- Names, in every format

NAMES = {
    "plain": "photos/a.b.png",
    "latin-1 bytes": "photos/caf\udce9.png",
    "what looks like a code": "100%, caf%E9 %25.png",
    "line breaks": "a\nb\r\nc\rd.png",
    "all control characters": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\u2029.png",
    "quotes and commas": """a,"b",'c';d\\e.png""",
    "a leading dash": "-rf.png",
    "a formula": "=1+1.png",
    "spaces": "  a  .png ",
    "300 letters": "x" * 300 + ".png",
    "a device of Windows": "photos/CON.png",
    "other scripts": "\u0444\u043e\u0442\u043e \U0001f600 \u202e.png",
    "composed": "\u00e9.png",
    "parted": "e\u0301.png",
    "capitals": "\u00c9.PNG",
    "half a pair": "\ud83d.png",
    "a byte order mark": "\ufeffa.png",
    "none": "",
    "null": "null",
}

FORMATS = (
    *("csv", "named csv", "json", "json with the truth's ids", "geojson", "geojson of a raster"),
)


def written(found, form, folder):
    """Return what a format gives back, having looked that other programs can read the file."""
    path = folder / f"boxes.{form.split(' of ')[0].split(' with ')[0].split()[-1]}"
    more = {}
    if form == "geojson of a raster":
        more["georeference"] = Georeference
    elif form == "named csv":
        more["named"] = True
    elif form == "json with the truth's ids":
        images = [{"id": 9 - n, "file_name": name} for n, name in enumerate(found.names)]
        categories = [{"id": 9 - n, "name": name} for n, name in enumerate(found.classes)]
        more["truth"] = folder / "truth.json"
        more["truth"].write_text(json.dumps({"images": images, "categories": categories}))
    found.save(path, **more)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        assert len(text.splitlines()) == len(found) + 1
    else:
        json.dumps(json.loads(text), ensure_ascii=False).encode()  # without halves of pairs
    return Detections.read(path)


@pytest.mark.parametrize("chances", [False, True])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_format_gives_every_name_class_and_number_back(name, form, chances, tmp_path):
    """Names of images and classes alike; scores and corners to the last bit."""
    rng = np.random.default_rng(len(name))
    corners = rng.uniform(0, 1e4, (9, 2)) ** rng.uniform(0.1, 1, (9, 2))
    probabilities = rng.random((9, 3)) if chances else None
    found = Detections(
        np.hstack([corners, corners + rng.uniform(0, 300, (9, 2))]),
        rng.random(9) / 3,
        np.arange(9) % 3,
        np.zeros(9),
        ("dress", name, "class 7"),
        (name,),
        (None,),
        probabilities,
    )
    again = written(found, form, tmp_path)
    assert held(again) == held(found)
    assert (again.names, again.classes) == (found.names, found.classes)
    if chances and "json" not in form.split():
        assert again.probabilities.tolist() == found.probabilities.tolist()


@pytest.mark.parametrize("form", ["csv", "json", "json with the truth's ids"])
def test_every_format_of_many_images_tells_all_names_apart(form, tmp_path):
    names = [name for name in NAMES.values() if name]
    count = len(names)
    found = Detections(
        np.tile([0.0, 0, 1, 1], (count, 1)), np.arange(count), np.zeros(count), np.arange(count),
        ("dress",), tuple(names), (None,) * count,
    )  # fmt: skip
    assert held(written(found, form, tmp_path)) == held(found)


@given(*[st.floats(allow_nan=False, allow_infinity=False)] * 2)
@example(106.66666666666667, 149.33333333333334)
@example(1.082186860793729e300, -1.7976931240404472e308)
def test_a_size_leads_from_the_first_corner_to_just_the_second(start, stop):
    """In a float it does not: of two neighbouring ends, every size may lead to one alone."""
    size = difference(start, stop)
    assert end(repr(start), size) == stop
    assert not {"e", "E"} & set(size)


# --- Refusals

REFUSED = [
    (
        "boxes.xml",
        "boxes.xml: the format of detections is told by the ending, and '.xml' is not known; use "
        ".csv (WSInfer's columns), .json (COCO results) or .geojson (QuPath, GIS).",
    ),
    (
        "boxes",
        "boxes: the format of detections is told by the ending, and there is none; use .csv "
        "(WSInfer's columns), .json (COCO results) or .geojson (QuPath, GIS).",
    ),
    (
        "boxes.geojson",
        ".geojson holds the boxes of one image, and these are of 2; write a file for each, "
        "detections.of_image(name).save(...), or use .csv or .json.",
    ),
]


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_what_cannot_be_written_is_refused(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        some().save(name)
    assert str(error.value) == message
    assert list(tmp_path.iterdir()) == []


def test_only_geojson_takes_a_georeference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        one().save("boxes.csv", Georeference)
    assert str(error.value) == (
        "boxes.csv: only .geojson holds coordinates of the raster; use that ending, or leave the "
        "georeference out."
    )


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OutputError) as error:
        one().save(tmp_path / "no" / "boxes.csv")
    assert str(error.value) == (
        f"cannot write {tmp_path / 'no' / 'boxes.csv'}: No such file or directory; choose a "
        f"folder that exists and that you may write to."
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.xml",
            "{}",
            "a.xml: detections are read from .csv, .json (COCO results) or .geojson, and '.xml' is "
            "not known.",
        ),
        (
            "a.geojson",
            "{}",
            "a.geojson: expected a GeoJSON FeatureCollection, as fullconv writes it; something is "
            "missing or broken.",
        ),
        (
            "a.geojson",
            '{"features": [{"geometry": {"type": "Point"}, "properties": {}}]}',
            "a.geojson: feature 0 is no detection; expected a polygon with a classification and a "
            "score among its measurements.",
        ),
        (
            "a.geojson",
            '{"crs": {}, "features": [{"properties": {}}]}',
            "a.geojson: its boxes are in the coordinates of a raster, and have lost those in "
            "pixels (box); write them again.",
        ),
        ("no.csv", None, "no.csv: No such file or directory; check the path."),
        ("a.csv", b"\xff\xfe\x00", "a.csv: not a text file in UTF-8."),
        (
            "a.csv",
            b"",
            "a.csv: expected the columns minx, miny, width, height and prob_<class>, as fullconv "
            "and WSInfer write them; got an empty file.",
        ),
        (
            "a.csv",
            b"x,y\n1,2\n",
            "a.csv: expected the columns minx, miny, width, height and prob_<class>, as fullconv "
            "and WSInfer write them; got x, y.",
        ),
        (
            "a.csv",
            b"minx,miny,width,height,prob_a\n1,2,3,4,0.5\n1,2,3\n",
            "a.csv: line 3 cannot be read (3 columns instead of 5).",
        ),
        (
            "a.csv",
            b"minx,miny,width,height,prob_a\n1,2,3,x,0.5\n",
            "a.csv: line 2 cannot be read (could not convert string to float: 'x').",
        ),
        (
            "a.csv",
            b"minx,miny,width,height,prob_a\n1,2,3,4,\n",
            "a.csv: line 2 cannot be read (no probability).",
        ),
        (
            "a.csv",
            b"minx,miny,width,height,prob_a,label,score\n1,2,3,4,,5,0.5\n",
            "a.csv: Detections: expected labels from 0 to 0; got 5 to 5.",
        ),
        (
            "a.csv",
            b"minx,miny,width,height,prob_a\n1,2,inf,4,0.5\n",
            "a.csv: Detections: expected finite boxes and scores.",
        ),
        (
            "a.json",
            b'[{"image_id": 1,',
            "a.json: not JSON, or cut short (Expecting property name enclosed in double quotes: "
            "line 1 column 17 (char 16)); copy or save it again.",
        ),
        (
            "a.json",
            b"[" * 100000,
            "a.json: nested too deeply to be read.",
        ),
        ("a.json", b"{}", "a.json: expected COCO results, a list of boxes; got an object."),
        (
            "a.json",
            b'[{"image_id": 1}]',
            "a.json: result 0 is not a COCO detection; expected image_id, category_id, bbox as "
            "[x, y, width, height], and score.",
        ),
        (
            "a.json",
            b'[{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1, "score": 1, "label": 1e9}]',
            "a.json: result 0 is not a COCO detection; expected image_id, category_id, bbox as "
            "[x, y, width, height], and score.",
        ),
        (
            "a.json",
            b'[{"image_id": 1, "bbox": [1, 2, 3], "category_id": 0, "score": 1}]',
            "a.json: result 0 is not a COCO detection; expected image_id, category_id, bbox as "
            "[x, y, width, height], and score.",
        ),
    ],
)
def test_a_file_that_holds_no_detections_is_refused(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        Detections.read(name)
    assert str(error.value) == message


# --- Pictures


def drawn(picture, scale=1.0):
    boxes = np.array([[10, 20, 50, 80], [60, 20, 190, 80]])
    return draw_boxes(picture, boxes, [0, 1], [0.5, 0.25], ("dress", "hat"), scale)


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_a_box_is_outlined_in_its_colour_within_a_dark_edge(ground):
    picture = np.asarray(drawn(np.full((120, 200), ground, dtype=np.uint8)))
    for x, colour in ((10, colour_of(0)), (60, colour_of(1))):
        assert picture[50, x - 1].tolist() == [20, 20, 24]
        assert picture[50, x].tolist() == list(colour)
        assert picture[50, x + 2].tolist() == [20, 20, 24]
        assert picture[50, x + 5].tolist() == [ground] * 3


def test_a_box_wide_enough_bears_its_class_and_score():
    picture = np.asarray(drawn(np.zeros((120, 200, 3), dtype=np.uint8)))
    above = picture[10:18]
    assert (above[:, 62:80] == colour_of(1)).all(axis=-1).any()
    assert not above[:, 10:50].any()


def test_boxes_shrink_with_the_picture():
    picture = np.asarray(drawn(Image.new("L", (100, 60)), 0.5))
    assert picture[25, 5].tolist() == list(colour_of(0))
    assert picture[25, 30].tolist() == list(colour_of(1))


def test_the_best_box_lies_on_top_and_the_picture_stays_as_it_was():
    picture = Image.new("RGB", (40, 40))
    boxes = [[5, 5, 30, 30], [5, 5, 30, 30]]
    result = draw_boxes(picture, boxes, [0, 1], [0.9, 0.2], ("a", "b"))
    assert result.getpixel((5, 15)) == colour_of(0)
    assert picture.getextrema() == ((0, 0),) * 3


def test_a_box_smaller_than_a_pixel_is_still_seen():
    result = draw_boxes(Image.new("RGB", (20, 20)), [[100, 100, 101, 101]], [2], [1], "abc", 0.1)
    assert result.getpixel((10, 10)) == colour_of(2)


def test_colours_are_all_different_and_come_again_after_the_last():
    assert len(set(COLOURS)) == len(COLOURS)
    assert colour_of(len(COLOURS)) == colour_of(0)
