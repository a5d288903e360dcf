"""An architecture, the ``.json`` of ``model.to_json()``, beside a file of its weights."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.archives import broken
from fullconv.frameworks.beside import weights_beside
from fullconv.frameworks.keras.claims import check_held, check_size, made_of
from fullconv.frameworks.keras.hdf5 import check_ends
from fullconv.frameworks.keras.named import check_config
from fullconv.frameworks.keras.old.opening import is_old, open_old


def open_architecture(path: Path, weights: Path | None = None) -> keras.Model:
    """Return the model of an architecture, with weights from a file, or from the one beside it.

    Raises
    ------
    UnsafeModelError
        If the architecture would run code, or weights lie in other files.
    ModelError
        If either file is broken, they do not fit each other, or not exactly one file of weights
        lies beside the architecture.
    """
    with broken(path, "an architecture that Keras wrote with model.to_json()"):
        config = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(config, dict) or not {"class_name", "config"} <= config.keys():
            raise ValueError("it describes no model")
    weights = weights or weights_beside(path)
    with broken(weights, "a file of Keras' weights"):
        check_ends(weights)
        with h5py.File(weights, "r") as root:
            numbers = check_held(root, weights)
            if "module" not in config and is_old(config.get("keras_version")):
                return open_old(config, root, numbers, path, weights)
    check_config(config, path)
    check_size(lambda: made_of(config), numbers, weights)
    return _loaded(config, path, weights)


def _loaded(config: dict[str, Any], path: Path, weights: Path) -> keras.Model:
    """Let Keras build a checked configuration, and load its weights."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = made_of(config)
            model.load_weights(weights)
    except Exception as error:
        raise ModelError(
            f"{path} with the weights of {weights} cannot be loaded by Keras {keras.__version__} "
            f"({first_line(error)}); give the weights that were saved from this network."
        ) from None
    return model
