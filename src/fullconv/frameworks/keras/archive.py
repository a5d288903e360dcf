"""Open Keras model files without running code from them.

A ``.keras`` file names the classes that it is made of; the older ``.h5`` names them in its
``model_config``. These names are checked first (`named.py`), then the size that the weights claim
(`claims.py`). Files that Keras saved before version 3 are read by `old`, not by Keras.
"""

from __future__ import annotations

import contextlib
import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelError, UnsafeModelError, first_line
from fullconv.frameworks.archives import broken, check_archive
from fullconv.frameworks.beside import architecture_beside
from fullconv.frameworks.keras.architecture import open_architecture
from fullconv.frameworks.keras.claims import check_held, check_size, made_of
from fullconv.frameworks.keras.hdf5 import WEIGHTS_FILE, check_ends
from fullconv.frameworks.keras.named import check_config
from fullconv.frameworks.keras.old.opening import is_old, open_old

METADATA_FILE = "fullconv.json"
CONFIG_FILE = "config.json"
VERSION_FILE = "metadata.json"
KERAS_3 = "3"
"""The version that is assumed for a file that states none."""


def open_archive(path: Path) -> tuple[Any, dict[str, str]]:
    """Load a ``.keras``, ``.h5`` or ``.hdf5`` file, or a ``.json``, with its metadata.

    Raises
    ------
    UnsafeModelError
        If loading it could run code, or read other files.
    ModelError
        If it is no such file, is broken, or needs classes that are not registered.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return open_architecture(path), {}
    if suffix != ".keras":
        return _open_h5(path), {}
    with broken(path, "a Keras model"):
        config, metadata, numbers = _read_keras(path)
        if _is_old(path):
            with zipfile.ZipFile(path) as archive, _weights(archive) as root:
                return open_old(config, root, numbers, path, path), {}
        check_config(config, path)
    check_size(lambda: made_of(config), numbers, path)
    return _loaded(path), metadata


def _is_old(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        if VERSION_FILE not in archive.namelist():
            return False
        return is_old(json.loads(archive.read(VERSION_FILE)).get("keras_version", KERAS_3))


@contextlib.contextmanager
def _weights(archive: zipfile.ZipFile) -> Iterator[Any]:
    import h5py

    with archive.open(WEIGHTS_FILE) as weights, h5py.File(weights, "r") as root:
        yield root


def _open_h5(path: Path) -> keras.Model:
    import h5py

    with broken(path, "a Keras model"):
        check_ends(path)
        with h5py.File(path, "r") as root:
            text = root.attrs.get("model_config")
            if text is None:
                return open_architecture(architecture_beside(path), path)
            config, numbers = json.loads(text), check_held(root, path)
            if is_old(root.attrs.get("keras_version")):
                return open_old(config, root, numbers, path, path)
        check_config(config, path)
    check_size(lambda: made_of(config), numbers, path)
    return _loaded(path)


def _loaded(path: Path) -> Any:
    """Load a checked file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelError(
            f"{path} cannot be loaded by Keras {keras.__version__} ({first_line(error)}); save the "
            f"model again, with model.save('model.keras') of Keras 3."
        ) from None


def _read_keras(path: Path) -> tuple[Any, dict[str, str], int]:
    """Return the configuration, the metadata, and the count of numbers in the weights."""

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
        with _weights(archive) as root:
            numbers = check_held(root, path)
    return config, json.loads(text), numbers


def check_weights(path: Path) -> int | None:
    """Check that a file of weights contains them itself; return the number of layers' arrays.

    Return None for the older ``.h5``, whose layers Keras itself compares one by one.

    Raises
    ------
    UnsafeModelError
        If its weights lie in other files, or may hold code.
    ModelError
        If it is no such file, or is broken.
    """
    import h5py

    with broken(path, "a file of Keras' weights"):
        if path.suffix.lower() == ".keras":
            _read_keras(path)
            with zipfile.ZipFile(path) as archive, _weights(archive) as root:
                return _arrays(root)
        check_ends(path)
        with h5py.File(path, "r") as root:
            check_held(root, path)
            return _arrays(root) if path.name.endswith(".weights.h5") else None


def _arrays(root: Any) -> int:
    """Count the arrays of layers; the states of an optimizer or of dropout are not weights."""
    import h5py

    names = []

    def noted(name: str, value: Any) -> None:
        if isinstance(value, h5py.Dataset):
            names.append(name)

    root.visititems(noted)
    return sum("layers" in name.split("/")[0] and "seed_generator" not in name for name in names)
