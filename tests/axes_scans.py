"""Networks and arrays over one, two and three axes for tests of scanning: small whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import fullconv
from fullconv.geometry.grid import Grid, Sizes

WINDOW: dict[int, Sizes] = {1: (24,), 2: (12, 9), 3: (8, 6, 7)}
STEP: dict[int, Sizes] = {1: (3,), 2: (2, 3), 3: (2, 3, 1)}
SIZE: dict[int, Sizes] = {1: (203,), 2: (41, 32), 3: (17, 16, 15)}
TILE: dict[int, Sizes] = {1: (13,), 2: (4, 5), 3: (2, 2, 5)}
"""Arrays of several tiles, of which the last ones have fewer windows; steps leave a rest."""

CHANNELS = 2


@cache
def classifier(axes: int, is_padded: bool = True) -> onnx.ModelProto:
    """Return a classifier of two scores: a convolution, a maximum, and a layer over the window."""
    rng = np.random.default_rng(axes)
    window = WINDOW[axes]
    border = int(is_padded)
    cells = [(size + 2 * border - 2) // 2 for size in window]

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.integers(-2, 3, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["map"], pads=[border] * 2 * axes),
        helper.make_node("MaxPool", ["map"], ["most"], kernel_shape=[2] * axes, strides=[2] * axes),
        helper.make_node("Relu", ["most"], ["some"]),
        helper.make_node("Flatten", ["some"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", CHANNELS, *window])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [
            weights("k", 3, CHANNELS, *(3,) * axes),
            weights("b", 3),
            weights("w", 3 * int(np.prod(cells)), 2),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@cache
def converted(
    axes: int, is_padded: bool = True, exact: bool = True, step: Sizes | None = None
) -> fullconv.FullyConvolutional:
    """Return its converted form."""
    return fullconv.convert(
        classifier(axes, is_padded), step=step or STEP[axes], exact=exact, check=False
    )


def array(axes: int, size: Sizes | None = None, seed: int = 0) -> NDArray[np.uint8]:
    """Return an array ``(*size, C)`` of whole numbers from 0 to 3."""
    shape = (*(size or SIZE[axes]), CHANNELS)
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)


def crops_scores(
    classify: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    pixels: NDArray[np.uint8],
    grid: Grid,
    cover: str = "whole",
) -> NDArray[np.float32]:
    """Return the scores of all crops, ``(K, *windows)``, one crop at a time: the definition."""
    image = np.moveaxis(pixels, -1, 0)[None].astype(np.float32)
    starts = [
        [*range(0, size - window + 1, step)]
        for size, window, step in zip(image.shape[2:], grid.window, grid.step, strict=True)
    ]
    if cover == "all":
        for along, size, window in zip(starts, image.shape[2:], grid.window, strict=True):
            along.extend({size - window} - {along[-1]})
    scores = [
        classify(image[(..., *(slice(n, n + w) for n, w in zip(place, grid.window, strict=True)))])
        for place in product(*starts)
    ]
    return np.concatenate(scores).T.reshape(-1, *map(len, starts))
