"""Open what Keras 1, Keras 2 and tf.keras saved: whole models, and architectures with weights.

None of their code is Keras' own loader, which makes whatever a file names: the configuration is
looked through, read into records, and built of the layers of `keras.layers` alone.
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
    Held,
    fill,
    is_of_theano,
    read_held,
    with_shared_axes,
)

OLDEST_OWN = 3
"""The first Keras that loads its own files today."""


def is_old(version: Any) -> bool:
    """Return whether the Keras of a version is older than those whose files Keras 3 loads.

    Keras 1 wrote none beside weights.
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
        Its links and claims checked (`check_held`).
    numbers : int
        How many the file of weights holds.
    path, weights : pathlib.Path
        The files of the configuration and of the weights; one for a whole model.

    Raises
    ------
    UnsafeModelError
        If the configuration names what would run code, or read other files.
    ModelError
        If it needs what Keras does not have today, or the weights do not fit.
    Exception
        If the file is not laid out as Keras does.
    """
    check_harmless(config, path)
    stored = read_model(config)
    is_numbered = not ("layer_names" in root.attrs or "model_weights" in root)
    held = None if is_numbered else read_held(root)
    if held is not None:
        stored = with_shared_axes(stored, held)
    check_size(lambda: build(stored, path), numbers, weights)
    model, made = build(stored, path)
    if held is None:
        held = read_numbered(stored, made, root)
    fill(made, held, weights)
    _tell_theano(held, weights)
    return model


def _tell_theano(held: Held, path: Path) -> None:
    """Say that a file's kernels may have to be turned round; Keras 1 does not say by which."""
    if not is_of_theano(held):
        return
    warnings.warn(
        f"{path}: by the names of its weights, Keras 1 saved it on Theano, which turns kernels "
        f"round; they are taken as they are, as Keras 2 does. Where the scores make no sense, set "
        f"the attribute 'backend' beside its 'layer_names' to 'theano' with h5py ('tensorflow' "
        f"says that they are right).",
        ModelWarning,
        stacklevel=2,
    )
