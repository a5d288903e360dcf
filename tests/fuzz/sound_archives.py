"""Small models of PyTorch and Keras, as files, for mutations to begin from."""

from __future__ import annotations

import io
import logging
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from fuzz.sound_models import WINDOW


def network() -> Any:
    """Return the network of PyTorch."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3)
    ).eval()


@cache
def torch_files() -> dict[str, bytes]:
    """Return files of ``.pt2``, TorchScript, pickles of weights and safetensors."""
    import torch
    from safetensors.torch import save

    model, image = network(), torch.zeros(2, 2, *WINDOW)
    program, script, state = io.BytesIO(), io.BytesIO(), io.BytesIO()
    free = {0: torch.export.Dim.DYNAMIC}
    torch.export.save(torch.export.export(model, (image,), dynamic_shapes=(free,)), program)
    torch.jit.save(torch.jit.trace(model, image), script)
    torch.save(model.state_dict(), state)
    return {
        "program.pt2": program.getvalue(),
        "script.pt": script.getvalue(),
        "state.pt": state.getvalue(),
        "state.safetensors": save(model.state_dict()),
    }


@cache
def keras_files() -> dict[str, bytes]:
    """Return files of ``.keras`` and the older ``.h5``."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    logging.getLogger("absl").setLevel(logging.ERROR)  # HDF5 files are old, it says
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(  # Keras would count names on, and each file would be another
        [
            keras.Input((*WINDOW, 2), name="images"),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(3, activation="softmax", name="dense"),
        ],
        name="network",
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("model.keras", "model.h5"):
            model.save(Path(folder) / name)
            found[name] = (Path(folder) / name).read_bytes()
    return found
