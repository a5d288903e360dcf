"""A drawn network as a Keras model, with the weights of its other forms.

Keras is imported here, once, on the backend of PyTorch where nothing else is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from networks.specs import (  # noqa: E402
    AdaptivePool,
    AvgPool,
    BatchNorm,
    ChannelsLastLinear,
    Concat,
    Conv,
    ConvTranspose,
    Dropout,
    Flatten,
    Gate,
    GlobalPool,
    Gram,
    Linear,
    Map,
    MaxPool,
    Merge,
    Network,
    Pad,
    Pointwise,
    PoolOneAxis,
    PRelu,
    Scale,
    Shuffle,
    Slice,
    Spec,
    Split,
    Squeeze,
    Twice,
    Unshared,
    Upsample,
    same_pads,
)
from networks.weights import Weights, pixels  # noqa: E402

layers, ops = keras.layers, keras.ops
SIGNS = (-1, 0, 1)
QUIETLY = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
"""Keras 3.15 asks PyTorch's tensors for arrays in a way that NumPy 2.4 warns of."""

FORMATS = ("channels_last", "channels_first")


class NotInKerasError(Exception):
    """Keras has no such layer."""


def keras_form(network: Network, data_format: str = "channels_last") -> Any:
    """Return the network as a functional model."""
    return Form(network, data_format).model()


def keras_classifier(model: Any) -> Callable[[Any], Any]:
    """Return a function that forwards crops in the model's own order."""
    return lambda crops: model.predict_on_batch(np.ascontiguousarray(crops))


def keras_images(network: Network, count: int, size: tuple[int, int], data_format: str) -> Any:
    """Return random images in the model's own order."""
    images = pixels(network, count, size, seed=1)
    return images.transpose(0, 2, 3, 1) if data_format == "channels_last" else images


class Form:
    """The state of one writing."""

    def __init__(self, network: Network, data_format: str) -> None:
        self.network, self.format = network, data_format
        self.last = data_format == "channels_last"
        self.axis = -1 if self.last else 1
        self.made: dict[Any, Any] = {}

    def model(self) -> Any:
        net = self.network
        if net.double or net.batch is not None:
            raise NotInKerasError("float64 or a fixed batch")
        weights = Weights(net.seed)
        shape = (*net.window, net.channels) if self.last else (net.channels, *net.window)
        image = keras.Input(shape, name="image")
        x, at, tapped = image, net.input, []
        for index, layer in enumerate(net.trunk):
            x = self.form(layer, x, at, weights.at(index))
            at = layer.after(at)
            if index in net.taps:
                tapped.append(self.form(Flatten(), x, at, weights))
        x = self.form(net.head, x, at, weights.at("head"))
        if tapped:
            x = layers.Concatenate()([x, *tapped])
        vector, before = net.collected(), x
        for index, layer in enumerate(net.tail):
            before, x = x, self.form(layer, x, vector, weights.at(f"tail{index}"))
            vector = layer.after(vector)
        outputs = {"array": x, "tuple": (x, before), "list": [x, before]}
        return keras.Model(
            image, outputs.get(net.outputs, {"scores": x, "features": before}), name="classifier"
        )

    def form(self, spec: Spec, x: Any, here: Map, weights: Weights) -> Any:
        """Return what one layer makes of a tensor."""
        method = getattr(self, f"_{type(spec).__name__.lower()}", None)
        if method is None:
            raise NotInKerasError(repr(spec))
        return method(spec, x, here, weights)

    def _layer(self, weights: Weights, layer: Any, x: Any, *numbers: Any) -> Any:
        """Call a layer with weights; where it was called before, the same one."""
        key = type(layer).__name__, weights.place
        first = key not in self.made
        layer = self.made.setdefault(key, layer)
        x = layer(x)
        if first:
            layer.set_weights([np.asarray(n, np.float32) for n in numbers])
        return x

    def _all(self, specs: Any, x: Any, here: Map, weights: Weights) -> Any:
        for index, spec in enumerate(specs):
            x = self.form(spec, x, here, weights.at(index))
            here = spec.after(here)
        return x

    def _cut(self, x: Any, rows: slice, columns: slice) -> Any:
        """Return ``x[rows, columns]`` of a map."""
        if self.last:
            return x[:, rows, columns]
        return x[:, :, rows, columns]

    def _conv(self, spec: Conv, x: Any, here: Map, weights: Weights) -> Any:
        if spec.mode != "zeros" or spec.style == "functional" or spec.padding == "SAME_LOWER":
            raise NotInKerasError(repr(spec))
        shape = (spec.out, here.channels // spec.groups, *spec.kernel)
        filters = weights.filters("weight", *shape)
        bias = [weights.pick("bias", SIGNS, spec.out)] if spec.bias else []
        padding = "valid"
        if spec.padding in ("same", "SAME_UPPER"):
            padding = "same"
        elif not isinstance(spec.padding, str) and any(spec.padding):
            same = same_pads(here.extent, spec.kernel, spec.stride, spec.dilation, lower=False)
            if spec.padding == same:
                padding = "same"
            else:
                x = self._zeros(x, spec.padding)
        if spec.groups == here.channels > 1 and spec.stride[0] == spec.stride[1]:
            depthwise = layers.DepthwiseConv2D(
                spec.kernel,
                spec.stride,
                padding,
                spec.out // here.channels,
                data_format=self.format,
                dilation_rate=spec.dilation,
                use_bias=spec.bias,
            )
            grouped = filters.reshape(here.channels, -1, *spec.kernel).transpose(2, 3, 0, 1)
            return self._layer(weights, depthwise, x, grouped, *bias)
        if max(spec.stride) > 1 and max(spec.dilation) > 1:
            raise NotInKerasError("stride and dilation at once")
        conv = layers.Conv2D(
            spec.out,
            spec.kernel,
            spec.stride,
            padding,
            self.format,
            spec.dilation,
            spec.groups,
            use_bias=spec.bias,
        )
        return self._layer(weights, conv, x, filters.transpose(2, 3, 1, 0), *bias)

    def _zeros(self, x: Any, amounts: Any) -> Any:
        top, left, bottom, right = amounts
        return layers.ZeroPadding2D(((top, bottom), (left, right)), self.format)(x)

    def _convtranspose(self, spec: ConvTranspose, x: Any, here: Map, weights: Weights) -> Any:
        plain = (spec.padding, spec.more, spec.dilation, spec.groups) == ((0, 0),) * 2 + ((1, 1), 1)
        if not plain:
            raise NotInKerasError(repr(spec))
        filters = weights.pick("weight", SIGNS, here.channels, spec.out, *spec.kernel)
        bias = [weights.pick("bias", SIGNS, spec.out)] if spec.bias else []
        conv = layers.Conv2DTranspose(
            spec.out, spec.kernel, spec.stride, data_format=self.format, use_bias=spec.bias
        )
        return self._layer(weights, conv, x, filters.transpose(2, 3, 1, 0), *bias)

    def _upsample(self, spec: Upsample, x: Any, here: Map, weights: Weights) -> Any:
        return layers.UpSampling2D(spec.factor, self.format)(x)

    def _pad(self, spec: Pad, x: Any, here: Map, weights: Weights) -> Any:
        if spec.mode != "zeros" or min(spec.amounts) < 0:
            raise NotInKerasError(repr(spec))
        return self._zeros(x, spec.amounts)

    def _pool(self, kind: Any, spec: Any, x: Any) -> Any:
        if spec.ceil or getattr(spec, "dilation", (1, 1)) != (1, 1) or any(spec.padding):
            raise NotInKerasError(repr(spec))
        return kind(spec.kernel, spec.stride, data_format=self.format)(x)

    def _maxpool(self, spec: MaxPool, x: Any, here: Map, weights: Weights) -> Any:
        return self._pool(layers.MaxPooling2D, spec, x)

    def _avgpool(self, spec: AvgPool, x: Any, here: Map, weights: Weights) -> Any:
        if spec.divisor is not None:
            raise NotInKerasError(repr(spec))
        return self._pool(layers.AveragePooling2D, spec, x)

    def _adaptivepool(self, spec: AdaptivePool, x: Any, here: Map, weights: Weights) -> Any:
        size = tuple(n // bins for n, bins in zip(here.extent, spec.bins, strict=True))
        if any(n % bins for n, bins in zip(here.extent, spec.bins, strict=True)):
            raise NotInKerasError("uneven bins")
        kind = layers.AveragePooling2D if spec.kind == "average" else layers.MaxPooling2D
        return kind(size, size, data_format=self.format)(x)

    def _batchnorm(self, spec: BatchNorm, x: Any, here: Map, weights: Weights) -> Any:
        count, epsilon = here.channels, float(np.float32(spec.epsilon))
        numbers = [weights.pick("mean", SIGNS, count)]
        numbers.append(weights.pick("deviation", (0.5, 1, 2), count) ** 2 - np.float32(epsilon))
        if spec.affine:
            shift = weights.pick("shift", SIGNS, count)
            numbers[:0] = [weights.pick("scale", (-1, 1, 2), count), shift]
        norm = layers.BatchNormalization(
            1 if here.vector else self.axis,
            epsilon=epsilon,
            center=spec.affine,
            scale=spec.affine,
        )
        return self._layer(weights, norm, x, *numbers)

    def _pointwise(self, spec: Pointwise, x: Any, here: Map, weights: Weights) -> Any:
        kinds: dict[str, Callable[[], Any]] = {
            "relu": lambda: layers.ReLU()(x),
            "leaky": lambda: layers.LeakyReLU(0.5)(x),
            "hardtanh": lambda: ops.clip(x, -3, 3),
            "wide": lambda: ops.clip(x, -31, 31),
            "widest": lambda: ops.clip(x, -1023, 1023),
            "relu6": lambda: layers.Activation("relu6")(x),
            "abs": lambda: ops.abs(x),
            "sign": lambda: ops.sign(x),
            "double": lambda: layers.Rescaling(2)(x),
            "shift": lambda: x + 1,
            "mirror": lambda: 1 - x,
        }
        return kinds[spec.kind]()

    def _prelu(self, spec: PRelu, x: Any, here: Map, weights: Weights) -> Any:
        slope = weights.pick("weight", (-1, 0, 0.5, 2), here.channels if spec.per_channel else 1)
        if here.vector:
            return self._layer(weights, layers.PReLU(), x, slope)
        axes = [1, 2, 3] if not spec.per_channel else [1, 2] if self.last else [2, 3]
        shape = (1, 1, -1) if self.last else (-1, 1, 1)
        return self._layer(weights, layers.PReLU(shared_axes=axes), x, slope.reshape(shape))

    def _scale(self, spec: Scale, x: Any, here: Map, weights: Weights) -> Any:
        shape = (1, here.channels, 1, 1)
        scale, shift = (
            weights.pick("scale", (-1, 1, 2), *shape),
            weights.pick("shift", SIGNS, *shape),
        )
        if self.last:
            scale, shift = scale.transpose(0, 2, 3, 1), shift.transpose(0, 2, 3, 1)
        return ops.add(ops.multiply(x, scale), shift)

    def _dropout(self, spec: Dropout, x: Any, here: Map, weights: Weights) -> Any:
        if spec.style == "channels":
            return layers.SpatialDropout2D(0.5, data_format=self.format)(x)
        return layers.Dropout(0.5)(x)

    def _slice(self, spec: Slice, x: Any, here: Map, weights: Weights) -> Any:
        return self._cut(x, slice(*spec.rows), slice(*spec.columns))

    def _shuffle(self, spec: Shuffle, x: Any, here: Map, weights: Weights) -> Any:
        g, c, cells = spec.groups, here.channels, here.extent
        if self.last:
            x = layers.Permute((1, 2, 4, 3))(layers.Reshape((*cells, g, c // g))(x))
            return layers.Reshape((*cells, c))(x)
        x = layers.Permute((2, 1, 3, 4))(layers.Reshape((g, c // g, *cells))(x))
        return layers.Reshape((c, *cells))(x)

    def _channelslastlinear(
        self, spec: ChannelsLastLinear, x: Any, here: Map, weights: Weights
    ) -> Any:
        weight = weights.pick("weight", SIGNS, spec.out, here.channels)
        x = x if self.last else layers.Permute((2, 3, 1))(x)
        bias = weights.pick("bias", SIGNS, spec.out)
        x = self._layer(weights, layers.Dense(spec.out), x, weight.T, bias)
        return x if self.last else layers.Permute((3, 1, 2))(x)

    def _body(self, specs: Any, x: Any, here: Map, weights: Weights, to: Map) -> Any:
        made = here
        for spec in specs:
            made = spec.after(made)
        x = self._all(specs, x, here, weights)
        if made.extent == to.extent:
            return x
        (h, w), (rows, columns) = made.extent, to.extent
        top, left = (h - rows) // 2, (w - columns) // 2
        edges = ((top, h - rows - top), (left, w - columns - left))
        return layers.Cropping2D(edges, self.format)(x)

    def _merge(self, spec: Merge, x: Any, here: Map, weights: Weights) -> Any:
        to = spec.after(here)
        kinds = {"add": layers.Add, "subtract": layers.Subtract}
        kinds |= {"multiply": layers.Multiply, "maximum": layers.Maximum}
        kept = self._body(spec.shortcut, x, here, weights.at("shortcut"), to)
        return kinds[spec.kind]()([kept, self._body(spec.body, x, here, weights, to)])

    def _concat(self, spec: Concat, x: Any, here: Map, weights: Weights) -> Any:
        to = spec.after(here)
        made = [
            self._body(body, x, here, weights.at(f"body{k}"), to)
            for k, body in enumerate(spec.bodies)
        ]
        return layers.Concatenate(self.axis)(made)

    def _split(self, spec: Split, x: Any, here: Map, weights: Weights) -> Any:
        to, size = spec.after(here), -(-here.channels // 2)
        a, b = (x[..., :size], x[..., size:]) if self.last else (x[:, :size], x[:, size:])
        halves = [replace(here, channels=n) for n in (size, here.channels - size)]
        made = [
            self._body(spec.first, a, halves[0], weights.at("first"), to),
            self._body(spec.second, b, halves[1], weights.at("second"), to),
        ]
        return layers.Concatenate(self.axis)(made)

    def _twice(self, spec: Twice, x: Any, here: Map, weights: Weights) -> Any:
        x = self.form(spec.layer, x, here, weights)
        return self.form(spec.layer, x, spec.layer.after(here), weights)

    def _gate(self, spec: Gate, x: Any, here: Map, weights: Weights) -> Any:
        most = layers.GlobalMaxPooling2D(self.format, keepdims=True)(x)
        return layers.Multiply()([x, ops.clip(most, -1, 2)])

    def _unshared(self, spec: Unshared, x: Any, here: Map, weights: Weights) -> Any:
        columns = 2 if self.last else 3
        match spec.kind:
            case "cumsum":
                return ops.cumsum(x, axis=columns)
            case "flip":
                return ops.flip(x, axis=columns)
            case "bilinear":
                return layers.UpSampling2D(2, self.format, "bilinear")(x)
            case "transpose":
                return layers.Permute((2, 1, 3) if self.last else (1, 3, 2))(x)
        raise NotInKerasError(repr(spec))

    def _flatten(self, spec: Flatten, x: Any, here: Map, weights: Weights) -> Any:
        if spec.order == "HWC":
            return layers.Flatten(self.format)(x)
        held = "HWC" if self.last else "CHW"
        if spec.order != held:
            x = layers.Permute(tuple(1 + held.index(axis) for axis in spec.order))(x)
        return layers.Reshape((-1,))(x)

    def _globalpool(self, spec: GlobalPool, x: Any, here: Map, weights: Weights) -> Any:
        kinds = {"mean": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
        if spec.kind == "sum":
            return ops.sum(x, axis=(1, 2) if self.last else (2, 3))
        return kinds[spec.kind](self.format)(x)

    def _squeeze(self, spec: Squeeze, x: Any, here: Map, weights: Weights) -> Any:
        if spec.style == "index":
            return x[:, 0, 0] if self.last else x[:, :, 0, 0]
        axes = (1, 2) if self.last else (2, 3)
        return ops.squeeze(x, axes)

    def _pooloneaxis(self, spec: PoolOneAxis, x: Any, here: Map, weights: Weights) -> Any:
        axis = "rows columns".split().index(spec.axis) + (1 if self.last else 2)
        x = ops.max(x, axis=axis)
        return layers.Reshape((-1,))(layers.Permute((2, 1))(x) if self.last else x)

    def _gram(self, spec: Gram, x: Any, here: Map, weights: Weights) -> Any:
        if self.last:
            x = layers.Permute((3, 1, 2))(x)
        flat = layers.Reshape((here.channels, here.cells))(x)
        return layers.Reshape((-1,))(ops.matmul(flat, ops.transpose(flat, (0, 2, 1))))

    def _linear(self, spec: Linear, x: Any, here: Map, weights: Weights) -> Any:
        weight = weights.pick("weight", (-2, -1, 0, 1, 2), spec.out, here.channels)
        bias = [weights.pick("bias", SIGNS, spec.out)] if spec.bias else []
        return self._layer(weights, layers.Dense(spec.out, use_bias=spec.bias), x, weight.T, *bias)
