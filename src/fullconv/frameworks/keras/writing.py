"""One writing of a lifted network: its values, its names, and layers that are made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from fullconv.frameworks import writing
from fullconv.frameworks.keras.calls import Array, Tensor, numbers
from fullconv.frameworks.keras.kernels import uses_of
from fullconv.frameworks.keras.layers import OfWindows, OnMaps
from fullconv.frameworks.keras.models import functional, leaves
from fullconv.frameworks.keras.read import ModelGraph
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph, Node, Recipe
from fullconv.graph.table import OperationTable

layers = keras.layers


Weights = Callable[[], Mapping[str, Array | None]]
"""Arrays for the weights of a layer, by their names; None for those that it lacks."""


class Value(NamedTuple):
    """A value of the graph as a tensor of Keras; ``last``: a map with its channels last."""

    tensor: Tensor
    last: bool


writes = OperationTable["Writing", Value | list[Value]]("a writer")
"""Registers the writer of an operation, which returns one result or several."""


class Writing(writing.Writing[ModelGraph, Value]):
    """The state of one writing.

    Attributes
    ----------
    last : bool
        Whether maps have their channels last.
    uses : dict of Recipe to list of Use
        All calls of all filters.
    policy
        The type of numbers that layers compute in. By default, a layer would cast its input to the
        type that Keras is set to.
    """

    def __init__(self, graph: Graph, source: ModelGraph, grid: Grid) -> None:
        super().__init__(graph, source, grid)
        self.last = source.channels_last
        self.uses = uses_of(graph)
        self._geometry = {"window": grid.window, "step": grid.step}
        self.policy: Any = None
        self._layers: dict[Hashable, keras.Layer] = {}
        self._fused: dict[str, str] = {}
        self._names = _flat_names(functional(source.model))
        self._layer_names = writing.Names(self._names.values())

    # Values.

    def first_input(self, node: Node) -> Value:
        """Return a node's first input."""
        return self.values[node.first or ""]

    def map(self, name: str | None) -> Tensor:
        """Return a value as a map in the model's own order."""
        value = self.values[name or ""]
        if value.last or not self.last:
            return value.tensor
        return self.permuted(
            value.tensor, to_last_order(len(value.tensor.shape)), "to_channels_last"
        )

    def maps(self, node: Node) -> list[Tensor]:
        """Return a node's inputs as maps in the model's own order."""
        return [self.map(name) for name in node.inputs]

    def plain(self, name: str | None) -> Tensor:
        """Return a value with its axes as the graph has them."""
        value = self.values[name or ""]
        if not value.last:
            return value.tensor
        return self.permuted(
            value.tensor, to_map_order(len(value.tensor.shape)), "to_channels_first"
        )

    def permuted(self, x: Tensor, order: Sequence[int], name: str) -> Tensor:
        """Return a tensor with its axes in another order; the batch stays the first."""
        dims = tuple(order[1:])
        return self.layer(("permute", dims), layers.Permute, name, dims)(x)

    def on_map(self, tensor: Tensor) -> Value:
        """Return a tensor as a map in the model's own order."""
        return Value(tensor, self.last)

    def place(self, axis: int, value: Value) -> int:
        """Return the position of a value's axis in its tensor."""
        return to_last_order(len(value.tensor.shape)).index(axis) if value.last else axis

    def array(self, name: str | Recipe) -> Array:
        """Return a parameter, rearranged."""
        recipe = self.graph.constants[name] if isinstance(name, str) else name
        array: Array = recipe.apply(numbers(self.source.weights[recipe.source]))
        return array

    def vector(self, name: str | None) -> Array | None:
        """Return a parameter, or None where it is left out."""
        return None if name is None else self.array(name)

    @property
    def format(self) -> str:
        """The order of maps, as Keras calls it."""
        return "channels_last" if self.last else "channels_first"

    @property
    def channel_axis(self) -> int:
        """The axis of maps that holds their channels."""
        return -1 if self.last else 1

    def fuse(self, node: Node) -> None:
        """Let a later node stand for the written value of its input."""
        self._fused[node.outputs[0]] = node.first or ""

    def fused(self, node: Node) -> Value | None:
        """Return the value of a node that was fused with an earlier one; None for any other."""
        before = self._fused.get(node.outputs[0])
        return None if before is None else self.values[before]

    # Names, and layers.

    def name(self, node: Node, default: str = "") -> str:
        """Return the name of a node's layer in the written model."""
        return self._names.get(node.name) or node.name.replace("/", "_") or default

    def copy(
        self, layer: keras.Operation, remake: Callable[..., keras.Operation]
    ) -> keras.Operation:
        """Return the copy of a layer or operation, or let it be made under the layer's own name."""
        key = "copy", id(layer)
        if key not in self._layers:
            paths = [p for p, target in leaves(functional(self.source.model)) if target is layer]
            name = self.unique(self._names[paths[0]] if paths else layer.name)
            self._layers[key] = remake(layer, name)
        return self._layers[key]

    def unique(self, base: str) -> str:
        """Return a layer name that is not taken; an original name where it is free."""
        return self._layer_names.give(base)

    def layer(
        self,
        key: Hashable,
        kind: Callable[..., keras.Layer],
        name: str,
        /,
        *args: Any,
        **settings: Any,
    ) -> keras.Layer:
        """Return the layer made for a key, or make it: one that is called twice is made once."""
        settings = {"dtype": self.policy, **settings}
        key = key, str(settings["dtype"])
        if key not in self._layers:
            self._layers[key] = kind(*args, name=self.unique(name), **settings)
        return self._layers[key]

    def own(
        self, kind: type[OnMaps], inputs: Any, /, *, node: Node | None = None, **settings: Any
    ) -> Tensor:
        """Call one of our own layers on maps; the same settings are the same layer."""
        if issubclass(kind, OfWindows):
            settings |= self._geometry
        base = self.name(node, kind.__name__.lower()) if node else kind.__name__.lower()
        key = kind, node.name if node else "", tuple(sorted(settings.items()))
        return self.layer(key, kind, base, channels_last=self.last, **settings)(inputs)

    def filled(self, layer: keras.Layer, x: Tensor, weights: Weights, **how: Any) -> Tensor:
        """Call a layer, and give it its weights where it is new."""
        fresh = not layer.built
        result = layer(x, **how)
        for name, array in weights().items() if fresh else ():
            if array is not None:
                variable = getattr(layer, name)
                variable.assign(np.reshape(array, variable.shape))
        return result


def kept_settings(layer: keras.Layer, *names: str) -> dict[str, Any]:
    """Return the settings that a written layer keeps of the original: type, training, penalties."""
    settings = {name: getattr(layer, name, None) for name in names}
    return {"trainable": layer.trainable, "dtype": layer.dtype_policy, **settings}


def _flat_names(whole: keras.Model) -> dict[str, str]:
    """Return the name of every layer in a flat model, by its path; the path where it is taken."""
    paths = [path for path, _ in leaves(whole)]
    own_names = [path.rpartition("/")[2] for path in paths]
    return {
        path: name if own_names.count(name) == 1 else path.replace("/", "_")
        for path, name in zip(paths, own_names, strict=True)
    }
