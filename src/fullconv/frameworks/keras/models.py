"""What a Keras model consists of, and what image it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models.functional import Functional

from fullconv.errors import ModelError, WindowError


def functional(model: Any) -> Any:
    """Return the graph of calls behind a model; of a subclass of `keras.Model`, one of one call."""
    found = inner_of(model)
    if found is not None:
        return found
    if isinstance(model, keras.Sequential) or not model.built:
        raise ModelError(
            f"convert: the Keras model {model.name!r} was never built, so its image's channels are "
            f"not known; begin it with keras.Input((height, width, channels)), or call it once."
        )
    shape = getattr(model, "input_shape", None) or getattr(model, "_build_shapes_dict", None)
    if isinstance(shape, dict):
        shape = next(iter(shape.values()), None)
    if shape is None or not all(n is None or isinstance(n, int) for n in shape):
        raise ModelError(
            f"convert: the Keras model {model.name!r} ({type(model).__name__}) does not say what "
            f"image it takes; wrap it: keras.Model(inputs, model(inputs)) with keras.Input."
        )
    inputs = keras.Input(batch_shape=shape)
    return Functional(inputs, model(inputs))


def inner_of(layer: Any) -> Any:
    """Return the graph of calls that a layer consists of, or None."""
    kind = type(layer)
    if isinstance(layer, keras.Sequential) and kind.call is keras.Sequential.call:
        return layer._functional
    if isinstance(layer, Functional) and kind.call is Functional.call:
        return layer
    return None


def leaves(whole: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every layer and operation inside a model, nested ones inlined, with its path."""
    for operation in whole.operations:
        inner = inner_of(operation)
        if inner is not None:
            yield from leaves(inner, f"{path}{operation.name}/")
        elif not isinstance(operation, keras.layers.InputLayer):
            yield f"{path}{operation.name}", operation


def channels_last(whole: Any) -> bool:
    """Return whether a model takes its channels last: what its first layer with an opinion says."""
    formats = [
        (isinstance(layer, keras.layers.Flatten), layer.data_format)
        for _, layer in leaves(whole)
        if getattr(layer, "data_format", None) is not None
    ]
    # Where a map is flattened says less than where it is convolved.
    formats.sort(key=lambda entry: entry[0])
    said: str = formats[0][1] if formats else keras.config.image_data_format()
    return said == "channels_last"


def image_of(whole: Any, window: tuple[int, int] | None, last: bool) -> tuple[int, int, int, int]:
    """Return the native shape of a model's image: one, or as many as it takes and no other number.

    Raises
    ------
    ModelError
        If the model has no single image input, or does not say how many channels it has.
    WindowError
        If the window is missing, or contradicts the model.
    """
    shapes = [tuple(x.shape) for x in whole.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        named = ", ".join(f"{x.name} {tuple(x.shape)}" for x in whole.inputs)
        order = "(N, H, W, C)" if last else "(N, C, H, W)"
        raise ModelError(
            f"convert: expected a model with one image input {order}; the model's inputs are "
            f"{named}. Wrap the classifier in a model that takes the image alone."
        )
    batch, *sizes = shapes[0]
    channels = sizes.pop(-1 if last else 0)
    height, width = sizes
    if channels is None:
        raise ModelError(
            "convert: the model does not say how many channels its image has; give its "
            "keras.Input a shape with a number of channels."
        )
    if window is None and None in (height, width):
        raise WindowError(
            "convert: the model leaves height and width free, so the window it was trained on "
            "must be given: window=(height, width), or --window WIDTHxHEIGHT."
        )
    h, w = window or (int(height), int(width))
    if (height or h, width or w) != (h, w):
        raise WindowError(
            f"convert(window={window}): the model takes images of {width}x{height} pixels "
            f"(width x height) and no other; leave the window out, or give ({height}, {width})."
        )
    shape = (h, w, channels) if last else (channels, h, w)
    return batch or 1, *shape
