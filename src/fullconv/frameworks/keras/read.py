"""Read a Keras model into the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras.src.models.functional import Functional

from fullconv.errors import FullconvError, ModelError, WindowError, first_line
from fullconv.frameworks.keras import layer_table
from fullconv.frameworks.keras.calls import TO_MAP, TO_NATIVE, Call, slots
from fullconv.graph import Graph, Node, Recipe, Shape
from fullconv.operations import Opaque, Operation, Permute

BATCH = 2
"""Images in the native shapes, where the model leaves their number free."""

# Note [Maps and native tensors]. The vocabulary's maps are (N, C, rows, columns). A tensor of Keras
# with its channels last can stand in a graph as two values: native, as Keras has it, or as a map.
# What treats it as a map reads the map; what takes its axes as they come (Flatten, Dense, a layer
# without a rule) reads the native value; a Permute is written where one must become the other. A
# tensor with its channels first is native and a map at once.


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
    batch, shape = _image(whole, window, last)
    reader = Reader(shape[0], batch is not None, last, stored)
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


def functional(model: Any) -> Any:
    """Return the graph of calls behind a model; of a subclass of `keras.Model`, one of one call."""
    found = _inner(model)
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


def _inner(layer: Any) -> Any:
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
        inner = _inner(operation)
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


def _image(
    whole: Any, window: tuple[int, int] | None, last: bool
) -> tuple[int | None, tuple[int, int, int, int]]:
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
    return batch, (batch or BATCH, *shape)


@dataclass
class Reader:
    """What the tables of layers and operations read from and append to.

    Attributes
    ----------
    stored : bool
        Whether the model is a converted one.
    scores : set of str
        Values of a converted model that are scores, ``(N, ..., rows, columns)``.
    """

    batch: int = BATCH
    fixed_batch: bool = False
    channels_last: bool = True
    stored: bool = False
    image: str = ""
    nodes: list[Node] = field(default_factory=list)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    scores: set[str] = field(default_factory=set)
    # Per tensor of Keras, by its id: the tensor itself (so that the id stays its own), the name of
    # the native value, and that of the map; see Note [Maps and native tensors].
    _held: dict[int, tuple[Any, dict[str, str]]] = field(default_factory=dict)
    _names: dict[int, tuple[Any, str]] = field(default_factory=dict)

    def take_image(self, given: Any, shape: Sequence[int], last: bool) -> Any:
        """Begin with the image; return it as a tensor of its native shape."""
        tensor = keras.KerasTensor(tuple(shape), dtype=given.dtype)
        self.image = self.bind(tensor, given._keras_history.operation.name, is_map=last)
        return tensor

    def walk(self, whole: Any, inputs: Sequence[Any], path: str) -> Any:
        """Read every call of a model, in order; return its outputs in their structure."""

        def recorded(operation: Any) -> Any:
            return lambda *args, **kwargs: self._call(operation, args, kwargs, path)

        results = whole._run_through_graph(list(inputs), operation_fn=recorded)
        return keras.tree.pack_sequence_as(whole._outputs_struct, keras.tree.flatten(results))

    def _call(self, operation: Any, args: Any, kwargs: Any, path: str) -> Any:
        inner = _inner(operation)
        if inner is not None:
            given = keras.tree.flatten((args, kwargs))
            tensors = [x for x in given if isinstance(x, keras.KerasTensor)]
            return self.walk(inner, tensors, f"{path}{operation.name}/")
        if not args and "inputs" in kwargs:
            args, kwargs = (kwargs["inputs"],), {k: v for k, v in kwargs.items() if k != "inputs"}
        if args and isinstance(operation, keras.Layer):
            operation._assert_input_compatibility(args[0])
        result = operation.compute_output_spec(*args, **kwargs)
        # A layer may hand its input on: a result is a tensor of its own.
        result = keras.tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, dtype=x.dtype), result
        )
        layer_table.read(self, operation, f"{path}{operation.name}", args, kwargs, result)
        return result

    def graph(self, outputs: list[str]) -> Graph:
        """Return what has been read, with these results."""
        return Graph(
            self.image,
            self.nodes,
            outputs,
            self.recipes,
            self.shapes,
            self.batch,
            self.fixed_batch,
        )

    # Values.

    def bind(self, tensor: Any, base: str, *, is_map: bool = False) -> str:
        """Name a tensor's native value, or its map; return the name."""
        name = self.fresh(base)
        shape = tuple(tensor.shape)
        self.shapes[name] = tuple(shape[i] for i in TO_MAP) if is_map else shape
        self.hold(tensor, name, is_map=is_map)
        return name

    def hold(self, tensor: Any, name: str, *, is_map: bool = False) -> None:
        """Let a tensor be a value that is there already."""
        _, held = self._held.setdefault(id(tensor), (tensor, {}))
        held["map" if is_map else "native"] = name

    def fresh(self, base: str) -> str:
        """Return a value name that is not taken."""
        name, number = base, 1
        while name in self.shapes or name in self.recipes:
            number += 1
            name = f"{base}_{number}"
        return name

    def has_map(self, tensor: Any) -> bool:
        """Whether a tensor is known as a map with its channels last."""
        return "map" in self._held[id(tensor)][1]

    def native(self, tensor: Any) -> str:
        """Return the name of a tensor's native value."""
        return self._as(tensor, "native", TO_NATIVE)

    def map(self, tensor: Any, data_format: str = "channels_last") -> str:
        """Return the name of a tensor as a map ``(N, C, rows, columns)``."""
        if data_format == "channels_first":
            return self.native(tensor)
        return self._as(tensor, "map", TO_MAP)

    def _as(self, tensor: Any, wanted: str, order: tuple[int, ...]) -> str:
        _, held = self._held[id(tensor)]
        if wanted not in held:
            (other,) = held.values()
            name = self.fresh(f"{other}_{wanted}")
            self.shapes[name] = tuple(self.shapes[other][i] for i in order)
            self.nodes.append(Node(Permute(order), (other,), (name,), other, "Permute"))
            held[wanted] = name
        return held[wanted]

    def alike(self, tensors: Sequence[Any], result: Any, path: str) -> tuple[list[str], str]:
        """Name the inputs of what treats every number alike, and its result: maps where one is."""
        is_map = any(self.has_map(x) for x in tensors) and all(len(x.shape) == 4 for x in tensors)
        inputs = [self.map(x) if is_map else self.native(x) for x in tensors]
        return inputs, self.bind(result, path, is_map=is_map)

    def axis(self, axis: int, tensor: Any) -> int:
        """Return where an axis of a tensor stands in its value."""
        axis %= len(tensor.shape)
        return TO_NATIVE[axis] if self.has_map(tensor) else axis

    # Parameters.

    def weight(self, variable: Any, base: str) -> Recipe:
        """Return a parameter of Keras, or an array, as the vocabulary's, under one name for all."""
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

    def add_opaque(self, target: Any, path: str, args: Any, kwargs: Any, result: Any) -> None:
        """Append a call that runs as it is, on native tensors."""
        tensors, args, kwargs = slots(args, kwargs)
        inputs = [self.native(x) for x in tensors]
        outputs = [self.bind(x, path) for x in keras.tree.flatten(result)]
        if not inputs:
            raise ModelError(
                f"convert: {type(target).__name__} {path!r} takes no tensor; such a layer cannot "
                f"be converted."
            )
        self.add(Opaque(type(target).__name__), inputs, outputs, path, Call(target, args, kwargs))
