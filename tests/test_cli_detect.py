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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from bad_files import listing
from fullconv.demo.scene import draw_scene
from fullconv.detections.found import Detections
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
    assert {(one["image_id"], one["file_name"]) for one in held} == {(1, "street.png")}
    assert {(one["category_id"], one["category_name"]) for one in held} == {(2, "dress")}
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
    assert call(*DETECT, "photos", "-o", "c.json").exit_code == 0
    found = Detections.read("c.json")
    assert found.names == ("photos/a.png", "photos/more/a.png")
    assert [len(found.of_image(name)) for name in found.names] == [5, 5]


def test_coco_results_have_the_ids_of_the_truth(folder: Path) -> None:
    """Also where an image cannot be read: the others keep theirs."""
    shutil.copy("street.png", "again.png")
    Image.new("RGB", (5, 5)).save("tiny.png")
    names = ["street.png", "tiny.png", "again.png"]
    held = {
        "images": [{"id": 70 - n, "file_name": f"train/{name}"} for n, name in enumerate(names)],
        "categories": [{"id": 3, "name": "hat"}, {"id": 11, "name": "dress"}],
    }
    Path("truth.json").write_text(json.dumps(held))
    for truth, ids in ((("--truth", "truth.json"), (70, 68, 11)), ((), (1, 3, 2))):
        result = call(*DETECT, *names, "-o", "b.json", "--overwrite", *truth)
        assert result.exit_code == 3
        results = json.loads(Path("b.json").read_text())
        assert [one["image_id"] for one in results] == [ids[0]] * 5 + [ids[1]] * 5
        assert {one["category_id"] for one in results} == {ids[2]}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ("street.png", "-o", "b.csv"),
            "only .json (COCO results) holds the ids of the truth; use that ending, or leave the "
            "truth out.",
        ),
        (
            ("street.png", "again.png", "-o", "b.json"),
            "the truth says nothing about the image 'again.png'; it knows 'street.png'. Images are "
            "matched by their relative path, and then by a name that only one of them has.",
        ),
        (
            ("street.png", "-o", "b.json", "--classes", "background"),
            "no category is called 'background'; the file has 'dress'. Call them alike, or choose "
            "classes that it knows (--classes).",
        ),
    ],
)
def test_a_truth_that_does_not_tell_all_ids_is_refused_before_the_scan(
    folder: Path, more: tuple[str, ...], message: str
) -> None:
    shutil.copy("street.png", "again.png")
    categories = [{"id": 3, "name": "dress"}]
    held = {"images": [{"id": 1, "file_name": "street.png"}], "categories": categories}
    Path("truth.json").write_text(json.dumps(held))
    before = listing(folder)
    result = call(*DETECT, *more, "--truth", "truth.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"fullconv: error: detect --truth truth.json: {message}\n"
    assert listing(folder) == before


def test_classes_without_names_get_no_ids_of_a_truth(folder: Path) -> None:
    held = {"images": [{"id": 1, "file_name": "image.png"}], "categories": []}
    Path("truth.json").write_text(json.dumps(held))
    for classes in ((), ("--classes", "1")):
        result = call(
            *("detect", "model.onnx", "image.png", "-o", "b.json", "--truth", "truth.json"),
            *classes,
        )
        assert result.exit_code == 2
        assert "the model does not name its classes, and ids are found by name; " in result.stderr


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
        f"each stands above. The same command tries them again, and goes on with what it has "
        f"scanned.\n"
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


TILES = ("--tile", "9x9")
"""Small ones, so that a photo takes long enough to be interrupted in."""


def kill_detection(folder: Path, out: str, when: Callable[[], bool]) -> None:
    """Start a detection in a process of its own, and kill it as soon as something is so."""
    command = [sys.executable, "-m", "fullconv", "detect", "model.onnx", "photos", "-o", out]
    process = subprocess.Popen(
        [*command, *TILES], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not when() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was to be killed before its end"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a model, and four photos, of which one is none."""
    onnx.save(padded_model(), tmp_path / "model.onnx")
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate(("a.png", "b.1.png", "d.png")):
        Image.fromarray(picture(120, 100, seed)).save(tmp_path / "photos" / name)
    (tmp_path / "photos/c.png").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_killed_among_many_images_it_has_left_the_boxes_of_those_before(photos: Path) -> None:
    """Whoever looks finds valid files, and the end is as that of a run at one go."""
    part = Path("b.csv.part")
    kill_detection(photos, "b.csv", lambda: any(part.glob("b.1-*.boxes.csv")))
    kept = [Detections.read(path) for path in sorted(part.glob("[!.]*.boxes.csv"))]
    assert [held.names for held in kept[:2]] == [("photos/a.png",), ("photos/b.1.png",)]
    assert not Path("b.csv").exists()
    for name in ("b.csv", "whole.csv"):
        result = call("detect", "model.onnx", "photos", "-o", name, *TILES)
        assert result.exit_code == 3
        assert "1 of 4 images failed: photos/c.png; " in result.stderr
    assert Path("b.csv").read_bytes() == Path("whole.csv").read_bytes()
    found = Detections.read("b.csv")
    assert found.names == ("photos/a.png", "photos/b.1.png", "photos/d.png")
    for held in kept:
        assert len(held)
        assert held.boxes.tolist() == found.of_image(held.names[0]).boxes.tolist()


def test_an_interrupted_detection_has_left_coco_results(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fullconv.detections import detecting

    peaks, calls = detecting.peaks, iter((0, 0, 1))

    def interrupts(*arguments: Any) -> Any:
        if next(calls):
            raise KeyboardInterrupt
        return peaks(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(detecting, "peaks", interrupts)
        result = call("detect", "model.onnx", "photos", "-o", "b.json")
    assert result.exit_code == 130
    kept = [Detections.read(path) for path in sorted(Path("b.json.part").glob("*.boxes.json"))]
    assert [held.names for held in kept] == [("photos/a.png",), ("photos/b.1.png",)]
    assert json.loads(next(Path("b.json.part").glob("b.1*.json")).read_text())[0]["image_id"] == 2
    assert call("detect", "model.onnx", "photos", "-o", "b.json").exit_code == 3
    assert Detections.read("b.json").names[:2] == ("photos/a.png", "photos/b.1.png")


def test_a_folder_of_results_goes_on_with_the_same_command(photos: Path) -> None:
    """It writes again what it has written itself, and nothing that somebody has changed since."""
    command = ("detect", "model.onnx", "photos", "-o", "found", *TILES)
    kill_detection(photos, "found", Path("found/a.geojson").exists)
    result = call(*command)
    assert (result.exit_code, result.stderr.count("c.png")) == (3, 2)
    results = {"a.geojson", "b.1.geojson", "d.geojson"}
    assert {path.name for path in Path("found").glob("*.geojson")} == results
    own = Detections.read("found/b.1.geojson")
    result = call(*command, "--threshold", "0.7")
    assert "found/a.geojson is there already" in result.stderr
    Path("found/b.1.geojson").write_text("mine")
    result = call(*command)
    assert "found/b.1.geojson is there already" in result.stderr
    assert (result.exit_code, Path("found/b.1.geojson").read_text()) == (2, "mine")
    Path("found/b.1.geojson").unlink()
    shutil.copy("photos/a.png", "photos/c.png")
    result = call(*command)
    assert (result.exit_code, result.stderr) == (0, "")
    assert {path.name for path in Path("found").iterdir()} == results | {"c.geojson"}
    assert Detections.read("found/b.1.geojson").boxes.tolist() == own.boxes.tolist()


def test_an_error_that_nobody_foresaw_costs_one_image(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fullconv.detections import detecting as module

    peaks = module.peaks

    def fails_once(*arguments: object) -> object:
        monkeypatch.setattr(module, "peaks", peaks)
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(module, "peaks", fails_once)
    result = call("detect", "model.onnx", "photos", "-o", "b.csv")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[0] == (
        "fullconv: error: photos/a.png: unexpected RuntimeError: two lines. This is a bug in "
        "fullconv; please report it, with what 'fullconv --debug ...' prints for this image alone."
    )
    assert Detections.read("b.csv").names == ("photos/b.1.png", "photos/d.png")
    os.remove("photos/c.png")
    result = call("detect", "model.onnx", "photos", "-o", "b.csv")
    assert (result.exit_code, result.stderr) == (0, "")
    assert Detections.read("b.csv").names[0] == "photos/a.png"
    assert not Path("b.csv.part").exists()
    assert call("detect", "model.onnx", "photos", "-o", "b.csv").exit_code == 2
