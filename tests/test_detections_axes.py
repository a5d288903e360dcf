"""Intervals in recordings and cuboids in volumes are found as rectangles in images are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fullconv
from axes_scans import SIZE, TILE, array, classifier, converted, crops_scores
from fullconv.detections import box_index, suppression
from fullconv.detections import peaks as peaks_module
from fullconv.detections.found import Detections
from fullconv.detections.overlap import overlaps
from fullconv.detections.peaks import Peaks, peaks
from fullconv.detections.suppression import suppress
from fullconv.errors import InputError
from fullconv.frameworks.onnx.session import session
from fullconv.geometry.grid import Grid, Sizes
from fullconv.geometry.windows import Windows

AXES = [1, 3]
COUNTS: dict[int, Sizes] = {1: (300,), 3: (7, 8, 9)}


def plain_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of two boxes."""
    axes = len(a) // 2
    shared = prod(max(0.0, min(a[n + axes], b[n + axes]) - max(a[n], b[n])) for n in range(axes))
    first, second = (prod(box[n + axes] - box[n] for n in range(axes)) for box in (a, b))
    union = first + second - shared
    return shared / union if union > 0 else 0.0


def plain_suppression(boxes: NDArray[np.float64], scores: Sequence[float], iou: float) -> list[int]:
    """Return what the definition keeps: one box after the other, against all kept ones."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if not any(plain_iou(boxes[i], boxes[j]) > iou for j in kept):
            kept.append(i)
    return kept


def plain_peaks(
    scores: NDArray[np.float32], windows: Windows, threshold: float, iou: float
) -> list[tuple[float, ...]]:
    """Return (label, *place, score) of every window that the definition finds."""
    found = []
    for (label, *place), score in np.ndenumerate(scores):
        near = []
        for away in product((-1, 0, 1), repeat=len(place)):
            there = tuple(n + step for n, step in zip(place, away, strict=True))
            if not any(away) or any(
                not 0 <= n < count for n, count in zip(there, scores.shape[1:], strict=True)
            ):
                continue
            if plain_iou(windows.box(*place), windows.box(*there)) > iou:
                near.append(scores[(label, *there)])
        if score >= threshold and not any(other > score for other in near):
            found.append((label, *place, float(score)))
    return found


def as_rows(found: Peaks) -> list[tuple[float, ...]]:
    columns = (found.labels, *found.places, found.scores)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def random_heatmap(axes: int, seed: int) -> NDArray[np.float32]:
    """Return scores of few levels, so that ties are many, some of them not scanned."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (2, *COUNTS[axes])).astype(np.float32) / 8
    scores[rng.random(scores.shape) < 0.1] = np.nan
    return scores


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("step", [1, 3, 8])
@pytest.mark.parametrize("budget", [1, 200, 1 << 24])
def test_peaks_are_those_of_the_definition(
    axes: int, step: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = random_heatmap(axes, step)
    grid = Grid((8,) * axes, (step,) * axes)
    expected = plain_peaks(scores, Windows.regular(grid, COUNTS[axes]), 0.5, 0.1)
    monkeypatch.setattr(peaks_module, "BLOCK_SCORES", budget)
    chunks = (1, *(3, 5, 4)[:axes])
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=scores, chunks=chunks)
    for held in (scores, stored):
        found = peaks(held, grid, 0.5, 0.1, [0, 1])
        assert as_rows(found) == expected
        boxes = [grid.box(*place) for _, *place, _ in expected]  # type: ignore[arg-type]
        assert np.array_equal(found.boxes(grid), np.array(boxes, np.float64))


@pytest.mark.parametrize("axes", AXES)
def test_windows_flush_with_the_border_are_peaks_by_what_they_overlap(axes: int) -> None:
    grid, size = Grid((9,) * axes, (4,) * axes), (42, 31, 27)[:axes]
    windows = Windows.of(grid, size, "all")
    assert not windows.is_regular
    scores = np.random.default_rng(3).random((1, *windows.shape)).astype(np.float32)
    found = peaks(scores, windows, 0.2, 0.35, [0])
    assert as_rows(found) == plain_peaks(scores, windows, 0.2, 0.35)


@given(st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("axes", AXES)
def test_suppression_keeps_what_the_definition_keeps(axes: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    count = data.draw(st.integers(0, 60))
    begin = rng.integers(-20, 20, (count, axes))
    sides = rng.integers(1, 16, (count, axes)) * data.draw(st.sampled_from([1, 1, 7]))
    boxes = np.concatenate([begin, begin + sides], axis=1).astype(np.float64)
    scores = rng.integers(0, 9, count).astype(np.float64)
    iou = data.draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]))
    kept = suppress(boxes, scores, np.zeros(count, np.int64), iou)
    assert kept.tolist() == plain_suppression(boxes, scores.tolist(), iou)


@pytest.mark.parametrize("axes", AXES)
def test_many_boxes_are_suppressed_by_blocks(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppression, "FIRST_BLOCK", 7)
    monkeypatch.setattr(suppression, "MOST_PAIRS", 50)
    rng = np.random.default_rng(0)
    begin = rng.random((400, axes)) * {1: 900, 3: 40}[axes]
    boxes = np.concatenate([begin, begin + 5 + 5 * rng.random((400, axes))], axis=1)
    scores = rng.random(400)
    kept = suppress(boxes, scores, np.zeros(400, np.int64), 0.2)
    expected = plain_suppression(boxes, scores.tolist(), 0.2)
    assert kept.tolist() == expected
    assert 20 < len(expected) < 390


@pytest.mark.parametrize("axes", AXES)
def test_cells_are_numbered_however_far_boxes_lie(axes: int) -> None:
    """All pairs that overlap are among those that cells give."""
    for far in (1.0, 1e9, -1e15):
        begin = np.random.default_rng(1).random((50, axes)) * 9
        boxes = np.concatenate([begin, begin + 4], axis=1)
        boxes = np.concatenate([boxes, boxes + far])
        given_ = {
            (int(a), int(b))
            for runs in box_index.BoxIndex(boxes, 0.1).near(boxes)
            for mine, theirs in box_index.pairs(runs, 1 << 16)
            for a, b in zip(mine, theirs, strict=True)
        }
        strong = np.argwhere(overlaps(boxes[:, None], boxes[None]) > 0.1).tolist()
        assert {(a, b) for a, b in strong} <= given_


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("activation", ["none", "softmax"])
def test_detect_finds_what_peaks_and_suppression_of_all_crops_leave(
    axes: int, activation: str
) -> None:
    fcn = converted(axes)
    scores = crops_scores(session(classifier(axes)), array(axes), fcn.grid).astype(np.float64)
    if activation == "softmax":
        scores = np.exp(scores - scores.max(axis=0))
        scores /= scores.sum(axis=0)
    threshold = float(np.quantile(scores[1], 0.6))
    windows = Windows.of(fcn.grid, SIZE[axes])
    found = plain_peaks(scores[1:], windows, threshold, 0.2)  # type: ignore[arg-type]
    boxes = np.array([windows.box(*row[1:-1]) for row in found], np.float64)  # type: ignore[arg-type]
    kept = plain_suppression(boxes, [row[-1] for row in found], 0.2)
    detections = fullconv.detect(
        fcn, array(axes), threshold, 0.2, classes=[1], activation=activation, tile=TILE[axes]
    )
    assert detections.dimensions == axes
    assert np.array_equal(detections.boxes, boxes[kept])
    assert detections.scores.tolist() == [found[k][-1] for k in kept]
    assert detections.sizes == (SIZE[axes],)
    assert detections.probabilities is not None
    places = [tuple(int(n) for n in found[k][1:-1]) for k in kept]
    expected = np.stack([scores[(slice(None), *place)] for place in places])
    assert np.array_equal(detections.probabilities, expected)
    assert 1 < len(kept) < len(found)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_files_hold_intervals_and_cuboids(axes: int, ending: str, tmp_path: Path) -> None:
    boxes = np.random.default_rng(0).random((5, 2 * axes)) * 1e3
    boxes[0] = np.round(boxes[0])
    found = Detections(
        *(boxes, np.array([0.1, 0.9, 1 / 3, 0.5, 0.5]), np.array([1, 0, 1, 1, 0])),
        *(np.array([0, 0, 1, 1, 0]), ("no", "yes"), ("a.npy", "b.npy"), (None, None)),
    )
    path = tmp_path / f"boxes{ending}"
    found.save(path)
    again = Detections.read(path)
    assert np.array_equal(again.boxes, found.boxes)
    assert np.array_equal(again.scores, found.scores)
    assert [one.name for one in again] == [one.name for one in found]
    assert [one.image for one in again] == [one.image for one in found]
    text = path.read_text(encoding="utf-8")
    if ending == ".csv":
        named = {1: "t0,t1", 3: "x0,y0,z0,x1,y1,z1"}[axes]
        assert text.splitlines()[0] == f"image,{named},prob_no,prob_yes,label,score"
    else:
        assert '"bbox"' not in text
        assert f'"box": [{", ".join(map(repr, found.boxes[0].tolist()))}]' in text


def found_at(boxes: Sequence[Sequence[float]], scores: Sequence[float]) -> Detections:
    """Return detections of one class in one array."""
    zeros = np.zeros(len(boxes), dtype=np.int64)
    table = np.array(boxes, dtype=np.float64)
    return Detections(table, np.array(scores), zeros, zeros, ("yes",), ("a.npy",), (None,))


@pytest.mark.parametrize("axes", AXES)
def test_intervals_and_cuboids_are_evaluated_as_rectangles_are(axes: int) -> None:
    """Half of a side is moved away: 1 shared of 3 covered, so the IoU is 1/3."""
    others = [0.0] * (axes - 1), [10.0] * (axes - 1)
    true = [0.0, *others[0], 10.0, *others[1]]
    moved = [5.0, *others[0], 15.0, *others[1]]
    away = [30.0, *others[0], 40.0, *others[1]]
    found = found_at([moved, away], [0.9, 0.4])
    truth = {"a.npy": ([true], ["yes"]), "b.npy": ([true], ["yes"])}
    for more, hits in (
        ({"iou": 1 / 3}, [True, False]),
        ({"iou": 0.34}, [False, False]),
        ({"match": "center"}, [False, False]),
    ):
        result = fullconv.evaluate(found, truth, **more)  # type: ignore[arg-type]
        assert (result["yes"].hits.tolist(), result["yes"].truth) == (hits, 2)
    assert fullconv.evaluate(found, truth, iou=1 / 3).average_precision == 0.5
    held = found_at([[n - 1 for n in true]], [0.5])
    assert fullconv.evaluate(held, truth, match="center")["yes"].hits.tolist() == [True]
    flat = {"a.npy": ([true, [*true[:-1], 0.0]], ["yes"] * 2)}
    result = fullconv.evaluate(found_at([true], [0.5]), flat)
    assert (result.left_out, result.recall, result.precision) == (1, 1.0, 1.0)
    assert fullconv.evaluate(found, {"a.npy": ([], [])})["yes"].hits.tolist() == [False, False]
    nothing = found.of_image("a.npy")
    nothing = Detections(np.zeros((0, 4)), [], [], [], nothing.classes, ("a.npy",), (None,))  # type: ignore[arg-type]
    assert fullconv.evaluate(nothing, truth).recall == 0.0


@pytest.mark.parametrize("axes", AXES)
def test_detections_evaluated_against_themselves_are_all_found(axes: int, tmp_path: Path) -> None:
    found = fullconv.detect(converted(axes), array(axes), threshold=-1e9, tile=TILE[axes])
    assert len(found) > 1
    path = tmp_path / "boxes.csv"
    found.save(path)
    for given_as in (found, path):
        result = fullconv.evaluate(given_as, found, iou=1)
        assert (result.recall, result.precision, result.average_precision) == (1.0, 1.0, 1.0)


def test_what_is_for_images_alone_refuses_other_boxes_in_one_line(tmp_path: Path) -> None:
    found = Detections(
        *(np.array([[0.0, 9.0]]), np.array([0.5]), np.array([0]), np.array([0])),
        *(("yes",), ("a.npy",), (None,)),
    )
    what = "for images, (rows, columns), and these are recordings, (samples)"
    with pytest.raises(InputError) as refused:
        found.save(tmp_path / "boxes.geojson")
    assert str(refused.value).endswith(f": .geojson is {what}; use .csv or .json.")
    with pytest.raises(InputError) as refused:
        found.save(tmp_path / "boxes.json", truth=tmp_path / "truth.json")
    assert str(refused.value).endswith(f": COCO annotations are {what}; leave the truth out.")
    with pytest.raises(InputError) as refused:
        fullconv.evaluate(found, {"a.npy": ([[0, 0, 9, 9]], ["yes"])})
    assert str(refused.value) == (
        "evaluate: the detections are boxes in recordings, (t0, t1), and the true boxes lie in "
        "images, (x0, y0, x1, y1); give the truth of the recordings."
    )
    with pytest.raises(InputError) as refused:
        Detections(np.zeros((1, 3)), *([0], [0], [0]), *(("yes",), ("a.npy",), (None,)))
    assert str(refused.value) == (
        "Detections: expected boxes (n, 4) as x0, y0, x1, y1 (intervals (n, 2) of a recording, "
        "cuboids (n, 6) of a volume); got shape (1, 3)."
    )
    mixed = '[{"image_id": 1, "category_id": 1, "box": [0, 1], "score": 1},\n'
    mixed += '{"image_id": 1, "category_id": 1, "bbox": [0, 1, 2, 3], "score": 1}]'
    (tmp_path / "mixed.json").write_text(mixed)
    with pytest.raises(InputError, match="some boxes are of images, and others of recordings"):
        Detections.read(tmp_path / "mixed.json")
