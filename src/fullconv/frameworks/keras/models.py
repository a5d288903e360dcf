"""The layers of a Keras model, and the image that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import keras

from fullconv.conversion.requested import window_missing
from fullconv.errors import ModelError, WindowError
from fullconv.frameworks.keras.private import Functional, inner_of, shape_when_built
from fullconv.geometry.grid import NUMBERS, Sizes
from fullconv.geometry.images import LETTERS
from fullconv.wording import measured, names


def functional(model: keras.Model) -> Functional:
    """Return a model's graph of calls; that of a subclass of `keras.Model` has a single call."""
    inner = inner_of(model)
    if inner is not None:
        return inner
    if isinstance(model, keras.Sequential) or not model.built:
        raise ModelError(
            f"convert: the Keras model {model.name!r} was never built, so its image's channels are "
            f"not known; begin it with keras.Input((height, width, channels)), or call it once."
        )
    shape = getattr(model, "input_shape", None) or shape_when_built(model)
    if isinstance(shape, dict):
        shape = next(iter(shape.values()), None)
    if shape is None or not all(n is None or isinstance(n, int) for n in shape):
        raise ModelError(
            f"convert: the Keras model {model.name!r} ({type(model).__name__}) does not say what "
            f"image it takes; wrap it: keras.Model(inputs, model(inputs)) with keras.Input."
        )
    inputs = keras.Input(batch_shape=shape)
    return Functional(inputs, model(inputs))


def leaves(whole: Functional, path: str = "") -> Iterator[tuple[str, keras.Operation]]:
    """Yield every layer and operation of a model with its path; nested models are inlined."""
    for operation in whole.operations:
        inner = inner_of(operation)
        if inner is not None:
            yield from leaves(inner, f"{path}{operation.name}/")
        elif not isinstance(operation, keras.layers.InputLayer):
            yield f"{path}{operation.name}", operation


def input_name(whole: Functional) -> str:
    """Return the name of a model's one input."""
    layers = (layer for layer in whole.operations if isinstance(layer, keras.layers.InputLayer))
    return str(next(layers).name)


def channels_last(whole: Functional) -> bool:
    """Return whether a model takes its channels last, by its first layer that states an order."""
    formats = [
        (isinstance(layer, keras.layers.Flatten), layer.data_format)
        for _, layer in leaves(whole)
        if getattr(layer, "data_format", None) is not None
    ]
    # The order of a Flatten counts only where no other layer states one.
    formats.sort(key=lambda entry: entry[0])
    data_format: str = formats[0][1] if formats else keras.config.image_data_format()
    return data_format == "channels_last"


def takes_last(model: keras.Model) -> bool:
    """Return whether a classifier, or a converted model, takes its channels last.

    In a converted model, the sizes are free and the channels are fixed.
    """
    _, *sizes = functional(model).inputs[0].shape
    free = [size is None for size in sizes]
    if len(sizes) > 1 and free[0] != free[-1] and sum(free) == len(free) - 1:
        return free[0]
    return channels_last(functional(model))


@dataclass(frozen=True)
class Native:
    """The image that a model takes, at its native size.

    Attributes
    ----------
    shape : tuple of int
        Its shape in the order of the model; its batch is one, or the batch that the model fixes.
    window : tuple of int
        Its size along every axis.
    last : bool
        Whether the model takes its channels last.
    is_map : bool
        Whether the image has an axis of channels, and it stands last, behind axes of cells.
    """

    shape: tuple[int, ...]
    window: Sizes
    last: bool
    is_map: bool


def native(whole: Functional, window: Sizes | None) -> Native:
    """Return the image that a model takes, at its native size.

    Raises
    ------
    ModelError
        If the model has no single image input, or does not say how many channels it has.
    WindowError
        If the window is missing, or contradicts the model.
    """
    last, shape = channels_last(whole), _only_shape(whole)
    batch, *rest = shape
    window = _window(shape, window, last)
    place = len(rest) - 1 if last else 0
    channels = [rest.pop(place)] if len(rest) != len(window) else []
    if None in channels:
        raise ModelError(
            "convert: the model does not say how many channels its image has; give its "
            "keras.Input a shape with a number of channels."
        )
    own = tuple(w if n is None else n for n, w in zip(rest, window, strict=False))
    if rest and own != window:
        todo = f"leave the window out, or give {own}"
        if last and shape[2:] == window and len(window) < max(NUMBERS):
            todo += f"; where its channels come first, give {shape[1:]}, a window along all axes"
        raise WindowError(
            f"convert(window={window}): the model takes {measured(own)} and no other; {todo}."
        )
    sizes = window if rest else ()  # a vector of features has none
    whole_shape = (*sizes, *channels) if last else (*channels, *sizes)
    is_map = last and bool(rest) and bool(channels)
    return Native((batch or 1, *whole_shape), window, last, is_map)


def _only_shape(whole: Functional) -> tuple[Any, ...]:
    """Return the shape of the one image input; sizes that are free are None."""
    shapes = [tuple(x.shape) for x in whole.inputs]
    if len(shapes) == 1 and 2 <= len(shapes[0]) <= 5:
        return shapes[0]
    named = ", ".join(f"{x.name} {tuple(x.shape)}" for x in whole.inputs)
    raise ModelError(
        f"convert: expected a model with one image input {image_axes(channels_last(whole))}; the "
        f"model's inputs are {named}. Wrap the classifier in a model that takes the image alone."
    )


def image_axes(last: bool, dimensions: int = 2, channels: int | str = "C") -> str:
    """Return the axes of images, as messages name them: ``(N, H, W, C)``."""
    sizes = ", ".join(LETTERS[dimensions])
    return f"(N, {sizes}, {channels})" if last else f"(N, {channels}, {sizes})"


def _window(shape: tuple[Any, ...], window: Sizes | None, last: bool) -> Sizes:
    """Return the native size along every axis, which the model may fix."""
    rank, vector = len(shape), len(shape) == 2
    if window is None:
        sizes = (1, 1) if vector else shape[1:-1] if last else shape[2:]
        if None in sizes:
            raise window_missing("the model", len(sizes))
        return tuple(sizes)
    pixel = vector and len(window) > 1 and prod(window) == 1
    if rank - len(window) not in (1, 2) and not pixel:
        expected = max(1, rank - 2)
        less = f"; or {rank - 1} where none of its axes is one of channels" if rank < 5 else ""
        raise WindowError(
            f"convert(window={window}): expected {NUMBERS[expected]}, {names(expected)}, for the "
            f"model takes {shape}, of {rank} axes{less}."
        )
    return window
