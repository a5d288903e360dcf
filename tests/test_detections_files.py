"""Detections keep what they hold in every file format, and show it in pictures."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from fullconv.detections.drawing import draw_boxes
from fullconv.detections.found import Detections
from fullconv.detections.geojson import crs_member
from fullconv.detections.palette import COLOURS, colour_of
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
        *("prob_dress", "prob_hat, red", "prob_background", "label", "score"),
    ]
    assert rows[1] == ["50", "60", "16", "32", "", "0.9", "", "1", "0.9"]
    assert rows[2] == ["100.5", "0", "16", "32", "", "", "0.75", "2", "0.75"]


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


def test_a_table_of_one_image_does_not_name_it(tmp_path):
    one().save(tmp_path / "boxes.csv")
    assert Detections.read(tmp_path / "boxes.csv").names == ("",)


def test_a_table_of_one_image_names_it_where_it_is_asked_to(tmp_path):
    one().save(tmp_path / "boxes.csv", named=True)
    again = Detections.read(tmp_path / "boxes.csv")
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
    some(("a/000000397133.jpg", "two.png")).save(tmp_path / "boxes.json")
    results = json.loads((tmp_path / "boxes.json").read_text())
    assert results[0] == {
        "image_id": 397133,
        "category_id": 1,
        "bbox": [50.0, 60.0, 16.0, 32.0],
        "score": 0.9,
    }
    assert [result["image_id"] for result in results] == [397133, 397133, 397133, "two"]


def test_coco_results_read_back_with_numbered_classes(tmp_path):
    some(("7.jpg", "two.png")).save(tmp_path / "boxes.json")
    again = Detections.read(tmp_path / "boxes.json")
    assert again.names == ("7", "two")
    assert again.classes == ("class 0", "class 1", "class 2")
    assert [row[1:] for row in held(again)] == [row[1:] for row in held(some())]


def test_images_that_coco_cannot_tell_apart_are_refused(tmp_path):
    with pytest.raises(InputError) as error:
        some(("a/one.png", "b/one.jpg")).save(tmp_path / "boxes.json")
    assert str(error.value) == (
        "a/one.png and b/one.jpg have the same image_id 'one' in COCO results; write them to "
        "files of their own, or use .csv."
    )
    assert list(tmp_path.iterdir()) == []


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
            "a.geojson",
            "{}",
            "a.geojson: detections are read from .csv or .json (COCO results), and '.geojson' is "
            "not known.",
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
