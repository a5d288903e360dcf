"""Every family of networks that Keras can express: equal to the crops, and shared like the others.

The families, and their weights, are those of `test_families`: a network that is written in
PyTorch, ONNX and Keras must read as one graph and give one heatmap.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fullconv
from fullconv.frameworks import find
from fullconv.operations import Identity
from keras_models import (
    FORMATS,
    QUIETLY,
    NotInKerasError,
    keras,
    keras_classifier,
    keras_form,
    keras_images,
)
from networks.checks import assert_shared, in_onnx, in_torch
from networks.specs import Network
from networks.weights import pixels
from oracle import leaves
from test_families import (
    BORDERS,
    BORDERS_IN_ONNX,
    BORDERS_IN_TORCH,
    PER_WINDOW,
    SHARED,
    in_the_words_of,
)

# PyTorch's own remark about the speed of such a layer, once per process.
pytestmark = [
    QUIETLY,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning"),
]

BY_RULE = {
    f"auto_pad SAME_UPPER at stride {n}": BORDERS_IN_ONNX[f"auto_pad SAME_UPPER at stride {n}"]
    for n in (1, 2)
}
PADDED = BORDERS | BORDERS_IN_TORCH | BY_RULE


def said(table: dict[str, Any]) -> list[Any]:
    """Return a case for each network that Keras can express, its formats taking turns."""
    made = []
    for name, entry in table.items():
        net, *rest = entry if isinstance(entry, tuple) else (entry,)
        data_format = FORMATS[len(made) % 2]
        try:
            keras_form(net, data_format)
        except NotInKerasError:
            continue
        made.append(pytest.param(data_format, net, *rest, id=f"{name}, {data_format}"))
    return made


def crops_of(model: Any, images: Any, grid: Any, data_format: str) -> Any:
    """Return the scores of all windows, cut out one by one, in the order the model gives."""
    last = data_format == "channels_last"
    size = images.shape[1:3] if last else images.shape[2:4]
    rows, columns = grid.shape(size)
    boxes = [grid.box(i, j) for i in range(rows) for j in range(columns)]
    crops = [
        image[y0:y1, x0:x1] if last else image[:, y0:y1, x0:x1]
        for image in images
        for x0, y0, x1, y1 in boxes
    ]
    answer = keras_classifier(model)(np.stack(crops))

    def arrange(scores: Any) -> Any:
        scores = scores.reshape(len(images), rows, columns, *scores.shape[1:])
        return scores if last else np.moveaxis(scores, (1, 2), (-2, -1))

    return keras.tree.map_structure(arrange, answer)


def assert_equal(actual: Any, expected: Any) -> None:
    """Require the same structure and the same numbers, of tensors and arrays."""
    mine, wanted = list(leaves(actual)), list(leaves(expected))
    assert [path for path, _ in mine] == [path for path, _ in wanted]
    for (path, a), (_, e) in zip(mine, wanted, strict=True):
        array = keras.ops.convert_to_numpy(a)
        assert array.shape == e.shape, path
        assert np.array_equal(array, e), path


def check(net: Network, data_format: str) -> Any:
    """Convert, and compare all windows with their crops; return the conversion.

    At the network's own step, or, for the other format, at one that differs by axis.
    """
    model = keras_form(net, data_format)
    images = keras_images(net, 2, (net.window[0] + 6, net.window[1] + 5), data_format)
    own = data_format == FORMATS[0] or net.scores.every != (1, 1)
    fcn = fullconv.convert(model, step=None if own else (net.stride[0], 3))
    assert_equal(fcn(images), crops_of(model, images, fcn.grid, data_format))
    assert fcn.report.exact
    return fcn


@pytest.mark.parametrize(("data_format", "net"), said(SHARED))
def test_windows_share_all_of_it_and_equal_their_crops(data_format: str, net: Network) -> None:
    assert_shared(check(net, data_format))


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    "net", [c.values[1] for c in said(PADDED)], ids=[c.id for c in said(PADDED)]
)
def test_windows_share_all_but_their_borders_and_equal_their_crops(
    data_format: str, net: Network
) -> None:
    assert_shared(check(net, data_format))


@pytest.mark.parametrize(("data_format", "net", "operation"), said(PER_WINDOW))
def test_windows_stop_sharing_where_the_report_says_and_equal_their_crops(
    data_format: str, net: Network, operation: str
) -> None:
    fcn = check(net, data_format)
    named = [reason.operation for reason in fcn.report.reasons]
    words = f"{operation}|UpSampling2D|Conv2DTranspose"
    assert any(re.search(words, name, re.IGNORECASE) for name in named), named


@pytest.mark.parametrize(
    ("data_format", "net"), said(PADDED | {"gate": PER_WINDOW["squeeze and excitation"][0]})
)
def test_the_approximate_form_is_the_classifier_at_its_own_size(
    data_format: str, net: Network
) -> None:
    model = keras_form(net, data_format)
    images = keras_images(net, 2, net.window, data_format)
    fcn = fullconv.convert(model, exact=False)
    assert_equal(fcn(images), crops_of(model, images, fcn.grid, data_format))


# ---------------------------------------------------------------------------------------------
# The same network, written three times


def wording(graph: Any, model: Any) -> list[Any]:
    """Return a graph without its names: records, and where each input comes from."""
    number = {graph.image: "image"}
    words = []
    for node in graph.nodes:
        record = node.operation
        if isinstance(record, Identity):
            number[node.outputs[0]] = number[node.inputs[0] or ""]
            continue
        if hasattr(record, "name"):
            # Each framework has its own word for a function: all that counts is that it is one.
            record = replace(record, name="")
        inputs = []
        for name in node.inputs:
            if name in number or name is None:
                inputs.append(number.get(name))
            elif name in graph.constants:
                inputs.append(graph.constants[name].shape)
        if type(record).__name__ == "Pointwise":
            inputs = [word for word in inputs if not isinstance(word, tuple)]
        number |= {name: f"{len(words)}.{k}" for k, name in enumerate(node.outputs)}
        words.append((record, inputs))
    return words


ALIKE = [
    "convolution",
    "strided convolution",
    "dilated convolution",
    "grouped convolution",
    "depthwise convolution",
    "two strides",
    "max pool",
    "overlapping max pool",
    "batch norm",
    "residual",
    "difference",
    "product of two maps",
    "maximum of two maps",
    "inception branches",
    "two linear layers",
    "several maps of one pitch",
    "leaky",
    "relu",
]
THREE = {name: SHARED[name] for name in ALIKE} | {
    name: PADDED[name] for name in ("padded twice", "padding in rows alone")
}
# Each framework cuts a shortcut to size in as many slices as it has words for, pads in a layer of
# its own or not, and has its own order among branches.
OTHERWISE = {
    *("residual", "difference", "product of two maps", "maximum of two maps"),
    *("padding in rows alone", "several maps of one pitch"),
}


@pytest.mark.parametrize("name", sorted(THREE.keys() - OTHERWISE))
def test_a_network_written_three_times_reads_as_one_graph(name: str) -> None:
    net = THREE[name]
    graphs = []
    for form in (in_torch, in_onnx):
        model, _ = form(in_the_words_of(net, form))
        graphs.append(wording(find(model).read(model, net.window).graph, model))
    model = keras_form(net, "channels_first")
    graphs.append(wording(find(model).read(model, net.window).graph, model))
    assert graphs[0] == graphs[1]
    assert graphs[2] == graphs[0]


@pytest.mark.parametrize("name", THREE)
def test_a_network_written_three_times_gives_one_heatmap(name: str) -> None:
    torch = pytest.importorskip("torch")
    net = THREE[name]
    images = pixels(net, 1, (net.window[0] + 4, net.window[1] + 3), seed=3)
    heatmaps = []
    for form in (in_torch, in_onnx):
        model, _ = form(in_the_words_of(net, form))
        given = torch.from_numpy(images) if form is in_torch else images
        fcn = fullconv.convert(model, window=net.window)
        heatmaps.append(np.asarray(fcn(given)))
    for data_format in FORMATS:
        last = data_format == "channels_last"
        fcn = fullconv.convert(keras_form(net, data_format))
        scores = fcn(images.transpose(0, 2, 3, 1) if last else images)
        array = keras.ops.convert_to_numpy(scores)
        heatmaps.append(array.transpose(0, 3, 1, 2) if last else array)
    for heatmap in heatmaps[1:]:
        assert np.array_equal(heatmap, heatmaps[0])


# ---------------------------------------------------------------------------------------------
# As ONNX

IN_ONNX = said(
    {
        name: (SHARED | PADDED)[name]
        for name in (
            "depthwise convolution",
            "batch norm",
            "prelu",
            "scale and shift by channel",
            "dense concatenation",
            "channel shuffle",
            "spatial slice",
            "linear layer over the channels",
            "several maps of two pitches",
            "padded twice",
            "auto_pad SAME_UPPER at stride 2",
        )
    }
    | {"gate": PER_WINDOW["squeeze and excitation"][0], "dict": SHARED["dict"]}
)


@pytest.mark.parametrize(("data_format", "net"), IN_ONNX)
def test_saved_as_onnx_it_gives_the_same_scores(
    data_format: str, net: Network, tmp_path: Path
) -> None:
    fcn = fullconv.convert(keras_form(net, data_format), step=(net.stride[0], 3))
    fcn.save(tmp_path / "model.onnx")
    loaded = fullconv.load(tmp_path / "model.onnx")
    for size in ((net.window[0] + 6, net.window[1] + 5), net.window):
        images = pixels(net, 2, size, seed=1)
        scores = fcn.scores(images)
        flat = keras.tree.flatten(scores)
        given = loaded(images)
        for mine, wanted in zip(given if isinstance(given, tuple) else [given], flat, strict=True):
            assert np.array_equal(mine, wanted)
