"""Random window classifiers over one, two or three axes, in PyTorch and ONNX.

Weights, biases and pixels are small integers, and so few of a layer's weights are not zero that no
partial sum exceeds what float32 holds exactly: a converted network must give its crops' scores to
the last bit (see Note [Exact arithmetic] in `networks.specs`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

EXACT = 2**22
MOST = {1: (10, 34), 2: (5, 15), 3: (4, 8)}
"""Sizes of windows along an axis, by the number of axes."""

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer: its kind, its numbers for every axis, and its weights."""

    kind: str
    numbers: dict[str, Any] = field(default_factory=dict)
    weights: tuple[NDArray[np.float32], ...] = ()

    def __repr__(self) -> str:
        said = [f"{k}={v}" for k, v in self.numbers.items()] + [str(w.shape) for w in self.weights]
        return f"{self.kind}({', '.join(said)})"


@dataclass(frozen=True)
class Classifier:
    """A window classifier, and what it is converted with."""

    window: Sizes
    channels: int
    layers: tuple[Layer, ...]
    step: Sizes
    image: Sizes


@dataclass
class Here:
    """The map behind the layers so far: its size, and how large its numbers are at most."""

    channels: int
    size: Sizes
    bound: float = 3.0


@st.composite
def classifiers(draw: Any, axes: int) -> Classifier:
    """Draw a classifier over so many axes."""
    least, most = MOST[axes]
    window = draw(st.tuples(*[st.integers(least, most)] * axes))
    channels = draw(st.integers(1, 3))
    here = Here(channels, window)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 4))):
        kinds = ("conv", "conv", "conv", "max", "average", "relu", "norm", "pad", "up", "skip")
        kind = draw(st.sampled_from((*kinds, "transposed", "branches")))
        layer = MAKERS[kind](draw, here, rng)
        if layer is not None:
            layers.append(layer)
    layers.extend(_head(draw, here, rng))
    step = draw(st.tuples(*[st.integers(1, 4)] * axes))
    image = tuple(size + draw(st.integers(0, {1: 25, 2: 9, 3: 4}[axes])) for size in window)
    return Classifier(window, channels, tuple(layers), step, image)


def _sparse(rng: np.random.Generator, shape: Sizes, here: Here, terms: int) -> NDArray[np.float32]:
    """Return weights of -1, 0 and 1 that keep the sums of so many products exact."""
    weights = rng.integers(-1, 2, shape).astype(np.float32)
    allowed = max(1, int(EXACT / 64 / max(1.0, here.bound)))
    if terms > allowed:
        weights *= rng.random(shape) < allowed / (2 * terms)
    return weights


def _bounded(here: Here, weights: NDArray[np.float32], axis: int = 0) -> None:
    apart = np.moveaxis(np.abs(weights), axis, 0).reshape(weights.shape[axis], -1)
    here.bound = here.bound * max(1.0, float(apart.sum(1).max())) + 1


def _conv(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    kernel, stride, dilation, pads, size = [], [], [], [], []
    for extent in here.size:
        k = draw(st.integers(1, min(3, extent)))
        d = draw(st.sampled_from((1, 1, 1, 2)))
        d = d if d * (k - 1) + 1 <= extent else 1
        p = draw(st.tuples(*[st.integers(0, min(2, k - 1))] * 2))
        s = draw(st.sampled_from((1, 1, 2)))
        kernel.append(k)
        stride.append(s)
        dilation.append(d)
        pads.append(p)
        size.append((extent + sum(p) - d * (k - 1) - 1) // s + 1)
    groups = draw(st.sampled_from([g for g in (1, 1, here.channels) if here.channels % g == 0]))
    out = groups * draw(st.integers(1, 2 if groups > 1 else 3))
    inner = here.channels // groups
    weights = _sparse(rng, (out, inner, *kernel), here, inner * prod(kernel))
    bias = rng.integers(-1, 2, out).astype(np.float32)
    _bounded(here, weights)
    here.channels, here.size = out, tuple(size)
    numbers = {"stride": stride, "dilation": dilation, "pads": pads, "groups": groups}
    return Layer("conv", numbers, (weights, bias))


def _pool(kind: str) -> Any:
    def make(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
        kernel, stride, pads, size = [], [], [], []
        for extent in here.size:
            k = draw(st.sampled_from([n for n in (1, 2, 2) if n <= extent]))
            if kind == "max":
                k = draw(st.integers(1, min(3, extent)))
            s = draw(st.integers(1, max(1, k)))
            # PyTorch pads a pool by half its kernel at most.
            p = draw(st.integers(0, k // 2)) if kind == "max" else 0
            kernel.append(k)
            stride.append(s)
            pads.append((p, p))
            size.append((extent + 2 * p - k) // s + 1)
        if kind == "average":
            here.bound *= prod(kernel)  # in units of the smallest fraction
        here.size = tuple(size)
        return Layer(kind, {"kernel": kernel, "stride": stride, "pads": pads})

    return make


def _relu(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    return Layer("relu")


def _norm(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    scale = rng.choice([0.5, 1.0, 2.0], here.channels).astype(np.float32)
    shift = rng.integers(-2, 3, here.channels).astype(np.float32)
    here.bound = 4 * here.bound + 4
    return Layer("norm", {}, (scale, shift))


def _pad(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    mode = draw(st.sampled_from(("constant", "reflect", "replicate", "circular")))
    least = min(here.size)
    if mode == "reflect" and least < 2:
        mode = "replicate"
    most = 1 if mode != "constant" else 2
    pads = [draw(st.tuples(st.integers(0, most), st.integers(0, most))) for _ in here.size]
    here.size = tuple(n + sum(p) for n, p in zip(here.size, pads, strict=True))
    return Layer("pad", {"mode": mode, "pads": pads})


def _up(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    if prod(here.size) > 64:
        return None
    here.size = tuple(2 * n for n in here.size)
    return Layer("up", {"factor": [2] * len(here.size)})


def _transposed(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    if prod(here.size) > 64:
        return None
    kernel, out = [2] * len(here.size), draw(st.integers(1, 2))
    weights = _sparse(rng, (here.channels, out, *kernel), here, here.channels)
    bias = rng.integers(-1, 2, out).astype(np.float32)
    _bounded(here, weights, axis=1)
    here.channels, here.size = out, tuple(2 * n for n in here.size)
    return Layer("transposed", {"stride": kernel}, (weights, bias))


def _skip(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    """Draw a padded convolution that is added to what it takes."""
    kernel = [min(3, n) if n % 2 or n > 2 else 1 for n in here.size]
    kernel = [k if k % 2 else 1 for k in kernel]
    shape = (here.channels, here.channels, *kernel)
    weights = _sparse(rng, shape, here, prod(shape[1:]))
    bias = rng.integers(-1, 2, here.channels).astype(np.float32)
    before = here.bound
    _bounded(here, weights)
    here.bound += before
    return Layer("skip", {"pads": [(k // 2, k // 2) for k in kernel]}, (weights, bias))


def _branches(draw: Any, here: Here, rng: np.random.Generator) -> Layer | None:
    """Draw a map beside its largest neighbours, as channels."""
    if here.channels > 3:
        return None
    here.channels *= 2
    return Layer("branches", {"kernel": [3 if n > 2 else 1 for n in here.size]})


MAKERS: dict[str, Any] = {
    "conv": _conv,
    "max": _pool("max"),
    "average": _pool("average"),
    "relu": _relu,
    "norm": _norm,
    "pad": _pad,
    "up": _up,
    "transposed": _transposed,
    "skip": _skip,
    "branches": _branches,
}


def _head(draw: Any, here: Here, rng: np.random.Generator) -> list[Layer]:
    """Draw how a map becomes scores."""
    kind = draw(st.sampled_from(("flatten", "flatten", "last", "largest", "conv")))
    features = here.channels * (1 if kind == "largest" else prod(here.size))
    out = draw(st.integers(1, 3))
    weights = _sparse(rng, (out, features), here, features)
    bias = rng.integers(-1, 2, out).astype(np.float32)
    _bounded(here, weights)
    if kind == "conv":
        weights = weights.reshape(out, here.channels, *here.size)
    layers = [Layer(kind, {}, (weights, bias))]
    if draw(st.booleans()):
        more = _sparse(rng, (2, out), here, out)
        layers += [Layer("relu"), Layer("linear", {}, (more, np.zeros(2, np.float32)))]
    return layers


def pixels(classifier: Classifier, count: int) -> NDArray[np.float32]:
    """Return images of small integers, ``(count, channels, *image)``."""
    shape = (count, classifier.channels, *classifier.image)
    return np.random.default_rng(1).integers(-3, 4, shape).astype(np.float32)
