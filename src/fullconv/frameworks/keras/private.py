"""What Keras has no public name for: all of it that fullconv uses stands here.

Tried with Keras 3.7.0, 3.8.0, 3.11.3 and 3.15.1. What has a public name is used by that, elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.models.functional import Functional

__all__ = ["OPERATIONS", "Functional", "LayerScale", "StochasticDepth"]

OPERATIONS = "keras.src.ops."
"""Below this lie the classes of the operations of ``keras.ops``."""

MODELS = ("keras.src.models.functional", "keras.src.models.sequential", "keras.src.models.model")
"""Where files say that models come from."""

LAYERS = "keras.src."
"""Below this lie layers without a public name, such as those of applications."""


def inner_of(layer: keras.Layer) -> Functional | None:
    """Return the graph of calls that a layer consists of, or None."""
    kind = type(layer)
    if isinstance(layer, keras.Sequential) and kind.call is keras.Sequential.call:
        return layer._functional
    if isinstance(layer, Functional) and kind.call is Functional.call:
        return layer
    return None


def call_each(
    whole: Functional,
    inputs: Sequence[keras.KerasTensor],
    call: Callable[[keras.Operation, tuple[Any, ...], dict[str, Any]], Any],
) -> list[keras.KerasTensor]:
    """Go through a model's calls in order, each with its arguments; return the results, flat."""

    def of(operation: keras.Operation) -> Callable[..., Any]:
        return lambda *args, **kwargs: call(operation, args, kwargs)

    return list(keras.tree.flatten(whole._run_through_graph(list(inputs), operation_fn=of)))


def check_input(layer: keras.Layer, x: Any) -> None:
    """Let a layer raise its error where it does not take a tensor."""
    layer._assert_input_compatibility(x)


def shape_when_built(model: keras.Model) -> Any:
    """Return the shapes that a model was built for, by the names of its inputs."""
    return getattr(model, "_build_shapes_dict", None)


def copied_lambda(layer: keras.layers.Lambda, name: str) -> keras.layers.Lambda:
    """Make a Lambda again from the function itself: one in memory is the user's own code."""
    copy = keras.layers.Lambda(layer.function, name=name, arguments=layer.arguments)
    copy._output_shape = layer._output_shape
    return copy
