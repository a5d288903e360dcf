"""The choice of a backend for Keras, where the user has not chosen one."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from fullconv.errors import ModelError

BACKENDS = ("tensorflow", "jax", "torch")


def choose_backend() -> None:
    """Let Keras be imported with a backend that is installed.

    A backend in ``KERAS_BACKEND`` stays, and so does an installed one in Keras' settings file. By
    default, Keras takes TensorFlow, and fails where that is not installed.

    Raises
    ------
    ModelError
        If none is installed.
    """
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ or find_spec("keras") is None:
        return
    installed = [name for name in BACKENDS if find_spec(name) is not None]
    if not installed:
        raise ModelError(
            "a Keras model needs one of Keras' backends, and none is installed; install jax, "
            'tensorflow or PyTorch (pip install "fullconv[torch]").'
        )
    if _configured() not in installed:
        os.environ["KERAS_BACKEND"] = installed[0]


def _configured() -> str:
    """Return the backend that Keras' settings file names; TensorFlow where it names none."""
    home = os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()
    try:
        settings = json.loads((Path(home) / "keras.json").read_text("utf-8"))
        return str(settings.get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"
