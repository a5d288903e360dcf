"""The networks of `networks.axes` as Keras models."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from keras_models import keras, layers, ops
from networks.axes import Classifier, Layer


def keras_form(classifier: Classifier, data_format: str) -> Any:
    """Return the classifier as a functional model."""
    last = data_format == "channels_last"
    size, channels = classifier.window, (classifier.channels,)
    image = keras.Input((*size, *channels) if last else (*channels, *size), name="image")
    # A padding of nothing: some layer must say where the channels stand.
    x = getattr(layers, f"ZeroPadding{len(size)}D")(0, data_format=data_format)(image)
    for layer in classifier.layers:
        x = Drawn(layer, len(size), data_format)(x)
    return keras.Model(image, x)


class Drawn:
    """One layer, over so many axes."""

    def __init__(self, layer: Layer, axes: int, data_format: str) -> None:
        self.layer, self.axes, self.format = layer, axes, data_format
        self.last = data_format == "channels_last"
        self.channels = -1 if self.last else 1

    def __call__(self, x: Any) -> Any:
        return getattr(self, f"_{self.layer.kind}")(x, self.layer.numbers)

    def _of_axes(self, name: str) -> Any:
        return getattr(layers, f"{name}{self.axes}D")

    def _with_weights(self, layer: Any, x: Any, *weights: Any) -> Any:
        result = layer(x)
        layer.set_weights([np.asarray(weight) for weight in weights])
        return result

    def _kernel(self) -> tuple[Any, Any]:
        weight, bias = self.layer.weights
        return weight.transpose(*range(2, weight.ndim), 1, 0), bias

    def _padded(self, x: Any, pads: Any) -> Any:
        if not any(map(any, pads)):
            return x
        amounts = tuple(map(tuple, pads))
        amounts = amounts if self.axes > 1 else amounts[0]
        return self._of_axes("ZeroPadding")(amounts, data_format=self.format)(x)

    def _conv(self, x: Any, n: dict[str, Any]) -> Any:
        kernel, bias = self._kernel()
        out, size, ones = kernel.shape[-1], kernel.shape[: self.axes], (1,) * self.axes
        if "stride" not in n:  # the head: a convolution as large as the map
            whole = self._of_axes("Conv")(out, size, data_format=self.format)
            return layers.Reshape((out,))(self._with_weights(whole, x, kernel, bias))
        # Keras does not stride and dilate at once; cells are left out behind the dilation.
        both = max(n["stride"]) > 1 and max(n["dilation"]) > 1
        conv = self._of_axes("Conv")(
            out,
            size,
            ones if both else tuple(n["stride"]),
            data_format=self.format,
            dilation_rate=tuple(n["dilation"]),
            groups=n["groups"],
        )
        x = self._with_weights(conv, self._padded(x, n["pads"]), kernel, bias)
        every = [slice(None, None, step) for step in n["stride"]]
        first = [slice(None)] * (1 if self.last else 2)
        return x[(*first, *every)] if both else x

    def _transposed(self, x: Any, n: dict[str, Any]) -> Any:
        kernel, bias = self._kernel()
        kind = getattr(layers, f"Conv{self.axes}DTranspose")
        size, stride = kernel.shape[: self.axes], tuple(n["stride"])
        conv = kind(kernel.shape[-2], size, stride, data_format=self.format)
        return self._with_weights(conv, x, kernel, bias)

    def _pool(self, kind: str, x: Any, n: dict[str, Any], value: float = 0.0) -> Any:
        if any(map(any, n["pads"])):
            none = (0, 0)
            pads = [none, *n["pads"], none] if self.last else [none, none, *n["pads"]]
            x = ops.pad(x, pads, constant_values=value)
        kernel, stride = tuple(n["kernel"]), tuple(n["stride"])
        return self._of_axes(kind)(kernel, stride, data_format=self.format)(x)

    def _max(self, x: Any, n: dict[str, Any]) -> Any:
        return self._pool("MaxPooling", x, n, float("-inf"))

    def _average(self, x: Any, n: dict[str, Any]) -> Any:
        return self._pool("AveragePooling", x, n)

    def _relu(self, x: Any, n: dict[str, Any]) -> Any:
        return layers.ReLU()(x)

    def _norm(self, x: Any, n: dict[str, Any]) -> Any:
        scale, shift = self.layer.weights
        norm = layers.BatchNormalization(self.channels, epsilon=0.0)
        zeros, ones = np.zeros_like(scale), np.ones_like(scale)
        return self._with_weights(norm, x, scale, shift, zeros, ones)

    def _pad(self, x: Any, n: dict[str, Any]) -> Any:
        # Keras has no other mode, and PyTorch's backend does not reflect over three axes.
        if n["mode"] != "reflect" or self.axes == 3:
            return self._padded(x, n["pads"])
        none = (0, 0)
        pads = [none, *n["pads"], none] if self.last else [none, none, *n["pads"]]
        return ops.pad(x, pads, mode="reflect")

    def _up(self, x: Any, n: dict[str, Any]) -> Any:
        if self.axes > 1:
            return self._of_axes("UpSampling")(tuple(n["factor"]), self.format)(x)
        if self.last:
            return layers.UpSampling1D(2)(x)
        return layers.Permute((2, 1))(layers.UpSampling1D(2)(layers.Permute((2, 1))(x)))

    def _skip(self, x: Any, n: dict[str, Any]) -> Any:
        kernel, bias = self._kernel()
        size = kernel.shape[: self.axes]
        conv = self._of_axes("Conv")(kernel.shape[-1], size, 1, "same", self.format)
        return layers.Add()([x, self._with_weights(conv, x, kernel, bias)])

    def _branches(self, x: Any, n: dict[str, Any]) -> Any:
        pool = self._of_axes("MaxPooling")(tuple(n["kernel"]), 1, "same", self.format)
        return layers.Concatenate(self.channels)([x, pool(x)])

    def _dense(self, x: Any) -> Any:
        weight, bias = self.layer.weights
        return self._with_weights(layers.Dense(len(bias)), x, weight.T, bias)

    def _flatten(self, x: Any, n: dict[str, Any]) -> Any:
        if self.last:
            x = layers.Permute((1 + self.axes, *range(1, 1 + self.axes)))(x)
        return self._dense(layers.Reshape((prod(x.shape[1:]),))(x))

    def _last(self, x: Any, n: dict[str, Any]) -> Any:
        return self._dense(layers.Flatten(self.format)(x))

    def _largest(self, x: Any, n: dict[str, Any]) -> Any:
        return self._dense(self._of_axes("GlobalMaxPooling")(self.format)(x))

    def _linear(self, x: Any, n: dict[str, Any]) -> Any:
        return self._dense(x)
