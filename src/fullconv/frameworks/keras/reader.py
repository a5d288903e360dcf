"""The state of one reading: the tables of layers and operations read from it and append to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from fullconv.errors import ModelError
from fullconv.frameworks.keras import tables
from fullconv.frameworks.keras.calls import Call, Tensor, Weight, slots
from fullconv.frameworks.keras.counting import products
from fullconv.frameworks.keras.models import Native, input_name
from fullconv.frameworks.keras.private import Functional, call_each, check_input, inner_of
from fullconv.frameworks.keras.standing import standing
from fullconv.frameworks.keras.tracing import draws
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Graph, Node, Recipe, Shape
from fullconv.operations import Opaque, Operation, Permute, Random

# Note [Maps and native tensors]. The vocabulary's maps are (N, C, *cells). A tensor of Keras with
# its channels last can stand in a graph as two values: native, as Keras has it, or as a map. Layers
# that treat it as a map read the map. Layers that take its axes in its own order (Flatten, Dense, a
# layer without a rule) read the native value. A Permute is written where one must become the other.
# A tensor with its channels first, and one of vectors, is native and a map at once.


@dataclass
class Reader:
    """The values, parameters and nodes that are read so far.

    Attributes
    ----------
    stored : bool
        Whether the model is a converted one.
    scores : set of str
        Values of a converted model that are scores, ``(N, ..., *windows)``.
    """

    batch: int = 1
    channels_last: bool = True
    stored: bool = False
    window: Sizes = ()
    image: str = ""
    nodes: list[Node] = field(default_factory=list)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    scores: set[str] = field(default_factory=set)
    # Per tensor of Keras, by its id: the tensor itself (so that the id stays its own), the name of
    # the native value, and that of the map; see Note [Maps and native tensors].
    _values: dict[int, tuple[Tensor, dict[str, str]]] = field(default_factory=dict)
    _names: dict[int, tuple[Weight, str]] = field(default_factory=dict)

    def take_image(self, whole: Functional, native: Native) -> Tensor:
        """Begin with the image; return it as a tensor of its native shape."""
        tensor = keras.KerasTensor(native.shape, dtype=whole.inputs[0].dtype)
        self.image = self.bind(tensor, input_name(whole), is_map=native.is_map)
        return tensor

    def walk(self, whole: Functional, inputs: Sequence[Tensor], path: str) -> Any:
        """Read every call of a model, in order; return its outputs in their structure."""
        results = call_each(whole, inputs, lambda *call: self._call(path, *call))
        return keras.tree.pack_sequence_as(whole.output, results)

    def _call(self, path: str, operation: keras.Operation, args: Any, kwargs: Any) -> Any:
        if not args and "inputs" in kwargs:
            args, kwargs = (kwargs["inputs"],), {k: v for k, v in kwargs.items() if k != "inputs"}
        named, inner = f"{path}{operation.name}", inner_of(operation)
        if inner is not None and not tables.has_settings(kwargs):
            tensors = filter(keras.utils.is_keras_tensor, keras.tree.flatten(args))
            return self.walk(inner, list(tensors), f"{named}/")
        if args and isinstance(operation, keras.Layer):
            check_input(operation, args[0])
        result = operation.compute_output_spec(*args, **kwargs)
        # A layer may return its input; each result needs a tensor of its own.
        result = keras.tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, dtype=x.dtype), result
        )
        tables.read(self, operation, named, args, kwargs, result)
        return result

    def graph(self, outputs: list[str]) -> Graph:
        """Return the graph that has been read, with these results."""
        return Graph(
            self.image,
            self.nodes,
            outputs,
            self.recipes,
            self.shapes,
            self.batch,
            window=self.window,
        )

    # Values.

    def bind(self, tensor: Tensor, base: str, *, is_map: bool = False) -> str:
        """Name a tensor's native value, or its map; return the name."""
        name = self.fresh(base)
        shape = tuple(tensor.shape)
        order = to_map_order(len(shape)) if is_map and len(shape) > 1 else range(len(shape))
        self.shapes[name] = tuple(shape[i] for i in order)
        self.hold(tensor, name, is_map=is_map)
        return name

    def hold(self, tensor: Tensor, name: str, *, is_map: bool = False) -> None:
        """Make an existing value the native value, or the map, of a tensor."""
        _, names = self._values.setdefault(id(tensor), (tensor, {}))
        names["map" if is_map else "native"] = name

    def fresh(self, base: str) -> str:
        """Return a value name that is not taken."""
        name, number = base, 1
        while name in self.shapes or name in self.recipes:
            number += 1
            name = f"{base}_{number}"
        return name

    def has_map(self, tensor: Tensor) -> bool:
        """Whether a tensor is known as a map with its channels last."""
        return "map" in self._values[id(tensor)][1]

    def native(self, tensor: Tensor) -> str:
        """Return the name of a tensor's native value."""
        return self._as(tensor, "native", to_last_order(len(tensor.shape)))

    def map(self, tensor: Tensor, data_format: str = "channels_last") -> str:
        """Return the name of a tensor as a map ``(N, C, *cells)``."""
        if data_format == "channels_first":
            return self.native(tensor)
        return self._as(tensor, "map", to_map_order(len(tensor.shape)))

    def _as(self, tensor: Tensor, wanted: str, order: tuple[int, ...]) -> str:
        _, names = self._values[id(tensor)]
        if wanted not in names:
            (other,) = names.values()
            if len(order) < 3:
                return other  # vectors are both
            name = self.fresh(f"{other}_{wanted}")
            self.shapes[name] = tuple(self.shapes[other][i] for i in order)
            self.nodes.append(Node(Permute(order), (other,), (name,), other, "Permute"))
            names[wanted] = name
        return names[wanted]

    def alike(self, tensors: Sequence[Tensor], result: Tensor, path: str) -> tuple[list[str], str]:
        """Name the inputs and the result of a pointwise operation: maps where an input is a map."""
        ranks = {len(x.shape) for x in tensors}
        is_map = any(self.has_map(x) for x in tensors) and len(ranks) == 1
        inputs = [self.map(x) if is_map else self.native(x) for x in tensors]
        return inputs, self.bind(result, path, is_map=is_map)

    def along(self, x: Tensor, result: Tensor, axis: int, path: str) -> tuple[str, str] | None:
        """Name input and result of an operation with one parameter for every entry of an axis.

        Return None unless that axis is the last or the second.
        """
        rank, axis = len(x.shape), axis % len(x.shape)
        if not 2 <= rank <= 5 or axis not in (1, rank - 1):
            return None
        last = rank > 2 and axis == rank - 1
        source = self.map(x) if last else self.native(x)
        return source, self.bind(result, path, is_map=last)

    def axis(self, axis: int, tensor: Tensor) -> int:
        """Return the position of a tensor's axis in its value."""
        rank = len(tensor.shape)
        axis %= rank
        return to_last_order(rank)[axis] if self.has_map(tensor) else axis

    # Parameters.

    def weight(self, variable: Weight, base: str) -> Recipe:
        """Return the recipe of a parameter of Keras, or of an array; each gets one name only."""
        if id(variable) not in self._names:
            name = self.fresh(base)
            self._names[id(variable)] = (variable, name)
            self.weights[name] = variable
            self.recipes[name] = Recipe(name, tuple(variable.shape))
        return self.recipes[self._names[id(variable)][1]]

    def constant(self, recipe: Recipe, suffix: str) -> str:
        """Give a rearranged parameter a name."""
        name = f"{recipe.source}:{suffix}"
        self.recipes[name] = recipe
        return name

    # Nodes.

    def add(
        self,
        operation: Operation,
        inputs: Sequence[str | None],
        outputs: Sequence[str],
        layer: str,
        call: Call,
    ) -> None:
        """Append a node that belongs to a layer."""
        kind = type(call.target).__name__
        self.nodes.append(Node(operation, tuple(inputs), tuple(outputs), layer, kind, call))

    def add_opaque(
        self, target: keras.Operation, path: str, args: Any, kwargs: Any, result: Any
    ) -> None:
        """Append a call that runs unchanged, on native tensors."""
        given, results = (args, kwargs), keras.tree.flatten(result)
        random = isinstance(target, keras.Layer) and draws(target, *given)
        tensors, args, kwargs = slots(args, kwargs)
        where = standing(self, target, *given, tensors, results)
        inputs = [self.native(x) for x in tensors]
        outputs = [self.bind(x, path) for x in results]
        if not inputs:
            raise ModelError(
                f"convert: {type(target).__name__} {path!r} takes no tensor; such a layer cannot "
                f"be converted."
            )
        count = products(self, target, *given, results)
        operation: Operation = Opaque(type(target).__name__, where, count)
        if random:
            operation = Random(type(target).__name__)
        self.add(operation, inputs, outputs, path, Call(target, args, kwargs))
