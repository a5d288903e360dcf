"""Open Keras model files without running code from them.

A ``.keras`` file names the classes it is made of, and Keras makes them: a `Lambda` holds marshalled
Python, a class or function may be named by any module, and some layers read other files (Keras
3.15, ``keras/src/saving/serialization_lib.py``); the older ``.h5`` holds the same in its
``model_config``. So the configuration is looked through first, and whatever is not one of Keras'
own layers and settings, or registered by code that the user has imported, is refused.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelError, UnsafeModelError, first_line
from fullconv.frameworks.archives import check_archive
from fullconv.frameworks.keras.claims import check_held, check_size
from fullconv.frameworks.keras.hdf5 import WEIGHTS_FILE, check_ends
from fullconv.frameworks.keras.private import LAYERS, MODELS, OPERATIONS

METADATA_FILE = "fullconv.json"
CONFIG_FILE = "config.json"

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
"""What holds code of its own."""

FILES = frozenset(
    """
    TFSMLayer StringLookup IntegerLookup IndexLookup TextVectorization Hashing
    """.split()
)
"""What reads other files, or is not for images."""

ACTIVATIONS = frozenset(
    name
    for name, value in vars(keras.activations).items()
    if callable(value) and name not in ("get", "serialize", "deserialize")
)

UNREAD = ("compile_config", "training_config")
"""What says how a model is trained; it is not loaded."""


def open_archive(path: Path) -> tuple[Any, dict[str, str]]:
    """Load a ``.keras`` or ``.h5`` file with its metadata.

    Raises
    ------
    UnsafeModelError
        If loading it could run code, or read other files.
    ModelError
        If it is no such file, is broken, or needs classes that are not imported.
    """
    whole = _read_keras if path.suffix.lower() == ".keras" else _read_h5
    try:
        config, metadata, numbers = whole(path)
        _check_config(config, path)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} is not a Keras model, or it is cut short ({first_line(error)}); save or copy "
            f"it again."
        ) from None
    check_size(config, numbers, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras.saving.load_model(path, compile=False, safe_mode=True), metadata
    except Exception as error:
        raise ModelError(
            f"{path} cannot be loaded by Keras {keras.__version__} ({first_line(error)}); save the "
            f"model again, with model.save('model.keras') of Keras 3."
        ) from None


def _read_keras(path: Path) -> tuple[Any, dict[str, str], int]:
    """Return the configuration, the metadata, and how many numbers the weights have."""
    import h5py

    if zipfile.is_zipfile(path):
        check_archive(path, str(path), "save it again, with model.save('model.keras')")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if CONFIG_FILE not in names:
            raise ValueError("it holds no model configuration")
        if any(name.endswith(".npz") for name in names) or WEIGHTS_FILE not in names:
            raise UnsafeModelError(
                f"{path}: its weights are not in {WEIGHTS_FILE}, and other kinds of weights may "
                f"hold code; save the model again, with model.save('model.keras')."
            )
        check_ends(path)
        config = json.loads(archive.read(CONFIG_FILE))
        text = archive.read(METADATA_FILE) if METADATA_FILE in names else b"{}"
        with archive.open(WEIGHTS_FILE) as weights, h5py.File(weights, "r") as held:
            numbers = check_held(held, path)
    return config, json.loads(text), numbers


def _read_h5(path: Path) -> tuple[Any, dict[str, str], int]:
    import h5py

    check_ends(path)
    with h5py.File(path, "r") as held:
        text = held.attrs.get("model_config")
        if text is None:
            raise ModelError(
                f"{path} holds weights alone, without the model; save the whole model: "
                f"model.save('model.keras')."
            )
        return json.loads(text), {}, check_held(held, path)


def check_weights(path: Path) -> int | None:
    """Check that a file of weights holds them itself, and return how many arrays of layers it has.

    None is returned for the older ``.h5``, which Keras compares layer by layer by itself.

    Raises
    ------
    UnsafeModelError
        If its weights lie in other files, or may hold code.
    ModelError
        If it is no such file, or is broken.
    """
    import h5py

    try:
        if path.suffix.lower() == ".keras":
            _read_keras(path)
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(WEIGHTS_FILE) as weights,
                h5py.File(weights, "r") as held,
            ):
                return _arrays(held)
        check_ends(path)
        with h5py.File(path, "r") as held:
            check_held(held, path)
            return _arrays(held) if path.name.endswith(".weights.h5") else None
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} is not a file of Keras' weights, or it is cut short ({first_line(error)}); "
            f"save or copy it again."
        ) from None


def _arrays(held: Any) -> int:
    """Count the arrays of layers; the states of an optimizer or of dropout are not weights."""
    import h5py

    names = []

    def noted(name: str, value: Any) -> None:
        if isinstance(value, h5py.Dataset):
            names.append(name)

    held.visititems(noted)
    return sum("layers" in name.split("/")[0] and "seed_generator" not in name for name in names)


def _check_config(config: Any, path: Path) -> None:
    for name, fault in _faults(config):
        if fault == "unknown":
            raise ModelError(
                f"{path}: its {name!r} is not one of Keras' own, and no such class is registered; "
                f"import the code that registers it "
                f"(@keras.saving.register_keras_serializable), and convert the model in Python."
            )
        raise UnsafeModelError(
            f"{path}: it holds {name!r}, {fault}; fullconv does not load that. Write that part of "
            f"the model with Keras' own layers, or as a registered class, and save it again."
        )


def _faults(value: Any) -> Iterator[tuple[str, str]]:
    """Look through a configuration for what it would make."""
    if isinstance(value, list):
        for item in value:
            yield from _faults(item)
    elif isinstance(value, dict):
        name = value.get("class_name")
        if isinstance(name, str):
            fault = _fault(name, value)
            if fault:
                yield name, fault
        for key, item in value.items():
            if key not in UNREAD:
                yield from _faults(item)


def _fault(name: str, value: dict[str, Any]) -> str:
    """Return what is wrong with one object of a configuration; empty where nothing is."""
    if name in PLAIN:
        return ""
    if name in CODE:
        return "and loading that would run code from the file"
    if name in FILES:
        return "which reads other files"
    registered = keras.saving.get_custom_objects()
    if name in registered or str(value.get("registered_name")) in registered:
        return ""
    module = value.get("module")
    if name == "function":
        function = value.get("config")
        own = isinstance(function, str) and function in ACTIVATIONS
        return "" if own or function in registered else "a function that is not Keras' own"
    if module is None:
        known = any(isinstance(_held(place, name), type) for place in (*MODULES, "keras"))
        return "" if known else "unknown"
    if not isinstance(module, str) or module.split(".")[0] not in ("keras", "builtins"):
        return "unknown"
    held = _held(module, name)
    if isinstance(held, type):
        # Layers of Keras that have no public name, such as those of its applications.
        is_layer = module.startswith(LAYERS) and issubclass(held, keras.Layer)
        if is_layer or module in MODULES or module.startswith(OPERATIONS):
            return ""
    return f"of the module {module!r}, which is no layer of a model"


def _held(module: str, name: str) -> Any:
    """Return what a module of Keras holds under a name; nothing is imported."""
    # Before Keras 3.10 its public modules were imported under other names.
    place: Any = keras
    for part in module.split(".")[1:]:
        place = getattr(place, part, None)
    return getattr(place, name, None)
