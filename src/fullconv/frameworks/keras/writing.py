"""One writing of a lifted network: its values, its names, and layers that are made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.keras.axis_layers import OneChannel
from fullconv.frameworks.keras.calls import Array, Call, Tensor, filled, numbers
from fullconv.frameworks.keras.kernels import uses_of
from fullconv.frameworks.keras.layers import OfWindows, OnMaps
from fullconv.frameworks.keras.map_layers import MODES, Cells, PadCells
from fullconv.frameworks.keras.models import functional, input_name, leaves
from fullconv.frameworks.keras.private import Functional, copied_lambda
from fullconv.frameworks.keras.read import Source
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.geometry import Grid, Pair
from fullconv.graph import Graph, Node, Recipe
from fullconv.operations import Identity, Operation, Padding, PaddingMode, Pointwise
from fullconv.table import Table

layers = keras.layers


Weights = Callable[[], Mapping[str, Array | None]]
"""Arrays for the weights of a layer, by their names; None for those it has not."""


class Held(NamedTuple):
    """A value of the graph as a tensor of Keras; ``last``: a map with its channels last."""

    tensor: Tensor
    last: bool


Kind = TypeVar("Kind", bound=Operation)
Write = Callable[["Writing", Kind, Node], Held]

_writers: Table[type[Operation], Write[Any]] = Table("a writer")


def writes(*operations: type[Kind]) -> Callable[[Write[Kind]], Write[Kind]]:
    """Register what writes exactly these operations; a second one is refused at import."""
    return _writers(*operations)


class Writing:
    """The state of one writing.

    Attributes
    ----------
    graph : Graph
        The lifted network.
    source : Source
        The classifier that it comes from.
    last : bool
        Whether maps have their channels last.
    values : dict of str to Held
        What is written.
    uses : dict of Recipe to list of Use
        All calls of all filters.
    """

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source = graph, source
        self.last = source.channels_last
        self.values: dict[str, Held] = {}
        self.uses = uses_of(graph)
        self._geometry = {"window": grid.window, "step": grid.step}
        self._layers: dict[Hashable, keras.Layer] = {}
        self._taken: set[str] = set()
        self._fused: dict[str, str] = {}
        self._policy: Any = None
        self._names = _flat_names(functional(source.model))

    def begin(self, whole: Functional) -> Tensor:
        """Return the image, of any size, and hold the map that it is or becomes."""
        given, graph = whole.inputs[0], self.source.graph
        free = (None,) * len(graph.window)
        plain = len(graph.layout.axes) == 1 + len(free)  # without an axis of channels
        shape = free if plain else (*free, graph.channels) if self.last else (graph.channels, *free)
        image = keras.Input(shape, dtype=given.dtype, name=self.unique(input_name(whole)))
        self._policy = given.dtype
        self.values[self.graph.image] = self.on_map(self.own(OneChannel, image) if plain else image)
        return image

    def write(self, node: Node) -> None:
        """Write one node; what has no writer of its own is repeated as its source."""
        before = self._fused.get(node.outputs[0])
        if before is not None:
            self.values[node.outputs[0]] = self.values[before]
            return
        self._policy = self._policy_of(node)
        write = _writers.find(type(node.operation))
        results = [write(self, node.operation, node)] if write else self.repeat(node)
        self.values.update(zip(node.outputs, results, strict=False))

    def _policy_of(self, node: Node) -> Any:
        """Return the type of numbers that a node's layers compute in: its layer's, or its input's.

        Left alone, a layer would cast what it is given to the type that Keras is set to.
        """
        call = node.source
        if isinstance(call, Call) and isinstance(call.target, keras.Layer):
            return call.target.dtype_policy
        return self.held(node).tensor.dtype

    # Values.

    def held(self, node: Node) -> Held:
        """Return a node's first input."""
        return self.values[node.first or ""]

    def map(self, name: str | None) -> Tensor:
        """Return a value as a map in the model's own order."""
        held = self.values[name or ""]
        if held.last or not self.last:
            return held.tensor
        return self.permuted(held.tensor, to_last_order(len(held.tensor.shape)), "to_channels_last")

    def maps(self, node: Node) -> list[Tensor]:
        """Return a node's inputs as maps in the model's own order."""
        return [self.map(name) for name in node.inputs]

    def plain(self, name: str | None) -> Tensor:
        """Return a value with its axes as the graph has them."""
        held = self.values[name or ""]
        if not held.last:
            return held.tensor
        return self.permuted(held.tensor, to_map_order(len(held.tensor.shape)), "to_channels_first")

    def permuted(self, x: Tensor, order: Sequence[int], name: str) -> Tensor:
        """Return a tensor with its axes in another order; the batch stays the first."""
        dims = tuple(order[1:])
        return self.layer(("permute", dims), layers.Permute, name, dims)(x)

    def on_map(self, tensor: Tensor) -> Held:
        """Return a tensor as a map in the model's own order."""
        return Held(tensor, self.last)

    def place(self, axis: int, held: Held) -> int:
        """Return where an axis of a value stands in its tensor."""
        return to_last_order(len(held.tensor.shape)).index(axis) if held.last else axis

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
        """Let a node be what is written of its input."""
        self._fused[node.outputs[0]] = node.first or ""

    # Names, and layers.

    def name(self, node: Node, default: str = "") -> str:
        """Return the name of a node's layer in the written model."""
        return self._names.get(node.name) or node.name.replace("/", "_") or default

    def unique(self, base: str) -> str:
        """Return a layer name that is not taken; an original name where it is free."""
        name, number = base, 1
        while name in self._taken or (number > 1 and name in self._names.values()):
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    def layer(
        self,
        key: Hashable,
        kind: Callable[..., keras.Layer],
        name: str,
        /,
        *args: Any,
        **settings: Any,
    ) -> keras.Layer:
        """Return the layer made for a key, or make it: what is called twice is one layer."""
        settings = {"dtype": self._policy, **settings}
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

    def padded(
        self,
        x: Tensor,
        pads: Padding,
        value: float = 0.0,
        mode: PaddingMode = "constant",
        channels: Pair = (0, 0),
        node: Node | None = None,
    ) -> Tensor:
        """Return a map with cells added around it."""
        plain = mode == "constant" and value == 0 and channels == (0, 0)
        if plain and min(n for pair in pads for n in pair) >= 0:
            base = self.name(node, "zero_padding") if node else "zero_padding"
            key = "zero_padding", node.name if node else "", pads
            return self.layer(key, *of_pairs("ZeroPadding{}D", base, pads), self.format)(x)
        settings = {"pads": pads, "channels": channels, "mode": MODES[mode], "value": value}
        return self.own(PadCells, x, node=node, **settings)

    def cropped(self, x: Tensor, ends: Padding) -> Tensor:
        """Return a map without some cells at both ends of every axis."""
        if len(ends) == 1 and not self.last:  # a layer over one axis knows its channels last only
            before, after = zip(*ends, strict=True)
            return self.own(Cells, x, before=before, after=after, stride=(1,) * len(ends))
        how = () if len(ends) == 1 else (self.format,)
        return self.layer(("crop", ends), *of_pairs("Cropping{}D", "crop", ends), *how)(x)

    def filled(self, layer: keras.Layer, x: Tensor, weights: Weights, **how: Any) -> Tensor:
        """Call a layer, and give it its weights where it is new."""
        fresh = not layer.built
        result = layer(x, **how)
        for name, array in weights().items() if fresh else ():
            if array is not None:
                held = getattr(layer, name)
                held.assign(np.reshape(array, held.shape))
        return result

    # Copies of original layers.

    def clone(self, layer: keras.Operation) -> keras.Operation:
        """Return a copy of a layer or operation under its own name."""
        key = "copy", id(layer)
        if key not in self._layers:
            paths = [p for p, held in leaves(functional(self.source.model)) if held is layer]
            name = self.unique(self._names[paths[0]] if paths else layer.name)
            remake = copied_lambda if isinstance(layer, layers.Lambda) else _remade
            self._layers[key] = remake(layer, name)
        return self._layers[key]

    def copied(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        """Call the copy of a node's own layer, with the weights of the original."""
        layer = node.source.target
        copy = self.clone(layer)
        fresh = not getattr(copy, "built", True)
        result = copy(*args, **kwargs)
        if fresh:
            for mine, original in zip(copy.weights, layer.weights, strict=True):
                mine.assign(numbers(original))
        return result

    def repeat(self, node: Node) -> list[Held]:
        """Call the original layer's copy on other tensors."""
        call = node.source
        if not isinstance(call, Call):
            raise ModelError(f"convert: no way to write {node.operation!r} in Keras.")
        tensors = [name for name in node.inputs if name in self.values]
        on_maps = not node.per_window or all(self.values[name].last for name in tensors)
        on_maps = on_maps and isinstance(node.operation, Pointwise | Identity)
        take = self.map if on_maps else self.plain
        given = {name: take(name) for name in tensors}
        rank = max(len(x.shape) for x in given.values()) if on_maps and self.last else 0
        operands = [
            given[name] if name in given else self._operand(name, rank) for name in node.inputs
        ]
        args, kwargs = filled(call, operands)
        result = self.copied(node, *args, **kwargs)
        return [Held(tensor, on_maps and self.last) for tensor in keras.tree.flatten(result)]

    def _operand(self, name: str | None, rank: int) -> Array | None:
        """Return a parameter; beside maps of a rank with their channels last, with these last."""
        array = self.vector(name)
        if array is None or array.ndim != rank:
            return array
        return array.transpose(to_last_order(rank))


def of_pairs(kind: str, name: str, pairs: Padding) -> tuple[type, str, Any]:
    """Return the layer that cuts or pads so many axes, a name, and how much at their ends.

    Over one axis a layer takes the one pair alone.
    """
    return getattr(layers, kind.format(len(pairs))), name, pairs if len(pairs) > 1 else pairs[0]


def kept_settings(layer: keras.Layer, *names: str) -> dict[str, Any]:
    """Return what a written layer keeps of the original's settings: type, training, penalties."""
    held = {name: getattr(layer, name, None) for name in names}
    return {"trainable": layer.trainable, "dtype": layer.dtype_policy, **held}


def _flat_names(whole: keras.Model) -> dict[str, str]:
    """Return the name in a flat model of every layer's path: its own, or its path where taken."""
    paths = [path for path, _ in leaves(whole)]
    own_names = [path.rpartition("/")[2] for path in paths]
    return {
        path: name if own_names.count(name) == 1 else path.replace("/", "_")
        for path, name in zip(paths, own_names, strict=True)
    }


def _remade(layer: keras.Operation, name: str) -> keras.Operation:
    """Make a layer or operation again from its own settings, under another name."""
    kind = type(layer)
    try:
        return kind.from_config({**layer.get_config(), "name": name})
    except Exception as error:
        raise ModelError(
            f"convert: {kind.__name__} {layer.name!r} cannot be made again from its own settings "
            f"({first_line(error)}); give it a get_config that returns what its __init__ takes."
        ) from None
