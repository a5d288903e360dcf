"""``fullconv detect``: what it prints and writes, and what it exits with."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from bad_files import listing
from fullconv.demo.scene import draw_scene
from scans import padded_model, picture
from test_cli_scan import DRESS, NOTE, call, write_folder

EQUAL = "check    64 windows: equal: the scores are the crops' own\n"
STREET = f"{EQUAL}pixels   -2.886 to 2.016, mean 0.1374, as the network sees them\n"
SMALL = f"{EQUAL}pixels   0 to 3, mean 1.499, as the network sees them\n"

DETECT = ("detect", DRESS, "--step", "32")
"""With the packaged classifier, whose own stride is finer."""

BOXES = [
    (32, 320, 96, 448),
    (224, 160, 288, 288),
    (448, 352, 512, 480),
    (576, 384, 640, 512),
    (832, 320, 896, 448),
]
"""Of the dresses in street 0, as they are found so, from left to right."""

BEYOND = (
    r"note     scores reach from -\S+ to \S+, so they are no probabilities, and the threshold 0\.5 "
    r"is one of raw scores; --activation softmax or sigmoid makes probabilities of them\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_folder(tmp_path)
    Image.fromarray(draw_scene(0).image).save(tmp_path / "street.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def boxes_of(path: str) -> list[tuple[float, ...]]:
    """Return the boxes of a .csv, from left to right."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    held = [[float(row[key]) for key in ("minx", "miny", "width", "height")] for row in rows]
    return sorted((x, y, x + w, y + h) for x, y, w, h in held)


def test_the_dresses_are_found_and_the_background_is_not(folder: Path) -> None:
    before = listing(folder)
    result = call(*DETECT, "street.png", "-o", "b.csv")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"image    street.png: 5 dress\n{STREET}wrote    b.csv\n"
    assert boxes_of("b.csv") == BOXES
    for (x0, y0, x1, y1), dress in zip(BOXES, draw_scene(0).dresses, strict=True):
        assert dress[0] <= (x0 + x1) / 2 <= dress[2]
        assert dress[1] <= (y0 + y1) / 2 <= dress[3]
    assert listing(folder) - before == {"b.csv"}


def test_boxes_are_in_pixels_of_the_original_at_every_scale(folder: Path) -> None:
    """In the street, twice and one and a third times as large, at the scales that undo that."""
    street = Image.open("street.png")
    for factor, scale in ((2, "0.5"), (4 / 3, "0.75")):
        size = round(street.width * factor), round(street.height * factor)
        street.resize(size).save("large.png")
        result = call(*DETECT, "large.png", "-o", f"{scale}.csv", "--scales", scale)
        assert result.exit_code == 0, result.stderr
        found = np.array(boxes_of(f"{scale}.csv"))
        assert found.shape == (5, 4)
        np.testing.assert_allclose(found, factor * np.array(BOXES), atol=1.5)


def test_of_all_scales_the_best_box_of_an_object_is_kept(folder: Path) -> None:
    small = Image.open("street.png")
    both = Image.new("RGB", (2048, 1536), (128, 128, 128))
    both.paste(small, (0, 0))
    both.paste(small.resize((2048, 1024)), (0, 512))
    both.save("both.png")
    result = call(*DETECT, "both.png", "-o", "b.csv", "--scales", "1,0.5")
    assert result.exit_code == 0
    assert re.findall("^check .*$", result.stdout, re.MULTILINE) == [
        "check    64 windows at scale 1: equal: the scores are the crops' own",
        "check    64 windows at scale 0.5: equal: the scores are the crops' own",
    ]
    found = boxes_of("b.csv")
    assert set(BOXES) <= set(found)
    large = {(2 * x0, 2 * y0 + 512, 2 * x1, 2 * y1 + 512) for x0, y0, x1, y1 in BOXES}
    assert large <= set(found)


def test_several_images_go_into_one_table_with_their_names(folder: Path) -> None:
    shutil.copy("street.png", "again.png")
    result = call(*DETECT, "street.png", "again.png", "-o", "b.csv")
    assert result.exit_code == 0
    assert result.stdout == (
        f"image    street.png: 5 dress\n{STREET}image    again.png: 5 dress\n{STREET}"
        f"wrote    b.csv\n"
    )
    with open("b.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["street.png"] * 5 + ["again.png"] * 5
    assert list(rows[0])[1:] == [
        *("minx", "miny", "width", "height", "prob_background", "prob_dress", "label", "score")
    ]


def header(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").splitlines()[0].split(",")[0]


def test_each_box_names_its_image_unless_a_file_is_named_alone(folder: Path) -> None:
    Path("one").mkdir()
    shutil.copy("street.png", "one/street.png")
    Path("list.txt").write_text("street.png\n")
    for number, named in enumerate((["one"], ["stree*.png"], ["list.txt"], ["street.png"] * 2)):
        assert call(*DETECT, *named, "-o", f"{number}.csv").exit_code == 0
        assert header(f"{number}.csv") == "image"
    result = call(*DETECT, "street.png", "no.png", "-o", "rest.csv")
    assert result.exit_code == 3
    with open("rest.csv", encoding="utf-8", newline="") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {"street.png"}
    call(*DETECT, "street.png", "-o", "alone.csv")
    assert header("alone.csv") == "minx"


def test_coco_results_and_geojson_in_pixels(folder: Path) -> None:
    assert call(*DETECT, "street.png", "-o", "b.json").exit_code == 0
    held = json.loads(Path("b.json").read_text())
    assert {(one["image_id"], one["category_id"]) for one in held} == {("street", 1)}
    corners = [one["bbox"] for one in held]
    assert sorted((x, y, x + w, y + h) for x, y, w, h in corners) == BOXES
    Path("photos/more").mkdir(parents=True)
    shutil.copy("street.png", "photos/a.png")
    shutil.copy("street.png", "photos/more/a.png")
    result = call(*DETECT, "photos", "-o", "found")
    assert result.stdout.endswith("wrote    found\n")
    assert listing(folder / "found") == {"a.geojson", "more", "more/a.geojson"}
    features = json.loads(Path("found/more/a.geojson").read_text())["features"]
    rings = [one["geometry"]["coordinates"][0] for one in features]
    assert sorted((*ring[0], *ring[2]) for ring in rings) == [tuple(map(float, b)) for b in BOXES]
    result = call(*DETECT, "photos", "-o", "c.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "fullconv: error: photos/a.png and photos/more/a.png have the same image_id 'a' in COCO "
        "results; write them to files of their own, or use .csv.\n"
    )


def test_geojson_of_a_raster_is_in_its_coordinates(folder: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    image = draw_scene(0).image
    height, width, _ = image.shape
    with rasterio.open(
        "map.tif", "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8",
        crs="EPSG:32632", transform=rasterio.Affine(2.0, 0.0, 1000.0, 0.0, -2.0, 5000.0),
    ) as raster:  # fmt: skip
        raster.write(image.transpose(2, 0, 1))
    assert call(*DETECT, "map.tif", "-o", "b.geojson").exit_code == 0
    held = json.loads(Path("b.geojson").read_text())
    assert held["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    rings = [one["geometry"]["coordinates"][0] for one in held["features"]]
    expected = [(1000 + 2 * x0, 5000 - 2 * y0) for x0, y0, _, _ in BOXES]
    assert sorted(tuple(ring[0]) for ring in rings) == expected


def test_json_is_one_object_and_nothing_else(folder: Path) -> None:
    Image.new("RGB", (5, 5)).save("tiny.png")
    result = call(*DETECT, "street.png", "tiny.png", "-o", "b.csv", "--json")
    held = json.loads(result.stdout)
    line = (
        "tiny.png is 5x5 pixels, smaller than one window of 64x128 at every scale; enlarge it, or "
        "add a larger scale."
    )
    assert (held["output"], held["failed"]) == ("b.csv", [{"image": "tiny.png", "error": line}])
    (street,) = held["images"]
    assert (street["image"], street["passed"]) == ("street.png", True)
    assert sorted(tuple(one["box"]) for one in street["detections"]) == BOXES
    assert {one["class"] for one in street["detections"]} == {"dress"}
    assert result.exit_code == 3
    assert result.stderr == (
        f"fullconv: error: {line}\nfullconv: error: 1 of 2 images failed: tiny.png; the reason of "
        f"each stands above. With --overwrite the same command tries them again, and goes on with "
        f"what it has scanned.\n"
    )


def test_where_no_image_can_be_read_nothing_is_written(folder: Path) -> None:
    before = listing(folder)
    result = call(*DETECT, "no.png", "nor.png", "-o", "new/b.csv")
    assert (result.exit_code, result.stdout) == (3, "")
    assert listing(folder) == before


def test_classes_are_chosen_by_name_or_number(folder: Path) -> None:
    result = call(*DETECT, "street.png", "-o", "a.csv", "--classes", "background")
    assert re.match(r"image    street\.png: \d+ background\n", result.stdout)
    for number in ("1", "class 1"):
        result = call(
            *("detect", "model.onnx", "image.png", "-o", "b.csv", "--overwrite"),
            *("--classes", number),
        )
        assert re.search(r"image    image\.png: \d+ class 1\n", result.stdout)


@pytest.mark.parametrize(
    ("model", "classes", "known"),
    [
        (DRESS, "dres", "background, dress"),
        (DRESS, "2", "background, dress"),
        ("model.onnx", "dress", "classes without names, which are numbered from 0"),
    ],
)
def test_an_unknown_class_is_refused_before_the_scan(
    folder: Path, model: str, classes: str, known: str
) -> None:
    before = listing(folder)
    result = call("detect", model, "no.png", "-o", "b.csv", "--classes", classes)
    assert result.exit_code == 2
    assert result.stderr == (
        f"fullconv: error: detect --classes: there is no class {classes!r}; the model has "
        f"{known}.\n"
    )
    assert listing(folder) == before


def test_scores_that_are_no_probabilities_are_remarked_on(folder: Path) -> None:
    result = call("detect", "model.onnx", "image.png", "-o", "b.csv")
    told = r"image    image\.png: \d+ class 0, \d+ class 1\n"
    end = r"wrote    b\.csv\n"
    expected = f"{re.escape(NOTE)}{told}{re.escape(SMALL)}{BEYOND}{end}"
    assert re.fullmatch(expected, result.stdout), result.stdout
    result = call("detect", "model.onnx", "image.png", "-o", "c.csv", "--json")
    assert re.fullmatch(f"{re.escape(NOTE)}{BEYOND}", result.stderr)
    for activation in ("softmax", "sigmoid"):
        result = call(
            *("detect", "model.onnx", "image.png", "-o", f"{activation}.csv"),
            *("--activation", activation),
        )
        assert "note     scores reach" not in result.stdout
        with open(f"{activation}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all(0.5 <= float(row["score"]) <= 1 for row in rows)


def test_a_class_number_that_is_not_there_is_refused_before_the_scan(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullconv.scanning.job.choose_plan", None)  # nothing can be scored
    before = listing(folder)
    result = call("detect", "model.onnx", "image.png", "-o", "b.csv", "--classes", "1,7")
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: detect(classes=[1, 7]): there is no class 7; the model has 2 classes "
        "without names, from 0.\n"
    )
    assert listing(folder) == before


def test_where_scores_are_not_the_crops_own_the_check_says_by_how_much(folder: Path) -> None:
    result = call("detect", "model.onnx", "image.png", "-o", "b.csv", "--approximate")
    assert re.search(
        r"^check    64 windows compared with crops: largest difference \d\S* \(the model's own: "
        r"\S+\), same best class in \S+ %\n         approximate: the differences above",
        result.stdout,
        re.MULTILINE,
    ), result.stdout


def count(*options: str) -> int:
    """Count the boxes that options leave in a picture of many objects."""
    result = call("detect", "model.onnx", "image.png", "-o", "n.csv", "--overwrite", *options)
    assert result.exit_code == 0, result.stderr
    return len(boxes_of("n.csv"))


def test_threshold_iou_and_classes_decide_how_many_boxes_are_left(folder: Path) -> None:
    some = count("--threshold", "0.5")
    assert count("--threshold", "300") < some
    assert count("--threshold", "1e6") == 0
    result = call("detect", "model.onnx", "image.png", "-o", "z.csv", "--threshold", "1e6")
    assert "image    image.png: nothing\n" in result.stdout
    assert count("--iou", "0") < some < count("--iou", "0.9")
    assert count("--across-classes") < some


def test_boxes_are_drawn_on_the_image(folder: Path) -> None:
    result = call(*DETECT, "street.png", "-o", "b.csv", "--overlay", "new/o.png")
    assert result.exit_code == 0
    with Image.open("new/o.png") as image:
        drawn = np.asarray(image.convert("RGB"), int)
    changed = np.abs(drawn - draw_scene(0).image).sum(axis=2) > 30
    assert drawn.shape == (512, 1024, 3)
    for x0, y0, x1, y1 in BOXES:
        assert changed[y0 + 20 : y1 - 20, x0 : x0 + 4].any(axis=1).all(), "the left side is drawn"
        assert not changed[y0 + 30 : y1 - 30, x0 + 10 : x1 - 10].any(), "the inside is not"


def test_what_is_there_is_not_written_over(folder: Path) -> None:
    Path("b.csv").write_text("mine")
    Path("o.png").write_text("mine")
    for arguments, flag, name in (
        (("-o", "b.csv"), "-o", "b.csv"),
        (("-o", "c.csv", "--overlay", "o.png"), "--overlay", "o.png"),
    ):
        result = call(*DETECT, "street.png", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            f"fullconv: error: detect {flag} {name}: {name} is there already; choose another name, "
            f"or replace it with --overwrite.\n"
        )
        assert Path(name).read_text() == "mine"
    assert call(*DETECT, "street.png", "-o", "b.csv", "--overwrite").exit_code == 0
    assert boxes_of("b.csv") == BOXES


def test_results_can_go_to_the_current_folder(folder: Path) -> None:
    result = call(*DETECT, "street.png", "-o", ".")
    assert result.exit_code == 0, result.stderr
    assert listing(folder) == {"street.geojson", "street.png", "image.png", "model.onnx"}


def test_killed_in_between_it_goes_on_to_the_same_boxes(tmp_path: Path) -> None:
    """Real processes, killed by SIGKILL while the second scale is scanned."""
    onnx.save(padded_model(), tmp_path / "model.onnx")
    Image.fromarray(picture(200, 170)).save(tmp_path / "image.png")
    command = [sys.executable, "-m", "fullconv", "detect", "model.onnx", "image.png"]
    command += ["--scales", "1,0.75", "--tile", "19x12", "-o"]
    before = listing(tmp_path)
    process = subprocess.Popen(
        [*command, "b.csv"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    part, deadline = tmp_path / "b.csv.part", time.monotonic() + 60

    def second_begun() -> bool:
        return any(path.stat().st_size for path in part.glob("image-0.75-*.zarr.part/tiles"))

    while not second_begun() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was to be killed before its end"
    assert sorted(os.listdir(tmp_path)) == sorted({*before, "b.csv.part"})
    for out in ("b.csv", "whole.csv"):
        result = subprocess.run([*command, out], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(boxes_of(str(tmp_path / "b.csv"))) > 100
    assert sorted(os.listdir(tmp_path)) == sorted({*before, "b.csv", "whole.csv"})
