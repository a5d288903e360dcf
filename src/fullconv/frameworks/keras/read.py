"""Read a Keras model into the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from fullconv.errors import FullconvError, WindowError, first_line
from fullconv.frameworks.keras import (  # noqa: F401 - the families of layers register
    read_maps,
    read_numbers,
    read_shapes,
    read_statistics,
)
from fullconv.frameworks.keras.models import channels_last, functional, image_of
from fullconv.frameworks.keras.reader import Reader
from fullconv.graph import Graph


@dataclass(frozen=True)
class Source:
    """A model in the vocabulary, with what its writer needs beside it.

    Attributes
    ----------
    graph : Graph
        The vocabulary graph; its image is a map, its outputs are native.
    model : keras.Model
        The model itself.
    weights : dict of str to keras.Variable or array
        The parameters behind the graph's constants.
    channels_last : bool
        Whether the model takes images ``(N, H, W, C)``.
    """

    graph: Graph
    model: Any
    weights: dict[str, Any]
    channels_last: bool


def read(model: Any, window: tuple[int, int] | None) -> Source:
    """Return the vocabulary graph of a model with one image input.

    Raises
    ------
    ModelError
        If the model has no single image input, or was never built.
    WindowError
        If the window is missing, or contradicts the model.
    """
    reader, results, last = walk(model, window)
    outputs = [reader.native(result) for result in results]
    return Source(reader.graph(outputs), model, reader.weights, last)


def walk(
    model: Any, window: tuple[int, int] | None, *, stored: bool = False
) -> tuple[Reader, list[Any], bool]:
    """Read every call of a model; return the reader, the results, and whether channels are last.

    ``stored`` says that the model is a converted one, whose maps have no size of their own.
    """
    whole = functional(model)
    last = channels_last(whole)
    shape = image_of(whole, window, last)
    reader = Reader(shape[0], last, stored)
    image = reader.take_image(whole.inputs[0], shape, last)
    try:
        results = reader.walk(whole, [image], "")
    except FullconvError:
        raise
    except Exception as error:
        height, width = shape[1:3] if last else shape[2:4]
        raise WindowError(
            f"convert(window=({height}, {width})): the model does not take images of "
            f"{width}x{height} pixels (width x height): {first_line(error)}. Give the size it was "
            f"trained on."
        ) from None
    return reader, keras.tree.flatten(results), last
