"""Every operation of Keras that is said to treat the images of a batch alone, along every axis.

As `test_standing` for PyTorch: one model does all of them behind a convolution, each an output of
its own, and the loop over crops decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fullconv
from keras_models import QUIETLY, keras, layers, ops
from oracle import assert_close

pytestmark = [
    QUIETLY,
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis"),
    pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors"),
]
WINDOW = (5, 6)
RANK = 4
ROUNDINGS = 64

PLAIN = """
Amax Amin Argmax Argmin Argsort Average CountNonzero Cumprod Cumsum Flip LogSoftmax Logsumexp Max
Mean Median Min Nanmax Nanmean Nanmedian Nanmin Nanprod Nanstd Nansum Nanvar Norm Normalize Prod Ptp
Softmax Sort Sparsemax Std Sum Trapezoid Var
""".split()
"""Those that are given an axis and nothing else."""

TABLE = np.arange(12.0, dtype=np.float32).reshape(4, 3) ** 2

ALONG: dict[str, Callable[[Any, int], Any]] = {
    **{name: lambda y, d, name=name: getattr(ops, snake(name))(y, axis=d) for name in PLAIN},
    "All": lambda y, d: ops.all(y > 0, axis=d),
    "Any": lambda y, d: ops.any(y > 0, axis=d),
    "Argpartition": lambda y, d: ops.argpartition(y, 0, axis=d),
    "ArraySplit": lambda y, d: ops.array_split(y, 1, axis=d),
    "Diff": lambda y, d: ops.diff(ops.concatenate([y, -y], d), axis=d),
    "Glu": lambda y, d: ops.glu(ops.concatenate([y, -y], d), axis=d),
    "Moments": lambda y, d: ops.moments(y, axes=(d,)),
    "Percentile": lambda y, d: ops.percentile(y, 30.0, axis=d),
    "Quantile": lambda y, d: (ops.quantile(y, 0.3, axis=d), ops.quantile(y, [0.3, 0.5], axis=d)),
    "Repeat": lambda y, d: ops.repeat(y, 2, axis=d),
    "Roll": lambda y, d: ops.roll(y, 1, axis=d),
    "Split": lambda y, d: ops.split(y, 1, axis=d),
    "Unstack": lambda y, d: ops.unstack(y, num=y.shape[d] or 1, axis=d),
    "Take": lambda y, d: (
        ops.take(y, [0, 0], axis=d),
        ops.take(TABLE, ops.argmax(y, axis=d), axis=0),
    ),
    "TakeAlongAxis": lambda y, d: ops.take_along_axis(y, ops.argmin(y, d, keepdims=True), d),
    "Concatenate": lambda y, d: ops.concatenate([y, -y], d),
    "Stack": lambda y, d: ops.stack([y, -y], d),
    "OneHot": lambda y, d: ops.one_hot(ops.argmax(y, axis=-1), 3, axis=min(d, 2)),
    "Pad": lambda y, d: ops.pad(y, [(int(k == d), 0) for k in range(RANK)]),
    "Tile": lambda y, d: ops.tile(y, [1 + (k == d) for k in range(RANK)]),
}

LAST: dict[str, Callable[[Any], Any]] = {
    "LayerNorm": lambda y: ops.layer_normalization(y, axis=-1),
    "RMSNorm": lambda y: ops.rms_normalization(y, axis=-1),
    "BatchNorm": lambda y: ops.batch_normalization(y, TABLE[1], TABLE[2], axis=-1),
    "TopK": lambda y: ops.top_k(y, 1),
    "FFT": lambda y: ops.fft((y, y * 2)),
    "FFT2": lambda y: ops.fft2((y, y * 2)),
    "RFFT": ops.rfft,
    "Tril": ops.tril,
    "Triu": ops.triu,
    "Matmul": lambda y: (
        ops.matmul(y, ops.transpose(y, (0, 1, 3, 2))),
        ops.matmul(y, TABLE[:3]),
        ops.matmul(TABLE[:1, :1] + 1, ops.reshape(y, (1, -1))),
    ),
    "Einsum": lambda y: (ops.einsum("nhwc,nhwd->ncd", y, y), ops.einsum("nhwc,mhwc->nm", y, y)),
    "DotProductAttention": lambda y: ops.dot_product_attention(y, y, y),
    "Conv": lambda y: ops.conv(y, np.ones((2, 2, 3, 2), np.float32)),
    "DepthwiseConv": lambda y: ops.depthwise_conv(y, np.ones((2, 2, 3, 1), np.float32)),
    "MaxPool": lambda y: ops.max_pool(y, (2, 2)),
    "AveragePool": lambda y: ops.average_pool(y, (2, 2)),
    "Resize": lambda y: ops.image.resize(y, (5, 5)),
    "RGBToGrayscale": ops.image.rgb_to_grayscale,
    "ExtractPatches": lambda y: ops.image.extract_patches(y, 2),
    "GaussianBlur": ops.image.gaussian_blur,
    "SobelEdges": ops.image.sobel_edges,
    "MelSpectrogram": lambda y: layers.MelSpectrogram(
        8, 4, sampling_rate=99, num_mel_bins=4, min_freq=1, max_freq=40, top_db=9
    )(layers.Flatten()(y)),
}

ALIKE = {
    "AdaptiveAveragePool", "AdaptiveMaxPool", "ConvTranspose", "DepthToSpace", "Fold",
    "SeparableConv", "SpaceToDepth", "Unfold",
}  # fmt: skip
"""Listed operations that others stand for, or of which Keras itself does not know the size."""


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def model_of(changes: dict[str, Callable[[Any], Any]]) -> Any:
    """Return a model with an output for each change of a map ``(N, 3, 4, 3)``."""
    keras.utils.set_random_seed(0)
    image = keras.Input((*WINDOW, 2))
    y = layers.Conv2D(3, 3)(image)
    outputs = {
        f"{name} {k}": ops.cast(x, "float32")
        for name, change in changes.items()
        for k, x in enumerate(keras.tree.flatten(change(y)))
    }
    return keras.Model(image, outputs)


def assert_as_crops(changes: dict[str, Callable[[Any], Any]]) -> None:
    """Compare each output with the crops' by itself, within roundings of the largest number."""
    model = model_of(changes)
    fcn = fullconv.convert(model, step=1, check=False)
    assert fcn.report.exact
    draw = np.random.default_rng(0)
    # A hundredfold from left to right.
    images = ((draw.random((2, 6, 9, 2)) - 0.3) * np.logspace(-1, 1, 9)[:, None]).astype(np.float32)
    places = [(n, i, j) for n in range(2) for i in range(2) for j in range(4)]
    crops = [
        {
            name: ops.convert_to_numpy(leaf)
            for name, leaf in model(images[n : n + 1, i : i + 5, j : j + 6]).items()
        }
        for n, i, j in places
    ]
    scores = fcn(images)
    for name in crops[0]:
        wanted = np.stack([crop[name].reshape(-1) for crop in crops])
        own = ops.convert_to_numpy(scores[name]).reshape(len(places), -1)
        unit = float(np.finfo(np.float32).eps * np.abs(wanted).max())
        try:
            assert_close(own, wanted, unit, ROUNDINGS)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("dim", range(RANK))
def test_every_operation_has_the_scores_of_the_crops_along_every_axis(dim: int) -> None:
    assert_as_crops({name: lambda y, f=f: f(y, dim) for name, f in ALONG.items()})


def test_operations_on_the_last_axes_have_the_scores_of_the_crops() -> None:
    assert_as_crops(LAST)


def test_every_listed_operation_is_tried() -> None:
    from fullconv.frameworks.keras.standing import families  # once Keras has its backend

    assert set(families) <= set(ALONG) | set(LAST) | ALIKE
