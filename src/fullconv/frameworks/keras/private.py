"""All private names of Keras that fullconv uses; other modules use public names only.

Tried with Keras 3.7.0, 3.8.0, 3.11.3 and 3.15.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.backend.common import global_state
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE
from keras.src.legacy.saving import saving_utils
from keras.src.models.functional import Functional

__all__ = ["Functional", "LayerScale", "StochasticDepth"]

OPERATIONS = "keras.src.ops."
"""Below this lie the classes of the operations of ``keras.ops``."""

MODELS = ("keras.src.models.functional", "keras.src.models.sequential", "keras.src.models.model")
"""Modules of models, as files name them."""

LAYERS = "keras.src."
"""Below this lie layers without a public name, such as those of applications."""

OWN_LAYERS = "keras.src.layers."
"""Below this lie the layers of Keras itself."""

SUMS = BIT64_TO_BIT32_DTYPE
"""The types in which the PyTorch backend adds numbers of 64 bits."""


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
    """Make each of a model's calls by ``call``, in order; return the results, flat."""

    def of(operation: keras.Operation) -> Callable[..., Any]:
        return lambda *args, **kwargs: call(operation, args, kwargs)

    return list(keras.tree.flatten(whole._run_through_graph(list(inputs), operation_fn=of)))


def check_input(layer: keras.Layer, x: Any) -> None:
    """Let a layer raise its own error if it does not take a tensor."""
    layer._assert_input_compatibility(x)


def shape_when_built(model: keras.Model) -> Any:
    """Return the shapes that a model was built for, by the names of its inputs."""
    return getattr(model, "_build_shapes_dict", None)


def call_of(operation: keras.Operation) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Return the arguments and the results of the last call of an operation."""
    node = operation._inbound_nodes[-1]
    return node.arguments.args, node.arguments.kwargs, node.outputs


def operations_of(whole: Functional) -> list[keras.Operation]:
    """Return the operations of a graph, in order, one entry for each."""
    return list(whole._operations)


def traced(call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run a call of the backend on tensors without numbers."""
    return keras.src.backend.compute_output_spec(call, *args, **kwargs)


@contextlib.contextmanager
def waiting_variables() -> Iterator[list[Any]]:
    """Collect the variables that are made, and leave them without numbers."""
    name = "uninitialized_variables"
    before = global_state.get_global_attribute(name)
    variables: list[Any] = []
    global_state.set_global_attribute(name, variables)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield variables
    finally:
        global_state.set_global_attribute(name, before or [])


def model_of_old_config(config: Any) -> Any:
    """Make the model of an older ``.h5``, whose layers Keras finds by a table of its own."""
    return saving_utils.model_from_config(config)


def copied_lambda(layer: keras.layers.Lambda, name: str) -> keras.layers.Lambda:
    """Make a Lambda again from the function itself: one in memory is the user's own code."""
    copy = keras.layers.Lambda(layer.function, name=name, arguments=layer.arguments)
    copy._output_shape = layer._output_shape
    return copy
