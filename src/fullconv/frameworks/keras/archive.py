"""Open Keras model files without running code from them.

A ``.keras`` file names the classes it is made of, and the older ``.h5`` does so in its
``model_config``; that is looked through first (`named.py`), and how much the weights claim
(`claims.py`).
"""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelError, UnsafeModelError, first_line
from fullconv.frameworks.archives import check_archive
from fullconv.frameworks.keras.claims import check_held, check_size
from fullconv.frameworks.keras.hdf5 import WEIGHTS_FILE, check_ends
from fullconv.frameworks.keras.named import check_config

METADATA_FILE = "fullconv.json"
CONFIG_FILE = "config.json"


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
        check_config(config, path)
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
