"""One stored layer as layers of today's Keras: the layer itself, and those of its activation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.keras.named import ACTIVATIONS, unknown_class
from fullconv.frameworks.keras.old.settings import today
from fullconv.frameworks.keras.old.stored import StoredLayer

Naming = Callable[[str], str]
"""Makes a name unique."""

SAME = {"swish": "silu", "softmax_v2": "softmax"}
"""Activations that have another name today."""

ACTIVATED = ("Conv", "Dense", "DepthwiseConv", "SeparableConv")
"""Layers that compute their activation last, so that a layer behind them can compute it."""

FORWARD = frozenset(
    """
    ActivityRegularization AlphaDropout GaussianDropout GaussianNoise RandomBrightness
    RandomContrast RandomFlip RandomRotation RandomTranslation RandomZoom SpatialDropout1D
    SpatialDropout2D SpatialDropout3D
    """.split()
)
"""Layers that return their input unchanged at inference, whatever their settings."""


def make(
    layer: StoredLayer, name: str, data_format: str, unique: Naming, path: Path
) -> list[keras.Layer]:
    """Return the layers that compute the same as a stored one; the first has its weights.

    Parameters
    ----------
    name : str
        The name of the first layer.
    data_format : {"channels_last", "channels_first"}
        The format of layers that state none: Keras 1 stored it for some layers only.

    Raises
    ------
    ModelError
        If Keras has no such layer today, or one of its settings is unknown.
    """
    registered = keras.saving.get_custom_objects()
    own = next((k for k in (layer.kind, layer.kind.rpartition(">")[2]) if k in registered), None)
    if own is not None:
        return [registered[own].from_config({**_built(layer.config), "name": name})]
    if layer.kind in FORWARD:
        return [keras.layers.Identity(name=name)]
    try:
        kind, settings = today(layer.kind, layer.config)
        if isinstance(repeated := settings.get("layer"), dict):
            settings["layer"] = _repeated(repeated, name, data_format, unique, path)
        layer_class = _class(kind, layer, path)
        followers = list(_followers(kind, settings, name, unique))
        settings = _known(layer_class, settings)
        if (
            "data_format" in inspect.signature(layer_class).parameters
            and "data_format" not in settings
        ):
            plain = kind == "Flatten" or kind.endswith("1D")
            settings["data_format"] = "channels_last" if plain else data_format
        return [layer_class(**settings, name=name, dtype=_dtype(layer.config)), *followers]
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path}: its layer {layer.name!r} ({layer.kind}) cannot be made with Keras "
            f"{keras.__version__} ({first_line(error)}); write the network with its own layers, "
            f"load the weights there, and convert that model in Python."
        ) from None


def _repeated(
    value: Mapping[str, Any], name: str, data_format: str, unique: Naming, path: Path
) -> keras.Layer:
    """Return the layer that another one repeats along an axis."""
    inner = StoredLayer(name, value["class_name"], value["config"])
    first, *others = make(inner, unique(f"{name}_layer"), data_format, unique, path)
    if others:
        raise ValueError(f"it repeats a {inner.kind} with the activation of a layer of its own")
    return first


def _built(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a registered class without what Keras 3 no longer takes."""
    return {key: value for key, value in config.items() if key != "batch_input_shape"}


def _class(kind: str, layer: StoredLayer, path: Path) -> Any:
    layer_class = getattr(keras.layers, kind, None)
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.Layer)):
        raise unknown_class(path, layer.kind)
    return layer_class


def _known(layer_class: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a class takes today; any other must be switched off."""
    taken = inspect.signature(layer_class).parameters
    others = [key for key, value in settings.items() if key not in taken and value not in OFF]
    if others:
        key = others[0]
        raise ValueError(f"it has the setting {key!r} ({str(settings[key])[:60]})")
    return {key: value for key, value in settings.items() if key in taken}


OFF = (None, False)


def _followers(
    kind: str, settings: dict[str, Any], name: str, unique: Naming
) -> Iterator[keras.Layer]:
    """Rename a layer's activation, or remove it and yield layers that compute it."""
    for key in ("activation", "recurrent_activation"):
        if key not in settings:
            continue
        function = settings[key]
        if isinstance(function, str) and function != HARD_SIGMOID:
            settings[key] = _activation(function)
        elif function is not None:
            if key != "activation" or not (kind == "Activation" or kind.startswith(ACTIVATED)):
                raise ValueError(f"its {key} is {str(function)[:60]}")
            settings[key] = "linear"
            yield from _activation_layers(function, unique(f"{name}_activation"), unique)


def _activation(name: str) -> Any:
    registered = keras.saving.get_custom_objects()
    if name in registered:
        return registered[name]
    name = SAME.get(name, name)
    if name not in ACTIVATIONS:
        raise ValueError(f"Keras has no activation {name[:60]!r}")
    return name


HARD_SIGMOID = "hard_sigmoid"


def _activation_layers(function: Any, name: str, unique: Naming) -> list[keras.Layer]:
    if function == HARD_SIGMOID:
        # clip(0.2 x + 0.5, 0, 1), where Keras 3 computes clip(x / 6 + 0.5, 0, 1).
        scaled = keras.layers.Rescaling(0.2, 0.5, name=name)
        return [scaled, keras.layers.ReLU(max_value=1.0, name=unique(f"{name}_clip"))]
    kind, settings = today(function["class_name"], function["config"])
    if kind not in ("ELU", "LeakyReLU", "ReLU", "Softmax"):
        raise ValueError(f"its activation is {str(function)[:60]}")
    layer_class: Any = getattr(keras.layers, kind)
    return [layer_class(**_known(layer_class, settings), name=name)]


def _dtype(config: Mapping[str, Any]) -> Any:
    """Return the type that a layer computes in, or its policy; None for Keras' default."""
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        dtype = dtype["config"]["name"]
    if dtype is not None and not isinstance(dtype, str):
        raise ValueError(f"its dtype is {str(dtype)[:60]}")
    return dtype
