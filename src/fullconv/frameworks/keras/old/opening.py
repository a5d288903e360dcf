"""Open files of Keras 1, Keras 2 and tf.keras: whole models, and architectures with weights.

Keras' own loader is not used, since it instantiates whatever a file names. The configuration is
checked, read into records, and built from `keras.layers` and registered classes alone.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelWarning
from fullconv.frameworks.keras.claims import check_size
from fullconv.frameworks.keras.named import check_harmless
from fullconv.frameworks.keras.old.building import build
from fullconv.frameworks.keras.old.numbered import read_numbered
from fullconv.frameworks.keras.old.stored import read_model
from fullconv.frameworks.keras.old.weights import (
    StoredWeights,
    fill,
    is_of_theano,
    read_weights,
    with_shared_axes,
)

OLDEST_OWN = 3
"""The oldest major version of Keras whose files Keras 3 loads itself."""


def is_old(version: Any) -> bool:
    """Return whether a version of Keras is older than those whose files Keras 3 loads.

    A missing version means Keras 1, which wrote none beside weights.
    """
    text = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version or "1")
    major = text.partition(".")[0]
    return not major.isdigit() or int(major) < OLDEST_OWN


def open_old(config: Any, root: Any, numbers: int, path: Path, weights: Path) -> keras.Model:
    """Return the model that an old configuration describes, with the weights of an HDF5 file.

    Parameters
    ----------
    config : dict
        ``{"class_name": ..., "config": ...}``.
    root : h5py.File
        The file of weights, already checked by `check_held`.
    numbers : int
        The count of numbers in the file of weights.
    path, weights : pathlib.Path
        The files of the configuration and of the weights; one for a whole model.

    Raises
    ------
    UnsafeModelError
        If the configuration would run code, or read other files.
    ModelError
        If Keras no longer has one of its layers or settings, or the weights do not fit.
    Exception
        If the layout of the file is not Keras'.
    """
    check_harmless(config, path)
    stored = read_model(config)
    is_numbered = not ("layer_names" in root.attrs or "model_weights" in root)
    arrays = None if is_numbered else read_weights(root)
    if arrays is not None:
        stored = with_shared_axes(stored, arrays)
    check_size(lambda: build(stored, path), numbers, weights)
    model, made = build(stored, path)
    if arrays is None:
        arrays = read_numbered(stored, made, root)
    fill(made, arrays, weights)
    _warn_of_theano(arrays, weights)
    return model


def _warn_of_theano(arrays: StoredWeights, path: Path) -> None:
    """Warn that a file's kernels may have to be flipped: Keras 1 does not store its backend."""
    if not is_of_theano(arrays):
        return
    warnings.warn(
        f"{path}: by the names of its weights, Keras 1 saved it on Theano, which turns kernels "
        f"round; they are taken as they are, as Keras 2 does. Where the scores make no sense, set "
        f"the attribute 'backend' beside its 'layer_names' to 'theano' with h5py ('tensorflow' "
        f"says that they are right).",
        ModelWarning,
        stacklevel=2,
    )
