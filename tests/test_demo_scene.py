"""The demonstration: its scenes, its picture, and the classifier that the package carries."""

import itertools
import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import fullconv
from data import REPOSITORY
from fullconv.demo.pen import Pen
from fullconv.demo.people import draw_dress
from fullconv.demo.scene import DRESS_SIZE, SMALLEST_SCENE, draw_scene
from fullconv.scanning.overlay import draw_overlay, spread_heatmap

sys.path.append(str(REPOSITORY / "examples"))
from judge_dress_classifier import search

WINDOW, STEP = (128, 64), 32
HELD_OUT = (10_001, 10_002, 10_003)


@pytest.fixture(scope="module")
def classifier_path():
    with resources.as_file(resources.files("fullconv.demo") / "dress.onnx") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def classifier(classifier_path):
    return onnx.load(classifier_path)


def crops_of(image):
    """Return the scores' shape (rows, columns) and all crops (rows * columns, 3, 128, 64)."""
    rows, columns = ((n - w) // STEP + 1 for n, w in zip(image.shape[:2], WINDOW, strict=True))
    crops = [
        image[y * STEP : y * STEP + WINDOW[0], x * STEP : x * STEP + WINDOW[1]]
        for y, x in itertools.product(range(rows), range(columns))
    ]
    return (rows, columns), np.stack(crops).transpose(0, 3, 1, 2)


def test_equal_seeds_draw_equal_scenes():
    first, second = draw_scene(7), draw_scene(7)
    assert np.array_equal(first.image, second.image)
    assert first.dresses == second.dresses


def test_different_seeds_draw_different_scenes():
    first, second = draw_scene(7), draw_scene(8)
    assert not np.array_equal(first.image, second.image)
    assert first.dresses != second.dresses


@pytest.mark.parametrize("size", [(512, 1024), SMALLEST_SCENE, (700, 900)])
def test_scene_has_the_stated_size_and_type(size):
    scene = draw_scene(3, size)
    assert scene.image.shape == (*size, 3)
    assert scene.image.dtype == np.uint8
    assert 3 <= len(scene.dresses) <= 6


def test_scene_refuses_a_size_without_room_for_three_dresses():
    with pytest.raises(ValueError, match=r"size=\(128, 1024\).*at least \(320, 512\)"):
        draw_scene(0, (128, 1024))


def test_scene_says_its_size_and_how_many_dresses_it_has():
    scene = draw_scene(3)
    assert repr(scene) == f"Scene(size=(512, 1024), dresses={len(scene.dresses)})"


@pytest.mark.parametrize("seed", range(6))
def test_dresses_fit_the_window_and_lie_inside_the_image_apart_from_each_other(seed):
    dresses = draw_scene(seed).dresses
    for x0, y0, x1, y1 in dresses:
        assert 0 <= x0 < x1 <= 1024
        assert 0 <= y0 < y1 <= 512
        assert 0.75 * DRESS_SIZE[0] <= y1 - y0 <= DRESS_SIZE[0]
        assert 0.75 * DRESS_SIZE[1] <= x1 - x0 <= DRESS_SIZE[1]
    for a, b in itertools.combinations(dresses, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("seed", range(8))
def test_a_dress_fills_the_box_it_is_drawn_into(seed):
    pen = Pen((160, 100))
    pen.rectangle(0, 0, 100, 160, (0, 255, 0))
    draw_dress(pen, (20, 16, 84, 144), np.random.default_rng(seed))
    rows, columns = np.nonzero((pen.pixels() != (0, 255, 0)).any(axis=2))
    assert 16 <= rows.min() <= 26
    assert 140 <= rows.max() + 1 <= 144
    assert 20 <= columns.min() <= 28
    assert 76 <= columns.max() + 1 <= 84


def hottest(picture, image):
    """Return the (row, column) of the pixel whose redness the overlay raised most."""
    raised = np.asarray(picture).astype(int)[..., 0] - image[..., 0]
    weights = np.where(raised >= raised.max() - 2, 1.0, 0.0)
    rows, columns = np.indices(weights.shape)
    return (rows * weights).sum() / weights.sum(), (columns * weights).sum() / weights.sum()


@pytest.mark.parametrize("cell", [(0, 0), (4, 9), (12, 30)])
def test_overlay_places_a_hot_cell_over_the_centre_of_its_window(cell):
    image = np.full((512, 1024, 3), 90, np.uint8)
    heatmap = np.zeros((13, 31))
    heatmap[cell] = 1
    picture = draw_overlay(image, heatmap, WINDOW, STEP, [])
    assert picture.size == (1024, 512)
    row, column = hottest(picture, image)
    assert abs(row + 0.5 - (cell[0] * STEP + 64)) <= 1
    assert abs(column + 0.5 - (cell[1] * STEP + 32)) <= 1


def test_hottest_pixel_follows_the_cell():
    """The helper above can fail: another cell is found elsewhere."""
    image = np.full((512, 1024, 3), 90, np.uint8)
    heatmap = np.zeros((13, 31))
    heatmap[4, 9] = 1
    row, column = hottest(draw_overlay(image, heatmap, WINDOW, STEP, []), image)
    assert abs(row + 0.5 - (5 * STEP + 64)) > STEP / 2
    assert abs(column + 0.5 - (10 * STEP + 32)) > STEP / 2


def test_spread_heatmap_is_linear_between_centres_and_fades_outside():
    spread = spread_heatmap([[0.2, 0.8]], (4, 4), 4, (8, 12))
    # The centres are at column 2 and 6 and row 2, on the edges of pixels.
    between = [0.275, 0.425, 0.575, 0.725]
    expected = np.array([0.125, 0.175, *between, 0.7, 0.5, 0.3, 0.1, 0, 0])
    np.testing.assert_allclose(spread[1], expected * 0.875, atol=1e-12)
    np.testing.assert_allclose(spread[2], expected * 0.875, atol=1e-12)
    assert not spread[6:].any()


def test_overlay_outlines_boxes_and_leaves_the_image_as_it_was():
    image = draw_scene(3).image
    before = image.copy()
    plain = np.asarray(draw_overlay(image, np.zeros((13, 31)), WINDOW, (STEP, STEP)))
    outlined = np.asarray(
        draw_overlay(image, np.zeros((13, 31)), WINDOW, STEP, [(100, 200, 164, 328)])
    )
    rows, columns = np.nonzero((plain != outlined).any(axis=2))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (200, 328, 100, 164)
    assert not (plain != outlined)[210:318, 110:154].any()
    assert np.array_equal(image, before)


def test_overlay_refuses_a_heatmap_of_several_classes():
    with pytest.raises(ValueError, match=r"\(rows, columns\), got \(2, 13, 31\)"):
        draw_overlay(draw_scene(3).image, np.zeros((2, 13, 31)), WINDOW, STEP)


def test_classifier_is_small_and_valid(classifier, classifier_path):
    assert classifier_path.stat().st_size < 1_000_000
    onnx.checker.check_model(classifier, full_check=True)


def test_classifier_says_that_fullconv_train_made_it_and_of_what(classifier):
    metadata = {entry.key: entry.value for entry in classifier.metadata_props}
    preprocessing = json.loads(metadata.pop("fullconv.preprocessing"))
    assert metadata == {
        "fullconv.trained": fullconv.__version__,
        "fullconv.classes": '["background", "dress"]',
        "fullconv.background": "background",
        "fullconv.window": "[128, 64]",
    }
    assert preprocessing["scale"] == 1 / 255


def test_classifier_is_what_fullconv_train_makes_for_its_window(classifier):
    """Operation by operation, and with weights of the very shapes; batch norms are folded in."""
    torch = pytest.importorskip("torch")
    from fullconv.training.fitting import fit
    from fullconv.training.network import WindowNetwork

    network = WindowNetwork(fit(WINDOW), 3, 2, convolutional=False)
    made = {"Conv2d": "Conv", "ReLU": "Relu", "MaxPool2d": "MaxPool", "Linear": "Gemm"}
    made |= {"Flatten": "Reshape"}
    layers = [type(layer).__name__ for layer in (*network.features, *network.classifier)]
    kinds = [made[kind] for kind in layers if kind in made] + ["Softmax"]
    assert [node.op_type for node in classifier.graph.node] == kinds
    shapes = {
        tuple(weight.shape)
        for layer in network.modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
        for weight in (layer.weight,)
    }
    assert {tuple(held.dims) for held in classifier.graph.initializer} >= shapes


def test_classifier_is_exact_and_shared_when_it_is_converted(classifier_path):
    report = fullconv.explain(classifier_path)
    assert (report.exact, report.reasons) == (True, ())
    assert report.stride == (16, 8)


def test_classifier_input_fixes_the_window_and_leaves_the_batch_free(classifier):
    (crop,), (scores,) = classifier.graph.input, classifier.graph.output
    batch, *rest = crop.type.tensor_type.shape.dim
    assert batch.dim_param
    assert [size.dim_value for size in rest] == [3, 128, 64]
    assert scores.type.tensor_type.shape.dim[1].dim_value == 2


@pytest.mark.parametrize("seed", HELD_OUT)
def test_classifier_finds_every_dress_and_nothing_else(classifier_path, seed):
    """Crop by crop, in plain ONNX Runtime."""
    scene = draw_scene(seed)
    (rows, columns), crops = crops_of(scene.image)
    assert (rows, columns) == (13, 31)
    session = onnxruntime.InferenceSession(classifier_path, providers=["CPUExecutionProvider"])
    preprocessing = fullconv.convert(classifier_path).preprocessing
    (scores,) = session.run(None, {session.get_inputs()[0].name: preprocessing.apply(crops)})
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    hits = np.argwhere(scores[:, 1].reshape(rows, columns) >= 0.5)
    centres = hits * STEP + (WINDOW[0] / 2, WINDOW[1] / 2)
    dresses = np.array([((y0 + y1) / 2, (x0 + x1) / 2) for x0, y0, x1, y1 in scene.dresses])
    distances = np.linalg.norm(centres[:, None] - dresses[None], axis=2)
    assert (distances.min(axis=0) <= 24).all(), "a dress without a window"
    assert (distances.min(axis=1) <= 40).all(), "a window without a dress"


@pytest.mark.parametrize("step", [STEP, None])
def test_classifier_finds_the_dresses_of_streets_that_nobody_trained_on(classifier_path, step):
    scenes = [draw_scene(seed) for seed in HELD_OUT]
    dress = search(classifier_path, scenes, step)["dress"]
    assert dress.truth == sum(len(scene.dresses) for scene in scenes)
    assert (dress.recall, dress.precision, dress.average_precision) == (1, 1, 1)


def test_a_classifier_that_sees_dresses_everywhere_is_told_so(classifier):
    """The measure above can fail: with the classes exchanged nothing is right."""
    last = classifier.graph.node[-2]
    exchanged = onnx.ModelProto.FromString(classifier.SerializeToString())
    for held in exchanged.graph.initializer:
        if held.name in last.input:
            values = onnx.numpy_helper.to_array(held)[::-1].copy()
            held.CopyFrom(onnx.numpy_helper.from_array(values, held.name))
    scene = draw_scene(HELD_OUT[0])
    dress = search(exchanged, [scene], STEP)["dress"]
    assert dress.precision < 0.5
