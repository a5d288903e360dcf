"""Networks and images for tests of scanning: small whole numbers, so that every sum is exact."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fullconv
from fullconv.geometry.tiling import Tile
from networks.onnx_form import onnx_form
from networks.specs import Conv, Flatten, Linear, MaxPool, Network
from networks.weights import pixels
from oracle import onnx_classifier, scores_of_crops

PADDED = Network(
    window=(12, 9),
    channels=3,
    trunk=(
        Conv(out=4, padding=(1, 1, 1, 1)),
        MaxPool(kernel=(2, 2), stride=(2, 1)),
        Conv(out=3, padding=(1, 1, 1, 1)),
    ),
    head=Flatten(style="Flatten"),
    tail=(Linear(out=2, style="Gemm transB"),),
    opset=17,
)
"""A rectangular window, and padding, so that windows have cells of their own."""


@cache
def padded_model() -> Any:
    """Return the classifier."""
    return onnx_form(PADDED)


@cache
def converted(
    step: tuple[int, int], exact: bool = True, check: bool = True
) -> fullconv.FullyConvolutional:
    """Return its converted form."""
    return fullconv.convert(padded_model(), step=step, exact=exact, check=check)


def blank(tile: Tile) -> NDArray[np.float32]:
    """Return a tile's pixels ``(1, 3, h, w)`` of an image that is black."""
    return np.zeros((1, 3, *tile.size), np.float32)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return an image ``(H, W, 3)`` of pixels 0 to 3."""
    held = pixels(PADDED, 1, (height, width), seed)[0]
    return np.ascontiguousarray(held.transpose(1, 2, 0)).astype(np.uint8)


def crops_scores(image: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Return the scores of all crops, ``(K, rows, columns)``: the definition."""
    images = image.transpose(2, 0, 1)[None].astype(np.float32)
    scores: np.ndarray = scores_of_crops(
        onnx_classifier(padded_model()), images, PADDED.window, step
    )
    return scores[0]
