"""An ONNX classifier becomes an ONNX model that anything can run, under its own names.

Weights and pixels are small whole numbers, so that right means equal (see `oracle`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import fullconv
from fullconv.errors import ModelError
from oracle import assert_same, onnx_classifier, scores_of_crops

WINDOW = (20, 24)
BEYOND = [(0, 0), (3, 3), (4, 0), (0, 9), (13, 22)]
"""Pixels of the images beyond the window; the first is the window itself."""


def whole(seed: int, *shape: int) -> np.ndarray:
    """Return weights of -1, 0 and 1."""
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32)


def pixels(count: int, size: tuple[int, int], channels: int = 2, seed: int = 0) -> np.ndarray:
    shape = (count, channels, *size)
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.float32)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    *,
    batch: int | str = "N",
    window: tuple[int, int] = WINDOW,
    outputs: Sequence[str] = ("scores",),
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Return a checked classifier of two-channel images called ``pixels``."""
    graph = helper.make_graph(
        list(nodes),
        "window classifier",
        [helper.make_tensor_value_info("pixels", dtype, [batch, 2, *window])],
        [helper.make_tensor_value_info(name, dtype, [batch, None]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset > 9 else 4
    )
    onnx.checker.check_model(model)
    return model


def trunk(padding: int = 0) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Return nodes of stride 4 that turn WINDOW into 6 channels, and their weights."""
    pads = [padding] * 4
    nodes = [
        helper.make_node("Conv", ["pixels", "conv1.w", "conv1.b"], ["a"], "conv1", pads=pads),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("MaxPool", ["b"], ["c"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "conv2.w"], ["d"], "conv2", strides=[2, 2], pads=pads),
        helper.make_node("Relu", ["d"], ["map"], "relu2"),
    ]
    weights = {
        "conv1.w": whole(1, 4, 2, 3, 3),
        "conv1.b": whole(2, 4),
        "conv2.w": whole(3, 6, 4, 3, 3),
    }
    return nodes, weights


def classifier(padding: int = 0, **options: Any) -> onnx.ModelProto:
    """Return a classifier with two dense layers, as PyTorch exports it."""
    nodes, weights = trunk(padding)
    cells = (5 if padding else 4) * (6 if padding else 5)
    nodes += [
        helper.make_node("Flatten", ["map"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc1.w", "fc1.b"], ["e"], "fc1", transB=1),
        helper.make_node("Relu", ["e"], ["f"], "relu3"),
        helper.make_node("Gemm", ["f", "fc2.w", "fc2.b"], ["scores"], "fc2", transB=1),
    ]
    weights |= {
        "fc1.w": whole(4, 8, 6 * cells),
        "fc1.b": whole(5, 8),
        "fc2.w": whole(6, 3, 8),
        "fc2.b": whole(7, 3),
    }
    return model_of(nodes, weights, **options)


def assert_equals_crops(
    fcn: Any, model: onnx.ModelProto, window: tuple[int, int] = WINDOW, batch: int = 64
) -> None:
    """Fail unless every window has its crop's scores, at several sizes of image."""
    classify, run = onnx_classifier(model), onnx_classifier(fcn.model)
    for y, x in BEYOND:
        images = pixels(2, (window[0] + y, window[1] + x))
        expected = scores_of_crops(classify, images, window, fcn.grid.step, batch)
        assert_same(fcn(images), expected)
        assert_same(run(images), expected)  # in plain ONNX Runtime, without fullconv


def names(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(node.op_type, node.name) for node in model.graph.node]


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_the_scores_are_those_of_the_crops() -> None:
    model = classifier()
    fcn = fullconv.convert(model)
    assert fcn.report.exact
    assert fcn.report.one_pass
    assert fcn.grid == fullconv.Grid(WINDOW, (4, 4))
    assert len(np.unique(fcn(pixels(2, (60, 60))))) > 100
    assert_equals_crops(fcn, model)


def test_the_exact_form_of_a_padded_model_equals_its_crops() -> None:
    model = classifier(padding=1)
    fcn = fullconv.convert(model)
    assert fcn.report.exact
    assert fcn.report.cost.approximate < fcn.report.cost.exact < fcn.report.cost.crops
    assert_equals_crops(fcn, model)


def test_the_approximate_form_of_a_padded_model_is_equal_at_its_native_size() -> None:
    model = classifier(padding=1)
    fcn = fullconv.convert(model, exact=False)
    assert not fcn.report.exact
    assert fcn.report.one_pass
    native, larger = pixels(2, WINDOW), pixels(2, (36, 40))
    assert_same(fcn(native), onnx_classifier(model)(native)[..., None, None])
    expected = scores_of_crops(onnx_classifier(model), larger, WINDOW, (4, 4))
    assert fcn(larger).shape == expected.shape
    assert not np.array_equal(fcn(larger), expected)


@pytest.mark.parametrize("step", [1, 2, 4, 8, 12, 3, 5, (1, 4), (4, 2), (8, 1), (2, 7), (40, 40)])
@pytest.mark.parametrize("padding", [0, 1])
def test_every_step_gives_the_scores_of_the_crops(
    padding: int, step: int | tuple[int, int]
) -> None:
    model = classifier(padding)
    fcn = fullconv.convert(model, step=step)
    assert not fcn.report.reasons
    assert_equals_crops(fcn, model)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("exact", [True, False])
def test_the_converted_model_is_checked_and_free_in_height_and_width(
    exact: bool, padding: int
) -> None:
    converted = fullconv.convert(classifier(padding), exact=exact).model
    assert isinstance(converted, onnx.ModelProto)
    onnx.checker.check_model(converted, full_check=True)
    batch, channels, height, width = dims(converted.graph.input[0])
    assert channels == 2
    assert all(isinstance(size, str) and size for size in (batch, height, width))
    assert len({batch, height, width}) == 3
    assert converted.graph.input[0].name == "pixels"
    assert [value.name for value in converted.graph.output] == ["scores"]
    assert len(dims(converted.graph.output[0])) == 4


def test_nodes_and_initializers_keep_their_names_where_they_live_on() -> None:
    model = classifier()
    converted = fullconv.convert(model).model
    assert [pair for pair in names(converted) if pair[1] in dict(map(reversed, names(model)))] == [
        ("Conv", "conv1"),
        ("Relu", "relu1"),
        ("MaxPool", "pool1"),
        ("Conv", "conv2"),
        ("Relu", "relu2"),
        ("Conv", "fc1"),
        ("Relu", "relu3"),
        ("Conv", "fc2"),
    ]
    held, original = weights_of(converted), weights_of(model)
    for name in ("conv1.w", "conv1.b", "conv2.w", "fc1.b", "fc2.b"):
        assert_same(held[name], original[name])
    assert_same(held["fc1.w"], fullconv.dense_to_conv(original["fc1.w"], (6, 4, 5)))
    assert_same(held["fc2.w"], fullconv.dense_to_conv(original["fc2.w"], (8, 1, 1)))


def test_every_node_and_value_has_one_maker() -> None:
    for step in (None, 3, (1, 8)):
        for padding in (0, 1):
            converted = fullconv.convert(classifier(padding), step=step).model
            made = [name for node in converted.graph.node for name in node.output]
            assert len(made) == len(set(made))
            named = [node.name for node in converted.graph.node if node.name]
            assert len(named) == len(set(named))


def test_the_original_model_is_left_as_it_was() -> None:
    model = classifier()
    before = model.SerializeToString(deterministic=True)
    fullconv.convert(model, step=1)(pixels(1, (30, 30)))
    assert model.SerializeToString(deterministic=True) == before


def test_metadata_of_the_model_is_kept() -> None:
    model = classifier()
    model.doc_string = "trained on a Tuesday"
    helper.set_model_props(model, {"author": "somebody", "labels": "a,b,c"})
    converted = fullconv.convert(model).model
    held = {entry.key: entry.value for entry in converted.metadata_props}
    assert held["author"] == "somebody"
    assert held["labels"] == "a,b,c"
    assert converted.doc_string == "trained on a Tuesday"


def test_a_file_holds_what_one_must_know_to_use_it(tmp_path: Path) -> None:
    model = classifier()
    helper.set_model_props(model, {"author": "somebody"})
    preprocessing = fullconv.Preprocessing(1 / 255, (0.5, 0.25), (0.25, 0.5))
    fcn = fullconv.convert(
        model, step=(8, 4), classes=["dress", "tree", "sky"], preprocessing=preprocessing
    )
    path = tmp_path / "dress-fcn.onnx"
    fcn.save(path)
    again = fullconv.load(path)
    assert again.grid == fullconv.Grid(WINDOW, (8, 4))
    assert again.report == fcn.report
    assert again.classes == ("dress", "tree", "sky")
    assert again.preprocessing == preprocessing
    assert_equals_crops(again, model)

    # Everything is in the one file, as plain metadata that any tool can read.
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    held = {entry.key: entry.value for entry in proto.metadata_props}
    assert held["author"] == "somebody"
    assert json.loads(held["fullconv.window"]) == [20, 24]
    assert json.loads(held["fullconv.step"]) == [8, 4]
    assert json.loads(held["fullconv.classes"]) == ["dress", "tree", "sky"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["dress-fcn.onnx"]


@pytest.mark.parametrize("exact", [True, False])
def test_the_kind_of_conversion_is_in_the_file(exact: bool, tmp_path: Path) -> None:
    fcn = fullconv.convert(classifier(padding=1), exact=exact)
    fcn.save(tmp_path / "model.onnx")
    again = fullconv.load(tmp_path / "model.onnx")
    assert again.report.exact is exact
    assert again.report.reasons == fcn.report.reasons
    assert_same(again(pixels(2, (33, 41))), fcn(pixels(2, (33, 41))))


def test_a_converted_model_saved_again_is_the_same_file(tmp_path: Path) -> None:
    fullconv.convert(classifier(), classes=["a", "b", "c"]).save(tmp_path / "once.onnx")
    fullconv.load(tmp_path / "once.onnx").save(tmp_path / "twice.onnx")
    once, twice = (onnx.load(tmp_path / name) for name in ("once.onnx", "twice.onnx"))
    assert once == twice


def test_a_path_is_converted_as_the_model_in_it(tmp_path: Path) -> None:
    model = classifier()
    onnx.save(model, tmp_path / "model.onnx")
    for path in (tmp_path / "model.onnx", str(tmp_path / "model.onnx")):
        assert fullconv.convert(path).model == fullconv.convert(model).model


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_fixed_batch_becomes_free(padding: int, batch: int) -> None:
    nodes, weights = trunk(padding)
    cells = 30 if padding else 20
    # The batch is written into the shape, as many exporters do.
    nodes += [
        helper.make_node("Reshape", ["map", "shape"], ["flat"], "reshape"),
        helper.make_node("MatMul", ["flat", "fc.w"], ["e"], "fc"),
        helper.make_node("Add", ["e", "fc.b"], ["f"], "fc.add"),
        helper.make_node("Relu", ["f"], ["scores"], "relu"),
    ]
    weights |= {
        "shape": np.array([batch, 6 * cells]),
        "fc.w": whole(4, 6 * cells, 3),
        "fc.b": whole(5, 3),
    }
    model = model_of(nodes, weights, batch=batch)
    fcn = fullconv.convert(model)
    assert isinstance(dims(fcn.model.graph.input[0])[0], str)
    assert not fcn.report.reasons
    run = onnx_classifier(model)
    for y, x in BEYOND:
        images = pixels(3, (WINDOW[0] + y, WINDOW[1] + x))
        expected = scores_of_crops(filled_up(run, batch), images, WINDOW, (4, 4), batch)
        assert_same(fcn(images), expected)


def filled_up(run: Callable[[np.ndarray], Any], batch: int) -> Callable[[np.ndarray], Any]:
    """Return a function that fills a short last batch up, and gives only what was asked."""

    def classify(crops: np.ndarray) -> Any:
        rest = np.zeros((batch - len(crops), *crops.shape[1:]), crops.dtype)
        return run(np.concatenate([crops, rest]))[: len(crops)]

    return classify


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
@pytest.mark.parametrize("padding", [0, 1])
def test_operator_sets_old_and_new(padding: int, opset: int) -> None:
    model = classifier(padding, opset=opset)
    fcn = fullconv.convert(model)
    onnx.checker.check_model(fcn.model, full_check=True)
    assert_equals_crops(fcn, model)
    kept = {name for _, name in names(fcn.model)}
    assert {"conv1", "conv2"} <= kept


def test_a_channels_last_flatten_is_traced() -> None:
    nodes, weights = trunk()
    nodes += [
        helper.make_node("Transpose", ["map"], ["last"], "to_last", perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["last"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["scores"], "fc"),
    ]
    weights |= {"fc.w": whole(4, 4 * 5 * 6, 3), "fc.b": whole(5, 3)}
    model = model_of(nodes, weights)
    fcn = fullconv.convert(model)
    assert fcn.report.one_pass
    assert_equals_crops(fcn, model)
    filters = fullconv.dense_to_conv(weights["fc.w"], (4, 5, 6), order="HWC")
    assert_same(weights_of(fcn.model)["fc.w"], np.ascontiguousarray(filters.transpose(3, 2, 0, 1)))


def test_several_outputs_keep_their_names_and_order(tmp_path: Path) -> None:
    nodes, weights = trunk()
    nodes += [
        helper.make_node("Flatten", ["map"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "kind.w"], ["kind"], "kind"),
        helper.make_node("Gemm", ["flat", "place.w"], ["place"], "place"),
    ]
    weights |= {"kind.w": whole(4, 120, 3), "place.w": whole(5, 120, 4)}
    model = model_of(nodes, weights, outputs=("place", "kind"))
    fcn = fullconv.convert(model)
    assert [value.name for value in fcn.model.graph.output] == ["place", "kind"]
    assert_equals_crops(fcn, model)
    fcn.save(tmp_path / "model.onnx")
    assert_equals_crops(fullconv.load(tmp_path / "model.onnx"), model)


def test_weights_that_two_layers_share_are_stored_once() -> None:
    nodes, weights = trunk()
    nodes += [
        helper.make_node("Flatten", ["map"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.w"], ["e"], "fc"),
        helper.make_node("Gemm", ["e", "both.w"], ["f"], "both"),
        helper.make_node("Relu", ["f"], ["g"], "relu"),
        helper.make_node("Gemm", ["g", "both.w"], ["scores"], "again"),
    ]
    weights |= {"fc.w": whole(4, 120, 3), "both.w": whole(5, 3, 3)}
    model = model_of(nodes, weights)
    fcn = fullconv.convert(model)
    assert_equals_crops(fcn, model)
    filters = [tuple(array.shape) for array in weights_of(fcn.model).values()]
    assert filters.count((3, 3, 1, 1)) == 1


def test_names_that_an_exporter_makes_up_are_not_made_up_again() -> None:
    """onnx-ir numbers nodes without a name as it reads and writes them: node_Reshape_7."""
    model = classifier(padding=1)
    for index, node in enumerate(model.graph.node):
        node.name = f"node_Reshape_{index + 30}"
    fcn = fullconv.convert(model)
    names = [node.name for node in fcn.model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert_equals_crops(fcn, model)


@pytest.mark.parametrize("footprint", ["[[1, 2, 3, 4, 5]]", "[7]", '[["much", 0, 0, 0]]', "{", "3"])
def test_a_footprint_that_cannot_be_read_is_one_clear_line(footprint: str, tmp_path: Path) -> None:
    path = tmp_path / "model-fcn.onnx"
    fullconv.convert(classifier(padding=1)).save(path)
    proto = onnx.load(path)
    for entry in proto.metadata_props:
        if entry.key == "fullconv.footprint":
            entry.value = footprint
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="its fullconv metadata cannot be read") as caught:
        fullconv.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_ours", [True, False])
def test_scores_that_are_no_numbers_on_one_side_are_not_equal(is_ours: bool) -> None:
    good, bad = classifier(), classifier()
    for initializer in bad.graph.initializer:
        array = numpy_helper.to_array(initializer).copy()
        if array.ndim == 1:
            array[0] = np.nan
            initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    ours, theirs = (bad, good) if is_ours else (good, bad)
    images = pixels(1, (33, 40))
    proof = fullconv.verify(fullconv.convert(ours), theirs, images)
    assert (proof.max_error, proof.passed) == (np.inf, False)
    assert fullconv.verify(fullconv.convert(bad), bad, images).passed
