"""A network of an old file, built of today's layers."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.bounds import MOST_NODES
from fullconv.frameworks.keras.calls import Tensor
from fullconv.frameworks.keras.old.layers import make
from fullconv.frameworks.keras.old.operators import OPERATORS, operated
from fullconv.frameworks.keras.old.settings import FORMATS
from fullconv.frameworks.keras.old.stored import (
    StoredLayer,
    StoredModel,
    TensorPlace,
    image_shape,
)

SHAPED = (
    *("Atrous", "AveragePooling", "Conv", "Deconv", "DepthwiseConv", "GlobalAveragePooling"),
    *("GlobalMaxPooling", "MaxPooling", "SeparableConv"),
)
"""Beginnings of the names of layers with an order of channels; the first one's is the default."""

TRANSPOSED = ("Deconvolution2D",)
"""Layers of Keras 1 that state the size of their result."""

NOTHING: Mapping[str, Any] = {"training": False, "mask": None}
"""Arguments of calls, with the values that change nothing at inference."""


@dataclass(frozen=True)
class Made:
    """A layer, as it was stored and as it is today.

    Attributes
    ----------
    stored : StoredLayer
    layer : keras.Layer
    path : tuple of str
        The names of the models that contain it, then its own.
    """

    stored: StoredLayer
    layer: keras.Layer
    path: tuple[str, ...]

    @property
    def outer(self) -> str:
        """The layer of the whole model that contains it, or itself; files group weights by it."""
        return self.path[0]


def build(model: StoredModel, path: Path) -> tuple[keras.Model, list[Made]]:
    """Return a Keras model and its layers, whose weights are not set yet.

    Nested models are inlined: their layers get names like ``inner_conv``.

    Raises
    ------
    ModelError
        If Keras no longer has one of its layers, or it does not state the shape of its image.
    """
    if _calls(model) > MOST_NODES:
        raise ModelError(
            f"{path}: with the models inside it written out, it has more than {MOST_NODES} layers; "
            f"fullconv reads no larger one."
        )
    building = _Building(path, _format(model) or "channels_last")
    inputs = [building.image(_layer_at(model, place)) for place in model.inputs]
    outputs = building.run(model, inputs, ())
    name = building.unique(model.name)
    return keras.Model(_alone(inputs), _alone(outputs), name=name), building.made


def _alone(tensors: list[Tensor]) -> Any:
    return tensors if len(tensors) > 1 else tensors[0]


def _calls(model: StoredModel) -> int:
    return sum(
        len(layer.calls) * (1 if layer.inner is None else _calls(layer.inner))
        for layer in model.layers
    )


def _layer_at(model: StoredModel, place: TensorPlace) -> StoredLayer:
    return next(layer for layer in model.layers if layer.name == place.layer)


def _format(model: StoredModel) -> str | None:
    for layer in model.layers:
        if layer.inner is not None:
            data_format = _format(layer.inner)
        else:
            stated = layer.config.get("data_format", layer.config.get("dim_ordering"))
            data_format = FORMATS.get(stated, stated) if layer.kind.startswith(SHAPED) else None
        if data_format is not None:
            return data_format
    return None


@dataclass
class _Building:
    """The layers built so far, by the names on the path to them, and the names that are taken."""

    path: Path
    data_format: str
    made: list[Made] = field(default_factory=list)
    layers: dict[tuple[str, ...], list[keras.Layer]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def unique(self, wanted: str) -> str:
        """Return a free name that Keras accepts."""
        base = name = re.sub(r"[/.]", "_", wanted)
        number = 1
        while name in self.names:
            number += 1
            name = f"{base}_{number}"
        self.names.add(name)
        return name

    def image(self, layer: StoredLayer) -> Tensor:
        """Return the input tensor of a model."""
        shape = image_shape(layer.config)
        if shape is None:
            raise ModelError(
                f"{self.path} does not say what image its first layer takes (no batch_input_shape, "
                f"and no build_input_shape); write the network with Keras 3, beginning with "
                f"keras.Input((height, width, channels)), load the weights there, and convert that "
                f"model in Python."
            )
        dtype = layer.config.get("input_dtype") or layer.config.get("dtype")
        if not isinstance(dtype, str):
            dtype = None
        return keras.Input(batch_shape=shape, dtype=dtype, name=self.unique(layer.name))

    def run(
        self, model: StoredModel, inputs: Sequence[Tensor], inside: tuple[str, ...]
    ) -> list[Tensor]:
        """Call every layer of a model, each after the layers whose results it takes."""
        layers = {layer.name: layer for layer in model.layers}
        if len(layers) < len(model.layers):
            raise ValueError("two of its layers have one name")
        results: dict[tuple[str, int], list[Tensor]] = {
            (place.layer, place.call): [tensor]
            for place, tensor in zip(model.inputs, inputs, strict=True)
        }
        wanted = {
            (layer.name, number): [(place.layer, place.call) for place in call.taken]
            for layer in model.layers
            for number, call in enumerate(layer.calls)
            if (layer.name, number) not in results
        }

        def tensor(place: Any) -> Any:
            is_place = isinstance(place, TensorPlace)
            return results[place.layer, place.call][place.tensor] if is_place else place

        for key in graphlib.TopologicalSorter(wanted).static_order():
            if key not in results:
                layer = layers[key[0]]
                call = layer.calls[key[1]]
                arguments = {name: tensor(value) for name, value in call.arguments.items()}
                results[key] = self._call(layer, [*map(tensor, call.inputs)], arguments, inside)
        return [tensor(place) for place in model.outputs]

    def _call(
        self,
        layer: StoredLayer,
        given: list[Tensor],
        arguments: dict[str, Any],
        inside: tuple[str, ...],
    ) -> list[Tensor]:
        if layer.inner is not None:
            return self.run(layer.inner, given, (*inside, layer.name))
        try:
            if layer.kind in OPERATORS:
                result = operated(str(layer.config["function"]), given[0], arguments)
            else:
                arguments = {k: v for k, v in arguments.items() if v not in (None, NOTHING.get(k))}
                result = self._layers(layer, inside, given, arguments)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{self.path}: its layer {layer.name!r} ({layer.kind}) cannot be called as the "
                f"file says ({first_line(error)}); write the network with Keras 3, load the "
                f"weights there, and convert that model in Python."
            ) from None
        return list(keras.tree.flatten(result))

    def _layers(
        self,
        layer: StoredLayer,
        inside: tuple[str, ...],
        given: list[Tensor],
        arguments: dict[str, Any],
    ) -> Any:
        """Call a layer, then the layers that compute its activation."""
        key = (*inside, layer.name)
        if key not in self.layers:
            name = self.unique("_".join(key))
            self.layers[key] = made = make(layer, name, self.data_format, self.unique, self.path)
            self.made.append(Made(layer, made[0], key))
        first, *others = self.layers[key]
        result = first(_alone(given), **arguments)
        for other in others:
            result = other(result)
        stated = layer.config.get("output_shape") if layer.kind in TRANSPOSED else None
        if stated is not None and tuple(stated[1:]) != tuple(result.shape[1:]):
            raise ValueError(f"its result is {stated[1:]}, and today's is {list(result.shape[1:])}")
        return result
