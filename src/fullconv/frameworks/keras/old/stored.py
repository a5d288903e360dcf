"""The network of an old file as records: layers, and the calls that connect them.

Keras 1, Keras 2 and tf.keras wrote the same few things in several forms: a Sequential model as a
list or under ``layers``, a call as ``[name, call, tensor]`` with or without its arguments, alone or
in a list. These records have one form for all of them. They build no layers yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SEQUENTIAL = "Sequential"
FUNCTIONAL = ("Model", "Functional", "Network", "Container")
INPUT = "InputLayer"

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class TensorPlace:
    """A tensor: which result of which call of a layer."""

    layer: str
    call: int = 0
    tensor: int = 0


@dataclass(frozen=True)
class StoredCall:
    """A call of a layer.

    Attributes
    ----------
    inputs : tuple of Place
        The tensors that it takes first.
    arguments : dict
        Its other arguments, by name; a `TensorPlace` is a tensor, too.
    """

    inputs: tuple[TensorPlace, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def taken(self) -> list[TensorPlace]:
        """All tensors that it takes."""
        return [*self.inputs, *(x for x in self.arguments.values() if isinstance(x, TensorPlace))]


@dataclass(frozen=True)
class StoredLayer:
    """A layer, or a model that stands for one.

    Attributes
    ----------
    name : str
    kind : str
        The name of its class.
    config : dict
        Its settings, as stored; empty for a model.
    calls : tuple of StoredCall
        Its calls, in the order in which they were made; none for an input.
    inner : StoredModel or None
        The model, where the layer is one.
    """

    name: str
    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[StoredCall, ...] = ()
    inner: StoredModel | None = None


@dataclass(frozen=True)
class StoredModel:
    """A network of layers, in the order in which the file has them."""

    name: str
    layers: tuple[StoredLayer, ...]
    inputs: tuple[TensorPlace, ...]
    outputs: tuple[TensorPlace, ...]


def read_model(value: Any, name: str = "model") -> StoredModel:
    """Read ``{"class_name": ..., "config": ...}`` of a model.

    Raises
    ------
    ValueError, KeyError, TypeError
        If the value describes no model.
    """
    kind, config = value["class_name"], _plain(value["config"])
    if kind == SEQUENTIAL:
        return _sequential(config, name)
    if kind in FUNCTIONAL:
        return _functional(config, name)
    raise ValueError(f"a model of the class {str(kind)[:60]!r} is not stored as a network")


def image_shape(config: Mapping[str, Any]) -> Shape | None:
    """Return the shape, with its batch, that a first layer takes; None where it states none.

    Raises
    ------
    ValueError
        If the entry is not a shape.
    """
    for key in ("batch_input_shape", "batch_shape", "build_input_shape"):
        shape = config.get(key)
        if shape is not None:
            if not all(size is None or (type(size) is int and size > 0) for size in shape):
                raise ValueError(f"{key} is {str(shape)[:60]}, which is no shape")
            return tuple(shape)
    return None


def _plain(value: Any) -> Any:
    """Return a configuration without the wrappers of arrays, tuples and shapes."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"type", "value"}:
        return _plain(value["value"])
    if value.get("class_name") in ("__tuple__", "TensorShape") and "items" in value:
        return _plain(value["items"])
    return {key: _plain(item) for key, item in value.items()}


def _layer(entry: Any, name: str, calls: tuple[StoredCall, ...]) -> StoredLayer:
    kind, config = entry["class_name"], entry["config"]
    if not isinstance(kind, str):
        raise ValueError(f"{str(kind)[:60]!r} is no class")
    if kind == SEQUENTIAL or kind in FUNCTIONAL:
        inner = read_model(entry, name)
        return StoredLayer(name, kind, {}, calls, inner)
    return StoredLayer(name, kind, config, calls)


def _name(entry: Any, otherwise: str) -> str:
    config = entry["config"]
    own = config.get("name") if isinstance(config, dict) else None
    name = entry.get("name") or own or otherwise
    if not isinstance(name, str):
        raise ValueError(f"{str(name)[:60]!r} is no name of a layer")
    return name


def _sequential(config: Any, name: str) -> StoredModel:
    """Read a chain of layers; the first of them, or the model, may state the image's shape.

    Keras 1 lists a layer that is called again under the same name again.
    """
    if isinstance(config, dict):
        entries, shape = config["layers"], image_shape(config)
        name = config.get("name") or name
    else:
        entries, shape = config, None
    made: dict[str, StoredLayer] = {}
    place: TensorPlace | None = None
    for number, entry in enumerate(entries):
        layer_name = _name(entry, f"{name}_{number}")
        if layer_name in made:
            again = made[layer_name]
            calls: tuple[StoredCall, ...] = (*again.calls, StoredCall((_given(place),)))
            made[layer_name] = replace(again, calls=calls)
        else:
            layer = _layer(entry, layer_name, ())
            if place is None and layer.kind != INPUT:
                first = _input(layer, f"{layer_name}_input", shape)
                made[first.name], place = first, TensorPlace(first.name)
            if place is not None:
                layer = replace(layer, calls=(StoredCall((place,)),))
            made[layer_name] = layer
        place = TensorPlace(layer_name, max(0, len(made[layer_name].calls) - 1))
    first = next(iter(made.values()))
    return StoredModel(name, tuple(made.values()), (TensorPlace(first.name),), (_given(place),))


def _given(place: TensorPlace | None) -> TensorPlace:
    if place is None:
        raise ValueError("it has no layers")
    return place


def _input(layer: StoredLayer, name: str, shape: Shape | None) -> StoredLayer:
    """Return the input of a chain of layers, as its first layer describes it."""
    first = layer
    while first.inner is not None:
        first = first.inner.layers[0]
    stated = image_shape(first.config) or shape
    dtype = first.config.get("input_dtype") or first.config.get("dtype")
    config = {"batch_input_shape": stated, "dtype": dtype}
    return StoredLayer(name, INPUT, config)


def _functional(config: Any, name: str) -> StoredModel:
    """Read layers that name the tensors which they take."""
    layers = []
    for number, entry in enumerate(config["layers"]):
        own = _name(entry, f"{name}_{number}")
        calls = tuple(_call(node) for node in entry.get("inbound_nodes") or ())
        layers.append(_layer(entry, own, calls))
    inputs, outputs = (tuple(_places(config[key])) for key in ("input_layers", "output_layers"))
    model = StoredModel(config.get("name") or name, tuple(layers), inputs, outputs)
    return _counted_from_zero(model)


def _call(node: Any) -> StoredCall:
    arguments: dict[str, Any] = {}
    entries = [node] if _is_place(node) else node
    if not isinstance(entries, list):
        raise ValueError(f"the call {str(node)[:60]} names its tensors in a way of its own")
    for entry in entries:
        if not _is_place(entry):
            raise ValueError(f"{str(entry)[:60]} names no tensor")
        arguments.update(entry[3] if len(entry) > 3 else {})
    places = {key: TensorPlace(*x[:3]) for key, x in arguments.items() if _is_place(x)}
    return StoredCall(tuple(TensorPlace(*entry[:3]) for entry in entries), arguments | places)


def _is_place(value: Any) -> bool:
    if not isinstance(value, list) or not 3 <= len(value) <= 4:
        return False
    name, call, tensor, *rest = value
    whole = all(type(number) is int and number >= 0 for number in (call, tensor))
    return isinstance(name, str) and whole and all(isinstance(x, dict) for x in rest)


def _places(value: Any) -> Iterator[TensorPlace]:
    for entry in [value] if _is_place(value) else value:
        if not _is_place(entry):
            raise ValueError(f"{str(entry)[:60]} names no tensor")
        yield TensorPlace(*entry[:3])


def _counted_from_zero(model: StoredModel) -> StoredModel:
    """Number the calls of models from zero: Keras counts the construction as the first call."""
    first: dict[str, int] = {}
    for place in [*model.outputs, *(x for one in model.layers for c in one.calls for x in c.taken)]:
        first[place.layer] = min(place.call, first.get(place.layer, place.call))
    shift = {layer.name: first.get(layer.name, 0) for layer in model.layers if layer.inner}

    def counted(value: Any) -> Any:
        if not isinstance(value, TensorPlace):
            return value
        return replace(value, call=value.call - shift.get(value.layer, 0))

    def recounted(call: StoredCall) -> StoredCall:
        arguments = {key: counted(value) for key, value in call.arguments.items()}
        return StoredCall(tuple(map(counted, call.inputs)), arguments)

    layers = tuple(replace(one, calls=tuple(map(recounted, one.calls))) for one in model.layers)
    return replace(model, layers=layers, outputs=tuple(map(counted, model.outputs)))
