"""Peaks of a heatmap and suppression give what their plain definitions give, at any size."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from zarr.storage import MemoryStore

import fullconv
from fullconv.detections import peaks as peaks_module
from fullconv.detections import suppression
from fullconv.detections.activated import Activated
from fullconv.detections.box_index import BoxIndex, pairs
from fullconv.detections.detecting import detect_in
from fullconv.detections.found import Detections
from fullconv.detections.overlap import overlaps
from fullconv.detections.peaks import peaks
from fullconv.detections.search import Search
from fullconv.detections.suppression import suppress
from fullconv.errors import ImageWarning, InputError
from fullconv.geometry.grid import Grid
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from scans import PADDED, converted, picture

GRID = Grid((8, 8), (4, 4))
EIGHT = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


def plain_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = plain_area(a) + plain_area(b) - width * height
    return width * height / union if union > 0 else 0.0


def plain_area(box):
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def plain_suppression(boxes, scores, labels, iou, per_class=True):
    """Return what the definition keeps: one box after the other, against all kept ones."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        rivals = [j for j in kept if not per_class or labels[i] == labels[j]]
        if not any(plain_iou(boxes[i], boxes[j]) > iou for j in rivals):
            kept.append(i)
    return kept


def plain_peaks(scores, grid, threshold, iou, classes):
    """Return (label, row, column, score) of every window that the definition finds."""
    found = []
    for label in sorted(classes):
        for (row, column), score in np.ndenumerate(scores[label]):
            near = [
                scores[label, row + y, column + x]
                for y, x in EIGHT
                if 0 <= row + y < scores.shape[1]
                and 0 <= column + x < scores.shape[2]
                and plain_iou(grid.box(row, column), grid.box(row + y, column + x)) > iou
            ]
            if score >= threshold and not any(other > score for other in near):
                found.append((label, row, column, score))
    return found


def as_rows(found):
    columns = (found.labels, found.rows, found.columns, found.scores)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def random_heatmap(seed, shape=(3, 23, 31), not_scanned=0.1):
    rng = np.random.default_rng(seed)
    # Few levels, so that ties are many.
    scores = rng.integers(0, 8, shape).astype(np.float32) / 8
    scores[rng.random(shape) < not_scanned] = np.nan
    return scores


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [(1, 1), (4, 4), (7, 3), (8, 8), (3, 9)])
def test_peaks_are_those_of_the_definition(seed, step):
    scores, grid = random_heatmap(seed), Grid((8, 8), step)
    expected = plain_peaks(scores, grid, 0.5, 0.1, [0, 2])
    assert expected == as_rows(peaks(scores, grid, 0.5, 0.1, [2, 0]))
    assert expected


@pytest.mark.parametrize("chunks", [(1, 5, 7), (3, 23, 31), (2, 1, 1), (3, 8, 64)])
@pytest.mark.parametrize("budget", [1, 150, 1 << 24])
def test_peaks_do_not_depend_on_chunks_or_blocks(chunks, budget, monkeypatch):
    scores = random_heatmap(5)
    expected = as_rows(peaks(scores, GRID, 0.5, 0.1, [0, 1, 2]))
    monkeypatch.setattr(peaks_module, "BLOCK_SCORES", budget)
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=scores, chunks=chunks)
    assert expected == as_rows(peaks(stored, GRID, 0.5, 0.1, [0, 1, 2]))


def test_an_array_without_chunks_is_read_by_blocks(monkeypatch):
    scores = random_heatmap(6)
    expected = as_rows(peaks(scores, GRID, 0.5, 0.1, [1]))
    monkeypatch.setattr(peaks_module, "BLOCK_SCORES", 1)
    monkeypatch.setattr(peaks_module, "UNCHUNKED", 4)
    assert expected == as_rows(peaks(scores, GRID, 0.5, 0.1, [1]))


def test_no_block_is_much_larger_than_the_budget(monkeypatch):
    """A heatmap larger than memory is never held whole."""
    read = []

    class Watched:
        shape, chunks = (4, 1000, 1000), (1, 10, 10)

        def __getitem__(self, key):
            block = np.zeros(self.shape)[key]
            read.append(block.size)
            return block

    monkeypatch.setattr(peaks_module, "BLOCK_SCORES", 40_000)
    assert len(peaks(Watched(), GRID, 0.5, 0.1, [0, 3])) == 0
    assert max(read) == 202 * 202


def test_neighbours_of_equal_score_all_stay():
    flat = np.full((1, 3, 4), 0.75)
    assert len(peaks(flat, GRID, 0.75, 0.1, [0])) == 12


def test_neighbours_that_overlap_little_do_not_outdo_each_other():
    """At step 4 and window 8, side neighbours overlap by 1/3 and diagonal ones by 1/7."""
    scores = np.array([[[0.9, 0.8], [0.55, 0.7]]])

    def found(iou):
        return peaks(scores, GRID, 0.5, iou, [0]).scores.tolist()

    assert found(0.14) == [0.9]
    assert found(1 / 3) == [0.9, 0.8, 0.55, 0.7]
    scores[0, 0, 1] = 0.6
    assert found(0.14) == [0.9]
    assert found(1 / 7) == [0.9, 0.7]


def test_what_was_not_scanned_is_not_found_and_outdoes_nobody():
    scores = np.array([[[np.nan, 0.6], [np.nan, np.nan]]])
    assert as_rows(peaks(scores, GRID, 0.5, 0.1, [0])) == [(0, 0, 1, 0.6)]


def test_peaks_of_whole_numbers():
    """A heatmap may be stored as uint8; the threshold is then in its units."""
    scores = np.array([[[255, 254], [3, 200]]], dtype=np.uint8)
    assert as_rows(peaks(scores, GRID, 200, 0.1, [0])) == [(0, 0, 0, 255.0)]


def test_boxes_of_peaks_are_the_windows():
    grid = Grid((8, 6), (4, 3))
    scores = np.zeros((1, 5, 5))
    scores[0, 3, 1] = 1
    assert [list(map(float, grid.box(3, 1)))] == peaks(scores, grid, 0.5, 0, [0]).boxes(
        grid
    ).tolist()


def test_no_classes_have_no_peaks():
    assert len(peaks(random_heatmap(1), GRID, 0.5, 0.1, [])) == 0


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        (
            (4, 5),
            [0],
            "peaks(scores): expected a heatmap (K, rows, columns), three axes; got shape (4, 5).",
        ),
        (
            (3, 4, 5),
            [1, 3],
            "peaks(classes=[1, 3]): there is no class 3; the heatmap has classes 0 to 2.",
        ),
    ],
)
def test_a_wrong_heatmap_is_refused(shape, classes, message):
    with pytest.raises(InputError) as error:
        peaks(np.zeros(shape), GRID, 0.5, 0.1, classes)
    assert message == str(error.value)


def random_boxes(rng, count, across, largest):
    """Return boxes of very different sizes, some aligned, some the same, some without area."""
    corner = rng.uniform(-across / 4, across, (count, 2))
    sides = largest ** rng.uniform(-0.5, 1, (count, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1)
    whole = rng.random(count) < 0.3
    boxes[whole] = np.round(boxes[whole])
    twins = rng.random(count) < 0.1
    boxes[twins] = boxes[rng.integers(0, count, twins.sum())]
    return boxes


@pytest.mark.parametrize("iou", [0, 0.1, 0.3, 0.5, 0.9, 1])
@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_is_that_of_the_definition(iou, per_class, seed, monkeypatch):
    # Small limits, so that blocks end and shrink also among few boxes.
    monkeypatch.setattr(suppression, "FIRST_BLOCK", 5)
    monkeypatch.setattr(suppression, "MOST_PAIRS", 40)
    monkeypatch.setattr(suppression, "PAIRS_AT_ONCE", 7)
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 250, 60, 40.0)
    scores, labels = np.round(rng.random(250), 1), rng.integers(0, 3, 250)
    expected = plain_suppression(boxes.tolist(), scores, labels, iou, per_class)
    assert expected == suppress(boxes, scores, labels, iou, per_class=per_class).tolist()


corners = st.tuples(*[st.integers(-12, 12)] * 2, *[st.integers(-1, 9)] * 2)
rows = st.tuples(corners, st.integers(0, 3), st.integers(0, 1))


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, max_size=40), st.sampled_from([0, 0.2, 1 / 3, 0.5, 0.99, 1]))
def test_suppression_of_any_boxes_is_that_of_the_definition(given_rows, iou):
    boxes = [(float(x), float(y), float(x + w), float(y + h)) for (x, y, w, h), _, _ in given_rows]
    scores = [float(score) for _, score, _ in given_rows]
    labels = [label for _, _, label in given_rows]
    expected = plain_suppression(boxes, scores, labels, iou)
    assert expected == suppress(boxes, scores, labels, iou).tolist()


@pytest.mark.parametrize("offset", [0, 1e6, -3e7])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e5])
def test_suppression_does_not_depend_on_where_boxes_lie(offset, scale):
    rng = np.random.default_rng(3)
    boxes = np.round(random_boxes(rng, 200, 60, 30.0)) * scale + offset
    scores, labels = rng.random(200), np.zeros(200, dtype=int)
    expected = plain_suppression(boxes.tolist(), scores, labels, 0.3)
    assert expected == suppress(boxes, scores, labels, 0.3).tolist()


@pytest.mark.parametrize("iou", [0, 0.3, 0.9])
def test_cells_name_every_pair_that_overlaps_enough(iou):
    boxes = random_boxes(np.random.default_rng(1), 300, 80, 50.0)
    near = {
        pair
        for runs in BoxIndex(boxes, iou).near(boxes)
        for some in pairs(runs, 100)
        for pair in zip(*(side.tolist() for side in some), strict=True)
    }
    enough = overlaps(boxes[:, None], boxes[None]) > iou
    wanted = set(zip(*(side.tolist() for side in np.nonzero(enough)), strict=True))
    assert wanted - near == set()
    assert len(near) < 300 * 300


def test_boxes_without_area_are_kept_and_suppress_nothing():
    boxes = [[0, 0, 4, 4], [1, 1, 1, 3], [1, 1, 1, 3], [3, 3, 2, 2], [0, 0, 4, 4]]
    assert suppress(boxes, [5, 6, 7, 4, 3], [0] * 5, 0.0).tolist() == [2, 1, 0, 3]


def test_of_equal_scores_the_first_box_stays():
    assert suppress([[0, 0, 4, 4]] * 3, [0.5] * 3, [0] * 3, 0.5).tolist() == [0]


def test_an_overlap_of_just_iou_is_allowed():
    boxes = [[0, 0, 2, 1], [1, 0, 3, 1]]
    assert suppress(boxes, [2, 1], [0, 0], 1 / 3).tolist() == [0, 1]
    assert suppress(boxes, [2, 1], [0, 0], 0.333).tolist() == [0]


def test_no_boxes_leave_no_boxes():
    assert suppress([], [], [], 0.5).tolist() == []


def test_many_boxes_in_any_order_take_no_square_of_time():
    """The plain loop would compare 10,000 million pairs, for minutes; this takes a second."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:320, :320]
    corner = np.stack([x.ravel(), y.ravel()], axis=1).astype(float)
    dense = np.concatenate([corner, corner + 40], axis=1)
    sparse = np.concatenate([corner * 40, corner * 40 + 40], axis=1)
    labels = np.zeros(len(dense), dtype=int)
    assert len(suppress(sparse, rng.random(len(sparse)), labels, 0.3)) == len(sparse)
    kept = suppress(dense, rng.random(len(dense)), labels, 0.3)
    among = overlaps(dense[kept][:, None], dense[kept][None])
    assert (among[~np.eye(len(kept), dtype=bool)] <= 0.3).all()
    assert all((overlaps(dense[i][None], dense[kept]) > 0.3).any() for i in range(0, 102400, 997))


@pytest.mark.parametrize(
    ("boxes", "scores", "iou", "message"),
    [
        (
            [[0, 0, 1, 1]],
            [1, 2],
            0.3,
            "suppress(boxes, scores, labels): expected shapes (n, 4), (n,) and (n,); got (1, 4), "
            "(2,) and (2,).",
        ),
        (
            [[0, 0, 1, np.inf]],
            [1],
            0.3,
            "suppress(boxes, scores, labels): expected finite boxes and scores; leave out those "
            "that are infinite or not a number.",
        ),
        (
            [[0, 0, 1, 1]],
            [1],
            30,
            "suppress(iou=30): expected an overlap between 0 and 1, as in 0.3.",
        ),
    ],
)
def test_wrong_boxes_are_refused(boxes, scores, iou, message):
    with pytest.raises(InputError) as error:
        suppress(boxes, scores, [0] * len(scores), iou)
    assert message == str(error.value)


def test_infinite_scores_are_refused_with_what_to_do() -> None:
    """A network that overflows scores 1e38 times 100: infinity."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.full((1, 4), 1e38, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["scores"], transB=1),
        ],
        "overflowing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 2, 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    with pytest.raises(fullconv.FullconvError, match="array: the model gives infinite scores"):
        fullconv.detect(fullconv.convert(model), np.full((6, 6), 100, np.uint8))


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_arrays_of_a_list_are_told_apart(ending: str, tmp_path) -> None:
    images = [picture(60, 50, seed) for seed in (0, 1)]
    Image.fromarray(images[0]).save(tmp_path / "array", "png")
    found = fullconv.detect(converted((2, 1)), [*images, tmp_path / "array"])
    assert found.names == ("array 0", "array 1", str(tmp_path / "array"))
    assert [d.box for d in found.of_image("array 1")] == [
        d.box for d in fullconv.detect(converted((2, 1)), images[1])
    ]
    found.save(tmp_path / f"boxes.{ending}")
    again = Detections.read(tmp_path / f"boxes.{ending}")
    assert [len(again.of_image(name)) for name in again.names] == [
        len(found.of_image(name)) for name in found.names
    ]
    assert fullconv.evaluate(found, found).average_precision == 1
    assert fullconv.detect(converted((2, 1)), images[:1]).names == ("array",)


def test_extremes_are_those_of_scores_that_were_given() -> None:
    with Engine(converted((2, 1))) as engine:
        image = picture(60, 50)
        search = Search(classes=[1])
        small = fullconv.Preprocessing(2**-12)
        with pytest.warns(ImageWarning, match="made for 0 to 4095"):
            found = detect_in(engine, image, search, preprocessing=small)
        scores = found.heatmaps[0][1]
        assert found.beyond == (scores.min(), scores.max())
        assert scores.max() < 0
        blank = np.full((60, 50, 3), np.nan, np.float32)
        with pytest.warns(ImageWarning, match="no pixel of array"):
            assert detect_in(engine, blank, search).beyond is None
        assert detect_in(engine, image, replace(search, activation="softmax")).beyond is None


@pytest.mark.parametrize("wrong", [7, -1, "dog"])
def test_a_class_that_the_model_does_not_have_is_refused_before_any_image(wrong) -> None:
    with pytest.raises(InputError) as error:
        fullconv.detect(converted((2, 1)), "no such image.png", classes=[0, wrong])
    assert str(error.value) == (
        f"detect(classes=[0, {wrong!r}]): there is no class {wrong!r}; the model has 2 classes "
        f"without names, from 0."
    )


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,), (float("nan"),), (65.0,)])
def test_scales_that_cannot_be_are_one_line(scales: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected at least one, each above 0 and up to 64"):
        fullconv.detect(converted((2, 1)), picture(60, 50), scales=scales)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 50), slice(8, 9), slice(7, 99)])
def test_chances_are_the_same_for_any_rectangle_and_hold_one_chunk_of_all_classes(
    rows: slice,
) -> None:
    scores = np.random.default_rng(0).normal(size=(5, 60, 40)).astype(np.float32)
    scores[:, 10:20, 5:9] = np.nan
    array = zarr.create_array(MemoryStore(), data=scores, chunks=(5, 8, 7))
    asked: list[int] = []

    class Spy:
        """Notes how much is read at once."""

        shape, chunks = array.shape, array.chunks

        def __getitem__(self, place: Any) -> Any:
            held = array[place]
            asked.append(np.asarray(held).size)
            return held

    record = {"window": PADDED.window, "step": (2, 1), "classes": [], "original_size": [1, 1]}
    heatmap = Heatmap(Spy(), record | {"image_size": [1, 1]}, None)
    weights = np.exp(scores.astype(np.float64))
    expected = (weights / weights.sum(axis=0))[1:3, rows, 2:33]
    actual = Activated(heatmap, "softmax")[1:3, rows, 2:33]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    assert max(asked) <= 5 * 8 * 7
