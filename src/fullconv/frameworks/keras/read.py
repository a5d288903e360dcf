"""Read a Keras model into the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from fullconv.errors import FullconvError, WindowError, first_line
from fullconv.frameworks.keras import (  # noqa: F401 - the families of layers register
    read_maps,
    read_numbers,
    read_operations,
    read_shapes,
)
from fullconv.frameworks.keras.calls import Tensor, Weight
from fullconv.frameworks.keras.models import functional, native
from fullconv.frameworks.keras.reader import Reader
from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Graph
from fullconv.wording import measured


@dataclass(frozen=True)
class ModelGraph:
    """A model in the vocabulary, with everything else that its writer needs.

    Attributes
    ----------
    graph : Graph
        The vocabulary graph; its image is a map, its outputs are native.
    model : keras.Model
        The model itself.
    weights : dict of str to keras.Variable or array
        The parameters behind the graph's constants.
    channels_last : bool
        Whether the model takes its channels last: images ``(N, H, W, C)``.
    """

    graph: Graph
    model: keras.Model
    weights: dict[str, Weight]
    channels_last: bool


def read(model: keras.Model, window: Sizes | None) -> ModelGraph:
    """Return the vocabulary graph of a model with one image input.

    Raises
    ------
    ModelError
        If the model has no single image input, or was never built.
    WindowError
        If the window is missing, or contradicts the model.
    """
    reader, results = walk(model, window)
    outputs = [reader.native(result) for result in results]
    return ModelGraph(reader.graph(outputs), model, reader.weights, reader.channels_last)


def walk(
    model: keras.Model, window: Sizes | None, *, stored: bool = False
) -> tuple[Reader, list[Tensor]]:
    """Read every call of a model; return the reader and the results.

    ``stored`` says that the model is a converted one, whose maps have no fixed size.
    """
    whole = functional(model)
    fixed = native(whole, window)
    reader = Reader(fixed.shape[0], fixed.last, stored, fixed.window)
    image = reader.take_image(whole, fixed)
    try:
        results = reader.walk(whole, [image], "")
    except FullconvError:
        raise
    except Exception as error:
        raise WindowError(
            f"convert(window={fixed.window}): the model does not take {measured(fixed.window)}: "
            f"{first_line(error)}. Give the size it was trained on."
        ) from None
    return reader, keras.tree.flatten(results)
