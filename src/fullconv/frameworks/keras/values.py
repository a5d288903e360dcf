"""What every part of the writer stands on: values, names, and layers that are made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.keras import map_layers
from fullconv.frameworks.keras.calls import TO_NATIVE, Call, filled, numbers
from fullconv.frameworks.keras.convolving import Convolving
from fullconv.frameworks.keras.layers import OfWindows
from fullconv.frameworks.keras.models import functional, leaves
from fullconv.frameworks.keras.read import Source
from fullconv.geometry import Grid
from fullconv.graph import Graph, Node, Recipe
from fullconv.operations import Identity, Operation, Pointwise
from fullconv.table import Table

layers = keras.layers


class Held(NamedTuple):
    """A value of the graph as a tensor of Keras; ``last``: a map with its channels last."""

    tensor: Any
    last: bool


writes = Table[type[Operation], Callable[..., Any]]("a writer")
"""Registers a method of the writer."""


class Values:
    """The state of one writing."""

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source = graph, source
        self.geometry = {"window": grid.window, "step": grid.step}
        self.last = source.channels_last
        self.values: dict[str, Held] = {}
        self.layers: dict[Any, Any] = {}
        self.taken: set[str] = set()
        self.fused: dict[str, str] = {}
        self.policy: Any = None
        self.names = _flat_names(functional(source.model))
        self.convolving = Convolving(self)

    def map(self, name: str | None) -> Any:
        """Return a value as a map in the model's own order."""
        held = self.values[name or ""]
        if held.last or not self.last:
            return held.tensor
        return self.layer(("permute", (2, 3, 1)), layers.Permute, "to_channels_last", (2, 3, 1))(
            held.tensor
        )

    def plain(self, name: str | None) -> Any:
        """Return a value with its axes as the graph has them."""
        held = self.values[name or ""]
        if not held.last:
            return held.tensor
        return self.layer(("permute", (3, 1, 2)), layers.Permute, "to_channels_first", (3, 1, 2))(
            held.tensor
        )

    def on_map(self, tensor: Any) -> Held:
        """Return a tensor as a map in the model's own order."""
        return Held(tensor, self.last)

    def array(self, name: str | Recipe) -> Any:
        """Return a parameter, rearranged."""
        recipe = self.graph.constants[name] if isinstance(name, str) else name
        weight = self.source.weights[recipe.source]
        return recipe.apply(numbers(weight))

    def vector(self, name: str | None) -> Any:
        """Return a parameter, or None where it is left out."""
        return None if name is None else self.array(name)

    @property
    def format(self) -> str:
        """The order of maps, as Keras calls it."""
        return "channels_last" if self.last else "channels_first"

    def layer(self, key: Any, kind: Any, name: str, /, *args: Any, **settings: Any) -> Any:
        """Return the layer made for a key, or make it: what is called twice is one layer."""
        settings = {"dtype": self.policy, **settings}
        key = key, str(settings["dtype"])
        if key not in self.layers:
            self.layers[key] = kind(*args, name=self.unique(name), **settings)
        return self.layers[key]

    def unique(self, base: str) -> str:
        """Return a layer name that is not taken; an original name where it is free."""
        name, number = base, 1
        while name in self.taken or (number > 1 and name in self.names.values()):
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def name(self, node: Node) -> str:
        """Return the name of a node's layer in the written model."""
        return self.names.get(node.name) or node.name.replace("/", "_")

    def own(self, kind: Any, inputs: Any, /, *, node: Node | None = None, **settings: Any) -> Any:
        """Call one of our own layers on maps; the same settings are the same layer."""
        if issubclass(kind, OfWindows):
            settings |= self.geometry
        base = self.name(node) if node is not None and node.name else kind.__name__.lower()
        key = kind, node.name if node is not None else "", tuple(sorted(settings.items()))
        return self.layer(key, kind, base, channels_last=self.last, **settings)(inputs)

    def padded(
        self,
        x: Any,
        pads: Any,
        value: float = 0.0,
        mode: str = "constant",
        channels: tuple[int, int] = (0, 0),
        node: Node | None = None,
    ) -> Any:
        """Return a map with cells added around it."""
        plain = mode == "constant" and value == 0 and channels == (0, 0)
        if plain and min(n for pair in pads for n in pair) >= 0:
            base = self.name(node) if node is not None and node.name else "zero_padding"
            key = "zero_padding", node.name if node is not None else "", pads
            return self.layer(key, layers.ZeroPadding2D, base, pads, self.format)(x)
        settings = {"pads": tuple(pads), "channels": channels, "mode": mode, "value": value}
        return self.own(map_layers.PadCells, x, node=node, **settings)

    def clone(self, layer: Any) -> Any:
        """Return a copy of a layer or operation, weights and all, under its own name."""
        if id(layer) not in self.layers:
            paths = [p for p, held in leaves(functional(self.source.model)) if held is layer]
            name = self.unique(self.names[paths[0]] if paths else layer.name)
            if isinstance(layer, layers.Lambda):
                # Made from the function itself: a Lambda in memory is the user's own code.
                copy = layers.Lambda(layer.function, name=name, arguments=layer.arguments)
                copy._output_shape = layer._output_shape
            else:
                copy = _remade(layer, name)
            self.layers[id(layer)] = copy
        return self.layers[id(layer)]

    def _repeat(self, node: Node) -> Any:
        """Call the original layer's copy on other tensors."""
        call = node.source
        if not isinstance(call, Call):
            raise ModelError(f"convert: no way to write {node.operation!r} in Keras.")
        tensors = [name for name in node.inputs if name in self.values]
        on_maps = not node.per_window or all(self.values[name].last for name in tensors)
        on_maps = on_maps and isinstance(node.operation, Pointwise | Identity)
        take = self.map if on_maps else self.plain
        operands = [
            take(name) if name in self.values else self._operand(name, on_maps)
            for name in node.inputs
        ]
        args, kwargs = filled(call, operands)
        copy = self.clone(call.target)
        fresh = not getattr(copy, "built", True)
        result = copy(*args, **kwargs)
        if fresh:
            fill(copy, call.target)
        last = on_maps and self.last
        return [Held(tensor, last) for tensor in keras.tree.flatten(result)]

    def _operand(self, name: str | None, on_maps: bool) -> Any:
        if name is None:
            return None
        array = self.array(name)
        turned = on_maps and self.last and array.ndim == 4
        return np.transpose(array, TO_NATIVE) if turned else array


def _flat_names(whole: Any) -> dict[str, str]:
    """Return the name in a flat model of every layer's path: its own, or its path where taken."""
    paths = [path for path, _ in leaves(whole)]
    own_names = [path.rpartition("/")[2] for path in paths]
    return {
        path: name if own_names.count(name) == 1 else path.replace("/", "_")
        for path, name in zip(paths, own_names, strict=True)
    }


def kept_settings(layer: Any, *names: str) -> dict[str, Any]:
    """Return what a written layer keeps of the original's settings: type, training, penalties."""
    held = {name: getattr(layer, name, None) for name in names}
    return {"trainable": layer.trainable, "dtype": layer.dtype_policy, **held}


def fill(copy: Any, layer: Any) -> None:
    """Give a layer the weights of another of its kind."""
    for mine, own_ in zip(copy.weights, layer.weights, strict=True):
        mine.assign(numbers(own_))


def _remade(layer: Any, name: str) -> Any:
    """Make a layer or operation again from its own settings, under another name."""
    kind = type(layer)
    try:
        return kind.from_config({**layer.get_config(), "name": name})
    except Exception as error:
        raise ModelError(
            f"convert: {kind.__name__} {layer.name!r} cannot be made again from its own settings "
            f"({first_line(error)}); give it a get_config that returns what its __init__ takes."
        ) from None
