"""Checks of the names in the configuration of a Keras file: any unknown class is refused.

A configuration names the classes that a model is made of, and Keras instantiates them: a `Lambda`
contains marshalled Python, a class or function may come from any module, and some layers read other
files (Keras 3.15, ``keras/src/saving/serialization_lib.py``). So a configuration is checked before
anything is made. Refused is whatever is not one of Keras' own layers and settings, and not
registered by code that the user has imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelError, UnsafeModelError
from fullconv.frameworks.keras.private import LAYERS, MODELS, OPERATIONS

MODULES = (
    *("keras", "keras.layers", "keras.models", "keras.initializers", "keras.regularizers"),
    *("keras.constraints", "keras.activations", "keras.dtype_policies", "keras.random"),
    *MODELS,
)
"""Where classes and functions of an image classifier come from."""

PLAIN = frozenset(
    """
    __keras_tensor__ __tensor__ __numpy__ __bytes__ __ellipsis__ __slice__
    """.split()
)
"""Names of values, not of classes."""

CODE = frozenset(["Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"])
"""Classes that contain code of their own."""

FILES = frozenset(
    """
    TFSMLayer StringLookup IntegerLookup IndexLookup TextVectorization Hashing
    """.split()
)
"""Classes that read other files, or are not for images."""

ACTIVATIONS = frozenset(
    name
    for name, value in vars(keras.activations).items()
    if callable(value) and name not in ("get", "serialize", "deserialize")
)

UNREAD = ("compile_config", "training_config")
"""Entries about training, which are not loaded."""

UNKNOWN = "unknown"
"""The fault of a class that is neither Keras' own nor registered."""


def check_config(config: Any, path: Path) -> None:
    """Refuse a configuration that names anything that Keras may not make.

    Raises
    ------
    UnsafeModelError
        If it names a class that would run code from the file, or read other files.
    ModelError
        If it names a class that is neither Keras' own nor registered.
    """
    for name, fault in _faults(config, _fault):
        raise unknown_class(path, name) if fault == UNKNOWN else _unsafe(path, name, fault)


def check_harmless(config: Any, path: Path) -> None:
    """Refuse a configuration that holds code or names files, whatever other classes it names.

    Raises
    ------
    UnsafeModelError
        If it does.
    """
    for name, fault in _faults(config, lambda name, _: _harm(name)):
        raise _unsafe(path, name, fault)


def unknown_class(path: Path, name: str) -> ModelError:
    """Return the line that refuses a class that is neither Keras' own nor registered."""
    return ModelError(
        f"{path}: its {name!r} is not one of Keras' own, and no such class is registered; import "
        f"the code that registers it (@keras.saving.register_keras_serializable), and convert the "
        f"model in Python."
    )


def _unsafe(path: Path, name: str, fault: str) -> UnsafeModelError:
    return UnsafeModelError(
        f"{path}: it holds {name!r}, {fault}; fullconv does not load that. Write that part of the "
        f"model with Keras' own layers, or as a registered class, and save it again."
    )


def _faults(
    value: Any, fault_of: Callable[[str, dict[str, Any]], str]
) -> Iterator[tuple[str, str]]:
    """Yield the name and the fault of every object of a configuration that has one."""
    if isinstance(value, list):
        for item in value:
            yield from _faults(item, fault_of)
    elif isinstance(value, dict):
        name = value.get("class_name")
        if isinstance(name, str):
            fault = fault_of(name, value)
            if fault:
                yield name, fault
        for key, item in value.items():
            if key not in UNREAD:
                yield from _faults(item, fault_of)


def _harm(name: str) -> str:
    """Return the harm that a class of this name would do; empty where it does none."""
    if name in CODE:
        return "and loading that would run code from the file"
    return "which reads other files" if name in FILES else ""


def _fault(name: str, value: dict[str, Any]) -> str:
    """Return the fault of one object of a configuration; empty where it has none."""
    if name in PLAIN:
        return ""
    if harm := _harm(name):
        return harm
    registered = keras.saving.get_custom_objects()
    if name in registered or str(value.get("registered_name")) in registered:
        return ""
    module = value.get("module")
    if name == "function":
        function = value.get("config")
        own = isinstance(function, str) and function in ACTIVATIONS
        return "" if own or function in registered else "a function that is not Keras' own"
    if module is None:
        known = any(isinstance(_member(place, name), type) for place in (*MODULES, "keras"))
        return "" if known else UNKNOWN
    if not isinstance(module, str) or module.split(".")[0] not in ("keras", "builtins"):
        return UNKNOWN
    member = _member(module, name)
    if isinstance(member, type):
        # Layers of Keras that have no public name, such as those of its applications.
        is_layer = module.startswith(LAYERS) and issubclass(member, keras.Layer)
        if is_layer or module in MODULES or module.startswith(OPERATIONS):
            return ""
    return f"of the module {module!r}, which is no layer of a model"


def _member(module: str, name: str) -> Any:
    """Return the member of a module of Keras under a name; nothing is imported."""
    # Before Keras 3.10 its public modules were imported under other names.
    place: Any = keras
    for part in module.split(".")[1:]:
        place = getattr(place, part, None)
    return getattr(place, name, None)
